//! Many jobs in many processes, and what they have counted.
//!
//! A job runs in a process of its own: what is freed when readers have moved on goes by the threads of the
//! whole process, so two stores in one would disturb each other, and a run would not repeat. It is also the
//! command that repeats it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::tally::Tally;

/// How many parts all short workloads are divided into.
pub const PARTS: u64 = 16;
const PROGRESS: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Job {
    /// A part of all short workloads.
    Part(u64),
    Seed(u64),
}

impl Job {
    pub fn arguments(self) -> [String; 2] {
        match self {
            Self::Part(part) => ["--part".into(), part.to_string()],
            Self::Seed(seed) => ["--seed".into(), seed.to_string()],
        }
    }

    /// What to type to repeat it.
    fn command(self) -> String {
        let profile = if cfg!(debug_assertions) { "" } else { " --release" };
        let features = if cfg!(feature = "compression") { " --features compression" } else { "" };
        format!("cargo test{profile}{features} --test power_cut -- {}", self.arguments().join(" "))
    }

    /// Does it, in another process.
    fn run(self) -> Result<Tally, String> {
        let failed = |text: String| format!("{text}\n\nrepeat it with: {}\n", self.command());
        let program = std::env::current_exe().map_err(|error| failed(error.to_string()))?;
        let mut command = Command::new(program);
        // Memory is kept: a small store comes and goes some thousand times a second.
        for variable in ["MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_"] {
            command.env(variable, (64 << 20).to_string());
        }
        let output = command.args(self.arguments()).output().map_err(|error| failed(error.to_string()))?;
        let (said, wrong) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if !output.status.success() {
            return Err(failed(format!("{self:?} failed ({}):\n{said}{wrong}", output.status)));
        }
        let mut tally = Tally::default();
        tally.read(&said);
        Ok(tally)
    }
}

/// What is done, and what is still to do.
#[derive(Debug, Default)]
struct Progress {
    done: BTreeSet<Job>,
    tally: Tally,
    failure: Option<String>,
}

/// A run: its jobs, and when to stop.
pub struct Run<I> {
    pub jobs: I,
    pub until: Option<Instant>,
    pub cores: usize,
    /// Where it is noted what was done.
    pub state: Option<PathBuf>,
    pub talkative: bool,
}

impl<I: Iterator<Item = Job> + Send> Run<I> {
    /// Does the jobs that are not done yet. Returns all that was ever counted.
    pub fn run(self) -> Result<Tally, String> {
        let Self { jobs, until, cores, state, talkative } = self;
        let mut progress = Progress::default();
        if let Some(path) = &state {
            progress.load(path)?;
        }
        let before = progress.tally.images();
        let (jobs, progress, began) = (Mutex::new(jobs), Mutex::new(progress), Instant::now());
        let lock = || progress.lock().unwrap_or_else(PoisonError::into_inner);
        let next = || {
            let mut jobs = jobs.lock().unwrap_or_else(PoisonError::into_inner);
            let over = lock().failure.is_some() || until.is_some_and(|until| Instant::now() >= until);
            if over { None } else { jobs.by_ref().find(|job| !lock().done.contains(job)) }
        };
        let said = Mutex::new(Instant::now());
        std::thread::scope(|scope| {
            for _ in 0..cores.max(1) {
                scope.spawn(|| {
                    while let Some(job) = next() {
                        let outcome = job.run();
                        let mut progress = lock();
                        match outcome {
                            Ok(tally) => progress.finish(job, &tally, state.as_deref()),
                            Err(text) => progress.failure = Some(text),
                        }
                        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
                        if talkative && said.elapsed() >= PROGRESS {
                            *said = Instant::now();
                            println!("{}", progress.line(began.elapsed(), before));
                        }
                    }
                });
            }
        });
        let progress = progress.into_inner().unwrap_or_else(PoisonError::into_inner);
        if talkative {
            println!("{}", progress.line(began.elapsed(), before));
        }
        match progress.failure {
            Some(text) => Err(text),
            None => Ok(progress.tally),
        }
    }
}

/// Numbers as ranges, the ends excluded.
fn ranges(numbers: impl Iterator<Item = u64>) -> String {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, end)) if *end == number => *end += 1,
            _ => ranges.push((number, number + 1)),
        }
    }
    ranges.iter().fold(String::new(), |text, (first, end)| text + &format!(" {first}..{end}"))
}

pub fn parse_range(text: &str) -> Option<std::ops::Range<u64>> {
    let (first, end) = text.split_once("..")?;
    Some(first.parse().ok()?..end.parse().ok()?)
}

/// Tells one build from another, so that their counts are not added up.
fn build() -> String {
    let metadata = std::env::current_exe().and_then(std::fs::metadata).ok();
    let modified = metadata.as_ref().and_then(|metadata| metadata.modified().ok());
    let age = modified.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    let length = metadata.map_or(0, |metadata| metadata.len());
    format!("build {length} {}", age.map_or(0, |age| age.as_secs()))
}

impl Progress {
    fn parts(&self) -> impl Iterator<Item = u64> {
        self.done.iter().filter_map(|job| if let Job::Part(part) = job { Some(*part) } else { None })
    }

    fn seeds(&self) -> impl Iterator<Item = u64> {
        self.done.iter().filter_map(|job| if let Job::Seed(seed) = job { Some(*seed) } else { None })
    }

    fn load(&mut self, path: &Path) -> Result<(), String> {
        let Ok(text) = std::fs::read_to_string(path) else { return Ok(()) };
        if text.lines().next() != Some(build().as_str()) {
            let place = path.display();
            return Err(format!("{place} is of another build: remove it, or name another with --state"));
        }
        for line in text.lines() {
            let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
            let numbers = rest.split(' ').filter_map(parse_range).flatten();
            match kind {
                "parts" => self.done.extend(numbers.map(Job::Part)),
                "seeds" => self.done.extend(numbers.map(Job::Seed)),
                _ => {}
            }
        }
        self.tally.read(&text);
        Ok(())
    }

    fn finish(&mut self, job: Job, tally: &Tally, state: Option<&Path>) {
        self.tally.merge(tally);
        self.done.insert(job);
        let Some(path) = state else { return };
        let mut text = build();
        let (parts, seeds) = (ranges(self.parts()), ranges(self.seeds()));
        let _ = write!(text, "\nparts{parts}\nseeds{seeds}\n{}", self.tally.lines());
        let temporary = path.with_extension("new");
        let written = std::fs::write(&temporary, text).and_then(|()| std::fs::rename(&temporary, path));
        if let Err(error) = written {
            self.failure = Some(format!("{}: {error}", path.display()));
        }
    }

    fn line(&self, elapsed: Duration, before: u64) -> String {
        let (seconds, images) = (elapsed.as_secs_f64(), self.tally.images());
        let rate = (images - before) as f64 / seconds.max(0.001);
        let (seeds, nested) = (self.seeds().count(), self.tally.get("images nested"));
        format!(
            "{:.1} min: {seeds} seeds, {images} images ({nested} nested), {rate:.0} images a second",
            seconds / 60.0
        )
    }
}
