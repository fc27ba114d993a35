//! What small appends to pages cost: bytes written for each byte appended, and what a miss of such a page
//! reads.
//!
//! `cargo bench --bench appends` prints a table, in less than a minute, with a row for each length of pages,
//! length of appends and rule of when a page is written as a whole: a fixed number of links
//! (`Config::max_chain_length`), or the default, which depends on the page. Random pages are appended to, one
//! at a time. A page keeps its length: what was appended pushes out the oldest bytes. Each row is in steady
//! state: all pages were written as a whole twice before it is measured, on average, and twice while it is.
//!
//! * *links*: that a page collects until it is written as a whole
//! * *written*: bytes of records for each byte that was appended; and with garbage collection at the default
//!   space target
//! * of a page that is not in memory, on average: the *records* of a miss, the *reads* of the file that this
//!   takes, the bytes that they *read* for each byte of the page, the microseconds that it takes (the file is
//!   in the operating system's cache), and the memory that the page's *nodes* take meanwhile for each byte of
//!   it, which stays also while the page is not in memory
//!
//! Environment:
//!
//! * `PAGE=200,1024,4096,65536` bytes of pages, `APPEND=16,64,256` bytes of appends
//! * `LENGTHS=128,0` the rules: numbers of links; 0 is the default
//! * `RATIO=4` `Config::max_chain_ratio`
//! * `DATA=8388608` bytes of pages in a row
//! * `DIRECTORY=path` where the files go (default: the temporary directory)

#[path = "../common/mod.rs"]
mod common;

use std::path::Path;
use std::time::Instant;

use common::{Place, Random, numbers, setting};
use pagelog::{Codec, CodecError, Config, Fragment, PageCache, PageId, Version};

/// A page that keeps its length, or what is appended to one.
struct Window(Vec<u8>);

struct Plain;

impl Codec<Window> for Plain {
    fn encode(fragment: &Window, into: &mut Vec<u8>) -> Result<(), CodecError> {
        into.extend_from_slice(&fragment.0);
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<Window, CodecError> {
        Ok(Window(bytes.to_vec()))
    }
}

impl Fragment for Window {
    type Codec = Plain;

    fn merge(oldest_to_newest: &[&Self]) -> Self {
        let length = oldest_to_newest.first().map_or(0, |page| page.0.len());
        let all: Vec<u8> = oldest_to_newest.iter().flat_map(|window| window.0.iter().copied()).collect();
        Self(all[all.len() - length..].to_vec())
    }

    fn heap_size(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

/// The bytes of memory of a link's node, with its share of a chunk's header.
const NODE: f64 = 64.0 + 48.0 / 15.0;
/// No row links more often than this.
const MOST_LINKS: u64 = 4_000_000;

struct Row {
    page: usize,
    append: usize,
    /// 0 is the default.
    length: usize,
}

struct Written {
    links: f64,
    records: f64,
    all: f64,
}

fn config(directory: &Path, row: &Row) -> Config {
    let config = Config::new(directory).max_chain_ratio(setting("RATIO", 4.0));
    if row.length > 0 { config.max_chain_length(row.length as u32) } else { config }
}

fn append(cache: &PageCache<Window>, row: &Row, pages: &mut [(PageId, Version)]) -> Written {
    let mut random = Random::new(5);
    let mut run = || {
        let before = cache.stats().counts;
        let mut counts = before;
        let mut linked = 0;
        while counts.consolidations - before.consolidations < 2 * pages.len() as u64 && linked < MOST_LINKS {
            for _ in 0..1000 {
                let (page_id, version) = &mut pages[random.below(pages.len())];
                let outcome = cache.link(*page_id, *version, Window(vec![3; row.append]));
                *version = outcome.expect("a link").done().expect("nobody else writes");
            }
            linked += 1000;
            counts = cache.stats().counts;
        }
        (before, counts)
    };
    run();
    let (before, after) = run();
    let payload = (after.payload_bytes - before.payload_bytes) as f64;
    let links = (after.links - before.links) as f64;
    Written {
        links: links / (after.consolidations - before.consolidations) as f64,
        records: (after.fresh_bytes - before.fresh_bytes) as f64 / payload,
        all: (after.written_bytes - before.written_bytes) as f64 / payload,
    }
}

fn measure(directory: &Path, row: &Row) {
    let _ = std::fs::remove_dir_all(directory);
    let count = (setting("DATA", 8_usize << 20) / row.page).clamp(64, 8192);
    let cache: PageCache<Window> = config(directory, row).cache_capacity(1 << 30).open().expect("a store");
    let allocate = |_| {
        let page = cache.allocate(Window(vec![1; row.page])).expect("a page");
        (page.page_id, page.version)
    };
    let mut pages: Vec<_> = (0..count).map(allocate).collect();
    let written = append(&cache, row, &mut pages);
    cache.close().expect("it closes");
    let cache: PageCache<Window> = config(directory, row).cache_capacity(1 << 30).open().expect("it opens");
    let before = cache.stats().counts;
    let start = Instant::now();
    for (page_id, _) in &pages {
        let guard = cache.pin();
        let page = guard.get(*page_id).expect("a read").expect("a page");
        assert_eq!(page.merged().0.len(), row.page);
    }
    let taken = start.elapsed().as_secs_f64() * 1e6;
    let after = cache.stats().counts;
    let each = |after: u64, before: u64| (after - before) as f64 / count as f64;
    let records = each(after.records_read, before.records_read);
    println!(
        "{:>6} {:>7} {:>8} {:>7.0} {:>8.2} {:>8.2} {:>9.1} {:>7.1} {:>7.2} {:>8.1} {:>7.2}",
        row.page,
        row.append,
        if row.length == 0 { "default".to_owned() } else { row.length.to_string() },
        written.links,
        written.records,
        written.all,
        records,
        each(after.reads, before.reads),
        each(after.read_bytes, before.read_bytes) / row.page as f64,
        taken / count as f64,
        (records - 1.0) * NODE / row.page as f64,
    );
}

fn main() {
    let place = Place::new("appends");
    println!(
        "{:>6} {:>7} {:>8} {:>7} {:>8} {:>8} {:>9} {:>7} {:>7} {:>8} {:>7}",
        "page", "append", "rule", "links", "written", "with GC", "records", "reads", "read", "us", "nodes"
    );
    for page in numbers("PAGE", &[200, 1 << 10, 4 << 10, 64 << 10]) {
        for append in numbers("APPEND", &[16, 64, 256]) {
            for length in numbers("LENGTHS", &[128, 0]) {
                measure(&place.path().join("store"), &Row { page, append, length });
            }
        }
    }
}
