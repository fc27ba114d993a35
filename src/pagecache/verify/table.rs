//! The page table against the records, and the accounts against the page table.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::run::{Tally, Verification};
use crate::error::{Corruption, Result};
use crate::ids::{HeadId, PageId, SegmentId, SlotId};
use crate::location::Place;
use crate::pages::Fragment;
use crate::pages::chain::Head;
use crate::pages::node_ref::NodeRef;
use crate::sync::atomic::Ordering;
use crate::sync::epoch;

/// Pages that are looked at under one guard, when nothing is read.
const PAGES_PER_GUARD: u64 = 256;
/// How often accounts are compared that others were changing.
const ROUNDS: u32 = 3;
/// How long to wait for those who are on the way from the page table to the account.
const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 60 } else { 2 });

/// The accounts of full segments, at one moment.
type Accounts = BTreeMap<SlotId, (SegmentId, u64)>;

impl<F: Fragment> Verification<'_, F> {
    pub(super) fn check_table(&mut self) -> Result<()> {
        let mut accounts = self.accounts();
        for round in 0..ROUNDS {
            let moves = self.inner.collector.stretches();
            let tallies = self.tallies();
            if round == 0 {
                self.check_doubtful(&tallies)?;
            }
            accounts = self.check_accounts(accounts, &tallies, moves);
            if accounts.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// Calls `visit` for every node that has a record.
    fn each_node(
        &self,
        pages_per_guard: u64,
        mut visit: impl FnMut(PageId, NodeRef<'_, F>, Place) -> Result<()>,
    ) -> Result<()> {
        let (mut first, bound) = (0, self.inner.next_page_id.load(Ordering::Acquire));
        while first < bound {
            let guard = epoch::pin();
            let next = (first + pages_per_guard).min(bound);
            for page_id in (first..next).map(PageId) {
                let head = self.inner.table.head(page_id, &guard);
                for node in head.into_iter().flat_map(Head::nodes) {
                    if let Some(place) = node.place() {
                        visit(page_id, node, place)?;
                    }
                }
            }
            first = next;
        }
        Ok(())
    }

    fn tallies(&self) -> BTreeMap<SlotId, Tally> {
        let mut tallies: BTreeMap<SlotId, Tally> = BTreeMap::new();
        let walked = self.each_node(PAGES_PER_GUARD, |page_id, node, place| {
            let tally = tallies.entry(place.slot).or_default();
            tally.add(page_id, node.version(), place.offset, node.length());
            Ok(())
        });
        debug_assert!(walked.is_ok());
        tallies
    }

    /// Reads the records of all nodes in segments where not all is known to be well (C).
    fn check_doubtful(&mut self, tallies: &BTreeMap<SlotId, Tally>) -> Result<()> {
        let accountant = self.inner.core.accountant();
        let is_well = |slot: SlotId, tally: &Tally| {
            self.scanned.get(&slot).is_some_and(|scanned| {
                !scanned.damaged && scanned.live == *tally && scanned.segment == accountant.segment(slot)
            })
        };
        let doubtful: BTreeSet<SlotId> =
            tallies.iter().filter(|(slot, tally)| !is_well(**slot, tally)).map(|(slot, _)| *slot).collect();
        if doubtful.is_empty() {
            return Ok(());
        }
        let (mut errors, mut bytes) = (Vec::new(), 0);
        self.each_node(1, |page_id, node, place| {
            if doubtful.contains(&place.slot) && self.inner.core.is_written(place, node.length()) {
                bytes += u64::from(node.length());
                errors.extend(self.inner.with_record(page_id, node, |_, _| Ok(())).err());
            }
            Ok(())
        })?;
        self.report.bytes_read += bytes;
        errors.into_iter().try_for_each(|error| self.damage(error))
    }

    fn accounts(&self) -> Accounts {
        let accountant = self.inner.core.accountant();
        // What a failed write has left of a relocation stays on the accounts of a store that writes no more.
        let slots = if self.inner.core.gate().check_poison().is_ok() { accountant.bound() } else { 0 };
        let settled = |slot| accountant.settled(slot).map(|account| (slot, account));
        (0..slots).map(SlotId).filter_map(settled).collect()
    }

    /// Compares accounts from before the walk with what was found in it (D). Returns the present ones of
    /// those that can't be judged for now.
    fn check_accounts(
        &mut self,
        before: Accounts,
        tallies: &BTreeMap<SlotId, Tally>,
        moves: u64,
    ) -> Accounts {
        let found = |slot: &SlotId| tallies.get(slot).map_or(0, |tally| tally.bytes);
        let lower = before.iter().any(|(slot, (_, live))| found(slot) < *live);
        let outlasted = lower && epoch::outlasted(PATIENCE);
        let unmoved = lower && self.inner.collector.stretches() == moves;
        let (core, accountant) = (&self.inner.core, self.inner.core.accountant());
        let (mut again, mut faults) = (Accounts::new(), Vec::new());
        for (slot, (segment, live)) in before {
            let now = accountant.settled(slot);
            let is_certain =
                found(&slot) >= live || (outlasted && (unmoved || accountant.head(slot) == HeadId::FRESH));
            if now != Some((segment, live)) || !is_certain {
                again.extend(now.map(|now| (slot, now)));
                continue;
            }
            self.report.accounts_checked += 1;
            if found(&slot) != live {
                let reason =
                    format!("a segment's account says {live} live bytes, its pages {}", found(&slot));
                let geometry = core.geometry();
                let corruption = Corruption::new(core.log_path(), reason);
                faults
                    .push(corruption.at_offset(geometry.file_offset(slot, 0)).at_lsn(geometry.base(segment)));
            }
        }
        faults.into_iter().for_each(|fault| self.fault(fault));
        again
    }
}
