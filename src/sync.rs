//! The only door to atomics, locks, threads and epochs.
//!
//! In a normal build these are std's atomics, parking_lot's locks and crossbeam's epochs. Built with
//! `--cfg loom` they are the model checker's, so that the models in `src/models` explore the product's own
//! modules rather than copies of them. With `--cfg shuttle` each access is a point at which a scheduler may
//! go on with another thread, so that `tests/schedules` explores the schedules of whole stores. With
//! `--cfg jitter` they lose time now and then, so that what can overlap does. In the crate's own tests they
//! can note who touches what, so that a test can count shared cache lines. Nothing else in the crate names
//! `std::sync`, except `Arc` and `OnceLock` where no race is at stake, and plain atomics that number threads
//! (`stats`, `log/batch`).
//!
//! Epochs come from one private collector for the process, never from crossbeam's default one: no other
//! crate's long-held guard can delay ours. The consequence: a guard that is held on one store delays the
//! freeing of memory and of segments in all stores of this process.

#[cfg(all(any(jitter, shuttle, test), not(loom)))]
#[macro_use]
mod stand_in;

#[cfg(all(jitter, not(any(loom, shuttle))))]
mod jitter;
#[cfg(all(test, not(any(loom, shuttle, jitter))))]
pub(crate) mod noted;
#[cfg(all(shuttle, not(loom)))]
mod scheduled;

#[cfg(not(any(loom, shuttle, jitter, test)))]
pub(crate) mod atomic {
    pub(crate) use std::sync::atomic::{
        AtomicBool, AtomicI64, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };
}

#[cfg(all(any(jitter, shuttle), not(loom)))]
pub(crate) mod atomic {
    pub(crate) use std::sync::atomic::{Ordering, fence};

    #[cfg(not(shuttle))]
    use super::jitter as pointed;
    #[cfg(shuttle)]
    use super::scheduled as pointed;
    pub(crate) use pointed::{AtomicBool, AtomicI64, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize};
}

#[cfg(all(test, not(any(loom, shuttle, jitter))))]
pub(crate) mod atomic {
    pub(crate) use std::sync::atomic::{Ordering, fence};

    pub(crate) use super::noted::{
        AtomicBool, AtomicI64, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize,
    };
}

#[cfg(loom)]
pub(crate) mod atomic {
    pub(crate) use loom::sync::atomic::{
        AtomicBool, AtomicI64, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };
}

pub(crate) mod thread {
    #[cfg(loom)]
    pub(crate) use loom::thread::{Builder, JoinHandle, current, yield_now};
    #[cfg(all(shuttle, not(loom)))]
    pub(crate) use shuttle::thread::{Builder, JoinHandle, current, sleep, yield_now};
    #[cfg(not(any(loom, shuttle)))]
    pub(crate) use std::thread::{Builder, JoinHandle, current, sleep, yield_now};
}

/// What each thread has for itself, which under a scheduler is each of its tasks.
#[cfg(all(shuttle, not(loom)))]
pub(crate) use shuttle::thread_local;
#[cfg(any(loom, not(shuttle)))]
pub(crate) use std::thread_local;

#[cfg(any(loom, shuttle))]
pub(crate) use checked_locks::{Condvar, Mutex, MutexGuard};
#[cfg(not(any(loom, shuttle)))]
pub(crate) use locks::{Condvar, Mutex, MutexGuard};

#[cfg(not(any(loom, shuttle)))]
mod locks {
    use std::time::{Duration, Instant};

    pub(crate) use parking_lot::MutexGuard;

    /// A mutex without poisoning: no user code, which might panic, runs under one.
    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(parking_lot::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(parking_lot::Mutex::new(value))
        }

        #[cfg_attr(test, track_caller)]
        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.note();
            self.0.lock()
        }

        #[cfg_attr(test, track_caller)]
        pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            self.note();
            self.0.try_lock()
        }

        #[cfg_attr(test, track_caller)]
        pub(crate) fn try_lock_for(&self, patience: Duration) -> Option<MutexGuard<'_, T>> {
            self.note();
            self.0.try_lock_for(patience)
        }

        /// For tests that count.
        #[inline]
        #[cfg_attr(test, track_caller)]
        fn note(&self) {
            #[cfg(all(test, not(jitter)))]
            super::noted::note(&self.0, true);
        }
    }

    /// A condition variable; waits can wake spuriously.
    #[derive(Debug, Default)]
    pub(crate) struct Condvar(parking_lot::Condvar);

    impl Condvar {
        pub(crate) const fn new() -> Self {
            Self(parking_lot::Condvar::new())
        }

        pub(crate) fn wait<'a, T>(&self, mut guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
            self.0.wait(&mut guard);
            guard
        }

        /// Waits for `patience` at most. Returns how much of it is left.
        pub(crate) fn wait_for<'a, T>(
            &self,
            mut guard: MutexGuard<'a, T>,
            patience: Duration,
        ) -> (MutexGuard<'a, T>, Duration) {
            let began = Instant::now();
            self.0.wait_for(&mut guard, patience);
            (guard, patience.saturating_sub(began.elapsed()))
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }
    }
}

