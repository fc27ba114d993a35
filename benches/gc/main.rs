//! How many bytes garbage collection moves for each byte that users write: the real store, in memory, in steady state.
//!
//! `cargo bench --bench gc` prints a table, in a minute or two: moved bytes / user bytes, for each distribution of writes, policy and fill
//! factor, and beside it what a simulation of the same rule found (equal pages, the victims alone, nothing else in the file).
//! Environment:
//!
//! * `FILLS=0.6,0.7,0.8,0.9`: live bytes / bytes of the file. What is reached is printed; and the *net* fill, without the segments
//!   that are kept free, and without headers and marks: that is what a simulation calls the fill factor. For uniform writes the
//!   optimum at that net fill is printed too (cleaning `u` live of each victim byte moves `u / (1 - u)`, and the fill is
//!   `(u - 1) / ln u`).
//! * `DISTRIBUTIONS=uniform,80:20,zipf`
//! * `POLICIES=greedy,cost-benefit,mdc`
//! * `PAGES=60000`, `WARM_UP=6` and `MEASURED=3`: how often all pages are overwritten before and while it is measured
//! * `SEGMENT=8192`: the segment size
//!
//! Pages of 100 bytes are replaced, one at a time, by one thread; a flush comes every 256 writes.

#[path = "../common/random.rs"]
mod random;

use std::sync::Arc;
use std::time::Instant;

use pagelog::{
    Cas, Codec, CodecError, Config, Fragment, MemoryStorage, PageCache, PageId, Version, VictimPolicy,
};
use random::Random;

const LENGTH: usize = 100;

/// A page of which nothing but the length matters.
struct Block;

struct Plain;

impl Codec<Block> for Plain {
    fn encode(_: &Block, into: &mut Vec<u8>) -> Result<(), CodecError> {
        into.resize(into.len() + LENGTH, 7);
        Ok(())
    }

    fn decode(_: &[u8]) -> Result<Block, CodecError> {
        Ok(Block)
    }
}

impl Fragment for Block {
    type Codec = Plain;

