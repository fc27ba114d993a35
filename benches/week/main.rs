//! A week in an hour, or in a minute: a store is filled, overwritten, emptied and filled again, and restarted at random moments, by a
//! close or by `kill -9`, over and over.
//!
//! `cargo bench --bench week` takes a minute and a half and prints a table; `SECONDS=3600 cargo bench --bench week` is the long form. Two threads live
//! through lives that follow from a seed, in a process that is restarted every few seconds. After each restart every byte of every
//! page is compared with what must be there. Ten times a second the sizes of the file, of the live bytes and of the resident
//! memory are noted, and how long the longest step and the longest flush took; they are drawn over time in an SVG file.
//!
//! It fails, and says why,
//!
//! * if contents are not what they must be,
//! * if in any sample of the steady state (the phase *overwrite*, when a restart or the filling is [`SETTLING`] seconds ago) the log file is
//!   larger than the space target's multiple of the live bytes, 20 segments, a thirty-second part of itself and 8 MiB,
//! * or if it is larger than that multiple and 20 segments when all was deleted and collection was called until there was nothing
//!   left to do.
//!
//! Environment:
//!
//! * `SECONDS=90`, `SEED=1`
//! * `PAGES=20000` of each thread, `OVERWRITES=12` of each page between filling and deleting, on average
//! * `SEGMENT=262144`, `TARGET=1.25`, `CAPACITY=32` MiB: the segment size, the space target, the cache
//! * `SVG=path` of the picture (default: `pagelog-week.svg` among the temporary files)
//! * `DIRECTORY=path` where the store goes (default: the temporary directory)

mod child;
#[path = "../common/mod.rs"]
mod common;
mod life;
#[path = "../common/plot.rs"]
mod plot;
mod report;

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use child::Setup;
use common::{Place, Random, setting};
use life::{Phase, Plan};
use pagelog::Config;
use report::{Emptied, Report, Sample};

const THREADS: usize = 2;
const ROLE: &str = "PAGELOG_WEEK_STORE";
/// What collection may take to bring the file to its size after a restart, or a filling.
pub const SETTLING: f64 = 1.0;
/// What a process lives at least and at most, in milliseconds.
const LIFETIME: (usize, usize) = (300, 6000);

fn plan() -> Plan {
    let plan = Plan {
        seed: setting("SEED", 1),
        pages: setting("PAGES", 20_000),
        overwrites: setting("OVERWRITES", 12),
    };
    assert!(!plan.pages.is_multiple_of(7919), "PAGES must be no multiple of 7919");
    plan
}

/// What a process did, as it told.
struct Told {
    lines: Receiver<(Instant, String)>,
}

impl Told {
    fn listen(child: &mut std::process::Child) -> Self {
        let stdout = child.stdout.take().expect("a pipe");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            // A line without an end is the last word of one that was killed.
            let mut stdout = BufReader::new(stdout);
            let mut line = String::new();
            while stdout.read_line(&mut line).is_ok_and(|length| length > 0) && line.ends_with('\n') {
                let _ = sender.send((Instant::now(), std::mem::take(&mut line)));
            }
        });
        Self { lines }
    }
}

struct Run {
    start: Instant,
    least: Vec<u64>,
    /// Whether the last process closed the store.
    closed: bool,
    report: Report,
}

impl Run {
    fn hear(&mut self, when: Instant, line: &str) {
        let time = (when - self.start).as_secs_f64();
        let (word, rest) = line.trim_end().split_once(' ').unwrap_or((line, ""));
        let numbers: Vec<f64> = rest.split(' ').filter_map(|number| number.parse().ok()).collect();
        match (word, &numbers[..]) {
            ("opened", [milliseconds]) => self.report.opened(time, self.closed, *milliseconds),
            ("found" | "closed", steps) => {
                self.least = steps.iter().map(|steps| *steps as u64).collect();
                self.closed = word == "closed";
            }
            ("at", [thread, steps]) => self.least[*thread as usize] = *steps as u64,
            ("sample", [file, live, memory, all, step, flush]) => {
                let phase = rest.split(' ').next().and_then(Phase::of_name).expect("a phase");
                let (file, live, memory, all) = (*file, *live, *memory, *all);
                let (step, flush) = (step / 1e3, flush / 1e3);
                self.report.samples.push(Sample { time, phase, file, live, memory, all, step, flush });
            }
            ("emptied", [before, file, live, all, milliseconds]) => {
                let (before, file, live, all) = (*before, *file, *live, *all);
                self.report.emptied.push(Emptied { before, file, live, all, milliseconds: *milliseconds });
            }
            _ => self.report.faults.push(format!("{time:.1} s: {}", line.trim_end())),
        }
    }

