//! One pass over all pages that were recovered, in encoded form: what is live in each segment, which ids are
//! free, and whether each live record lies where a record can be: in a segment that is claimed, below the
//! head's tip, and in the file.
//!
//! It is the only time that an opening looks at every page. So it makes nothing of them: no node, no place in
//! a list.

use std::collections::BTreeMap;

use super::heads::{Scene, Tips};
use super::replay::{Obstacle, Replay, Spot};
use crate::error::{Corruption, Result};
use crate::format::{Claim, ManifestState, RangePages};
use crate::geometry::Geometry;
use crate::ids::{Lsn, PageId, SegmentId, SlotId};
use crate::pages::free_list::FreeList;
use crate::pages::segment_map::SegmentMap;

/// What was counted.
#[derive(Debug)]
pub(crate) struct Census {
    /// Of each segment that has live bytes.
    pub(crate) live: BTreeMap<SegmentId, u64>,
    /// Ids that hold no page.
    pub(crate) free: FreeList,
    /// Above all ids.
    pub(crate) next_page_id: u64,
    /// Where the named roots are, if there are any.
    pub(crate) roots: Option<Spot>,
}

/// What is known of a segment.
#[derive(Clone, Copy, Debug)]
struct Account {
    /// Offsets below this can hold valid bytes, and are in the file.
    end: u64,
    /// Where the head's tip is, from the segment's base: records begin below.
    begin_below: u64,
    live: u64,
}

/// Counts.
struct Counter<'a> {
    scene: &'a Scene,
    geometry: Geometry,
    accounts: SegmentMap<Account>,
    /// The base of the segment that the last record was in, and where in the map that is: the next record
    /// mostly is in it, too.
    base: Lsn,
    position: usize,
}

/// Counts all pages, or the entries of a bare log.
pub(crate) fn count(
    scene: &Scene,
    state: &ManifestState,
    found: &Tips,
    replay: &Replay,
) -> Result<Census, Obstacle> {
    let account = |(slot, claim): (&SlotId, &Claim)| {
        let tip = found.tips.get(claim.head.index()).copied().unwrap_or_default();
        let below = tip.0.saturating_sub(scene.geometry.base(claim.segment).0);
        let end = scene.bytes_in(*slot).min(claim.end.into());
        (claim.segment, Account { end, begin_below: below, live: 0 })
    };
    let accounts = SegmentMap::new(state.claims.iter().map(account));
    // No record is in segment 0, and the map is at most as long as a u32.
    let (base, position) = (Lsn(0), usize::MAX);
    let mut counter = Counter { scene, geometry: scene.geometry, accounts, base, position };
    let (free, mut next, mut roots) = (FreeList::new(), PageId::FIRST.0, None);
    for (range, pages) in replay.ranges() {
        for page in RangePages::new(range, pages) {
            let page = page.map_err(Obstacle::Snapshot)?;
            let page_id = page.base.page_id;
            counter.add(page_id, page.base.record)?;
            for link in page.links {
                counter.add(page_id, link)?;
            }
            if page_id == PageId::META {
                roots = Some(page.base.record);
                continue;
            }
            // Ids between were handed out, and their pages lost with the end of the log.
            (next..page_id.0 + u64::from(page.base.free)).map(PageId).for_each(|id| free.push(id));
            next = page_id.0 + 1;
        }
    }
    for entry in replay.entries().filter(|entry| entry.lsn >= state.first_lsn) {
        counter.add(PageId::META, entry)?;
    }
    let live = counter.accounts.iter().filter(|(_, account)| account.live > 0);
    let live = live.map(|(segment, account)| (segment, account.live)).collect();
    Ok(Census { live, free, next_page_id: next, roots })
}

impl Counter<'_> {
    #[inline]
    fn add(&mut self, page_id: PageId, spot: Spot) -> Result<()> {
        let mut offset = spot.lsn.0.wrapping_sub(self.base.0);
        if offset >= u64::from(self.geometry.segment_size()) {
            let segment = self.geometry.segment(spot.lsn);
            self.base = self.geometry.base(segment);
            self.position = self.accounts.position(segment).unwrap_or(usize::MAX);
            offset = spot.lsn.0.wrapping_sub(self.base.0);
        }
        match self.accounts.at_mut(self.position) {
            Some(account)
                if offset + u64::from(spot.length) <= account.end && offset < account.begin_below =>
            {
                account.live += u64::from(spot.length);
                Ok(())
            }
            _ => self.no_room(page_id, spot),
        }
    }

    #[cold]
    fn no_room(&self, page_id: PageId, spot: Spot) -> Result<()> {
        let reason = "a record that nothing supersedes lies where the log has no room for it";
        Err(Corruption::new(&self.scene.log_path, reason).at_lsn(spot.lsn).of_page(page_id).into())
    }
}
