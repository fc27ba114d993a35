//! Whole stores under a scheduler: threads that use the same few pages, with garbage collection, snapshots,
//! eviction, and a power cut in the middle of it. All threads are tasks on one, and at each access to an
//! atomic or a lock chance decides who goes on, so most histories overlap.
//!
//! ```text
//! tests/schedules.sh                                              some schedules, and the planted bugs
//! RUSTFLAGS="--cfg shuttle" PAGELOG_SCHEDULES=100000 cargo test --release --test schedules -- --nocapture
//! ```
//!
//! Each execution opens a store, lets the threads go, and then
//!
//! - looks for an order of what each page was asked and answered (`tests/linearizability/checker.rs`);
//! - has the store check itself;
//! - opens what the disk had at some moment in between, and finds there what the log had up to some point, no
//!   less than what had been acknowledged, and nothing else.
//!
//! A failure prints the seed; with `PAGELOG_SEED=seed PAGELOG_SCHEDULES=1` the same is done again, as far as
//! it does not depend on the time.
//!
//! The first thing that was found here: a writer that waited for a buffer while another took or left the lock
//! under which buffers are written looked again and again, and did not give way. A scheduler that prefers one
//! thread never came to the other.

#![cfg(shuttle)]

#[path = "../linearizability/checker.rs"]
mod checker;
#[path = "../common/mod.rs"]
mod common;
mod cut;
#[path = "../linearizability/faults.rs"]
mod faults;
#[path = "../linearizability/history.rs"]
mod history;
#[path = "../linearizability/judge.rs"]
mod judge;
#[path = "../linearizability/order.rs"]
mod order;
mod steady;
#[path = "../linearizability/worker.rs"]
mod worker;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{Dice, tiny};
use cut::{Cutter, Logged};
use judge::{Summary, judge};
use order::Clock;
use pagelog::sim::SimStorage;
use pagelog::{Config, PageCache};
use shuttle::Runner;
use shuttle::rand::RngCore;
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use steady::SteadyScheduler;
use worker::{Serials, THREADS, Worker};

/// A way to set up the store.
type Setup = fn(Config) -> Config;

/// What came of all executions of a case.
#[derive(Debug, Default)]
struct Tally {
    summary: Summary,
    /// Cuts after which less was there than at the end.
    cuts: u64,
    relocated: u64,
    evictions: u64,
    misses: u64,
    snapshots: u64,
    reused: u64,
}

/// How many rounds one thread does before the others are there.
const EARLIER: usize = 16;
/// How many rounds each does then.
const ROUNDS: usize = 2;
/// So many executions have one seed: a scheduler that prefers one thread needs some to know how long they
/// are.
const PER_SEED: usize = 10;
/// So many scheduling points, and no more: an execution that takes more has come to a point where nobody can
/// go on.
const MOST_STEPS: usize = 5_000_000;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// What else a store has to do, while the others are at it: each of it often, for an execution is short.
fn keep_house(cache: &PageCache<Serials>, dice: &mut Dice) {
    match dice.below(5) {
        0 => drop(cache.attempt_gc().unwrap()),
        1 | 2 => cache.snapshot().unwrap(),
        3 => cache.flush().unwrap(),
        _ => drop(cache.pin_log().unwrap().seal_batch().unwrap()),
    }
}

