//! The cells of the page layer, pagelog beside a plain baseline, interleaved in one run.
//!
//! `cargo bench --bench cells` prints a table: the medians of the rounds and the ratio of the medians. Environment:
//!
//! * `CELLS=link,get,commit,replace,latency` which cells (default: all)
//! * `PAGES=100000`, `ROUNDS=5`, `SECONDS=1.0` per measurement
//! * `GC=false`, `SNAPSHOTS=false`, `CHAIN_RATIO=2`, `SPACE_TARGET=2` to see what each of pagelog's duties costs; the cells are measured with the
//!   defaults
//! * `DIRECTORY=path` where the files go (default: the temporary directory)
//!
//! Pages of 1 KiB grow by fragments of 64 bytes and are cut back to 1 KiB past 4 KiB. Both engines get the same work, and each read
//! touches one byte of the payload. pagelog runs with its defaults (garbage collection, snapshots and statistics
//! on) and a cache that holds everything; it frees and reclaims what the baseline only appends.

mod plain;
mod subject;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use plain::Plain;
use subject::Subject;

/// A page when it is new or was cut back.
const BASE: usize = 1024;
/// What a link adds.
const FRAGMENT: usize = 64;
/// Beyond this a page is cut back.
const LIMIT: u32 = 4096;

/// A small generator of random numbers, the same for both engines.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % bound
    }
}

/// What both engines can do.
pub trait Engine: Sync {
    /// Links a fragment to a page on the version found.
    fn link(&self, page: usize, fragment: [u8; FRAGMENT]);
    /// Cuts a page back.
    fn replace(&self, page: usize, content: Vec<u8>);
    /// Reads one byte of the page.
    fn get(&self, page: usize) -> u8;
    /// Makes one link durable.
    fn commit(&self, page: usize, fragment: [u8; FRAGMENT]);
}

struct Settings {
    pages: usize,
    rounds: usize,
    time: Duration,
    directory: PathBuf,
    cells: Vec<String>,
}

