//! The life of a thread's pages: what each step does, and what must be there after it.
//!
//! A thread has keys `0 .. pages`. Its steps follow from the seed and their numbers alone: fill all keys,
//! overwrite and link to some again and again, delete all, and from the beginning. So who knows how many
//! steps were done knows what is there, byte by byte.

use crate::common::Random;

/// The links that a page has at most.
const MOST_LINKS: usize = 8;
/// What comes before the filler: thread, key, step.
const HEADER: usize = 20;

/// Keys are deleted in steps of this, a prime.
const STRIDE: u64 = 7919;

/// The plan of all lives.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub seed: u64,
    /// Keys of each thread; no multiple of 7919.
    pub pages: u64,
    /// How often a key is overwritten between filling and deleting, on average.
    pub overwrites: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Fill,
    Overwrite,
    Delete,
    /// Everything was deleted, and collection has had its time.
    Empty,
}

impl Phase {
    pub const ALL: [Self; 4] = [Self::Fill, Self::Overwrite, Self::Delete, Self::Empty];

    pub fn name(self) -> &'static str {
        match self {
            Self::Fill => "fill",
            Self::Overwrite => "overwrite",
            Self::Delete => "delete",
            Self::Empty => "empty",
        }
    }

    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.name() == name)
    }
}

/// What a step does, and to which key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Allocate(u64),
    Replace(u64),
    Link(u64),
    Free(u64),
}

impl Plan {
    /// The steps from one filling to the next.
    pub fn cycle(&self) -> u64 {
        self.pages * (2 + self.overwrites)
    }

    pub fn phase(&self, step: u64) -> Phase {
        let step = step % self.cycle();
        match step / self.pages {
            0 => Phase::Fill,
            round if round <= self.overwrites => Phase::Overwrite,
            _ => Phase::Delete,
        }
    }

    fn random(&self, thread: usize, step: u64) -> Random {
        let mut random =
            Random::new(self.seed ^ ((thread as u64) << 56) ^ step.wrapping_mul(0xD6E8_FEB8_6659_FD93));
        random.next();
        random
    }

    fn fragment(&self, thread: usize, key: u64, step: u64, is_link: bool) -> Vec<u8> {
        let mut random = self.random(thread, step ^ (1 << 40));
        let length = HEADER + if is_link { 44 } else { 180 + random.below(1600) };
        let mut bytes = (thread as u32).to_le_bytes().to_vec();
        bytes.extend(key.to_le_bytes());
        bytes.extend(step.to_le_bytes());
        bytes.resize(length, random.next() as u8);
        bytes
    }
}

/// The pages of one thread after some of its steps: for each key the steps that made what is there, the first
/// of them the whole page, the others links.
#[derive(Clone, Debug)]
pub struct Life {
    plan: Plan,
    pub thread: usize,
    /// How many steps were done.
    pub step: u64,
    pub pages: Vec<Vec<u64>>,
}

impl Life {
    pub fn after(plan: Plan, thread: usize, steps: u64) -> Self {
        // At the end of each cycle nothing is there.
        let step = steps - steps % plan.cycle();
        let mut life = Self { plan, thread, step, pages: vec![Vec::new(); plan.pages as usize] };
        while life.step < steps {
            life.advance();
        }
        life
    }

    fn next(&self) -> Step {
        let (pages, at) = (self.plan.pages, self.step % self.plan.cycle());
        let mut random = self.plan.random(self.thread, self.step);
        match self.plan.phase(self.step) {
            Phase::Fill => Step::Allocate(at),
            // Some keys are hotter than others: four fifths of the writes go to a fifth of them.
            Phase::Overwrite => {
                let among = if random.below(5) > 0 { pages / 5 } else { pages };
                let key = random.below(among as usize) as u64;
                let has_room = self.pages[key as usize].len() <= MOST_LINKS;
                if has_room && random.below(3) == 0 { Step::Link(key) } else { Step::Replace(key) }
            }
            // In another order than that of the filling.
            Phase::Delete | Phase::Empty => Step::Free(at * STRIDE % pages),
        }
    }

    /// The key that the next step is about.
    pub fn next_key(&self) -> u64 {
        let (Step::Allocate(key) | Step::Replace(key) | Step::Link(key) | Step::Free(key)) = self.next();
        key
    }

    /// Does the next step here.
    pub fn advance(&mut self) -> Step {
        let (number, step) = (self.step, self.next());
        self.step += 1;
        match step {
            Step::Allocate(key) | Step::Replace(key) => self.pages[key as usize] = vec![number],
            Step::Link(key) => self.pages[key as usize].push(number),
            Step::Free(key) => self.pages[key as usize].clear(),
        }
        step
    }

    /// What a step writes.
    pub fn fragment(&self, key: u64, step: u64, is_link: bool) -> Vec<u8> {
        self.plan.fragment(self.thread, key, step, is_link)
    }
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// Whose page this is, which key's, and the steps that made it; `None` if not every byte is what these steps
/// wrote.
pub fn steps_of(plan: Plan, bytes: &[u8]) -> Option<(usize, u64, Vec<u64>)> {
    let thread = u32::from_le_bytes(number(bytes, 0)?) as usize;
    let key = u64::from_le_bytes(number(bytes, 4)?);
    let (mut rest, mut steps) = (bytes, Vec::new());
    while !rest.is_empty() {
        let step = u64::from_le_bytes(number(rest, 12)?);
        rest = rest.strip_prefix(plan.fragment(thread, key, step, !steps.is_empty()).as_slice())?;
        steps.push(step);
    }
    (key < plan.pages).then_some((thread, key, steps))
}
