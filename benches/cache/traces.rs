//! What is read, and how large it is. Every trace is made from a seed and is the same in every run.

#[path = "../common/random.rs"]
mod random;

use random::Random;

/// Bytes of a page's payload, where pages are all of one size.
const ONE_SIZE: usize = 256;
/// The skew of popularity.
const SKEW: f64 = 0.99;
/// How many leaves an inner page of the tree has.
const FAN_OUT: usize = 100;

/// Chooses pages by popularity: the page of rank n is read in proportion to 1 / n^0.99.
struct Zipf {
    /// Sums of the shares of all ranks up to each.
    sums: Vec<f64>,
    /// Which page has which rank.
    pages: Vec<u32>,
}

impl Zipf {
    fn new(pages: std::ops::Range<usize>, random: &mut Random) -> Self {
        let mut sum = 0.0;
        let share = |rank: usize| {
            sum += 1.0 / (rank as f64).powf(SKEW);
            sum
        };
        let sums = (1..=pages.len()).map(share).collect();
        let mut zipf = Self { sums, pages: pages.map(|page| page as u32).collect() };
        zipf.shuffle(random);
        zipf
    }

    /// Gives all ranks to other pages.
    fn shuffle(&mut self, random: &mut Random) {
        random.shuffle(&mut self.pages);
    }

    fn choose(&self, random: &mut Random) -> u32 {
        let sought = random.unit() * self.sums.last().copied().unwrap_or(0.0);
        let rank = self.sums.partition_point(|sum| *sum <= sought);
        self.pages[rank.min(self.pages.len() - 1)]
    }
}

/// Reads of pages, which are named by numbers from 0 on.
pub struct Trace {
    pub name: &'static str,
    /// The payload of each page.
    pub lengths: Vec<usize>,
    pub reads: Vec<u32>,
}

impl Trace {
    fn of_one_size(name: &'static str, pages: usize, reads: Vec<u32>) -> Self {
        Self { name, lengths: vec![ONE_SIZE; pages], reads }
    }
}

pub fn zipf(pages: usize, reads: usize) -> Trace {
    let mut random = Random::new(1);
    let zipf = Zipf::new(0..pages, &mut random);
    let reads = (0..reads).map(|_| zipf.choose(&mut random)).collect();
    Trace::of_one_size("Zipf 0.99", pages, reads)
}

/// Every so often a tenth of the pages is read in the order of their numbers: one read in seven.
pub fn scans(pages: usize, reads: usize) -> Trace {
    let mut random = Random::new(2);
    let zipf = Zipf::new(0..pages, &mut random);
    let (scan, mut all) = (pages / 10, Vec::with_capacity(reads));
    while all.len() < reads {
        all.extend((0..6 * scan).map(|_| zipf.choose(&mut random)));
        let start = random.below(pages);
        all.extend((0..scan).map(|step| ((start + step) % pages) as u32));
    }
    Trace::of_one_size("Zipf and scans", pages, all)
}

/// In the middle, all popularity goes to other pages.
pub fn shift(pages: usize, reads: usize) -> Trace {
    let mut random = Random::new(3);
    let mut zipf = Zipf::new(0..pages, &mut random);
    let mut all: Vec<u32> = (0..reads / 2).map(|_| zipf.choose(&mut random)).collect();
    zipf.shuffle(&mut random);
    all.extend((0..reads / 2).map(|_| zipf.choose(&mut random)));
    Trace::of_one_size("Zipf that shifts", pages, all)
}

/// Look-ups in a tree: the root, an inner page, and a leaf. Leaves are popular by Zipf's law, wherever they
/// lie.
pub fn tree(pages: usize, reads: usize) -> Trace {
    let mut random = Random::new(4);
    let inner = pages / (FAN_OUT + 1);
    let first_leaf = 1 + inner;
    let zipf = Zipf::new(first_leaf..pages, &mut random);
    let look_up = |_| {
        let leaf = zipf.choose(&mut random);
        let parent = 1 + (leaf as usize - first_leaf) * inner / (pages - first_leaf);
        [0, parent as u32, leaf]
    };
    let all = (0..reads / 3).flat_map(look_up).collect();
    Trace::of_one_size("B-tree look-ups", pages, all)
}

/// Pages of 64 bytes to 8 KiB, every power of two as often as the other; popularity does not go by size.
pub fn sizes(pages: usize, reads: usize) -> Trace {
    let mut random = Random::new(5);
    let zipf = Zipf::new(0..pages, &mut random);
    let lengths = (0..pages).map(|_| (64.0 * 128f64.powf(random.unit())) as usize).collect();
    let reads = (0..reads).map(|_| zipf.choose(&mut random)).collect();
    Trace { name: "Zipf, many sizes", lengths, reads }
}
