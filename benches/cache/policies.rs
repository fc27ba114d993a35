//! Plain simulations of known policies, to compare with: one thread, nothing but page numbers and weights.

use std::collections::VecDeque;

/// A cache that is told of each read.
pub trait Policy {
    fn name(&self) -> &'static str;
    /// Whether the page was there. If not, it is put in.
    fn read(&mut self, page: u32) -> bool;
}

/// The share of reads that found their page, in per cent.
pub fn hit_ratio(policy: &mut dyn Policy, reads: &[u32]) -> f64 {
    let hits = reads.iter().filter(|page| policy.read(**page)).count();
    100.0 * hits as f64 / reads.len() as f64
}

const NONE: u32 = u32::MAX;

/// A list of pages with links in two arrays: newest at the head, oldest at the tail.
struct List {
    newer: Vec<u32>,
    older: Vec<u32>,
    head: u32,
    tail: u32,
}

impl List {
    fn new(pages: usize) -> Self {
        Self { newer: vec![NONE; pages], older: vec![NONE; pages], head: NONE, tail: NONE }
    }

    fn push(&mut self, page: u32) {
        (self.newer[page as usize], self.older[page as usize]) = (NONE, self.head);
        match self.head {
            NONE => self.tail = page,
            head => self.newer[head as usize] = page,
        }
        self.head = page;
    }

    fn remove(&mut self, page: u32) {
        let (newer, older) = (self.newer[page as usize], self.older[page as usize]);
        match newer {
            NONE => self.head = older,
            newer => self.older[newer as usize] = older,
        }
        match older {
            NONE => self.tail = newer,
            older => self.newer[older as usize] = newer,
        }
    }
}

/// What all caches have.
struct Room<'a> {
    weights: &'a [u64],
    capacity: u64,
    used: u64,
    is_in: Vec<bool>,
}

impl<'a> Room<'a> {
    fn new(weights: &'a [u64], capacity: u64) -> Self {
        Self { weights, capacity, used: 0, is_in: vec![false; weights.len()] }
    }

    fn lacks(&self, page: u32) -> bool {
        self.used > 0 && self.used + self.weights[page as usize] > self.capacity
    }

    fn enter(&mut self, page: u32) {
        self.used += self.weights[page as usize];
        self.is_in[page as usize] = true;
    }

    fn leave(&mut self, page: u32) {
        self.used -= self.weights[page as usize];
        self.is_in[page as usize] = false;
    }
}

/// Evicts what was not read for longest.
pub struct Lru<'a> {
    room: Room<'a>,
    list: List,
}

impl<'a> Lru<'a> {
    pub fn new(weights: &'a [u64], capacity: u64) -> Self {
        Self { room: Room::new(weights, capacity), list: List::new(weights.len()) }
    }
}

impl Policy for Lru<'_> {
    fn name(&self) -> &'static str {
        "LRU"
    }

    fn read(&mut self, page: u32) -> bool {
        let hit = self.room.is_in[page as usize];
        if hit {
            self.list.remove(page);
        } else {
            while self.room.lacks(page) {
                let oldest = self.list.tail;
                self.list.remove(oldest);
                self.room.leave(oldest);
            }
            self.room.enter(page);
        }
        self.list.push(page);
        hit
    }
}

/// One queue; what was read goes round once more.
pub struct Clock<'a> {
    room: Room<'a>,
    queue: VecDeque<u32>,
    was_read: Vec<bool>,
}

impl<'a> Clock<'a> {
    pub fn new(weights: &'a [u64], capacity: u64) -> Self {
        let was_read = vec![false; weights.len()];
        Self { room: Room::new(weights, capacity), queue: VecDeque::new(), was_read }
    }
}

impl Policy for Clock<'_> {
    fn name(&self) -> &'static str {
        "CLOCK"
    }

    fn read(&mut self, page: u32) -> bool {
        if self.room.is_in[page as usize] {
            self.was_read[page as usize] = true;
            return true;
        }
        while self.room.lacks(page) {
            let Some(oldest) = self.queue.pop_front() else { break };
            if std::mem::take(&mut self.was_read[oldest as usize]) {
                self.queue.push_back(oldest);
            } else {
                self.room.leave(oldest);
            }
        }
        self.room.enter(page);
        self.queue.push_back(page);
        false
    }
}

