//! What each option does to one and the same load: the figures of the tuning guide.
//!
//! `cargo bench --bench options` takes some minutes. Each row is a store with the defaults but for one
//! option. Pages of 1 KiB of words, of which a fifth get four fifths of all operations: half are reads, most
//! of the others link 64 bytes, and some write the page anew, so that a page collects two dozen links on
//! average. One thread. All rows take turns, in a new store each time; the figures are medians.
//!
//! * *k/s*: thousands of operations in a second
//! * *written*: bytes of log for each byte of records that users wrote
//! * *file*: bytes of the log file for each live byte
//! * *found*: per cent of the reads that found the page in memory
//! * *memory*: MiB that the store says it takes: contents, nodes, what waits for readers, write buffers
//! * *open*: milliseconds to open the store again after a process that ended without closing it
//!
//! Environment:
//!
//! * `PAGES=20000`, `ROUNDS=3`, `OPERATIONS=1000000` of them the last half is measured
//! * `ROWS=background,compression` only rows whose names begin so
//! * `DIRECTORY=path` where the files go (default: the temporary directory)

#[path = "../common/mod.rs"]
mod common;

use std::path::Path;
use std::time::Instant;

use common::{Bytes, Place, Random, allocate, link, median, replace, setting};
use pagelog::{Config, PageCache, PageId, VictimPolicy};

const PAGE: usize = 1024;
const LINK: usize = 64;

