//! How long opening takes, and how much memory, as the number of pages grows.
//!
//! `cargo bench --bench open` prints a table. For each number of pages a process fills a store with pages of
//! 128 bytes, overwrites a tenth of them, and then
//!
//! * `close`: closes it,
//! * `kill -9`: takes a snapshot, overwrites pages chosen at random until 64 MiB of log have come, and is
//!   killed,
//! * `…, no snapshot`: the same, and then its snapshots are removed, so that the whole log is read.
//!
//! Other processes then open it, read-only, and copies of it for writing, which also makes durable what was
//! found. The files are in the operating system's cache, as after a restart of the program; a raw sequential
//! read of them stands beside, as the limit, and the time that opening is meant to take at most: 10 ms, and
//! those of reading the snapshot with 0.8 GB/s and the log behind it with 0.6 GB/s. Resident memory is that
//! of the whole process, and what opening has added to it. Times are medians.
//!
//! A second table shows what a snapshot costs: the first one, of all pages, and then ones of what has changed
//! since. Environment:
//!
//! * `PAGES=100000,1000000` the numbers of pages (10000000 takes some GiB and some minutes)
//! * `ROUNDS=5` openings of each
//! * `DIRECTORY=path` where the files go (default: the temporary directory)

#[path = "../../tests/support/bytes.rs"]
mod bytes;

use std::fs::DirEntry;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use pagelog::{Allocated, Config, PageCache};

const LENGTH: usize = 128;
const ROLE: &str = "PAGELOG_OPEN_ROLE";
/// How much log comes behind the last snapshot of a store that is killed.
const TAIL: u64 = 64 << 20;

fn setting<T: std::str::FromStr>(name: &str, default: T) -> T {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn config(directory: &Path) -> Config {
    Config::new(directory).cache_capacity(64 << 20)
}

/// Fills a store, says so and how much log lies behind the last snapshot, and waits to be killed or to be
/// told to close.
fn fill(directory: &Path, pages: u64, tail: u64) {
    // With a tail, the last snapshot is to be where this says.
    let cache: PageCache<Bytes> = config(directory).snapshots(tail == 0).open().expect("a new store");
    let content = |number: u64| Bytes(vec![number as u8; LENGTH]);
    let mut allocated: Vec<_> =
        (0..pages).map(|number| cache.allocate(content(number)).expect("a page")).collect();
    let overwrite = |page: &mut Allocated, number| {
        let written = cache.replace(page.page_id, page.version, content(number)).expect("a write");
        page.version = written.done().expect("nobody else writes");
    };
    (0..pages).step_by(10).for_each(|number| overwrite(&mut allocated[number as usize], number));
    cache.flush().expect("a flush");
    let before = cache.stats().counts.written_bytes;
    if tail > 0 {
        cache.snapshot().expect("a snapshot");
        let mut random = 7_u64;
        while cache.stats().counts.written_bytes < before + tail {
            for _ in 0..1000 {
                random =
                    random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                overwrite(&mut allocated[((random >> 33) % pages) as usize], random >> 40);
            }
        }
        cache.flush().expect("a flush");
    }
    println!("filled {}", cache.stats().counts.written_bytes - before);
    let mut word = String::new();
    std::io::stdin().read_line(&mut word).expect("a word");
    cache.close().expect("it closes");
}

/// Opens a store, and says how long that took, how much memory there is and was before, and how many pages.
/// Ends without closing it.
fn open(directory: &Path, read_only: bool) -> ! {
    let before = resident();
    let start = Instant::now();
    let cache: PageCache<Bytes> = config(directory).read_only(read_only).open().expect("it opens");
    let taken = start.elapsed();
    println!("{} {} {before} {}", taken.as_nanos(), resident(), cache.stats().page_ids);
    std::process::exit(0)
}

/// Bytes of resident memory, where the system says.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
    line.split_whitespace().next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0) << 10
}

fn child(role: &str, directory: &Path, pages: u64) -> Child {
    let this = std::env::current_exe().expect("a program");
    let mut command = Command::new(this);
    command.env(ROLE, role).env("DIRECTORY", directory).env("PAGES", pages.to_string());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a process")
}

fn say(child: &mut Child) -> String {
    let mut line = String::new();
    if let Some(stdout) = child.stdout.as_mut() {
        BufReader::new(stdout).read_line(&mut line).expect("a line");
    }
    line
}

/// Reads all files once, in order.
fn raw_read(directory: &Path) -> Duration {
    let start = Instant::now();
    let mut buffer = vec![0; 1 << 20];
    for entry in std::fs::read_dir(directory).expect("a directory").flatten() {
        let mut file = std::fs::File::open(entry.path()).expect("a file");
        while file.read(&mut buffer).expect("bytes") > 0 {}
    }
    start.elapsed()
}

/// Copies the files of a directory, durably.
fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory").flatten() {
        let copy = to.join(entry.file_name());
        std::fs::copy(entry.path(), &copy).expect("a copy");
        std::fs::File::open(copy).and_then(|file| file.sync_all()).expect("a sync");
    }
}

/// The snapshots in a directory.
fn snapshots(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).expect("a directory").flatten();
    let is_snapshot = |entry: &DirEntry| entry.file_name().to_string_lossy().starts_with("snapshot-");
    entries.filter(is_snapshot).map(|entry| entry.path()).collect()
}

/// What one opening took.
struct Opened {
    time: Duration,
    resident: u64,
    before: u64,
}

