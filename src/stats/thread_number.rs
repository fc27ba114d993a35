//! Which of many cells a thread counts in, so that counting neither contends nor locks the bus.
//!
//! A locked instruction takes some twenty cycles even when nobody else wants the line, as long as all else
//! that a hit does if the page is in the processor's caches. So a thread has cells that nobody else writes to,
//! and counts there with a plain load and a plain store.
//!
//! # Invariants
//!
//! - **(A) One owner.** A number below [`OWNED`] belongs to one thread, from its first count until it ends.
//!   Only the owner writes to the cells of that number.
//! - **(B) Handed on whole.** The number is given back with a release, and taken with an acquire. So its next
//!   owner goes on from what the last one has left.
//! - **(C) The others share.** A thread that finds all numbers taken, or counts when its number was given
//!   back already, gets one from [`OWNED`] on. To cells of these numbers is added by read-modify-write only.

use std::cell::Cell;

use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::thread_local;

/// So many threads at a time count without locked instructions.
const OWNED: usize = u32::BITS as usize;
/// The others are spread over so many numbers.
const SHARED: usize = 8;

/// Bits of the numbers that have an owner. A plain std atomic: which cells a thread counts in has no effect
/// on what it does.
static TAKEN: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
static NEXT_SHARED: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

/// A thread has none yet.
const UNKNOWN: usize = usize::MAX;

thread_local! {
    static NUMBER: Cell<usize> = const { Cell::new(UNKNOWN) };
    static TENURE: Tenure = Tenure::begin();
}

/// Holds a thread's number, and gives it back when the thread ends.
struct Tenure(usize);

impl Tenure {
    fn begin() -> Self {
        let mut taken = TAKEN.load(Ordering::Relaxed);
        while taken != u32::MAX {
            let number = taken.trailing_ones();
            // The acquire of (B).
            match TAKEN.compare_exchange_weak(
                taken,
                taken | 1 << number,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Self(number as usize),
                Err(now) => taken = now,
            }
        }
        Self(shared())
    }
}

impl Drop for Tenure {
    fn drop(&mut self) {
        if self.0 < OWNED {
            // What the thread counts from here on, while others of its destructors run, is no longer an
            // owner's (A).
            let _ = NUMBER.try_with(|number| number.set(shared()));
            // The release of (B).
            TAKEN.fetch_and(!(1 << self.0), Ordering::Release);
        }
    }
}

fn shared() -> usize {
    OWNED + NEXT_SHARED.fetch_add(1, Ordering::Relaxed) % SHARED
}

/// A thread's number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ThreadNumber(usize);

impl ThreadNumber {
    /// Above all numbers.
    pub(crate) const COUNT: usize = OWNED + SHARED;

    /// The one of this thread.
    #[inline]
    pub(crate) fn of_this() -> Self {
        match NUMBER.try_with(Cell::get) {
            Ok(UNKNOWN) | Err(_) => Self::first(),
            Ok(number) => Self(number),
        }
    }

    #[cold]
    fn first() -> Self {
        let number = TENURE.try_with(|tenure| tenure.0).unwrap_or_else(|_| shared());
        let _ = NUMBER.try_with(|known| known.set(number));
        Self(number)
    }

    /// The one of this thread, if it is known and nobody else's (A). Most often it is.
    #[inline]
    pub(crate) fn owned() -> Option<Self> {
        let number = NUMBER.try_with(Cell::get).unwrap_or(UNKNOWN);
        (number < OWNED && !cfg!(loom)).then_some(Self(number))
    }

    /// A number below [`COUNT`](Self::COUNT).
    #[inline]
    pub(crate) fn index(self) -> usize {
        self.0
    }

    /// Adds to a cell that only threads of this number write to, and these only by this.
    #[inline]
    pub(crate) fn add(self, cell: &AtomicU64, amount: u64) {
        // The model checker runs all of its threads on one of the system's, which has one number.
        if self.0 < OWNED && !cfg!(loom) {
            cell.store(cell.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
        } else {
            cell.fetch_add(amount, Ordering::Relaxed);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::{Arc, Barrier};

    use super::{AtomicU64, OWNED, Ordering, ThreadNumber};

    /// Counts in many threads at once, in cells by number, and says how much came to the numbers that have
    /// owners and to the others.
    fn count(threads: usize, amount: u64) -> (u64, u64) {
        let cells: Vec<AtomicU64> = (0..ThreadNumber::COUNT).map(|_| AtomicU64::new(0)).collect();
        let all_are_there = Barrier::new(threads);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let number = ThreadNumber::of_this();
                    all_are_there.wait();
                    (0..amount).for_each(|_| number.add(&cells[number.index()], 1));
                });
            }
        });
        let sum = |cells: &[AtomicU64]| cells.iter().map(|cell| cell.load(Ordering::Relaxed)).sum();
        (sum(&cells[..OWNED]), sum(&cells[OWNED..]))
    }

    #[test]
    fn nothing_is_lost_also_with_more_threads_than_numbers() {
        let (owned, shared) = count(3 * OWNED, 2000);
        assert_eq!(owned + shared, 3 * OWNED as u64 * 2000);
        assert!(shared >= 2 * OWNED as u64 * 2000, "{shared} of those who had no number of their own");
    }

    #[test]
    fn a_number_is_given_back_by_its_thread_and_taken_again_with_what_was_counted() {
        let cells: Vec<AtomicU64> = (0..ThreadNumber::COUNT).map(|_| AtomicU64::new(0)).collect();
        let rounds = 20 * ThreadNumber::COUNT;
        for _ in 0..rounds {
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let number = ThreadNumber::of_this();
                    number.add(&cells[number.index()], 1);
                });
            });
        }
        let sum: u64 = cells.iter().map(|cell| cell.load(Ordering::Relaxed)).sum();
        assert_eq!(sum, rounds as u64);
        let own = cells[..OWNED].iter().map(|cell| cell.load(Ordering::Relaxed)).max();
        assert!(own > Some(1), "no number was ever taken twice");
    }

    #[test]
    fn what_a_thread_counts_at_its_very_end_is_counted() {
        struct Late(Arc<[AtomicU64]>);
        impl Drop for Late {
            fn drop(&mut self) {
                let number = ThreadNumber::of_this();
                number.add(&self.0[number.index()], 1);
            }
        }
        thread_local! {
            static LATE: std::cell::RefCell<Option<Late>> = const { std::cell::RefCell::new(None) };
        }
        let cells: Arc<[AtomicU64]> = (0..ThreadNumber::COUNT).map(|_| AtomicU64::new(0)).collect();
        for first in [true, false] {
            // Destructors run in the order in which their values were first used, or in the other one: so
            // once each way.
            let late = Late(Arc::clone(&cells));
            let thread = std::thread::spawn(move || {
                if first {
                    ThreadNumber::of_this();
                }
                LATE.with(|home| home.replace(Some(late)));
                ThreadNumber::of_this();
            });
            thread.join().unwrap();
        }
        let sum: u64 = cells.iter().map(|cell| cell.load(Ordering::Relaxed)).sum();
        assert_eq!(sum, 2);
    }
}
