//! A commit is polled while the leader of the round that reaches it ends that round. Whether a thread syncs
//! for commits or not, the commit must find itself done, or be woken.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;

use loom::thread;

use super::{Bell, explore};
use crate::ids::{HeadId, HeadLsns, Lsn};
use crate::log::durability::Durability;

const BOUND: Lsn = Lsn(10);

fn model(has_committer: bool) {
    let durability = Arc::new(Durability::new(&HeadLsns::default()));
    durability.set_committer(has_committer);
    let leader = {
        let durability = Arc::clone(&durability);
        thread::spawn(move || {
            if let Some(leader) = durability.try_lead() {
                leader.advance(HeadId::FRESH, BOUND);
            }
        })
    };
    let (bell, mut ticket) = (Arc::new(Bell::default()), None);
    let is_blocked = |somebody: bool| somebody && durability.stable(HeadId::FRESH) < BOUND;
    let left = durability.leave_waker(&mut ticket, BOUND, &Waker::from(Arc::clone(&bell)), is_blocked);
    leader.join().unwrap();
    assert!(!left || bell.0.load(Ordering::Relaxed), "nobody is left to wake it");
}

#[test]
fn a_waker_is_called_or_not_left() {
    explore("commit", None, || model(false));
    explore("commit, with a thread", None, || model(true));
}
