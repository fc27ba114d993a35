//! A store of two heads, as all were before there were four, as its files were when it was written down:
//! `golden(false)` of that time. It is used like any other, and stays one of two.

use std::env;
use std::fs;
use std::path::Path;

use pagelog::{PageId, Version};

use super::bytes::Bytes;
use super::frozen::{from_text, to_text};
use super::golden::{Files, Golden, config, files_of, storage_of};
use super::{killed, without_damage};

/// Where the manifest says how many heads there are, in each of the two frames of its first entry.
const HEADS_AT: [usize; 2] = [44, 512 + 44];

fn two_heads() -> Golden {
    let Golden { states, proven, pages, .. } = killed();
    let files = from_text(include_str!("two_heads.hex"));
    Golden { files, states: states.clone(), proven: *proven, pages: *pages }
}

fn heads(files: &Files) -> [u8; 2] {
    HEADS_AT.map(|at| files["MANIFEST"][at])
}

#[test]
fn a_store_of_two_heads_is_read_for_ever() {
    if env::var("PAGELOG_WRITE_GOLDEN_KILLED").is_ok() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/killed.hex");
        fs::write(path, to_text(&killed().files)).unwrap();
    }
    let old = two_heads();
    assert_eq!((heads(&old.files), heads(&killed().files)), ([2, 2], [4, 4]));
    without_damage(&old);
}

#[test]
fn a_store_of_two_heads_stays_one_whatever_is_done_to_it() {
    let old = two_heads();
    let storage = storage_of(&old.files);
    let expected = &old.states.last().unwrap().pages;
    let mut version_of: Vec<(u64, u64)> = expected.iter().map(|(id, (version, _))| (*id, *version)).collect();
    for life in 0..4u8 {
        let cache = config(&storage).relocation_heads(3).open::<Bytes>().unwrap();
        for round in 0..30 {
            for (page_id, version) in &mut version_of {
                let (id, seen) = (PageId::new(*page_id), Version::new(*version));
                let written = match (round + *page_id) % 7 {
                    0 => cache.replace(id, seen, Bytes(vec![life; 60])).unwrap().done(),
                    _ if round % 3 == 0 => cache.link(id, seen, Bytes(vec![life])).unwrap().done(),
                    _ => continue,
                };
                *version = written.unwrap().get();
            }
            cache.flush().unwrap();
            while cache.attempt_gc().unwrap() {}
        }
        // As many as there are depends on guards that other tests hold: they keep segments from being used
        // again.
        assert!(cache.stats().counts.relocated_records > 10, "{:?}", cache.stats());
        assert!(cache.verify().unwrap().is_sound());
        cache.close().unwrap();
        assert_eq!(heads(&files_of(&storage)), [2, 2], "in life {life}");
    }
}
