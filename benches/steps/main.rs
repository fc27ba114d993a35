//! What single steps cost, each beside its raw control in the same run.
//!
//! `cargo bench --bench steps` prints a table, in about two minutes: what pagelog needs, what the control
//! needs, the ratio, and the goal. Opening has a bench of its own with its own control:
//! `cargo bench --bench steps --bench open` runs both.
//!
//! * *lookup*: `get` of a random page that is in memory, without reading its payload; beside a load of a
//!   pointer from a table, and of a word behind it. Each round reads the same pages in the same order. The
//!   *own pin* takes a guard for each `get`, the other lookups one for all.
//! * *byte*: a byte of a random page of 1 KiB, of so many that they are in no cache but the last; beside the
//!   same loads, of a base and of the byte behind it, through a vector of references. The third row is that
//!   control with about a hundred instructions more between one read and the next: a processor waits for the
//!   memory of several reads side by side, as far as their instructions fit into what it has in hand.
//! * *chain*: a page of 64 bytes with that many links of 64 bytes that nobody has merged; a byte of each
//!   fragment is read. Beside it the same with one link. *Merged* is what the readers after the first
//!   `merged` pay.
//! * *append*: an entry of 48 bytes to a `Log`, in bursts that fit its write buffers; beside a
//!   compare-exchange on a word, the entry's checksum, its copy into a buffer of a mebibyte, and a
//!   subtraction.
//! * *commits*: so many threads that each append an entry and wait for it to be stable; beside as many that
//!   each write a block of their own and sync.
//! * *recycled*: commits of one thread, of 4 KiB, to a log that is cut off behind it, so that its segments
//!   are used again; beside a file that grows by a block of 4 KiB with each sync.
//!
//! Environment:
//!
//! * `STEPS=lookup,byte,chain,append,commits,recycled` which
//! * `ROUNDS=5`, of which the medians are printed, `SECONDS=1.0` for each measurement of commits
//! * `DIRECTORY=path` where the files go (default: the temporary directory)

#[path = "../common/mod.rs"]
mod common;
mod logging;
mod reading;

use std::time::Duration;

use common::{Place, median, setting};

/// What a row says of its ratio.
#[derive(Clone, Copy)]
enum Goal {
    AtMost(f64),
    AtLeast(f64),
    /// Of pagelog's figure itself.
    Absolute(f64),
    None,
}

impl Goal {
    fn text(self, ours: f64, ratio: f64) -> String {
        let met = |met: bool| if met { "met" } else { "missed" };
        match self {
            Self::AtMost(most) => format!("<= {most:<5} {}", met(ratio <= most)),
            Self::AtLeast(least) => format!(">= {least:<5} {}", met(ratio >= least)),
            Self::Absolute(most) => format!("<= {most} itself: {}", met(ours <= most)),
            Self::None => String::new(),
        }
    }
}

/// A line of the table.
struct Row {
    name: String,
    unit: &'static str,
    goal: Goal,
    rounds: Vec<(f64, f64)>,
}

impl Row {
    fn new(name: impl Into<String>, unit: &'static str, goal: Goal) -> Self {
        Self { name: name.into(), unit, goal, rounds: Vec::new() }
    }

    /// Adds a round: pagelog's figure, and the control's.
    fn add(&mut self, ours: f64, control: f64) {
        self.rounds.push((ours, control));
    }

    fn print(&self) {
        let of = |figure: fn(&(f64, f64)) -> f64| median(self.rounds.iter().map(figure).collect());
        let (ours, control, ratio) =
            (of(|round| round.0), of(|round| round.1), of(|round| round.0 / round.1));
        let Self { name, unit, goal, .. } = self;
        println!(
            "{name:<40} {unit:<4} {ours:>10.1} {control:>10.1} {ratio:>7.2}  {}",
            goal.text(ours, ratio)
        );
    }
}

struct Settings {
    rounds: usize,
    time: Duration,
}

fn main() {
    let steps: String = setting("STEPS", "lookup,byte,chain,append,commits,recycled".into());
    let settings =
        Settings { rounds: setting("ROUNDS", 5), time: Duration::from_secs_f64(setting("SECONDS", 1.0)) };
    let place = Place::new("steps");
    println!("{:<40} {:<4} {:>10} {:>10} {:>7}  goal", "step", "", "pagelog", "control", "ratio");
    for step in steps.split(',') {
        let directory = place.path().join(step);
        match step {
            "lookup" => reading::lookups(&directory, &settings),
            "byte" => reading::bytes(&directory, &settings),
            "chain" => reading::chains(&directory, &settings),
            "append" => logging::appends(&directory, &settings),
            "commits" => logging::commits(&directory, &settings),
            "recycled" => logging::recycled(&directory, &settings),
            _ => panic!("there is no step {step}"),
        }
    }
}
