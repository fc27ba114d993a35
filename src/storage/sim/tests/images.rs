//! Images: the same seed gives the same disk, and all the ways to one agree.

use std::collections::BTreeSet;
use std::io::Result;
use std::time::Instant;

use super::{SEEDS, disk_with, lettered, letters, outcomes, read, sectors, set, write};
use crate::storage::sim::choices::Random;
use crate::storage::sim::{CallKind, Fault, Images, SimStorage, When};
use crate::storage::{Access, Storage};

#[test]
fn seeds_only_give_images_that_the_list_of_all_has() {
    let disk = disk_with("log", &sectors("abc"));
    write(&disk, "log", &sectors("xy"), 512);
    disk.create("new").unwrap();
    write(&disk, "new", &sectors("n"), 0);
    disk.rename("new", "log2").unwrap();
    write(&disk, "log", &sectors("z"), 1024);
    disk.open("log", Access::Write).unwrap().set_len(1024).unwrap();
    let all: BTreeSet<_> = disk.all_after_power_cut().map(|image| image.contents()).collect();
    let seeded: BTreeSet<_> = (0..40_000).map(|seed| disk.after_power_cut(seed).contents()).collect();
    assert!(seeded.is_subset(&all));
    assert_eq!(seeded.len(), all.len(), "enough seeds find every image");
}

#[test]
fn the_same_seed_gives_the_same_disk() {
    let run = || {
        let disk = SimStorage::new(3);
        disk.record_history();
        disk.fail_at(When::Kind(CallKind::Write, 9), Fault::ShortWrite);
        let mut random = Random::new(5);
        for _ in 0..60 {
            let name = ["a", "b", "c"][random.below(3) as usize];
            let _ = match random.below(6) {
                0 => disk.create(name).map(drop),
                1 => disk.rename(name, "a"),
                2 => disk.open(name, Access::Write).and_then(|file| file.sync()),
                _ => disk
                    .open(name, Access::Write)
                    .and_then(|file| file.write_at(&[random.next() as u8; 1500], random.below(5000))),
            };
        }
        disk
    };
    let (one, other) = (run(), run());
    assert_eq!(one.contents(), other.contents());
    assert_eq!(one.history(), other.history());
    let mut distinct = BTreeSet::new();
    for moment in one.history().unwrap() {
        for seed in 0..20 {
            let images = [&one, &other].map(|disk| disk.image_at(moment, seed).unwrap().contents());
            assert_eq!(images[0], images[1]);
            distinct.insert(images[0].clone());
        }
    }
    assert!(distinct.len() > 100, "only {} images are distinct", distinct.len());
}

#[test]
fn a_recorded_moment_gives_the_images_of_a_run_that_was_cut_there() {
    let run = |disk: &SimStorage| -> Result<()> {
        let log = disk.create("log")?;
        log.write_at(&sectors("ab"), 0)?;
        disk.sync_directory()?;
        log.sync()?;
        log.write_at(&sectors("xyz"), 0)?;
        disk.rename("log", "log2")?;
        log.sync()?;
        disk.sync_directory()?;
        disk.remove("log2")
    };
    let recorded = SimStorage::new(1);
    recorded.record_history();
    run(&recorded).unwrap();
    assert_eq!(recorded.history(), Some(0..=9));
    for moment in 0..=9 {
        let cut = SimStorage::new(1);
        cut.cut_power_at(moment + 1);
        assert_eq!(run(&cut).is_err(), moment < 9);
        let images = |images: Images| images.map(|image| image.contents()).collect::<BTreeSet<_>>();
        let expected = images(cut.all_after_power_cut());
        assert_eq!(images(recorded.all_images_at(moment).unwrap()), expected, "moment {moment}");
        let seeded: BTreeSet<_> =
            (0..SEEDS).map(|seed| recorded.image_at(moment, seed).unwrap().contents()).collect();
        assert_eq!(seeded, expected, "moment {moment}");
    }
    assert!(recorded.image_at(10, 0).is_none());
}

