//! A thread that uses a few pages and writes down what it did.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::thread;

use pagelog::{Cas, Codec, CodecError, Fragment, Lsn, PageCache, PageId, Version};

use crate::common::Dice;
use crate::faults::Liar;
use crate::history::{Event, Operation, Outcome, Serial, Verb};
use crate::order::Clock;

/// How many there are; their serials differ.
pub const THREADS: u64 = 3;
/// Ids above this are given back at once, so that everybody meets on these.
const PAGES: u64 = 3;
/// A page is replaced, rather than linked to, when it has so many fragments.
const LONG: usize = 10;

/// The serials of the changes that a page is made of.
#[derive(Debug, PartialEq, Eq)]
pub struct Serials(pub Vec<Serial>);

/// Twelve bytes for each, so that three of them make a large value where those begin at 32 bytes.
pub struct Twelve;

const MASK: u32 = 0x5A5A_5A5A;

impl Codec<Serials> for Twelve {
    fn encode(fragment: &Serials, into: &mut Vec<u8>) -> Result<(), CodecError> {
        jitter();
        let words = fragment.0.iter().flat_map(|serial| [*serial, !serial, serial ^ MASK]);
        words.for_each(|word| into.extend_from_slice(&word.to_le_bytes()));
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<Serials, CodecError> {
        jitter();
        let words: Vec<u32> =
            bytes.chunks(4).map(|word| word.try_into().map_or(0, u32::from_le_bytes)).collect();
        let serial = |words: &[u32]| match words {
            [serial, not, masked] if *not == !serial && *masked == serial ^ MASK => Ok(*serial),
            _ => Err(CodecError::from("no serial")),
        };
        words.chunks(3).map(serial).collect::<Result<_, _>>().map(Serials)
    }
}

impl Fragment for Serials {
    type Codec = Twelve;

    fn merge(oldest_to_newest: &[&Self]) -> Self {
        jitter();
        Self(oldest_to_newest.iter().flat_map(|fragment| fragment.0.iter().copied()).collect())
    }
}

thread_local! {
    static JITTER: RefCell<Option<Dice>> = const { RefCell::new(None) };
}

/// Loses some time now and then, in the middle of the verbs: the store calls us there, to encode, to decode,
/// to merge, to read and to write. On few processors hardly anything would overlap otherwise. Between these
/// points, see `--cfg jitter` in `src/sync.rs`.
pub fn jitter() {
    JITTER.with_borrow_mut(|dice| {
        let Some(dice) = dice else { return };
        match dice.below(8) {
            0..2 => thread::yield_now(),
            2..4 => (0..dice.below(300)).for_each(|_| std::hint::spin_loop()),
            _ => {}
        }
    });
}

pub fn with_jitter(seed: u64) {
    JITTER.set(Some(Dice::new(seed)));
}

/// What one thread knows, and what it did in this round.
pub struct Worker<'a> {
    cache: &'a PageCache<Serials>,
    clock: &'a Clock,
    thread: u64,
    dice: Dice,
    serial: Serial,
    /// The versions that were seen of each page, the last one at the end, and whether the page was there.
    seen: BTreeMap<u64, (Vec<u64>, bool)>,
    pub events: Vec<(u64, Event)>,
    /// What was changed: the page, the version that it got, and where in the log that is.
    pub logged: Vec<(u64, u64, Lsn)>,
    liar: Option<Liar>,
}

impl<'a> Worker<'a> {
    pub fn new(
        cache: &'a PageCache<Serials>,
        clock: &'a Clock,
        thread: u64,
        dice: Dice,
        liar: Option<Liar>,
    ) -> Self {
        let (seen, events, logged) = (BTreeMap::new(), Vec::new(), Vec::new());
        Self { cache, clock, thread, dice, serial: thread as Serial, seen, events, logged, liar }
    }

    pub fn round(&mut self) {
        for _ in 0..4 + self.dice.below(12) {
            let page_id = 1 + self.dice.below(PAGES);
            let (seen, is_there) = self.token(page_id);
            match (self.dice.below(16), seen) {
                (0..2, _) if !is_there => self.allocate(),
                (0..5, _) | (_, None) => self.get(page_id),
                (5..7, _) => self.version(page_id),
                (7, Some(seen)) => self.change(page_id, Verb::Free, seen),
                (8..10, Some(seen)) => {
                    let verb = Verb::Replace(self.next_serial());
                    self.change(page_id, verb, seen);
                }
                (_, Some(seen)) => {
                    let verb = Verb::Link(self.next_serial());
                    self.change(page_id, verb, seen);
                }
            }
        }
    }

    /// A version that was seen of the page, mostly the last one, and whether the page was there then.
    fn token(&mut self, page_id: u64) -> (Option<u64>, bool) {
        let Some((versions, is_there)) = self.seen.get(&page_id) else { return (None, false) };
        let old = versions.get(self.dice.below(6) as usize).copied();
        let token = if self.dice.below(6) == 0 { old } else { versions.last().copied() };
        (token, *is_there)
    }

