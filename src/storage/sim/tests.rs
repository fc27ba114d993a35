//! What the simulation promises to those who test with it: it loses what may be lost, and nothing else.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Result};

use super::{CallKind, Fault, SimStorage, When};
use crate::storage::{Access, Storage};

const SEEDS: u64 = 300;

/// A disk with one durable file.
fn disk_with(name: &str, bytes: &[u8]) -> SimStorage {
    let disk = SimStorage::new(7);
    let file = disk.create(name).unwrap();
    file.write_at(bytes, 0).unwrap();
    file.sync().unwrap();
    disk.sync_directory().unwrap();
    assert_eq!(disk.unsynced(), 0);
    disk
}

fn write(disk: &SimStorage, name: &str, bytes: &[u8], offset: u64) {
    disk.open(name, Access::Write).unwrap().write_at(bytes, offset).unwrap();
}

fn sync(disk: &SimStorage, name: &str) {
    disk.open(name, Access::Write).unwrap().sync().unwrap();
}

fn read(disk: &SimStorage, name: &str) -> Option<Vec<u8>> {
    disk.contents().remove(name)
}

/// All outcomes of a power cut for one file that the seeds give; `None` is a file that is gone.
fn outcomes(disk: &SimStorage, name: &str) -> BTreeSet<Option<Vec<u8>>> {
    (0..SEEDS).map(|seed| read(&disk.after_power_cut(seed), name)).collect()
}

/// The same, from the list of all of them.
fn all_outcomes(disk: &SimStorage, name: &str) -> BTreeSet<Option<Vec<u8>>> {
    disk.all_after_power_cut().map(|image| read(&image, name)).collect()
}

/// One letter for each sector.
fn sectors(letters: &str) -> Vec<u8> {
    letters.bytes().flat_map(|letter| [letter; 512]).collect()
}

fn letters(file: Option<Vec<u8>>) -> String {
    let Some(bytes) = file else { return "gone".into() };
    let letter = |sector: &[u8]| {
        assert!(sector.iter().all(|byte| *byte == sector[0]), "a mixed sector");
        if sector[0] == 0 { '.' } else { char::from(sector[0]) }
    };
    bytes.chunks(512).map(letter).collect()
}

fn lettered(outcomes: BTreeSet<Option<Vec<u8>>>) -> BTreeSet<String> {
    outcomes.into_iter().map(letters).collect()
}

fn set(expected: &[&str]) -> BTreeSet<String> {
    expected.iter().map(ToString::to_string).collect()
}

#[test]
fn synced_bytes_are_never_lost_and_unsynced_ones_may_be() {
    let disk = disk_with("log", &sectors("ab"));
    write(&disk, "log", &sectors("c"), 512);
    assert_eq!(lettered(outcomes(&disk, "log")), set(&["ab", "ac"]));
    sync(&disk, "log");
    assert_eq!(lettered(outcomes(&disk, "log")), set(&["ac"]));
    assert_eq!(disk.unsynced(), 0);
}

#[test]
fn a_file_that_grew_may_have_its_length_without_its_bytes_but_not_more() {
    let disk = disk_with("log", &sectors("a"));
    write(&disk, "log", &sectors("b"), 512);
    assert_eq!(lettered(outcomes(&disk, "log")), set(&["a", "a.", "ab"]));
    assert_eq!(lettered(all_outcomes(&disk, "log")), set(&["a", "a.", "ab"]));
}

#[test]
fn the_sectors_of_one_write_are_torn_apart_in_every_way() {
    let disk = disk_with("log", &sectors("abc"));
    write(&disk, "log", &sectors("xyz"), 0);
    let expected = set(&["abc", "xbc", "ayc", "abz", "xyc", "xbz", "ayz", "xyz"]);
    assert_eq!(lettered(outcomes(&disk, "log")), expected);
    assert_eq!(lettered(all_outcomes(&disk, "log")), expected);
    assert_eq!(disk.all_after_power_cut().count(), 8);
}

