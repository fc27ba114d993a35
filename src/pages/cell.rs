//! The one home of a record's location, and the race between moving a record and its death.
//!
//! Every record that is live has one node in memory, and that node has one [`LocationCell`]. Three parties
//! meet at it: readers, who want to know where to read; garbage collection, which copies the record elsewhere
//! and then moves the cell; and the writer that superseded the record, who declares it dead. The live bytes
//! of a record are on the account of exactly one segment at any time, and must leave it exactly once:
//!
//! - **(A)** A cell holds a place or the tombstone. The tombstone is final.
//! - **(B)** A move is one compare-exchange from the place that was copied. If it succeeds, the mover, and
//!   nobody else, subtracts the record from the *old* place's segment; if it fails, the mover gives up its
//!   own copy.
//! - **(C)** Death is one swap of the tombstone into the cell. Whoever gets a place out of the swap, and
//!   nobody else, subtracts the record from *that* place's segment.
//!
//! - **(E)** A node can be copied, to be exchanged for its copy, if its cell is *frozen* meanwhile: a frozen
//!   cell can be read, and die, but a move (B) fails, so the copy's place is right. One freezes it. It stays
//!   so for good once the copy is in the node's place, for then the copy has the live cell; else whoever
//!   froze it thaws it. What a mover does about it is in `exchange`.
//!
//! All updates of one cell form one order. In it, each place that was ever current is left by exactly one
//! update, either a move (B) or the death (C), so it is subtracted exactly once; and since the swap returns
//! what the last move wrote, no move is lost.
//!
//! - **(D)** A move is a release, and a read an acquire: who sees the new place sees the bytes that were
//!   copied there.

use crate::location::Place;
use crate::sync::atomic::{AtomicU64, Ordering};

/// The orderings that the models in `src/models` put to the test by weakening them, one at a time.
mod order {
    use crate::sync::atomic::Ordering;

    /// (D), the mover's side.
    pub(super) const MOVE: Ordering =
        if cfg!(weakened = "move_order") { Ordering::Relaxed } else { Ordering::AcqRel };
    /// (D), the reader's side.
    pub(super) const READ: Ordering =
        if cfg!(weakened = "read_order") { Ordering::Relaxed } else { Ordering::Acquire };
}

/// Where a node's record lies now.
#[derive(Debug)]
pub(crate) struct LocationCell(AtomicU64);

impl LocationCell {
    /// Of a node that is not published yet.
    const UNSET: u64 = 0;
    /// The tombstone (A).
    const DEAD: u64 = u64::MAX;
    /// Of a place that is frozen (E). Places leave this bit alone.
    const FROZEN: u64 = 1 << 63;

    pub(crate) fn unset() -> Self {
        Self(AtomicU64::new(Self::UNSET))
    }

    pub(crate) fn at(place: Place) -> Self {
        Self(AtomicU64::new(place.pack()))
    }

    /// Sets the first place. Only for a node that no other thread can see: publishing the node publishes the
    /// place.
    pub(crate) fn set(&self, place: Place) {
        self.0.store(place.pack(), Ordering::Relaxed);
    }

    /// The current place; `None` once the record is dead.
    pub(crate) fn load(&self) -> Option<Place> {
        Self::place(self.0.load(order::READ))
    }

    /// Moves the record, if it still is where it was copied from (B). Whether it was is the answer.
    #[must_use]
    pub(crate) fn relocate(&self, from: Place, to: Place) -> bool {
        if cfg!(weakened = "move_blindly") {
            let moved = self.0.load(Ordering::Relaxed) == from.pack();
            if moved {
                self.0.store(to.pack(), order::MOVE);
            }
            return moved;
        }
        self.0.compare_exchange(from.pack(), to.pack(), order::MOVE, Ordering::Relaxed).is_ok()
    }

    /// Declares the record dead (C). Whoever gets the place owes its segment the subtraction.
    #[must_use]
    pub(crate) fn kill(&self) -> Option<Place> {
        if cfg!(weakened = "kill_in_two_steps") {
            let word = self.0.load(Ordering::Relaxed);
            self.0.store(Self::DEAD, Ordering::Relaxed);
            return Self::place(word);
        }
        Self::place(self.0.swap(Self::DEAD, Ordering::AcqRel))
    }