#[cfg(any(loom, shuttle))]
mod checked_locks {
    #[cfg(loom)]
    use loom::sync as checked;
    #[cfg(not(loom))]
    use shuttle::sync as checked;

    pub(crate) use checked::MutexGuard;

    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(checked::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(checked::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
        }

        pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            self.0.try_lock().ok()
        }

        /// A model has no time: patience runs out at once.
        pub(crate) fn try_lock_for(&self, _: std::time::Duration) -> Option<MutexGuard<'_, T>> {
            self.try_lock()
        }
    }

    #[derive(Debug, Default)]
    pub(crate) struct Condvar(checked::Condvar);

    impl Condvar {
        pub(crate) fn new() -> Self {
            Self(checked::Condvar::new())
        }

        pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
            self.0.wait(guard).unwrap_or_else(std::sync::PoisonError::into_inner)
        }

        /// A model has no time: patience never runs out.
        pub(crate) fn wait_for<'a, T>(
            &self,
            guard: MutexGuard<'a, T>,
            patience: std::time::Duration,
        ) -> (MutexGuard<'a, T>, std::time::Duration) {
            (self.wait(guard), patience)
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }
    }
}

/// A moment by the system's clock, for figures that only users read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment(#[cfg(not(loom))] std::time::Instant);

#[cfg(not(loom))]
impl Moment {
    pub(crate) fn now() -> Self {
        Self(std::time::Instant::now())
    }

    pub(crate) fn elapsed(self) -> std::time::Duration {
        self.0.elapsed()
    }
}

/// A model has no time: all happens at one moment.
#[cfg(loom)]
impl Moment {
    pub(crate) fn now() -> Self {
        Self()
    }

    pub(crate) fn elapsed(self) -> std::time::Duration {
        std::time::Duration::ZERO
    }
}

/// Threads that help the one that asks for them, and end before it goes on.
pub(crate) mod threads {
    use std::thread::{Builder, scope};

    /// Runs `work` on this thread and on some more, and returns what came of it on each. Fewer if the system
    /// has no more threads to give, and none under a scheduler. A panic on one of them goes on here.
    pub(crate) fn with_helpers<R: Send>(helpers: usize, work: impl Fn() -> R + Sync) -> Vec<R> {
        let helpers = if cfg!(shuttle) { 0 } else { helpers };
        scope(|scope| {
            let helpers = (0..helpers).map_while(|_| Builder::new().spawn_scoped(scope, &work).ok());
            let helpers: Vec<_> = helpers.collect();
            let own = work();
            let join = |helper: std::thread::ScopedJoinHandle<'_, R>| {
                helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            std::iter::once(own).chain(helpers.into_iter().map(join)).collect()
        })
    }
}

/// A cell whose accesses the model checker sees. The closures get a raw pointer; the caller proves exclusion.
#[cfg(not(loom))]
#[derive(Debug)]
pub(crate) struct SharedCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(loom))]
impl<T> SharedCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    #[inline]
    pub(crate) fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
        read(self.0.get())
    }

    #[inline]
    pub(crate) fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
        write(self.0.get())
    }
}

#[cfg(loom)]
pub(crate) use loom::cell::UnsafeCell as SharedCell;

#[cfg(not(loom))]
pub(crate) mod epoch;

/// Under the model checker nothing is ever freed: what was deferred is forgotten, so a model shows ordering
/// faults of the contents themselves and needs no second model of the collector.
#[cfg(loom)]
pub(crate) mod epoch {
    #[derive(Debug)]
    pub(crate) struct Guard(());

    impl Guard {
        /// # Safety
        /// None is needed: the closure never runs.
        pub(crate) unsafe fn defer_unchecked<F: FnOnce() -> R, R>(&self, deferred: F) {
            std::mem::forget(deferred);
        }

        pub(crate) fn flush(&self) {}
    }

    pub(crate) fn pin() -> Guard {
        Guard(())
    }

    pub(crate) fn pin_unless_due() -> Option<Guard> {
        Some(Guard(()))
    }

    pub(crate) fn set_due(_is_due: bool) {}

    pub(crate) fn is_due() -> bool {
        false
    }

    pub(crate) fn advance() {}

    pub(crate) fn is_pinned() -> bool {
        false
    }

    pub(crate) fn outlasted(_patience: std::time::Duration) -> bool {
        true
    }
}
