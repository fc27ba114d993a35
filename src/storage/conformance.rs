//! One set of behaviour, checked against every back-end: what holds for real files must hold in memory and in
//! the simulation, or tests on those prove nothing.

use std::io::{self, ErrorKind};
use std::sync::Arc;

use crate::storage::{Access, FileStorage, MemoryStorage, Storage, StorageFile};
use crate::sync::atomic::{AtomicBool, Ordering};

/// Runs each named test once per back-end.
macro_rules! on_every_storage {
    ($($name:ident),* $(,)?) => {
        mod file {
            $(#[test]
            fn $name() {
                let temporary = tempfile::tempdir().unwrap();
                super::$name(&super::FileStorage::new(temporary.path().join("a/b")));
            })*
        }
        mod memory {
            $(#[test]
            fn $name() {
                super::$name(&super::MemoryStorage::new());
            })*
        }
        #[cfg(feature = "sim")]
        mod sim {
            $(#[test]
            fn $name() {
                super::$name(&crate::storage::sim::SimStorage::new(1));
            })*
        }
    };
}

on_every_storage!(
    a_directory_that_was_not_created_lists_as_empty,
    a_directory_can_be_created_twice_and_removed_twice,
    a_file_that_was_not_created_is_not_found,
    a_created_file_is_empty_listed_and_can_be_opened,
    creating_again_empties_the_file_also_for_open_handles,
    what_is_written_is_read_back_through_any_handle,
    reading_past_the_end_is_an_unexpected_end,
    writing_behind_the_end_grows_with_zeros,
    writing_nothing_changes_nothing,
    setting_the_length_cuts_and_extends_with_zeros,
    lengths_beyond_the_number_range_are_refused,
    a_file_opened_for_reading_refuses_to_change,
    renaming_replaces_the_target_and_keeps_handles,
    renaming_to_itself_keeps_the_file,
    removing_takes_the_name_away,
    a_write_lock_excludes_all_others_within_the_process,
    read_locks_exclude_writers_only,
    a_read_lock_without_a_lock_file_creates_nothing,
    a_write_lock_leaves_other_names_alone,
    a_write_lock_keeps_the_lock_files_bytes,
    removing_the_directory_removes_all_files,
    syncing_succeeds,
    threads_write_their_own_ranges,
);

fn kind<T>(result: io::Result<T>) -> ErrorKind {
    match result {
        Ok(_) => panic!("it should have failed"),
        Err(error) => error.kind(),
    }
}

fn contents(file: &dyn StorageFile) -> Vec<u8> {
    let mut bytes = vec![0xEE; file.len().unwrap() as usize];
    file.read_at(&mut bytes, 0).unwrap();
    bytes
}

fn listed(storage: &dyn Storage) -> Vec<String> {
    let mut names = storage.list().unwrap();
    names.sort();
    names
}

fn created(storage: &dyn Storage, name: &str, bytes: &[u8]) -> Arc<dyn StorageFile> {
    storage.create_directory().unwrap();
    let file = storage.create(name).unwrap();
    file.write_at(bytes, 0).unwrap();
    file
}

fn a_directory_that_was_not_created_lists_as_empty(storage: &dyn Storage) {
    assert!(storage.list().unwrap().is_empty());
}

fn a_directory_can_be_created_twice_and_removed_twice(storage: &dyn Storage) {
    storage.create_directory().unwrap();
    storage.create_directory().unwrap();
    assert!(storage.list().unwrap().is_empty());
    storage.remove_directory().unwrap();
    storage.remove_directory().unwrap();
    assert!(storage.list().unwrap().is_empty());
}

fn a_file_that_was_not_created_is_not_found(storage: &dyn Storage) {
    assert_eq!(kind(storage.open("log", Access::Read)), ErrorKind::NotFound);
    storage.create_directory().unwrap();
    assert_eq!(kind(storage.open("log", Access::Read)), ErrorKind::NotFound);
    assert_eq!(kind(storage.open("log", Access::Write)), ErrorKind::NotFound);
    assert_eq!(kind(storage.rename("log", "other")), ErrorKind::NotFound);
    assert_eq!(kind(storage.remove("log")), ErrorKind::NotFound);
    assert!(storage.list().unwrap().is_empty());
    assert!(storage.describe("log").contains("log"));
}

fn a_created_file_is_empty_listed_and_can_be_opened(storage: &dyn Storage) {
    storage.create_directory().unwrap();
    let file = storage.create("log").unwrap();
    assert!(file.is_empty().unwrap());
    assert_eq!(storage.open("log", Access::Read).unwrap().len().unwrap(), 0);
    storage.create("MANIFEST").unwrap();
    assert_eq!(listed(storage), ["MANIFEST", "log"]);
}

