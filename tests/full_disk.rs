//! Real file systems that are full: a small tmpfs, and a limit on the size of files.
//!
//! The store is filled until it is refused, several times. Each time what was written is there, and can be
//! made durable; and when there is space again, because pages were freed or because somebody else's file was
//! removed, it goes on *without being opened again*. Both ways the system writes a part of what it was given
//! first, and then refuses.
//!
//! Mounting needs root: without it that test says that it is skipped.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Bytes, Dice, alone, read};
use pagelog::{Config, Error, PageCache, PageId, Version};

/// The place of the store, for a child whose files must not grow beyond a limit.
const CHILD: &str = "PAGELOG_TEST_FULL_DISK_CHILD";
/// In blocks of 512 bytes, or of 1024 in some shells.
const LIMIT: &str = "2048";

fn config(path: &Path) -> Config {
    Config::new(path).segment_size(64 << 10).cache_capacity(256 << 10).inline_limit(32 << 10)
}

struct Filled {
    cache: PageCache<Bytes>,
    pages: BTreeMap<PageId, (Version, Vec<u8>)>,
    dice: Dice,
}

impl Filled {
    fn new(path: &Path) -> Self {
        let cache = config(path).open().unwrap();
        Self { cache, pages: BTreeMap::new(), dice: Dice::new(5) }
    }

    fn allocate(&mut self, length: usize) -> Result<(), Error> {
        let bytes: Vec<u8> = (0..length).map(|_| self.dice.next() as u8).collect();
        let page = self.cache.allocate(Bytes(bytes.clone()))?;
        self.pages.insert(page.page_id, (page.version, bytes));
        Ok(())
    }

    /// Writes until it is refused. Returns how many pages there was space for.
    fn fill(&mut self) -> usize {
        for number in 0..10_000 {
            match self.allocate(3000) {
                Ok(()) => {}
                Err(Error::DiskFull { path }) => {
                    assert!(path.ends_with("log"), "{path}");
                    return number;
                }
                Err(error) => panic!("a full disk is {error:?}"),
            }
            if number % 16 == 0 {
                self.cache.flush().expect("what was admitted can be flushed");
            }
        }
        panic!("the disk does not get full");
    }

    /// Frees some pages, and has their space collected.
    fn free(&mut self, count: usize) {
        for _ in 0..count {
            let (page_id, (version, _)) = self.pages.pop_first().expect("a page");
            assert!(self.cache.free(page_id, version).expect("to free is admitted").is_done());
        }
        self.cache.flush().unwrap();
        while self.cache.attempt_gc().expect("to collect is admitted") {
            self.cache.flush().unwrap();
        }
    }

    fn check(&self) {
        check(&self.cache, &self.pages);
    }
}

fn check(cache: &PageCache<Bytes>, pages: &BTreeMap<PageId, (Version, Vec<u8>)>) {
    for (page_id, (_, bytes)) in pages {
        assert!(read(cache, *page_id).as_ref() == Some(bytes), "page {page_id}");
    }
    let report = cache.verify().unwrap();
    assert!(report.is_sound(), "{:?}", report.faults);
}

/// As it would be found if the process died now: everything is there.
fn check_copy(filled: &Filled, path: &Path) {
    filled.cache.flush().unwrap();
    let place = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(path).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), place.path().join(entry.file_name())).unwrap();
    }
    check(&config(place.path()).open().unwrap(), &filled.pages);
}

/// Fills a store and empties it by turns.
fn fill_and_free(path: &Path, look: impl Fn(&Filled)) -> Filled {
    let mut filled = Filled::new(path);
    let first = filled.fill();
    for _ in 0..3 {
        filled.check();
        look(&filled);
        // Refused as long as there is no space; what makes space is not.
        assert!(matches!(filled.allocate(3000), Err(Error::DiskFull { .. })));
        filled.free(filled.pages.len() / 2);
        let again = filled.fill();
        assert!(again >= first / 4, "space for {again} pages, of {first}");
    }
    filled
}

fn reopen(filled: Filled, path: &Path) {
    let Filled { cache, pages, .. } = filled;
    // There may be no space for a snapshot.
    let _ = cache.close();
    drop(cache);
    check(&config(path).open().unwrap(), &pages);
}

/// A mounted tmpfs, until it is dropped.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

fn mount(at: &Path) -> Option<Mounted> {
    let mut command = Command::new("mount");
    let done = command.args(["-t", "tmpfs", "-o", "size=8m", "pagelog-test"]).arg(at).output();
    done.is_ok_and(|output| output.status.success()).then(|| Mounted(at.to_owned()))
}

#[test]
fn a_file_system_that_is_full_is_gone_on_with_when_there_is_space() {
    let _alone = alone();
    let place = tempfile::tempdir().unwrap();
    let Some(_mounted) = mount(place.path()) else {
        println!("skipped: no tmpfs can be mounted here; it needs root, and Linux");
        return;
    };
    let (path, foreign) = (place.path().join("store"), place.path().join("foreign"));
    fs::write(&foreign, vec![1; 3 << 20]).unwrap();
    let mut filled = fill_and_free(&path, |filled| check_copy(filled, &path));
    // A large value finds no space either, and leaves nothing behind.
    assert!(matches!(filled.allocate(300 << 10), Err(Error::DiskFull { .. })));
    assert_eq!(filled.cache.stats().large_values, 0);
    filled.check();
    // Space that others make.
    fs::remove_file(&foreign).unwrap();
    filled.allocate(300 << 10).expect("there is space for a large value");
    let again = filled.fill();
    assert!(again > 400, "space for {again} pages, of 3 MiB");
    filled.check();
    check_copy(&filled, &path);
    reopen(filled, &path);
}

/// No test of its own: what the child does.
#[test]
fn child_whose_files_may_not_grow() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let path = PathBuf::from(path);
    // No copy of a file that is as long as it may be.
    let filled = fill_and_free(&path, |_| {});
    reopen(filled, &path);
}

#[test]
fn a_limit_on_the_size_of_files_is_a_full_disk() {
    let place = tempfile::tempdir().unwrap();
    // Without the trap the system would end the process instead of refusing.
    let script = format!("trap '' XFSZ; ulimit -f {LIMIT}; exec \"$@\"");
    let child = Command::new("sh")
        .args(["-c", &script, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "child_whose_files_may_not_grow", "--nocapture"])
        .env(CHILD, place.path().join("store"))
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&child.stdout) + String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success(), "{words}");
    assert!(words.contains("1 passed"), "{words}");
}
