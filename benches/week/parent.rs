//! The process that starts the one with the store, over and over, hears what it says, and ends it.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Child;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::common::{self, Random};
use crate::life::Phase;
use crate::report::{Emptied, Report, Sample};
use crate::settings::Settings;

/// Says to a process that it is the one with the store, and where that is.
pub const ROLE: &str = "PAGELOG_WEEK_STORE";

/// What a process did, as it told.
struct Told {
    lines: Receiver<(Instant, String)>,
}

impl Told {
    fn listen(child: &mut Child) -> Self {
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

pub struct Run {
    settings: Settings,
    start: Instant,
    /// What each thread has done at least.
    least: Vec<u64>,
    /// Whether the last process closed the store.
    closed: bool,
    pub report: Report,
}

impl Run {
    /// Restarts a store for so long, or until there is a fault.
    pub fn live(settings: Settings, store: &Path, seconds: f64, report: Report) -> Self {
        let (start, least) = (Instant::now(), vec![0; settings.threads]);
        let mut run = Self { settings, start, least, closed: true, report };
        let mut random = Random::new(settings.seed ^ 0x7EE4);
        while run.start.elapsed().as_secs_f64() < seconds && run.report.faults.is_empty() {
            let (shortest, longest) = settings.lifetime;
            let lifetime = shortest + random.below(longest - shortest);
            run.restart(store, Duration::from_millis(lifetime as u64), random.below(2) == 0);
        }
        run
    }

    /// How often the store was filled and emptied, and how many steps that took.
    pub fn cycles_and_steps(&self) -> (f64, u64) {
        let least = self.least.iter().min().copied().unwrap_or(0);
        (least as f64 / self.settings.plan().cycle() as f64, self.least.iter().sum())
    }

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
            ("sample", [file, live, memory, counted, all, latencies @ ..]) => {
                let phase = rest.split(' ').next().and_then(Phase::of_name).expect("a phase");
                let (file, live, memory, counted, all) = (*file, *live, *memory, *counted, *all);
                let pairs: Vec<[f64; 2]> =
                    latencies.as_chunks().0.iter().map(|pair: &[f64; 2]| pair.map(|us| us / 1e3)).collect();
                let [step, flush, read] = pairs[..] else { panic!("three kinds of calls: {line}") };
                self.report.sample(Sample {
                    time,
                    phase,
                    file,
                    live,
                    memory,
                    counted,
                    all,
                    step,
                    flush,
                    read,
                });
            }
            ("emptied", [before, file, live, all, milliseconds]) => {
                let (before, file, live, all) = (*before, *file, *live, *all);
                self.report.emptied.push(Emptied { before, file, live, all, milliseconds: *milliseconds });
            }
            _ => self.report.faults.push(format!("{time:.1} s: {}", line.trim_end())),
        }
    }

    /// Runs a process to its end, which comes when `lifetime` is over.
    fn restart(&mut self, store: &Path, lifetime: Duration, kill: bool) {
        let least: Vec<String> = self.least.iter().map(u64::to_string).collect();
        let mut settings = self.settings.to_environment();
        settings.extend([
            (ROLE, store.display().to_string()),
            ("LEAST", least.join(",")),
            ("EXACTLY", self.closed.to_string()),
        ]);
        let mut child = common::child(&settings);
        let told = Told::listen(&mut child);
        self.hear_what_is_found(&told);
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
    fn hear_what_is_found(&mut self, told: &Told) {
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
