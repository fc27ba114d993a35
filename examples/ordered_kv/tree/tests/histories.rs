//! The tree is linearizable key by key: threads use a few keys all at once, in rounds, and write down what
//! they did; for each key an order is looked for in which the answers make sense (see
//! [`order`](super::order)).
//!
//! A scan is not one operation of the whole tree, but a read of each key of its range, at some moment before
//! it came by there. That is how it is written down: what it did not show was not there.
//!
//! A leaf takes two or three of the values, so these few keys are split apart and joined all the time.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};

use pagelog::MemoryStorage;

use super::super::{Direction, Figures, Forest, Range, Swap, Tree, Tuning};
use super::order::{self, Clock, Event, check, is_overlapping};
use super::{Random, config, hesitate_from_now_on};

const THREADS: u64 = 4;
const KEYS: u64 = 9;

/// The number of a value. No two are alike.
type Serial = u64;

/// What was done to a key, and what came of it.
#[derive(Clone, Debug)]
enum Operation {
    Get(Option<Serial>),
    Put(Serial),
    /// Whether it was there.
    Delete(bool),
    /// It had the old value, and has the new one.
    Swap(Option<Serial>, Option<Serial>),
    /// It should have had the first, and had the second.
    Differs(Option<Serial>, Option<Serial>),
}

impl order::Operation for Operation {
    /// The value that the key has.
    type State = Option<Serial>;

    fn after(&self, state: &Option<Serial>) -> Result<Option<Serial>, &'static str> {
        let (possible, after) = match self {
            Self::Get(found) => (found == state, *state),
            Self::Put(serial) => (true, Some(*serial)),
            Self::Delete(was_there) => (*was_there == state.is_some(), None),
            Self::Swap(old, new) => (old == state, *new),
            Self::Differs(old, found) => (found == state && found != old, *state),
        };
        if possible { Ok(after) } else { Err("the key has another value") }
    }

    fn is_change(&self) -> bool {
        !matches!(self, Self::Get(_) | Self::Differs(..) | Self::Delete(false))
    }
}

fn name(key: u64) -> Vec<u8> {
    format!("key {key}").into_bytes()
}

/// Of many lengths.
fn value(serial: Serial) -> Vec<u8> {
    let mut value = serial.to_le_bytes().to_vec();
    value.resize(8 + (serial * 31 % 100) as usize, 0);
    value
}

fn serial(value: &[u8]) -> Serial {
    let serial = u64::from_le_bytes(value[..8].try_into().unwrap());
    assert_eq!(value, self::value(serial), "a value that nobody has written");
    serial
}

type Events = Vec<(u64, Event<Operation>)>;

struct Worker<'a> {
    tree: &'a Tree,
    clock: &'a Clock,
    thread: u64,
    random: Random,
    last: Serial,
    /// What was seen of each key last.
    seen: BTreeMap<u64, Option<Serial>>,
    events: Events,
}

