//! How many instructions an operation takes: a figure that noise can't move.
//!
//! `cargo bench --bench instructions` needs `valgrind`. It runs each cell in a process of its own under
//! callgrind, which counts the instructions between the cell's beginning and its end, divides by the
//! operations, and compares with what is written in `benches/instructions/recorded.txt`. It fails if a cell
//! takes over [`TOLERANCE`] more or less than recorded: less is to be written down too, else the next
//! regression hides behind it.
//!
//! * `ACCEPT=true` writes down what was counted. A commit that does so says why.
//! * `CELLS=link,get_hit` only these cells
//!
//! Counted are instructions of the process, not of the kernel: for what crosses over to it, time is measured
//! by the other benches. The store has its defaults, garbage collection, snapshots and statistics included.

#[path = "../common/mod.rs"]
mod common;
#[path = "../../examples/ordered_kv/tree/mod.rs"]
mod tree;

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::process::{Command, ExitCode};

use common::{Bytes, Place, Random, allocate, link, replace, setting};
use pagelog::{Config, PageCache, PageId, Version};
use tree::{Direction, Forest, Range, Tree, Tuning};

const ROLE: &str = "PAGELOG_COUNTED_CELL";
const RECORDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions/recorded.txt");
/// Instructions differ a little between builds and versions of the system's library.
const TOLERANCE: f64 = 0.03;

const PAGES: usize = 4000;
const BASE: usize = 1024;
const FRAGMENT: usize = 64;
/// A page is cut back after so many links, as in the cells of the page layer.
const LINKS: u64 = 48;

/// A cell prepares a store, and then does so many operations, which are counted.
struct Cell {
    name: &'static str,
    operations: usize,
    run: fn(usize),
}

const CELLS: [Cell; 12] = [
    Cell { name: "version", operations: 100_000, run: version },
    Cell { name: "link", operations: 200_000, run: link_or_cut },
    Cell { name: "replace", operations: 40_000, run: replace_pages },
    Cell { name: "get_hit", operations: 100_000, run: get_hit },
    Cell { name: "get_merged", operations: 20_000, run: get_merged },
    Cell { name: "get_miss", operations: 20_000, run: get_miss },
    Cell { name: "commit", operations: 2000, run: commit },
    Cell { name: "allocate_and_free", operations: 20_000, run: allocate_and_free },
    Cell { name: "open", operations: PAGES, run: open_again },
    Cell { name: "tree_get", operations: 100_000, run: tree_get },
    Cell { name: "tree_put", operations: 100_000, run: tree_put },
    Cell { name: "tree_scan", operations: 10_000, run: tree_scan },
];

type Pages = Vec<(PageId, Version)>;

fn config(place: &Place) -> Config {
    // Segments of a size at which so small a store is collected and has snapshots.
    let config = Config::new(place.path().join("store")).cache_capacity(256 << 20);
    config.segment_size(256 << 10).snapshot_interval(4 << 20)
}

fn filled(config: Config) -> (PageCache<Bytes>, Pages) {
    let cache: PageCache<Bytes> = config.open().expect("a store");
    let pages = (0..PAGES).map(|page| allocate(&cache, vec![page as u8; BASE])).collect();
    cache.flush().expect("a flush");
    (cache, pages)
}

/// What is counted: callgrind collects while this function runs.
#[inline(never)]
fn counted(work: &mut dyn FnMut()) {
    work();
    std::hint::black_box(());
}

fn version(operations: usize) {
    let place = Place::new("instructions");
    let (cache, pages) = filled(config(&place));
    let mut random = Random::new(1);
    counted(&mut || {
        for _ in 0..operations {
            let (page_id, expected) = pages[random.below(PAGES)];
            assert_eq!(cache.version(page_id).expect("a version"), Some(expected));
        }
    });
}

/// The operations of the link cell, in its steady state.
struct Growing {
    cache: PageCache<Bytes>,
    pages: Pages,
    links: Vec<u64>,
    random: Random,
}

impl Growing {
    fn new(place: &Place) -> Self {
        let (cache, pages) = filled(config(place));
        let links = (0..PAGES as u64).map(|page| page % LINKS).collect();
        Self { cache, pages, links, random: Random::new(2) }
    }