fn open_once(role: &str, directory: &Path, pages: u64) -> Opened {
    let mut opener = child(role, directory, pages);
    let line = say(&mut opener);
    opener.wait().expect("it ends");
    let numbers: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [nanoseconds, resident, before, page_ids] = numbers[..] else { panic!("{line:?}") };
    assert!(page_ids >= pages, "{page_ids} page ids");
    Opened { time: Duration::from_nanos(nanoseconds), resident, before }
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e3
}

fn measure(directory: &Path, pages: u64, ending: &str, rounds: usize) {
    let _ = std::fs::remove_dir_all(directory);
    let killed = ending.starts_with("kill -9");
    let mut filler = child(if killed { "fill a tail" } else { "fill" }, directory, pages);
    let line = say(&mut filler);
    let mut tail: u64 =
        line.trim().strip_prefix("filled ").and_then(|tail| tail.parse().ok()).expect("it is filled");
    if killed {
        filler.kill().expect("it is killed");
    } else {
        drop(filler.stdin.take());
    }
    filler.wait().expect("it ends");
    if ending.ends_with("no snapshot") {
        snapshots(directory).iter().for_each(|path| std::fs::remove_file(path).expect("it is removed"));
        tail = std::fs::metadata(directory.join("log")).expect("a log").len();
    }
    let size = |path: &PathBuf| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let snapshot: u64 = snapshots(directory).iter().map(size).sum();
    let goal = 10.0 + snapshot as f64 / 0.8e6 + tail as f64 / 0.6e6;

    let read_only: Vec<Opened> = (0..rounds).map(|_| open_once("open", directory, pages)).collect();
    let copied = directory.with_extension("copy");
    let for_writing = (0..rounds).map(|_| {
        copy(directory, &copied);
        open_once("open for writing", &copied, pages).time
    });
    let for_writing = median(for_writing.collect());
    let _ = std::fs::remove_dir_all(&copied);
    raw_read(directory);
    let raw = raw_read(directory);
    let last = read_only.last().expect("a round");
    let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let more = last.resident.saturating_sub(last.before);
    println!(
        "{pages:>10} {ending:<20} {:>10.1} {for_writing:>12.1} {goal:>8.1} {:>10.1} {:>12.1} {:>9.1} {:>9.1} {:>9.1} {:>13.1}",
        median(read_only.iter().map(|opened| opened.time).collect()),
        raw.as_secs_f64() * 1e3,
        mebibytes(snapshot),
        mebibytes(tail),
        mebibytes(last.resident),
        mebibytes(more),
        more as f64 / pages as f64,
    );
}

/// What a snapshot takes after so many pages were changed, chosen at random or next to one another.
fn snapshot_costs(directory: &Path, pages: u64) {
    let _ = std::fs::remove_dir_all(directory);
    let cache: PageCache<Bytes> = config(directory).snapshots(false).open().expect("a new store");
    let content = |number: u64| Bytes(vec![number as u8; LENGTH]);
    let mut allocated: Vec<_> =
        (0..pages).map(|number| cache.allocate(content(number)).expect("a page")).collect();
    let mut random = 7_u64;
    for (changed, apart) in [(pages, false), (1, false), (1000, false), (1000, true), (pages / 10, true)] {
        for number in 0..changed {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = if apart { (random >> 33) % pages } else { number % pages };
            let page = &mut allocated[at as usize];
            let written = cache.replace(page.page_id, page.version, content(number)).expect("a write");
            page.version = written.done().expect("nobody else writes");
        }
        cache.flush().expect("a flush");
        let before = snapshots(directory);
        let start = Instant::now();
        cache.snapshot().expect("a snapshot");
        let taken = start.elapsed();
        let size = |path: &PathBuf| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        let new: u64 = snapshots(directory).iter().filter(|path| !before.contains(path)).map(size).sum();
        let kibibytes = new as f64 / 1024.0;
        let place = if apart { "at random" } else { "in a row" };
        println!(
            "{pages:>10} {changed:>10} {place:<10} {:>10.1} {kibibytes:>12.1}",
            taken.as_secs_f64() * 1e3
        );
    }
}

fn main() {
    let directory: PathBuf =
        setting("DIRECTORY", std::env::temp_dir().join(format!("pagelog-open-{}", std::process::id())));
    match std::env::var(ROLE).as_deref() {
        Ok("fill") => return fill(&directory, setting("PAGES", 0), 0),
        Ok("fill a tail") => return fill(&directory, setting("PAGES", 0), TAIL),
        Ok(role) => open(&directory, role == "open"),
        Err(_) => {}
    }
    println!(
        "{:>10} {:<20} {:>10} {:>12} {:>8} {:>10} {:>12} {:>9} {:>9} {:>9} {:>13}",
        "pages",
        "after",
        "open, ms",
        "to write, ms",
        "goal, ms",
        "read, ms",
        "snapshot MiB",
        "log MiB",
        "resident",
        "MiB more",
        "bytes a page"
    );
    let pages: String = setting("PAGES", "100000,1000000".into());
    let pages: Vec<u64> = pages.split(',').filter_map(|number| number.trim().parse().ok()).collect();
    for pages in pages.iter().copied() {
        for ending in ["close", "kill -9", "close, no snapshot", "kill -9, no snapshot"] {
            measure(&directory, pages, ending, setting("ROUNDS", 5));
        }
    }
    println!("\n{:>10} {:>10} {:<10} {:>10} {:>12}", "pages", "changed", "", "snapshot, ms", "written, KiB");
    pages.iter().for_each(|pages| snapshot_costs(&directory, *pages));
    let _ = std::fs::remove_dir_all(&directory);
}
