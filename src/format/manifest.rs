//! The manifest, folded: what all its entries together say about the store.
//!
//! The log alone can't tell where it ends. A slot that was reused holds a header and records of two lives,
//! and a power cut leaves any mixture of them. So the manifest, which is small, ordered and synced one entry
//! at a time, says which life each slot is in and what was proven stable when. Recovery believes nothing that
//! this picture does not back.
//!
//! The file is a *picture* (a head and a table of claims), written at once under another name and put in
//! place by a rename, then *steps* appended to it. [`ManifestState`] is the fold of both.
//!
//! What a writer owes, and a reader may rely on:
//!
//! - **A.** *At most one entry is not yet synced*: an append waits for the sync of the one before. An append
//!   that failed is tried again in the same place, or never.
//! - **B.** *A step is synced before anything is done that needs it*: a claim before the first record of the
//!   new life, a release before the file is cut, an id bound before an id. So a torn step can be dropped, and
//!   a step of which only one copy was written can be used: nobody acted on it, and nothing contradicts it.
//! - **C.** *A claim ends the former life of its slot, a release the lives of its slots.* Their records are
//!   not needed any more, and all of them were stable. That is why both carry the stable LSNs: the bytes that
//!   would prove it are about to go.
//! - **D.** *Segment ids are never used twice.* `next_segment` is above all of them. Heads draw their ids in
//!   one order and may append in another, so ids rise within a slot, not from entry to entry.
//! - **E.** *Stable LSNs, bounds, floors and the first LSN only rise*, so the fold takes the maximum and the
//!   order of entries does not matter.
//! - **F.** *The pair (next page id, version floor)* says: records of pages from `next_page_id` on with
//!   versions up to `version_floor` are void, also if their bytes are still found. It lets the last traces of
//!   the uppermost ids go. The newest pair stands for all before it, so before it is appended the log must be
//!   stable up to the moment when the pair was taken: else a page between two pairs, allocated again in a
//!   record that a power cut takes away, would come back in a state of its former life.
//! - **G.** *A cut is an `end` below the segment size.* Recovery writes a new picture in which each head ends
//!   where its valid log ended, and drops or empties what it had claimed behind. What lies between there and
//!   the base of `next_segment` is void for ever, though its bytes linger. So recovery can be killed and run
//!   again, and pads or wipes nothing.
//!
//! The fold does not check that a life which a claim ends had been stable: where it really ended only its own
//! records say.

use std::collections::BTreeMap;

use crate::format::manifest_entry::{Claim, Entry, MAX_CLAIMS, ManifestHead, StoreKind, encode_entry};
use crate::format::store_id::StoreId;
use crate::geometry::Geometry;
use crate::ids::{HeadId, HeadLsns, Lsn, PageId, SegmentId, SlotId, Version, raise};
use crate::location::Place;

/// What the manifest says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ManifestState {
    pub(crate) store_id: StoreId,
    pub(crate) kind: StoreKind,
    pub(crate) segment_size: u32,
    /// How many heads the store is written with.
    pub(crate) heads: u8,
    /// Above every segment id that was ever given out.
    pub(crate) next_segment: SegmentId,
    /// Above every id that was ever generated for the user.
    pub(crate) id_bound: u64,
    /// See F.
    pub(crate) next_page_id: PageId,
    /// See F.
    pub(crate) version_floor: Version,
    /// The highest LSNs that any entry proves stable.
    pub(crate) stable: HeadLsns,
    /// Where the kept part of a log without pages begins.
    pub(crate) first_lsn: Lsn,
    /// The present life of each slot that has one.
    pub(crate) claims: BTreeMap<SlotId, Claim>,
}

/// Says which records are void although their bytes are found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Voided {
    from: PageId,
    floor: Version,
}

impl Voided {
    /// Whether a record of that page and version is void.
    pub(crate) fn covers(self, page_id: PageId, version: Version) -> bool {
        page_id >= self.from && version <= self.floor
    }

    /// Whether it covers any record of pages below this one.
    pub(crate) fn may_cover(self, below: PageId) -> bool {
        below > self.from && self.floor > Version(0)
    }
}

/// The end of a sentence that begins with "entry".
pub(super) type Reason = &'static str;

impl ManifestState {
    /// A store without a single segment.
    pub(crate) fn new(store_id: StoreId, kind: StoreKind, segment_size: u32) -> Self {
        Self {
            store_id,
            kind,
            segment_size,
            // A bare log has nothing to move.
            heads: if kind == StoreKind::Log { 2 } else { HeadId::COUNT as u8 },
            next_segment: SegmentId(1),
            id_bound: 0,
            next_page_id: PageId::FIRST,
            version_floor: Version(0),
            stable: HeadLsns::default(),
            first_lsn: Lsn(0),
            claims: BTreeMap::new(),
        }
    }

