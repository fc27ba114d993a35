//! A store that is worked with step by step, beside a journal that says what it must hold.

use std::sync::Arc;

use pagelog::sim::SimStorage;
use pagelog::{Cas, Error, Lsn, PageCache, PageId, RootCas, Storage, Version};

use super::hook::{Hook, hooked};
use super::oracle::{Change, Journal, Life, observe};
pub use super::races::{Aside, Copy};
use super::random::Random;
pub use super::setting::Setting;
use super::{Bytes, contents, look};

/// One thing to do. Pages are chosen among those that are there, by any number.
#[derive(Clone, Debug)]
pub enum Op {
    Allocate {
        length: usize,
    },
    Link {
        page: usize,
        length: usize,
    },
    Replace {
        page: usize,
        length: usize,
    },
    Free {
        page: usize,
    },
    /// A compare-and-swap on a version that is not the page's.
    Stale {
        page: usize,
        back: u64,
    },
    Get {
        page: usize,
    },
    GetAbsent {
        beyond: u64,
    },
    GenerateId,
    Root {
        name: u8,
        page: usize,
    },
    Flush,
    /// Makes a change durable that is so many steps back.
    MakeStable {
        back: usize,
    },
    Collect,
    /// Frees all pages but so many, and collects until nothing more is to be gained.
    Empty {
        keep: usize,
    },
    Snapshot,
    /// Trains a dictionary.
    Train,
    Batch(Vec<Op>),
    Reopen,
    /// Reads a page, with something else in the middle of it.
    GetInterrupted {
        page: usize,
        asides: Vec<(usize, Aside)>,
    },
    /// Collects, with something else in the middle of a write.
    CollectInterrupted {
        others: u64,
        asides: Vec<(usize, Aside)>,
    },
    /// Copies the store, with something else in between.
    BackUp {
        asides: Vec<(usize, Aside)>,
    },
}

impl Op {
    pub fn random(random: &mut Random, setting: &Setting) -> Self {
        let room = setting.longest_page() as u64;
        let short = |random: &mut Random| 4 + random.below(40) as usize;
        let page = random.next() as usize;
        match random.below(100) {
            0..=13 => Self::Allocate { length: short(random) },
            14..=35 => Self::Link { page, length: short(random) },
            36..=49 => Self::Replace { page, length: short(random) },
            50..=54 => Self::Replace { page, length: (4 + random.below(room)) as usize },
            55..=63 => Self::Free { page },
            64..=65 => Self::Stale { page, back: 1 + random.below(3) },
            66..=72 => Self::Get { page },
            73..=74 => Self::GenerateId,
            75..=77 => Self::Root { name: random.below(3) as u8, page },
            78..=82 => Self::Flush,
            83..=85 => Self::MakeStable { back: random.below(8) as usize },
            86..=87 => Self::Collect,
            88..=89 => Self::Empty { keep: random.below(4) as usize },
            90 if cfg!(feature = "compression") => Self::Train,
            90..=91 => Self::Snapshot,
            92..=96 => {
                let inner = |random: &mut Random| match Self::random(random, setting) {
                    Self::Batch(_) | Self::Reopen | Self::Empty { .. } => Self::Allocate { length: 10 },
                    op => op,
                };
                Self::Batch((0..1 + random.below(8)).map(|_| inner(random)).collect())
            }
            _ => Self::Reopen,
        }
    }
}

impl Aside {
    fn random(random: &mut Random) -> Self {
        match random.below(12) {
            0..=2 => Self::Get,
            3 => Self::Link { length: 4 + random.below(30) as usize },
            4..=6 => Self::Replace { length: 4 + random.below(30) as usize },
            7 => Self::Free,
            8..=9 => Self::Collect,
            _ => Self::Flush,
        }
    }