impl Worker<'_> {
    /// Who fails must not keep the others waiting.
    fn attempt(&mut self, failed: &AtomicBool, work: fn(&mut Self)) {
        if catch_unwind(AssertUnwindSafe(|| work(self))).is_err() {
            failed.store(true, Ordering::SeqCst);
        }
    }

    fn round(&mut self) {
        for _ in 0..3 + self.random.below(6) {
            let key = self.random.below(KEYS);
            match self.random.below(20) {
                0..4 => self.get(key),
                4..9 => {
                    let new = self.next_serial();
                    self.record(key, |tree| {
                        tree.put(&name(key), &value(new)).unwrap();
                        Operation::Put(new)
                    });
                }
                9..14 => self.record(key, |tree| Operation::Delete(tree.delete(&name(key)).unwrap())),
                14..17 => self.swap(key),
                17 => self.load(),
                _ => self.scan(),
            }
        }
    }

    fn read_all(&mut self) {
        for key in 0..KEYS {
            self.get(key);
        }
    }

    fn get(&mut self, key: u64) {
        self.record(key, |tree| Operation::Get(tree.get(&name(key)).unwrap().map(|value| serial(&value))));
    }

    fn next_serial(&mut self) -> Serial {
        self.last += THREADS;
        self.last
    }

    fn record(&mut self, key: u64, work: impl FnOnce(&Tree) -> Operation) {
        let event = self.clock.record(self.thread, || work(self.tree));
        self.note(key, event);
    }

    fn note(&mut self, key: u64, event: Event<Operation>) {
        let seen = match event.operation {
            Operation::Get(found) | Operation::Differs(_, found) => found,
            Operation::Put(serial) => Some(serial),
            Operation::Delete(_) => None,
            Operation::Swap(_, new) => new,
        };
        self.seen.insert(key, seen);
        self.events.push((key, event));
    }

    fn swap(&mut self, key: u64) {
        let old = self.seen.get(&key).copied().flatten();
        let new = (self.random.below(3) > 0).then(|| self.next_serial());
        self.record(key, |tree| {
            let (before, after) = (old.map(value), new.map(value));
            match tree.compare_and_swap(&name(key), before.as_deref(), after.as_deref()).unwrap() {
                Swap::Done => Operation::Swap(old, new),
                Swap::Differs(found) => Operation::Differs(old, found.map(|value| serial(&value))),
            }
        });
    }

    /// Some neighbouring keys at once.
    fn load(&mut self) {
        let first = self.random.below(KEYS - 5);
        let entries: Vec<_> = (first..first + 5).map(|key| (key, self.next_serial())).collect();
        let loaded = self.clock.record(self.thread, || {
            self.tree.load(entries.iter().map(|(key, serial)| (name(*key), value(*serial)))).unwrap();
            Operation::Get(None)
        });
        for (key, serial) in entries {
            self.note(key, Event { operation: Operation::Put(serial), ..loaded.clone() });
        }
    }

    fn scan(&mut self) {
        let direction = if self.random.below(2) == 0 { Direction::Up } else { Direction::Down };
        let (first, end) = (self.random.below(KEYS / 2), KEYS / 2 + 1 + self.random.below(KEYS / 2));
        let mut range: Vec<u64> = (first..end).collect();
        if direction == Direction::Down {
            range.reverse();
        }
        let mut left = range.into_iter();
        let mut events = Vec::new();
        let (clock, thread) = (self.clock, self.thread);
        let invoked = clock.now();
        let read = |found| Event { thread, invoked, answered: clock.now(), operation: Operation::Get(found) };
        let visit = |key: &[u8], value: &[u8]| {
            for next in left.by_ref() {
                if name(next) == key {
                    events.push((next, read(Some(serial(value)))));
                    return ControlFlow::Continue(());
                }
                events.push((next, read(None)));
            }
            panic!("a scan shows {key:?} twice, or out of order, or beyond the range")
        };
        self.tree.visit(Range::new(&name(first)[..]..&name(end)[..]), direction, visit).unwrap();
        events.extend(left.map(|key| (key, read(None))));
        events.into_iter().for_each(|(key, event)| self.note(key, event));
    }
}

