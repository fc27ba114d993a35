//! Log-linear histograms of durations, recorded without locks.
//!
//! Each doubling of a duration is cut into [`STEPS`] buckets of equal width, as in Gil Tene's HdrHistogram.
//! Let `n` be a duration in nanoseconds:
//!
//! - **(A)** Every `n` has one bucket, and a bucket holds all `n` with `lower < n <= upper`; zero is with
//!   one. The upper bound belongs to the bucket so that "at most so long", which is what monitoring systems
//!   ask for, has an exact answer at every bound.
//! - **(B)** `upper <= lower * (1 + 1 / STEPS)` from the second doubling on, and below it a bucket is one
//!   nanosecond. So a quantile is never below the true one, and above it by a sixteenth at most.
//! - **(C)** Every power of two is the bound of a bucket, up to [`LIMIT`]. What took longer is in the last
//!   bucket; the maximum is exact.
//! - **(D)** The count is the sum of the buckets, and of nothing else. So a reading that overlaps with
//!   recordings is a histogram of some of them, whose quantiles lie within it; only its sum may be ahead or
//!   behind by those that overlap.
//!
//! To record takes two additions and a look at the maximum, all relaxed: no order depends on them. What many
//! threads record at the same time is spread over shards.

use std::fmt;
use std::time::Duration;

use crossbeam_utils::CachePadded;

use super::thread_number::ThreadNumber;
use crate::sync::atomic::{AtomicU64, Ordering};

/// Into how many buckets a doubling is cut.
const STEPS: u64 = 1 << STEP_BITS;
const STEP_BITS: u32 = 4;
/// Durations above this many nanoseconds, some 18 minutes, share the last bucket.
const LIMIT: u64 = 1 << LIMIT_BITS;
const LIMIT_BITS: u32 = 40;
const BUCKETS: usize = ((LIMIT_BITS - STEP_BITS + 1) as usize) << STEP_BITS;

/// The bucket of a duration in nanoseconds (A).
const fn bucket_of(nanoseconds: u64) -> usize {
    let below = nanoseconds.saturating_sub(1);
    let below = if below < LIMIT { below } else { LIMIT - 1 };
    if below < STEPS {
        return below as usize;
    }
    let shift = below.ilog2() - STEP_BITS;
    ((shift as u64 * STEPS) + (below >> shift)) as usize
}

/// The longest duration of a bucket, in nanoseconds.
const fn upper_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < 2 * STEPS {
        return bucket + 1;
    }
    let shift = bucket / STEPS - 1;
    (STEPS + bucket % STEPS + 1) << shift
}

const _: () = assert!(bucket_of(u64::MAX) == BUCKETS - 1 && upper_of(BUCKETS - 1) == LIMIT);

/// What is recorded by threads whose [numbers](ThreadNumber) lie so far apart.
#[derive(Debug)]
struct Shard {
    buckets: [AtomicU64; BUCKETS],
    sum: AtomicU64,
    max: AtomicU64,
}

/// Where durations are recorded.
#[derive(Debug)]
pub(super) struct Recorder {
    shards: Box<[CachePadded<Shard>]>,
}

impl Recorder {
    pub(super) fn new(shards: usize) -> Self {
        let zero = || AtomicU64::new(0);
        let shard = || Shard { buckets: std::array::from_fn(|_| zero()), sum: zero(), max: zero() };
        Self { shards: (0..shards).map(|_| CachePadded::new(shard())).collect() }
    }

