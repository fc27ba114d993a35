//! Pages that are in memory.

use std::hint::black_box;
use std::path::Path;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::Instant;

use pagelog::{Config, PageCache, PageId};

use crate::common::{Bytes, Random, allocate, link};
use crate::{Goal, Row, Settings};

/// Reads of a measurement.
const READS: usize = 4 << 20;

/// How many nanoseconds a read of a random page takes. The number of pages is a power of two.
fn reads(pages: usize, mut read: impl FnMut(usize) -> u64) -> f64 {
    assert!(pages.is_power_of_two());
    let mut random = Random::new(1);
    let start = Instant::now();
    let mut sum = 0;
    for _ in 0..READS {
        sum ^= read(random.next() as usize & (pages - 1));
    }
    black_box(sum);
    start.elapsed().as_nanos() as f64 / READS as f64
}

/// A table of pointers to words that lie as far apart as small pages, in no order.
struct RawTable(Vec<AtomicPtr<u64>>);

impl RawTable {
    /// What a page takes beside a word.
    const APART: usize = 15;

    fn new(entries: usize) -> Self {
        let mut table: Vec<_> = (0..entries)
            .map(|number| AtomicPtr::new(Box::leak(Box::new([number as u64; 1 + Self::APART])).as_mut_ptr()))
            .collect();
        Random::new(2).shuffle(&mut table);
        Self(table)
    }

    fn read(&self, at: usize) -> u64 {
        let pointer = self.0[at].load(Ordering::Acquire);
        // SAFETY: `new` leaked what each entry points at, and nothing writes to it.
        unsafe { pointer.read() }
    }
}

fn open(directory: &Path) -> PageCache<Bytes> {
    let _ = std::fs::remove_dir_all(directory);
    let config = Config::new(directory).cache_capacity(4 << 30).garbage_collection(false);
    config.max_chain_length(10_000).max_chain_ratio(1000.0).open().expect("it opens")
}

/// Looks up a page, and says its version.
fn version(found: Option<pagelog::Page<'_, Bytes>>) -> u64 {
    found.expect("a page").version().get()
}

pub fn lookups(directory: &Path, settings: &Settings) {
    for (name, pages, goal, own_pin) in [
        ("8", 8, Goal::None, None),
        ("64 k", 1 << 16, Goal::AtMost(1.5), Some(10.0)),
        ("1 M", 1 << 20, Goal::AtMost(1.15), None),
    ] {
        let cache = open(directory);
        let first = allocate(&cache, vec![0; 16]).0.get();
        (1..pages).for_each(|page| _ = allocate(&cache, vec![page as u8; 16]));
        // Ids of a new store are handed out in order. The pages are read in none.
        let id = |at: usize| PageId::new(first + at as u64);
        let raw = RawTable::new(pages);
        let mut held = Row::new(format!("lookup among {name}, guard held"), "ns", goal);
        let mut pinned = Row::new(
            format!("lookup among {name}, own pin"),
            "ns",
            own_pin.map_or(Goal::None, Goal::Absolute),
        );
        for _ in 0..settings.rounds {
            let guard = cache.pin();
            let ours = reads(pages, |at| version(guard.get(id(at)).expect("a read")));
            drop(guard);
            let own = reads(pages, |at| version(cache.pin().get(id(at)).expect("a read")));
            let control = reads(pages, |at| raw.read(at));
            held.add(ours, control);
            pinned.add(own, control);
        }
        held.print();
        pinned.print();
    }
}

/// A byte of a page, of so many that they are in no cache but the last; beside the same two loads, of the
/// base and of the byte, without all that a read does besides; and these with about a hundred instructions
/// more between one read and the next, which says what instructions cost here.
pub fn bytes(directory: &Path, settings: &Settings) {
    const PAGES: usize = 1 << 17;
    let cache = open(directory);
    let pages: Vec<PageId> = (0..PAGES).map(|page| allocate(&cache, vec![page as u8; 1024]).0).collect();
    let byte = |page: &Bytes| u64::from(page.0[17]);
    let mut rows = ["own pin", "references", "references, 100 instructions"]
        .map(|how| Row::new(format!("a byte among 128 k, {how}"), "ns", Goal::None));
    for _ in 0..settings.rounds {
        let own =
            reads(PAGES, |at| byte(cache.pin().get(pages[at]).expect("a read").expect("a page").merged()));
        let guard = cache.pin();
        let found = |page: &PageId| guard.get(*page).expect("a read").expect("a page").merged();
        let references: Vec<&Bytes> = pages.iter().map(found).collect();
        let control = reads(PAGES, |at| byte(references[at]));
        let slowed = reads(PAGES, |at| {
            (0..25).for_each(|number| _ = black_box(number));
            byte(references[at])
        });
        rows.iter_mut().zip([own, control, slowed]).for_each(|(row, figure)| row.add(figure, control));
    }
    rows.iter().for_each(Row::print);
}

pub fn chains(directory: &Path, settings: &Settings) {
    const PAGES: usize = 1 << 10;
    let depths = [1, 2, 4, 8];
    let stores = depths.map(|depth| {
        let cache = open(&directory.join(depth.to_string()));
        let mut pages: Vec<_> = (0..PAGES).map(|page| allocate(&cache, vec![page as u8; 64])).collect();
        for _ in 0..depth {
            pages.iter_mut().for_each(|page| link(&cache, page, vec![7; 64]));
        }
        (cache, pages)
    });
    let fragments = |index: usize| {
        let (cache, pages) = &stores[index];
        let guard = cache.pin();
        reads(PAGES, |at| {
            let found = guard.get(pages[at].0).expect("a read").expect("a page");
            let sum = found.fragments().map(|fragment| u64::from(fragment.0[0])).sum::<u64>();
            // Nobody has merged it.
            debug_assert_eq!(found.fragments().count(), depths[index] + 1);
            sum
        })
    };
    let merged = |index: usize| {
        let (cache, pages) = &stores[index];
        let guard = cache.pin();
        reads(PAGES, |at| u64::from(guard.get(pages[at].0).expect("a read").expect("a page").merged().0[0]))
    };
    let goal = |depth: usize| if depth == 4 { Goal::AtMost(1.5) } else { Goal::None };
    let row = |depth: &usize| Row::new(format!("chain of {depth}, fragments"), "ns", goal(*depth));
    let mut rows: Vec<Row> = depths.iter().map(row).collect();
    for _ in 0..settings.rounds {
        let control = fragments(0);
        rows.iter_mut().enumerate().for_each(|(index, row)| row.add(fragments(index), control));
    }
    rows.iter().for_each(Row::print);
    let row = |depth: &usize| Row::new(format!("chain of {depth}, merged"), "ns", goal(*depth));
    let mut rows: Vec<Row> = depths.iter().map(row).collect();
    for index in 0..depths.len() {
        // The first reader of each page merges it.
        merged(index);
    }
    for _ in 0..settings.rounds {
        let control = merged(0);
        rows.iter_mut().enumerate().for_each(|(index, row)| row.add(merged(index), control));
    }
    rows.iter().for_each(Row::print);
}
