//! Snapshots of the page table, taken while writers run.
//!
//! 1. Wait until every reservation made so far has been completed or aborted, and no relocation is under way;
//!    where each head ended then is the snapshot's *begin*. Whatever was logged below it is in the page table
//!    by now. (Without the wait, a writer that reserved below the begin and changed the table behind the walk
//!    would be in neither.)
//! 2. Take the marks of the ranges that have changed since the snapshot before, and walk those. Why that
//!    misses nothing is in `pages/changes`. What is logged meanwhile lies at or above the begin, so it does
//!    not matter whether the walk sees it: replay from the begin repeats it, and replay is idempotent.
//! 3. Wait until all that the walk can have seen is stable, then publish. Of the ranges that were not walked,
//!    the blocks in older files count.
//!
//! So a snapshot costs in proportion to what has changed. When the files come to more than twice what a
//! single one would take, all ranges are written in one: all in all, that is at most one more byte for each
//! byte of increments.
//!
//! A snapshot that comes to nothing gives its marks back, so that the next one walks its ranges.
//!
//! A writer that takes a snapshot in passing waits for nobody, neither for a writer that was stopped in its
//! reservation nor for somebody's batch. Its begin is where each head is *written* to: all below has been
//! completed already. And if the walk's end can't be made stable at once, the snapshot lies ready until a
//! later look finds it stable. Published late it is no worse than an old one: what was logged since its begin
//! is replayed. Nor does it walk the whole table at once, which would hold it up for as long as that takes:
//! each writer that comes by goes on with a few pages. The walk takes a part of the interval between two
//! snapshots, and what is logged meanwhile is replayed.

use super::shared::{Inner, PageCache};
use crate::config::Config;
use crate::error::Result;
use crate::failpoints::failpoint;
use crate::format::{SnapshotBase, SnapshotHeader, SnapshotRecord};
use crate::ids::{HeadLsns, PageId, RangeId};
use crate::pages::Fragment;
use crate::pages::base::BaseKind;
use crate::recovery::{PendingSnapshot, RecoveredSnapshot, SnapshotFile, SnapshotFiles, sweep};
use crate::stats::{Counter, Timed};
use crate::sync::atomic::Ordering;
use crate::sync::{Moment, Mutex, epoch};

/// How many pages ahead of the walk their memory is asked for.
const AHEAD: u64 = 8;
/// Even the walk of a small table takes so many steps: nothing must depend on its being done at once.
const STEPS: u64 = 4;
/// How many nodes a writer looks at in passing at the most, every 64 KiB of log. So a walk is over well
/// before the next one is due: in a snapshot, a node takes some ten bytes, and [`PACE`] times as much log
/// comes between two.
const NODES_PER_STEP: usize = 2048;
/// To copy a range that nobody has used takes as long as to look at so many nodes.
const NODES_PER_COPY: usize = 32;
/// How many times its own size a snapshot lets the log grow before the next one.
const PACE: u64 = 16;
/// Files that are not worth being written as one: so many bytes in all.
const FEW_BYTES: u64 = 4096;

/// When the last snapshot was taken.
#[derive(Debug)]
pub(crate) struct Snapshots {
    last: Mutex<Last>,
    interval: u64,
    on: bool,
}

#[derive(Debug, Default)]
struct Last {
    serial: u64,
    /// Bytes that had been written to the log.
    written: u64,
    /// The size of the snapshot's own file.
    size: u64,
    /// Where the log had come to, if there is a snapshot.
    end: Option<HeadLsns>,
    /// What the next one can build upon: none, if there is no snapshot.
    files: Option<SnapshotFiles>,
    /// A snapshot that is being written.
    walk: Option<Walk>,
    /// A snapshot that is complete, but names what is not stable yet.
    ready: Option<Ready>,
}

#[derive(Debug)]
struct Walk {
    began: Moment,
    file: SnapshotFile,
    /// Builds upon these, or upon nothing.
    before: SnapshotFiles,
    /// The ranges whose marks were taken.
    changed: Vec<RangeId>,
    /// The ranges that are walked: those, or all.
    ranges: Vec<RangeId>,
    /// How many of them are over.
    done: usize,
    /// The page that comes next in the present one, if that was begun.
    next: Option<PageId>,
    /// Above all pages.
    bound: PageId,
}

