//! What is told of damage and of states says the same everywhere, and a picture shows all of it within its
//! edges.

use std::fs::{self, OpenOptions};
use std::sync::Arc;

use pagelog::inspect::SegmentState;
use pagelog::sim::SimStorage;
use pagelog::{Log, PageCache};

use super::json::Value;
use super::reading::{inspect, survey};
use super::{SEGMENT, Sample, config, flip, run, sample, well_formed};
use crate::common::{Bytes, alone, tiny};

/// How many slots the map says are in a state.
fn slots(map: &Value, state: &str) -> u64 {
    let states = map.at("states").list().iter();
    states.filter(|of| of.at("state").text() == state).map(|of| of.at("count").number()).sum()
}

#[test]
fn what_a_file_that_was_cut_has_lost_is_called_missing() {
    let _turn = alone();
    let sample = sample(false);
    let whole = run("map @ --json", &sample.path()).json();
    let full = slots(&whole, "sealed");
    assert!(full > 10 && slots(&whole, "active") == 1);
    let log = OpenOptions::new().write(true).open(sample.file("log")).unwrap();
    log.set_len(u64::from(SEGMENT) * 6 + 2000).unwrap();
    let cut = run("map @ --json", &sample.path()).json();
    // Of the seventh segment there is half. The one being filled is lost, too.
    assert_eq!((slots(&cut, "sealed"), slots(&cut, "missing")), (7, full + 1 - 7), "{cut:?}");
    // They were called empty, which is what holds nothing that is needed; and one of them was called active.
    assert_eq!((slots(&cut, "empty"), slots(&cut, "active")), (0, 0), "{cut:?}");
    for command in ["map @", "stats @", "dump segments @"] {
        assert!(run(command, &sample.path()).out.contains("missing"), "{command}");
    }
}

/// The end of the log is where the first record is torn, if nothing behind it was promised.
#[test]
fn what_was_written_behind_the_end_of_the_log_is_called_void() {
    let _turn = alone();
    let disk = Arc::new(SimStorage::new(1));
    let log = Log::open(tiny(&disk)).unwrap();
    for n in 0..200 {
        log.append(&[n; 50]).unwrap();
    }
    let disk = Arc::new(disk.after_kill());
    let whole = survey(&inspect(&disk).unwrap());
    let torn = &whole.segments[2];
    assert_eq!((torn.state, torn.live_records > 2), (SegmentState::Sealed, true), "{whole:?}");
    disk.flip_bit("log", u64::from(torn.slot) * torn_size(&disk) + 150, 1).unwrap();
    let found = survey(&inspect(&disk).unwrap());
    assert!(found.faults.is_empty(), "{:?}", found.faults);
    for (before, now) in whole.segments.iter().zip(&found.segments) {
        let is_behind = before.segment > torn.segment && before.records > 0;
        assert_eq!(now.state == SegmentState::Void, is_behind, "{before:?} {now:?}");
        assert!(!is_behind || (now.records, now.live_records) == (0, 0), "{now:?}");
    }
    assert!(found.segments.iter().filter(|segment| segment.state == SegmentState::Void).count() > 5);
}

fn torn_size(disk: &Arc<SimStorage>) -> u64 {
    inspect(disk).unwrap().store().segment_size.into()
}

type Place = (Option<u64>, Option<u64>, Option<u64>, String);

fn faults(command: &str, sample: &Sample) -> Vec<Place> {
    let told = run(&format!("{command} --json"), &sample.path());
    assert_eq!(told.code, 1, "{command}: {told:?}");
    let number = |fault: &Value, name: &str| match fault.at(name) {
        Value::Null => None,
        number => Some(number.number()),
    };
    let place = |fault: &Value| {
        let [offset, lsn, page] = ["offset", "lsn", "page_id"].map(|name| number(fault, name));
        (offset, lsn, page, fault.at("reason").text().to_owned())
    };
    let mut places: Vec<Place> = told.json().at("faults").list().iter().map(place).collect();
    places.sort();
    places
}