    fn next_serial(&mut self) -> Serial {
        self.serial += THREADS as Serial;
        self.serial
    }

    fn record(&mut self, page_id: u64, work: impl FnOnce(&PageCache<Serials>) -> Operation) -> Operation {
        let mut event = self.clock.record(self.thread, || work(self.cache));
        if let Some(liar) = &mut self.liar {
            liar.distort(page_id, &mut event.operation);
        }
        self.learn(page_id, &event.operation);
        let operation = event.operation.clone();
        self.events.push((page_id, event));
        operation
    }

    fn learn(&mut self, page_id: u64, operation: &Operation) {
        let (version, is_there) = match operation {
            Operation::Get(found) => (found.as_ref().map(|(version, _)| *version), found.is_some()),
            Operation::Version(found) => (*found, found.is_some()),
            Operation::Allocate(_, version) => (Some(*version), true),
            Operation::Change { verb, outcome, .. } => match outcome {
                Outcome::Done(version) => (Some(*version), *verb != Verb::Free),
                Outcome::Changed(version) => (Some(*version), true),
                Outcome::Gone => (None, false),
            },
        };
        let (versions, was_there) = self.seen.entry(page_id).or_default();
        versions.extend(version);
        *was_there = is_there;
        if versions.len() > 6 {
            versions.remove(0);
        }
    }

    fn get(&mut self, page_id: u64) {
        let found = self.record(page_id, |cache| {
            let guard = cache.pin();
            let page = guard.get(PageId::new(page_id)).unwrap();
            Operation::Get(page.map(|page| {
                let mut parts: Vec<_> = page.fragments().collect();
                parts.reverse();
                let merged = page.merged();
                assert_eq!(Serials::merge(&parts), *merged, "the parts of a page are not the page");
                (page.version().get(), merged.0.clone())
            }))
        });
        if let Operation::Get(Some((seen, contents))) = found
            && contents.len() > LONG
        {
            let verb = Verb::Replace(self.next_serial());
            self.change(page_id, verb, seen);
        }
    }

    fn version(&mut self, page_id: u64) {
        self.record(page_id, |cache| {
            Operation::Version(cache.version(PageId::new(page_id)).unwrap().map(Version::get))
        });
    }

    fn allocate(&mut self) {
        let serial = self.next_serial();
        let mut page_id = 0;
        let event = self.clock.record(self.thread, || {
            let page = self.cache.allocate(Serials(vec![serial])).unwrap();
            page_id = page.page_id.get();
            self.logged.push((page_id, page.version.get(), page.lsn));
            Operation::Allocate(serial, page.version.get())
        });
        self.learn(page_id, &event.operation);
        let Operation::Allocate(_, version) = event.operation else { return };
        self.events.push((page_id, event));
        if page_id > PAGES {
            self.change(page_id, Verb::Free, version);
        }
    }

    fn change(&mut self, page_id: u64, verb: Verb, seen: u64) {
        let is_dropped = self.liar.as_mut().is_some_and(|liar| liar.drops(verb));
        let mut lsn = None;
        let operation = self.record(page_id, |cache| {
            let (id, version) = (PageId::new(page_id), Version::new(seen));
            let (outcome, logged) = match verb {
                _ if is_dropped => (Outcome::Done(seen + 1), None),
                Verb::Link(serial) => outcome(&cache.link(id, version, Serials(vec![serial])).unwrap()),
                Verb::Replace(serial) => outcome(&cache.replace(id, version, Serials(vec![serial])).unwrap()),
                Verb::Free => outcome(&cache.free(id, version).unwrap()),
            };
            lsn = logged;
            Operation::Change { verb, seen, outcome }
        });
        if let (Operation::Change { outcome: Outcome::Done(version), .. }, Some(lsn)) = (operation, lsn) {
            self.logged.push((page_id, version, lsn));
        }
    }
}

/// What came of a compare-and-swap, and where it is in the log if it happened.
fn outcome<F>(cas: &Cas<F>) -> (Outcome, Option<Lsn>) {
    match cas {
        Cas::Done { version, lsn } => (Outcome::Done(version.get()), Some(*lsn)),
        Cas::Changed { current, .. } => (Outcome::Changed(current.get()), None),
        Cas::Gone { .. } => (Outcome::Gone, None),
    }
}

/// What else a store has to do, while the others are at it.
pub fn keep_house(cache: &PageCache<Serials>, dice: &mut Dice) {
    for _ in 0..dice.below(3) {
        match dice.below(8) {
            0..4 => drop(cache.attempt_gc().unwrap()),
            4 => cache.snapshot().unwrap(),
            5 | 6 => cache.flush().unwrap(),
            _ => drop(cache.pin_log().unwrap().seal_batch().unwrap()),
        }
    }
}