fn creating_again_empties_the_file_also_for_open_handles(storage: &dyn Storage) {
    let old = created(storage, "log", b"bytes");
    let new = storage.create("log").unwrap();
    assert_eq!(old.len().unwrap(), 0);
    new.write_at(b"new", 0).unwrap();
    assert_eq!(contents(&*old), b"new");
}

fn what_is_written_is_read_back_through_any_handle(storage: &dyn Storage) {
    let file = created(storage, "log", b"0123456789");
    let other = storage.open("log", Access::Write).unwrap();
    other.write_at(b"abc", 4).unwrap();
    assert_eq!(contents(&*file), b"0123abc789");
    let mut middle = [0; 3];
    storage.open("log", Access::Read).unwrap().read_at(&mut middle, 3).unwrap();
    assert_eq!(&middle, b"3ab");
}

fn reading_past_the_end_is_an_unexpected_end(storage: &dyn Storage) {
    let file = created(storage, "log", b"0123456789");
    let mut buffer = [0; 5];
    file.read_at(&mut buffer, 5).unwrap();
    assert_eq!(kind(file.read_at(&mut buffer, 6)), ErrorKind::UnexpectedEof);
    assert_eq!(kind(file.read_at(&mut buffer, 1 << 40)), ErrorKind::UnexpectedEof);
    file.read_at(&mut [], 10).unwrap();
    assert_eq!(file.len().unwrap(), 10, "reading grows nothing");
}

fn writing_behind_the_end_grows_with_zeros(storage: &dyn Storage) {
    let file = created(storage, "log", b"ab");
    file.write_at(b"cd", 5000).unwrap();
    let mut expected = vec![0; 5002];
    expected[..2].copy_from_slice(b"ab");
    expected[5000..].copy_from_slice(b"cd");
    assert_eq!(contents(&*file), expected);
}

fn writing_nothing_changes_nothing(storage: &dyn Storage) {
    let file = created(storage, "log", b"ab");
    file.write_at(b"", 100).unwrap();
    assert_eq!(contents(&*file), b"ab");
}

fn setting_the_length_cuts_and_extends_with_zeros(storage: &dyn Storage) {
    let file = created(storage, "log", &[7; 9000]);
    file.set_len(4100).unwrap();
    assert_eq!(contents(&*file), [7; 4100]);
    file.set_len(9000).unwrap();
    let mut expected = vec![7; 4100];
    expected.resize(9000, 0);
    assert_eq!(contents(&*file), expected);
}

fn lengths_beyond_the_number_range_are_refused(storage: &dyn Storage) {
    let file = created(storage, "log", b"ab");
    assert!(file.set_len(u64::MAX).is_err());
    assert!(file.write_at(b"c", u64::MAX).is_err());
    assert!(file.read_at(&mut [0], u64::MAX).is_err());
    assert_eq!(contents(&*file), b"ab");
}

fn a_file_opened_for_reading_refuses_to_change(storage: &dyn Storage) {
    created(storage, "log", b"ab");
    let file = storage.open("log", Access::Read).unwrap();
    assert!(file.write_at(b"c", 0).is_err());
    assert!(file.set_len(0).is_err());
    assert_eq!(contents(&*file), b"ab");
}

fn renaming_replaces_the_target_and_keeps_handles(storage: &dyn Storage) {
    created(storage, "log", b"old");
    let new = created(storage, "log.new", b"new");
    storage.rename("log.new", "log").unwrap();
    assert_eq!(listed(storage), ["log"]);
    assert_eq!(contents(&*storage.open("log", Access::Read).unwrap()), b"new");
    new.write_at(b"!", 3).unwrap();
    assert_eq!(contents(&*storage.open("log", Access::Read).unwrap()), b"new!");
}

fn renaming_to_itself_keeps_the_file(storage: &dyn Storage) {
    created(storage, "log", b"bytes");
    storage.rename("log", "log").unwrap();
    assert_eq!(contents(&*storage.open("log", Access::Read).unwrap()), b"bytes");
}

fn removing_takes_the_name_away(storage: &dyn Storage) {
    created(storage, "log", b"old");
    storage.remove("log").unwrap();
    assert_eq!(kind(storage.open("log", Access::Read)), ErrorKind::NotFound);
    assert!(storage.list().unwrap().is_empty());
    let file = created(storage, "log", b"");
    assert!(file.is_empty().unwrap(), "a new file of that name is another file");
}

fn a_write_lock_excludes_all_others_within_the_process(storage: &dyn Storage) {
    storage.create_directory().unwrap();
    let lock = storage.lock("LOCK", Access::Write).unwrap();
    assert!(lock.is_some());
    assert!(storage.lock("LOCK", Access::Write).unwrap().is_none());
    assert!(storage.lock("LOCK", Access::Read).unwrap().is_none());
    drop(lock);
    assert!(storage.lock("LOCK", Access::Read).unwrap().is_some());
    assert!(storage.lock("LOCK", Access::Write).unwrap().is_some());
}