/// One execution.
fn execute(setup: Setup, tally: &Mutex<Tally>) {
    let mut dice = Dice::new(shuttle::rand::thread_rng().next_u64());
    let disk = Arc::new(SimStorage::new(dice.next()));
    let config = |disk: &Arc<SimStorage>| setup(tiny(disk));
    let cache: PageCache<Serials> = config(&disk).open().unwrap();
    let (clock, cutter) = (Clock::default(), Cutter::new(&disk));
    let (events, logged) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let mut workers: Vec<_> = (0..THREADS)
        .map(|thread| Worker::new(&cache, &clock, thread, Dice::new(dice.next()), None))
        .collect();
    // Segments with something dead in them, for there to be something to collect.
    for _ in 0..EARLIER {
        workers[0].round();
        keep_house(&cache, &mut dice);
    }
    shuttle::thread::scope(|scope| {
        for mut worker in workers {
            let (cache, cutter, events, logged) = (&cache, &cutter, &events, &logged);
            scope.spawn(move || {
                for _ in 0..ROUNDS {
                    worker.round();
                    if let Some((.., lsn)) = worker.logged.last() {
                        cache.make_stable(*lsn).unwrap();
                        cutter.acknowledged(*lsn);
                    }
                }
                events.lock().unwrap().append(&mut worker.events);
                logged.lock().unwrap().append(&mut worker.logged);
            });
        }
        let (cutter, moment, seed) = (&cutter, dice.below(4000), dice.next());
        scope.spawn(move || cutter.cut_after(moment, seed));
        (0..4 * ROUNDS).for_each(|_| keep_house(&cache, &mut dice));
    });
    let (events, logged) = (events.into_inner().unwrap(), logged.into_inner().unwrap());
    let logged = Logged::new(&logged, &events);
    let mut tally = tally.lock().unwrap();
    judge(events, &mut BTreeMap::new(), &mut tally.summary).unwrap_or_else(|why| panic!("{why}"));
    let report = cache.verify().unwrap();
    assert!(report.faults.is_empty(), "{report:?}");
    let counts = cache.stats().counts;
    tally.relocated += counts.relocated_records;
    tally.evictions += counts.evictions;
    tally.misses += counts.misses;
    tally.snapshots += counts.snapshots;
    tally.reused += counts.segments_reused;
    cache.close().unwrap();
    let (image, promised) = cutter.image();
    let cache: PageCache<Serials> = config(&image).open().unwrap();
    tally.cuts += u64::from(logged.is_cut_behind(&cache, promised));
    let report = cache.verify().unwrap();
    assert!(report.faults.is_empty(), "{report:?}");
    image.cut_power();
}

/// Executions of a case, by turns with schedulers that roll dice at each point, or seldom, and with one that
/// prefers one thread until a few moments that it has chosen.
fn explore(case: &str, setup: Setup) {
    let (first, executions) = (setting("PAGELOG_SEED", 1), setting("PAGELOG_SCHEDULES", 100));
    let count = executions.div_ceil(PER_SEED as u64);
    let (tally, began) = (Arc::new(Mutex::new(Tally::default())), Instant::now());
    for seed in first..first + count {
        let mut config = shuttle::Config::new();
        config.stack_size = 1 << 20;
        config.failure_persistence = shuttle::FailurePersistence::None;
        config.max_steps = shuttle::MaxSteps::FailAfter(MOST_STEPS);
        config.max_time = Some(Duration::MAX);
        config.silence_warnings = true;
        let noted = Arc::clone(&tally);
        let run = move || execute(setup, &noted);
        let steady = |one_in| SteadyScheduler::new_from_seed(seed, PER_SEED, one_in);
        let execution = catch_unwind(AssertUnwindSafe(|| match seed % 4 {
            0 => Runner::new(PctScheduler::new_from_seed(seed, 4, PER_SEED), config).run(run),
            1 => Runner::new(RandomScheduler::new_from_seed(seed, PER_SEED), config).run(run),
            2 => Runner::new(steady(10), config).run(run),
            _ => Runner::new(steady(60), config).run(run),
        }));
        if let Err(panic) = execution {
            eprintln!("{case}: PAGELOG_SEED={seed} PAGELOG_SCHEDULES=1");
            resume_unwind(panic);
        }
    }
    let tally = tally.lock().unwrap();
    println!(
        "{case:24} {} executions in {:.1} s: {tally:?}",
        tally.summary.rounds,
        began.elapsed().as_secs_f64()
    );
    // Executions in which nothing met anything show nothing.
    let reached = [tally.cuts, tally.relocated, tally.snapshots, tally.reused];
    assert!(executions < 100 || tally.summary.overlapping > tally.summary.rounds, "{tally:?}");
    assert!(executions < 100 || reached.iter().all(|times| *times > 0), "{tally:?}");
}

#[test]
fn all_in_memory() {
    explore("all in memory", |config| config.cache_capacity(1 << 20));
}

#[test]
fn nothing_stays_in_memory() {
    explore("nothing stays in memory", |config| config.cache_capacity(0));
}

#[test]
fn merged_all_the_time() {
    explore("merged all the time", |config| config.cache_capacity(256).max_chain_length(2));
}

#[test]
fn blocks_kept_apart() {
    let setup: Setup = |config| config.cache_capacity(512).segment_size(4096).torn_block_size(512);
    explore("blocks kept apart", setup);
}

#[test]
fn large_values() {
    explore("large values", |config| config.cache_capacity(0).inline_limit(32).max_chain_length(3));
}
