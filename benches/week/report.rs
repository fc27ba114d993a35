//! What was seen: a table, a picture, and whether the bounds were kept.

use std::fs::File;
use std::io::Write;

use crate::common::median;
use crate::life::Phase;
use crate::plot::{Line, Marks, Panel, svg};
use crate::settings::Settings;

/// What collection may take to bring the file to its size after a restart, or a filling, in seconds.
const SETTLING: f64 = 1.0;

const MIB: f64 = (1 << 20) as f64;
/// What the space target allows beside its multiple of the live bytes, in segments: one for each of four
/// heads, and two.
const TARGET_BESIDE: f64 = 6.0;
/// Records count as live when they are written. So many segments for what is in write buffers.
const BUFFERED: f64 = 2.0;
/// And what two threads write while a sync takes so long that writers do not wait for it: until then no
/// segment that was emptied is free.
const BYTES_BESIDE: f64 = 8.0 * MIB;
/// What may stay of an empty store beside the target's multiple of the live bytes, in segments: a small file
/// has its stock on top.
const EMPTY_BESIDE: f64 = 12.0;

pub struct Sample {
    /// Seconds since the beginning.
    pub time: f64,
    pub phase: Phase,
    pub file: f64,
    pub live: f64,
    /// Resident memory, and what the store counts: contents, nodes, what is dead and waits for readers, write
    /// buffers.
    pub memory: f64,
    pub counted: f64,
    pub all: f64,
    /// Of the calls since the last one, what 99 of 100 did not exceed and the longest, in milliseconds.
    pub step: [f64; 2],
    pub flush: [f64; 2],
    pub read: [f64; 2],
}

/// What became of a store in which everything was deleted.
pub struct Emptied {
    pub before: f64,
    pub file: f64,
    pub live: f64,
    pub all: f64,
    pub milliseconds: f64,
}

/// All that was seen.
pub struct Report {
    settings: Settings,
    /// Where each sample is written as soon as it is there.
    csv: Option<File>,
    samples: Vec<Sample>,
    /// The most that the process that runs now has counted.
    counted: f64,
    pub emptied: Vec<Emptied>,
    pub faults: Vec<String>,
    /// When, and how long it took.
    after_close: Vec<(f64, f64)>,
    after_kill: Vec<(f64, f64)>,
}

impl Report {
    pub fn new(settings: Settings) -> Self {
        let (samples, emptied, faults) = (Vec::new(), Vec::new(), Vec::new());
        let (after_close, after_kill) = (Vec::new(), Vec::new());
        Self { settings, csv: None, samples, counted: 0.0, emptied, faults, after_close, after_kill }
    }

    /// Writes each sample to a file as well, as a line of numbers with commas between.
    #[allow(dead_code, reason = "one of two programs does")]
    pub fn with_csv(mut self, mut file: File) -> Self {
        let names = "seconds,phase,log_file,live,all_files,memory,counted,step_p99_ms,step_max_ms,flush_p99_ms,flush_max_ms,read_p99_ms,read_max_ms";
        writeln!(file, "{names}").expect("the samples can be written");
        self.csv = Some(file);
        self
    }

    pub fn sample(&mut self, sample: Sample) {
        let Sample { time, phase, file, live, memory, counted, all, step, flush, read } = &sample;
        if let Some(csv) = &mut self.csv {
            let latencies = [*step, *flush, *read];
            let latencies: String = latencies.as_flattened().iter().map(|ms| format!(",{ms:.4}")).collect();
            writeln!(csv, "{time:.3},{},{file},{live},{all},{memory},{counted}{latencies}", phase.name())
                .expect("the samples can be written");
        }
        self.counted = self.counted.max(*counted);
        let bound = self.settings.memory_bound(self.counted);
        if *memory > bound {
            let (taken, bound) = (memory / MIB, bound / MIB);
            self.faults
                .push(format!("{time:.1} s: {taken:.1} MiB of memory, where {bound:.1} are the bound"));
        }
        self.samples.push(sample);
    }

    pub fn opened(&mut self, time: f64, was_closed: bool, milliseconds: f64) {
        self.counted = 0.0;
        let all = if was_closed { &mut self.after_close } else { &mut self.after_kill };
        all.push((time, milliseconds));
    }

