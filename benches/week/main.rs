//! A week in an hour, or in a minute: a store is filled, overwritten, emptied and filled again, and restarted
//! at random moments, by a close or by `kill -9`, over and over.
//!
//! `cargo bench --bench week` takes a minute and a half and prints a table;
//! `SECONDS=3600 cargo bench --bench week` is the long form. Two threads live through lives that follow from
//! a seed, in a process that is restarted every few seconds. After each restart every byte of every page is
//! compared with what must be there. Ten times a second the sizes of the file, of the live bytes and of the
//! resident memory are noted, and how long the longest step and the longest flush took; they are drawn over
//! time in an SVG file.
//!
//! It fails, and says why,
//!
//! * if contents are not what they must be,
//! * if in any sample of the steady state (the phase *overwrite*, when a restart or the filling is
//!   [`SETTLING`] seconds ago) the log file is larger than the space target's multiple of the live bytes, 8
//!   segments and 8 MiB; how many samples are within 6 segments, and 8, is printed,
//! * or if it is larger than that multiple and 12 segments when all was deleted and collection was called
//!   until there was nothing left to do.
//!
//! Environment:
//!
//! * `SECONDS=90`, `SEED=1`
//! * `THREADS=2`, `READERS=0` who only read
//! * `PAGES=20000` of each thread, `OVERWRITES=12` of each page between filling and deleting, on average
//! * `SEGMENT=262144`, `TARGET=1.25`, `CAPACITY=32` MiB: the segment size, the space target, the cache
//! * `INLINE=16384`: what is longer is a large value; `VERIFY=true`: check the store after each opening
//! * `MEMORY_BESIDE=…` MiB that the process may take beside the cache's budget (default: not looked at)
//! * `SVG=path` of the picture (default: `pagelog-week.svg` among the temporary files)
//! * `DIRECTORY=path` where the store goes (default: the temporary directory)

mod child;
#[path = "../common/mod.rs"]
mod common;
mod latencies;
mod life;
mod parent;
#[path = "../common/plot.rs"]
mod plot;
mod report;
mod settings;

use common::{Place, setting};
use parent::{ROLE, Run};
use report::Report;
use settings::Settings;

const SETTINGS: Settings = Settings {
    seed: 1,
    threads: 2,
    readers: 0,
    pages: 20_000,
    overwrites: 12,
    segment: 256 << 10,
    target: 1.25,
    capacity: 32 << 20,
    inline: 16 << 10,
    verify: false,
    memory_beside: 0,
    lifetime: (300, 6000),
};

fn main() {
    let settings = SETTINGS.or_environment();
    if let Ok(store) = std::env::var(ROLE) {
        return child::run(store.as_ref(), &settings);
    }
    let place = Place::new("week");
    let run =
        Run::live(settings, &place.path().join("store"), setting("SECONDS", 90.0), Report::new(settings));
    let svg = setting("SVG", std::env::temp_dir().join("pagelog-week.svg"));
    let is_well = run.report.print();
    let (cycles, steps) = run.cycles_and_steps();
    println!("{cycles:.1} cycles, {steps} steps, seed {}", settings.seed);
    std::fs::write(&svg, run.report.picture()).expect("the picture");
    println!("{}", svg.display());
    drop(place);
    if !is_well {
        std::process::exit(1);
    }
}
