//! Ranges of the table as recovery found them: encoded, until one of their pages is used.
//!
//! A store that was opened has not made a node for any page. For each range ([`RangeId`]) it has what a
//! snapshot holds of it, some ten bytes for each page. The first who looks up a page of the range makes nodes
//! of it; so opening takes a time that does not grow by an allocation for each page, what is never used takes
//! little memory, and still no look-up reads the disk.
//!
//! # Invariants
//!
//! - **(A) Packed means that all words are null.** Whoever changes a word has looked it up before, and so
//!   unpacked its range. So whoever unpacks is alone with the words, stores them, and nobody has published
//!   one in between.
//! - **(B) Words first.** The words of a range are stored (releases) before its packed bytes are taken away
//!   (a release). Whoever finds a word null looks whether the range is packed (an acquire), and if it is not,
//!   at the word *again*: by then it is what unpacking has made of it. A word that is not null needs no
//!   second look, and costs nothing more than it did.
//! - **(C) One unpacks.** Under a lock, which also whoever reads the packed bytes takes. Nothing but memory
//!   is done under it: no I/O, no user code. So whoever is stopped there holds up only those who want a range
//!   that is still packed under the same lock.
//! - **(D) What is packed is possible.** Recovery has read all of it, and has seen that each record lies in a
//!   segment that the store has. What is live in a segment keeps it from being reused, so the segments that
//!   recovery found stay where they were as long as a packed record names them.
//! - **(E) Packed means unchanged.** Also moving a record looks up its page first. So the packed bytes of a
//!   range say all that a snapshot has to say about it, and it copies them as they are.

use std::ptr;

use crate::format::{RangePages, SnapshotPage};
use crate::geometry::Geometry;
use crate::ids::{Lsn, RangeId, SlotId, Version};
use crate::location::Place;
use crate::pages::base::BaseKind;
use crate::pages::bulk::Bulks;
use crate::pages::fragment::Fragment;
use crate::pages::range_bytes::RangeBytes;
use crate::pages::restore::{Built, RestoredPage, build};
use crate::pages::segment_map::SegmentMap;
use crate::pages::table::{Leaf, PageTable, slot_of};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicPtr, Ordering};

/// How many locks there are (C).
const LOCKS: usize = if cfg!(loom) { 1 } else { 16 };

/// The packed pages of a range: see `snapshot_range` in the format.
#[derive(Debug)]
pub(super) struct Packed(RangeBytes);

/// What is needed to unpack.
#[derive(Debug)]
pub(super) struct Unpacker {
    homes: Option<Homes>,
    locks: [Mutex<()>; LOCKS],
}

/// Where recovery found the segments.
#[derive(Debug)]
pub(crate) struct Homes {
    geometry: Geometry,
    slots: SegmentMap<SlotId>,
    bulks: Bulks,
}

impl Homes {
    pub(crate) fn new(geometry: Geometry, slots: SegmentMap<SlotId>) -> Self {
        Self { geometry, slots, bulks: Bulks::new() }
    }

    /// The same, with these records in files of their own. A page that has changed since is not packed any
    /// more, so what is said here of packed pages stays true.
    #[must_use]
    pub(crate) fn with_bulks(mut self, bulks: Bulks) -> Self {
        self.bulks = bulks;
        self
    }

    fn place(&self, lsn: Lsn) -> Option<Place> {
        let slot = self.slots.get(self.geometry.segment(lsn))?;
        Some(Place::new(*slot, self.geometry.offset(lsn)))
    }
}

impl Unpacker {
    pub(super) fn new(homes: Option<Homes>) -> Self {
        Self { homes, locks: std::array::from_fn(|_| Mutex::new(())) }
    }

    fn lock(&self, range: RangeId) -> &Mutex<()> {
        let [first, ..] = &self.locks;
        self.locks.get(range.0 as usize % LOCKS).unwrap_or(first)
    }
}