    /// How often the store was opened.
    #[allow(dead_code, reason = "one of two programs asks")]
    pub fn openings(&self) -> usize {
        self.after_close.len() + self.after_kill.len()
    }

    /// The samples of the steady state.
    fn steady(&self) -> impl Iterator<Item = &Sample> {
        let mut since = 0.0;
        let mut restarts: Vec<f64> =
            self.after_close.iter().chain(&self.after_kill).map(|opening| opening.0).collect();
        restarts.sort_by(f64::total_cmp);
        let mut restarts = restarts.into_iter().peekable();
        self.samples.iter().filter(move |sample| {
            while let Some(restart) = restarts.next_if(|restart| *restart <= sample.time) {
                since = restart;
            }
            if sample.phase != Phase::Overwrite {
                since = sample.time;
            }
            sample.time - since >= SETTLING
        })
    }

    /// Prints all, and says whether the bounds were kept.
    pub fn print(&self) -> bool {
        let (target, segment) = (self.settings.target, f64::from(self.settings.segment));
        println!(
            "{:<18} {:>8} {:>12} {:>12} {:>16} {:>12}",
            "phase", "samples", "file, MiB", "file / live", "segments beside", "memory, MiB"
        );
        let beside = |sample: &Sample| (sample.file - target * sample.live) / segment;
        let row = |name: &str, samples: &mut dyn Iterator<Item = &Sample>| {
            let (mut count, mut most) = (0, [0_f64; 4]);
            for sample in samples {
                count += 1;
                let figures = [
                    sample.file / MIB,
                    sample.file / sample.live.max(1.0),
                    beside(sample),
                    sample.memory / MIB,
                ];
                most.iter_mut().zip(figures).for_each(|(most, figure)| *most = most.max(figure));
            }
            let [file, ratio, beside, memory] = most;
            println!("{name:<18} {count:>8} {file:>12.1} {ratio:>12.2} {beside:>16.1} {memory:>12.1}");
        };
        for phase in Phase::ALL {
            row(phase.name(), &mut self.samples.iter().filter(|sample| sample.phase == phase));
        }
        row("  of it, steady", &mut self.steady());
        println!("(the largest of each; beside: beyond {target} x live)");
        let count = |most: f64| self.steady().filter(|sample| beside(sample) <= most).count();
        println!(
            "{} of {} steady samples have at most {TARGET_BESIDE} segments beside, {} at most {}\n",
            count(TARGET_BESIDE),
            self.steady().count(),
            count(TARGET_BESIDE + BUFFERED),
            TARGET_BESIDE + BUFFERED,
        );
        self.print_openings();
        self.print_latencies();
        let emptied = self.print_emptied(target, segment);
        let mut faults = self.faults.clone();
        let allowed =
            |sample: &Sample| target * sample.live + (TARGET_BESIDE + BUFFERED) * segment + BYTES_BESIDE;
        faults.extend(self.steady().filter(|sample| sample.file > allowed(sample)).map(|sample| {
            let (time, file, live) = (sample.time, sample.file / MIB, sample.live / MIB);
            format!("{time:.1} s: a log file of {file:.1} MiB with {live:.1} MiB live in the steady state")
        }));
        if emptied > EMPTY_BESIDE {
            faults.push(format!("{emptied:.1} segments beside the target in an empty store"));
        }
        faults.iter().for_each(|fault| println!("FAULT: {fault}"));
        faults.is_empty()
    }

    fn print_latencies(&self) {
        type Of = fn(&Sample) -> [f64; 2];
        let kinds: [(&str, Of); 3] = [
            ("step", |sample| sample.step),
            ("flush", |sample| sample.flush),
            ("read", |sample| sample.read),
        ];
        for (name, of) in kinds {
            let mut longest: Vec<f64> = self.samples.iter().map(|sample| of(sample)[1]).collect();
            longest.sort_by(f64::total_cmp);
            let at = |share: f64| {
                longest.get(((longest.len() as f64 - 1.0) * share) as usize).copied().unwrap_or(0.0)
            };
            if at(1.0) == 0.0 {
                continue;
            }
            println!(
                "the longest {name} in a tenth of a second: {:.2} ms, in one of a hundred tenths {:.1} ms, in all {:.1} ms",
                at(0.5),
                at(0.99),
                at(1.0)
            );
        }
    }