    /// Runs a process to its end, which comes when `lifetime` is over.
    fn restart(&mut self, store: &std::path::Path, lifetime: Duration, kill: bool) {
        let least: Vec<String> = self.least.iter().map(u64::to_string).collect();
        let settings = [
            (ROLE, store.display().to_string()),
            ("LEAST", least.join(",")),
            ("EXACTLY", self.closed.to_string()),
        ];
        let mut child = common::child(&settings);
        let told = Told::listen(&mut child);
        self.closed_is_asked(&told);
        let end = Instant::now() + lifetime;
        while let Ok((when, line)) = told.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            self.hear(when, &line);
        }
        if kill {
            child.kill().expect("it is killed");
        } else if let Some(stdin) = &mut child.stdin {
            let _ = stdin.write_all(b"close\n");
        }
        while let Ok((when, line)) = told.lines.recv() {
            self.hear(when, &line);
        }
        let status = child.wait().expect("it ends");
        let has_closed = status.success() && self.closed;
        if !kill && !has_closed {
            self.report.faults.push(format!("a process ended by itself: {status}"));
        }
    }

    /// Waits until the process has opened the store and looked at it.
    fn closed_is_asked(&mut self, told: &Told) {
        while let Ok((when, line)) = told.lines.recv() {
            self.hear(when, &line);
            if line.starts_with("found") || line.starts_with("fault") {
                // From here on it writes.
                self.closed = false;
                return;
            }
        }
    }
}

fn main() {
    let config = |store: PathBuf| {
        let config = Config::new(store).segment_size(setting("SEGMENT", 256 << 10));
        config.space_target(setting("TARGET", 1.25)).cache_capacity(setting::<u64>("CAPACITY", 32) << 20)
    };
    if let Ok(store) = std::env::var(ROLE) {
        let least = common::numbers("LEAST", &[]).into_iter().map(|steps| steps as u64).collect();
        let setup = Setup {
            plan: plan(),
            config: config(store.clone().into()),
            least,
            exactly: setting("EXACTLY", false),
        };
        return child::run(store.as_ref(), &setup);
    }
    let place = Place::new("week");
    let (seconds, seed): (f64, u64) = (setting("SECONDS", 90.0), plan().seed);
    let mut random = Random::new(seed ^ 0x7EE4);
    let mut run =
        Run { start: Instant::now(), least: vec![0; THREADS], closed: true, report: Report::default() };
    while run.start.elapsed().as_secs_f64() < seconds && run.report.faults.is_empty() {
        let lifetime = LIFETIME.0 + random.below(LIFETIME.1 - LIFETIME.0);
        run.restart(
            &place.path().join("store"),
            Duration::from_millis(lifetime as u64),
            random.below(2) == 0,
        );
    }
    let target = setting("TARGET", 1.25);
    let svg = setting("SVG", std::env::temp_dir().join("pagelog-week.svg"));
    let is_well = run.report.print(target, f64::from(setting("SEGMENT", 256_u32 << 10)));
    let cycles = run.least.iter().min().copied().unwrap_or(0) as f64 / plan().cycle() as f64;
    println!("{cycles:.1} cycles, {} steps, seed {seed}", run.least.iter().sum::<u64>());
    std::fs::write(&svg, run.report.picture(target)).expect("the picture");
    println!("{}", svg.display());
    drop(place);
    if !is_well {
        std::process::exit(1);
    }
}