#[derive(Debug)]
struct Ready {
    began: Moment,
    pending: PendingSnapshot,
    /// What it may name lies below.
    end: HeadLsns,
    changed: Vec<RangeId>,
}

impl Last {
    /// What the next snapshot builds upon, unless it is better to begin anew.
    fn foundation(&self) -> Option<SnapshotFiles> {
        let is_worthwhile = |files: &&SnapshotFiles| files.bytes() <= 2 * files.bytes_in_use() + FEW_BYTES;
        self.files.as_ref().filter(is_worthwhile).cloned()
    }

    /// Gives up what is being written. Returns the ranges that were to be in it.
    fn abandon(&mut self) -> Vec<RangeId> {
        let mut changed = Vec::new();
        if let Some(walk) = self.walk.take() {
            walk.file.abandon();
            changed.extend(walk.changed);
        }
        if let Some(ready) = self.ready.take() {
            ready.pending.abandon();
            changed.extend(ready.changed);
        }
        changed
    }
}

impl Snapshots {
    /// `tails` is where the log's heads are.
    pub(super) fn new(config: &Config, found: RecoveredSnapshot, tails: HeadLsns) -> Self {
        let RecoveredSnapshot { serial, files, is_current } = found;
        let last = Last { serial, files, end: is_current.then_some(tails), ..Last::default() };
        Self { last: Mutex::new(last), interval: config.snapshot_interval, on: config.snapshots }
    }

    /// The files of the snapshot in force.
    #[cfg(test)]
    pub(super) fn files(&self) -> Option<SnapshotFiles> {
        self.last.lock().files.clone()
    }

    /// Keeps others from taking one in passing.
    #[cfg(test)]
    pub(super) fn busy(&self) -> impl Drop + '_ {
        self.last.lock()
    }

    /// Waits for whoever is at it now, and gives up what is not complete.
    pub(super) fn end(&self) {
        self.last.lock().abandon();
    }
}

impl<F: Fragment> PageCache<F> {
    /// Writes a snapshot of the page table now, which makes the next opening quicker: of what has changed in
    /// it since the last one. Waits for an open batch.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    /// # let cache = open()?;
    /// cache.allocate(Text("a page".into()))?;
    /// assert!(!cache.verify()?.has_snapshot);
    /// cache.snapshot()?;
    /// assert!(cache.verify()?.has_snapshot);
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`BatchOpen`](crate::Error::BatchOpen) if the calling thread has a batch open; I/O errors. An error in
    /// writing the snapshot itself does no harm.
    pub fn snapshot(&self) -> Result<()> {
        let inner = &*self.inner;
        inner.core.gate().admit_flush()?;
        inner.core.make_stable_below(inner.core.tail())?;
        let mut last = inner.snapshots.last.lock();
        inner.take_snapshot(&mut last)
    }
}

impl<F: Fragment> Inner<F> {
    /// Takes a snapshot if enough log has come since the last one.
    pub(super) fn pace_snapshots(&self) -> Result<()> {
        if !self.snapshots.on {
            return Ok(());
        }
        let Some(mut last) = self.snapshots.last.try_lock() else { return Ok(()) };
        if last.ready.is_none() && last.walk.is_none() {
            return self.begin_snapshot_if_due(&mut last);
        }
        if let Some(walk) = &last.walk {
            let pages = (walk.ranges.len() as u64 * RangeId::PAGES).min(walk.bound.0);
            let nodes = usize::try_from(pages.div_ceil(STEPS)).unwrap_or(usize::MAX);
            self.walk_on(&mut last, nodes.min(NODES_PER_STEP))?;
            if last.ready.is_some() {
                self.core.sync_in_passing()?;
            }
        }
        self.publish_if_stable(&mut last)
    }

    fn begin_snapshot_if_due(&self, last: &mut Last) -> Result<()> {
        let written = self.core.counters().read().written_bytes.saturating_sub(last.written);
        if written < self.snapshots.interval.max(PACE * last.size) || self.core.batches().is_open() {
            return Ok(());
        }
        let begun = {
            let Some(_no_relocation) = self.collector.try_hold() else { return Ok(()) };
            self.table.take_changes(|| self.core.write_out().map(|()| self.core.written()))?
        };
        self.begin_walk(last, begun)
    }