    fn print_openings(&self) {
        for (name, openings) in [("a close", &self.after_close), ("kill -9", &self.after_kill)] {
            let times: Vec<f64> = openings.iter().map(|opening| opening.1).collect();
            let longest = times.iter().copied().fold(0.0, f64::max);
            println!(
                "{:>4} openings after {name}: {:.0} ms, the longest {longest:.0} ms; all contents as they must be",
                times.len(),
                median(times)
            );
        }
    }

    /// Returns the most segments beside the target.
    fn print_emptied(&self, target: f64, segment: f64) -> f64 {
        let of = |figure: fn(&Emptied) -> f64| median(self.emptied.iter().map(figure).collect());
        if self.emptied.is_empty() {
            println!("the store was not emptied in so short a time");
            return 0.0;
        }
        let most = self.emptied.iter().map(|emptied| emptied.all).fold(0.0, f64::max);
        println!(
            "{:>4} times emptied: the log file had {:.1} MiB when all was deleted, and {:.1} MiB {:.0} ms later, of which {:.1} MiB \
             live; all files {:.1} MiB, at most {:.1}",
            self.emptied.len(),
            of(|emptied| emptied.before) / MIB,
            of(|emptied| emptied.file) / MIB,
            of(|emptied| emptied.milliseconds),
            of(|emptied| emptied.live) / MIB,
            of(|emptied| emptied.all) / MIB,
            most / MIB,
        );
        let beside = |emptied: &Emptied| (emptied.file - target * emptied.live) / segment;
        self.emptied.iter().map(beside).fold(0.0, f64::max)
    }

    pub fn picture(&self) -> String {
        let target = self.settings.target;
        let line_of = |name: &str, colour: &'static str, value: &dyn Fn(&Sample) -> f64| Line {
            name: name.into(),
            colour,
            points: self.samples.iter().map(|sample| (sample.time, value(sample))).collect(),
        };
        let line = |name: &str, colour: &'static str, bytes: &dyn Fn(&Sample) -> f64| {
            line_of(name, colour, &|sample| bytes(sample) / MIB)
        };
        let marks = |name: &str, colour: &'static str, openings: &[(f64, f64)]| Marks {
            name: name.into(),
            colour,
            at: openings.iter().map(|opening| opening.0).collect(),
        };
        let restarts = vec![
            marks("opened after a close", "#2a2", &self.after_close),
            marks("after kill -9", "#d22", &self.after_kill),
        ];
        let capacity = self.settings.capacity as f64;
        let panels = [
            Panel {
                title: "space".into(),
                unit: "MiB".into(),
                height: 320.0,
                lines: vec![
                    line("live bytes", "#27c", &|sample| sample.live),
                    line(&format!("{target} x live"), "#9bd", &|sample| sample.live * target),
                    line("log file", "#e80", &|sample| sample.file),
                    line("all files", "#a6a", &|sample| sample.all),
                ],
                marks: restarts.clone(),
            },
            Panel {
                title: "memory".into(),
                unit: "MiB".into(),
                height: 180.0,
                lines: vec![
                    line("resident memory", "#27c", &|sample| sample.memory),
                    line("counted by the store", "#e80", &|sample| sample.counted),
                    line("cache budget", "#9bd", &|_| capacity),
                ],
                marks: restarts.clone(),
            },
            Panel {
                title: "the longest of a tenth of a second".into(),
                unit: "ms".into(),
                height: 180.0,
                lines: vec![
                    line_of("flush", "#9bd", &|sample| sample.flush[1]),
                    line_of("step", "#e80", &|sample| sample.step[1]),
                    line_of("read", "#27c", &|sample| sample.read[1]),
                ],
                marks: restarts.clone(),
            },
            Panel {
                title: "what 99 of 100 calls in a tenth of a second did not exceed".into(),
                unit: "ms".into(),
                height: 180.0,
                lines: vec![
                    line_of("step", "#e80", &|sample| sample.step[0]),
                    line_of("read", "#27c", &|sample| sample.read[0]),
                ],
                marks: restarts,
            },
        ];
        svg("A store that is filled, overwritten, emptied and restarted", "seconds", &panels)
    }
}