impl<F: Fragment> PageTable<F> {
    /// Puts what recovery found of a range in its place. Only before anybody else has the table. False if
    /// there can't be such a range.
    #[must_use]
    pub(crate) fn restore_range(&self, range: RangeId, pages: RangeBytes) -> bool {
        let Some(leaf) = self.leaf_or_new(range.first()) else { return false };
        let fresh = Box::into_raw(Box::new(Packed(pages)));
        let old = leaf.packed(range).swap(fresh, Ordering::AcqRel);
        debug_assert!(old.is_null(), "a range is restored once");
        // SAFETY: null, or a box that nobody has any more; see `drop_packed`.
        unsafe { drop_packed(old) };
        true
    }

    /// Appends the pages of a range, as they are in a snapshot, if it still is packed.
    pub(crate) fn copy_packed(&self, range: RangeId, into: &mut Vec<u8>) -> bool {
        let Some(leaf) = self.leaf(range.first()) else { return false };
        let packed = leaf.packed(range);
        if packed.load(Ordering::Acquire).is_null() {
            return false;
        }
        let _turn = self.unpacker.lock(range).lock();
        // SAFETY: null or a box that is freed under this lock only (C).
        let packed = unsafe { packed.load(Ordering::Acquire).as_ref() };
        packed.is_some_and(|Packed(pages)| {
            into.extend_from_slice(pages);
            true
        })
    }

    /// Makes nodes of a range, if it still is packed. When this returns it is not, and all words are stored.
    #[cold]
    pub(super) fn unpack(&self, leaf: &Leaf, range: RangeId) {
        let home = leaf.packed(range);
        if home.load(Ordering::Acquire).is_null() {
            return;
        }
        let _turn = self.unpacker.lock(range).lock();
        let packed = home.load(Ordering::Acquire);
        // SAFETY: null or a box that is freed under this lock only (C).
        let Some(Packed(pages)) = (unsafe { packed.as_ref() }) else { return };
        if cfg!(weakened = "range_taken_first") {
            home.store(ptr::null_mut(), Ordering::Release);
        }
        leaf.use_range(range);
        let mut links = Vec::new();
        for page in RangePages::new(range, pages).flatten() {
            let page_id = page.base.page_id;
            if let Some(Built { head, weight }) = self.nodes_of(&page, &mut links) {
                self.budget.account().charge(weight);
                leaf.word(slot_of(page_id)).store(head.raw(), Ordering::Release);
            }
        }
        home.store(ptr::null_mut(), Ordering::Release);
        // SAFETY: taken out under the lock, by us, so nobody has it any more.
        unsafe { drop_packed(packed) };
    }

    /// The nodes of one page. There always are some (D).
    fn nodes_of(&self, page: &SnapshotPage<'_>, links: &mut Vec<(Place, u32)>) -> Option<Built<F>> {
        let homes = self.unpacker.homes.as_ref()?;
        let base = &page.base;
        links.clear();
        for link in page.links.clone() {
            links.push((homes.place(link.lsn)?, link.length));
        }
        Some(build::<F>(&RestoredPage {
            kind: if base.free { BaseKind::Freed } else { BaseKind::Page },
            version: base.version,
            birth: Version(base.version.0.saturating_sub(base.age)),
            place: homes.place(base.record.lsn)?,
            length: base.record.length,
            links,
            bulks: homes.bulks.get(&base.page_id).map_or(&[][..], Vec::as_slice),
        }))
    }
}

/// Frees packed bytes.
///
/// # Safety
/// It is null, or came from [`PageTable::restore_range`] and was taken out of its place, and nobody looks at
/// it.
pub(super) unsafe fn drop_packed(packed: *mut Packed) {
    if !packed.is_null() {
        // SAFETY: by the contract.
        drop(unsafe { Box::from_raw(packed) });
    }
}

/// Where the packed bytes of a range hang.
pub(super) type PackedHome = AtomicPtr<Packed>;
