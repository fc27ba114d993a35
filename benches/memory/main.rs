//! How much memory the system says there is, against the budget; and what a page takes.
//!
//! `cargo bench --bench memory` prints two tables, in a minute or two. Each row is a process of its own.
//!
//! 1. A store with several times as many bytes of pages of 1 KiB as the budget, under one load, by some
//!    threads, none of which holds a guard for longer than an operation. *Most*: the largest resident memory
//!    (`VmHWM`) beyond what there was when the store had been opened, table and nodes included, in MiB and
//!    for each byte of the budget; *end*: the resident memory (`VmRSS`) of the end, likewise. *Known*: the
//!    largest sum that the budget knew of. *Nodes*: how much of that were nodes at the end. *Written*: bytes
//!    for each byte that was handed in, garbage collection included: chains that nodes shorten cost
//!    something. A row whose end is beyond the budget, a tenth of it and 16 MiB is marked. With glibc, try it
//!    with `MALLOC_ARENA_MAX=1` too: what the budget does not know of is mostly memory that threads gave back
//!    and that the arenas keep for their own threads.
//! 2. Bytes for each page beyond its payload: in memory when it was just written or when it was read back,
//!    not in memory after opening or after an eviction, and not in memory with eight links on top of it.
//!
//! Environment:
//!
//! * `LOADS=get,replace,allocate,link`, `THREADS=1,2,8`, `CAPACITY=64` MiB, `SECONDS=3` for each row
//! * `PAGES=1000000` of the second table; 0 for none
//! * `DIRECTORY=path` where the files go (default: the temporary directory)

#[path = "../common/mod.rs"]
mod common;
mod loads;

use std::io::Read;
use std::path::{Path, PathBuf};

use common::{Bytes, Place, allocate, child, link, memory_of, numbers, setting};
use pagelog::{Config, PageCache, PageId, Version};

const MIB: f64 = (1 << 20) as f64;
/// The payload of a page.
const PAGE: usize = 1024;
const ROLE: &str = "PAGELOG_MEMORY_ROLE";
const STORE: &str = "PAGELOG_MEMORY_STORE";
/// The links of a page that has some, in the second table.
const LINKS: usize = 8;
const LINK: usize = 64;

/// Runs a role in a process of its own, and returns the numbers that it prints.
fn run(role: &str, store: &Path, settings: &[(&str, String)]) -> Vec<f64> {
    let mut all = vec![(ROLE, role.to_owned()), (STORE, store.display().to_string())];
    all.extend(settings.iter().cloned());
    let mut child = child(&all);
    let mut text = String::new();
    child.stdout.take().expect("a pipe").read_to_string(&mut text).expect("what it prints");
    assert!(child.wait().expect("it ends").success(), "{role} failed");
    text.split_whitespace().map(|word| word.parse().expect("a number")).collect()
}

fn open(store: &Path, capacity: u64) -> PageCache<Bytes> {
    Config::new(store).cache_capacity(capacity).open().expect("it opens")
}

fn fill(cache: &PageCache<Bytes>, pages: usize) -> Vec<(PageId, Version)> {
    (0..pages).map(|_| allocate(cache, vec![7; PAGE])).collect()
}

/// Bytes of memory beyond `before`, for each page.
fn each(before: u64, pages: usize) -> f64 {
    memory_of("self", "VmRSS").saturating_sub(before) as f64 / pages as f64
}

