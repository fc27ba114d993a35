//! The cells of the page layer, pagelog beside a plain baseline, interleaved in one run.
//!
//! `cargo bench --bench cells` prints a table: the medians of the rounds and the ratio of the medians.
//! Environment:
//!
//! * `CELLS=link,get,commit,replace` which cells (default: all); how long single operations take is in
//!   `cargo bench --bench stalls`
//! * `PAGES=100000`, `ROUNDS=5`, `SECONDS=1.0` per measurement
//! * `GC=false`, `SNAPSHOTS=false`, `CHAIN_RATIO=2`, `SPACE_TARGET=2` to see what each of pagelog's duties
//!   costs; the cells are measured with the defaults
//! * `DIRECTORY=path` where the files go (default: the temporary directory)
//!
//! Pages of 1 KiB grow by fragments of 64 bytes and are cut back to 1 KiB past 4 KiB. Both engines get the
//! same work, and each read touches one byte of the payload. pagelog runs with its defaults (garbage
//! collection, snapshots and statistics on) and a cache that holds everything; it frees and reclaims what the
//! baseline only appends.

#[path = "../common/engine.rs"]
mod engine;
mod plain;
#[path = "../common/random.rs"]
mod random;
#[path = "../common/rate.rs"]
mod rate;
mod subject;

use std::path::{Path, PathBuf};
use std::time::Duration;

use engine::{BASE, Engine, FRAGMENT, grow, link_or_cut, rate, rate_from, read_some, replace_some, warm_up};
use pagelog::Config;
use plain::Plain;
use subject::Subject;

/// So often each page is replaced, on average, before replacements are measured.
const OVERWRITES: usize = 5;

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
    let cells: String = setting("CELLS", "link,replace,get,commit".into());
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
    let _ = std::fs::remove_dir_all(&settings.directory);
}

/// pagelog as the settings say.
fn config(directory: &Path) -> Config {
    Config::new(directory)
        .cache_capacity(4 << 30)
        .background(setting("BACKGROUND", false))
        .garbage_collection(setting("GC", true))
        .snapshots(setting("SNAPSHOTS", true))
        .space_target(setting("SPACE_TARGET", 1.25))
        .max_chain_ratio(setting("CHAIN_RATIO", 4.0))
}

fn engines(directory: &Path, pages: usize) -> (Subject, Plain) {
    let subject = Subject::create(config(&directory.join("pagelog")), pages);
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
        let lengths = both.map(|engine| grow(engine, settings.pages));
        // Towards a steady state: memory and segments used before.
        for (engine, lengths) in both.iter().zip(&lengths) {
            rate(2, time * 8, |_, random| _ = link_or_cut(*engine, lengths, random));
        }
        let mut cells = [Cell::new("link, 1 thread", 1e6), Cell::new("link, 2 threads", 1e6)];
        for round in 0..settings.rounds {
            for (cell, threads) in cells.iter_mut().zip([1, 2]) {
                let work = |index: usize| {
                    let link = |_, random: &mut _| _ = link_or_cut(both[index], &lengths[index], random);
                    rate_from(2 * round, threads, time, link)
                };
                cell.results.push((work(0), work(1)));
            }
        }
        cells.iter().for_each(Cell::print);
    }
    if run("replace") {
        let mut cells =
            [Cell::new("replace 1 KiB, 1 thread", 1e6), Cell::new("replace 1 KiB, 2 threads", 1e6)];
        // The file is to follow the live bytes, which are fewer when pages that links have made long are cut
        // back.
        for engine in both {
            warm_up(OVERWRITES * settings.pages, time * 15, |random| {
                replace_some(engine, settings.pages, random);
                true
            });
        }
        for round in 0..settings.rounds {
            for (cell, threads) in cells.iter_mut().zip([1, 2]) {
                let [ours, theirs] = both.map(|engine| {
                    rate_from(2 * round, threads, time, |_, random| {
                        replace_some(engine, settings.pages, random);
                    })
                });
                cell.results.push((ours, theirs));
            }
        }
        cells.iter().for_each(Cell::print);
    }
    println!("pagelog: {}", subject.report());
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
