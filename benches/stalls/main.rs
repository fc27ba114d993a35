//! What holds others up, and for how long.
//!
//! `cargo bench --bench stalls` prints two tables, in less than two minutes; with `--features failpoints` the
//! second has one more row.
//!
//! 1. How long single operations take on one thread: links (and now and then a replacement, which keeps pages
//!    short), reads of pages in memory (which are linked to meanwhile, so most reads have something to
//!    merge), and durable commits. *pagelog* has its defaults: it collects garbage, and a snapshot comes
//!    every 16 MiB of log, so that there are some in each turn. Beside it pagelog without these duties, and
//!    the baseline of the cells, which never had them. The engines take short turns, and each figure is the
//!    median of the turns', for whatever else the machine does falls on all of them.
//! 2. What share of their rate two threads keep, one that links and one that reads, while somebody stands in
//!    the way: a batch that is open all the time, which keeps the log from becoming stable; and a thread that
//!    is stopped in a link, behind its reservation and before it is complete (failpoint `page::published`),
//!    which keeps the log even from being written. Measured next to an undisturbed time of the same length,
//!    before and after. A failpoint costs each write a look into a table, in both.
//!
//! Environment:
//!
//! * `PAGES=100000`, `ROUNDS=5`, `SECONDS=1.0` for each disturbed time, and for each engine's turns in a
//!   round
//! * `DIRECTORY=path` where the files go (default: the temporary directory)

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/engine.rs"]
mod engine;
#[path = "../cells/plain.rs"]
mod plain;
#[path = "../cells/subject.rs"]
mod subject;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::{Place, median, random, rate, setting};
use engine::{BASE, Engine, FRAGMENT, Random, grow, link_or_cut, rate, read_some};
use pagelog::Config;
use plain::Plain;
use subject::Subject;

struct Settings {
    pages: usize,
    rounds: usize,
    time: Duration,
}

fn main() {
    let settings = Settings {
        pages: setting("PAGES", 100_000),
        rounds: setting("ROUNDS", 5),
        time: Duration::from_secs_f64(setting("SECONDS", 1.0)),
    };
    let place = Place::new("stalls");
    latencies(&settings, place.path());
    shares(&settings, place.path());
}

fn config(directory: &Path) -> Config {
    Config::new(directory).cache_capacity(4 << 30).snapshot_interval(16 << 20)
}

/// What is timed.
#[derive(Clone, Copy, PartialEq)]
enum Operation {
    Link,
    Get,
    Commit,
}

const OPERATIONS: [(Operation, &str); 3] =
    [(Operation::Link, "link"), (Operation::Get, "get"), (Operation::Commit, "durable commit")];
const QUANTILES: [f64; 4] = [0.5, 0.99, 0.999, 1.0];

/// An engine, and how long its pages are.
struct Contender<'a> {
    name: &'static str,
    engine: &'a dyn Engine,
    lengths: Vec<AtomicU32>,
}

impl Contender<'_> {
    fn step(&self, operation: Operation, random: &mut Random) {
        match operation {
            Operation::Link => _ = link_or_cut(self.engine, &self.lengths, random),
            Operation::Get => read_some(self.engine, self.lengths.len(), random),
            Operation::Commit => {
                let page = random.below(self.lengths.len());
                self.engine.commit(page, [page as u8; FRAGMENT]);
            }
        }
    }

    /// The quantiles of one turn, in microseconds. Reads are timed while links go on: every second operation
    /// is one.
    fn turn(&self, operation: Operation, turn: usize, time: Duration) -> [f64; QUANTILES.len()] {
        let mut random = Random::of(turn);
        let (start, mut taken) = (Instant::now(), Vec::with_capacity(1 << 20));
        while start.elapsed() < time {
            for _ in 0..16 {
                if operation == Operation::Get {
                    self.step(Operation::Link, &mut random);
                }
                let before = Instant::now();
                self.step(operation, &mut random);
                taken.push(before.elapsed().as_nanos() as f64 / 1e3);
            }
        }
        taken.sort_by(f64::total_cmp);
        QUANTILES.map(|share| taken[((taken.len() - 1) as f64 * share) as usize])
    }
}