#[test]
fn writes_to_different_sectors_are_reordered() {
    let disk = disk_with("log", &sectors("ab"));
    write(&disk, "log", &sectors("x"), 0);
    write(&disk, "log", &sectors("y"), 512);
    assert_eq!(lettered(outcomes(&disk, "log")), set(&["ab", "xb", "ay", "xy"]));
}

#[test]
fn writes_to_one_sector_keep_their_order_and_it_is_never_mixed() {
    let disk = disk_with("log", &[b'a'; 512]);
    write(&disk, "log", b"1", 0);
    write(&disk, "log", b"2", 100);
    write(&disk, "log", b"3", 511);
    let mut expected = BTreeSet::new();
    let mut state = vec![b'a'; 512];
    expected.insert(Some(state.clone()));
    for (offset, byte) in [(0, b'1'), (100, b'2'), (511, b'3')] {
        state[offset] = byte;
        expected.insert(Some(state.clone()));
    }
    assert_eq!(outcomes(&disk, "log"), expected);
    assert_eq!(all_outcomes(&disk, "log"), expected);
}

#[test]
fn the_name_of_a_new_file_is_lost_without_a_directory_sync_though_its_bytes_are_synced() {
    let disk = disk_with("other", b"");
    disk.create("log").unwrap();
    write(&disk, "log", &sectors("a"), 0);
    assert_eq!(lettered(outcomes(&disk, "log")), set(&["gone", "", ".", "a"]));
    sync(&disk, "log");
    assert_eq!(lettered(outcomes(&disk, "log")), set(&["gone", "a"]));
    disk.sync_directory().unwrap();
    assert_eq!(lettered(outcomes(&disk, "log")), set(&["a"]));
}

#[test]
fn the_bytes_of_a_new_file_are_lost_without_a_file_sync_though_its_name_is_synced() {
    let disk = disk_with("other", b"");
    disk.create("log").unwrap();
    write(&disk, "log", &sectors("a"), 0);
    disk.sync_directory().unwrap();
    assert_eq!(lettered(outcomes(&disk, "log")), set(&["", ".", "a"]));
}

#[test]
fn a_rename_is_whole_and_may_be_undone_until_the_directory_is_synced() {
    let disk = disk_with("log", &sectors("a"));
    disk.create("new").unwrap();
    write(&disk, "new", &sectors("b"), 0);
    sync(&disk, "new");
    disk.sync_directory().unwrap();
    disk.rename("new", "log").unwrap();
    let both = |image: &SimStorage| (letters(read(image, "log")), letters(read(image, "new")));
    let found: BTreeSet<_> = (0..SEEDS).map(|seed| both(&disk.after_power_cut(seed))).collect();
    let expected = [("a", "b"), ("b", "gone")].map(|(one, other)| (one.to_owned(), other.to_owned()));
    assert_eq!(found, BTreeSet::from(expected.clone()));
    disk.sync_directory().unwrap();
    let found: BTreeSet<_> = (0..SEEDS).map(|seed| both(&disk.after_power_cut(seed))).collect();
    assert_eq!(found, BTreeSet::from([expected[1].clone()]));
}

#[test]
fn a_removed_file_may_come_back_until_the_directory_is_synced() {
    let disk = disk_with("log", &sectors("a"));
    disk.remove("log").unwrap();
    assert_eq!(lettered(outcomes(&disk, "log")), set(&["a", "gone"]));
    disk.sync_directory().unwrap();
    assert_eq!(lettered(outcomes(&disk, "log")), set(&["gone"]));
    assert_eq!(disk.used_bytes(), 0);
}

#[test]
fn a_rename_whose_source_was_never_there_leaves_the_target() {
    let disk = disk_with("log", &sectors("a"));
    disk.create("new").unwrap();
    disk.rename("new", "log").unwrap();
    assert_eq!(lettered(all_outcomes(&disk, "log")), set(&["a", ""]));
    let names: BTreeSet<Vec<String>> =
        disk.all_after_power_cut().map(|image| image.list().unwrap()).collect();
    let expected = [vec!["log".to_owned()], vec!["log".to_owned(), "new".to_owned()]];
    assert_eq!(names, BTreeSet::from(expected));
}