/// Between the rounds there is silence, so the history of a key in a round is one for itself, and goes on
/// from what the key was. Returns how many of them overlapped.
fn run(forest: &Forest, seed: u64, rounds: u64) -> u64 {
    let tree = forest.tree("t").unwrap();
    let (clock, barrier) = (Clock::default(), Barrier::new(THREADS as usize));
    let failed = AtomicBool::new(false);
    let all: Vec<Vec<Events>> = std::thread::scope(|scope| {
        let work = |thread| {
            let random = Random(seed * THREADS + thread + 1);
            hesitate_from_now_on(seed * 77 + thread + 1);
            let (events, seen) = (Events::new(), BTreeMap::new());
            let mut worker =
                Worker { tree: &tree, clock: &clock, thread, random, last: thread, seen, events };
            let mut all = Vec::new();
            for _ in 0..rounds {
                barrier.wait();
                if failed.load(Ordering::SeqCst) {
                    break;
                }
                worker.attempt(&failed, Worker::round);
                if barrier.wait().is_leader() {
                    worker.attempt(&failed, Worker::read_all);
                }
                all.push(std::mem::take(&mut worker.events));
            }
            all
        };
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || work(thread))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(!failed.into_inner(), "seed {seed}");
    let (mut states, mut overlapping) = (BTreeMap::new(), 0);
    for round in 0..rounds as usize {
        let mut histories = BTreeMap::<u64, Vec<Event<Operation>>>::new();
        for (key, event) in all.iter().flat_map(|events| &events[round]) {
            histories.entry(*key).or_default().push(event.clone());
        }
        for (key, history) in histories {
            overlapping += u64::from(is_overlapping(&history));
            let state = states.entry(key).or_default();
            *state = check(state, history).unwrap_or_else(|rejection| {
                panic!("key {key}, which began as {state:?}, seed {seed}: {rejection}")
            });
        }
    }
    overlapping
}

#[test]
fn every_history_of_a_key_has_an_order() {
    let (mut figures, mut overlapping, mut misses) = (Figures::default(), 0, 0);
    for seed in 0..6u64 {
        let capacity = if seed.is_multiple_of(2) { 1 << 20 } else { 1 << 10 };
        let config = config(&Arc::new(MemoryStorage::new())).cache_capacity(capacity);
        let tuning = Tuning { leaf_bytes: 256, inner_bytes: 200, unmerged: seed as usize };
        let forest = Forest::open(config, tuning).unwrap();
        overlapping += run(&forest, seed, 60);
        let report = forest.check().unwrap();
        assert_eq!((report.faults, report.unused, report.sealed), (Vec::new(), 0, 0));
        figures += forest.figures();
        misses += forest.stats().counts.misses;
    }
    assert!(overlapping > 600 && misses > 1000, "{overlapping} overlapping histories, {misses} misses");
    assert!(figures.splits > 100 && figures.joins > 100 && figures.loads > 10, "{figures:?}");
    assert!(figures.restarts > 5 && figures.lost_races > 50, "{figures:?}");
}

mod tests {
    use super::super::order::{Event, check};
    use super::Operation::{self, Delete, Differs, Get, Put, Swap};

    /// Events of different threads; each has its own interval.
    fn is_possible(events: &[(u64, u64, Operation)]) -> bool {
        let event = |(thread, (invoked, answered, operation)): (u64, &(u64, u64, Operation))| {
            let (invoked, answered, operation) = (*invoked, *answered, operation.clone());
            Event { thread, invoked, answered, operation }
        };
        check(&None, (0..).zip(events).map(event).collect()).is_ok()
    }

    #[test]
    fn a_key_answers_what_it_must() {
        assert!(is_possible(&[
            (0, 1, Put(1)),
            (2, 3, Get(Some(1))),
            (4, 5, Delete(true)),
            (6, 7, Get(None))
        ]));
        assert!(!is_possible(&[(0, 1, Put(1)), (2, 3, Get(None))]), "a lost put");
        assert!(!is_possible(&[(0, 1, Put(1)), (2, 3, Put(2)), (4, 5, Get(Some(1)))]), "an old value");
        assert!(is_possible(&[(0, 9, Put(1)), (2, 3, Get(None)), (4, 5, Get(Some(1)))]));
        assert!(!is_possible(&[(0, 9, Put(1)), (2, 3, Get(Some(1))), (4, 5, Get(None))]), "back in time");
        assert!(is_possible(&[(0, 1, Put(1)), (2, 9, Delete(true)), (3, 8, Delete(false))]));
        assert!(!is_possible(&[(0, 1, Put(1)), (2, 9, Delete(true)), (3, 8, Delete(true))]), "deleted twice");
        assert!(is_possible(&[(0, 9, Swap(None, Some(1))), (1, 8, Swap(Some(1), Some(2)))]));
        assert!(!is_possible(&[(0, 9, Swap(None, Some(1))), (1, 8, Swap(None, Some(2)))]), "two winners");
        assert!(is_possible(&[(0, 1, Put(1)), (2, 3, Differs(None, Some(1))), (4, 5, Get(Some(1)))]));
        assert!(
            !is_possible(&[(0, 1, Put(1)), (2, 3, Differs(Some(1), Some(1)))]),
            "refused without a reason"
        );
    }
}