    pub(super) fn record(&self, duration: Duration) {
        let nanoseconds = nanoseconds(duration);
        let Some(shard) = self.shards.get(ThreadNumber::of_this().index() % self.shards.len().max(1)) else {
            return;
        };
        if let Some(bucket) = shard.buckets.get(bucket_of(nanoseconds)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        shard.sum.fetch_add(nanoseconds, Ordering::Relaxed);
        if nanoseconds > shard.max.load(Ordering::Relaxed) {
            shard.max.fetch_max(nanoseconds, Ordering::Relaxed);
        }
    }

    pub(super) fn read(&self) -> Histogram {
        let mut all = Histogram::default();
        self.shards.iter().for_each(|shard| all.merge(&shard.read()));
        all
    }
}

impl Shard {
    fn read(&self) -> Histogram {
        let counts = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed));
        let buckets: Vec<Bucket> =
            (0..).zip(counts).filter(|(_, count)| *count > 0).map(Bucket::from).collect();
        let (sum, max) = (self.sum.load(Ordering::Relaxed), self.max.load(Ordering::Relaxed));
        // Who has counted may not have got to the maximum yet.
        let least = buckets.last().map_or(0, |bucket| bucket.lower() + 1);
        Histogram { max: if buckets.is_empty() { 0 } else { max.max(least) }, buckets, sum }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A bucket that is not empty.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Bucket {
    index: u16,
    count: u64,
}

impl From<(u16, u64)> for Bucket {
    fn from((index, count): (u16, u64)) -> Self {
        Self { index, count }
    }
}

impl Bucket {
    fn upper(self) -> u64 {
        upper_of(self.index.into())
    }

    /// All of the bucket is above this.
    fn lower(self) -> u64 {
        if self.index == 0 { 0 } else { upper_of(usize::from(self.index) - 1) }
    }
}

/// How long something took, each time: a distribution of durations.
///
/// It holds nanoseconds in buckets, sixteen to a doubling: up to 16 ns each nanosecond has its own, and
/// above, what a bucket's bounds differ by is [`RELATIVE_ERROR`](Self::RELATIVE_ERROR) of the lower one at
/// most. What took longer than 2⁴⁰ ns, some 18 minutes, shares a bucket. Count, sum and maximum are exact.
///
/// A histogram is a copy, of the moment when it was asked for. Two of the same instance give what was
/// between, by [`since`](Self::since); those of several instances add up, by [`merge`](Self::merge).
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use pagelog::{Config, Log, MemoryStorage};
///
/// # fn main() -> pagelog::Result<()> {
/// let log = Log::open(Config::with_storage(Arc::new(MemoryStorage::new())))?;
/// assert!(log.stats().latencies.syncs.is_empty());
/// for _ in 0..100 {
///     log.append(b"entry")?;
///     log.flush()?;
/// }
/// let syncs = log.stats().latencies.syncs;
/// assert_eq!(syncs.count(), 100);
/// assert_eq!(syncs.mean(), Some(syncs.sum() / 100));
/// let (median, p99) = (syncs.quantile(0.5).unwrap(), syncs.quantile(0.99).unwrap());
/// assert!(median <= p99 && p99 <= syncs.max());
/// println!("{} syncs: {median:?} half of the time, {p99:?} or less 99 times of 100", syncs.count());
/// # log.close()
/// # }
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    /// In order.
    buckets: Vec<Bucket>,
    sum: u64,
    max: u64,
}

impl Histogram {
    /// By how much, as a part of the true one, a [`quantile`](Self::quantile) can be too large: a sixteenth.
    /// It is never too small.
    pub const RELATIVE_ERROR: f64 = 1.0 / STEPS as f64;

