//! Errors, full disks, failed syncs and rot.

use std::collections::BTreeSet;
use std::io::ErrorKind;

use super::{SEEDS, disk_with, lettered, letters, outcomes, read, sectors, set, sync, write};
use crate::storage::sim::{CallKind, Fault, SimStorage, When};
use crate::storage::{Access, Storage};

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

/// The trap that PostgreSQL found in 2018: the sync after a failed one succeeds, and the bytes are not on the
/// disk.
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
    assert_eq!(lettered(outcomes(&disk, "log")), set(&["ab.", "ay."]));
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
