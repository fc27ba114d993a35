//! Snapshots of the page table, taken while writers run.
//!
//! 1. Wait until every reservation made so far has been completed or aborted, and no relocation is under way; where each head
//!    ended then is the snapshot's *begin*. Whatever was logged below it is in the page table by now. (Without the wait, a
//!    writer that reserved below the begin and changed the table behind the walk would be in neither.)
//! 2. Walk the table. What is logged meanwhile lies at or above the begin, so it does not matter whether the walk sees it:
//!    replay from the begin repeats it, and replay is idempotent.
//! 3. Wait until all that the walk can have seen is stable, then publish.
//!
//! A writer that takes a snapshot in passing waits for nobody, neither for a writer that was stopped in its reservation nor for
//! somebody's batch. Its begin is where each head is *written* to: all below has been completed already. And if the walk's
//! end can't be made stable at once, the snapshot lies ready until a later look finds it stable. Published late it is
//! no worse than an old one: what was logged since its begin is replayed. Nor does it walk the whole table at once, which would
//! hold it up for as long as that takes: each writer that comes by goes on with a few pages. The walk takes a part of the
//! interval between two snapshots, and what is logged meanwhile is replayed.

use super::shared::{Inner, PageCache};
use crate::error::Result;
use crate::format::{SnapshotBase, SnapshotHeader, SnapshotRecord};
use crate::ids::{HeadLsns, PageId};
use crate::pages::Fragment;
use crate::pages::node::BaseKind;
use crate::recovery::{PendingSnapshot, SnapshotFile};
use crate::stats::Counter;
use crate::sync::atomic::Ordering;
use crate::sync::{Mutex, epoch};

/// Pages that are walked under one guard.
const PAGES_PER_GUARD: u64 = 256;
/// How many pages ahead of the walk their memory is asked for.
const AHEAD: u64 = 8;
/// Even the walk of a small table takes so many steps: nothing must depend on its being done at once.
const STEPS: u64 = 4;
/// How many nodes a writer looks at in passing at the most, every 64 KiB of log. So a walk is over well before the next one is due: in a
/// snapshot, a node takes some ten bytes, and [`PACE`] times as much log comes between two.
const NODES_PER_STEP: usize = 2048;
/// How many times its own size a snapshot lets the log grow before the next one.
const PACE: u64 = 16;

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
    /// The snapshot's own size.
    size: u64,
    /// Where the log had come to, if there is a snapshot.
    end: Option<HeadLsns>,
    /// A snapshot that is being written.
    walk: Option<Walk>,
    /// A snapshot that is complete, but names what is not stable yet.
    ready: Option<Ready>,
}

#[derive(Debug)]
struct Walk {
    file: SnapshotFile,
    /// The page that comes next, and the bound of all.
    next: u64,
    bound: PageId,
}

impl Last {
    /// Gives up what is being written.
    fn abandon(&mut self) {
        if let Some(walk) = self.walk.take() {
            walk.file.abandon();
        }
        if let Some(ready) = self.ready.take() {
            ready.pending.abandon();
        }
    }
}

#[derive(Debug)]
struct Ready {
    pending: PendingSnapshot,
    /// What it may name lies below.
    end: HeadLsns,
}

impl Snapshots {
    pub(super) fn new(interval: u64, on: bool, serial: u64, end: Option<HeadLsns>) -> Self {
        Self { last: Mutex::new(Last { serial, end, ..Last::default() }), interval, on }
    }
}

impl Snapshots {
    /// Waits for who is at it now, and gives up what is not complete.
    pub(super) fn end(&self) {
        self.last.lock().abandon();
    }
}

impl<F: Fragment> PageCache<F> {
    /// Writes a snapshot of the page table now, which makes the next opening quicker. Waits for an open batch.
    ///
    /// # Errors
    /// [`BatchOpen`](crate::Error::BatchOpen) if the calling thread has a batch open; I/O errors. An error in writing the
    /// snapshot itself does no harm.
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
            let nodes = usize::try_from(walk.bound.0.div_ceil(STEPS)).unwrap_or(usize::MAX);
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
        let begin = {
            let Some(_no_relocation) = self.collector.try_hold() else { return Ok(()) };
            self.core.write_out()?;
            self.core.written()
        };
        self.begin_walk(last, begin)
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
        last.abandon();
        let begin = {
            let _no_relocation = self.collector.hold();
            self.core.quiesce()?
        };
        self.begin_walk(last, begin)?;
        self.walk_on(last, usize::MAX)?;
        let Some(ready) = last.ready.take() else { return Ok(()) };
        if self.core.batches().is_open() && !self.core.gate().is_closed() {
            ready.pending.abandon();
            return Ok(());
        }
        self.core.make_all_stable(&ready.end)?;
        self.publish(last, ready)
    }

    /// Begins a snapshot of the pages. All that was logged below `begin` is in the table.
    fn begin_walk(&self, last: &mut Last, begin: HeadLsns) -> Result<()> {
        self.core.gate().check_poison()?;
        // Whatever comes of it, the next one gets another number, and is not tried before more was logged.
        last.serial += 1;
        last.written = self.core.counters().read().written_bytes;
        let header = SnapshotHeader { store_id: self.core.store_id(), serial: last.serial, begin };
        let file = SnapshotFile::create(self.core.storage(), &header)?;
        let bound = PageId(self.next_page_id.load(Ordering::Acquire));
        last.walk = Some(Walk { file, next: 0, bound });
        Ok(())
    }

    /// Goes on with the walk for about so many nodes.
    fn walk_on(&self, last: &mut Last, nodes: usize) -> Result<()> {
        let Some(mut walk) = last.walk.take() else { return Ok(()) };
        let walked = self.core.gate().check_poison().and_then(|()| self.walk(&mut walk, nodes));
        match walked {
            Ok(()) if walk.next < walk.bound.0 => last.walk = Some(walk),
            Ok(()) => {
                let end = self.core.tails();
                last.ready = Some(Ready { pending: walk.file.finish(&end, walk.bound)?, end });
            }
            Err(error) => {
                walk.file.abandon();
                return Err(error);
            }
        }
        Ok(())
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
        self.core.gate().check_poison()?;
        last.size = ready.pending.length();
        ready.pending.publish()?;
        last.written = self.core.counters().read().written_bytes;
        last.end = Some(ready.end);
        self.core.counters().one(Counter::Snapshot);
        Ok(())
    }

    /// Writes down pages, each as it is at some moment during the walk, until so many nodes were looked at or all pages.
    fn walk(&self, walk: &mut Walk, nodes: usize) -> Result<()> {
        let (mut records, mut seen) = (Vec::new(), 0);
        while walk.next < walk.bound.0 && seen < nodes {
            let guard = epoch::pin();
            let next = (walk.next + PAGES_PER_GUARD).min(walk.bound.0);
            while walk.next < next && seen < nodes {
                let page_id = PageId(walk.next);
                walk.next += 1;
                // Also a page that is none takes its time.
                seen += 1;
                if let Some(ahead) = self.table.head(PageId(page_id.0 + AHEAD), &guard) {
                    ahead.prefetch();
                }
                if let Some(base) = self.look_at_page(page_id, &guard, &mut records) {
                    walk.file.page(&base, &records)?;
                    seen += records.len();
                }
            }
        }
        Ok(())
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