/// One queue in which nothing moves, and a hand that goes from the oldest to the newest (Zhang et al., NSDI
/// 2024).
pub struct Sieve<'a> {
    room: Room<'a>,
    list: List,
    was_read: Vec<bool>,
    hand: u32,
}

impl<'a> Sieve<'a> {
    pub fn new(weights: &'a [u64], capacity: u64) -> Self {
        let (list, was_read) = (List::new(weights.len()), vec![false; weights.len()]);
        Self { room: Room::new(weights, capacity), list, was_read, hand: NONE }
    }

    fn evict(&mut self) {
        let mut at = if self.hand == NONE { self.list.tail } else { self.hand };
        while std::mem::take(&mut self.was_read[at as usize]) {
            at = self.list.newer[at as usize];
            if at == NONE {
                at = self.list.tail;
            }
        }
        self.hand = self.list.newer[at as usize];
        self.list.remove(at);
        self.room.leave(at);
    }
}

impl Policy for Sieve<'_> {
    fn name(&self) -> &'static str {
        "SIEVE"
    }

    fn read(&mut self, page: u32) -> bool {
        if self.room.is_in[page as usize] {
            self.was_read[page as usize] = true;
            return true;
        }
        while self.room.lacks(page) {
            self.evict();
        }
        self.room.enter(page);
        self.list.push(page);
        false
    }
}

/// A small queue, a main queue and ghosts (Yang et al., SOSP 2023), with the paper's parameters: a tenth for
/// the small queue, uses counted to three, more than one of them to get from the small queue to the main one.
pub struct S3Fifo<'a> {
    room: Room<'a>,
    small: VecDeque<u32>,
    main: VecDeque<u32>,
    small_used: u64,
    uses: Vec<u8>,
    ghosts: VecDeque<u32>,
    is_ghost: Vec<bool>,
    ghosts_used: u64,
}

impl<'a> S3Fifo<'a> {
    pub fn new(weights: &'a [u64], capacity: u64) -> Self {
        Self {
            room: Room::new(weights, capacity),
            small: VecDeque::new(),
            main: VecDeque::new(),
            small_used: 0,
            uses: vec![0; weights.len()],
            ghosts: VecDeque::new(),
            is_ghost: vec![false; weights.len()],
            ghosts_used: 0,
        }
    }

    fn evict(&mut self) {
        if self.small_used * 10 >= self.room.capacity || self.main.is_empty() {
            self.evict_small();
        } else {
            self.evict_main();
        }
    }

    fn evict_small(&mut self) {
        let Some(page) = self.small.pop_front() else { return };
        self.small_used -= self.room.weights[page as usize];
        if self.uses[page as usize] > 1 {
            self.uses[page as usize] = 0;
            self.main.push_back(page);
        } else {
            self.room.leave(page);
            self.haunt(page);
        }
    }

    fn evict_main(&mut self) {
        let Some(page) = self.main.pop_front() else { return };
        let uses = &mut self.uses[page as usize];
        if *uses > 0 {
            *uses -= 1;
            self.main.push_back(page);
        } else {
            self.room.leave(page);
        }
    }

    fn haunt(&mut self, page: u32) {
        self.is_ghost[page as usize] = true;
        self.ghosts.push_back(page);
        self.ghosts_used += self.room.weights[page as usize];
        while self.ghosts_used * 10 > self.room.capacity * 9 {
            let Some(oldest) = self.ghosts.pop_front() else { break };
            self.ghosts_used -= self.room.weights[oldest as usize];
            self.is_ghost[oldest as usize] = false;
        }
    }
}

impl Policy for S3Fifo<'_> {
    fn name(&self) -> &'static str {
        "S3-FIFO"
    }

    fn read(&mut self, page: u32) -> bool {
        if self.room.is_in[page as usize] {
            let uses = &mut self.uses[page as usize];
            *uses = (*uses + 1).min(3);
            return true;
        }
        while self.room.lacks(page) {
            self.evict();
        }
        self.room.enter(page);
        self.uses[page as usize] = 0;
        if std::mem::take(&mut self.is_ghost[page as usize]) {
            self.main.push_back(page);
        } else {
            self.small.push_back(page);
            self.small_used += self.room.weights[page as usize];
        }
        false
    }
}