#[test]
fn after_the_cut_every_call_fails_and_nothing_is_counted() {
    let disk = disk_with("log", &sectors("a"));
    let file = disk.open("log", Access::Write).unwrap();
    let operations = disk.operations();
    disk.cut_power_at(operations + 2);
    file.write_at(b"1", 0).unwrap();
    assert!(!disk.is_cut());
    assert!(file.sync().is_err());
    assert!(disk.is_cut());
    assert!(file.write_at(b"1", 0).is_err());
    assert!(file.read_at(&mut [0], 0).is_err());
    assert!(file.len().is_err());
    assert!(file.set_len(0).is_err());
    assert!(disk.open("log", Access::Read).is_err());
    assert!(disk.create("new").is_err());
    assert!(disk.list().is_err());
    assert!(disk.lock("LOCK", Access::Read).is_err());
    assert!(disk.sync_directory().is_err());
    assert_eq!(disk.operations(), operations + 2);
    assert_eq!(outcomes(&disk, "log").len(), 2, "the sync under way did not promise anything");
}

#[test]
fn an_operation_under_the_cut_happens_or_not() {
    let disk = disk_with("log", &sectors("ab"));
    disk.cut_power_at(disk.operations() + 1);
    assert!(disk.open("log", Access::Write).unwrap().write_at(&sectors("xy"), 0).is_err());
    assert_eq!(lettered(outcomes(&disk, "log")), set(&["ab", "xb", "ay", "xy"]));
}

#[test]
fn a_killed_process_loses_nothing_and_makes_nothing_durable() {
    let disk = disk_with("log", &sectors("ab"));
    disk.record_history();
    write(&disk, "log", &sectors("x"), 0);
    let lock = disk.lock("LOCK", Access::Write).unwrap();
    assert!(lock.is_some());
    let killed = disk.after_kill();
    assert_eq!(killed.contents(), disk.contents());
    assert_eq!(lettered(outcomes(&killed, "log")), set(&["ab", "xb"]));
    assert!(killed.lock("LOCK", Access::Write).unwrap().is_some(), "its locks are gone");
    let before = disk.killed_at(*disk.history().unwrap().start()).unwrap();
    assert_eq!(letters(read(&before, "log")), "ab");
}

#[test]
fn an_image_is_another_disk() {
    let disk = disk_with("log", &sectors("a"));
    let image = disk.after_power_cut(0);
    let fork = disk.fork();
    assert_eq!((image.operations(), fork.operations()), (0, disk.operations()));
    write(&image, "log", &sectors("b"), 0);
    write(&fork, "log", &sectors("c"), 0);
    let found = [&disk, &image, &fork].map(|disk| letters(read(disk, "log")));
    assert_eq!(found, ["a", "b", "c"]);
    assert_eq!((disk.unsynced(), image.unsynced(), fork.unsynced()), (0, 1, 1));
}

/// Not a test of speed, which no test may depend on: run by hand with `--nocapture` to see the rates.
#[test]
#[ignore = "measures, asserts nothing"]
fn rates() {
    for (size, unsynced) in [(16 << 10, 2), (64 << 10, 4), (1 << 20, 4), (16 << 20, 4), (1 << 20, 100)] {
        let disk = disk_with("log", &vec![1; size]);
        disk.record_history();
        let file = disk.open("log", Access::Write).unwrap();
        let started = Instant::now();
        let mut random = Random::new(1);
        for round in 0..500_u64 {
            file.write_at(&[round as u8; 700], random.below(size as u64)).unwrap();
            if round % unsynced == unsynced - 1 {
                file.sync().unwrap();
            }
        }
        let moments = disk.history().unwrap();
        println!("{size} bytes, up to {unsynced} writes not synced: {:?} for {moments:?}", started.elapsed());
        let rate = |name, image: &dyn Fn(u64, u64) -> Option<SimStorage>| {
            let started = Instant::now();
            let images: usize = moments
                .clone()
                .flat_map(|moment| (0..50).map(move |seed| (moment, seed)))
                .map(|(moment, seed)| usize::from(image(moment, seed).is_some()))
                .sum();
            println!("    {name}: {:.0} per second", images as f64 / started.elapsed().as_secs_f64());
        };
        rate("image_at", &|moment, seed| disk.image_at(moment, seed));
        rate("killed_at", &|moment, _| disk.killed_at(moment));
        rate("fork", &|_, _| Some(disk.fork()));
    }
}