/// Of a store that opens, `verify` knew no page of a dead record that is damaged, and did not say that a page
/// could not be put together any more. `map` and `dump` did.
#[test]
fn all_commands_name_the_same_damage() {
    let _turn = alone();
    for with_snapshot in [false, true] {
        let sample = sample(with_snapshot);
        let records = run("dump records @ --json", &sample.path()).json();
        let (mut live, mut dead) = (0, 0);
        for record in records.at("records").list().iter().step_by(7) {
            let is_of_page = matches!(record.at("kind").text(), "link" | "replace" | "free");
            if !is_of_page || record.at("length").number() < 20 {
                continue;
            }
            let last = record.at("file_offset").number() + record.at("length").number() - 1;
            flip(&sample.file("log"), last);
            let map = faults("map @", &sample);
            assert_eq!(faults("verify @", &sample), map, "{record:?}");
            assert_eq!(faults("dump segments @", &sample), map, "{record:?}");
            assert_eq!(map[map.len() - 1].2, Some(record.at("page_id").number()), "{map:?}");
            let is_live = record.at("state").text() == "live";
            (live, dead) = (live + u32::from(is_live), dead + u32::from(!is_live));
            flip(&sample.file("log"), last);
        }
        assert!(live > 5 && dead > 5, "{live} live, {dead} dead");
    }
}

fn drawn(sample: &Sample) -> String {
    let file = sample.place.path().join("map.svg");
    let drawn = run(&format!("map @ --svg {}", file.display()), &sample.path());
    assert!(drawn.out.contains("drawn to"), "{drawn:?}");
    let svg = fs::read_to_string(file).unwrap();
    well_formed(&svg);
    svg
}

/// The heading of a store with a long path ran out of the picture.
#[test]
fn the_heading_of_a_picture_leaves_out_the_middle_of_a_long_path() {
    let _turn = alone();
    let mut sample = sample(false);
    let long = sample.place.path().join("a-long-name/".repeat(15)).join("the-end");
    fs::create_dir_all(&long).unwrap();
    fs::rename(sample.path(), long.join("store")).unwrap();
    let file = sample.place.path().join("map.svg");
    run(&format!("map @/store --svg {}", file.display()), &long);
    let svg = fs::read_to_string(file).unwrap();
    let heading = svg.lines().find(|line| line.contains("Log of")).unwrap();
    let text = heading.split(['<', '>']).nth(2).unwrap();
    assert!(text.starts_with("Log of /") && text.ends_with("the-end/store"), "{text}");
    assert!(text.contains('…') && text.chars().count() < 70, "{text}");
    // One that fits is there as a whole.
    fs::rename(long.join("store"), sample.path()).unwrap();
    sample.pages.clear();
    assert!(drawn(&sample).contains(&format!("Log of {}<", sample.path().display())));
}

#[test]
fn the_legend_of_a_picture_names_every_look() {
    let _turn = alone();
    let svg = drawn(&sample(false));
    for name in ["full, 60 % live", "empty", "being filled", "claimed", "free", "void", "damaged or missing"]
    {
        assert!(svg.contains(&format!("<title>{name}")), "{name}");
    }
    assert!(svg.contains("just now") && !svg.contains("no segment is full yet"));
}

/// It had an axis from 0 to 1 with nothing in it, and colours from "0 segments ago" to "just now".
#[test]
fn the_picture_of_a_young_store_says_that_nothing_is_full_yet() {
    let _turn = alone();
    let place = tempfile::tempdir().unwrap();
    let sample = Sample { place, pages: Vec::new(), large: pagelog::PageId::new(1) };
    let cache: PageCache<Bytes> = config(&sample.path()).open().unwrap();
    cache.allocate(Bytes(vec![1; 100])).unwrap();
    cache.close().unwrap();
    drop(cache);
    let svg = drawn(&sample);
    assert_eq!(svg.matches("no segment is full yet").count(), 2);
    assert!(!svg.contains("just now") && !svg.contains("segments begun since") && !svg.contains("NaN"));
}
