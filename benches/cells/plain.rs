//! The baseline: the same work without any of the machinery.
//!
//! One `RwLock<Vec<u8>>` per page, one mutex around a log buffer of 1 MiB with checksummed records, a write
//! when it is full, and commits by leader and followers with one `fdatasync` for all who wait. No versions,
//! no eviction, no garbage collection, no recovery: hard to beat on one thread, and a shame to lose to on
//! two.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Condvar, Mutex, PoisonError, RwLock};

/// Bytes of the log buffer.
const BUFFER: usize = 1 << 20;

struct Log {
    buffer: Vec<u8>,
    /// Where in the file the buffer begins.
    start: u64,
}

#[derive(Default)]
struct Commits {
    stable: u64,
    leading: bool,
}

/// Pages in memory with a log behind them.
pub struct Plain {
    pages: Vec<RwLock<Vec<u8>>>,
    log: Mutex<Log>,
    file: File,
    commits: Mutex<Commits>,
    committed: Condvar,
}

fn unpoisoned<T>(result: Result<T, PoisonError<T>>) -> T {
    result.unwrap_or_else(PoisonError::into_inner)
}

impl Plain {
    /// An empty store in a new file.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
        let log = Mutex::new(Log { buffer: Vec::with_capacity(BUFFER), start: 0 });
        let (commits, committed) = (Mutex::default(), Condvar::new());
        Ok(Self { pages: Vec::new(), log, file, commits, committed })
    }

    /// How many pages there are.
    #[allow(dead_code, reason = "not every bench asks")]
    pub fn pages(&self) -> usize {
        self.pages.len()
    }

    /// Adds a page. Only while one thread has the store.
    pub fn allocate(&mut self, content: &[u8]) -> io::Result<usize> {
        self.append(self.pages.len(), content)?;
        self.pages.push(RwLock::new(content.to_vec()));
        Ok(self.pages.len() - 1)
    }

    /// Appends a fragment to a page; returns the page's length.
    pub fn link(&self, page: usize, fragment: &[u8]) -> io::Result<usize> {
        let mut content = unpoisoned(self.pages[page].write());
        self.append(page, fragment)?;
        content.extend_from_slice(fragment);
        Ok(content.len())
    }

    /// Replaces a page.
    pub fn replace(&self, page: usize, whole: &[u8]) -> io::Result<()> {
        let mut content = unpoisoned(self.pages[page].write());
        self.append(page, whole)?;
        content.clear();
        content.extend_from_slice(whole);
        Ok(())
    }

    /// Reads from a page.
    pub fn get<R>(&self, page: usize, look: impl FnOnce(&[u8]) -> R) -> R {
        look(&unpoisoned(self.pages[page].read()))
    }

    /// Logs a record; returns where it ends.
    fn append(&self, page: usize, payload: &[u8]) -> io::Result<u64> {
        let mut log = unpoisoned(self.log.lock());
        if log.buffer.len() + payload.len() + 16 > BUFFER {
            self.write(&mut log)?;
        }
        let at = log.buffer.len();
        log.buffer.extend_from_slice(&[0; 4]);
        log.buffer.extend_from_slice(&(page as u64).to_le_bytes());
        log.buffer.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        log.buffer.extend_from_slice(payload);
        let checksum = crc32fast::hash(&log.buffer[at + 4..]);
        log.buffer[at..at + 4].copy_from_slice(&checksum.to_le_bytes());
        Ok(log.start + log.buffer.len() as u64)
    }

    fn write(&self, log: &mut Log) -> io::Result<()> {
        self.file.write_all_at(&log.buffer, log.start)?;
        log.start += log.buffer.len() as u64;
        log.buffer.clear();
        Ok(())
    }

    /// Makes everything durable that was logged before.
    pub fn commit(&self) -> io::Result<()> {
        let wanted = {
            let log = unpoisoned(self.log.lock());
            log.start + log.buffer.len() as u64
        };
        let mut commits = unpoisoned(self.commits.lock());
        loop {
            if commits.stable >= wanted {
                return Ok(());
            }
            if !commits.leading {
                break;
            }
            commits = unpoisoned(self.committed.wait(commits));
        }
        commits.leading = true;
        drop(commits);
        let result = self.lead();
        let mut commits = unpoisoned(self.commits.lock());
        commits.leading = false;
        if let Ok(stable) = result {
            commits.stable = commits.stable.max(stable);
        }
        self.committed.notify_all();
        result.map(drop)
    }

    fn lead(&self) -> io::Result<u64> {
        let end = {
            let mut log = unpoisoned(self.log.lock());
            self.write(&mut log)?;
            log.start
        };
        self.file.sync_data()?;
        Ok(end)
    }
}
