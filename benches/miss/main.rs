//! What it costs to read a page that is not in memory.
//!
//! `cargo bench --bench miss` prints two tables, in about half a minute.
//!
//! 1. Pages of one record, in a cache of a twentieth of them: a `get`, beside a bare positioned read of as
//!    many bytes at the place of some record, into a buffer that is there. The file is in the operating
//!    system's cache.
//! 2. Pages with chains of links, each read once: microseconds for a page, and how many records and reads
//!    that took. The links of one page lie far apart (other pages were linked to between), or near. *Warm*:
//!    the file is in the operating system's cache. *Cold*: it was told to forget it, which needs root on
//!    Linux; else the column is empty. *1 ms*: each read of the file takes a millisecond more, as from a disk
//!    that is far away.
//!
//! Environment:
//!
//! * `CHAINS=8,32,128` links for each page
//! * `PAGES=65536` of one record, `CHAINED=1500` with chains, `COLD=60` of these read cold
//! * `ROUNDS=5`, of which the medians are printed
//! * `DIRECTORY=path` where the files go (default: the temporary directory)

#[path = "../common/mod.rs"]
mod common;
#[path = "../../tests/support/observed.rs"]
mod observed;
mod slow;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Bytes, Place, Random, allocate, drop_file_caches, link, median, numbers, setting};
use pagelog::{Config, PageCache, PageId};
use slow::slow_storage;

/// The payload of a page.
const PAGE: usize = 1024;
/// What a link adds.
const LINK: usize = 64;
/// What a record of such a page takes in the file, about.
const RECORD: usize = PAGE + 12;

fn open(config: Config) -> PageCache<Bytes> {
    config.open().expect("it opens")
}

/// Reads the pages, and says how many nanoseconds each took.
fn read(cache: &PageCache<Bytes>, pages: &[PageId]) -> f64 {
    let start = Instant::now();
    let mut bytes = 0;
    for page_id in pages {
        let guard = cache.pin();
        bytes += guard.get(*page_id).expect("a read").expect("a page").merged().0.len();
    }
    assert!(bytes >= pages.len() * PAGE);
    start.elapsed().as_nanos() as f64 / pages.len() as f64
}

/// As many bare reads, of as many bytes each.
fn read_raw(log: &File, random: &mut Random, reads: usize) -> f64 {
    let records = log.metadata().expect("a file").len() as usize / RECORD - 1;
    let mut buffer = vec![0; RECORD];
    let start = Instant::now();
    for _ in 0..reads {
        log.read_exact_at(&mut buffer, (random.below(records) * RECORD) as u64).expect("a read");
    }
    start.elapsed().as_nanos() as f64 / reads as f64
}

fn single_records(directory: &Path) {
    let (pages, rounds) = (setting("PAGES", 65_536), setting("ROUNDS", 5));
    let cache = open(Config::new(directory));
    let ids: Vec<PageId> = (0..pages).map(|_| allocate(&cache, vec![7; PAGE]).0).collect();
    let nodes = cache.stats().node_bytes;
    cache.close().expect("it closes");
    // Room for the nodes of all pages, and for the contents of a twentieth.
    let cache = open(Config::new(directory).cache_capacity(nodes + (pages * PAGE / 20) as u64));
    let log = File::open(directory.join("log")).expect("the log");
    let mut random = Random::new(1);
    let mut some = |reads: usize| (0..reads).map(|_| ids[random.below(pages)]).collect::<Vec<_>>();
    read(&cache, &some(pages));
    let before = cache.stats().counts;
    let (mut ours, mut raw, mut raw_random) = (Vec::new(), Vec::new(), Random::new(2));
    for _ in 0..rounds {
        ours.push(read(&cache, &some(pages * 2)));
        raw.push(read_raw(&log, &mut raw_random, pages * 2));
    }
    let counts = cache.stats().counts;
    let misses = (counts.misses - before.misses) as f64 / (rounds * pages * 2) as f64;
    let ratios = raw.iter().zip(&ours).map(|(raw, ours)| raw * misses / ours).collect();
    println!("pages of one record of {RECORD} bytes: {:.1} % of the reads miss", misses * 100.0);
    println!(
        "get {:.0} ns, bare read {:.0} ns; bare reads of the misses / gets {:.2}\n",
        median(ours),
        median(raw),
        median(ratios)
    );
}

/// Where the links of a page lie.
#[derive(Clone, Copy)]
struct Scatter {
    name: &'static str,
    /// How many pages are linked to in turn.
    in_turn: usize,
}

fn chains(directory: &Path, links: usize, scatter: Scatter) {
    let _ = std::fs::remove_dir_all(directory);
    let pages: usize = setting("CHAINED", 1500);
    let config = || {
        let config = Config::new(directory).garbage_collection(false);
        config.max_chain_length(10_000).max_chain_ratio(1000.0)
    };
    let cache = open(config());
    let mut all: Vec<_> = (0..pages).map(|_| allocate(&cache, vec![7; PAGE])).collect();
    for some in all.chunks_mut(scatter.in_turn) {
        for _ in 0..links {
            some.iter_mut().for_each(|page| link(&cache, page, vec![8; LINK]));
        }
    }
    cache.close().expect("it closes");
    let mut ids: Vec<PageId> = all.iter().map(|page| page.0).collect();
    Random::new(3).shuffle(&mut ids);
    // Room for a page or two, so each read is a miss.
    let reopened = || open(config().cache_capacity(64 << 10).read_only(true));
    let warm = median((0..setting("ROUNDS", 5)).map(|_| read(&reopened(), &ids)).collect());
    let cache = reopened();
    let cold: usize = setting("COLD", 60);
    let cold = drop_file_caches().then(|| read(&cache, &ids[..cold.min(pages)]));
    let far = slow_storage(directory, Duration::from_millis(1));
    let cache = open(Config::with_storage(Arc::new(far)).cache_capacity(64 << 10).read_only(true));
    let slow = read(&cache, &ids[..10.min(pages)]);
    let counts = cache.stats().counts;
    println!(
        "{:>6} {:<10} {:>10.1} {:>10} {:>10.0} {:>10.1} {:>10.1}",
        links,
        scatter.name,
        warm / 1e3,
        cold.map_or_else(String::new, |cold| format!("{:.0}", cold / 1e3)),
        slow / 1e3,
        counts.records_read as f64 / counts.misses as f64,
        counts.reads as f64 / counts.misses as f64,
    );
}

fn main() {
    let place = Place::new("miss");
    single_records(&place.path().join("single"));
    println!(
        "{:>6} {:<10} {:>10} {:>10} {:>10} {:>10} {:>10}",
        "links", "that lie", "warm, us", "cold, us", "1 ms, us", "records", "reads"
    );
    for links in numbers("CHAINS", &[8, 32, 128]) {
        for scatter in [
            Scatter { name: "far apart", in_turn: usize::MAX },
            Scatter { name: "near", in_turn: 40 },
            Scatter { name: "together", in_turn: 1 },
        ] {
            chains(&place.path().join("chains"), links, scatter);
        }
    }
}
