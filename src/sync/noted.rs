//! Atomics that note who touches what (in the crate's own tests): while a thread *records*, each access is
//! written down with its address, whether it takes the cache line for itself, and the line of code that asked
//! for it.
//!
//! So a test can count the cache lines that a verb shares with other threads, and say whose they are; see
//! `pagecache/tests/contention.rs`. A thread that does not record pays for a look at a variable of its own.
//!
//! What is noted: every atomic access, each taking of a lock (a write to its word), and each pin (a write to
//! the thread's own registration and a read of the epoch, unless it is pinned already). What is not: memory
//! that is no atomic, reference counts of `Arc`, `OnceLock` (read only, once it is set), and what the
//! collector does with garbage now and then.

use std::cell::{Cell, RefCell};
use std::panic::Location;
use std::sync::atomic::Ordering;

/// One access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    pub(crate) address: usize,
    /// The cache line was wanted for this thread alone: also by a compare-exchange that lost.
    pub(crate) is_write: bool,
    /// The source file, from the root of the crate, with `/` between its parts.
    pub(crate) file: &'static str,
    pub(crate) line: u32,
}

thread_local! {
    static RECORDING: Cell<bool> = const { Cell::new(false) };
    static RECORD: RefCell<Vec<Access>> = const { RefCell::new(Vec::new()) };
}

/// What this thread accesses during `work`, in order.
pub(crate) fn recorded(work: impl FnOnce()) -> Vec<Access> {
    RECORD.with_borrow_mut(Vec::clear);
    RECORDING.set(true);
    work();
    RECORDING.set(false);
    RECORD.take()
}

#[inline]
#[track_caller]
pub(super) fn note<T>(what: &T, is_write: bool) {
    // A thread that is ending records nothing.
    if RECORDING.try_with(Cell::get).unwrap_or(false) {
        let (address, from) = (std::ptr::from_ref(what).addr(), Location::caller());
        RECORD.with_borrow_mut(|record| {
            record.push(Access { address, is_write, file: from.file(), line: from.line() });
        });
    }
}

/// Accesses, each with whether it writes.
macro_rules! forward {
    ($value:ty; $($access:ident($($argument:ident: $type:ty),*) -> $result:ty, $is_write:literal;)*) => {$(
        #[inline]
        #[track_caller]
        #[allow(dead_code, reason = "each type has the accesses that one of them needs")]
        pub(crate) fn $access(&self, $($argument: $type),*) -> $result {
            note(self, $is_write);
            self.0.$access($($argument),*)
        }
    )*};
}

macro_rules! basics {
    ($value:ty) => {
        forward! { $value;
            load(order: Ordering) -> $value, false;
            store(value: $value, order: Ordering) -> (), true;
            swap(value: $value, order: Ordering) -> $value, true;
            compare_exchange(current: $value, new: $value, success: Ordering, failure: Ordering)
                -> Result<$value, $value>, true;
            compare_exchange_weak(current: $value, new: $value, success: Ordering, failure: Ordering)
                -> Result<$value, $value>, true;
        }
    };
}

macro_rules! numbers {
    ($value:ty) => {
        forward! { $value;
            fetch_add(value: $value, order: Ordering) -> $value, true;
            fetch_sub(value: $value, order: Ordering) -> $value, true;
            fetch_and(value: $value, order: Ordering) -> $value, true;
            fetch_or(value: $value, order: Ordering) -> $value, true;
            fetch_max(value: $value, order: Ordering) -> $value, true;
            fetch_min(value: $value, order: Ordering) -> $value, true;
        }
    };
}

macro_rules! noted {
    (number $name:ident, $value:ty) => {
        impl $name {
            basics!($value);
            numbers!($value);
        }
    };
    ($sort:ident $name:ident $(<$of:ident>)?, $value:ty) => {
        impl$(<$of>)? $name$(<$of>)? {
            basics!($value);
        }
    };
}

stand_ins!(noted);