    /// The last snapshot, on closing: unless nothing was logged since the one before.
    pub(super) fn close_snapshot(&self) -> Result<()> {
        let mut last = self.snapshots.last.lock();
        if !self.snapshots.on || last.end == Some(self.core.tails()) {
            return Ok(());
        }
        self.take_snapshot(&mut last)
    }

    fn take_snapshot(&self, last: &mut Last) -> Result<()> {
        self.give_back(&last.abandon());
        let begun = {
            let _no_relocation = self.collector.hold();
            self.table.take_changes(|| self.core.quiesce())?
        };
        self.begin_walk(last, begun)?;
        self.walk_on(last, usize::MAX)?;
        let Some(ready) = last.ready.take() else { return Ok(()) };
        if self.core.batches().is_open() && !self.core.gate().is_closed() {
            ready.pending.abandon();
            self.give_back(&ready.changed);
            return Ok(());
        }
        match self.core.make_all_stable(&ready.end) {
            Ok(()) => self.publish(last, ready),
            Err(error) => {
                self.give_back(&ready.changed);
                Err(error)
            }
        }
    }

    /// Marks ranges again that were to be in a snapshot which came to nothing.
    fn give_back(&self, changed: &[RangeId]) {
        changed.iter().for_each(|range| self.table.mark_changed(*range));
    }

    /// Begins a snapshot of the ranges that have changed. All that was logged below the begin is in the
    /// table.
    fn begin_walk(&self, last: &mut Last, begun: (HeadLsns, Vec<RangeId>)) -> Result<()> {
        let began = Moment::now();
        let (begin, changed) = begun;
        // Whatever comes of it, the next one gets another number, and is not tried before more was logged.
        last.serial += 1;
        last.written = self.core.counters().read().written_bytes;
        let header = SnapshotHeader { store_id: self.core.store_id(), serial: last.serial, begin };
        let poisoned = self.core.gate().check_poison();
        let file = match poisoned.and_then(|()| SnapshotFile::create(self.core.storage(), &header)) {
            Ok(file) => file,
            Err(error) => {
                self.give_back(&changed);
                return Err(error);
            }
        };
        failpoint!("snapshot::begun");
        // Asked after the marks were taken, so it is above all pages that they stand for.
        let bound = PageId(self.next_page_id.load(Ordering::Acquire));
        let (before, ranges) = match last.foundation() {
            Some(files) => (files, changed.clone()),
            None => {
                let behind = RangeId::of(PageId(bound.0.saturating_add(RangeId::PAGES - 1)));
                (SnapshotFiles::default(), (0..behind.0).map(RangeId).collect())
            }
        };
        last.walk = Some(Walk { began, file, before, changed, ranges, done: 0, next: None, bound });
        Ok(())
    }

    /// Goes on with the walk for about so many nodes.
    fn walk_on(&self, last: &mut Last, nodes: usize) -> Result<()> {
        let Some(mut walk) = last.walk.take() else { return Ok(()) };
        match self.core.gate().check_poison().and_then(|()| self.walk(&mut walk, nodes)) {
            Ok(()) if walk.done < walk.ranges.len() => {
                last.walk = Some(walk);
                Ok(())
            }
            Ok(()) => self.finish_walk(last, walk),
            Err(error) => {
                walk.file.abandon();
                self.give_back(&walk.changed);
                Err(error)
            }
        }
    }

    fn finish_walk(&self, last: &mut Last, walk: Walk) -> Result<()> {
        let Walk { began, file, before, changed, ranges, bound, .. } = walk;
        let end = self.core.tails();
        match file.finish(&before, &ranges, &end, bound) {
            Ok(pending) => {
                last.ready = Some(Ready { began, pending, end, changed });
                Ok(())
            }
            Err(error) => {
                self.give_back(&changed);
                Err(error)
            }
        }
    }

    fn publish_if_stable(&self, last: &mut Last) -> Result<()> {
        let stable = self.core.durability().all_stable();
        let is_stable = |ready: &mut Ready| ready.end.iter().zip(&stable).all(|(end, stable)| end <= stable);
        match last.ready.take_if(is_stable) {
            Some(ready) => self.publish(last, ready),
            None => Ok(()),
        }
    }