    fn some(random: &mut Random, page: usize) -> Vec<(usize, Self)> {
        let one = |random: &mut Random| {
            let page = if random.one_in(2) { page } else { random.next() as usize };
            (page, Self::random(random))
        };
        (0..1 + random.below(4)).map(|_| one(random)).collect()
    }
}

impl Op {
    /// As [`random`](Self::random), but some have others in the middle, and some are backups.
    pub fn random_or_raced(random: &mut Random, setting: &Setting) -> Self {
        let page = random.next() as usize;
        match random.below(36) {
            0..=1 => Self::GetInterrupted { page, asides: Aside::some(random, page) },
            // Where it can be interrupted at all, more often.
            2 => Self::CollectInterrupted { others: random.below(2), asides: Aside::some(random, page) },
            3..=5 if !setting.snapshots => {
                Self::CollectInterrupted { others: random.below(2), asides: Aside::some(random, page) }
            }
            6 if random.one_in(3) => Self::BackUp { asides: Aside::some(random, page) },
            _ => Self::random(random, setting),
        }
    }
}

/// What went wrong in doing something.
#[derive(Debug)]
pub enum Trouble {
    /// The store said no. That may be what the test wants.
    Refused(Error),
    /// The store is wrong.
    Wrong(String),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl Trouble {
    pub fn text(self) -> String {
        match self {
            Self::Refused(error) => format!("unexpected error: {error}"),
            Self::Wrong(text) => text,
        }
    }
}

/// The bytes of live records, in the log and in files of their own.
pub fn all_live_bytes(cache: &PageCache<Bytes>) -> u64 {
    let stats = cache.stats();
    stats.live_bytes + stats.large_value_bytes
}

pub type Outcome = Result<(), Trouble>;

fn wrong(text: String) -> Outcome {
    Err(Trouble::Wrong(text))
}

macro_rules! ensure {
    ($holds:expr, $($text:tt)*) => {
        if !$holds {
            return wrong(format!($($text)*));
        }
    };
}

/// What was reached that the store itself does not count.
#[derive(Clone, Debug, Default)]
pub struct Reached {
    pub races_of_page_in: u64,
    pub changes_in_page_in: u64,
    pub relocations_in_page_in: u64,
    pub evictions_in_relocation: u64,
}

pub struct Session {
    pub setting: Setting,
    pub disk: SimStorage,
    pub cache: PageCache<Bytes>,
    pub journal: Journal,
    pub serial: u32,
    pub copies: Vec<Copy>,
    pub reached: Reached,
    pub(super) in_batch: bool,
    /// Without one, nothing is interrupted.
    pub(super) hook: Option<Arc<Hook>>,
}

impl Session {
    pub fn open(
        setting: &Setting,
        disk: &SimStorage,
        journal: Journal,
        serial: u32,
    ) -> Result<Self, Trouble> {
        let hook = Arc::new(Hook::new(disk, setting.segment_size));
        let cache = setting.open_on(hooked(disk, &hook))?;
        Ok(Self { hook: Some(hook), ..Self::of(setting, disk, cache, journal, serial) })
    }

    pub fn of(
        setting: &Setting,
        disk: &SimStorage,
        cache: PageCache<Bytes>,
        journal: Journal,
        serial: u32,
    ) -> Self {
        let (setting, disk) = (setting.clone(), disk.clone());
        let (copies, reached) = (Vec::new(), Reached::default());
        Self { setting, disk, cache, journal, serial, copies, reached, in_batch: false, hook: None }
    }

    pub(super) fn fresh(&mut self, length: usize) -> Bytes {
        self.serial += 1;
        contents(self.serial, length)
    }

    pub(super) fn choose(&self, page: usize) -> Option<(u64, Life)> {
        let count = self.journal.now.live().count();
        let chosen = self.journal.now.live().nth(page.checked_rem(count)?)?;
        Some((chosen.0, chosen.1.clone()))
    }

