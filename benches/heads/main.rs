//! What write heads are worth: a simulation of garbage collection, with nothing of the store but the choice
//! of victims.
//!
//! `cargo bench --bench heads` prints, in a minute or two, moved bytes / user bytes in steady state, for
//! several ways to spread records over heads. pagelog has a head for what users write, and three for what
//! survives cleaning, *by score*. Small stores have one for that.
//!
//! * *survivors by heat*: what is moved goes to one of several heads, by how fast the victim's bytes died.
//! * *survivors by chain*: by how long the chain of the record's page is, that is, how soon it will be cut
//!   back and all of it dies.
//! * *survivors by writes*: by how often the record's page has been written.
//! * *survivors by score*: by the last two, multiplied: writes x chain^2.
//! * *fresh by chain*: also what users write goes to one of two heads. The store can't do that: its users'
//!   records have one order.
//!
//! Environment: `FILL=0.8` live bytes / bytes of the file, `PAGES=20000`, `ROUNDS=20` times as many writes as
//! there are pages (links: as records), of which the last half is measured.

#[path = "../common/cleaning.rs"]
mod cleaning;
#[path = "../common/mod.rs"]
mod common;

use std::collections::VecDeque;

use cleaning::{Distribution, Writes};
use common::{Random, setting};

/// What is written to.
#[derive(Clone, Copy)]
enum Load {
    /// Pages of one record.
    Replacements(Distribution),
    /// Pages that grow by links, at random, and are cut back when they have 48.
    Links,
}

/// What survivors are sorted by.
#[derive(Clone, Copy)]
enum Sorted {
    Heat,
    Chain,
    Writes,
    Score,
}

/// Where records go.
#[derive(Clone, Copy)]
struct Heads {
    fresh: usize,
    survivors: usize,
    sorted: Sorted,
}

const BASE: u32 = 1051;
const LINK: u32 = 91;
const MOST_LINKS: usize = 48;
/// The longest a segment can be: a thousand bases.
const SEGMENT: u32 = 1000 * BASE;
/// So many victims, or records, are remembered, for what is hot and what is cold among them.
const REMEMBERED: usize = 500;

fn size(record: usize) -> u32 {
    if record == 0 { BASE } else { LINK }
}

#[derive(Clone, Default)]
struct Segment {
    /// Page, life of the page, number in its chain.
    records: Vec<(u32, u32, u8)>,
    live: u32,
    filled: u32,
    is_closed: bool,
    born: u64,
    /// What was live when it was last looked at, and when that was.
    seen: (u32, u64),
    rate: f64,
}

impl Segment {
    /// How fast its bytes die, and how good a victim it is, the lower the better: the rule of
    /// `segments/victim`.
    fn look(&mut self, now: u64, bytes: u32) -> (f64, f64) {
        let (died, elapsed) = (f64::from(self.seen.0 - self.live), (now - self.seen.1).max(1) as f64);
        let share = f64::from(bytes) / 8.0;
        let seen = died / elapsed;
        let mut rate =
            ((died + share / 2.0) / elapsed).min(if self.rate > 0.0 { self.rate } else { f64::MAX });
        if died >= share {
            rate = if self.rate > 0.0 { (self.rate + seen) / 2.0 } else { seen };
            (self.rate, self.seen) = (rate, (self.live, now));
        }
        let by_age = f64::from(self.live) / (now - self.born).max(1) as f64;
        let empty = f64::from(bytes - self.live) / f64::from(bytes);
        let rate = (rate + by_age) / 2.0;
        (rate, rate / (empty * empty))
    }
}

struct Store {
    heads: Heads,
    segment: u32,
    segments: Vec<Segment>,
    free: VecDeque<usize>,
    open: Vec<usize>,
    /// The segments of each page's records, and its life.
    pages: Vec<(Vec<u32>, u32)>,
    /// The writes of a life that is over.
    writes_of_life: f64,
    /// What was lately sorted.
    seen: VecDeque<f64>,
    written: u64,
    moved: u64,
}

impl Store {
    fn new(heads: Heads, pages: usize, most_links: usize, live: f64, fill: f64) -> Self {
        let all = heads.fresh + heads.survivors;
        // Some hundreds, so that a segment that is being filled matters little.
        let segment = SEGMENT.min((live / 300.0) as u32);
        let count = (live / fill / f64::from(segment)) as usize + all + 3;
        let (segments, free) = (vec![Segment::default(); count], (all..count).collect());
        let (open, pages) = ((0..all).collect(), vec![(Vec::new(), 0); pages]);
        let (writes_of_life, seen) = (1.0 + most_links as f64, VecDeque::new());
        Self { heads, segment, segments, free, open, pages, writes_of_life, seen, written: 0, moved: 0 }
    }

    fn put(&mut self, head: usize, page: usize, record: usize) -> u32 {
        let bytes = size(record);
        if self.segments[self.open[head]].filled + bytes > self.segment {
            let full = &mut self.segments[self.open[head]];
            (full.is_closed, full.seen) = (true, (full.live, self.written));
            self.open[head] = self.free.pop_front().expect("segments are kept free");
            self.segments[self.open[head]] = Segment { born: self.written, ..Segment::default() };
        }
        let at = self.open[head];
        let segment = &mut self.segments[at];
        segment.records.push((page as u32, self.pages[page].1, record as u8));
        segment.live += bytes;
        segment.filled += bytes;
        at as u32
    }

    /// Which of so many heads a record belongs to whose page has so many.
    fn by_chain(heads: usize, records: usize) -> usize {
        (records * heads / (MOST_LINKS + 2)).min(heads - 1)
    }

