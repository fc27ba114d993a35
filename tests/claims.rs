//! How many syncs of the manifest segments cost.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;
#[path = "support/observed.rs"]
mod observed;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::{Bytes, open};
use observed::{Observed, Observer};
use pagelog::{Config, MemoryStorage};

const PAGES: usize = 8000;
const LENGTH: usize = 4000;

#[derive(Debug, Default)]
struct Syncs(AtomicU64);

impl Observer for Syncs {
    fn before_sync(&self, name: &str) {
        self.0.fetch_add(u64::from(name.starts_with("MANIFEST")), Ordering::Relaxed);
    }
}

/// Each head used to claim its segments by itself, and garbage collection one at a time: a sync of the
/// manifest, for which a writer waited, for nearly each segment.
#[test]
fn a_sync_of_the_manifest_serves_the_next_segments_of_all_heads() {
    let storage = Observed::new(MemoryStorage::new(), Syncs::default());
    let syncs = Arc::clone(&storage.observer);
    let cache = open(Config::with_storage(Arc::new(storage)).segment_size(256 << 10));
    let mut pages: Vec<_> = (0..PAGES).map(|_| cache.allocate(Bytes(vec![7; LENGTH])).unwrap()).collect();
    let (mut seen, mut random) = (Vec::new(), 1_u64);
    for _ in 0..3 {
        for _ in 0..20_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let page = &mut pages[(random >> 33) as usize % PAGES];
            let replaced = cache.replace(page.page_id, page.version, Bytes(vec![8; LENGTH])).unwrap();
            page.version = replaced.done().unwrap();
        }
        seen.push((cache.stats().counts.segments_opened, syncs.0.load(Ordering::Relaxed)));
    }
    let [_, before, after] = seen[..] else { unreachable!() };
    let (segments, syncs) = (after.0 - before.0, after.1 - before.1);
    assert!(segments > 300 && cache.stats().counts.relocated_records > 0, "{segments} segments");
    assert!(2 * syncs < segments, "{syncs} syncs for {segments} segments");
}
