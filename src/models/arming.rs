//! Two threads append to a ring whose current buffer is full. While one of them is about to find out what
//! comes behind it, the other may fill the next segment, and prepare the same buffer, recycled, for the one
//! after that. No segment may be armed in place of one that is armed and not begun (the ring's invariant G):
//! the log would have a hole there.

use std::sync::Arc;

use loom::thread;

use super::explore;
use super::ring::geometry;
use crate::ids::{HeadId, Lsn, SegmentId, SlotId};
use crate::log::ring::silent::Silent;
use crate::log::ring::{Armed, Ring, RingHost};
use crate::sync::Mutex;

/// The length of a record with which no other finds room in its segment.
const LENGTH: u32 = 300;

/// Arms as the supply does: one at a time, and each segment once.
fn host() -> impl RingHost {
    let newest = Mutex::new(SegmentId(0));
    Silent(move |ring: &Ring, after| {
        let mut newest = newest.lock();
        if ring.armed_after(after).is_none() {
            newest.0 += 1;
            ring.set_armed(Armed { slot: SlotId(0), segment: *newest });
        }
    })
}

/// Appends a record, which has a segment to itself.
fn append(ring: &Ring, host: &impl RingHost) {
    let (buffer, _) = ring.reserve(host, LENGTH).unwrap();
    let stretch = buffer.stretch();
    ring.leave(buffer);
    assert_eq!(stretch.segment.0, stretch.predecessor.0 + 1, "a segment was armed and is not in the log");
}

#[test]
fn no_segment_is_armed_in_place_of_one_that_is_not_begun() {
    explore("arming", Some(2), || {
        // Of four buffers none has to be waited for.
        let ring = Arc::new(Ring::new(HeadId::FRESH, geometry(), 512, 4, Lsn(0), SegmentId(0)));
        let host = Arc::new(host());
        append(&ring, &*host);
        host.arm(&ring, SegmentId(1)).unwrap();
        let other = {
            let (ring, host) = (Arc::clone(&ring), Arc::clone(&host));
            thread::spawn(move || {
                append(&ring, &*host);
                append(&ring, &*host);
            })
        };
        append(&ring, &*host);
        other.join().unwrap();
    });
}