    /// Freezes the cell (E), and says where the record is. `None` if another has frozen it, or the record is
    /// dead.
    pub(super) fn freeze(&self) -> Option<Place> {
        let word = self.0.load(Ordering::Relaxed);
        let place = Self::place(word).filter(|_| word & Self::FROZEN == 0)?;
        if cfg!(weakened = "copied_unfrozen") {
            return Some(place);
        }
        // An acquire, as for any reader (D).
        let frozen =
            self.0.compare_exchange(word, word | Self::FROZEN, Ordering::Acquire, Ordering::Relaxed).is_ok();
        frozen.then_some(place)
    }

    /// Undoes [`freeze`](Self::freeze), unless the record has died meanwhile. For whoever has frozen it.
    pub(super) fn thaw(&self, place: Place) {
        let word = place.pack();
        let _ = self.0.compare_exchange(word | Self::FROZEN, word, Ordering::Release, Ordering::Relaxed);
    }

    /// Whether the record is there, and frozen.
    pub(super) fn is_frozen_at(&self, place: Place) -> bool {
        self.0.load(Ordering::Relaxed) == place.pack() | Self::FROZEN
    }

    /// As [`relocate`](Self::relocate), of a cell that is frozen in vain: the node will never be exchanged.
    #[must_use]
    pub(super) fn relocate_frozen(&self, from: Place, to: Place) -> bool {
        let from = from.pack() | Self::FROZEN;
        self.0.compare_exchange(from, to.pack(), order::MOVE, Ordering::Relaxed).is_ok()
    }

    fn place(word: u64) -> Option<Place> {
        (word != Self::UNSET && word != Self::DEAD).then(|| Place::unpack(word))
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::LocationCell;
    use crate::ids::SlotId;
    use crate::location::Place;

    const HERE: Place = Place::new(SlotId(1), 80);
    const THERE: Place = Place::new(SlotId(2), 96);

    #[test]
    fn a_move_succeeds_only_from_the_current_place() {
        let cell = LocationCell::at(HERE);
        assert!(!cell.relocate(THERE, HERE));
        assert!(cell.relocate(HERE, THERE));
        assert!(!cell.relocate(HERE, THERE));
        assert_eq!(cell.load(), Some(THERE));
    }

    #[test]
    fn a_frozen_place_can_be_read_and_die_but_not_be_left() {
        let cell = LocationCell::at(HERE);
        assert_eq!((cell.freeze(), cell.freeze()), (Some(HERE), None));
        assert_eq!(cell.load(), Some(HERE));
        assert!(!cell.relocate(HERE, THERE));
        assert!(cell.is_frozen_at(HERE) && !cell.is_frozen_at(THERE));
        cell.thaw(HERE);
        assert!(!cell.is_frozen_at(HERE) && !cell.relocate_frozen(HERE, THERE));
        assert!(cell.relocate(HERE, THERE));
        assert_eq!(cell.freeze(), Some(THERE));
        assert!(cell.relocate_frozen(THERE, HERE) && !cell.is_frozen_at(HERE));
        cell.thaw(THERE);
        assert!(cell.relocate(HERE, THERE));
        assert_eq!(cell.freeze(), Some(THERE));
        assert_eq!(cell.kill(), Some(THERE));
        cell.thaw(THERE);
        assert_eq!((cell.load(), cell.freeze()), (None, None));
    }

    #[test]
    fn death_is_final_and_names_the_last_place_once() {
        let cell = LocationCell::unset();
        assert_eq!(cell.load(), None);
        cell.set(HERE);
        assert!(cell.relocate(HERE, THERE));
        assert_eq!(cell.kill(), Some(THERE));
        assert_eq!(cell.kill(), None);
        assert_eq!(cell.load(), None);
        assert!(!cell.relocate(THERE, HERE));
    }
}
