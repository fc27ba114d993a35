//! How long calls took: the longest, and the one that one of a hundred is longer than.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Four for each power of two.
const BUCKETS: usize = 256;

/// Calls of one kind since they were last asked for, by any thread.
#[derive(Debug)]
pub struct Latencies {
    /// How many took so long, in nanoseconds.
    buckets: [AtomicU64; BUCKETS],
    longest: AtomicU64,
}

impl Latencies {
    pub fn new() -> Self {
        Self { buckets: [const { AtomicU64::new(0) }; BUCKETS], longest: AtomicU64::new(0) }
    }

    pub fn time<R>(&self, work: impl FnOnce() -> R) -> R {
        let start = Instant::now();
        let result = work();
        let taken = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket(taken)].fetch_add(1, Ordering::Relaxed);
        self.longest.fetch_max(taken, Ordering::Relaxed);
        result
    }

    /// What 99 of 100 did not exceed, by a quarter at most, and the longest, in microseconds.
    pub fn take(&self) -> [f64; 2] {
        let counts: Vec<u64> = self.buckets.iter().map(|bucket| bucket.swap(0, Ordering::Relaxed)).collect();
        let (mut beyond, longest) =
            (counts.iter().sum::<u64>() / 100, self.longest.swap(0, Ordering::Relaxed));
        let at = counts.iter().rposition(|count| {
            let is_it = *count > beyond;
            beyond = beyond.saturating_sub(*count);
            is_it
        });
        let most = at.map_or(0, |at| end_of(at).min(longest));
        [most, longest].map(|nanoseconds| nanoseconds as f64 / 1e3)
    }
}

fn bucket(nanoseconds: u64) -> usize {
    let power = nanoseconds.max(4).ilog2();
    4 * power as usize + (nanoseconds.max(4) >> (power - 2)) as usize % 4
}

fn end_of(bucket: usize) -> u64 {
    let (power, quarter) = (bucket / 4, bucket as u64 % 4 + 5);
    (u128::from(quarter) << power >> 2).try_into().unwrap_or(u64::MAX)
}
