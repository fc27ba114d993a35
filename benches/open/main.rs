//! How long opening takes, and how much memory, as the number of pages grows.
//!
//! `cargo bench --bench open` prints a table. For each number of pages a process fills a store with pages of 128 bytes, overwrites a
//! tenth of them, and either closes it or is killed. Another process then opens it. The files are in the operating system's cache, as
//! after a restart of the program; a raw sequential read of them stands beside, as the limit. Environment:
//!
//! * `PAGES=100000,1000000` the numbers of pages (10000000 takes some GiB and some minutes)
//! * `ROUNDS=5` openings of each; the median is printed
//! * `DIRECTORY=path` where the files go (default: the temporary directory)

#[path = "../../tests/support/bytes.rs"]
mod bytes;

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use pagelog::{Config, PageCache};

const LENGTH: usize = 128;
const ROLE: &str = "PAGELOG_OPEN_ROLE";

fn setting<T: std::str::FromStr>(name: &str, default: T) -> T {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn config(directory: &Path) -> Config {
    Config::new(directory).cache_capacity(64 << 20)
}

/// Fills a store, says so, and waits to be killed or to be told to close.
fn fill(directory: &Path, pages: u64) {
    let cache: PageCache<Bytes> = config(directory).open().expect("a new store");
    let content = |number: u64| Bytes(vec![number as u8; LENGTH]);
    let allocated: Vec<_> =
        (0..pages).map(|number| cache.allocate(content(number)).expect("a page")).collect();
    for (number, page) in (0..pages).zip(&allocated).step_by(10) {
        assert!(cache.replace(page.page_id, page.version, content(number)).expect("a write").is_done());
    }
    cache.flush().expect("a flush");
    println!("filled");
    let mut word = String::new();
    std::io::stdin().read_line(&mut word).expect("a word");
    cache.close().expect("it closes");
}

/// Opens a store, and says how long that took, how much more memory there is, and how many pages.
fn open(directory: &Path) {
    let before = resident();
    let start = Instant::now();
    let cache: PageCache<Bytes> = config(directory).read_only(true).open().expect("it opens");
    let taken = start.elapsed();
    println!("{} {} {}", taken.as_nanos(), resident().saturating_sub(before), cache.stats().page_ids);
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

fn measure(directory: &Path, pages: u64, ending: &str, rounds: usize) {
    let _ = std::fs::remove_dir_all(directory);
    let mut filler = child("fill", directory, pages);
    assert_eq!(say(&mut filler).trim(), "filled");
    if ending == "kill -9" {
        filler.kill().expect("it is killed");
    } else {
        drop(filler.stdin.take());
    }
    filler.wait().expect("it ends");
    if ending == "close, no snapshot" {
        for entry in std::fs::read_dir(directory).expect("a directory").flatten() {
            if entry.file_name().to_string_lossy().starts_with("snapshot-") {
                std::fs::remove_file(entry.path()).expect("it is removed");
            }
        }
    }
    let (mut times, mut memory, mut found) = (Vec::new(), 0, 0);
    for _ in 0..rounds {
        let mut opener = child("open", directory, pages);
        let line = say(&mut opener);
        opener.wait().expect("it ends");
        let numbers: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let [nanoseconds, bytes, page_ids] = numbers[..] else { panic!("{line:?}") };
        times.push(Duration::from_nanos(nanoseconds));
        (memory, found) = (bytes, page_ids);
    }
    assert!(found >= pages, "{found} page ids");
    times.sort_unstable();
    raw_read(directory);
    let raw = raw_read(directory);
    println!(
        "{pages:>10} {ending:<20} {:>10.1} {:>10.1} {:>10.1} {:>12.1}",
        times[times.len() / 2].as_secs_f64() * 1e3,
        raw.as_secs_f64() * 1e3,
        memory as f64 / f64::from(1 << 20),
        memory as f64 / pages as f64,
    );
}

fn main() {
    let directory: PathBuf =
        setting("DIRECTORY", std::env::temp_dir().join(format!("pagelog-open-{}", std::process::id())));
    match std::env::var(ROLE).as_deref() {
        Ok("fill") => return fill(&directory, setting("PAGES", 0)),
        Ok(_) => return open(&directory),
        Err(_) => {}
    }
    println!(
        "{:>10} {:<20} {:>10} {:>10} {:>10} {:>12}",
        "pages", "after", "open, ms", "read, ms", "MiB more", "bytes a page"
    );
    let pages: String = setting("PAGES", "100000,1000000".into());
    for pages in pages.split(',').filter_map(|number| number.trim().parse().ok()) {
        for ending in ["close", "close, no snapshot", "kill -9"] {
            measure(&directory, pages, ending, setting("ROUNDS", 5));
        }
    }
    let _ = std::fs::remove_dir_all(&directory);
}
