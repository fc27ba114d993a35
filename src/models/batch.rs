//! A batch is opened, filled and sealed while another thread writes the log out and asks how far it is
//! stable. The answer must never lie inside the batch, for recovery would cut there what was acknowledged.

use std::sync::Arc;

use loom::thread;

use super::explore;
use super::ring::{HOST, LENGTH, append, ring};
use crate::ids::Lsn;
use crate::log::batch::Batches;

#[test]
fn the_stable_point_is_never_inside_a_batch() {
    explore("batch", Some(3), || {
        let ring = Arc::new(ring());
        let batches = Arc::new(Batches::new());
        let batch = {
            let (ring, batches) = (Arc::clone(&ring), Arc::clone(&batches));
            thread::spawn(move || {
                batches.take(|| Ok(())).unwrap();
                let (buffer, offset) = ring.reserve(&HOST, LENGTH).unwrap();
                let begin = super::ring::geometry().lsn(buffer.segment(), buffer.place(offset).offset);
                batches.begun(begin, || ring.leave(buffer));
                let (buffer, offset) = ring.reserve(&HOST, LENGTH).unwrap();
                let end = super::ring::geometry().lsn(buffer.segment(), buffer.place(offset).offset);
                let end = Lsn(end.0 + u64::from(LENGTH));
                batches.ended(end, || ring.leave(buffer));
                (begin, end)
            })
        };
        ring.seal_below(Lsn(u64::MAX));
        ring.try_drain(&HOST).unwrap();
        let written = ring.written();
        let stable = batches.stable_point(written);
        let (begin, end) = batch.join().unwrap();
        assert!(stable <= written && (stable <= begin || stable >= end), "{stable} in {begin}..{end}");
        let tail = append(&ring, |_| {});
        ring.seal_below(Lsn(u64::MAX));
        ring.wait_written(&HOST, Lsn(tail.0 + 1)).unwrap();
        assert!(batches.stable_point(ring.written()) > tail);
    });
}
