//! Hit ratios of the cache, beside plain simulations of known policies on the same traces.
//!
//! `cargo bench --bench cache` prints a table of percentages. Environment:
//!
//! * `PAGES=40000` of the store, `READS=1500000` of each trace
//! * `SHARES=1,5,10` cache sizes in per cent
//!
//! A cache of 1 % has room for the contents of all pages, as the budget counts them (payload and a fragment's
//! own bytes), times 0.01; the simulations get the same number of the same bytes. Nodes and the page table
//! are not on the budget, nor are the policies' queues. The store is read-only while it is measured, so no
//! part of the capacity goes to write buffers. All caches are empty at first, and all reads count.
//!
//! The column `lead` is pagelog's figure minus that of the better of SIEVE and S3-FIFO, in points. `full` is
//! the most that was seen of contents in pagelog's cache, relative to its capacity: it may not hold more than
//! the others. `ns` is for a read of pagelog's, misses included: for orientation only, since one thread does
//! nothing else.

#[path = "../../tests/support/bytes.rs"]
mod bytes;
mod policies;
mod subject;
mod traces;

use policies::{Clock, Lru, Policy, S3Fifo, Sieve, hit_ratio};
use subject::{Subject, weight};
use traces::Trace;

fn setting<T: std::str::FromStr>(name: &str, default: T) -> T {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn main() {
    let (pages, reads) = (setting("PAGES", 40_000), setting("READS", 1_500_000));
    let shares: String = setting("SHARES", "1,5,10".into());
    let shares: Vec<f64> = shares.split(',').filter_map(|share| share.parse().ok()).collect();
    println!("{pages} pages, {reads} reads of each trace; hit ratios in per cent");
    let mut head = format!("{:<18} {:>6}", "trace", "cache");
    for name in ["LRU", "CLOCK", "SIEVE", "S3-FIFO", "pagelog", "lead", "full", "ns"] {
        head += &format!(" {name:>8}");
    }
    println!("{head}");
    for make in [traces::zipf, traces::scans, traces::shift, traces::tree, traces::sizes] {
        let trace = make(pages, reads);
        let subject = Subject::create(&trace);
        shares.iter().for_each(|share| row(&trace, &subject, *share));
    }
}

fn row(trace: &Trace, subject: &Subject, share: f64) {
    let weights: Vec<u64> = trace.lengths.iter().map(|length| weight(*length)).collect();
    let capacity = (weights.iter().sum::<u64>() as f64 * share / 100.0) as u64;
    let mut policies: [Box<dyn Policy>; 4] = [
        Box::new(Lru::new(&weights, capacity)),
        Box::new(Clock::new(&weights, capacity)),
        Box::new(Sieve::new(&weights, capacity)),
        Box::new(S3Fifo::new(&weights, capacity)),
    ];
    let mut line = format!("{:<18} {:>6}", trace.name, format!("{share} %"));
    let mut best = 0f64;
    for policy in &mut policies {
        let ratio = hit_ratio(policy.as_mut(), &trace.reads);
        if ["SIEVE", "S3-FIFO"].contains(&policy.name()) {
            best = best.max(ratio);
        }
        line += &format!(" {ratio:>8.2}");
    }
    let ours = subject.measure(trace, capacity);
    let lead = ours.hit_ratio - best;
    println!("{line} {:>8.2} {lead:>+8.2} {:>8.3} {:>8.0}", ours.hit_ratio, ours.fullest, ours.nanoseconds);
}
