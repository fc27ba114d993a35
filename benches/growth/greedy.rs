//! Cleaning as theory has it: equal pages, written equally often, the segment with the fewest live ones
//! cleaned, and nothing else in the file.

use crate::common::Random;

const SLOTS: usize = 64;
const SEGMENTS: usize = 1024;
/// How often all pages are written before it is measured, and while it is.
const ROUNDS: [usize; 2] = [8, 4];

struct Simulation {
    /// In which segment a page is.
    home: Vec<usize>,
    /// Which pages were put into a segment, the dead ones included.
    pages: Vec<Vec<usize>>,
    live: Vec<usize>,
    free: Vec<usize>,
    /// The segments that users and the cleaner write to.
    heads: [usize; 2],
    moved: usize,
}

impl Simulation {
    fn new(pages: usize) -> Self {
        let free = (2..SEGMENTS).collect();
        let (empty, live) = (vec![Vec::new(); SEGMENTS], vec![0; SEGMENTS]);
        let home = vec![usize::MAX; pages];
        Self { home, pages: empty, live, free, heads: [0, 1], moved: 0 }
    }

    fn put(&mut self, page: usize, head: usize) {
        if self.pages[self.heads[head]].len() == SLOTS {
            self.heads[head] = self.free.pop().expect("the cleaner keeps some");
        }
        let segment = self.heads[head];
        if let Some(live) = self.live.get_mut(self.home[page]) {
            *live -= 1;
        }
        self.home[page] = segment;
        self.pages[segment].push(page);
        self.live[segment] += 1;
    }

    fn write(&mut self, page: usize) {
        self.put(page, 0);
        while self.free.len() < 3 {
            self.clean();
        }
    }

    fn clean(&mut self) {
        let is_full = |segment: &usize| !self.heads.contains(segment) && self.pages[*segment].len() == SLOTS;
        let victim = (0..SEGMENTS).filter(is_full).min_by_key(|segment| self.live[*segment]);
        let victim = victim.expect("there are full ones");
        for page in std::mem::take(&mut self.pages[victim]) {
            if self.home[page] == victim {
                self.put(page, 1);
                self.moved += 1;
            }
        }
        self.free.push(victim);
    }
}

/// Pages moved for each page written, at a fill factor.
pub fn moved(fill: f64) -> f64 {
    // Two heads, half full, and what is kept free are not the victims' business.
    let pages = ((SEGMENTS - 4) as f64 * SLOTS as f64 * fill) as usize;
    let (mut simulation, mut random) = (Simulation::new(pages), Random::new(9));
    (0..pages).for_each(|page| simulation.write(page));
    for rounds in ROUNDS {
        simulation.moved = 0;
        (0..rounds * pages).for_each(|_| simulation.write(random.below(pages)));
    }
    simulation.moved as f64 / (ROUNDS[1] * pages) as f64
}
