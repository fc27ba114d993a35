//! Entries of a bare log.

use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use pagelog::{Config, Log, Lsn};

use crate::common::rate::rate;
use crate::{Goal, Row, Settings};

const ENTRY: usize = 48;
const BLOCK: usize = 4096;

fn open(directory: &Path) -> Log {
    let _ = std::fs::remove_dir_all(directory);
    Log::open(Config::new(directory)).expect("it opens")
}

/// An append without anything that a log needs beside it: nothing is written, nobody waits, and nothing says
/// whose bytes these are.
struct RawBuffer {
    /// Bytes reserved, above the number of writers.
    word: AtomicU64,
    bytes: Vec<u8>,
}

impl RawBuffer {
    const WRITERS: u32 = 8;

    fn new() -> Self {
        Self { word: AtomicU64::new(0), bytes: vec![0; 1 << 20] }
    }

    fn append(&mut self, payload: &[u8; ENTRY]) {
        let length = (ENTRY + 4) as u64;
        let mut seen = self.word.load(Ordering::Relaxed);
        let at = loop {
            let at = seen >> Self::WRITERS;
            let at = if at + length > self.bytes.len() as u64 { 0 } else { at };
            let next = ((at + length) << Self::WRITERS) | ((seen & 0xff) + 1);
            match self.word.compare_exchange_weak(seen, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => break at as usize,
                Err(now) => seen = now,
            }
        };
        let checksum = crc32fast::hash(payload);
        self.bytes[at..at + 4].copy_from_slice(&checksum.to_le_bytes());
        self.bytes[at + 4..at + 4 + ENTRY].copy_from_slice(payload);
        self.word.fetch_sub(1, Ordering::Release);
    }
}

pub fn appends(directory: &Path, settings: &Settings) {
    const BURST: usize = 2000;
    const BURSTS: usize = 100;
    let log = open(directory);
    let mut raw = RawBuffer::new();
    let burst = |append: &mut dyn FnMut(&[u8; ENTRY])| {
        let mut entry = [7; ENTRY];
        let start = Instant::now();
        for number in 0..BURST {
            entry[0] = number as u8;
            append(black_box(&entry));
        }
        start.elapsed().as_nanos() as f64 / BURST as f64
    };
    let mut row = Row::new("append of 48 bytes", "ns", Goal::AtMost(1.3));
    for _ in 0..settings.rounds * BURSTS {
        let ours = burst(&mut |entry| _ = log.append(entry).expect("an append"));
        let control = burst(&mut |entry| raw.append(entry));
        row.add(ours, control);
        // What was appended goes to the file while no time is taken.
        log.flush().expect("a flush");
    }
    row.print();
    log.close().expect("it closes");
}

/// A file of blocks that were written before.
fn written_before(path: &Path, blocks: usize) -> File {
    let file = File::create(path).expect("a file");
    file.write_all_at(&vec![1; blocks * BLOCK], 0).expect("a write");
    file.sync_all().expect("a sync");
    file
}

fn commit(log: &Log, payload: &[u8]) -> Lsn {
    let lsn = log.append(payload).expect("an append");
    log.make_stable(lsn).expect("a commit");
    lsn
}

pub fn commits(directory: &Path, settings: &Settings) {
    for (threads, least) in [(16, 3.0), (64, 4.0)] {
        let log = open(directory);
        let file = written_before(&directory.join("blocks"), threads);
        let mut row = Row::new(format!("commits of {threads} threads"), "k/s", Goal::AtLeast(least));
        for _ in 0..settings.rounds {
            let ours = rate(threads, settings.time, |_, _| _ = commit(&log, &[7; ENTRY]));
            let control = rate(threads, settings.time, |thread, random| {
                let block = [random.next() as u8; BLOCK];
                file.write_all_at(&block, (thread * BLOCK) as u64).expect("a write");
                file.sync_data().expect("a sync");
            });
            row.add(ours / 1e3, control / 1e3);
        }
        row.print();
        log.close().expect("it closes");
    }
}

pub fn recycled(directory: &Path, settings: &Settings) {
    // What a commit of the log and its own bytes fill is a block, or a little more.
    const PAYLOAD: usize = BLOCK - 16;
    let log = open(directory);
    let grown = File::create(directory.join("grown")).expect("a file");
    let before = written_before(&directory.join("blocks"), 1024);
    let (end, step) = (AtomicU64::new(0), AtomicU64::new(0));
    let mut row = Row::new("commits, recycled; a growing file", "k/s", Goal::AtLeast(1.4));
    let mut limit = Row::new("commits, recycled; blocks written before", "k/s", Goal::None);
    for _ in 0..settings.rounds {
        let ours = rate(1, settings.time, |_, _| {
            let lsn = commit(&log, &[7; PAYLOAD]);
            if step.fetch_add(1, Ordering::Relaxed).is_multiple_of(256) {
                log.truncate_before(lsn).expect("a truncation");
            }
        });
        let growing = rate(1, settings.time, |_, _| {
            let at = end.fetch_add(BLOCK as u64, Ordering::Relaxed);
            grown.write_all_at(&[7; BLOCK], at).expect("a write");
            grown.sync_data().expect("a sync");
        });
        let overwritten = rate(1, settings.time, |_, random| {
            before.write_all_at(&[7; BLOCK], (random.below(1024) * BLOCK) as u64).expect("a write");
            before.sync_data().expect("a sync");
        });
        row.add(ours / 1e3, growing / 1e3);
        limit.add(ours / 1e3, overwritten / 1e3);
    }
    row.print();
    limit.print();
    log.close().expect("it closes");
}