    /// Does it, and notes what must survive from now on.
    pub fn run(&mut self, op: &Op) -> Outcome {
        let outcome = self.perform(op);
        self.journal.acknowledge_below(self.disk.operations(), self.cache.stable_lsn());
        outcome
    }

    fn perform(&mut self, op: &Op) -> Outcome {
        match op {
            Op::Allocate { length } => self.allocate(*length),
            Op::Link { page, length } => self.link(*page, *length),
            Op::Replace { page, length } => self.replace(*page, *length),
            Op::Free { page } => self.free(*page),
            Op::Stale { page, back } => self.stale(*page, *back),
            Op::Get { page } => match self.choose(*page) {
                Some((page_id, _)) => self.check_page(page_id),
                None => Ok(()),
            },
            Op::GetAbsent { beyond } => self.check_page(self.journal.page_bound + beyond),
            Op::GenerateId => {
                let id = self.cache.generate_id()?;
                self.journal.generated(self.disk.operations(), id);
                Ok(())
            }
            Op::Root { name, page } => self.root(*name, *page),
            Op::Flush => self.flush(),
            Op::MakeStable { back } => self.make_stable(*back),
            Op::Collect => Ok(self.cache.attempt_gc().map(|_| ())?),
            Op::Empty { keep } => self.empty(*keep),
            Op::Snapshot => match self.cache.snapshot() {
                Err(Error::BatchOpen) if self.in_batch => Ok(()),
                other => Ok(other?),
            },
            Op::Train => match self.train() {
                Err(Error::BatchOpen) if self.in_batch => Ok(()),
                other => Ok(other?),
            },
            Op::Batch(ops) => self.batch(ops),
            Op::Reopen => self.reopen(),
            Op::GetInterrupted { page, asides } => self.get_interrupted(*page, asides),
            Op::CollectInterrupted { others, asides } => self.collect_interrupted(*others, asides),
            Op::BackUp { asides } => self.back_up(asides),
        }
    }

    /// Flushes, like every training, also where it can do no more.
    fn train(&mut self) -> pagelog::Result<()> {
        #[cfg(feature = "compression")]
        self.cache.train_dictionary(256)?;
        self.cache.flush()
    }

    fn changed(&mut self, began: u64, lsn: Lsn, page_id: u64, life: Life) {
        self.journal.record(began, Some(lsn), Change::Page(page_id, life));
    }

    fn allocate(&mut self, length: usize) -> Outcome {
        let began = self.disk.operations();
        let bytes = self.fresh(length);
        let allocated = self.cache.allocate(bytes.clone())?;
        let found = (allocated.page_id.get(), allocated.version.get());
        let expected = self.journal.now.next_allocation();
        let agrees = found == expected || (self.journal.uncertain && found.0 == expected.0);
        ensure!(agrees, "allocated page and version {found:?} instead of {expected:?}");
        let life = Life { version: found.1, birth: found.1, contents: Some(bytes.0) };
        self.changed(began, allocated.lsn, found.0, life);
        Ok(())
    }

    fn link(&mut self, page: usize, length: usize) -> Outcome {
        let Some((page_id, life)) = self.choose(page) else { return Ok(()) };
        let old = life.contents.clone().unwrap_or_default();
        if old.len() + length > self.setting.longest_page() {
            return self.replace(page, length);
        }
        let began = self.disk.operations();
        let bytes = self.fresh(length);
        let merged = [old, bytes.0.clone()].concat();
        let outcome = self.cache.link(PageId::new(page_id), Version::new(life.version), bytes)?;
        self.advanced(began, page_id, &life, Some(merged), &outcome)
    }

    fn replace(&mut self, page: usize, length: usize) -> Outcome {
        let Some((page_id, life)) = self.choose(page) else { return Ok(()) };
        let began = self.disk.operations();
        let bytes = self.fresh(length);
        let outcome = self.cache.replace(PageId::new(page_id), Version::new(life.version), bytes.clone())?;
        self.advanced(began, page_id, &life, Some(bytes.0), &outcome)
    }

