//! What the simulation promises to those who test with it: it loses what may be lost, and nothing else.

mod cuts;
mod faults;
mod images;

use std::collections::BTreeSet;

use super::SimStorage;
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
