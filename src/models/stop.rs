//! Writing stops, because of a failure or for good, while others wait: for more of the log to become stable, for something to do, for a commit.
//! Each of them must hear of it, and hear of the failure that it was.

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

fn parts() -> Arc<(Gate, Durability)> {
    Arc::new((Gate::new(false, String::new()), Durability::new(&HeadLsns::default())))
}

/// In the order of the log's core.
fn fail((gate, durability): &(Gate, Durability)) {
    gate.poison(Error::BatchOpen);
    durability.wake();
}

fn is_the_failure(heard: &Result<()>) -> bool {
    matches!(heard, Err(Error::Poisoned { cause }) if matches!(**cause, Error::BatchOpen))
}

#[test]
fn who_waits_for_the_log_hears_of_the_failure() {
    explore("poison", None, || {
        let parts = parts();
        let waiting = {
            let parts = Arc::clone(&parts);
            thread::spawn(move || {
                let (gate, durability) = &*parts;
                durability.wait_beyond(Lsn(0), Duration::MAX, || gate.check_poison().is_err());
                gate.check_poison()
            })
        };
        fail(&parts);
        let heard = waiting.join().unwrap();
        assert!(is_the_failure(&heard), "{heard:?}");
    });
}

#[test]
fn a_commit_hears_of_the_failure_or_leaves_no_waker() {
    explore("poison, a commit", None, || {
        let parts = parts();
        let failing = {
            let parts = Arc::clone(&parts);
            thread::spawn(move || fail(&parts))
        };
        let (gate, durability) = &*parts;
        let (bell, mut ticket) = (Arc::new(Bell::default()), None);
        let is_blocked = |_| gate.check_poison().is_ok();
        let left = durability.leave_waker(&mut ticket, Lsn(10), &Waker::from(Arc::clone(&bell)), is_blocked);
        failing.join().unwrap();
        assert!(!left || bell.0.load(Ordering::Relaxed), "nobody is left to wake it");
    });
}

#[test]
fn the_thread_that_syncs_ends_when_the_store_is_closed() {
    explore("shutdown", None, || {
        let parts = parts();
        let committer = {
            let parts = Arc::clone(&parts);
            thread::spawn(move || {
                let (gate, durability) = &*parts;
                durability.next_wish(Duration::MAX, |bound| bound, || gate.is_closed())
            })
        };
        let (gate, durability) = &*parts;
        assert!(gate.close());
        durability.wake();
        assert_eq!(committer.join().unwrap(), Wish::End);
    });
}
