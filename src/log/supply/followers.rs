//! Segments that are kept for those who follow the log.
//!
//! A follower leaves a *mark*: the segment that it is at. Slots of the fresh head from there on are not used
//! again before it has moved on. So that a follower that has stalled does not make the file grow for ever, a
//! mark says how many slots may be kept on its behalf. When one more would have to be, the mark is taken
//! away, and the follower will find a gap.

use std::collections::{BTreeMap, BTreeSet};

use super::{State, Supply};
use crate::ids::{HeadId, SegmentId, SlotId};
use crate::log::core::LogCore;

/// Where a follower is.
#[derive(Clone, Copy, Debug)]
struct Mark {
    from: SegmentId,
    /// So many slots may be kept for it.
    most: u32,
}

/// The marks of all followers.
#[derive(Debug, Default)]
pub(super) struct Followers {
    marks: BTreeMap<u64, Mark>,
    tickets: u64,
}

impl Followers {
    fn want(&self, segment: SegmentId) -> bool {
        self.marks.values().any(|mark| mark.from <= segment)
    }
}

impl Supply {
    /// Keeps what the fresh head has from that segment on. Returns the mark's number.
    pub(crate) fn mark(&self, from: SegmentId, most: u32) -> u64 {
        let mut state = self.state.lock();
        state.followers.tickets += 1;
        let ticket = state.followers.tickets;
        if most > 0 {
            state.followers.marks.insert(ticket, Mark { from, most });
        }
        ticket
    }

    /// Moves a mark on, or takes it away.
    pub(crate) fn move_mark(&self, core: &LogCore, ticket: u64, to: Option<SegmentId>) {
        let mut state = self.state.lock();
        match to {
            Some(to) => {
                if let Some(mark) = state.followers.marks.get_mut(&ticket) {
                    mark.from = to;
                }
            }
            None => drop(state.followers.marks.remove(&ticket)),
        }
        state.let_go_of_kept(core);
    }
}

impl State {
    /// Whether a slot that could be free is kept for a follower; if it is one too many for one of them, that
    /// one has lost it.
    pub(super) fn keep_for_followers(&mut self, core: &LogCore, slot: SlotId) -> bool {
        let accountant = core.accountant();
        if self.followers.marks.is_empty() || accountant.head(slot) != HeadId::FRESH {
            return false;
        }
        let segment = accountant.segment(slot);
        let kept: Vec<SegmentId> = self
            .kept
            .iter()
            .filter(|slot| accountant.head(**slot) == HeadId::FRESH)
            .map(|slot| accountant.segment(*slot))
            .collect();
        let has_room = |mark: &Mark| {
            mark.from > segment || kept.iter().filter(|kept| **kept >= mark.from).count() < mark.most as usize
        };
        let before = self.followers.marks.len();
        self.followers.marks.retain(|_, mark| has_room(mark));
        if self.followers.marks.len() < before {
            ::log::warn!("{}: a follower is too far behind, and has lost its place", core.log_path());
            self.let_go_of_kept(core);
        }
        self.followers.want(segment)
    }

    /// Sets those slots free that nobody wants any more.
    fn let_go_of_kept(&mut self, core: &LogCore) {
        let accountant = core.accountant();
        let is_wanted = |slot: &SlotId| {
            self.holders.contains_key(slot)
                || (accountant.head(*slot) == HeadId::FRESH && self.followers.want(accountant.segment(*slot)))
        };
        let (kept, gone): (BTreeSet<_>, BTreeSet<_>) =
            std::mem::take(&mut self.kept).into_iter().partition(is_wanted);
        self.kept = kept;
        gone.into_iter().for_each(|slot| self.set_free(core, slot));
    }

    /// A slot that is not held any more: whether it is kept all the same.
    pub(super) fn is_followed(&self, core: &LogCore, slot: SlotId) -> bool {
        let accountant = core.accountant();
        accountant.head(slot) == HeadId::FRESH && self.followers.want(accountant.segment(slot))
    }
}