    fn publish(&self, last: &mut Last, ready: Ready) -> Result<()> {
        let Ready { began, pending, end, changed } = ready;
        let size = pending.length();
        let files = match self.core.gate().check_poison().and_then(|()| pending.publish()) {
            Ok(files) => files,
            Err(error) => {
                self.give_back(&changed);
                return Err(error);
            }
        };
        failpoint!("snapshot::published");
        (last.size, last.end) = (size, Some(end));
        last.written = self.core.counters().read().written_bytes;
        self.core.counters().one(Counter::Snapshot);
        self.core.counters().took(Timed::Snapshot, began.elapsed());
        sweep(self.core.storage().as_ref(), last.files.insert(files))
    }

    /// Writes down pages, each as it is at some moment during the walk, until so many nodes were looked at or
    /// all ranges.
    fn walk(&self, walk: &mut Walk, nodes: usize) -> Result<()> {
        let (mut records, mut packed, mut seen) = (Vec::new(), Vec::new(), 0);
        while let Some(range) = walk.ranges.get(walk.done).copied()
            && seen < nodes
        {
            if walk.next.is_none() {
                packed.clear();
                if self.table.copy_packed(range, &mut packed) {
                    walk.file.range(range, &packed)?;
                    walk.done += 1;
                    seen += NODES_PER_COPY;
                    continue;
                }
            }
            let (next, end) = (walk.next.unwrap_or(range.first()), range.end().min(walk.bound));
            let next = self.walk_range(&mut walk.file, next..end, nodes - seen, &mut records, &mut seen)?;
            walk.next = Some(next).filter(|next| *next < end);
            walk.done += usize::from(walk.next.is_none());
        }
        Ok(())
    }

    /// Writes down these pages until so many nodes were seen. Returns the page that comes next.
    fn walk_range(
        &self,
        file: &mut SnapshotFile,
        pages: std::ops::Range<PageId>,
        nodes: usize,
        records: &mut Vec<SnapshotRecord>,
        seen: &mut usize,
    ) -> Result<PageId> {
        let (guard, enough) = (epoch::pin(), *seen + nodes);
        let mut next = pages.start;
        while next < pages.end && *seen < enough {
            let (page_id, ahead) = (next, PageId(next.0 + AHEAD));
            next.0 += 1;
            // Also a page that is none takes its time.
            *seen += 1;
            // Not in the next range, which may be packed, and is to stay so.
            if ahead < pages.end
                && let Some(ahead) = self.table.head(ahead, &guard)
            {
                ahead.prefetch();
            }
            if let Some(base) = self.look_at_page(page_id, &guard, records) {
                file.page(&base, records)?;
                *seen += records.len();
            }
        }
        Ok(next)
    }

    /// The base of a page and its links, oldest first. `None` if there is no page of that id yet.
    fn look_at_page(
        &self,
        page_id: PageId,
        guard: &epoch::Guard,
        links: &mut Vec<SnapshotRecord>,
    ) -> Option<SnapshotBase> {
        // Goes round only if the page was changed meanwhile: then some of its records are dead.
        loop {
            let head = self.table.head(page_id, guard)?;
            links.clear();
            for node in head.nodes() {
                let Some(place) = node.place() else { break };
                let record = SnapshotRecord { lsn: self.core.lsn_of(place), length: node.length() };
                let Some(kind) = node.base_kind() else {
                    links.push(record);
                    continue;
                };
                links.reverse();
                let (version, free) = (node.version(), kind == BaseKind::Freed);
                let age = version.0 - node.birth().0;
                return Some(SnapshotBase { page_id, free, version, age, record });
            }
        }
    }

    /// Everything that is live, summed up one by one: what the accountant should say.
    #[cfg(test)]
    pub(super) fn recount_live(&self) -> std::collections::BTreeMap<crate::ids::SlotId, u64> {
        let mut live = std::collections::BTreeMap::new();
        let guard = epoch::pin();
        for page_id in (0..self.next_page_id.load(Ordering::Acquire)).map(PageId) {
            for node in
                self.table.head(page_id, &guard).into_iter().flat_map(crate::pages::chain::Head::nodes)
            {
                if let Some(place) = node.place() {
                    *live.entry(place.slot).or_default() += u64::from(node.length());
                }
            }
        }
        live
    }
}
