//! What garbage collection moves for each byte that users write: the real store, in memory, in steady state;
//! and what theory says.

#![allow(dead_code, reason = "not all who include this need all of it")]

use std::sync::Arc;

use pagelog::{
    Cas, Codec, CodecError, Config, Fragment, MemoryStorage, PageCache, PageId, Version, VictimPolicy,
};

use super::Random;

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

/// Which pages are written.
#[derive(Clone, Copy, PartialEq)]
pub enum Distribution {
    Uniform,
    /// Four fifths of the writes go to a fifth of the pages.
    EightyTwenty,
    /// With exponent 0.99.
    Zipf,
}

/// Says which page is written next.
pub struct Writes {
    distribution: Distribution,
    pages: usize,
    /// The share of the writes that go to the pages up to each, for Zipf.
    cumulative: Vec<f64>,
}

impl Writes {
    pub fn new(distribution: Distribution, pages: usize) -> Self {
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

    pub fn next(&self, random: &mut Random) -> usize {
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

/// Of a measurement.
pub struct Settings {
    pub pages: usize,
    /// How often all pages are overwritten before it is measured,
    pub warm_up: usize,
    /// and while it is.
    pub measured: usize,
    pub segment: u32,
}

/// What one cell came to.
pub struct Measured {
    pub moved: f64,
    pub fill: f64,
    /// Without free segments, headers and marks.
    pub net_fill: f64,
    pub segments: u32,
}

/// Runs the store at a fill factor.
pub fn measure(settings: &Settings, distribution: Distribution, policy: VictimPolicy, fill: f64) -> Measured {
    let Settings { pages, segment, .. } = *settings;
    // What the file may have beside the multiple of the live bytes: a segment for each head, and one.
    let live = (pages * (LENGTH + 12)) as f64;
    let beside = 5.0 * f64::from(segment) / live;
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
pub fn optimum(fill: f64) -> f64 {
    let (mut low, mut high) = (1e-9, 1.0 - 1e-9);
    for _ in 0..60 {
        let live = f64::midpoint(low, high);
        if (live - 1.0) / live.ln() < fill { low = live } else { high = live }
    }
    low / (1.0 - low)
}
