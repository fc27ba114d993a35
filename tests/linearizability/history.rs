//! What was done to a page, by whom, and between which moments.

use std::sync::atomic::{AtomicU64, Ordering};

/// The number of a fragment. No two are alike, so contents say which changes they are made of.
pub type Serial = u32;

/// A verb and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// The version and the contents, oldest first, if there was a page.
    Get(Option<(u64, Vec<Serial>)>),
    /// The version, if there was a page.
    Version(Option<u64>),
    /// The page began with this fragment, at that version.
    Allocate(Serial, u64),
    /// A compare-and-swap of the version `seen`.
    Change { verb: Verb, seen: u64, outcome: Outcome },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Link(Serial),
    Replace(Serial),
    Free,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done, and this is the version now.
    Done(u64),
    /// Not done: the page has this version.
    Changed(u64),
    /// Not done: no page, or the version is of an earlier life.
    Gone,
}

/// An operation and its interval. It took effect at one moment in between, if the page is linearizable.
#[derive(Clone, Debug)]
pub struct Event {
    pub thread: u64,
    pub invoked: u64,
    pub answered: u64,
    pub operation: Operation,
}

impl Event {
    fn overlaps(&self, other: &Self) -> bool {
        self.invoked < other.answered && other.invoked < self.answered
    }

    /// Whether the page is another one afterwards.
    pub fn is_change(&self) -> bool {
        match self.operation {
            Operation::Get(_) | Operation::Version(_) => false,
            Operation::Allocate(..) => true,
            Operation::Change { outcome, .. } => matches!(outcome, Outcome::Done(_)),
        }
    }
}

/// Whether a change of the page happened at the same time as something else. If not, real time says all about the order, and the
/// history proves little.
pub fn is_overlapping(history: &[Event]) -> bool {
    let mut changes = history.iter().filter(|event| event.is_change());
    changes.any(|change| history.iter().any(|other| other.thread != change.thread && other.overlaps(change)))
}

/// One clock for all threads. Each moment is given once.
#[derive(Debug, Default)]
pub struct Clock(AtomicU64);

impl Clock {
    pub fn now(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst)
    }

    /// Does something, and notes when.
    pub fn record(&self, thread: u64, work: impl FnOnce() -> Operation) -> Event {
        let invoked = self.now();
        let operation = work();
        Event { thread, invoked, answered: self.now(), operation }
    }
}
