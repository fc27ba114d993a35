//! A store with a dictionary and compressed records, as its files were when it was written down. A later
//! version has to read these bytes; and of every flipped bit and every cut of what is compressed in them
//! somebody hears.
//!
//! The files are in `compressed.hex`. If the format of stores changes, they stay, and a second one comes
//! beside them: `PAGELOG_WRITE_GOLDEN=1 cargo test --features compression --test golden_store compressed`
//! writes it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::{env, fs};

use pagelog::MemoryStorage;

use super::frozen::{from_text, to_text};
use super::golden::{Builder, Golden, Verdict, config, files_of};
use super::{Case, STORES, bits, flip, without_damage};

/// So many pages are there to be learned from.
const LEARNED: u64 = 60;

/// A row of a table: short, unlike all others, and of the same make.
fn row(number: u64) -> Vec<u8> {
    let city = ["Bern", "Oslo", "Porto", "Turku", "Lviv"][number as usize % 5];
    let balance = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    format!("{{\"customer\":{number},\"city\":\"{city}\",\"balance\":{balance},\"open\":true}}").into_bytes()
}

/// Pages that were compressed without a dictionary and with one, links, a large value, and a snapshot of
/// them.
fn compressed() -> Golden {
    let storage = Arc::new(MemoryStorage::new());
    let cache = config(&storage).segment_size(512).compression(3).open().unwrap();
    let mut store = Builder::new(cache);
    let plain = store.allocate(b"not worth it");
    let alone = store.allocate(&row(1).repeat(4));
    let learned: Vec<u64> = (0..LEARNED).map(|number| store.allocate(&row(number))).collect();
    assert!(store.cache.train_dictionary(256).unwrap(), "there was too little to learn from");
    learned.into_iter().for_each(|page_id| store.free(page_id));
    let rows: Vec<u64> = (100..106).map(|number| store.allocate(&row(number))).collect();
    store.link(rows[0], &row(200));
    store.link(alone, &row(201));
    store.replace(rows[1], &row(202).repeat(3));
    // Too long for the log even so.
    let long: Vec<u8> = (300..340).flat_map(row).collect();
    store.replace(rows[2], &long);
    store.cache.flush().unwrap();
    while store.cache.attempt_gc().unwrap() {}
    store.cache.snapshot().unwrap();
    store.link(rows[3], &row(203));
    store.link(plain, b", nor this");
    let counts = store.cache.stats().counts;
    assert!(counts.payloads_compressed > 10, "{counts:?}");
    store.cache.close().unwrap();
    let (states, proven) = (store.states, 0);
    // What a flipped bit hides of its page is hidden for good; of what is left all is there.
    Golden { files: files_of(&storage), states, proven, pages: LEARNED + 10 }
}

/// What is in the store is what this version puts in, and the files are those of the version that wrote them.
static GOLDEN: LazyLock<Golden> = LazyLock::new(|| {
    LazyLock::force(&STORES);
    let now = compressed();
    if env::var("PAGELOG_WRITE_GOLDEN").is_ok() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden_store/compressed.hex");
        fs::write(path, to_text(&now.files)).unwrap();
    }
    without_damage(&now);
    Golden { files: from_text(include_str!("compressed.hex")), ..now }
});

#[test]
fn compressed_files_that_were_written_once_are_read_for_ever() {
    let names: Vec<&str> = GOLDEN.files.keys().map(|name| name.split('-').next().unwrap()).collect();
    assert_eq!(names, ["LOCK", "MANIFEST", "MANIFEST.new", "blob", "dictionary", "log", "snapshot"]);
    without_damage(&GOLDEN);
    let again = from_text(&to_text(&GOLDEN.files));
    assert!(again == GOLDEN.files);
}

/// The files with names that begin so.
fn files(beginning: &str) -> Vec<&'static String> {
    GOLDEN.files.keys().filter(|name| name.starts_with(beginning)).collect()
}

#[test]
fn every_flipped_bit_of_a_dictionary_and_of_a_compressed_large_value_is_found() {
    for name in [files("dictionary-"), files("blob-")].concat() {
        for (read_only, step) in [(true, 1), (false, 9)] {
            let some: Vec<_> = bits(&GOLDEN.files[name], 1).into_iter().step_by(step).collect();
            let tally = flip(&GOLDEN, name, &some, read_only);
            assert_eq!(tally.verdicts.keys().copied().collect::<Vec<_>>(), [Verdict::PartlyUnreadable]);
        }
    }
}

#[test]
fn every_flipped_bit_of_a_log_of_compressed_records_is_found_unless_nobody_needs_it() {
    let tally = flip(&GOLDEN, "log", &bits(&GOLDEN.files["log"], 64), true);
    let partly = tally.verdicts[&Verdict::PartlyUnreadable];
    assert!(partly > 2000 && !tally.verdicts.contains_key(&Verdict::Shorter), "{:?}", tally.verdicts);
}

#[test]
fn every_cut_of_what_is_compressed_is_found() {
    for name in [files("dictionary-"), files("blob-"), files("log")].concat() {
        let mut verdicts: BTreeMap<Verdict, u32> = BTreeMap::new();
        for length in 0..GOLDEN.files[name].len() {
            let _case = Case(name, length, "cut".into());
            let mut files = GOLDEN.files.clone();
            files.get_mut(name).unwrap().truncate(length);
            *verdicts.entry(GOLDEN.judge(&files, true)).or_default() += 1;
        }
        println!("{name} cut: {verdicts:?}");
        assert!(verdicts.keys().all(|verdict| *verdict != Verdict::Unnoticed) || name == "log");
    }
}