    pub(crate) const fn geometry(&self) -> Geometry {
        Geometry::new(self.segment_size).with_heads(self.heads)
    }

    /// The segments of one head, oldest first.
    pub(crate) fn chain(&self, head: HeadId) -> Vec<(SlotId, Claim)> {
        let of_head = self.claims.iter().filter(|(_, claim)| claim.head == head);
        let mut chain: Vec<_> = of_head.map(|(&slot, &claim)| (slot, claim)).collect();
        chain.sort_unstable_by_key(|(_, claim)| claim.segment);
        chain
    }

    /// Which records are void, wherever they are found: see F.
    pub(crate) const fn voided(&self) -> Voided {
        Voided { from: self.next_page_id, floor: self.version_floor }
    }

    /// The picture: what a manifest consists of that is written anew.
    pub(crate) fn to_entries(&self) -> Vec<Entry> {
        let claims: Vec<_> = self.claims.iter().map(|(&slot, &claim)| (slot, claim)).collect();
        let tables = claims.chunks(MAX_CLAIMS);
        let head = ManifestHead {
            kind: self.kind,
            segment_size: self.segment_size,
            heads: self.heads,
            next_segment: self.next_segment,
            id_bound: self.id_bound,
            next_page_id: self.next_page_id,
            version_floor: self.version_floor,
            stable: self.stable,
            first_lsn: self.first_lsn,
            // There are fewer than 2²⁴ slots.
            table_entries: tables.len() as u32,
        };
        let tables = tables.map(|claims| Entry::Claims { stable: self.stable, claims: claims.to_vec() });
        std::iter::once(Entry::Head(head)).chain(tables).collect()
    }

