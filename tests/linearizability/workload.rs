//! Threads that use a few pages all at once, in rounds, and write down what they did.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use pagelog::{Cas, Codec, CodecError, Config, Counts, Fragment, MemoryStorage, PageCache, PageId, Version};

use crate::checker::State;
use crate::common::{Dice, tiny};
use crate::faults::{Fault, Liar};
use crate::history::{Event, Operation, Outcome, Serial, Verb};
use crate::observed::{Observed, Observer};
use crate::order::{Clock, Rejection, check, is_overlapping};

const THREADS: u64 = 3;
/// Ids above this are given back at once, so that everybody meets on these.
const PAGES: u64 = 3;
/// A page is replaced, rather than linked to, when it has so many fragments.
const LONG: usize = 10;

/// The serials of the changes that a page is made of.
#[derive(Debug, PartialEq, Eq)]
pub struct Serials(pub Vec<Serial>);

/// Twelve bytes for each, so that three of them make a large value where those begin at 32 bytes.
pub struct Twelve;

const MASK: u32 = 0x5A5A_5A5A;

impl Codec<Serials> for Twelve {
    fn encode(fragment: &Serials, into: &mut Vec<u8>) -> Result<(), CodecError> {
        jitter();
        let words = fragment.0.iter().flat_map(|serial| [*serial, !serial, serial ^ MASK]);
        words.for_each(|word| into.extend_from_slice(&word.to_le_bytes()));
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<Serials, CodecError> {
        jitter();
        let words: Vec<u32> =
            bytes.chunks(4).map(|word| word.try_into().map_or(0, u32::from_le_bytes)).collect();
        let serial = |words: &[u32]| match words {
            [serial, not, masked] if *not == !serial && *masked == serial ^ MASK => Ok(*serial),
            _ => Err(CodecError::from("no serial")),
        };
        words.chunks(3).map(serial).collect::<Result<_, _>>().map(Serials)
    }
}

impl Fragment for Serials {
    type Codec = Twelve;

    fn merge(oldest_to_newest: &[&Self]) -> Self {
        jitter();
        Self(oldest_to_newest.iter().flat_map(|fragment| fragment.0.iter().copied()).collect())
    }
}

thread_local! {
    static JITTER: RefCell<Option<Dice>> = const { RefCell::new(None) };
}

/// Loses some time now and then, in the middle of the verbs: the store calls us there, to encode, to decode, to merge, to read and to
/// write. On few processors hardly anything would overlap otherwise. Between these points, see `--cfg jitter` in `src/sync.rs`.
fn jitter() {
    JITTER.with_borrow_mut(|dice| {
        let Some(dice) = dice else { return };
        match dice.below(8) {
            0..2 => thread::yield_now(),
            2..4 => (0..dice.below(300)).for_each(|_| std::hint::spin_loop()),
            _ => {}
        }
    });
}

fn with_jitter(seed: u64) {
    JITTER.set(Some(Dice::new(seed)));
}

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

/// How far a case came.
#[derive(Debug, Default)]
pub struct Summary {
    pub rounds: u64,
    pub operations: u64,
    pub histories: u64,
    /// Those in which a change overlapped something else.
    pub overlapping: u64,
    pub lost_races: u64,
}

/// What one thread knows, and what it did in this round.
struct Worker<'a> {
    cache: &'a PageCache<Serials>,
    clock: &'a Clock,
    thread: u64,
    dice: Dice,
    serial: Serial,
    /// The versions that were seen of each page, the last one at the end, and whether the page was there.
    seen: BTreeMap<u64, (Vec<u64>, bool)>,
    events: Vec<(u64, Event)>,
    liar: Option<Liar>,
}