    /// How many durations there are in it.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.count).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// All of them together.
    #[must_use]
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum)
    }

    /// The longest one; zero if there is none.
    #[must_use]
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.max)
    }

    /// The mean; `None` if there is none.
    #[must_use]
    pub fn mean(&self) -> Option<Duration> {
        self.sum.checked_div(self.count()).map(Duration::from_nanos)
    }

    /// So long, or less, took this part of them: 0.5 asks for the median, 1.0 for the maximum. The answer is
    /// too large by [`RELATIVE_ERROR`](Self::RELATIVE_ERROR) at most, and above the maximum never. `None` if
    /// there is none. What is not in 0.0 to 1.0 counts as the nearer of these, and NaN as 0.0.
    ///
    /// ```
    #[doc = include_str!("../docs/bare_log.txt")]
    /// # use pagelog::Histogram;
    /// # fn main() -> pagelog::Result<()> {
    /// # let log = open()?;
    /// for _ in 0..100 {
    ///     log.append(b"entry")?;
    ///     log.flush()?;
    /// }
    /// let syncs = log.stats().latencies.syncs;
    /// assert!(syncs.quantile(0.5) <= syncs.quantile(0.99));
    /// assert_eq!(syncs.quantile(1.0), Some(syncs.max()));
    /// assert_eq!(Histogram::default().quantile(0.5), None);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn quantile(&self, part: f64) -> Option<Duration> {
        let count = self.count();
        // A float above all counts is cut to the largest, NaN is 0.
        let rank = ((part * count as f64).ceil() as u64).clamp(1, count.max(1));
        let mut seen = 0;
        let bucket = self.buckets.iter().find(|bucket| {
            seen += bucket.count;
            seen >= rank
        })?;
        let upper = if usize::from(bucket.index) == BUCKETS - 1 { u64::MAX } else { bucket.upper() };
        Some(Duration::from_nanos(upper.min(self.max)))
    }

    /// How many took so long at most. Exact at the bounds of [`buckets`](Self::buckets), among which are all
    /// powers of two in nanoseconds up to 2³⁹; between two it is the answer for the lower one.
    ///
    /// ```
    #[doc = include_str!("../docs/bare_log.txt")]
    /// # use std::time::Duration;
    /// # fn main() -> pagelog::Result<()> {
    /// # let log = open()?;
    /// for _ in 0..100 {
    ///     log.append(b"entry")?;
    ///     log.flush()?;
    /// }
    /// let syncs = log.stats().latencies.syncs;
    /// let slow = syncs.count() - syncs.count_up_to(Duration::from_secs(60));
    /// assert_eq!(slow, 0);
    /// let half = syncs.quantile(0.5).map(|median| syncs.count_up_to(median));
    /// assert!(half >= Some(50));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn count_up_to(&self, duration: Duration) -> u64 {
        let bound = nanoseconds(duration);
        if bound >= self.max {
            return self.count();
        }
        let within = self.buckets.iter().take_while(|bucket| bucket.upper() <= bound && bound < LIMIT);
        within.map(|bucket| bucket.count).sum()
    }

    /// The buckets that are not empty, shortest first: the longest duration that belongs to it, and how many
    /// there are in it. The last one that there can be ends with the maximum.
    ///
    /// ```
    #[doc = include_str!("../docs/bare_log.txt")]
    /// # fn main() -> pagelog::Result<()> {
    /// # let log = open()?;
    /// for _ in 0..100 {
    ///     log.append(b"entry")?;
    ///     log.flush()?;
    /// }
    /// let syncs = log.stats().latencies.syncs;
    /// let mut seen = 0;
    /// for (upper, count) in syncs.buckets() {
    ///     seen += count;
    ///     assert_eq!(syncs.count_up_to(upper), seen);
    /// }
    /// assert_eq!(seen, 100);
    /// # Ok(())
    /// # }
    /// ```
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        self.buckets.iter().map(|bucket| {
            let is_last = usize::from(bucket.index) == BUCKETS - 1;
            let upper = if is_last { self.max } else { bucket.upper() };
            (Duration::from_nanos(upper), bucket.count)
        })
    }

    /// Adds what is in another one, of another instance for example.
    ///
    /// ```
    #[doc = include_str!("../docs/bare_log.txt")]
    /// # fn main() -> pagelog::Result<()> {
    /// # let (orders, events) = (open()?, open()?);
    /// for log in [&orders, &events] {
    ///     log.append(b"entry")?;
    ///     log.flush()?;
    /// }
    /// let mut syncs = orders.stats().latencies.syncs;
    /// syncs.merge(&events.stats().latencies.syncs);
    /// assert_eq!(syncs.count(), 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn merge(&mut self, other: &Self) {
        self.buckets = combined(&self.buckets, &other.buckets, u64::saturating_add);
        self.sum = self.sum.saturating_add(other.sum);
        self.max = self.max.max(other.max);
    }

    /// What was recorded since `earlier`, which is an earlier one of the same instance. The maximum is that
    /// of the whole time if the longest since may be it, and otherwise the end of the longest one's bucket.
    ///
    /// ```
    #[doc = include_str!("../docs/bare_log.txt")]
    /// # fn main() -> pagelog::Result<()> {
    /// # let log = open()?;
    /// log.append(b"before")?;
    /// log.flush()?;
    /// let before = log.stats().latencies.syncs;
    /// log.append(b"after")?;
    /// log.flush()?;
    /// let all = log.stats().latencies.syncs;
    /// assert_eq!((all.count(), all.since(&before).count()), (2, 1));
    /// assert_eq!(all.since(&before).sum(), all.sum() - before.sum());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let buckets = combined(&self.buckets, &earlier.buckets, u64::saturating_sub);
        let longest = buckets.last().map_or(0, |bucket| match usize::from(bucket.index) {
            index if index == BUCKETS - 1 => u64::MAX,
            _ => bucket.upper(),
        });
        Self { buckets, sum: self.sum.saturating_sub(earlier.sum), max: longest.min(self.max) }
    }
}

