//! Records of one segment die while the log gives its last credit. One thread finds the segment empty; it
//! must see the kill LSNs of all and the segment's end, since these say when the slot may be reused; and then
//! it does reuse it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use loom::thread;

use super::explore;
use crate::ids::{HeadId, Lsn, SegmentId, SlotId};
use crate::segments::{SegmentAccountant, SegmentState};

const SLOT: SlotId = SlotId(0);
const END: Lsn = Lsn(100);

/// Takes what is empty, checks what its owner must see, and begins a new life there.
fn reuse(accountant: &SegmentAccountant, kills: [u64; 2], owners: &AtomicU64) {
    for slot in accountant.take_empties() {
        owners.fetch_add(1, Ordering::Relaxed);
        let [fresh, relocated] = kills.map(Lsn);
        assert_eq!(accountant.kill_lsns(slot), [fresh, relocated, Lsn(0), Lsn(0)]);
        assert_eq!((accountant.end(slot), accountant.state(slot)), (END, SegmentState::Empty));
        let early = Lsn(fresh.0.max(END.0) - 1);
        assert!(!accountant.reusable(slot, &[early, relocated, Lsn(0), Lsn(0)]));
        assert!(accountant.reusable(slot, &[fresh.max(END), relocated, Lsn(0), Lsn(0)]));
        accountant.release(slot);
        assert!(accountant.claim(slot));
        accountant.open(slot, SegmentId(2), HeadId::RELOCATED);
        assert_eq!(accountant.live(slot), 0);
    }
}

fn model(kills: [(u32, HeadId, u64); 2], expected: [u64; 2]) {
    let accountant = Arc::new(SegmentAccountant::new());
    let owners = Arc::new(AtomicU64::new(0));
    accountant.open(SLOT, SegmentId(1), HeadId::FRESH);
    let killers = kills.map(|(bytes, head, lsn)| {
        let (accountant, owners) = (Arc::clone(&accountant), Arc::clone(&owners));
        thread::spawn(move || {
            accountant.kill(SLOT, bytes, head, Lsn(lsn));
            reuse(&accountant, expected, &owners);
        })
    });
    let bytes = kills.iter().map(|kill| u64::from(kill.0)).sum();
    accountant.credit(SLOT, bytes, true, END);
    reuse(&accountant, expected, &owners);
    for killer in killers {
        killer.join().unwrap();
    }
    reuse(&accountant, expected, &owners);
    assert_eq!(owners.load(Ordering::Relaxed), 1);
    assert_eq!((accountant.segment(SLOT), accountant.live_bytes()), (SegmentId(2), 0));
}

#[test]
fn the_owner_of_an_empty_segment_sees_all_that_killed_it() {
    explore("reuse, two heads", None, || {
        model([(10, HeadId::FRESH, 500), (20, HeadId::RELOCATED, 700)], [500, 700]);
    });
    explore("reuse, one head", None, || {
        model([(10, HeadId::FRESH, 500), (20, HeadId::FRESH, 700)], [700, 0]);
    });
}
