//! Operations in the middle of others, and a backup beside a writer.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use pagelog::sim::SimStorage;
use pagelog::{Cas, Counts, Lsn, PageCache, PageId, Version};

use super::hook::Call;
use super::oracle::{Life, View};
use super::session::{Outcome, Reached, Session, Trouble};
use super::{Bytes, look};

/// What is done in the middle of another operation.
#[derive(Clone, Debug)]
pub enum Aside {
    Get,
    Link { length: usize },
    Replace { length: usize },
    Free,
    Collect,
    Flush,
}

/// A change, done aside, that waits to be noted.
#[derive(Debug)]
struct Noted {
    began: u64,
    page_id: u64,
    life: Life,
    contents: Option<Vec<u8>>,
    outcome: Cas<()>,
}

/// What is done to one page aside.
struct Step {
    aside: Aside,
    page_id: u64,
    life: Life,
    bytes: Bytes,
}

#[derive(Default)]
struct Done {
    noted: Vec<Noted>,
    error: Option<Trouble>,
    before: Counts,
    after: Counts,
}

/// A copy that was made, and what must be in it.
#[derive(Clone, Debug)]
pub struct Copy {
    pub target: SimStorage,
    /// The target's operations when the backup had returned.
    pub finished: u64,
    pub expected: View,
}

fn forget<T>(outcome: &Cas<T>) -> Cas<()> {
    match outcome {
        Cas::Done { version, lsn } => Cas::Done { version: *version, lsn: *lsn },
        Cas::Changed { current, .. } => Cas::Changed { current: *current, fragment: () },
        Cas::Gone { .. } => Cas::Gone { fragment: () },
    }
}

impl Step {
    fn run(self, cache: &PageCache<Bytes>, disk: &SimStorage) -> Result<Option<Noted>, Trouble> {
        let Self { aside, page_id, life, bytes } = self;
        let (id, token, began) = (PageId::new(page_id), Version::new(life.version), disk.operations());
        let old = life.contents.clone().unwrap_or_default();
        let (contents, outcome) = match aside {
            Aside::Get => {
                let found = look(cache, page_id)?;
                if found != Some((life.version, old)) {
                    return Err(Trouble::Wrong(format!("page {page_id}, read aside, is {found:?}")));
                }
                return Ok(None);
            }
            Aside::Collect => return Ok(cache.attempt_gc().map(|_| None)?),
            Aside::Flush => return Ok(cache.flush().map(|()| None)?),
            Aside::Link { .. } => {
                (Some([old, bytes.0.clone()].concat()), forget(&cache.link(id, token, bytes)?))
            }
            Aside::Replace { .. } => (Some(bytes.0.clone()), forget(&cache.replace(id, token, bytes)?)),
            Aside::Free => (None, forget(&cache.free(id, token)?)),
        };
        Ok(Some(Noted { began, page_id, life, contents, outcome }))
    }
}

impl Session {
    /// Pages by any number, each once, with what is to be done to them.
    fn steps(&mut self, asides: &[(usize, Aside)]) -> Vec<Step> {
        let mut steps: Vec<Step> = Vec::new();
        for (page, aside) in asides {
            let Some((page_id, life)) = self.choose(*page) else { break };
            let length = match aside {
                Aside::Link { length } | Aside::Replace { length } => *length,
                _ => 4,
            };
            let room = self.setting.longest_page() - life.contents.as_ref().map_or(0, Vec::len).min(length);
            let changes = |step: &Step| step.page_id == page_id && step.aside.changes();
            if room >= length && !steps.iter().any(changes) {
                let bytes = self.fresh(length);
                steps.push(Step { aside: aside.clone(), page_id, life, bytes });
            }
        }
        steps
    }

    /// Does `outer`, which logs no change itself, and in the middle of it the steps.
    fn interrupted(
        &mut self,
        call: Call,
        others: u64,
        steps: Vec<Step>,
        outer: impl FnOnce(&PageCache<Bytes>) -> Result<(), Trouble>,
    ) -> Result<Option<(Counts, Counts)>, Trouble> {
        let done = Arc::new(Mutex::new(Done::default()));
        let (cache, disk, sink) = (self.cache.clone(), self.disk.clone(), Arc::clone(&done));
        let work = move || {
            let mut done = sink.lock().unwrap();
            done.before = cache.stats().counts;
            for step in steps {
                match step.run(&cache, &disk) {
                    Ok(noted) => done.noted.extend(noted),
                    Err(error) => {
                        done.error = Some(error);
                        break;
                    }
                }
            }
            done.after = cache.stats().counts;
        };
        let result = match self.hook.clone() {
            Some(hook) => {
                hook.plan(call, others, work);
                let result = outer(&self.cache);
                if hook.clear() {
                    return result.map(|()| None);
                }
                result
            }
            None => return outer(&self.cache).map(|()| None),
        };
        let Done { noted, error, before, after } = std::mem::take(&mut *done.lock().unwrap());
        for Noted { began, page_id, life, contents, outcome } in noted {
            self.advanced(began, page_id, &life, contents, &outcome)?;
        }
        result?;
        error.map_or(Ok(Some((before, after))), Err)
    }

