//! Waiting for a condition that others change without a lock.
//!
//! The one who changes it pays a fence and one load when nobody waits. The one who waits announces itself,
//! *then* looks at the condition; the changer changes, *then* looks for announcements. With a sequentially
//! consistent fence between the two steps on each side, at least one of them sees the other, so no wake-up is
//! lost.

use crate::sync::atomic::{AtomicU32, Ordering, fence};
use crate::sync::{Condvar, Mutex};

/// A place to wait at.
#[derive(Debug)]
pub(crate) struct Event {
    waiters: AtomicU32,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Event {
    pub(crate) fn new() -> Self {
        Self { waiters: AtomicU32::new(0), lock: Mutex::new(()), changed: Condvar::new() }
    }

    /// Returns when `blocked` is false.
    pub(crate) fn wait_while(&self, blocked: impl Fn() -> bool) {
        if !blocked() {
            return;
        }
        let mut guard = self.lock.lock();
        self.waiters.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        while blocked() {
            guard = self.changed.wait(guard);
        }
        self.waiters.fetch_sub(1, Ordering::SeqCst);
    }

    /// Wakes all who wait, after the condition was changed.
    #[inline]
    pub(crate) fn notify(&self) {
        #[cfg(not(weakened = "event_fence"))]
        fence(Ordering::SeqCst);
        if self.waiters.load(Ordering::Relaxed) > 0 {
            self.wake();
        }
    }

    #[cold]
    fn wake(&self) {
        // Taking the lock once makes sure that a waiter which found the condition unchanged is already
        // asleep.
        drop(self.lock.lock());
        self.changed.notify_all();
    }
}