impl Worker<'_> {
    fn round(&mut self) {
        for _ in 0..4 + self.dice.below(12) {
            let page_id = 1 + self.dice.below(PAGES);
            let (seen, is_there) = self.token(page_id);
            match (self.dice.below(16), seen) {
                (0..2, _) if !is_there => self.allocate(),
                (0..5, _) | (_, None) => self.get(page_id),
                (5..7, _) => self.version(page_id),
                (7, Some(seen)) => self.change(page_id, Verb::Free, seen),
                (8..10, Some(seen)) => {
                    let verb = Verb::Replace(self.next_serial());
                    self.change(page_id, verb, seen);
                }
                (_, Some(seen)) => {
                    let verb = Verb::Link(self.next_serial());
                    self.change(page_id, verb, seen);
                }
            }
        }
    }

    /// A version that was seen of the page, mostly the last one, and whether the page was there then.
    fn token(&mut self, page_id: u64) -> (Option<u64>, bool) {
        let Some((versions, is_there)) = self.seen.get(&page_id) else { return (None, false) };
        let old = versions.get(self.dice.below(6) as usize).copied();
        let token = if self.dice.below(6) == 0 { old } else { versions.last().copied() };
        (token, *is_there)
    }

    fn next_serial(&mut self) -> Serial {
        self.serial += THREADS as Serial;
        self.serial
    }

    fn record(&mut self, page_id: u64, work: impl FnOnce(&PageCache<Serials>) -> Operation) -> Operation {
        let mut event = self.clock.record(self.thread, || work(self.cache));
        if let Some(liar) = &mut self.liar {
            liar.distort(page_id, &mut event.operation);
        }
        self.learn(page_id, &event.operation);
        let operation = event.operation.clone();
        self.events.push((page_id, event));
        operation
    }

    fn learn(&mut self, page_id: u64, operation: &Operation) {
        let (version, is_there) = match operation {
            Operation::Get(found) => (found.as_ref().map(|(version, _)| *version), found.is_some()),
            Operation::Version(found) => (*found, found.is_some()),
            Operation::Allocate(_, version) => (Some(*version), true),
            Operation::Change { verb, outcome, .. } => match outcome {
                Outcome::Done(version) => (Some(*version), *verb != Verb::Free),
                Outcome::Changed(version) => (Some(*version), true),
                Outcome::Gone => (None, false),
            },
        };
        let (versions, was_there) = self.seen.entry(page_id).or_default();
        versions.extend(version);
        *was_there = is_there;
        if versions.len() > 6 {
            versions.remove(0);
        }
    }

    fn get(&mut self, page_id: u64) {
        let found = self.record(page_id, |cache| {
            let guard = cache.pin();
            let page = guard.get(PageId::new(page_id)).unwrap();
            Operation::Get(page.map(|page| {
                let mut parts: Vec<_> = page.fragments().collect();
                parts.reverse();
                let merged = page.merged();
                assert_eq!(Serials::merge(&parts), *merged, "the parts of a page are not the page");
                (page.version().get(), merged.0.clone())
            }))
        });
        if let Operation::Get(Some((seen, contents))) = found
            && contents.len() > LONG
        {
            let verb = Verb::Replace(self.next_serial());
            self.change(page_id, verb, seen);
        }
    }

    fn version(&mut self, page_id: u64) {
        self.record(page_id, |cache| {
            Operation::Version(cache.version(PageId::new(page_id)).unwrap().map(Version::get))
        });
    }

    fn allocate(&mut self) {
        let serial = self.next_serial();
        let mut page_id = 0;
        let event = self.clock.record(self.thread, || {
            let page = self.cache.allocate(Serials(vec![serial])).unwrap();
            page_id = page.page_id.get();
            Operation::Allocate(serial, page.version.get())
        });
        self.learn(page_id, &event.operation);
        let Operation::Allocate(_, version) = event.operation else { return };
        self.events.push((page_id, event));
        if page_id > PAGES {
            self.change(page_id, Verb::Free, version);
        }
    }

    fn change(&mut self, page_id: u64, verb: Verb, seen: u64) {
        let is_dropped = self.liar.as_mut().is_some_and(|liar| liar.drops(verb));
        self.record(page_id, |cache| {
            let (id, version) = (PageId::new(page_id), Version::new(seen));
            let outcome = match verb {
                _ if is_dropped => Outcome::Done(seen + 1),
                Verb::Link(serial) => outcome(&cache.link(id, version, Serials(vec![serial])).unwrap()),
                Verb::Replace(serial) => outcome(&cache.replace(id, version, Serials(vec![serial])).unwrap()),
                Verb::Free => outcome(&cache.free(id, version).unwrap()),
            };
            Operation::Change { verb, seen, outcome }
        });
    }
}

fn outcome<F>(cas: &Cas<F>) -> Outcome {
    match cas {
        Cas::Done { version, .. } => Outcome::Done(version.get()),
        Cas::Changed { current, .. } => Outcome::Changed(current.get()),
        Cas::Gone { .. } => Outcome::Gone,
    }
}

/// Runs a case until that many overlapping histories were looked at. Between the rounds there is silence, so the history of a page in
/// a round is one for itself, and goes on from what the page was.
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
                let (seen, events, serial) = (BTreeMap::new(), Vec::new(), thread as Serial);
                let mut worker = Worker { cache, clock, thread, dice, serial, seen, events, liar };
                while rounds.next() {
                    rounds.part(|| {
                        worker.round();
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

/// What else a store has to do, while the others are at it.
fn keep_house(cache: &PageCache<Serials>, dice: &mut Dice) {
    for _ in 0..dice.below(3) {
        match dice.below(8) {
            0..4 => drop(cache.attempt_gc().unwrap()),
            4 => cache.snapshot().unwrap(),
            5 | 6 => cache.flush().unwrap(),
            _ => drop(cache.pin_log().unwrap().seal_batch().unwrap()),
        }
    }
}

fn judge(
    events: Vec<(u64, Event)>,
    states: &mut BTreeMap<u64, State>,
    summary: &mut Summary,
) -> Result<(), String> {
    summary.rounds += 1;
    summary.operations += events.len() as u64;
    let mut histories: BTreeMap<u64, Vec<Event>> = BTreeMap::new();
    for (page_id, event) in events {
        histories.entry(page_id).or_default().push(event);
    }
    for (page_id, history) in histories {
        summary.histories += 1;
        summary.overlapping += u64::from(is_overlapping(&history));
        let is_lost = |event: &&Event| {
            matches!(event.operation, Operation::Change { outcome: Outcome::Changed(_) | Outcome::Gone, .. })
        };
        summary.lost_races += history.iter().filter(is_lost).count() as u64;
        let state = states.entry(page_id).or_default();
        let explain = |rejection: Rejection<Operation>| {
            format!("page {page_id}, which began as {state:?}: {rejection}")
        };
        *state = check(state, history).map_err(explain)?;
    }
    Ok(())
}
