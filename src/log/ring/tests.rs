//! Steps of the ring that threads come to seldom.

use std::sync::Mutex;

use super::silent::Silent;
use super::{Armed, Ring, RingHost, Stretch};
use crate::geometry::Geometry;
use crate::ids::{HeadId, Lsn, SegmentId, SlotId};
use crate::log::buffer_state::BufferState;

const LENGTH: u32 = 100;

fn append(ring: &Ring, host: &impl RingHost) -> SegmentId {
    let (buffer, _) = ring.reserve(host, LENGTH).unwrap();
    let segment = buffer.segment();
    ring.leave(buffer);
    segment
}

/// A million recorded histories ended with a store whose log had a hole: a segment that was claimed, armed,
/// and never begun, with later ones behind it. It would not have opened again. A thread had seen a buffer
/// that was full, slept while that was written, recycled, and prepared by another for the segment armed next,
/// and then took that segment for the one the log had come to. So it armed the one behind it, in place of one
/// that nobody had linked.
#[test]
fn who_comes_late_arms_no_segment_in_place_of_one_that_is_not_begun() {
    // As the supply does: once for each segment.
    let armed = Mutex::new(Vec::new());
    let host = Silent(|ring: &Ring, after: SegmentId| {
        let mut armed = armed.lock().unwrap();
        if ring.armed_after(after).is_none() {
            let segment = SegmentId(armed.len() as u64 + 1);
            armed.push(segment);
            ring.set_armed(Armed { slot: SlotId(0), segment });
        }
    });
    let ring = Ring::new(HeadId::FRESH, Geometry::new(512), 512, 2, Lsn(0), SegmentId(0));
    append(&ring, &host);
    // The sleeper has seen this buffer full, and nothing linked behind it.
    let from = ring.current();
    let buffer = ring.registry.get(from.index).unwrap();
    while !buffer.state.load().sealed {
        ring.seal_below(Lsn(u64::MAX));
        ring.end_segment();
    }
    let seen = BufferState { last: true, ..buffer.state.load() };
    // The others go on until it was recycled.
    while !ring.pool.lock().contains(&from.index) {
        append(&ring, &host);
        ring.seal_below(Lsn(u64::MAX));
        ring.try_drain(&host).unwrap();
    }
    // One of them is about to begin the next segment in it: it is armed, and the buffer is prepared, but not
    // linked.
    let last = append(&ring, &host);
    host.arm(&ring, last).unwrap();
    let next = ring.armed_after(last).unwrap();
    let before = buffer.stretch();
    buffer.prepare(Stretch { slot: next.slot, segment: next.segment, start: 0, ..before });
    let before_waking = armed.lock().unwrap().clone();
    // The sleeper wakes.
    assert_eq!(ring.next_stretch(&host, from, seen, LENGTH).unwrap(), None);
    assert_eq!(*armed.lock().unwrap(), before_waking);
    assert_eq!(ring.armed_after(last).map(|armed| armed.segment), Some(next.segment));
}
