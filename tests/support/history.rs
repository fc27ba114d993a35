//! A history that follows from a seed: what a store has after so many steps, whoever took them, in however
//! many lives of a process.
//!
//! A step is one change of one page, and which one it is follows from the seed, the step's number and the
//! pages that there are. So a program that writes and says how far it has come, and one that looks
//! afterwards, need to exchange one number.

use std::collections::BTreeMap;

use pagelog::{Config, Error, PageCache, PageId, Version};

use crate::common::{Bytes, Dice};

/// Longer values go to files of their own.
const LARGE: u32 = 4096;
/// So many pages at most.
const PAGES: usize = 48;
/// Nobody gets further than this between two words.
const BETWEEN_WORDS: u64 = 10_000;

/// What the pages are, by the step that made them, with which each page's contents begin.
pub type State = BTreeMap<u64, Vec<u8>>;

#[derive(Clone, Debug)]
pub enum Change {
    Allocate(Vec<u8>),
    Link(u64, Vec<u8>),
    Replace(u64, Vec<u8>),
    Free(u64),
}

/// What is done in a step, the first of which is number 1.
pub fn change(seed: u64, step: u64, state: &State) -> Change {
    let mut dice = Dice::new(seed.wrapping_mul(1_000_003).wrapping_add(step));
    // The generator's first words still resemble the seed.
    for _ in 0..4 {
        dice.next();
    }
    let page = state.keys().nth(dice.below(state.len().max(1) as u64) as usize).copied();
    let filler = |dice: &mut Dice, length: u64| (0..length).map(|_| dice.next() as u8).collect::<Vec<_>>();
    match (dice.below(20), page) {
        (_, None) => Change::Allocate(with_name(step, filler(&mut dice, 200))),
        (0..4, _) if state.len() < PAGES => Change::Allocate(with_name(step, filler(&mut dice, 300))),
        (0..6, Some(page)) if state.len() > PAGES / 2 => Change::Free(page),
        (6, Some(page)) => Change::Replace(page, with_name(page, filler(&mut dice, u64::from(LARGE) + 500))),
        (7..10, Some(page)) => Change::Replace(page, with_name(page, filler(&mut dice, 700))),
        (_, Some(page)) => Change::Link(page, filler(&mut dice, 60)),
    }
}

fn with_name(name: u64, filler: Vec<u8>) -> Vec<u8> {
    [name.to_le_bytes().to_vec(), filler].concat()
}

pub fn apply(state: &mut State, step: u64, change: &Change) {
    match change {
        Change::Allocate(bytes) => drop(state.insert(step, bytes.clone())),
        Change::Link(page, bytes) => state.get_mut(page).expect("it is there").extend(bytes),
        Change::Replace(page, bytes) => drop(state.insert(*page, bytes.clone())),
        Change::Free(page) => drop(state.remove(page)),
    }
}

/// The state after so many steps.
pub fn after(seed: u64, steps: u64) -> State {
    let mut state = State::new();
    for step in 1..=steps {
        let change = change(seed, step, &state);
        apply(&mut state, step, &change);
    }
    state
}

/// After how many steps a state is this one, at least so many. `None` if it never is.
pub fn steps_of(seed: u64, found: &State, at_least: u64) -> Option<u64> {
    let mut state = after(seed, at_least);
    for steps in at_least..at_least + BETWEEN_WORDS {
        if state == *found {
            return Some(steps);
        }
        let change = change(seed, steps + 1, &state);
        apply(&mut state, steps + 1, &change);
    }
    None
}

/// Small segments and buffers, so that every part of a store is at work all the time.
pub fn config(config: Config) -> Config {
    config
        .segment_size(16 << 10)
        .io_buffer_size(4 << 10)
        .io_buffers(2)
        .cache_capacity(64 << 10)
        .snapshot_interval(64 << 10)
        .inline_limit(LARGE)
}

/// A store that a history is played into.
pub struct Player {
    pub cache: PageCache<Bytes>,
    seed: u64,
    /// How many steps it has.
    pub steps: u64,
    pub state: State,
    places: BTreeMap<u64, (PageId, Version)>,
}

impl Player {
    /// Takes a store as it is. An error in words if that is not a state that the history has after at least
    /// so many steps.
    pub fn new(cache: PageCache<Bytes>, seed: u64, at_least: u64) -> Result<Self, String> {
        let (state, places) = look(&cache)?;
        let steps = steps_of(seed, &state, at_least).ok_or_else(|| {
            let expected = after(seed, at_least);
            let differ = expected.iter().filter(|(page, bytes)| state.get(page) != Some(bytes));
            let differ: Vec<_> = differ.map(|(page, _)| page).collect();
            format!("no state after {at_least} steps or more is this one; of that after {at_least}, {differ:?} differ")
        })?;
        Ok(Self { cache, seed, steps, state, places })
    }

    /// Takes the next step. After an error it was not taken.
    pub fn step(&mut self) -> Result<(), Error> {
        let step = self.steps + 1;
        let change = change(self.seed, step, &self.state);
        let place = |page: &u64| self.places[page];
        let race = "nobody else writes";
        match &change {
            Change::Allocate(bytes) => {
                let page = self.cache.allocate(Bytes(bytes.clone()))?;
                self.places.insert(step, (page.page_id, page.version));
            }
            Change::Link(page, bytes) => {
                let (page_id, version) = place(page);
                let done = self.cache.link(page_id, version, Bytes(bytes.clone()))?.done();
                self.places.insert(*page, (page_id, done.expect(race)));
            }
            Change::Replace(page, bytes) => {
                let (page_id, version) = place(page);
                let done = self.cache.replace(page_id, version, Bytes(bytes.clone()))?.done();
                self.places.insert(*page, (page_id, done.expect(race)));
            }
            Change::Free(page) => {
                let (page_id, version) = place(page);
                assert!(self.cache.free(page_id, version)?.is_done(), "{race}");
                self.places.remove(page);
            }
        }
        apply(&mut self.state, step, &change);
        self.steps = step;
        Ok(())
    }

    /// Whether the store has what it should.
    pub fn is_intact(&self) -> Result<bool, String> {
        look(&self.cache).map(|(state, _)| state == self.state)
    }
}

type Places = BTreeMap<u64, (PageId, Version)>;

/// All pages, read.
fn look(cache: &PageCache<Bytes>) -> Result<(State, Places), String> {
    let (mut state, mut places) = (State::new(), Places::new());
    let guard = cache.pin();
    for page_id in (1..=cache.stats().page_ids).map(PageId::new) {
        let page = guard.get(page_id).map_err(|error| format!("page {page_id} can't be read: {error}"))?;
        let Some(page) = page else { continue };
        let bytes = &page.merged().0;
        let name =
            bytes.first_chunk().map(|name| u64::from_le_bytes(*name)).ok_or("a page without a name")?;
        state.insert(name, bytes.clone());
        if places.insert(name, (page_id, page.version())).is_some() {
            return Err(format!("page {name} is there twice"));
        }
    }
    Ok((state, places))
}
