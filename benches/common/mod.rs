//! What the benches share: settings, random numbers, children of their own, and what the system says of a
//! process.

#![allow(dead_code, reason = "each bench uses a part of it")]

#[path = "../../tests/support/bytes.rs"]
mod bytes;
pub mod random;
pub mod rate;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

pub use bytes::Bytes;
use pagelog::{PageCache, PageId, Version};
#[allow(unused_imports, reason = "each bench uses a part of it")]
pub use random::Random;

/// A number, a path or a word from the environment.
pub fn setting<T: std::str::FromStr>(name: &str, default: T) -> T {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is not understood")),
        Err(_) => default,
    }
}

/// Numbers from the environment, with commas between.
pub fn numbers(name: &str, default: &[usize]) -> Vec<usize> {
    let Ok(text) = std::env::var(name) else { return default.to_vec() };
    let number =
        |word: &str| word.trim().parse().unwrap_or_else(|_| panic!("{name}={text} is no list of numbers"));
    text.split(',').map(number).collect()
}

/// The middle one.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A directory of this process that is removed when the bench is done with it.
#[derive(Debug)]
pub struct Place(PathBuf);

impl Place {
    /// Below `DIRECTORY`, or among the system's temporary files.
    pub fn new(bench: &str) -> Self {
        let parent: PathBuf = setting("DIRECTORY", std::env::temp_dir());
        let path = parent.join(format!("pagelog-{bench}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory for the files");
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Links where no other thread writes.
pub fn link(cache: &PageCache<Bytes>, page: &mut (PageId, Version), bytes: Vec<u8>) {
    let outcome = cache.link(page.0, page.1, Bytes(bytes)).expect("a link");
    page.1 = outcome.done().expect("nobody else writes");
}

/// Replaces where no other thread writes.
pub fn replace(cache: &PageCache<Bytes>, page: &mut (PageId, Version), bytes: Vec<u8>) {
    let outcome = cache.replace(page.0, page.1, Bytes(bytes)).expect("a replacement");
    page.1 = outcome.done().expect("nobody else writes");
}

/// A new page.
pub fn allocate(cache: &PageCache<Bytes>, bytes: Vec<u8>) -> (PageId, Version) {
    let page = cache.allocate(Bytes(bytes)).expect("a page");
    (page.page_id, page.version)
}

/// The bytes of memory that the system says a process has: `VmRSS` now, `VmHWM` at most. 0 where it does not
/// say.
pub fn memory_of(process: &str, what: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':')).unwrap_or("0");
    line.split_whitespace().next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0) << 10
}

/// Lets the system forget what it keeps of files, so that reads come from the disk. False if it may not.
pub fn drop_file_caches() -> bool {
    let _ = Command::new("sync").status();
    fs::write("/proc/sys/vm/drop_caches", "3").is_ok()
}

/// This program once more, as a process of its own, with these settings.
pub fn child(settings: &[(&str, String)]) -> Child {
    let this = std::env::current_exe().expect("a program");
    let mut command = Command::new(this);
    command.envs(settings.iter().map(|(name, value)| (*name, value.as_str())));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a process")
}