/// Both lists as one, in order, where each bucket's count is what `combine` makes of the two; empty ones are
/// left out.
fn combined(one: &[Bucket], other: &[Bucket], combine: impl Fn(u64, u64) -> u64) -> Vec<Bucket> {
    let (mut one, mut other) = (one.iter().copied().peekable(), other.iter().copied().peekable());
    let next = || {
        let index = match (one.peek(), other.peek()) {
            (Some(one), Some(other)) => one.index.min(other.index),
            (Some(bucket), None) | (None, Some(bucket)) => bucket.index,
            (None, None) => return None,
        };
        let first = one.next_if(|bucket| bucket.index == index).map_or(0, |bucket| bucket.count);
        let second = other.next_if(|bucket| bucket.index == index).map_or(0, |bucket| bucket.count);
        Some(Bucket { index, count: combine(first, second) })
    };
    std::iter::from_fn(next).filter(|bucket| bucket.count > 0).collect()
}

impl fmt::Debug for Histogram {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quantile = |part| self.quantile(part).unwrap_or_default();
        formatter
            .debug_struct("Histogram")
            .field("count", &self.count())
            .field("sum", &self.sum())
            .field("median", &quantile(0.5))
            .field("p99", &quantile(0.99))
            .field("max", &self.max())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::time::Duration;

    use super::{BUCKETS, Histogram, LIMIT, Recorder, bucket_of, upper_of};

    fn of(nanoseconds: impl IntoIterator<Item = u64>) -> Histogram {
        let recorder = Recorder::new(1);
        nanoseconds.into_iter().for_each(|n| recorder.record(Duration::from_nanos(n)));
        recorder.read()
    }