#[test]
fn what_a_cut_off_took_does_not_come_back_behind_it() {
    let disk = disk_with("log", &sectors("abcd"));
    let file = disk.open("log", Access::Write).unwrap();
    file.set_len(512).unwrap();
    file.set_len(2048).unwrap();
    // Not cut, cut, cut and grown again; but never grown with old bytes.
    assert_eq!(lettered(outcomes(&disk, "log")), set(&["abcd", "a", "a..."]));
    write(&disk, "log", &sectors("x"), 1024);
    let found = lettered(all_outcomes(&disk, "log"));
    assert_eq!(found, set(&["abcd", "a", "a...", "a.x."]));
    sync(&disk, "log");
    assert_eq!(lettered(outcomes(&disk, "log")), set(&["a.x."]));
}

#[test]
fn a_cut_off_inside_a_sector_zeroes_what_was_written_behind_it() {
    let disk = disk_with("log", &sectors("a"));
    let file = disk.open("log", Access::Write).unwrap();
    file.write_at(&[b'b'; 512], 0).unwrap();
    file.set_len(100).unwrap();
    file.set_len(512).unwrap();
    let cut = |letter: u8| {
        let mut bytes = vec![letter; 100];
        bytes.resize(512, 0);
        Some(bytes)
    };
    let whole = |letter: u8| Some(vec![letter; 512]);
    let short = |letter: u8| Some(vec![letter; 100]);
    let expected = [whole(b'a'), whole(b'b'), short(b'a'), short(b'b'), cut(b'a'), cut(b'b')];
    assert_eq!(outcomes(&disk, "log"), BTreeSet::from(expected.clone()));
    assert_eq!(all_outcomes(&disk, "log"), BTreeSet::from(expected));
}

#[test]
fn creating_a_file_again_empties_it_only_if_that_survives() {
    let disk = disk_with("log", &sectors("ab"));
    disk.create("log").unwrap();
    assert_eq!(lettered(outcomes(&disk, "log")), set(&["ab", ""]));
}

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
        let mut random = super::choices::Random::new(5);
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
        let images = |images: super::Images| images.map(|image| image.contents()).collect::<BTreeSet<_>>();
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

#[test]
fn a_removed_file_stays_readable_through_its_handle() {
    let disk = disk_with("log", &sectors("a"));
    let file = disk.open("log", Access::Read).unwrap();
    disk.remove("log").unwrap();
    disk.sync_directory().unwrap();
    file.read_at(&mut [0; 512], 0).unwrap();
    assert_eq!(disk.used_bytes(), 4096);
    drop(file);
    disk.sync_directory().unwrap();
    assert_eq!(disk.used_bytes(), 0);
}

#[test]
fn faults_strike_once_or_for_ever_at_their_call() {
    let disk = disk_with("log", &sectors("a"));
    let file = disk.open("log", Access::Write).unwrap();
    disk.fail_at(When::Call(disk.calls() + 2), Fault::Error);
    file.read_at(&mut [0], 0).unwrap();
    assert!(file.read_at(&mut [0], 0).is_err());
    file.read_at(&mut [0], 0).unwrap();

    disk.fail_from(When::Kind(CallKind::Write, disk.count(CallKind::Write) + 2), Fault::Error);
    file.write_at(b"1", 0).unwrap();
    for _ in 0..3 {
        assert!(file.write_at(b"2", 0).is_err());
    }
    file.sync().unwrap();
    disk.clear_faults();
    file.write_at(b"3", 0).unwrap();

    disk.fail_at(When::Operation(disk.operations() + 1), Fault::NoSpace);
    assert_eq!(disk.list().unwrap().len(), 1, "no operation");
    assert_eq!(disk.create("new").map(drop).unwrap_err().kind(), ErrorKind::StorageFull);
    assert!(read(&disk, "new").is_none());
}