fn read_locks_exclude_writers_only(storage: &dyn Storage) {
    created(storage, "LOCK", b"");
    let first = storage.lock("LOCK", Access::Read).unwrap();
    let second = storage.lock("LOCK", Access::Read).unwrap();
    assert!(first.is_some() && second.is_some());
    assert!(storage.lock("LOCK", Access::Write).unwrap().is_none());
    drop(first);
    assert!(storage.lock("LOCK", Access::Write).unwrap().is_none(), "one reader is left");
    drop(second);
    assert!(storage.lock("LOCK", Access::Write).unwrap().is_some());
}

fn a_read_lock_without_a_lock_file_creates_nothing(storage: &dyn Storage) {
    let lock = storage.lock("LOCK", Access::Read).unwrap();
    assert!(lock.is_some());
    assert!(storage.list().unwrap().is_empty());
    storage.create_directory().unwrap();
    assert!(storage.lock("LOCK", Access::Read).unwrap().is_some());
    assert!(storage.list().unwrap().is_empty());
    drop(lock);
    assert!(storage.lock("LOCK", Access::Write).unwrap().is_some());
    assert_eq!(storage.list().unwrap(), ["LOCK"]);
}

fn a_write_lock_leaves_other_names_alone(storage: &dyn Storage) {
    storage.create_directory().unwrap();
    let first = storage.lock("LOCK", Access::Write).unwrap();
    let second = storage.lock("OTHER", Access::Write).unwrap();
    assert!(first.is_some() && second.is_some());
}

fn a_write_lock_keeps_the_lock_files_bytes(storage: &dyn Storage) {
    let file = created(storage, "LOCK", b"bytes");
    let lock = storage.lock("LOCK", Access::Write).unwrap();
    assert!(lock.is_some());
    // Some systems let nobody else read a locked file.
    drop(lock);
    assert_eq!(contents(&*file), b"bytes");
}

fn removing_the_directory_removes_all_files(storage: &dyn Storage) {
    created(storage, "log", b"old");
    created(storage, "MANIFEST", b"old");
    storage.remove_directory().unwrap();
    assert!(storage.list().unwrap().is_empty());
    assert_eq!(kind(storage.open("log", Access::Read)), ErrorKind::NotFound);
    created(storage, "log", b"new");
    assert_eq!(listed(storage), ["log"]);
}

fn syncing_succeeds(storage: &dyn Storage) {
    let file = created(storage, "log", b"old");
    file.sync().unwrap();
    storage.sync_directory().unwrap();
    assert_eq!(contents(&*file), b"old");
}

fn threads_write_their_own_ranges(storage: &dyn Storage) {
    let file = created(storage, "log", b"");
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            let file = &file;
            scope.spawn(move || {
                for round in 0..64 {
                    let offset = (round * 4 + u64::from(thread)) * 100;
                    file.write_at(&[thread; 100], offset).unwrap();
                    let mut back = [9; 100];
                    file.read_at(&mut back, offset).unwrap();
                    assert_eq!(back, [thread; 100]);
                }
            });
        }
    });
    let all = contents(&*file);
    assert_eq!(all.len(), 64 * 4 * 100);
    for (index, block) in all.chunks(100).enumerate() {
        assert!(block.iter().all(|byte| usize::from(*byte) == index % 4), "block {index}");
    }
}

#[test]
fn a_lock_on_a_file_that_lost_its_name_is_not_a_lock_on_the_new_one() {
    let temporary = tempfile::tempdir().unwrap();
    let storage = FileStorage::new(temporary.path());
    let old = storage.lock("LOCK", Access::Write).unwrap();
    assert!(old.is_some());
    storage.remove("LOCK").unwrap();
    let new = storage.lock("LOCK", Access::Write).unwrap();
    assert!(new.is_some(), "the new file is free");
    drop(old);
    assert!(storage.lock("LOCK", Access::Write).unwrap().is_none(), "and stays locked");
}

#[test]
fn a_lock_whose_file_is_removed_by_each_owner_still_excludes() {
    let temporary = tempfile::tempdir().unwrap();
    let storage = FileStorage::new(temporary.path());
    let owned = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..2000 {
                    let Some(_lock) = storage.lock("LOCK", Access::Write).unwrap() else { continue };
                    assert!(!owned.swap(true, Ordering::SeqCst), "two owners");
                    owned.store(false, Ordering::SeqCst);
                    storage.remove("LOCK").unwrap();
                }
            });
        }
    });
}

#[test]
fn a_relative_directory_of_one_part_can_be_created() {
    let temporary = tempfile::tempdir_in(".").unwrap();
    let name = temporary.path().file_name().unwrap();
    let storage = FileStorage::new(std::path::Path::new(name).join("store"));
    storage.create_directory().unwrap();
    storage.create("log").unwrap();
    assert!(temporary.path().join("store/log").exists());
}