    /// Numbers of all sizes, some around each power of two.
    fn durations() -> impl Iterator<Item = u64> {
        let around =
            (0..64).flat_map(|bits| (-2..=2).map(move |step| (1u64 << bits).wrapping_add_signed(step)));
        let mut state = 88_172_645_463_325_252u64;
        let random = std::iter::repeat_with(move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state >> (state % 60)
        });
        around.chain(random.take(20_000)).filter(|n| *n < 1 << 62)
    }

    #[test]
    fn each_duration_lies_within_its_bucket_and_buckets_are_narrow() {
        for n in durations().filter(|n| (1..=LIMIT).contains(n)) {
            let bucket = bucket_of(n);
            let lower = if bucket == 0 { 0 } else { upper_of(bucket - 1) };
            assert!(lower < n && n <= upper_of(bucket), "{n} in {lower}..={}", upper_of(bucket));
            let error = (upper_of(bucket) - n) as f64 / n as f64;
            assert!(error <= Histogram::RELATIVE_ERROR, "{n}: {error}");
        }
        assert!((1..BUCKETS).all(|bucket| upper_of(bucket - 1) < upper_of(bucket)));
        assert_eq!((bucket_of(0), bucket_of(1)), (0, 0));
    }

    #[test]
    fn every_power_of_two_ends_a_bucket() {
        for bits in 0..=40 {
            let power = 1u64 << bits;
            assert_eq!(upper_of(bucket_of(power)), power);
            let histogram = of([power, power + 1]);
            let expected = if bits == 40 { 0 } else { 1 };
            assert_eq!(histogram.count_up_to(Duration::from_nanos(power)), expected, "2^{bits}");
        }
    }

    #[test]
    fn quantiles_are_those_of_the_sorted_list_or_little_more() {
        let mut sorted: Vec<u64> = durations().collect();
        sorted.sort_unstable();
        let histogram = of(sorted.iter().copied());
        assert_eq!(histogram.count(), sorted.len() as u64);
        for part in [0.0, 0.001, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.9999, 1.0] {
            let rank = ((part * sorted.len() as f64).ceil() as usize).max(1);
            let exact = sorted[rank - 1];
            let found = u64::try_from(histogram.quantile(part).unwrap().as_nanos()).unwrap();
            // What lies above the limit has one bucket.
            let most = if exact > LIMIT { sorted[sorted.len() - 1] } else { exact + exact / 16 + 1 };
            assert!((exact..=most).contains(&found), "{part}: {exact}, found {found}");
        }
        assert_eq!(histogram.quantile(7.0), Some(histogram.max()));
        assert_eq!(histogram.quantile(f64::NAN), histogram.quantile(0.0));
        assert_eq!(histogram.quantile(-1.0), histogram.quantile(0.0));
    }

    #[test]
    fn nothing_recorded_is_nothing_found() {
        let nothing = of([]);
        assert!(nothing.is_empty() && nothing.quantile(0.5).is_none() && nothing.mean().is_none());
        assert_eq!((nothing.count(), nothing.max(), nothing.buckets().count()), (0, Duration::ZERO, 0));
        assert!(!of([0]).is_empty());
    }

    #[test]
    fn parts_merge_to_the_whole_and_the_whole_without_one_is_the_other() {
        let (even, odd): (Vec<_>, Vec<_>) =
            durations().take(3000).enumerate().partition(|(at, _)| at % 2 == 0);
        let numbers = |list: &[(usize, u64)]| list.iter().map(|(_, n)| *n % LIMIT).collect::<Vec<_>>();
        let (even, odd) = (numbers(&even), numbers(&odd));
        let whole = of(even.iter().chain(&odd).copied());
        let mut merged = of(even.iter().copied());
        merged.merge(&of(odd.iter().copied()));
        assert_eq!(merged, whole);
        let rest = whole.since(&of(even.iter().copied()));
        let expected = of(odd.iter().copied());
        assert_eq!((rest.count(), rest.sum()), (expected.count(), expected.sum()));
        assert!(rest.buckets().eq(expected.buckets()));
        assert!(rest.max() >= expected.max() && rest.max() <= whole.max());
        assert!(whole.since(&whole).is_empty());
        assert_eq!(whole.since(&whole).max(), Duration::ZERO);
    }

    #[test]
    fn what_many_threads_record_is_all_there() {
        let recorder = Recorder::new(4);
        std::thread::scope(|scope| {
            for thread in 1..=20u64 {
                let recorder = &recorder;
                scope.spawn(move || {
                    (0..100).for_each(|step| recorder.record(Duration::from_nanos(thread * 1000 + step)));
                });
            }
        });
        let histogram = recorder.read();
        assert_eq!(histogram.count(), 2000);
        assert_eq!(histogram.max(), Duration::from_nanos(20_099));
        let sum: u64 = (1..=20).map(|thread| thread * 100_000 + 4950).sum();
        assert_eq!(histogram.sum(), Duration::from_nanos(sum));
    }
}
