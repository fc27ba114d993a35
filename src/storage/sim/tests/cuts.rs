//! What a power cut may take, and what it may not.

use std::collections::BTreeSet;
use std::io::Result;

use super::{SEEDS, all_outcomes, disk_with, lettered, letters, outcomes, read, sectors, set, sync, write};
use crate::storage::sim::SimStorage;
use crate::storage::{Access, Storage};

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
fn what_a_cut_off_took_before_it_was_durable_does_not_come_back_either() {
    let disk = disk_with("log", &sectors("a"));
    write(&disk, "log", &sectors("xy"), 512);
    let file = disk.open("log", Access::Write).unwrap();
    file.set_len(1024).unwrap();
    file.set_len(2048).unwrap();
    for image in disk.all_after_power_cut() {
        let found = letters(read(&image, "log"));
        // Length 4 is only reached through the cut-off; length 3 is the moment before.
        assert!(found.len() != 4 || found == "ax.." || found == "a...", "{found}");
    }
    sync(&disk, "log");
    assert_eq!(lettered(outcomes(&disk, "log")), set(&["ax.."]));
}

#[test]
fn a_file_that_was_renamed_twice_has_one_name() {
    let disk = disk_with("log", &sectors("a"));
    disk.rename("log", "log2").unwrap();
    disk.rename("log2", "log3").unwrap();
    let names: BTreeSet<Vec<String>> =
        disk.all_after_power_cut().map(|image| image.contents().into_keys().collect()).collect();
    let expected = ["log", "log2", "log3"].map(|name| vec![name.to_owned()]);
    assert_eq!(names, BTreeSet::from(expected));
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

/// The steps of replacing a file safely, with one of them left out.
fn replace_file(disk: &SimStorage, left_out: &str) -> Result<()> {
    let step = |name: &str| name != left_out;
    let file = disk.create("new")?;
    file.write_at(&sectors("xyz"), 0)?;
    if step("sync file") {
        file.sync()?;
    }
    disk.rename("new", "log")?;
    if step("sync directory") {
        disk.sync_directory()?;
    }
    Ok(())
}

#[test]
fn replacing_a_file_is_safe_with_every_step_and_with_none_left_out() {
    let verdict = |left_out: &str| {
        let disk = disk_with("log", &sectors("abc"));
        disk.record_history();
        replace_file(&disk, left_out).unwrap();
        let acknowledged = disk.operations();
        let (mut torn, mut lost) = (false, false);
        for moment in disk.history().unwrap() {
            for seed in 0..SEEDS {
                let found = letters(read(&disk.image_at(moment, seed).unwrap(), "log"));
                torn |= found != "abc" && found != "xyz";
                lost |= moment >= acknowledged && found != "xyz";
            }
        }
        (torn, lost)
    };
    assert_eq!(verdict("nothing"), (false, false));
    assert_eq!(verdict("sync file"), (true, true));
    assert_eq!(verdict("sync directory"), (false, true));
}