    fn merge(_: &[&Self]) -> Self {
        Self
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Distribution {
    Uniform,
    /// Four fifths of the writes go to a fifth of the pages.
    EightyTwenty,
    /// With exponent 0.99.
    Zipf,
}

/// Says which page is written next.
struct Writes {
    distribution: Distribution,
    pages: usize,
    /// The share of the writes that go to the pages up to each, for Zipf.
    cumulative: Vec<f64>,
}

impl Writes {
    fn new(distribution: Distribution, pages: usize) -> Self {
        let mut cumulative = Vec::new();
        if distribution == Distribution::Zipf {
            let mut sum = 0.0;
            cumulative.extend((1..=pages).map(|rank| {
                sum += (rank as f64).powf(-0.99);
                sum
            }));
            cumulative.iter_mut().for_each(|share| *share /= sum);
        }
        Self { distribution, pages, cumulative }
    }

    fn next(&self, random: &mut Random) -> usize {
        match self.distribution {
            Distribution::Uniform => random.below(self.pages),
            Distribution::EightyTwenty if random.below(5) > 0 => random.below(self.pages / 5),
            Distribution::EightyTwenty => self.pages / 5 + random.below(self.pages - self.pages / 5),
            Distribution::Zipf => {
                let share = random.unit();
                self.cumulative.partition_point(|up_to| *up_to < share).min(self.pages - 1)
            }
        }
    }
}

struct Settings {
    pages: usize,
    warm_up: usize,
    measured: usize,
    segment: u32,
}

/// What one cell came to.
struct Measured {
    moved: f64,
    fill: f64,
    /// Without free segments, headers and marks.
    net_fill: f64,
    segments: u32,
}

fn measure(settings: &Settings, distribution: Distribution, policy: VictimPolicy, fill: f64) -> Measured {
    let Settings { pages, segment, .. } = *settings;
    // What the file may have beside the multiple of the live bytes: the heads, the reserve, the claims ahead.
    let live = (pages * (LENGTH + 12)) as f64;
    let slots = live / fill / f64::from(segment);
    let beside = (9.0 + (slots / 64.0).floor().clamp(1.0, 8.0)) * f64::from(segment) / live;
    let config = Config::with_storage(Arc::new(MemoryStorage::new()))
        .segment_size(segment)
        .io_buffer_size(segment)
        .cache_capacity(4 << 30)
        .snapshots(false)
        .space_target((1.0 / fill - beside).max(1.05))
        .victim_policy(policy);
    let cache: PageCache<Block> = config.open().unwrap();
    let mut random = Random::new(1);
    let mut all: Vec<(PageId, Version)> = (0..pages)
        .map(|_| cache.allocate(Block).map(|page| (page.page_id, page.version)))
        .collect::<Result<_, _>>()
        .unwrap();
    // Hot pages lie anywhere.
    for index in (1..pages).rev() {
        all.swap(index, random.below(index + 1));
    }
    let writes = Writes::new(distribution, pages);
    let mut overwrite = |times: usize| {
        for count in 0..times * pages {
            let (page_id, version) = &mut all[writes.next(&mut random)];
            let Cas::Done { version: next, .. } = cache.replace(*page_id, *version, Block).unwrap() else {
                panic!("nobody else writes");
            };
            *version = next;
            if count % 256 == 0 {
                cache.flush().unwrap();
            }
        }
        cache.stats()
    };
    let before = overwrite(settings.warm_up).counts;
    let after = overwrite(settings.measured);
    let moved = after.counts.relocated_bytes - before.relocated_bytes;
    let written = after.counts.fresh_bytes - before.fresh_bytes;
    let log = after.counts.written_bytes - before.written_bytes;
    let records = (moved + written) as f64 / log as f64;
    let in_use = u64::from(after.segments - after.free_segments - after.emptied_segments);
    Measured {
        moved: moved as f64 / written as f64,
        fill: after.live_bytes as f64 / after.log_file_bytes as f64,
        net_fill: after.live_bytes as f64 / (in_use * u64::from(segment)) as f64 / records,
        segments: after.segments,
    }
}

/// What the best policy moves for each byte written if all pages are written equally often.
fn optimum(fill: f64) -> f64 {
    let (mut low, mut high) = (1e-9, 1.0 - 1e-9);
    for _ in 0..60 {
        let live = f64::midpoint(low, high);
        if (live - 1.0) / live.ln() < fill { low = live } else { high = live }
    }
    low / (1.0 - low)
}

/// What a simulation found at fill factors 0.6, 0.7, 0.8, 0.9.
type Reference = (&'static str, [f64; 4]);

fn references(distribution: Distribution) -> &'static [Reference] {
    match distribution {
        Distribution::Uniform => &[("greedy, the optimum", [0.48, 0.89, 1.72, 4.29])],
        Distribution::EightyTwenty => {
            &[("greedy", [0.67, 1.09, 1.96, 4.59]), ("MDC, and sorted by heat", [0.35, 0.63, 1.21, 3.12])]
        }
        Distribution::Zipf => &[
            ("greedy", [0.72, 1.16, 1.97, 4.26]),
            ("cost-benefit", [0.68, 1.01, 1.64, 3.15]),
            ("MDC", [0.44, 0.65, 1.15, 2.72]),
            ("MDC, and sorted by heat", [0.19, 0.34, 0.64, 1.59]),
        ],
    }
}

fn number<T: std::str::FromStr>(variable: &str, otherwise: T) -> T {
    std::env::var(variable)
        .ok()
        .map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

/// Those of the named things that the variable lists.
fn listed<T: Clone>(variable: &str, all: &[(&'static str, T)]) -> Vec<(&'static str, T)> {
    let Ok(list) = std::env::var(variable) else { return all.to_vec() };
    let find = |name: &str| {
        let found = all.iter().find(|(known, _)| *known == name);
        found.unwrap_or_else(|| panic!("{variable}: {name} is not known")).clone()
    };
    list.split(',').map(find).collect()
}

fn main() {
    let settings = Settings {
        pages: number("PAGES", 60_000),
        warm_up: number("WARM_UP", 6),
        measured: number("MEASURED", 3),
        segment: number("SEGMENT", 8192),
    };
    let fills = listed("FILLS", &[("0.6", 0.6), ("0.7", 0.7), ("0.8", 0.8), ("0.9", 0.9)]);
    let distributions = listed(
        "DISTRIBUTIONS",
        &[
            ("uniform", Distribution::Uniform),
            ("80:20", Distribution::EightyTwenty),
            ("zipf", Distribution::Zipf),
        ],
    );
    let policies = listed(
        "POLICIES",
        &[
            ("greedy", VictimPolicy::Greedy),
            ("cost-benefit", VictimPolicy::CostBenefit),
            ("mdc", VictimPolicy::MinimumDecliningCost),
        ],
    );
    let began = Instant::now();
    println!(
        "moved bytes / user bytes (fill reached, net fill), {} pages, segments of {} bytes",
        settings.pages, settings.segment
    );
    for (name, distribution) in distributions {
        print!("\n{:34}", format!("{name}, fill factor"));
        fills.iter().for_each(|(fill, _)| print!(" {fill:>20}"));
        println!();
        let mut most = 0;
        for (policy_name, policy) in &policies {
            print!("  {policy_name:32}");
            let mut optima = Vec::new();
            for (_, fill) in &fills {
                let Measured { moved, fill, net_fill, segments } =
                    measure(&settings, distribution, *policy, *fill);
                most = most.max(segments);
                optima.push(optimum(net_fill));
                print!(" {:>20}", format!("{moved:.2} ({fill:.3}, {net_fill:.3})"));
                std::io::Write::flush(&mut std::io::stdout()).unwrap();
            }
            println!();
            if distribution == Distribution::Uniform {
                print!("  {:32}", "    optimum at that net fill");
                optima.iter().for_each(|optimum| print!(" {:>20}", format!("{optimum:.2}")));
                println!();
            }
        }
        for (what, figures) in references(distribution) {
            print!("  {:32}", format!("simulation: {what}"));
            for (fill, _) in &fills {
                let at = ["0.6", "0.7", "0.8", "0.9"].iter().position(|known| known == fill);
                print!(" {:>20}", at.map_or_else(String::new, |at| format!("{:.2}", figures[at])));
            }
            println!();
        }
        println!("  at most {most} segments");
    }
    println!("\n{:.0} s", began.elapsed().as_secs_f64());
}
