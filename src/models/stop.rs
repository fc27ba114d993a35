//! Writing stops, because of a failure or for good, while others wait: for more of the log to become stable,
//! for something to do, for a commit. Each of them must hear of it, and hear of the failure that it was.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;
use std::time::Duration;

use loom::thread;

use super::{Bell, explore};
use crate::error::{Error, Result};
use crate::ids::{HeadLsns, Lsn};
use crate::log::durability::{Durability, Wish};
use crate::log::gate::Gate;

/// What is shared: who may write, and who waits.
struct Parts {
    gate: Gate,
    durability: Durability,
}

impl Parts {
    fn new() -> Arc<Self> {
        let durability = Durability::new(&HeadLsns::default());
        Arc::new(Self { gate: Gate::new(false, String::new()), durability })
    }

    /// Does that on another thread.
    fn beside<T: 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> T + 'static,
    ) -> thread::JoinHandle<T> {
        let parts = Arc::clone(self);
        thread::spawn(move || work(&parts))
    }

    /// In the order of the log's core.
    fn fail(&self) {
        self.gate.poison(Error::BatchOpen);
        self.durability.wake();
    }
}

fn is_the_failure(heard: &Result<()>) -> bool {
    matches!(heard, Err(Error::Poisoned { cause }) if matches!(**cause, Error::BatchOpen))
}

#[test]
fn who_waits_for_the_log_hears_of_the_failure() {
    explore("poison", None, || {
        let parts = Parts::new();
        let waiting = parts.beside(|Parts { gate, durability }| {
            durability.wait_beyond(Lsn(0), Duration::MAX, || gate.check_poison().is_err());
            gate.check_poison()
        });
        parts.fail();
        let heard = waiting.join().unwrap();
        assert!(is_the_failure(&heard), "{heard:?}");
    });
}

#[test]
fn a_commit_hears_of_the_failure_or_leaves_no_waker() {
    explore("poison, a commit", None, || {
        let parts = Parts::new();
        let failing = parts.beside(Parts::fail);
        let (bell, mut ticket) = (Arc::new(Bell::default()), None);
        let (waker, is_blocked) = (Waker::from(Arc::clone(&bell)), |_| parts.gate.check_poison().is_ok());
        let left = parts.durability.leave_waker(&mut ticket, Lsn(10), &waker, is_blocked);
        failing.join().unwrap();
        assert!(!left || bell.0.load(Ordering::Relaxed), "nobody is left to wake it");
    });
}

#[test]
fn the_thread_that_syncs_ends_when_the_store_is_closed() {
    explore("shutdown", None, || {
        let parts = Parts::new();
        let committer = parts.beside(|Parts { gate, durability }| {
            durability.next_wish(Duration::MAX, |bound| bound, || gate.is_closed())
        });
        assert!(parts.gate.close());
        parts.durability.wake();
        assert_eq!(committer.join().unwrap(), Wish::End);
    });
}