    /// The bytes of a manifest that is written anew. It has one entry per
    /// [`ENTRY_LENGTH`](crate::format::ENTRY_LENGTH).
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let entries = self.to_entries();
        (0..).zip(&entries).flat_map(|(number, entry)| encode_entry(number, self.store_id, entry)).collect()
    }

    /// Adds one step. After a fault the state is of no use.
    pub(crate) fn apply(&mut self, entry: &Entry) -> Result<(), Reason> {
        match entry {
            Entry::Head(_) => return Err("is a second head"),
            Entry::Claims { stable, claims } => {
                for &(slot, claim) in claims {
                    self.begin_life(slot, claim)?;
                }
                self.raise_stable(stable);
            }
            Entry::Release { slots, stable } => {
                drop(self.claims.split_off(&SlotId(*slots)));
                self.raise_stable(stable);
            }
            Entry::IdBound(bound) => self.id_bound = self.id_bound.max(*bound),
            Entry::VersionFloor { next_page_id, floor } => {
                self.next_page_id = *next_page_id;
                self.version_floor = self.version_floor.max(*floor);
            }
            Entry::Truncate { first, stable } => {
                self.first_lsn = self.first_lsn.max(*first);
                self.raise_stable(stable);
            }
        }
        Ok(())
    }

    /// The fields of a head, with no claims yet.
    pub(super) fn from_head(store_id: StoreId, head: &ManifestHead) -> Result<Self, Reason> {
        let sizes = Geometry::MIN_SEGMENT_SIZE..=Geometry::MAX_SEGMENT_SIZE;
        if !sizes.contains(&head.segment_size) {
            return Err("names an impossible segment size");
        }
        if !(2..=HeadId::COUNT).contains(&usize::from(head.heads)) {
            return Err("names an impossible number of heads");
        }
        Ok(Self {
            store_id,
            kind: head.kind,
            segment_size: head.segment_size,
            heads: head.heads,
            next_segment: head.next_segment,
            id_bound: head.id_bound,
            next_page_id: head.next_page_id,
            version_floor: head.version_floor,
            stable: head.stable,
            first_lsn: head.first_lsn,
            claims: BTreeMap::new(),
        })
    }

    /// Adds an entry of the picture: claims of slots that have none yet, with ids that the head knows.
    pub(super) fn apply_table(&mut self, entry: &Entry) -> Result<(), Reason> {
        let Entry::Claims { stable, claims } = entry else {
            return Err("is no claim, but belongs to the table");
        };
        for &(slot, claim) in claims {
            if self.claims.contains_key(&slot) {
                return Err("claims a slot that the table has claimed before");
            }
            if claim.segment >= self.next_segment {
                return Err("claims a segment that was never given out");
            }
            self.begin_life(slot, claim)?;
        }
        self.raise_stable(stable);
        Ok(())
    }

    fn begin_life(&mut self, slot: SlotId, claim: Claim) -> Result<(), Reason> {
        if slot.0 >= Place::SLOT_LIMIT {
            return Err("claims an impossible slot");
        }
        if claim.segment.0 >= SegmentId::LIMIT {
            return Err("claims a segment behind the last that there can be");
        }
        if claim.head.0 >= self.heads {
            return Err("claims for an impossible head");
        }
        if claim.end > self.segment_size {
            return Err("claims more than a segment");
        }
        // The first segment is number 1, and predecessors are older.
        if claim.predecessor.map_or(0, |segment| segment.0) >= claim.segment.0 {
            return Err("claims a segment that is not younger than its predecessor");
        }
        if self.claims.get(&slot).is_some_and(|former| former.segment >= claim.segment) {
            return Err("claims a slot for a life that is not younger than the one before");
        }
        self.claims.insert(slot, claim);
        self.next_segment = self.next_segment.max(SegmentId(claim.segment.0.saturating_add(1)));
        Ok(())
    }

    fn raise_stable(&mut self, stable: &HeadLsns) {
        raise(&mut self.stable, stable);
    }

    /// What only the whole picture can show.
    pub(super) fn check(&self) -> Result<(), Reason> {
        // No LSN of a segment that was given out may overflow; then none below is out of reach either.
        let Some(beyond) = self.next_segment.0.checked_mul(u64::from(self.segment_size)).map(Lsn) else {
            return Err("leads to an impossible segment");
        };
        if !(1..=SegmentId::LIMIT).contains(&self.next_segment.0) {
            return Err("leads to an impossible segment");
        }
        if self.stable.iter().chain([&self.first_lsn]).any(|&lsn| lsn > beyond) {
            return Err("leads to an LSN beyond the log");
        }
        if self.next_page_id.0 > PageId::LIMIT {
            return Err("leads to an impossible page id");
        }
        let mut lives: Vec<_> = self.claims.values().map(|claim| claim.segment).collect();
        lives.sort_unstable();
        lives.dedup();
        if lives.len() != self.claims.len() {
            return Err("leads to a segment in two slots");
        }
        Ok(())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::ManifestState;
    use crate::format::manifest_entry::{Claim, Entry, MAX_CLAIMS, StoreKind};
    use crate::format::store_id::StoreId;
    use crate::ids::{HeadId, HeadLsns, Lsn, PageId, SegmentId, SlotId, Version};
    use crate::location::Place;

    const NOTHING: HeadLsns = [Lsn(0); HeadId::COUNT];

    fn state() -> ManifestState {
        ManifestState::new(StoreId([1; 16]), StoreKind::PageCache, 1024)
    }

    fn claim(segment: u64) -> Claim {
        Claim { segment: SegmentId(segment), head: HeadId::FRESH, predecessor: None, end: 1024 }
    }

    fn claims(stable: HeadLsns, claims: &[(u32, Claim)]) -> Entry {
        Entry::Claims { stable, claims: claims.iter().map(|&(slot, claim)| (SlotId(slot), claim)).collect() }
    }

    #[test]
    fn a_claim_ends_the_former_life_of_its_slot() {
        let mut state = state();
        state.apply(&claims(NOTHING, &[(0, claim(1)), (1, claim(2))])).unwrap();
        state.apply(&claims(NOTHING, &[(0, claim(3))])).unwrap();
        let lives: Vec<_> = state.claims.iter().map(|(slot, claim)| (slot.0, claim.segment.0)).collect();
        assert_eq!(lives, [(0, 3), (1, 2)]);
        assert_eq!(state.next_segment, SegmentId(4));
    }

    #[test]
    fn heads_may_append_their_ids_out_of_order_but_a_slot_never_goes_back() {
        let mut state = state();
        state.apply(&claims(NOTHING, &[(0, claim(5))])).unwrap();
        state.apply(&claims(NOTHING, &[(1, claim(4))])).unwrap();
        assert_eq!(state.next_segment, SegmentId(6));
        for segment in [3, 4] {
            assert!(state.clone().apply(&claims(NOTHING, &[(1, claim(segment))])).is_err());
        }
        state.apply(&claims(NOTHING, &[(1, claim(6))])).unwrap();
    }

    #[test]
    fn a_release_ends_the_lives_from_its_slot_on() {
        let mut state = state();
        state.apply(&claims(NOTHING, &[(0, claim(1)), (1, claim(2)), (2, claim(3))])).unwrap();
        state.apply(&Entry::Release { slots: 1, stable: [Lsn(9); 4] }).unwrap();
        assert_eq!(state.claims.keys().collect::<Vec<_>>(), [&SlotId(0)]);
        assert_eq!(state.next_segment, SegmentId(4));
        assert_eq!(state.stable, [Lsn(9); 4]);
    }

    #[test]
    fn proofs_and_bounds_only_rise() {
        let mut state = state();
        state.apply(&claims([Lsn(5), Lsn(1), Lsn(0), Lsn(0)], &[(0, claim(1))])).unwrap();
        state.apply(&Entry::Truncate { first: Lsn(7), stable: [Lsn(4), Lsn(3), Lsn(0), Lsn(0)] }).unwrap();
        state.apply(&Entry::Truncate { first: Lsn(6), stable: NOTHING }).unwrap();
        state.apply(&Entry::IdBound(100)).unwrap();
        state.apply(&Entry::IdBound(50)).unwrap();
        assert_eq!(state.stable, [Lsn(5), Lsn(3), Lsn(0), Lsn(0)]);
        assert_eq!((state.first_lsn, state.id_bound), (Lsn(7), 100));
    }

    /// The newest pair says where the used ids end, since they may grow again; the floor under the others
    /// stays.
    #[test]
    fn the_newest_version_floor_stands_for_all_before_it() {
        let mut state = state();
        assert!(!state.voided().covers(PageId(900), Version(1)));
        state.apply(&Entry::VersionFloor { next_page_id: PageId(900), floor: Version(4) }).unwrap();
        assert!(
            state.voided().covers(PageId(900), Version(4)) && !state.voided().covers(PageId(900), Version(5))
        );
        assert!(!state.voided().covers(PageId(899), Version(4)));
        state.apply(&Entry::VersionFloor { next_page_id: PageId(950), floor: Version(3) }).unwrap();
        assert!(
            !state.voided().covers(PageId(900), Version(4)) && state.voided().covers(PageId(950), Version(4))
        );
    }

    #[test]
    fn a_chain_has_the_segments_of_one_head_in_order() {
        let mut state = state();
        let relocated = Claim { head: HeadId::RELOCATED, ..claim(3) };
        state.apply(&claims(NOTHING, &[(0, claim(4)), (1, relocated), (2, claim(2))])).unwrap();
        let segments: Vec<_> = state.chain(HeadId::FRESH).iter().map(|(_, claim)| claim.segment.0).collect();
        assert_eq!(segments, [2, 4]);
        assert_eq!(state.chain(HeadId::RELOCATED), [(SlotId(1), relocated)]);
        assert_eq!(state.chain(HeadId(2)), []);
    }

    #[test]
    fn a_picture_spreads_its_claims_over_as_few_entries_as_possible() {
        for count in [0, 1, MAX_CLAIMS, MAX_CLAIMS + 1, 5 * MAX_CLAIMS] {
            let mut state = state();
            for slot in 0..count as u32 {
                state.apply(&claims(NOTHING, &[(slot, claim(u64::from(slot) + 1))])).unwrap();
            }
            let entries = state.to_entries();
            assert_eq!(entries.len(), 1 + count.div_ceil(MAX_CLAIMS));
            assert!(
                matches!(&entries[0], Entry::Head(head) if head.table_entries as usize == entries.len() - 1)
            );
        }
    }

    #[test]
    fn claims_that_can_not_be_are_refused() {
        let wrong = [
            (Place::SLOT_LIMIT, claim(9)),
            (1, claim(0)),
            (1, claim(SegmentId::LIMIT)),
            (1, Claim { head: HeadId(4), ..claim(9) }),
            (1, Claim { end: 1025, ..claim(9) }),
            (1, Claim { predecessor: Some(SegmentId(9)), ..claim(9) }),
            (0, claim(1)),
        ];
        for (slot, claim_of_slot) in wrong {
            let mut state = state();
            state.apply(&claims(NOTHING, &[(0, claim(1))])).unwrap();
            assert!(
                state.apply(&claims(NOTHING, &[(slot, claim_of_slot)])).is_err(),
                "{slot} {claim_of_slot:?}"
            );
        }
        let head = state().to_entries().remove(0);
        assert!(state().apply(&head).is_err());
    }

    #[test]
    fn a_whole_that_can_not_be_is_refused() {
        let faults: [fn(&mut ManifestState); 8] = [
            |state| state.next_segment = SegmentId(0),
            |state| state.next_segment = SegmentId(u64::MAX),
            |state| state.next_segment = SegmentId(u64::MAX / 1024 + 1),
            |state| state.next_segment = SegmentId(SegmentId::LIMIT + 1),
            |state| state.stable[3] = Lsn(3 * 1024 + 1),
            |state| state.first_lsn = Lsn(3 * 1024 + 1),
            |state| state.next_page_id = PageId(PageId::LIMIT + 1),
            |state| state.claims.extend([(SlotId(7), claim(2))]),
        ];
        for (number, fault) in faults.iter().enumerate() {
            let mut state = state();
            state.apply(&claims([Lsn(3 * 1024); 4], &[(0, claim(1)), (1, claim(2))])).unwrap();
            assert_eq!(state.check(), Ok(()));
            fault(&mut state);
            assert!(state.check().is_err(), "fault {number}");
        }
    }
}