    fn step(&mut self) {
        let at = self.random.below(PAGES);
        self.step_at(at);
    }

    fn step_at(&mut self, at: usize) {
        let page = &mut self.pages[at];
        if self.links[at] == LINKS {
            self.links[at] = 0;
            replace(&self.cache, page, vec![at as u8; BASE]);
        } else {
            self.links[at] += 1;
            link(&self.cache, page, vec![at as u8; FRAGMENT]);
        }
    }
}

fn link_or_cut(operations: usize) {
    let place = Place::new("instructions");
    let mut growing = Growing::new(&place);
    (0..3 * PAGES * LINKS as usize).for_each(|_| growing.step());
    counted(&mut || (0..operations).for_each(|_| growing.step()));
}

fn replace_pages(operations: usize) {
    let place = Place::new("instructions");
    let (cache, mut pages) = filled(config(&place));
    let mut random = Random::new(3);
    let mut some = |count: usize| {
        for _ in 0..count {
            let at = random.below(PAGES);
            replace(&cache, &mut pages[at], vec![at as u8; BASE]);
        }
    };
    some(10 * PAGES);
    counted(&mut || some(operations));
}

/// Reads a random page that was never written to, and looks at one byte of it.
fn read_any(cache: &PageCache<Bytes>, pages: &Pages, random: &mut Random) {
    let at = random.below(PAGES);
    let guard = cache.pin();
    let page = guard.get(pages[at].0).expect("a read").expect("a page");
    assert_eq!(page.merged().0.get(17), Some(&(at as u8)));
}

fn get_hit(operations: usize) {
    let place = Place::new("instructions");
    let (cache, pages) = filled(config(&place));
    let mut random = Random::new(4);
    counted(&mut || {
        for _ in 0..operations {
            read_any(&cache, &pages, &mut random);
        }
    });
}

/// Each read finds a page that was linked to since the last one.
fn get_merged(operations: usize) {
    let place = Place::new("instructions");
    let mut growing = Growing::new(&place);
    counted(&mut || {
        for at in (0..PAGES).cycle().take(operations) {
            growing.step_at(at);
            let guard = growing.cache.pin();
            let page = guard.get(growing.pages[at].0).expect("a read").expect("a page");
            assert!(page.merged().0.len() >= BASE);
        }
    });
}

/// Nineteen of twenty pages are not in memory.
fn get_miss(operations: usize) {
    let place = Place::new("instructions");
    let (cache, pages) = filled(config(&place).cache_capacity((PAGES * BASE / 20) as u64));
    let mut random = Random::new(5);
    let mut some = |count: usize| {
        for _ in 0..count {
            read_any(&cache, &pages, &mut random);
        }
    };
    some(PAGES);
    counted(&mut || some(operations));
}

fn commit(operations: usize) {
    let place = Place::new("instructions");
    let (cache, mut pages) = filled(config(&place));
    let mut random = Random::new(6);
    counted(&mut || {
        for _ in 0..operations {
            let page = &mut pages[random.below(PAGES)];
            link(&cache, page, vec![1; FRAGMENT]);
            cache.flush().expect("a flush");
        }
    });
}

fn allocate_and_free(operations: usize) {
    let place = Place::new("instructions");
    let (cache, pages) = filled(config(&place));
    // A free list of some length.
    for (page_id, version) in pages.iter().step_by(2) {
        assert!(cache.free(*page_id, *version).expect("it is freed").is_done());
    }
    counted(&mut || {
        for _ in 0..operations {
            let (page_id, version) = allocate(&cache, vec![1; FRAGMENT]);
            assert!(cache.free(page_id, version).expect("it is freed").is_done());
        }
    });
}

/// For each page: opening after a close, and its first read.
fn open_again(operations: usize) {
    let place = Place::new("instructions");
    let (cache, pages) = filled(config(&place));
    cache.close().expect("it closes");
    counted(&mut || {
        let cache: PageCache<Bytes> = config(&place).open().expect("a store");
        let guard = cache.pin();
        for (page_id, _) in pages.iter().take(operations) {
            assert!(guard.get(*page_id).expect("a read").is_some());
        }
    });
}

/// Records of the ordered store in `examples/ordered_kv`: keys of 16 bytes in no order, values of 100.
const RECORDS: usize = 50_000;
/// How many of them a scan visits.
const SCANNED: usize = 50;