#[test]
fn a_failed_write_is_done_in_part_or_not_at_all() {
    let disk = disk_with("log", &[b'a'; 100]);
    let mut lengths = BTreeSet::new();
    for round in 0..50 {
        let disk = disk.fork();
        disk.set_byte("log", 0, round).unwrap();
        let file = disk.open("log", Access::Write).unwrap();
        let number = disk.count(CallKind::Write);
        for extra in 1..=round {
            disk.fail_at(When::Kind(CallKind::Write, number + u64::from(extra)), Fault::ShortWrite);
            assert!(file.write_at(&[b'b'; 100], 0).is_err());
        }
        let bytes = read(&disk, "log").unwrap();
        lengths.insert(bytes.iter().filter(|byte| **byte == b'b').count());
        assert_eq!(bytes[99], b'a', "never all of it");
    }
    assert!(lengths.len() > 5);
    disk.fail_at(When::Kind(CallKind::Write, 2), Fault::Error);
    assert!(disk.open("log", Access::Write).unwrap().write_at(b"x", 0).is_err());
    assert_eq!(read(&disk, "log").unwrap(), [b'a'; 100]);
}

#[test]
fn a_failed_sync_keeps_the_pages_waiting() {
    let disk = disk_with("log", &sectors("a"));
    write(&disk, "log", &sectors("b"), 0);
    disk.fail_at(When::Kind(CallKind::Sync, 2), Fault::Error);
    let file = disk.open("log", Access::Write).unwrap();
    assert!(file.sync().is_err());
    assert_eq!(lettered(outcomes(&disk, "log")), set(&["a", "b"]));
    file.sync().unwrap();
    assert_eq!(lettered(outcomes(&disk, "log")), set(&["b"]));
}

/// The trap that PostgreSQL found in 2018: the sync after a failed one succeeds, and the bytes are not on the disk.
#[test]
fn a_failed_sync_that_drops_its_pages_hides_the_loss_until_the_cut() {
    let disk = disk_with("log", &sectors("ab"));
    write(&disk, "log", &sectors("x"), 0);
    write(&disk, "log", &sectors("z"), 1024);
    disk.fail_at(When::Kind(CallKind::Sync, 2), Fault::SyncDropsPages);
    let file = disk.open("log", Access::Write).unwrap();
    assert!(file.sync().is_err());
    file.sync().unwrap();
    assert_eq!(disk.unsynced(), 0);
    assert_eq!(letters(read(&disk, "log")), "xbz", "readers see it");
    assert_eq!(letters(read(&disk.after_kill(), "log")), "xbz");
    assert_eq!(lettered(outcomes(&disk, "log")), set(&["ab."]), "the disk never got it");
    write(&disk, "log", &sectors("y"), 512);
    file.sync().unwrap();
    assert_eq!(lettered(outcomes(&disk, "log")), set(&["ay."]), "later writes are fine");
}

#[test]
fn a_misdirected_write_is_seen_by_readers_and_damages_another_sector() {
    let disk = disk_with("log", &sectors("abcd"));
    disk.fail_at(When::Kind(CallKind::Write, 2), Fault::Misdirected);
    write(&disk, "log", &sectors("x"), 512);
    assert_eq!(letters(read(&disk, "log")), "axcd");
    sync(&disk, "log");
    let found = letters(read(&disk.after_power_cut(0), "log"));
    assert!(["xbcd", "abxd", "abcx"].contains(&&*found), "{found}");
}

