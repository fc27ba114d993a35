//! `pagelog bench`: what a directory's disk can do, and pagelog on it.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use pagelog::{Cas, Codec, CodecError, Config, Fragment, Log, PageCache, PageId, Version};

use crate::failure::{Failure, Result};
use crate::json::Json;
use crate::options::Options;
use crate::{out, text};

const PAYLOAD: usize = 100;
const PAGES: u64 = 10_000;
/// Threads that commit at the same time.
const THREADS: u64 = 8;
/// What is timed is not done more often, however long it takes.
const MOST_CALLS: u64 = 4 << 20;
/// The most that is written to measure the speed of large writes.
const LARGE_WRITES: u64 = 64 << 20;

/// A page of which only the newest fragment counts.
#[derive(Debug)]
struct Newest(Vec<u8>);

struct Plain;

impl Codec<Newest> for Plain {
    fn encode(fragment: &Newest, into: &mut Vec<u8>) -> std::result::Result<(), CodecError> {
        into.extend_from_slice(&fragment.0);
        Ok(())
    }

    fn decode(bytes: &[u8]) -> std::result::Result<Newest, CodecError> {
        Ok(Newest(bytes.to_vec()))
    }
}

impl Fragment for Newest {
    type Codec = Plain;

    fn merge(oldest_to_newest: &[&Self]) -> Self {
        Self(oldest_to_newest.last().map(|newest| newest.0.clone()).unwrap_or_default())
    }
}

/// A directory that is removed at the end.
struct Place(PathBuf);

impl Place {
    /// Not in the directory of a store, which is not written to.
    fn new(directory: &Path) -> Result<Self> {
        if directory.join("MANIFEST").exists() {
            let problem = format!("{} is a store: name another directory on its disk", directory.display());
            return Err(Failure::Usage(problem));
        }
        let path = directory.join(format!("pagelog-bench-{}", std::process::id()));
        fs::create_dir(&path).map_err(Failure::io(format!("create {}", path.display())))?;
        Ok(Self(path))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("pagelog: {} stays: {error}", self.0.display());
        }
    }
}

/// One line of the result.
struct Row {
    name: &'static str,
    key: &'static str,
    value: f64,
    unit: &'static str,
}

struct Bench<'a> {
    options: &'a Options,
    duration: Duration,
    rows: Vec<Row>,
}

pub fn run(options: &Options, duration: Duration) -> Result<()> {
    if !options.directory.is_dir() {
        let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
        return Err(Failure::io(format!("find the directory {}", options.directory.display()))(missing));
    }
    let place = Place::new(&options.directory)?;
    let mut bench = Bench { options, duration, rows: Vec::new() };
    bench.disk(&place.0.join("file"))?;
    bench.log(&place.0.join("log"))?;
    bench.pages(&place.0.join("pages"))?;
    drop(place);
    if options.json {
        let rows = bench.rows.iter().map(|row| {
            Json::object([("name", row.key.into()), ("value", row.value.into()), ("unit", row.unit.into())])
        });
        let fields = [
            ("directory", options.directory.display().to_string().into()),
            ("seconds", duration.as_secs_f64().into()),
            ("results", Json::list(rows)),
        ];
        return out::print(&format!("{}\n", Json::object(fields)));
    }
    let line = |row: &Row| {
        let value =
            if row.value < 100.0 { format!("{:.2}", row.value) } else { text::grouped(row.value as u64) };
        format!("{:44} {value:>12} {}\n", row.name, row.unit)
    };
    out::print(&bench.rows.iter().map(line).collect::<String>())
}

/// Does something again and again for a time, but not more often than fits in some hundred megabytes. Returns
/// how often in a second.
fn rate(duration: Duration, mut each: impl FnMut(u64) -> Result<()>) -> Result<f64> {
    let (began, mut count) = (Instant::now(), 0);
    while began.elapsed() < duration && count < MOST_CALLS {
        // A look at the clock costs more than some of what is measured.
        for _ in 0..16 {
            each(count)?;
            count += 1;
        }
    }
    Ok(count as f64 / began.elapsed().as_secs_f64())
}

