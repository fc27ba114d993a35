//! Overwriting the same pages for ever does not grow the file for ever.
//!
//! The long form: `PAGELOG_SPACE_PAGES=100000 cargo test --release --test space -- --nocapture`

mod common;

use std::time::Instant;

use common::{Bytes, Dice, alone, read, replace};
use pagelog::{Config, PageCache, PageId, Stats, Version};

const LENGTH: usize = 1024;
const TIMES: usize = 10;

fn report(what: &str, round: usize, stats: &Stats, began: Instant) {
    println!(
        "{what} {round:2}: file {:6.1} MiB, live {:6.1} MiB, space {:.3}, written {:.3} per byte, {} reused, {} victims, {:.1} MiB relocated, {:?}",
        stats.log_file_bytes as f64 / f64::from(1 << 20),
        stats.live_bytes as f64 / f64::from(1 << 20),
        stats.space_amplification(),
        stats.write_amplification(),
        stats.counts.segments_reused,
        stats.counts.victims,
        stats.counts.relocated_bytes as f64 / f64::from(1 << 20),
        began.elapsed()
    );
}

/// Overwrites all pages ten times; `order` says which page is next.
fn overwrite(what: &str, mut order: impl FnMut(usize, usize) -> usize) {
    let pages: usize = std::env::var("PAGELOG_SPACE_PAGES").map_or(1500, |pages| pages.parse().unwrap());
    let place = tempfile::tempdir().unwrap();
    let segment = if pages < 50_000 { 16 << 10 } else { 1 << 20 };
    let config = || {
        let config =
            Config::new(place.path()).segment_size(segment).cache_capacity(LENGTH as u64 * pages as u64 / 4);
        config.io_buffer_size(segment / 4)
    };
    let cache: PageCache<Bytes> = config().open().unwrap();
    let began = Instant::now();
    let mut all: Vec<(PageId, Version, u8)> = (0..pages)
        .map(|n| {
            cache.allocate(Bytes(vec![n as u8; LENGTH])).map(|page| (page.page_id, page.version, n as u8))
        })
        .collect::<Result<_, _>>()
        .unwrap();
    let mut largest: f64 = 0.0;
    for round in 1..=TIMES {
        for n in 0..pages {
            let (page_id, version, byte) = &mut all[order(n, pages)];
            *byte = byte.wrapping_add(1);
            *version = replace(&cache, *page_id, *version, &[*byte; LENGTH]);
        }
        let stats = cache.stats();
        report(what, round, &stats, began);
        // The target, and a few segments: for the heads, in reserve, claimed ahead, or waiting for a sync or for readers.
        let allowed = 1.25 * stats.live_bytes as f64 + 24.0 * f64::from(segment);
        largest = largest.max(stats.log_file_bytes as f64 / allowed);
    }
    let stats = cache.stats();
    assert!(largest <= 1.0, "{:.1} % above what is allowed", (largest - 1.0) * 100.0);
    assert!(stats.counts.segments_reused > 0 && stats.counts.snapshots < 100);
    cache.close().unwrap();
    drop(cache);
    let cache: PageCache<Bytes> = config().open().unwrap();
    for (page_id, version, byte) in all {
        assert_eq!(cache.version(page_id).unwrap(), Some(version));
        assert_eq!(read(&cache, page_id).unwrap(), [byte; LENGTH]);
    }
    assert_eq!(std::fs::metadata(place.path().join("log")).unwrap().len(), cache.size_on_disk());
}

#[test]
fn overwriting_in_order_keeps_the_file_bounded() {
    let _turn = alone();
    overwrite("in order", |n, _| n);
}

#[test]
fn overwriting_at_random_keeps_the_file_bounded() {
    let _turn = alone();
    let mut dice = Dice::new(3);
    overwrite("at random", move |_, pages| dice.below(pages as u64) as usize);
}

#[test]
fn overwriting_mostly_a_tenth_keeps_the_file_bounded() {
    let _turn = alone();
    let mut dice = Dice::new(4);
    overwrite("mostly a tenth", move |_, pages| {
        let pages = pages as u64;
        (if dice.below(10) > 0 { dice.below(pages / 10) } else { dice.below(pages) }) as usize
    });
}