    fn write(&mut self, page: usize, begins: bool) {
        if begins {
            let (records, life) = &mut self.pages[page];
            *life += 1;
            for (record, segment) in records.drain(..).enumerate() {
                self.segments[segment as usize].live -= size(record);
            }
        }
        let record = self.pages[page].0.len();
        let at = self.put(Self::by_chain(self.heads.fresh, record), page, record);
        self.pages[page].0.push(at);
        self.written += u64::from(size(record));
        while self.free.len() < self.open.len() + 1 {
            self.clean();
        }
    }

    fn clean(&mut self) {
        let (now, bytes) = (self.written, self.segment);
        let looks = self.segments.iter_mut().enumerate().filter(|(_, segment)| segment.is_closed);
        let looks = looks.map(|(at, segment)| (segment.look(now, bytes), at));
        let best = looks.min_by(|((_, one), _), ((_, other), _)| one.total_cmp(other));
        let ((rate, _), victim) = best.expect("a segment is closed");
        let by_heat = match self.heads.sorted {
            Sorted::Heat => self.rank(rate / f64::from(self.segments[victim].live.max(1))),
            _ => 0,
        };
        self.segments[victim].is_closed = false;
        for (page, life, record) in std::mem::take(&mut self.segments[victim].records) {
            let (page, record) = (page as usize, usize::from(record));
            let (records, now) = &self.pages[page];
            if *now != life || records.get(record) != Some(&(victim as u32)) {
                continue;
            }
            let length = records.len();
            let chain = length as f64;
            let writes = f64::from(life) * self.writes_of_life + chain;
            let among = match self.heads.sorted {
                Sorted::Heat => by_heat,
                Sorted::Chain => Self::by_chain(self.heads.survivors, length),
                Sorted::Writes => self.rank(writes),
                Sorted::Score => self.rank(writes * chain * chain),
            };
            let at = self.put(self.heads.fresh + among, page, record);
            self.pages[page].0[record] = at;
            self.moved += u64::from(size(record));
        }
        self.free.push_back(victim);
    }

    /// Which of the heads for survivors this belongs to, by its rank among those before.
    fn rank(&mut self, value: f64) -> usize {
        self.seen.push_back(value);
        if self.seen.len() > REMEMBERED {
            self.seen.pop_front();
        }
        let lower = self.seen.iter().filter(|other| **other < value).count();
        (lower * self.heads.survivors / self.seen.len()).min(self.heads.survivors - 1)
    }
}

/// Moved bytes for each that is written.
fn simulate(load: Load, heads: Heads, pages: usize, fill: f64, rounds: usize) -> f64 {
    let (distribution, most_links) = match load {
        Load::Replacements(distribution) => (distribution, 0),
        Load::Links => (Distribution::Uniform, MOST_LINKS),
    };
    let (mut random, writes) = (Random::new(1), Writes::new(distribution, pages));
    // Hot pages lie anywhere.
    let mut order: Vec<usize> = (0..pages).collect();
    random.shuffle(&mut order);
    let mean_links = most_links as f64 / 2.0;
    let live = pages as f64 * (f64::from(BASE) + mean_links * f64::from(LINK));
    let mut store = Store::new(heads, pages, most_links, live, fill);
    for page in 0..pages {
        let links = random.below(most_links + 1);
        store.write(page, true);
        (0..links).for_each(|_| store.write(page, false));
    }
    let count = (pages as f64 * (1.0 + mean_links) * rounds as f64) as usize;
    let mut before = (0, 0);
    for write in 0..count {
        if write == count / 2 {
            before = (store.written, store.moved);
        }
        let page = order[writes.next(&mut random)];
        let begins = store.pages[page].0.len() > most_links;
        store.write(page, begins);
    }
    (store.moved - before.1) as f64 / (store.written - before.0) as f64
}

fn main() {
    let (fill, pages, rounds) = (setting("FILL", 0.8), setting("PAGES", 20_000), setting("ROUNDS", 20));
    println!("moved bytes / user bytes, {pages} pages, {fill} of the file live");
    println!("{:<32} {:>8} {:>8} {:>8} {:>8}", "heads", "uniform", "80:20", "Zipf", "links");
    let heads = |fresh, survivors, sorted| Heads { fresh, survivors, sorted };
    let all = [
        ("fresh, survivors", heads(1, 1, Sorted::Heat)),
        ("fresh, 2 survivors by heat", heads(1, 2, Sorted::Heat)),
        ("fresh, 3 survivors by heat", heads(1, 3, Sorted::Heat)),
        ("fresh, 2 survivors by chain", heads(1, 2, Sorted::Chain)),
        ("fresh, 3 survivors by chain", heads(1, 3, Sorted::Chain)),
        ("fresh, 2 survivors by writes", heads(1, 2, Sorted::Writes)),
        ("fresh, 3 survivors by writes", heads(1, 3, Sorted::Writes)),
        ("fresh, 2 survivors by score", heads(1, 2, Sorted::Score)),
        ("fresh, 3 survivors by score", heads(1, 3, Sorted::Score)),
        ("2 fresh by chain, survivors", heads(2, 1, Sorted::Chain)),
        ("2 fresh, 2 survivors by chain", heads(2, 2, Sorted::Chain)),
    ];
    for (name, heads) in all {
        print!("{name:<32}");
        let loads = [Distribution::Uniform, Distribution::EightyTwenty, Distribution::Zipf];
        for load in loads.map(Load::Replacements).into_iter().chain([Load::Links]) {
            let (is_links, by_chain) = (matches!(load, Load::Links), matches!(heads.sorted, Sorted::Chain));
            if by_chain && !is_links {
                print!(" {:>8}", "");
                continue;
            }
            let pages = if is_links { pages / 2 } else { pages };
            print!(" {:>8.2}", simulate(load, heads, pages, fill, rounds));
            std::io::Write::flush(&mut std::io::stdout()).expect("a terminal");
        }
        println!();
    }
}