#[test]
fn rot_is_seen_by_readers_and_after_a_cut() {
    let disk = disk_with("log", &sectors("a"));
    disk.flip_bit("log", 3, 1).unwrap();
    for image in [disk.clone(), disk.after_power_cut(0), disk.after_kill()] {
        let bytes = read(&image, "log").unwrap();
        assert_eq!(&bytes[..5], b"aaaca");
    }
    assert_eq!(disk.flip_bit("log", 512, 0).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    assert_eq!(disk.flip_bit("none", 0, 0).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_full_disk_takes_a_part_and_takes_more_when_there_is_space_again() {
    let disk = disk_with("log", &[b'a'; 4096]);
    disk.set_capacity(Some(3 * 4096));
    let file = disk.open("log", Access::Write).unwrap();
    let error = file.write_at(&[b'b'; 3 * 4096], 4096).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert_eq!(file.len().unwrap(), 3 * 4096, "two blocks of three");
    assert_eq!(disk.used_bytes(), 3 * 4096);
    file.write_at(&[b'c'; 4096], 0).unwrap();
    file.set_len(1 << 30).unwrap();
    assert_eq!(disk.used_bytes(), 3 * 4096, "a length reserves nothing");
    assert_eq!(file.write_at(b"d", 1 << 20).unwrap_err().kind(), ErrorKind::StorageFull);
    assert!(disk.after_power_cut(1).create("new").unwrap().write_at(&[1; 4 * 4096], 0).is_err());
    file.set_len(4096).unwrap();
    file.write_at(b"d", 1 << 20).unwrap();
    disk.set_capacity(None);
    file.write_at(&[1; 100_000], 0).unwrap();
}

#[test]
fn a_worse_disk_loses_whole_blocks_that_were_being_written() {
    let disk = disk_with("log", &[b'a'; 3 * 4096]);
    write(&disk, "log", b"x", 5000);
    let harmed =
        |image: &SimStorage| read(image, "log").unwrap()[4096..4600].iter().any(|byte| *byte != b'a');
    assert!(!(0..SEEDS).any(|seed| harmed(&disk.after_power_cut(seed))));
    disk.set_torn_block(Some(4096));
    assert!((0..SEEDS).any(|seed| harmed(&disk.after_power_cut(seed))));
    for seed in 0..SEEDS {
        let bytes = read(&disk.after_power_cut(seed), "log").unwrap();
        assert_eq!(bytes.len(), 3 * 4096);
        assert!(bytes[..4096].iter().chain(&bytes[2 * 4096..]).all(|byte| *byte == b'a'), "other blocks");
    }
    sync(&disk, "log");
    assert!(!(0..SEEDS).any(|seed| harmed(&disk.after_power_cut(seed))), "nothing was being written");
}

#[test]
fn the_log_of_calls_tells_what_was_done() {
    let disk = disk_with("log", &sectors("a"));
    let file = disk.open("log", Access::Write).unwrap();
    let (operations, syncs) = (disk.operations(), disk.syncs());
    disk.log_calls();
    file.write_at(b"bytes", 40).unwrap();
    file.sync().unwrap();
    let calls = disk.take_calls();
    let told: Vec<_> = calls.iter().map(|call| (call.kind, &*call.file, call.offset, call.length)).collect();
    assert_eq!(told, [(CallKind::Write, "log", 40, 5), (CallKind::Sync, "log", 0, 0)]);
    assert_eq!((disk.operations() - operations, disk.syncs() - syncs), (2, 1));
    file.read_at(&mut [0; 3], 1).unwrap();
    assert_eq!(disk.take_calls().len(), 1);
    assert!(disk.take_calls().is_empty());
    assert_eq!(disk.operations() - operations, 2, "a read is no operation");
}

/// Not a test of speed, which no test may depend on: run by hand with `--nocapture` to see the rates.
#[test]
#[ignore = "measures, asserts nothing"]
fn rates() {
    let disk = disk_with("log", &[1; 64 << 10]);
    disk.record_history();
    let file = disk.open("log", Access::Write).unwrap();
    let started = std::time::Instant::now();
    let mut random = super::choices::Random::new(1);
    for round in 0..500_u64 {
        file.write_at(&[round as u8; 700], random.below(64 << 10)).unwrap();
        if round % 4 == 3 {
            file.sync().unwrap();
        }
    }
    let operations = disk.history().unwrap();
    println!("{operations:?}: {:?} to run and record", started.elapsed());
    for (name, image) in [
        ("image_at", (|disk, moment, seed| disk.image_at(moment, seed)) as fn(&SimStorage, u64, u64) -> _),
        ("killed_at", |disk, moment, _| disk.killed_at(moment)),
        ("fork", |disk, _, _| Some(disk.fork())),
    ] {
        let started = std::time::Instant::now();
        let (mut images, mut files) = (0, 0);
        for moment in operations.clone() {
            for seed in 0..100 {
                files += usize::from(image(&disk, moment, seed).is_some());
                images += 1;
            }
        }
        println!(
            "{name}: {:.0} per second ({files} of {images})",
            f64::from(images) / started.elapsed().as_secs_f64()
        );
    }
}