impl Bench<'_> {
    fn add(&mut self, name: &'static str, key: &'static str, value: f64, unit: &'static str) {
        self.rows.push(Row { name, key, value, unit });
    }

    fn say(&self, what: &str) {
        if !self.options.quiet {
            eprintln!("bench: {what}");
        }
    }

    /// Without pagelog.
    fn disk(&mut self, path: &Path) -> Result<()> {
        self.say("the disk");
        let failed = || format!("write {}", path.display());
        let mut file = File::create(path).map_err(Failure::io(failed()))?;
        let (began, mut latencies) = (Instant::now(), Vec::new());
        while began.elapsed() < self.duration {
            file.write_all(&[7; 4096]).map_err(Failure::io(failed()))?;
            let start = Instant::now();
            file.sync_data().map_err(Failure::io(failed()))?;
            latencies.push(start.elapsed().as_secs_f64() * 1000.0);
        }
        latencies.sort_by(f64::total_cmp);
        let at = |part: usize| latencies.get(latencies.len() * part / 100).copied().unwrap_or_default();
        let (median, tail) = (at(50), at(99));
        self.add("sync of 4 KiB, median", "sync_median", median, "ms");
        self.add("sync of 4 KiB, 99th percentile", "sync_p99", tail, "ms");
        let (began, mut written, piece) = (Instant::now(), 0, vec![7; 1 << 20]);
        while written < LARGE_WRITES && began.elapsed() < self.duration {
            file.write_all(&piece).map_err(Failure::io(failed()))?;
            written += piece.len() as u64;
        }
        file.sync_data().map_err(Failure::io(failed()))?;
        let speed = written as f64 / f64::from(1 << 20) / began.elapsed().as_secs_f64();
        self.add("large writes, synced", "write_speed", speed, "MiB/s");
        Ok(())
    }

    fn log(&mut self, directory: &Path) -> Result<()> {
        self.say("a log without pages");
        let log = Log::open(Config::new(directory))?;
        let payload = [7; PAYLOAD];
        let appends = rate(self.duration, |_| Ok(log.append(&payload).map(drop)?))?;
        log.flush()?;
        self.add("append of 100 bytes", "append", appends, "/s");
        Ok(log.close()?)
    }

    fn pages(&mut self, directory: &Path) -> Result<()> {
        self.say("pages");
        let cache: PageCache<Newest> = Config::new(directory).open()?;
        let fragment = || Newest(vec![7; PAYLOAD]);
        let mut pages: Vec<(PageId, Version)> = Vec::new();
        let allocations = rate(self.duration, |_| {
            let page = cache.allocate(fragment())?;
            if (pages.len() as u64) < PAGES {
                pages.push((page.page_id, page.version));
            }
            Ok(())
        })?;
        self.add("allocate, 100 bytes", "allocate", allocations, "/s");
        let mut next = 0;
        let mut on_next = |verb: &dyn Fn(PageId, Version) -> pagelog::Result<Cas<Newest>>| -> Result<()> {
            next = (next + 1) % pages.len().max(1);
            if let Some((page_id, version)) = pages.get_mut(next)
                && let Cas::Done { version: now, .. } = verb(*page_id, *version)?
            {
                *version = now;
            }
            Ok(())
        };
        let links =
            rate(self.duration, |_| on_next(&|page_id, version| cache.link(page_id, version, fragment())))?;
        let replacements = rate(self.duration, |_| {
            on_next(&|page_id, version| cache.replace(page_id, version, fragment()))
        })?;
        let gets = rate(self.duration, |count| {
            let page = pages.get((count % pages.len().max(1) as u64) as usize);
            if let Some((page_id, _)) = page {
                cache.pin().get(*page_id)?;
            }
            Ok(())
        })?;
        self.add("link, 100 bytes", "link", links, "/s");
        self.add("replace, 100 bytes", "replace", replacements, "/s");
        self.add("get, in memory", "get", gets, "/s");
        self.say("commits");
        let commits = commits(&cache, 1, self.duration)?;
        self.add("commit of a link, one thread", "commit_1", commits, "/s");
        let commits = commits_of_many(&cache, self.duration)?;
        self.add("commit of a link, eight threads", "commit_8", commits, "/s");
        Ok(cache.close()?)
    }
}

fn commits(cache: &PageCache<Newest>, seed: u8, duration: Duration) -> Result<f64> {
    let page = cache.allocate(Newest(vec![seed; PAYLOAD]))?;
    let (began, mut count, mut version) = (Instant::now(), 0_u64, page.version);
    while began.elapsed() < duration {
        if let Cas::Done { version: now, lsn, .. } =
            cache.link(page.page_id, version, Newest(vec![seed; PAYLOAD]))?
        {
            version = now;
            cache.make_stable(lsn)?;
            count += 1;
        }
    }
    Ok(count as f64 / began.elapsed().as_secs_f64())
}

fn commits_of_many(cache: &PageCache<Newest>, duration: Duration) -> Result<f64> {
    thread::scope(|scope| {
        let threads: Vec<_> =
            (0..THREADS).map(|seed| scope.spawn(move || commits(cache, seed as u8, duration))).collect();
        let mut sum = 0.0;
        for thread in threads {
            // A thread that panicked has said so.
            sum += thread.join().unwrap_or(Ok(0.0))?;
        }
        Ok(sum)
    })
}