fn latencies(settings: &Settings, place: &Path) {
    let pages = settings.pages;
    let subject = Subject::create(config(&place.join("pagelog")), pages);
    let idle = config(&place.join("idle")).garbage_collection(false).snapshots(false);
    let idle = Subject::create(idle, pages);
    let mut plain = Plain::create(&place.join("plain.log")).expect("the baseline's file");
    (0..pages).for_each(|page| _ = plain.allocate(&vec![page as u8; BASE]).expect("a page"));
    let contender = |name, engine| Contender { name, engine, lengths: grow(engine, pages) };
    let contenders = [
        contender("pagelog", &subject as &dyn Engine),
        contender("pagelog without GC and snapshots", &idle),
        contender("plain", &plain),
    ];
    for contender in &contenders {
        rate(2, settings.time * 8, |_, random| contender.step(Operation::Link, random));
    }
    println!(
        "{:<16} {:<34} {:>10} {:>10} {:>10} {:>10}",
        "microseconds of", "", "50 %", "99 %", "99.9 %", "max"
    );
    for (operation, what) in OPERATIONS {
        let mut turns = vec![Vec::new(); contenders.len()];
        for turn in 0..settings.rounds * 4 {
            for (contender, turns) in contenders.iter().zip(&mut turns) {
                turns.push(contender.turn(operation, turn, settings.time / 4));
            }
        }
        for (contender, turns) in contenders.iter().zip(&turns) {
            let quantile = |index: usize| median(turns.iter().map(|turn| turn[index]).collect());
            let figures: String = (0..QUANTILES.len()).map(|at| format!(" {:>10.2}", quantile(at))).collect();
            println!("{what:<16} {:<34}{figures}", contender.name);
        }
    }
    println!("pagelog: {}", subject.report());
}

/// Links and reads per second of two threads, while `meanwhile` lasts.
fn rates(contender: &Contender<'_>, meanwhile: impl FnOnce()) -> [f64; 2] {
    let stop = AtomicBool::new(false);
    let done = [AtomicU64::new(0), AtomicU64::new(0)];
    let start = Instant::now();
    std::thread::scope(|scope| {
        for (thread, operation) in [Operation::Link, Operation::Get].into_iter().enumerate() {
            let (stop, done) = (&stop, &done[thread]);
            scope.spawn(move || {
                let mut random = Random::of(thread);
                while !stop.load(Ordering::Relaxed) {
                    contender.step(operation, &mut random);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        meanwhile();
        stop.store(true, Ordering::Relaxed);
    });
    let seconds = start.elapsed().as_secs_f64();
    done.map(|done| done.into_inner() as f64 / seconds)
}

/// One disturbance: the shares of their rates that links and reads keep, with what lies before and after it
/// as the whole.
fn shares_under(
    settings: &Settings,
    contender: &Contender<'_>,
    name: &str,
    disturb: impl Fn(&dyn Fn() -> [f64; 2]) -> [f64; 2],
) {
    let undisturbed = || rates(contender, || std::thread::sleep(settings.time));
    let mut kept = [Vec::new(), Vec::new()];
    for _ in 0..settings.rounds {
        let before = undisturbed();
        let during = disturb(&undisturbed);
        let after = undisturbed();
        for (index, kept) in kept.iter_mut().enumerate() {
            kept.push(during[index] / f64::midpoint(before[index], after[index]));
        }
    }
    let [links, gets] = kept.map(median);
    println!("{name:<60} {:>8.0} % {:>8.0} %", links * 100.0, gets * 100.0);
}

fn shares(settings: &Settings, place: &Path) {
    let subject = Subject::create(config(&place.join("disturbed")), settings.pages);
    let contender = Contender { name: "pagelog", engine: &subject, lengths: grow(&subject, settings.pages) };
    rate(2, settings.time * 8, |_, random| contender.step(Operation::Link, random));
    println!("\n{:<60} {:>10} {:>10}", "share of the undisturbed rate", "links", "gets");
    shares_under(settings, &contender, "nothing in the way", |rates| rates());
    shares_under(settings, &contender, "a batch is open", |rates| {
        let batch = subject.cache.pin_log().expect("a batch");
        let during = rates();
        batch.seal_batch().expect("its end");
        during
    });
    #[cfg(feature = "failpoints")]
    stopped::shares_beside_a_stopped_thread(settings, &contender, &subject);
    #[cfg(not(feature = "failpoints"))]
    println!("a thread is stopped in a link: with --features failpoints");
}

#[cfg(feature = "failpoints")]
mod stopped {
    use std::cell::Cell;
    use std::sync::mpsc::channel;
    use std::sync::{Mutex, PoisonError};

    use pagelog::failpoints::fail::{self, FailScenario};

    use super::{Contender, Engine, FRAGMENT, Settings, Subject, shares_under};

    thread_local! {
        /// This thread is to be stopped at the failpoint.
        static STOPS: Cell<bool> = const { Cell::new(false) };
    }

    pub fn shares_beside_a_stopped_thread(settings: &Settings, contender: &Contender<'_>, subject: &Subject) {
        let scenario = FailScenario::setup();
        shares_under(settings, contender, "a thread is stopped in a link", |rates| {
            let ((stopped, is_stopped), (go_on, goes_on)) = (channel(), channel::<()>());
            let goes_on = Mutex::new(goes_on);
            fail::cfg_callback("pagelog::page::published", move || {
                if STOPS.get() {
                    let _ = stopped.send(());
                    let _ = goes_on.lock().unwrap_or_else(PoisonError::into_inner).recv();
                }
            })
            .expect("a failpoint");
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    STOPS.set(true);
                    subject.link(0, [0; FRAGMENT]);
                });
                is_stopped.recv().expect("it stops");
                let during = rates();
                go_on.send(()).expect("it goes on");
                during
            })
        });
        scenario.teardown();
    }
}
