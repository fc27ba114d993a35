//! The demonstration: fill a tree from several threads, scan it, delete half of it, and find the rest again.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use pagelog::Config;

use crate::command::{print, tuning};
use crate::failure::{Failure, Result};
use crate::options::Options;
use crate::tree::{Direction, Forest, Range, Report, Tree};

const THREADS: u64 = 4;

/// A directory for a run, and whether it is to be removed.
pub fn place(given: Option<&Path>, name: &str) -> (PathBuf, bool) {
    let temporary = || std::env::temp_dir().join(format!("pagelog-ordered-kv-{name}-{}", std::process::id()));
    given.map_or_else(|| (temporary(), true), |path| (path.to_owned(), false))
}

pub fn run(options: &Options, directory: Option<&Path>) -> Result<()> {
    let (path, temporary) = place(directory, "demo");
    if path.join("MANIFEST").exists() {
        return Err(Failure::Usage(format!("there is a store in {} already", path.display())));
    }
    let outcome = demonstrate(options, &path);
    if temporary {
        let removed = std::fs::remove_dir_all(&path);
        outcome?;
        return removed.map_err(Failure::io(format!("remove {}", path.display())));
    }
    outcome
}

fn demonstrate(options: &Options, path: &Path) -> Result<()> {
    let records = options.records.unwrap_or(200_000);
    let open = || Forest::open(Config::new(path).cache_capacity(16 << 20), tuning(options));
    let forest = open()?;
    let tree = forest.tree(&options.tree)?;

    timed("put", records, || by_threads(records, |number| Ok(tree.put(&key(number), &value(number))?)))?;
    timed("get", records, || by_threads(records, |number| expect(&tree, number, true)))?;
    for direction in [Direction::Up, Direction::Down] {
        timed("scan", records, || scan(&tree, direction, records))?;
    }
    timed("delete", records / 2, || {
        by_threads(records, |number| {
            if stays(number) || tree.delete(&key(number))? {
                return Ok(());
            }
            Err(Failure::Verdict(format!("record {number} was not there")))
        })
    })?;
    let (figures, counts) = (forest.figures(), forest.stats().counts);
    let report = sound(&forest)?;
    forest.flush()?;
    forest.close()?;

    let start = Instant::now();
    let forest = open()?;
    let tree = forest.tree(&options.tree)?;
    print(format!("reopened in {:?}\n", start.elapsed()).as_bytes())?;
    let again = sound(&forest)?;
    let left = (0..records).filter(|number| stays(*number)).count() as u64;
    if (report.entries, again.entries) != (left, left) {
        return verdict(format!("{} and {} entries are left of {left}", report.entries, again.entries));
    }
    scan(&tree, Direction::Up, left)?;
    by_threads(records, |number| expect(&tree, number, stays(number)))?;
    let stats = forest.stats();
    forest.close()?;
    let text = format!(
        "{again:?}\n{figures:?}\n{} consolidations, {} evictions, {} misses, {} log bytes, space amplification {:.2}\nall is well\n",
        counts.consolidations,
        counts.evictions,
        counts.misses,
        stats.log_file_bytes,
        stats.space_amplification(),
    );
    print(text.as_bytes())?;
    // A short run needs not show all.
    if records >= 100_000 && (figures.splits == 0 || figures.joins == 0) {
        return verdict(format!("nothing was split or joined: {figures:?}"));
    }
    Ok(())
}

fn sound(forest: &Forest) -> Result<Report> {
    let report = forest.check()?;
    if report.faults.is_empty() && report.unused == 0 && report.sealed == 0 {
        return Ok(report);
    }
    verdict(format!("the store is not sound: {report:?}"))
}

fn verdict<T>(what: String) -> Result<T> {
    Err(Failure::Verdict(what))
}

/// Keys in no order.
fn key(number: u64) -> Vec<u8> {
    format!("{:016x}", number.wrapping_mul(0x9E37_79B9_7F4A_7C15)).into_bytes()
}

fn value(number: u64) -> Vec<u8> {
    format!("the value of record {number}, {}", "x".repeat((number % 90) as usize)).into_bytes()
}

/// Whether a record is in the half that is not deleted. Whole leaves become empty.
fn stays(number: u64) -> bool {
    key(number).get(1).is_some_and(|digit| digit % 2 == 0)
}

fn expect(tree: &Tree, number: u64, there: bool) -> Result<()> {
    let found = tree.get(&key(number))?;
    if found == there.then(|| value(number)) {
        Ok(())
    } else {
        verdict(format!("record {number} is {found:?}"))
    }
}

fn scan(tree: &Tree, direction: Direction, records: u64) -> Result<()> {
    let (mut seen, mut last, mut in_order) = (0, None::<Vec<u8>>, true);
    tree.visit(Range::all(), direction, |key, _| {
        let up = direction == Direction::Up;
        in_order &= last.as_ref().is_none_or(|last| if up { **last < *key } else { **last > *key });
        last = Some(key.to_vec());
        seen += 1;
        ControlFlow::Continue(())
    })?;
    if in_order && seen == records {
        Ok(())
    } else {
        verdict(format!("{seen} of {records} records seen, in order: {in_order}"))
    }
}

/// Does something for each record, in several threads.
fn by_threads(records: u64, each: impl Fn(u64) -> Result<()> + Sync) -> Result<()> {
    let each = &each;
    std::thread::scope(|scope| {
        let work = |thread| move || (thread..records).step_by(THREADS as usize).try_for_each(each);
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(work(thread))).collect();
        let panicked = |_| Failure::Verdict("a thread panicked".into());
        threads.into_iter().try_for_each(|thread| thread.join().map_err(panicked)?)
    })
}

fn timed(what: &str, records: u64, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let start = Instant::now();
    work()?;
    let (took, rate) = (start.elapsed(), records as f64 / start.elapsed().as_secs_f64() / 1000.0);
    print(format!("{what:7} {records:8} records in {took:8.3?}, {rate:6.0} thousand a second\n").as_bytes())
}