/// The second table's rows, each a role.
fn page_row(role: &str, store: &Path, pages: usize) {
    const AMPLE: u64 = 16 << 30;
    const LITTLE: u64 = 1 << 20;
    // What every process has, in the first row as in the others.
    drop(vec![1_u8; 1 << 20]);
    let before = memory_of("self", "VmRSS");
    let beside = |known: u64| known as f64 / pages as f64;
    match role {
        "written" => {
            let cache = open(store, AMPLE);
            (0..pages).for_each(|_| _ = allocate(&cache, vec![7; PAGE]));
            println!("{}", each(before, pages) - PAGE as f64 - beside(cache.stats().buffer_bytes));
            cache.close().expect("it closes");
        }
        "linked" => {
            // With little, nodes would take so much of it that pages get fewer links.
            let cache = open(store, AMPLE);
            let mut all = fill(&cache, pages);
            for _ in 0..LINKS {
                all.iter_mut().for_each(|page| link(&cache, page, vec![8; LINK]));
            }
            cache.close().expect("it closes");
        }
        "opened" => {
            let cache = open(store, LITTLE);
            println!("{}", each(before, pages));
            drop(cache);
        }
        "evicted" | "read" => {
            let cache = open(store, if role == "read" { AMPLE } else { LITTLE });
            // Page ids are handed out in order.
            for page in 1..=pages as u64 {
                let guard = cache.pin();
                assert_eq!(guard.get(PageId::new(page)).expect("a read").expect("a page").merged().0[0], 7);
            }
            let stats = cache.stats();
            let payload = if role == "read" { PAGE as f64 } else { beside(stats.resident_bytes) };
            println!("{}", each(before, pages) - payload - beside(stats.buffer_bytes + stats.dead_bytes));
        }
        other => panic!("no such role: {other}"),
    }
}

fn print_pages(place: &Path, pages: usize) {
    println!("\n{pages} pages of {PAGE} bytes: bytes for each beside the payload");
    let settings = [("PAGES", pages.to_string())];
    let (plain, linked) = (place.join("plain"), place.join("linked"));
    let row = |what: &str, role: &str, store: &Path, goal: &str| {
        println!("{what:<52} {:>8.1} {goal}", run(role, store, &settings)[0]);
    };
    row("in memory, just written", "written", &plain, "(goal: 96)");
    row("in memory, read back", "read", &plain, "(goal: 96)");
    row("not in memory, after opening", "opened", &plain, "(goal: 64)");
    row("not in memory, after its eviction", "evicted", &plain, "(goal: 64)");
    run("linked", &linked, &[("PAGES", (pages / 10).to_string())]);
    let settings = [("PAGES", (pages / 10).to_string())];
    let opened = run("opened", &linked, &settings)[0];
    println!("{:<52} {opened:>8.1}", format!("not in memory, with {LINKS} links, after opening"));
    let evicted = run("evicted", &linked, &settings)[0];
    println!("{:<52} {evicted:>8.1}", format!("not in memory, with {LINKS} links, after its eviction"));
}

fn print_loads(place: &Path, capacity: u64) {
    let store = place.join("loads");
    let budget = capacity as f64;
    println!("budget {:.0} MiB, {} pages of {PAGE} bytes", budget / MIB, loads::pages(capacity));
    println!(
        "{:<10} {:>7} {:>9} {:>8} {:>9} {:>8} {:>8} {:>10} {:>10} {:>11} {:>8}",
        "load",
        "threads",
        "most, MiB",
        "/budget",
        "end, MiB",
        "/budget",
        "known",
        "nodes, MiB",
        "kops/s",
        "over budget",
        "written"
    );
    loads::create(&open(&store, capacity), capacity);
    let loads: String = setting("LOADS", "get,replace,allocate,link".into());
    for load in loads.split(',') {
        for threads in numbers("THREADS", &[1, 2, 8]) {
            let settings = [("LOADS", load.to_owned()), ("THREADS", threads.to_string())];
            let row = run("load", &store, &settings);
            let [most, end, known, nodes, rate, over, written] = row[..] else { panic!("{row:?}") };
            let bound = budget * 1.1 + 16.0 * MIB;
            println!(
                "{load:<10} {threads:>7} {:>9.1} {:>8.2} {:>9.1} {:>8.2} {:>8.2} {:>10.1} {:>10.0} {over:>11.0} {written:>8.1} {}",
                most / MIB,
                most / budget,
                end / MIB,
                end / budget,
                known / budget,
                nodes / MIB,
                rate / 1e3,
                if end > bound { "*" } else { "" },
            );
        }
    }
}

fn main() {
    let capacity = setting::<u64>("CAPACITY", 64) << 20;
    let pages = setting("PAGES", 1_000_000);
    if let Ok(role) = std::env::var(ROLE) {
        let store = setting(STORE, PathBuf::new());
        match role.as_str() {
            "load" => loads::run(&open(&store, capacity), capacity),
            role => page_row(role, &store, pages),
        }
        return;
    }
    let place = Place::new("memory");
    print_loads(place.path(), capacity);
    if pages > 0 {
        print_pages(place.path(), pages);
    }
}
