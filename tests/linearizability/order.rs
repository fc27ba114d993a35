//! Is there an order?
//!
//! A history of an object is linearizable if its operations can be put in an order, one at a time, in which
//! each gives the answer that it gave, and in which none comes after one that was invoked when it had
//! answered already. This looks for such an order by trying (Wing and Gong, "Testing and Verifying Concurrent
//! Objects", 1993), and remembers what it has tried (Lowe, "Testing for linearizability", 2017). A set of
//! independent objects is linearizable if each of them is (Herlihy and Wing, 1990), so each is looked at by
//! itself.
//!
//! What the object is, a page or a key of a map, is said by its [`Operation`]s. Where few of them are
//! possible in a given state, the search hardly ever has to go back.

use std::collections::HashSet;
use std::fmt;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};

/// Something that was done to an object, with the answer that it gave.
pub trait Operation: Clone + fmt::Debug {
    /// What the object is between two operations.
    type State: Clone + fmt::Debug + Eq + Hash;

    /// The object afterwards, or why the operation can't have given that answer.
    fn after(&self, state: &Self::State) -> Result<Self::State, &'static str>;

    /// Whether the object may be another one afterwards.
    fn is_change(&self) -> bool;
}

/// An operation and its interval. It took effect at one moment in between, if the object is linearizable.
#[derive(Clone, Debug)]
pub struct Event<O> {
    pub thread: u64,
    pub invoked: u64,
    pub answered: u64,
    pub operation: O,
}

impl<O> Event<O> {
    fn overlaps(&self, other: &Self) -> bool {
        self.invoked < other.answered && other.invoked < self.answered
    }
}

/// Whether a change happened at the same time as something else. If not, real time says all about the order,
/// and the history proves little.
pub fn is_overlapping<O: Operation>(history: &[Event<O>]) -> bool {
    let mut changes = history.iter().filter(|event| event.operation.is_change());
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
    pub fn record<O>(&self, thread: u64, work: impl FnOnce() -> O) -> Event<O> {
        let invoked = self.now();
        let operation = work();
        Event { thread, invoked, answered: self.now(), operation }
    }
}

/// Which events have their place in the order already.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Placed(Vec<u64>);

impl Placed {
    fn none(of: usize) -> Self {
        Self(vec![0; of.div_ceil(64)])
    }

    fn has(&self, index: usize) -> bool {
        self.0[index / 64] >> (index % 64) & 1 == 1
    }

    fn put(&mut self, index: usize) {
        self.0[index / 64] |= 1 << (index % 64);
    }

    fn count(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    /// The events that can come next: nothing that is not placed had answered when they were invoked. The
    /// history is sorted by invocation.
    fn candidates<'a, O>(&'a self, history: &'a [Event<O>]) -> impl Iterator<Item = usize> + 'a {
        let open = || (0..history.len()).filter(|index| !self.has(*index));
        let mut first_answer = u64::MAX;
        for index in open() {
            if history[index].invoked > first_answer {
                break;
            }
            first_answer = first_answer.min(history[index].answered);
        }
        open().take_while(move |index| history[*index].invoked <= first_answer)
    }
}

/// The object after all of a history, or how far one can get.
pub fn check<O: Operation>(initial: &O::State, mut history: Vec<Event<O>>) -> Result<O::State, Rejection<O>> {
    history.sort_by_key(|event| event.invoked);
    let history = &history;
    let mut tried = HashSet::new();
    let mut to_try = vec![(Placed::none(history.len()), initial.clone())];
    let mut farthest = to_try[0].clone();
    while let Some((mut placed, state)) = to_try.pop() {
        place_what_changes_nothing(&mut placed, &state, history);
        if placed.count() as usize == history.len() {
            return Ok(state);
        }
        if placed.count() > farthest.0.count() {
            farthest = (placed.clone(), state.clone());
        }
        if !tried.insert((placed.clone(), state.clone())) {
            continue;
        }
        for index in placed.candidates(history) {
            if let Ok(after) = history[index].operation.after(&state) {
                let mut with_it = placed.clone();
                with_it.put(index);
                to_try.push((with_it, after));
            }
        }
    }
    Err(Rejection::new(history, &farthest.0, farthest.1))
}

/// If an operation that leaves the object as it is can come next, it may as well: whatever order there is
/// without it first, there is the same with it first.
fn place_what_changes_nothing<O: Operation>(placed: &mut Placed, state: &O::State, history: &[Event<O>]) {
    loop {
        let fits = |index: &usize| {
            let operation = &history[*index].operation;
            !operation.is_change() && operation.after(state).is_ok()
        };
        let Some(index) = placed.candidates(history).find(fits) else { return };
        placed.put(index);
    }
}

/// A history for which there is no order.
#[derive(Debug)]
pub struct Rejection<O: Operation> {
    /// The object, at the end of the longest order that there is.
    state: O::State,
    /// The events, whether each is in that order, and if not, and if it could come next in time, why it
    /// can't.
    events: Vec<(Event<O>, bool, Option<&'static str>)>,
}

impl<O: Operation> Rejection<O> {
    fn new(history: &[Event<O>], placed: &Placed, state: O::State) -> Self {
        let candidates: Vec<usize> = placed.candidates(history).collect();
        let explain = |(index, event): (usize, &Event<O>)| {
            let why_not = event.operation.after(&state).err().filter(|_| candidates.contains(&index));
            (event.clone(), placed.has(index), why_not)
        };
        Self { events: history.iter().enumerate().map(explain).collect(), state }
    }
}

impl<O: Operation> fmt::Display for Rejection<O> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "there is no order; + is in the longest one, which ends with {:?}", self.state)?;
        for (event, placed, why_not) in &self.events {
            let mark = if *placed { '+' } else { ' ' };
            let Event { thread, invoked, answered, operation } = event;
            write!(formatter, "{mark} {invoked:6} - {answered:6}  thread {thread}  {operation:?}")?;
            writeln!(formatter, "{}", why_not.map_or_else(String::new, |why| format!("  <- {why}")))?;
        }
        Ok(())
    }
}