    fn free(&mut self, page: usize) -> Outcome {
        let Some((page_id, life)) = self.choose(page) else { return Ok(()) };
        let began = self.disk.operations();
        let outcome = self.cache.free(PageId::new(page_id), Version::new(life.version))?;
        self.advanced(began, page_id, &life, None, &outcome)
    }

    pub(super) fn advanced<T: std::fmt::Debug>(
        &mut self,
        began: u64,
        page_id: u64,
        life: &Life,
        contents: Option<Vec<u8>>,
        outcome: &Cas<T>,
    ) -> Outcome {
        let Cas::Done { version, lsn } = *outcome else {
            return wrong(format!("page {page_id}: {outcome:?}"));
        };
        ensure!(
            version.get() == life.version + 1,
            "page {page_id} went from version {} to {version}",
            life.version
        );
        self.changed(began, lsn, page_id, Life { version: version.get(), contents, ..*life });
        Ok(())
    }

    /// Each verb with a version that the page had before, or never.
    fn stale(&mut self, page: usize, back: u64) -> Outcome {
        let ids: Vec<u64> = self.journal.now.pages.keys().copied().collect();
        let Some(page_id) = page.checked_rem(ids.len()).and_then(|at| ids.get(at)).copied() else {
            return Ok(());
        };
        let life = self.journal.now.pages[&page_id].clone();
        let version = life.version.saturating_sub(back);
        let (id, token) = (PageId::new(page_id), Version::new(version));
        let found = match back % 3 {
            0 => self.cache.link(id, token, contents(0, 9))?,
            1 => self.cache.replace(id, token, contents(0, 9))?,
            _ => match self.cache.free(id, token)? {
                Cas::Done { version, lsn } => Cas::Done { version, lsn },
                Cas::Changed { current, .. } => Cas::Changed { current, fragment: contents(0, 9) },
                Cas::Gone { .. } => Cas::Gone { fragment: contents(0, 9) },
            },
        };
        let fragment = contents(0, 9);
        let expected = if life.contents.is_none() || version < life.birth {
            Cas::Gone { fragment }
        } else {
            Cas::Changed { current: Version::new(life.version), fragment }
        };
        ensure!(
            found == expected,
            "page {page_id}, {life:?}, version {version}: {found:?} instead of {expected:?}"
        );
        Ok(())
    }

    /// A page must be what the journal says.
    pub fn check_page(&self, page_id: u64) -> Outcome {
        let life = self.journal.now.pages.get(&page_id).filter(|life| life.contents.is_some());
        let expected = life.map(|life| (life.version, life.contents.clone().unwrap_or_default()));
        let version = self.cache.version(PageId::new(page_id))?.map(Version::get);
        ensure!(
            version == expected.as_ref().map(|(version, _)| *version),
            "page {page_id} has version {version:?}"
        );
        let found = look(&self.cache, page_id)?;
        ensure!(found == expected, "page {page_id} is {found:?} instead of {expected:?}");
        Ok(())
    }

    fn root(&mut self, name: u8, page: usize) -> Outcome {
        let name = vec![b'r'; usize::from(name) + 1];
        let old = self.journal.now.roots.get(&name).copied();
        let new = if old.is_some() && page.is_multiple_of(3) { None } else { Some(page as u64 % 9) };
        let began = self.disk.operations();
        let wrong_old = Some(PageId::new(777));
        let refused = self.cache.cas_root_in_meta(&name, wrong_old, None)?;
        ensure!(refused == RootCas::Changed { current: old.map(PageId::new) }, "root {name:?}: {refused:?}");
        let outcome = self.cache.cas_root_in_meta(&name, old.map(PageId::new), new.map(PageId::new))?;
        let RootCas::Done { lsn } = outcome else { return wrong(format!("root {name:?}: {outcome:?}")) };
        let mut roots = self.journal.now.roots.clone();
        match new {
            Some(new) => roots.insert(name, new),
            None => roots.remove(&name),
        };
        self.journal.record(began, Some(lsn), Change::Roots(roots));
        Ok(())
    }

