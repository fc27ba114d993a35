//! Threads that use a few pages all at once, in rounds, and write down what they did.

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use pagelog::{Config, Counts, MemoryStorage, PageCache, PageId};

use crate::checker::State;
use crate::common::{Dice, tiny};
use crate::faults::{Fault, Liar};
use crate::history::Event;
use crate::judge::{Summary, judge};
use crate::observed::{Observed, Observer};
use crate::order::Clock;
use crate::worker::{Serials, THREADS, Worker, jitter, keep_house, with_jitter};

/// Reading takes some time as well.
#[derive(Debug, Default)]
pub struct Slow;

impl Observer for Slow {
    fn before_read(&self, _: usize, _: u64) -> io::Result<()> {
        jitter();
        Ok(())
    }
}

/// A way to set up the store, and what has to have happened for it to be of use.
pub struct Case {
    pub name: &'static str,
    pub config: fn(Config) -> Config,
    pub reached: fn(&Counts) -> bool,
}

/// Runs a case until that many overlapping histories were looked at. Between the rounds there is silence, so
/// the history of a page in a round is one for itself, and goes on from what the page was.
pub fn run(case: &Case, seed: u64, goal: u64, fault: Option<Fault>) -> Result<Summary, String> {
    let storage = Arc::new(Observed::<MemoryStorage, Slow>::default());
    let config = || (case.config)(tiny(&storage));
    let cache: PageCache<Serials> = config().open().unwrap();
    let mut states: BTreeMap<u64, State> = BTreeMap::new();
    let mut summary = Summary::default();
    let verdict = race(&cache, seed, fault, |events| {
        judge(events, &mut states, &mut summary)?;
        if summary.rounds > 1000 + 100 * goal {
            return Err(format!("hardly anything overlaps: {summary:?}"));
        }
        Ok(summary.overlapping < goal)
    });
    verdict.map_err(|what| format!("{}, seed {seed}, round {}: {what}", case.name, summary.rounds))?;
    let counts = cache.stats().counts;
    println!("{:24} {summary:?}", case.name);
    assert!((case.reached)(&counts), "{}: the case was not reached: {counts:?}", case.name);
    let report = cache.verify().unwrap();
    assert!(report.faults.is_empty(), "{report:?}");
    cache.close().unwrap();
    // What is there after a restart is what was there at the end.
    let cache: PageCache<Serials> = config().open().unwrap();
    for (page_id, state) in &states {
        let guard = cache.pin();
        let page = guard.get(PageId::new(*page_id)).unwrap();
        assert_eq!(page.map(|page| (page.version().get(), page.merged().0.clone())), state.page());
    }
    Ok(summary)
}

/// Where the threads meet: they begin and end each round together.
struct Rounds {
    clock: Clock,
    begin: Barrier,
    end: Barrier,
    goes_on: AtomicBool,
    broken: AtomicBool,
    events: Mutex<Vec<(u64, Event)>>,
}

impl Rounds {
    fn new() -> Self {
        let barrier = || Barrier::new(THREADS as usize + 1);
        let (goes_on, broken) = (AtomicBool::new(true), AtomicBool::new(false));
        let (clock, events) = (Clock::default(), Mutex::default());
        Self { clock, begin: barrier(), end: barrier(), goes_on, broken, events }
    }

    /// A part of a round. If it panics, the others must not wait for ever.
    fn part(&self, work: impl FnOnce()) {
        if catch_unwind(AssertUnwindSafe(work)).is_err() {
            self.broken.store(true, Ordering::Relaxed);
        }
        self.end.wait();
    }

    /// Whether there is another round.
    fn next(&self) -> bool {
        self.begin.wait();
        self.goes_on.load(Ordering::Relaxed)
    }

    fn stop(&self) {
        self.goes_on.store(false, Ordering::Relaxed);
        self.begin.wait();
    }
}

/// Lets the threads go, round by round, as long as `judge` wants to see more.
fn race(
    cache: &PageCache<Serials>,
    seed: u64,
    fault: Option<Fault>,
    mut judge: impl FnMut(Vec<(u64, Event)>) -> Result<bool, String>,
) -> Result<(), String> {
    let rounds = Rounds::new();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let rounds = &rounds;
            scope.spawn(move || {
                let (dice, clock) = (Dice::new(seed * 31 + thread), &rounds.clock);
                with_jitter(seed * 37 + thread);
                let liar = fault.map(|fault| Liar::new(fault, seed * 41 + thread));
                let mut worker = Worker::new(cache, clock, thread, dice, liar);
                while rounds.next() {
                    rounds.part(|| {
                        worker.round();
                        worker.logged.clear();
                        rounds.events.lock().unwrap().append(&mut worker.events);
                    });
                }
            });
        }
        let mut dice = Dice::new(seed * 43);
        with_jitter(seed * 47);
        loop {
            rounds.begin.wait();
            rounds.part(|| keep_house(cache, &mut dice));
            let verdict = match rounds.broken.load(Ordering::Relaxed) {
                true => Err("a thread has panicked".into()),
                false => judge(std::mem::take(&mut rounds.events.lock().unwrap())),
            };
            if !matches!(verdict, Ok(true)) {
                rounds.stop();
                return verdict.map(|_| ());
            }
        }
    })
}