/// A row: its name, and what it changes.
type Row = (&'static str, fn(Config) -> Config);

#[cfg_attr(not(feature = "compression"), allow(unused_mut, reason = "nothing to add"))]
fn rows() -> Vec<Row> {
    let mut rows: Vec<Row> = vec![
        ("defaults", |config| config),
        ("background on", |config| config.background(true)),
        ("cache_capacity 16 MiB", |config| config.cache_capacity(16 << 20)),
        ("cache_capacity 32 MiB", |config| config.cache_capacity(32 << 20)),
        ("segment_size 128 KiB", |config| config.segment_size(128 << 10)),
        ("segment_size 8 MiB", |config| config.segment_size(8 << 20)),
        ("io_buffer_size 16 KiB", |config| config.io_buffer_size(16 << 10)),
        ("io_buffer_size 1 MiB", |config| config.io_buffer_size(1 << 20)),
        ("io_buffers 16", |config| config.io_buffers(16)),
        ("space_target 1.1", |config| config.space_target(1.1)),
        ("space_target 1.67", |config| config.space_target(1.67)),
        ("space_target 3", |config| config.space_target(3.0)),
        ("garbage_collection off", |config| config.garbage_collection(false)),
        ("victim_policy Greedy", |config| config.victim_policy(VictimPolicy::Greedy)),
        ("victim_policy CostBenefit", |config| config.victim_policy(VictimPolicy::CostBenefit)),
        ("relocation_heads 1", |config| config.relocation_heads(1)),
        ("relocation_heads 2", |config| config.relocation_heads(2)),
        ("snapshots off", |config| config.snapshots(false)),
        ("snapshot_interval 8 MiB", |config| config.snapshot_interval(8 << 20)),
        ("max_chain_length 8", |config| config.max_chain_length(8)),
        ("max_chain_length 32", |config| config.max_chain_length(32)),
        ("max_chain_ratio 1", |config| config.max_chain_ratio(1.0)),
        ("inline_limit 512", |config| config.inline_limit(512)),
        ("torn_block_size 4 KiB", |config| config.torn_block_size(4096)),
    ];
    #[cfg(feature = "compression")]
    rows.extend([
        ("compression -1", (|config| config.compression(-1)) as fn(Config) -> Config),
        ("compression 3", |config| config.compression(3)),
    ]);
    rows
}

/// Words, so that there is something to compress.
struct Text(Vec<u8>);

impl Text {
    fn new(random: &mut Random) -> Self {
        const WORDS: [&str; 16] = [
            "page ", "record ", "segment ", "lock ", "writer ", "log ", "a ", "the ", "of ", "is ", "which ",
            "stable ", "1024 ", "in ", "read ", "memory ",
        ];
        Self((0..100_000).flat_map(|_| WORDS[random.below(WORDS.len())].bytes()).collect())
    }

    /// Some of it.
    fn part(&self, random: &mut Random, length: usize) -> Vec<u8> {
        let start = random.below(self.0.len() - length);
        self.0[start..start + length].to_vec()
    }
}

/// A fifth of the pages get four fifths of the operations.
fn skewed(random: &mut Random, pages: usize) -> usize {
    let hot = pages / 5;
    if random.below(5) > 0 { random.below(hot) } else { hot + random.below(pages - hot) }
}

/// What was measured of a row, in the order of the columns.
type Measured = [f64; 6];

fn measure(directory: &Path, change: fn(Config) -> Config, pages: usize, operations: usize) -> Measured {
    let config = || change(Config::new(directory));
    let cache: PageCache<Bytes> = config().open().expect("a store");
    let mut random = Random::new(7);
    let text = Text::new(&mut random);
    let mut all: Vec<_> = (0..pages).map(|_| allocate(&cache, text.part(&mut random, PAGE))).collect();
    let mut some = |count: usize| {
        for _ in 0..count {
            let at = skewed(&mut random, pages);
            match random.below(100) {
                0..50 => read(&cache, all[at].0),
                50..96 => link(&cache, &mut all[at], text.part(&mut random, LINK)),
                _ => replace(&cache, &mut all[at], text.part(&mut random, PAGE)),
            }
        }
    };
    some(operations / 2);
    let (before, start) = (cache.stats(), Instant::now());
    some(operations - operations / 2);
    let rate = (operations - operations / 2) as f64 / start.elapsed().as_secs_f64() / 1e3;
    let stats = cache.stats();
    let since = |count: fn(&pagelog::Counts) -> u64| (count(&stats.counts) - count(&before.counts)) as f64;
    let (hits, misses) = (since(|counts| counts.hits), since(|counts| counts.misses));
    let written = stats.write_amplification();
    let memory = stats.resident_bytes + stats.node_bytes + stats.dead_bytes + stats.buffer_bytes;
    cache.flush().expect("a flush");
    // As a process that is killed leaves it.
    let copy = directory.with_extension("copy");
    copy_files(directory, &copy);
    drop(cache);
    let start = Instant::now();
    let again: PageCache<Bytes> = change(Config::new(&copy)).open().expect("a store");
    let open = start.elapsed().as_secs_f64() * 1e3;
    assert_eq!(again.stats().page_ids, stats.page_ids, "all pages are there");
    drop(again);
    std::fs::remove_dir_all(&copy).expect("the copy is removed");
    let found = 100.0 * hits / (hits + misses);
    [rate, written, stats.space_amplification(), found, memory as f64 / f64::from(1 << 20), open]
}

fn read(cache: &PageCache<Bytes>, page_id: PageId) {
    let guard = cache.pin();
    let page = guard.get(page_id).expect("a read").expect("a page");
    assert!(page.merged().0.len() >= PAGE);
}

fn copy_files(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let path = entry.expect("an entry").path();
        std::fs::copy(&path, to.join(path.file_name().expect("a name"))).expect("a copy");
    }
}

fn main() {
    let (pages, rounds) = (setting("PAGES", 20_000), setting("ROUNDS", 3));
    let operations = setting("OPERATIONS", 1_000_000);
    let wanted: String = setting("ROWS", String::new());
    let is_wanted = |row: &&Row| wanted.split(',').any(|name| row.0.starts_with(name));
    let rows = rows();
    let rows: Vec<&Row> = rows.iter().filter(is_wanted).collect();
    let mut measured = vec![Vec::new(); rows.len()];
    for _ in 0..rounds {
        for (row, measured) in rows.iter().zip(&mut measured) {
            let place = Place::new("options");
            measured.push(measure(&place.path().join("store"), row.1, pages, operations));
        }
    }
    println!("{pages} pages of {PAGE} bytes, {operations} operations, medians of {rounds}");
    println!("{:<28}{:>8}{:>9}{:>7}{:>7}{:>8}{:>7}", "", "k/s", "written", "file", "found", "memory", "open");
    for ((name, _), measured) in rows.iter().zip(measured) {
        let column = |at: usize| median(measured.iter().map(|row: &Measured| row[at]).collect());
        let [rate, written, file, found, memory, open] = std::array::from_fn(column);
        println!("{name:<28}{rate:>8.0}{written:>9.2}{file:>7.2}{found:>7.1}{memory:>8.1}{open:>7.1}");
    }
}