    /// Reads a page, and does something else while the log is being read.
    pub(super) fn get_interrupted(&mut self, page: usize, asides: &[(usize, Aside)]) -> Outcome {
        let Some((page_id, life)) = self.choose(page) else { return Ok(()) };
        // All others first, so that it is not in a small memory.
        let others: Vec<u64> = self.journal.now.live().map(|(other, _)| other).collect();
        for other in others.into_iter().filter(|other| *other != page_id) {
            self.check_page(other)?;
        }
        let steps = self.steps(asides);
        let steps_change = steps.iter().any(|step| step.page_id == page_id && step.aside.changes());
        let same = steps.iter().any(|step| step.page_id == page_id && matches!(step.aside, Aside::Get));
        let outer = |cache: &PageCache<Bytes>| {
            let found = look(cache, page_id)?;
            // It may be the page as it was, or as it has become.
            let is_right = steps_change || found == Some((life.version, life.contents.unwrap_or_default()));
            if is_right { Ok(()) } else { Err(Trouble::Wrong(format!("page {page_id} is {found:?}"))) }
        };
        if let Some((before, after)) = self.interrupted(Call::Read, 0, steps, outer)? {
            let missed = after.misses > before.misses;
            self.reached.races_of_page_in += u64::from(same && missed);
            self.reached.changes_in_page_in += u64::from(steps_change);
            let moved = after.relocated_records > before.relocated_records;
            self.reached.relocations_in_page_in += u64::from(moved);
        }
        self.check_page(page_id)
    }

    /// Collects, and does something else while copies are being written.
    ///
    /// What is done there must not need a sync: this thread is in the middle of writing. So all else is
    /// written out before, and nothing is done in stores that take snapshots on the way.
    pub(super) fn collect_interrupted(&mut self, others: u64, asides: &[(usize, Aside)]) -> Outcome {
        if self.in_batch || self.setting.snapshots {
            return Ok(self.cache.attempt_gc().map(|_| ())?);
        }
        self.flush()?;
        let small = |(page, aside): &(usize, Aside)| match aside {
            Aside::Link { .. } | Aside::Replace { .. } => (*page, Aside::Replace { length: 6 }),
            Aside::Collect | Aside::Flush => (*page, Aside::Get),
            other => (*page, other.clone()),
        };
        let asides: Vec<_> = asides.iter().map(small).collect();
        let steps = self.steps(&asides);
        let before = self.cache.stats().counts;
        let outer = |cache: &PageCache<Bytes>| Ok(cache.attempt_gc().map(|_| ())?);
        if let Some((at, after)) = self.interrupted(Call::Write, others, steps, outer)? {
            let moved = self.cache.stats().counts.relocated_records > before.relocated_records;
            self.reached.evictions_in_relocation += u64::from(moved && after.evictions > at.evictions);
            // A copy that came too late must not be charged to its segment, and only a store that goes on can
            // tell.
            self.flush()?;
            self.check_live_bytes()?;
        }
        Ok(())
    }

    /// Makes a copy, and goes on writing meanwhile.
    pub(super) fn back_up(&mut self, asides: &[(usize, Aside)]) -> Outcome {
        let steps = self.steps(asides);
        let target = SimStorage::new(self.serial.into());
        target.record_history();
        let (cache, disk) = (self.cache.clone(), self.disk.clone());
        let (mut noted, mut error) = (Vec::new(), None);
        let mut steps = steps.into_iter();
        let progress = |_| {
            if let Some(step) = steps.next() {
                match step.run(&cache, &disk) {
                    Ok(done) => noted.extend(done),
                    Err(trouble) => error = Some(trouble),
                }
            }
            ControlFlow::Continue(())
        };
        let report = self.cache.backup_to_storage(Arc::new(target.clone()), progress);
        for Noted { began, page_id, life, contents, outcome } in noted {
            self.advanced(began, page_id, &life, contents, &outcome)?;
        }
        if let Some(error) = error {
            return Err(error);
        }
        let report = report?;
        let expected = self.journal.view_below(Lsn::new(report.stable_lsn.get()));
        let finished = target.operations();
        self.copies.push(Copy { target, finished, expected });
        Ok(())
    }
}

impl Aside {
    pub fn changes(&self) -> bool {
        matches!(self, Self::Link { .. } | Self::Replace { .. } | Self::Free)
    }
}

impl Reached {
    pub fn add(&mut self, other: &Self) {
        self.races_of_page_in += other.races_of_page_in;
        self.changes_in_page_in += other.changes_in_page_in;
        self.relocations_in_page_in += other.relocations_in_page_in;
        self.evictions_in_relocation += other.evictions_in_relocation;
    }
}