fn setting<T: std::str::FromStr>(name: &str, default: T) -> T {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Runs `work(thread, random)` on some threads until time is up; returns operations per second.
fn rate(threads: usize, time: Duration, work: impl Fn(usize, &mut Random) + Sync) -> f64 {
    let stop = AtomicBool::new(false);
    let start = Instant::now();
    let total: u64 = std::thread::scope(|scope| {
        let run = |thread: usize| {
            let (stop, work) = (&stop, &work);
            scope.spawn(move || {
                let mut random = Random(0x9E37_79B9_7F4A_7C15 ^ (thread as u64 + 1));
                let mut done = 0u64;
                while !stop.load(Ordering::Relaxed) {
                    for _ in 0..16 {
                        work(thread, &mut random);
                    }
                    done += 16;
                }
                done
            })
        };
        let threads: Vec<_> = (0..threads).map(run).collect();
        std::thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
        threads.into_iter().map(|thread| thread.join().unwrap_or(0)).sum()
    });
    total as f64 / start.elapsed().as_secs_f64()
}

/// Links to a random page, and cuts it back when it has grown too long.
fn link_or_cut(engine: &dyn Engine, lengths: &[AtomicU32], random: &mut Random) {
    let page = random.below(lengths.len());
    let length = lengths[page].fetch_add(FRAGMENT as u32, Ordering::Relaxed) + FRAGMENT as u32;
    if length > LIMIT {
        lengths[page].store(BASE as u32, Ordering::Relaxed);
        engine.replace(page, vec![page as u8; BASE]);
    } else {
        engine.link(page, [page as u8; FRAGMENT]);
    }
}

/// Pages read between two looks at the clock.
fn read_some(engine: &dyn Engine, pages: usize, random: &mut Random) {
    let page = random.below(pages);
    assert_eq!(engine.get(page), page as u8);
}

struct Cell {
    name: &'static str,
    unit: f64,
    results: Vec<(f64, f64)>,
}

impl Cell {
    fn new(name: &'static str, unit: f64) -> Self {
        Self { name, unit, results: Vec::new() }
    }

    fn print(&self) {
        let median = |values: Vec<f64>| {
            let mut values = values;
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or(0.0)
        };
        let ours = median(self.results.iter().map(|(ours, _)| *ours).collect());
        let plain = median(self.results.iter().map(|(_, plain)| *plain).collect());
        let (ours, plain) = (ours / self.unit, plain / self.unit);
        println!("{:<28} {ours:>12.3} {plain:>12.3} {:>8.2}", self.name, ours / plain);
    }
}

fn main() {
    let cells: String = setting("CELLS", "link,replace,get,commit,latency".into());
    let settings = Settings {
        pages: setting("PAGES", 100_000),
        rounds: setting("ROUNDS", 5),
        time: Duration::from_secs_f64(setting("SECONDS", 1.0)),
        directory: setting(
            "DIRECTORY",
            std::env::temp_dir().join(format!("pagelog-cells-{}", std::process::id())),
        ),
        cells: cells.split(',').map(Into::into).collect(),
    };
    if let Err(error) = std::fs::create_dir_all(&settings.directory) {
        eprintln!("cannot create {}: {error}", settings.directory.display());
        std::process::exit(1);
    }
    println!("{} pages, medians of {} rounds", settings.pages, settings.rounds);
    println!("{:<28} {:>12} {:>12} {:>8}", "cell (millions per second)", "pagelog", "plain", "ratio");
    let run = |cell: &str| settings.cells.iter().any(|wanted| wanted == cell);
    if run("link") || run("replace") || run("get") {
        in_memory(&settings, &run);
    }
    if run("commit") {
        commits(&settings);
    }
    if run("latency") {
        latencies(&settings);
    }
    let _ = std::fs::remove_dir_all(&settings.directory);
}

fn engines(directory: &Path, pages: usize) -> (Subject, Plain) {
    let subject = Subject::create(&directory.join("pagelog"), pages);
    let mut plain = Plain::create(&directory.join("plain.log")).expect("the baseline's file");
    for page in 0..pages {
        plain.allocate(&vec![page as u8; BASE]).expect("allocate");
    }
    (subject, plain)
}

fn in_memory(settings: &Settings, run: &dyn Fn(&str) -> bool) {
    let (subject, plain) = engines(&settings.directory, settings.pages);
    let both: [&dyn Engine; 2] = [&subject, &plain];
    let time = settings.time;
    if run("get") {
        let mut cells = [Cell::new("get hit, 1 thread", 1e6), Cell::new("get hit, 2 threads", 1e6)];
        for _ in 0..settings.rounds {
            for (cell, threads) in cells.iter_mut().zip([1, 2]) {
                let [ours, theirs] = both
                    .map(|engine| rate(threads, time, |_, random| read_some(engine, settings.pages, random)));
                cell.results.push((ours, theirs));
            }
        }
        cells.iter().for_each(Cell::print);
    }
    if run("link") {
        let lengths =
            both.map(|_| (0..settings.pages).map(|_| AtomicU32::new(BASE as u32)).collect::<Vec<_>>());
        // Towards a steady state: pages of all lengths, memory and segments used before.
        for (engine, lengths) in both.iter().zip(&lengths) {
            rate(2, time * 8, |_, random| link_or_cut(*engine, lengths, random));
        }
        let mut cells = [Cell::new("link, 1 thread", 1e6), Cell::new("link, 2 threads", 1e6)];
        for _ in 0..settings.rounds {
            for (cell, threads) in cells.iter_mut().zip([1, 2]) {
                let work = |index: usize| {
                    rate(threads, time, |_, random| link_or_cut(both[index], &lengths[index], random))
                };
                cell.results.push((work(0), work(1)));
            }
        }
        cells.iter().for_each(Cell::print);
    }
    if run("replace") {
        let mut cells =
            [Cell::new("replace 1 KiB, 1 thread", 1e6), Cell::new("replace 1 KiB, 2 threads", 1e6)];
        for _ in 0..settings.rounds {
            for (cell, threads) in cells.iter_mut().zip([1, 2]) {
                let [ours, theirs] = both.map(|engine| {
                    rate(threads, time, |_, random| {
                        let page = random.below(settings.pages);
                        engine.replace(page, vec![page as u8; BASE]);
                    })
                });
                cell.results.push((ours, theirs));
            }
        }
        cells.iter().for_each(Cell::print);
    }
    subject.report();
}

/// Durable commits, with the raw loop of a write and a sync beside them.
fn commits(settings: &Settings) {
    let directory = settings.directory.join("commits");
    std::fs::create_dir_all(&directory).expect("a directory");
    let pages = 1000;
    let (subject, plain) = engines(&directory, pages);
    let raw = subject::RawLoop::create(&directory.join("raw")).expect("the raw loop's file");
    let both: [&dyn Engine; 2] = [&subject, &plain];
    let threads = [1, 2, 8];
    let names = ["commit, 1 thread", "commit, 2 threads", "commit, 8 threads"];
    let mut cells: Vec<Cell> = names.into_iter().map(|name| Cell::new(name, 1e6)).collect();
    let mut raws = Vec::new();
    for _ in 0..settings.rounds {
        raws.push(rate(1, settings.time, |_, _| raw.step()));
        for (cell, threads) in cells.iter_mut().zip(threads) {
            let [ours, theirs] = both.map(|engine| {
                rate(threads, settings.time, |_, random| {
                    let page = random.below(pages);
                    engine.commit(page, [page as u8; FRAGMENT]);
                })
            });
            cell.results.push((ours, theirs));
        }
    }
    cells.iter().for_each(Cell::print);
    raws.sort_by(f64::total_cmp);
    println!(
        "{:<28} {:>12.6}",
        "raw pwrite + fdatasync",
        raws.get(raws.len() / 2).copied().unwrap_or(0.0) / 1e6
    );
}

/// How long single links take on one thread: pagelog with its duties, without them, and the baseline. Interleaved in short turns, and
/// each turn's maximum noted, for whatever else the machine does falls on all of them.
fn latencies(settings: &Settings) {
    let directory = settings.directory.join("latencies");
    std::fs::create_dir_all(&directory).expect("a directory");
    let (subject, plain) = engines(&directory, settings.pages);
    let idle = Subject::create_idle(&directory.join("idle"), settings.pages);
    let engines: [(&str, &dyn Engine); 3] =
        [("pagelog", &subject), ("pagelog, no GC, no snapshots", &idle), ("plain", &plain)];
    let lengths: Vec<Vec<AtomicU32>> =
        engines.iter().map(|_| (0..settings.pages).map(|_| AtomicU32::new(BASE as u32)).collect()).collect();
    for ((_, engine), lengths) in engines.iter().zip(&lengths) {
        rate(2, settings.time * 8, |_, random| link_or_cut(*engine, lengths, random));
    }
    let mut turns: Vec<Vec<Vec<u32>>> = vec![Vec::new(); engines.len()];
    for turn in 0..settings.rounds * 4 {
        for (index, (_, engine)) in engines.iter().enumerate() {
            let mut random = Random(0x9E37_79B9_7F4A_7C15 ^ (turn as u64 + 1));
            let (start, mut taken) = (Instant::now(), Vec::with_capacity(1 << 20));
            while start.elapsed() < settings.time / 4 {
                for _ in 0..64 {
                    let before = Instant::now();
                    link_or_cut(*engine, &lengths[index], &mut random);
                    taken.push(u32::try_from(before.elapsed().as_nanos()).unwrap_or(u32::MAX));
                }
            }
            taken.sort_unstable();
            turns[index].push(taken);
        }
    }
    println!(
        "{:<28} {:>10} {:>10} {:>10} {:>10}",
        "latency of a link, us", "99 %", "99.9 %", "99.99 %", "max"
    );
    for ((name, _), turns) in engines.iter().zip(&turns) {
        let median = |share: f64| {
            let at = |taken: &Vec<u32>| taken[((taken.len() - 1) as f64 * share) as usize];
            let mut values: Vec<u32> = turns.iter().map(at).collect();
            values.sort_unstable();
            f64::from(values[values.len() / 2]) / 1e3
        };
        println!(
            "{name:<28} {:>10.1} {:>10.1} {:>10.1} {:>10.1}",
            median(0.99),
            median(0.999),
            median(0.9999),
            median(1.0)
        );
    }
    subject.report();
}
