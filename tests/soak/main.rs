//! Hours of mixed load on one store: several threads write pages of their own and delete them again, others
//! read all of them, with a cache and a space target that are too small for comfort and values that go to
//! files of their own; and the process is closed or killed and started again, over and over.
//!
//! ```text
//! cargo test --test soak                                      what `cargo test` runs: some seconds
//! cargo test --release --test soak -- --minutes 60            the long form
//! ```
//!
//! It is the load of `benches/week`, which has the process with the store (`child`), what each thread does
//! (`life`), and the picture. All the time it is looked at
//!
//! * whether contents are those of a model: after each restart all pages, byte by byte; in between each page
//!   that is read;
//! * whether `verify` finds the store sound, after each restart;
//! * whether resident memory is within the budget of the cache (or what the store says that it exceeds that
//!   by, when a reader sleeps) and what the program itself takes, with the model, and the allocator
//!   (`memory_beside`);
//! * whether the file is within the space target (see `benches/week/main.rs`), in the steady state, and when
//!   all was deleted. The steady state begins a second after a restart, so in the short form there is none.
//!
//! Each tenth of a second gives a line of `--csv PATH`, and all of them the picture `--svg PATH`: memory,
//! file and live bytes, and latencies over time. Both are among the temporary files unless they are named. It
//! ends with 1 at the first fault, which it prints, with the seed (`--seed N`). The environment variables of
//! `benches/week` change the load.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../../benches/week/child.rs"]
mod child;
#[path = "../../benches/common/mod.rs"]
mod common;
#[path = "../../benches/week/latencies.rs"]
mod latencies;
#[path = "../../benches/week/life.rs"]
mod life;
#[path = "../../benches/week/parent.rs"]
mod parent;
#[path = "../../benches/common/plot.rs"]
mod plot;
#[path = "../../benches/week/report.rs"]
mod report;
#[path = "../../benches/week/settings.rs"]
mod settings;

use std::fs::File;
use std::path::PathBuf;
use std::process::ExitCode;

use common::Place;
use parent::{ROLE, Run};
use report::Report;
use settings::Settings;

const NAME: &str = "a_store_under_mixed_load_keeps_its_bounds_and_contents";

/// Four megabytes of cache for some thirty of pages.
const LONG: Settings = Settings {
    seed: 1,
    threads: 4,
    readers: 2,
    pages: 8_000,
    overwrites: 12,
    segment: 128 << 10,
    target: 1.2,
    capacity: 4 << 20,
    inline: 1700,
    verify: true,
    memory_beside: 64 << 20,
    lifetime: (500, 60_000),
};

/// What `cargo test` runs. Processes end before the file can have settled. What is dead while a reader waits
/// for a processor can come and go between two samples, and the allocator keeps its memory: beside a dozen
/// other processes some 45 MiB were seen, of which the samples explained a half.
const SHORT: Settings = Settings {
    pages: 120,
    overwrites: 3,
    segment: 32 << 10,
    capacity: 256 << 10,
    memory_beside: 96 << 20,
    lifetime: (100, 900),
    ..LONG
};
const SHORT_SECONDS: f64 = 4.0;

/// What the command line asks for.
struct Wish {
    minutes: Option<f64>,
    seed: Option<u64>,
    csv: PathBuf,
    svg: PathBuf,
    /// Whether what `cargo test` hands to all tests leaves this one out.
    left_out: bool,
}

impl Wish {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Self {
        let file = |ending| std::env::temp_dir().join(format!("pagelog-soak.{ending}"));
        let mut wish =
            Self { minutes: None, seed: None, csv: file("csv"), svg: file("svg"), left_out: false };
        let (mut filters, mut exact) = (Vec::new(), false);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().unwrap_or_else(|| panic!("{argument} wants a value"));
            match argument.as_str() {
                "--minutes" => wish.minutes = Some(value().parse().expect("--minutes wants a number")),
                "--seed" => wish.seed = Some(value().parse().expect("--seed wants a number")),
                "--csv" => wish.csv = value().into(),
                "--svg" => wish.svg = value().into(),
                "--skip" => wish.left_out |= NAME.contains(&value()),
                "--exact" => exact = true,
                "--list" | "--ignored" => wish.left_out = true,
                "--test-threads" | "--format" | "--color" | "--logfile" | "-Z" => drop(value()),
                flag if flag.starts_with('-') => {}
                filter => filters.push(filter.to_owned()),
            }
        }
        let fits = |filter: &String| if exact { filter == NAME } else { NAME.contains(filter.as_str()) };
        wish.left_out |= !filters.is_empty() && !filters.iter().any(fits);
        wish
    }
}

fn main() -> ExitCode {
    if let Ok(store) = std::env::var(ROLE) {
        child::run(store.as_ref(), &SHORT.or_environment());
        return ExitCode::SUCCESS;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        println!("{NAME}: test");
    }
    let wish = Wish::parse(arguments.into_iter());
    if wish.left_out {
        return ExitCode::SUCCESS;
    }
    let mut settings = if wish.minutes.is_some() { LONG } else { SHORT };
    settings.seed = wish.seed.unwrap_or(settings.seed);
    let settings = settings.or_environment();
    let seconds = wish.minutes.map_or(SHORT_SECONDS, |minutes| minutes * 60.0);
    let place = Place::new("soak");
    let csv = File::create(&wish.csv).expect("the samples can be written");
    let run = Run::live(settings, &place.path().join("store"), seconds, Report::new(settings).with_csv(csv));
    let is_well = run.report.print();
    let (cycles, steps) = run.cycles_and_steps();
    println!("{cycles:.1} cycles, {steps} steps, seed {}", settings.seed);
    std::fs::write(&wish.svg, run.report.picture()).expect("the picture");
    println!("{}\n{}", wish.csv.display(), wish.svg.display());
    drop(place);
    // A run in which nothing happened shows nothing.
    let is_well = is_well && run.report.openings() >= 2 && steps > 0;
    println!("test {NAME} ... {}", if is_well { "ok" } else { "FAILED" });
    if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