    pub(super) fn flush(&mut self) -> Outcome {
        match self.cache.flush() {
            Err(Error::BatchOpen) if self.in_batch => Ok(()),
            Err(error) => Err(error.into()),
            Ok(()) => {
                // With a batch open nothing behind its begin was there to be flushed.
                if !self.in_batch {
                    self.journal.acknowledge_all(self.disk.operations());
                }
                Ok(())
            }
        }
    }

    fn make_stable(&mut self, back: usize) -> Outcome {
        let Some(lsn) = self.journal.lsn_back(back) else { return Ok(()) };
        match self.cache.make_stable(lsn) {
            Err(Error::BatchOpen) if self.in_batch => Ok(()),
            Err(error) => Err(error.into()),
            Ok(()) => {
                ensure!(
                    self.cache.stable_lsn() > lsn,
                    "{lsn} was made stable, but only all below {} is",
                    self.cache.stable_lsn()
                );
                self.journal.acknowledge_below(self.disk.operations(), Lsn::new(lsn.get() + 1));
                Ok(())
            }
        }
    }

    fn empty(&mut self, keep: usize) -> Outcome {
        while self.journal.now.live().count() > keep {
            self.free(keep)?;
        }
        self.flush()?;
        let mut steps = 0;
        while self.cache.attempt_gc()? {
            self.flush()?;
            steps += 1;
            ensure!(steps < 1000, "collection does not come to an end: {:?}", self.cache.stats());
        }
        Ok(())
    }

    /// Every step of a batch is taken, also behind one that is refused.
    fn batch(&mut self, ops: &[Op]) -> Outcome {
        let began = self.disk.operations();
        let handle = self.cache.clone();
        let batch = handle.pin_log()?;
        self.journal.record(began, None, Change::BatchBegin);
        self.in_batch = true;
        let mut refused = None;
        for op in ops {
            match self.run(op) {
                Err(Trouble::Refused(error)) => refused = Some(error),
                other => other?,
            }
        }
        self.in_batch = false;
        let began = self.disk.operations();
        let lsn = batch.seal_batch()?;
        self.journal.record(began, Some(lsn), Change::BatchEnd);
        refused.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Closes and opens again.
    fn reopen(&mut self) -> Outcome {
        self.cache.close()?;
        self.journal.acknowledge_all(self.disk.operations());
        let storage: Arc<dyn Storage> = match &self.hook {
            Some(hook) => hooked(&self.disk, hook),
            None => Arc::new(self.disk.clone()),
        };
        self.cache = self.setting.open_on(storage)?;
        ensure!(self.cache.was_recovered(), "the store was not found again");
        self.check_all()
    }

    /// Everything must be what the journal says, also the live bytes (once all is written).
    pub fn check_all(&self) -> Outcome {
        let (view, _) = observe(&self.cache, self.journal.page_bound + 2).map_err(Trouble::Wrong)?;
        ensure!(view == self.journal.now.view(), "{}", self.journal.describe(u64::MAX, &view));
        Ok(())
    }

    /// The live bytes must be those of the pages, of the freed ids and of the roots. Only after a flush, for
    /// records count when they are written.
    pub fn check_live_bytes(&self) -> Outcome {
        let (_, bytes) = observe(&self.cache, self.journal.page_bound + 2).map_err(Trouble::Wrong)?;
        let (found, expected) = (all_live_bytes(&self.cache), bytes + self.journal.now.bytes_beside_pages());
        ensure!(found == expected, "{found} live bytes instead of {expected}");
        Ok(())
    }

    /// Drops the store as a crash would: nothing more gets to the disk.
    pub fn crash(self) -> Journal {
        self.disk.cut_power();
        self.journal
    }
}