fn key(number: usize) -> [u8; 16] {
    let mixed = (number as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let digit = |at: usize| b"0123456789abcdef"[(mixed >> (60 - 4 * at)) as usize % 16];
    std::array::from_fn(digit)
}

fn grown(place: &Place) -> Tree {
    let forest = Forest::open(config(place), Tuning::default()).expect("a store");
    let tree = forest.tree("records").expect("a tree");
    (0..RECORDS).for_each(|number| tree.put(&key(number), &[1; 100]).expect("a put"));
    tree
}

fn tree_get(operations: usize) {
    let place = Place::new("instructions");
    let tree = grown(&place);
    let mut random = Random::new(7);
    counted(&mut || {
        for _ in 0..operations {
            let value = tree.get_with(&key(random.below(RECORDS)), |value| value[99]);
            assert_eq!(value.expect("a read"), Some(1));
        }
    });
}

fn tree_put(operations: usize) {
    let place = Place::new("instructions");
    let tree = grown(&place);
    let mut random = Random::new(8);
    let mut some = |count: usize| {
        (0..count).for_each(|_| tree.put(&key(random.below(RECORDS)), &[1; 100]).expect("a put"));
    };
    some(operations);
    counted(&mut || some(operations));
}

fn tree_scan(operations: usize) {
    let place = Place::new("instructions");
    let tree = grown(&place);
    let mut random = Random::new(9);
    counted(&mut || {
        for _ in 0..operations {
            let (from, mut left) = (key(random.below(RECORDS)), SCANNED);
            let visit = |_: &[u8], _: &[u8]| {
                left -= 1;
                if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            };
            tree.visit(Range::new(&from[..]..), Direction::Up, visit).expect("a scan");
        }
    });
}

/// Instructions per operation of a cell.
fn count(cell: &Cell) -> Result<f64, String> {
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=*counted*"])
        .arg(this)
        .env(ROLE, cell.name)
        .output()
        .map_err(|error| format!("valgrind can't be run: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let collected = said.lines().find_map(|line| line.split("Collected :").nth(1));
    let collected = collected.and_then(|number| number.trim().parse::<f64>().ok());
    match collected {
        Some(instructions) if output.status.success() => Ok(instructions / cell.operations as f64),
        _ => Err(format!("{}: {said}", output.status)),
    }
}

fn recorded() -> BTreeMap<String, f64> {
    let text = fs::read_to_string(RECORDED).unwrap_or_default();
    let entry = |line: &str| {
        let (name, number) = line.split_once(' ')?;
        Some((name.to_owned(), number.trim().parse().ok()?))
    };
    text.lines().filter_map(entry).collect()
}

fn main() -> ExitCode {
    if let Ok(name) = std::env::var(ROLE) {
        let cell = CELLS.iter().find(|cell| cell.name == name).expect("a cell of that name");
        (cell.run)(cell.operations);
        return ExitCode::SUCCESS;
    }
    let wanted: String = setting("CELLS", CELLS.map(|cell| cell.name).join(","));
    let accept = setting("ACCEPT", false);
    let mut all = recorded();
    let mut is_well = true;
    println!("{:<20} {:>10} {:>10} {:>8}", "instructions of", "now", "recorded", "ratio");
    for cell in CELLS.iter().filter(|cell| wanted.split(',').any(|name| name == cell.name)) {
        let now = match count(cell) {
            Ok(now) => now,
            Err(error) => {
                println!("{:<20} {error}", cell.name);
                return ExitCode::FAILURE;
            }
        };
        let before = all.insert(cell.name.into(), now).unwrap_or(f64::NAN);
        let ratio = now / before;
        let differs = (ratio - 1.0).abs() > TOLERANCE || ratio.is_nan();
        is_well &= accept || !differs;
        println!(
            "{:<20} {now:>10.0} {before:>10.0} {ratio:>8.3}{}",
            cell.name,
            if differs { "  differs" } else { "" }
        );
    }
    if accept {
        let lines: String = all.iter().map(|(name, number)| format!("{name} {number:.0}\n")).collect();
        fs::write(RECORDED, lines).expect("the record can be written");
    }
    if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
