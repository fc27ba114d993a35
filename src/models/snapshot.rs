//! A snapshot begins while a writer reserves, installs and completes. What the writer logged below the
//! snapshot's begin must be in the table when the walk starts; else the record would be in neither, and lost
//! by the next opening.

use std::sync::Arc;

use loom::thread;

use super::explore;
use super::ring::{HOST, append, ring};
use crate::sync::atomic::{AtomicU64, Ordering};

#[test]
fn what_lies_below_a_snapshots_begin_is_in_the_table_when_the_walk_starts() {
    explore("snapshot", Some(3), || {
        let ring = Arc::new(ring());
        let table = Arc::new(AtomicU64::new(0));
        let snapshot = {
            let (ring, table) = (Arc::clone(&ring), Arc::clone(&table));
            thread::spawn(move || {
                let begin = ring.settle(&HOST).unwrap();
                (begin, table.load(Ordering::Acquire))
            })
        };
        let logged = append(&ring, |lsn| table.store(lsn.0, Ordering::Release));
        let (begin, walked) = snapshot.join().unwrap();
        assert!(logged >= begin || walked == logged.0, "logged at {logged}, begin {begin}, walked {walked}");
    });
}
