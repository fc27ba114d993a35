//! The number of pages, in a process of its own for each, so that memory is what this number takes.

use std::hint::black_box;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use pagelog::{Config, FileStorage, PageCache, PageId, Version};

use crate::common::{Bytes, Random, allocate, link, memory_of, replace};
use crate::observed::{Observed, Observer};

/// The payloads of a page and of a link.
const PAGE: usize = 64;
const LINK: usize = 16;
const MOST_LINKS: u8 = 12;
const OPERATIONS: usize = 500_000;
/// A flush comes after so many links, where it does not matter how long they take.
const FLUSHED: usize = 10_000;

/// Counts what is written to snapshots.
#[derive(Debug, Default)]
struct SnapshotBytes(AtomicU64);

impl Observer for SnapshotBytes {
    fn before_write(&self, name: &str, bytes: &[u8], _: u64) -> io::Result<()> {
        if name.contains("snapshot") {
            self.0.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// What a number of pages comes to.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    pub link: f64,
    pub get: f64,
    /// Nanoseconds of a load that depends on the one before it, over as many slots and bytes.
    pub load: f64,
    pub bytes: f64,
    pub snapshot: f64,
}

impl Measured {
    pub fn print(self) {
        println!("{} {} {} {} {}", self.link, self.get, self.load, self.bytes, self.snapshot);
    }

    pub fn parse(text: &str) -> Self {
        let numbers: Vec<f64> = text.split_whitespace().map(|word| word.parse().expect("a number")).collect();
        let [link, get, load, bytes, snapshot] = numbers[..] else { panic!("not five numbers: {text}") };
        Self { link, get, load, bytes, snapshot }
    }
}

fn nanoseconds(operations: usize, mut work: impl FnMut()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_nanos() as f64 / operations as f64
}

/// Each load says, by a zero, where the next one is: none can begin before the last one has ended.
fn dependent_loads(slots: usize, bytes: usize) -> f64 {
    let words = (bytes / 8).max(1);
    let memory = vec![0_u64; slots * words];
    // Pages that were never written to would all be the same one.
    let mut memory = black_box(memory);
    memory.iter_mut().step_by(8).for_each(|word| *word = black_box(0));
    let mut random = Random::new(5);
    let mut last = 0;
    let mut walk = |steps: usize| {
        for _ in 0..steps {
            last = memory[(random.below(slots) + last) % slots * words] as usize;
        }
    };
    walk(slots.min(OPERATIONS));
    nanoseconds(OPERATIONS, || walk(OPERATIONS))
}

/// Reads pages; where the next one is depends on what was read, as in [`dependent_loads`].
fn gets(cache: &PageCache<Bytes>, pages: &[(PageId, Version)], random: &mut Random, steps: usize) {
    let mut last = 0;
    for _ in 0..steps {
        let at = (random.below(pages.len()) + last) % pages.len();
        let guard = cache.pin();
        let page = guard.get(pages[at].0).expect("a read").expect("a page");
        last = usize::from(page.merged().0[PAGE / 2]);
    }
}

pub fn measure(directory: &Path, count: usize) -> Measured {
    let written = Arc::new(SnapshotBytes::default());
    let storage = Observed::shared(FileStorage::new(directory), Arc::clone(&written));
    // The interval is shorter than by default, so that there are several snapshots in a short time.
    let config = Config::with_storage(Arc::new(storage)).cache_capacity(16 << 30);
    let cache: PageCache<Bytes> = config.snapshot_interval(8 << 20).open().expect("a store");
    // What every process has, in the first row as in the others.
    drop(vec![1_u8; 1 << 20]);
    let before = memory_of("self", "VmRSS");
    // What this bench keeps of a page is not the store's.
    let mut pages = Vec::with_capacity(count);
    pages.extend((0..count).map(|_| allocate(&cache, vec![0; PAGE])));
    cache.flush().expect("a flush");
    let own = count * size_of::<(PageId, Version)>();
    let memory = memory_of("self", "VmRSS").saturating_sub(before + cache.stats().buffer_bytes);
    let bytes = memory.saturating_sub(own as u64) as f64 / count as f64;
    let load = dependent_loads(count, (bytes as usize).max(64));

    let mut random = Random::new(6);
    gets(&cache, &pages, &mut random, count.min(OPERATIONS));
    let get = nanoseconds(OPERATIONS, || gets(&cache, &pages, &mut random, OPERATIONS));

    let mut lengths = vec![0_u8; count];
    let mut links = |times: usize| {
        for _ in 0..times {
            let at = random.below(count);
            // Cut back when it has many, so that pages stay as long as they are.
            if lengths[at] == MOST_LINKS {
                lengths[at] = 0;
                replace(&cache, &mut pages[at], vec![0; PAGE]);
            } else {
                lengths[at] += 1;
                link(&cache, &mut pages[at], vec![0; LINK]);
            }
        }
    };
    links(OPERATIONS);
    let logged = |cache: &PageCache<Bytes>| cache.stats().counts.written_bytes;
    let (log, snapshots) = (logged(&cache), written.0.load(Ordering::Relaxed));
    let link = nanoseconds(OPERATIONS, || links(OPERATIONS));
    // So many that a snapshot of all pages comes more than once; one is in force only when what it saw is
    // stable.
    for _ in 0..2 * count.max(OPERATIONS) / FLUSHED {
        links(FLUSHED);
        cache.flush().expect("a flush");
    }
    let snapshot = (written.0.load(Ordering::Relaxed) - snapshots) as f64 / (logged(&cache) - log) as f64;
    Measured { link, get, load, bytes, snapshot }
}
