//! The log that the page cache stands on: rings, segments, durability and the manifest, put together.
//!
//! A write goes through here in a straight line: [`LogCore::reserve`] → `Ring::reserve` (one
//! compare-exchange) → the record is encoded in place → [`Claim::complete`](super::claim::Claim::complete). A
//! flush: [`LogCore::make_stable_below`] → `Durability::lead` → [`LogCore::flush_round`] →
//! `Ring::wait_written` → [`Host::write`] → one sync.

mod host;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use self::host::Host;
use super::batch::Batches;
use super::blocks::Blocks;
use super::buffer::Stretch;
use super::claim::Claim;
use super::durability::{Durability, Leader};
use super::gate::{Gate, Privilege};
use super::large::{LargeValues, OwnedFile};
use super::manifest_file::ManifestFile;
use super::ring::Ring;
use super::supply::{RESERVE, Supply, SupplyStart, claimed_at_once};
use crate::config::Config;
use crate::error::{Corruption, Error, Result};
use crate::failpoints::failpoint;
use crate::format::record;
use crate::format::{ManifestEntry, Payload, RecordKind, RecordSeed, StoreId};
use crate::geometry::Geometry;
use crate::ids::{HeadId, HeadLsns, Lsn, SegmentId, SlotId};
use crate::location::Place;
use crate::segments::{SegmentAccountant, SegmentState};
use crate::stats::{Counter, Counters, Timed};
use crate::storage::{Storage, StorageFile};
use crate::sync::atomic::{AtomicBool, Ordering};

/// The name of the file that holds the segments.
pub(crate) const LOG_FILE: &str = "log";

/// Each time that so many bytes of fresh log were reserved, as a power of two, somebody does a step of the
/// housekeeping: 64 KiB, little enough for a step to be short, and half of a segment at the most.
const LARGEST_STEP: u32 = 16;

/// The write buffers of what is moved need not be larger: each stretch of cleaning is written when it is
/// copied.
const LARGEST_COPY_BUFFER: u32 = 128 << 10;

/// What new slots are filled with. Not made each time: the step that fills a little of a slot is taken often.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// What housekeeping there is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Nothing,
    /// The log grew by a step.
    Step,
    /// A segment was begun, or is missing.
    Segment,
}

/// What recovery hands over.
#[derive(Debug)]
pub(crate) struct LogStart {
    pub(crate) store_id: StoreId,
    pub(crate) geometry: Geometry,
    /// Where each head's log ends; all below is stable.
    pub(crate) tips: HeadLsns,
    pub(crate) supply: SupplyStart,
    pub(crate) accountant: SegmentAccountant,
    pub(crate) manifest: ManifestFile,
    pub(crate) file: Arc<dyn StorageFile>,
    /// The segments that were found, and their slots.
    pub(crate) restored: BTreeMap<SegmentId, SlotId>,
    /// The large values that are needed.
    pub(crate) large: Vec<OwnedFile>,
}

/// The log.
#[derive(Debug)]
pub(crate) struct LogCore {
    store_id: StoreId,
    geometry: Geometry,
    seed: RecordSeed,
    storage: Arc<dyn Storage>,
    file: Arc<dyn StorageFile>,
    rings: [Ring; HeadId::COUNT],
    accountant: SegmentAccountant,
    supply: Supply,
    manifest: ManifestFile,
    gate: Gate,
    batches: Batches,
    durability: Durability,
    counters: Arc<Counters>,
    large: LargeValues,
    /// The segments that recovery found, and their slots.
    restored: BTreeMap<SegmentId, SlotId>,
    /// How much log comes between two steps of the housekeeping, as a power of two.
    step_bits: u32,
    /// The log grew by a step since the last look, or a segment was begun.
    step_due: AtomicBool,
    /// A segment was begun since the last look, or is missing.
    segment_due: AtomicBool,
    /// Segments are claimed ahead by the thread that does the housekeeping, not by writers.
    claims_in_background: bool,
    /// Where users' log ended when it was opened.
    opened_at: Lsn,
}

impl LogCore {
    pub(crate) fn new(config: &Config, start: LogStart, counters: Arc<Counters>) -> Self {
        let storage = Arc::clone(&config.storage);
        let ring = |head: usize| {
            let tip = start.tips.get(head).copied().unwrap_or_default();
            let newest = start.supply.newest.get(head).copied().unwrap_or_default();
            let most = if head == HeadId::FRESH.index() { u32::MAX } else { LARGEST_COPY_BUFFER };
            let (size, count) = (config.io_buffer_size.min(most), config.io_buffers);
            let ring = Ring::new(HeadId(head as u8), start.geometry, size, count, tip, newest);
            ring.with_blocks(Blocks::new(config.torn_block_size))
        };
        let large =
            LargeValues::new(Arc::clone(&storage), start.store_id, start.large, Arc::clone(&counters));
        Self {
            store_id: start.store_id,
            geometry: start.geometry,
            seed: RecordSeed::new(start.store_id),
            gate: Gate::new(config.read_only, storage.describe(LOG_FILE)),
            rings: std::array::from_fn(ring),
            storage,
            file: start.file,
            accountant: start.accountant,
            supply: Supply::new(start.supply),
            manifest: start.manifest,
            batches: Batches::new(),
            durability: Durability::new(&start.tips),
            counters,
            large,
            restored: start.restored,
            step_bits: LARGEST_STEP.min((start.geometry.segment_size() / 2).ilog2()),
            step_due: AtomicBool::new(false),
            segment_due: AtomicBool::new(false),
            claims_in_background: config.background,
            opened_at: start.tips.first().copied().unwrap_or_default(),
        }
    }

    /// Where users' log ended when it was opened. In the segment of that place nothing follows.
    pub(crate) fn opened_at(&self) -> Lsn {
        self.opened_at
    }

    pub(crate) fn geometry(&self) -> Geometry {
        self.geometry
    }

    pub(crate) fn store_id(&self) -> StoreId {
        self.store_id
    }

    pub(crate) fn seed(&self) -> RecordSeed {
        self.seed
    }

    pub(crate) fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    pub(crate) fn accountant(&self) -> &SegmentAccountant {
        &self.accountant
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.gate
    }

    pub(crate) fn batches(&self) -> &Batches {
        &self.batches
    }

    pub(crate) fn supply(&self) -> &Supply {
        &self.supply
    }

    pub(crate) fn durability(&self) -> &Durability {
        &self.durability
    }

    pub(crate) fn large(&self) -> &LargeValues {
        &self.large
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(crate) fn log_path(&self) -> String {
        self.storage.describe(LOG_FILE)
    }

    #[inline]
    pub(crate) fn ring(&self, head: HeadId) -> &Ring {
        let [fresh, relocated, second, third] = &self.rings;
        match head.0 {
            0 => fresh,
            1 => relocated,
            2 => second,
            _ => third,
        }
    }

    /// Bytes of memory in write buffers.
    pub(crate) fn buffer_memory(&self) -> u64 {
        self.rings.iter().map(Ring::memory).sum()
    }

    /// The longest record that fits in a segment beside its header and a mark.
    pub(crate) fn max_record(&self) -> usize {
        (self.geometry.segment_size() as usize).saturating_sub(Stretch::overhead(self.geometry, 0) as usize)
    }

    /// What housekeeping is due. Each piece is reported once, to whoever asks first.
    #[inline]
    pub(crate) fn take_due(&self) -> Due {
        if !self.step_due.load(Ordering::Relaxed) || !self.step_due.swap(false, Ordering::Relaxed) {
            return Due::Nothing;
        }
        if self.segment_due.swap(false, Ordering::Relaxed) { Due::Segment } else { Due::Step }
    }

    /// Leaves to the next one what is due once for each segment.
    pub(crate) fn put_off(&self, due: Due) {
        if due == Due::Segment {
            self.segment_due.store(true, Ordering::Relaxed);
        }
    }

    fn set_segment_due(&self) {
        self.segment_due.store(true, Ordering::Relaxed);
        self.step_due.store(true, Ordering::Relaxed);
    }

    /// How many bytes are written between two steps of the housekeeping.
    pub(crate) fn step_bytes(&self) -> usize {
        1 << self.step_bits
    }

    /// Whether the caller may write; tries to end a shortage of disk space first.
    #[inline]
    pub(crate) fn admit(&self, privilege: Privilege) -> Result<()> {
        match self.gate.admit(privilege) {
            Err(Error::DiskFull { .. }) => {
                self.supply.restore_reserve(self)?;
                self.gate.admit(privilege)
            }
            other => other,
        }
    }

    /// Puts a record in a write buffer. Nothing after this, until the claim is finished, waits for anything.
    ///
    /// # Errors
    /// `ValueTooLarge`, `DiskFull`, or whatever stopped writing. Nothing was logged then.
    #[inline]
    pub(crate) fn reserve(
        &self,
        head: HeadId,
        privilege: Privilege,
        kind: &RecordKind,
        payload: Payload<'_>,
    ) -> Result<Claim<'_>> {
        let length = record::encoded_length(kind, payload.bytes.len());
        let claim = self.claim(head, privilege, length)?;
        // SAFETY: the ring handed this range out to the claim alone.
        let bytes = unsafe { claim.buffer.bytes(claim.offset, claim.length) };
        record::encode(bytes, claim.seed, kind, payload);
        Ok(claim)
    }

    /// Puts the copy of a verified record in a write buffer.
    pub(crate) fn reserve_copy(&self, head: HeadId, record: &[u8]) -> Result<Claim<'_>> {
        let claim = self.claim(head, Privilege::Relocation, record.len())?;
        // SAFETY: as in `reserve`.
        let bytes = unsafe { claim.buffer.bytes(claim.offset, claim.length) };
        bytes.copy_from_slice(record);
        record::reseal(bytes, claim.seed);
        Ok(claim)
    }

    /// Takes `length` bytes of a head's log. The caller fills them before it does anything else with the
    /// claim.
    #[inline]
    fn claim(&self, head: HeadId, privilege: Privilege, length: usize) -> Result<Claim<'_>> {
        let maximum = self.max_record();
        if length > maximum {
            return Err(Error::ValueTooLarge { length, maximum });
        }
        let length = length as u32;
        let ring = self.ring(head);
        let (buffer, offset) = ring.reserve(&Host { core: self, privilege }, length)?;
        let stretch = buffer.stretch();
        let place = buffer.place(offset);
        let lsn = self.geometry.lsn(stretch.segment, place.offset);
        if head == HeadId::FRESH && lsn.0 >> self.step_bits != (lsn.0 + u64::from(length)) >> self.step_bits {
            self.step_due.store(true, Ordering::Relaxed);
        }
        let seed = self.seed.at(stretch.segment, place.offset);
        Ok(Claim { core: self, buffer, head, offset, length, lsn, place, seed })
    }

    /// The slot that recovery found a segment in.
    pub(crate) fn slot_of(&self, segment: SegmentId) -> Option<SlotId> {
        self.restored.get(&segment).copied()
    }

    /// The LSN of a record, by where it lies now.
    pub(crate) fn lsn_of(&self, place: Place) -> Lsn {
        self.geometry.lsn(self.accountant.segment(place.slot), place.offset)
    }

    /// Whether a record that ends `length` bytes behind `place` is in the file.
    pub(crate) fn is_written(&self, place: Place, length: u32) -> bool {
        let end = self.lsn_of(place).0 + u64::from(length);
        end <= self.ring(self.accountant.head(place.slot)).written().0
    }

    /// The LSN behind the newest record that users wrote.
    pub(crate) fn tail(&self) -> Lsn {
        self.ring(HeadId::FRESH).tail()
    }

    /// Writes what can be written now, without waiting for a writer and without a sync.
    pub(crate) fn write_out(&self) -> Result<()> {
        let host = self.host();
        self.rings.iter().try_for_each(|ring| ring.write_out(&host))
    }

    /// Writes everything that users wrote below `bound`, waiting for its writers, without a sync.
    pub(crate) fn write_below(&self, bound: Lsn) -> Result<()> {
        self.write_head(HeadId::FRESH, bound)
    }

    /// Returns when everything in the fresh head below `bound` survives a power cut.
    pub(crate) fn make_stable_below(&self, bound: Lsn) -> Result<()> {
        if self.durability.stable(HeadId::FRESH) >= bound {
            return Ok(());
        }
        let _timed = self.counters.time(Timed::CommitWait);
        while self.durability.stable(HeadId::FRESH) < bound {
            self.gate.check_poison()?;
            // Asked before every round: a batch may have begun below the bound, and be known only now.
            let covered = self.batches.cover(bound, || self.gate.check_poison())?;
            // Looked at once more: another leader may have got there before this thread became one.
            if let Some(leader) = self.durability.lead()
                && self.durability.stable(HeadId::FRESH) < bound
            {
                self.flush_round(&leader, covered)?;
            }
        }
        Ok(())
    }

    /// Makes everything stable that users wrote, for who closes. A batch that is open will not end any more;
    /// what lies before it does not depend on that.
    pub(crate) fn make_stable_at_last(&self) -> Result<()> {
        if self.batches.is_open() {
            self.sync_now()?;
        }
        self.make_stable_below(self.tail())
    }

    /// Lets the segment that a head is in end, however much of it is left, and the fresh head begin the next
    /// one; the others begin one when they need it. What that takes is a record or two without meaning.
    pub(crate) fn leave_segment(&self, head: HeadId) -> Result<()> {
        let pass =
            || self.reserve(head, Privilege::Relocation, &RecordKind::Cancelled, Payload::NONE).map(drop);
        // A segment that nothing was put in can't end.
        pass()?;
        self.ring(head).end_segment();
        if head == HeadId::FRESH {
            pass()?;
        }
        self.write_out()
    }

    /// Makes durable what is written now, up to an open batch: one round, however far it gets.
    pub(crate) fn sync_now(&self) -> Result<()> {
        self.gate.check_poison()?;
        loop {
            if let Some(leader) = self.durability.lead() {
                return self.flush_round(&leader, self.tail());
            }
        }
    }

    /// Makes durable what can be written without waiting for anybody: for those who do a share of the common
    /// work in passing. A writer that is stopped in its reservation, or a leader that waits for it, must not
    /// stop them.
    pub(crate) fn sync_in_passing(&self) -> Result<()> {
        self.sync_within(Duration::ZERO)
    }

    /// As [`sync_in_passing`](Self::sync_in_passing), but waits a while for somebody else's sync to end.
    pub(crate) fn sync_within(&self, patience: Duration) -> Result<()> {
        self.gate.check_poison()?;
        let Some(leader) = self.durability.lead_within(patience) else { return Ok(()) };
        self.write_out()?;
        self.sync_written(&leader)
    }

    /// One round of a leader: write, sync once, move the stable LSNs.
    pub(crate) fn flush_round(&self, leader: &Leader<'_>, bound: Lsn) -> Result<()> {
        self.gate.check_poison()?;
        self.write_below(bound.min(self.tail()))?;
        let [_, relocated @ ..] = &self.rings;
        let host = self.host();
        relocated.iter().try_for_each(|ring| ring.write_out(&host))?;
        self.sync_written(leader)
    }

    /// The second half of a round: one sync of what is in the file, then the stable LSNs move up to there.
    pub(crate) fn sync_written(&self, leader: &Leader<'_>) -> Result<()> {
        // Read before the sync, which covers no more than this.
        let [fresh, relocated @ ..] = self.written();
        self.counters.one(Counter::Sync);
        let synced = self.counters.timed(Timed::Sync, || self.file.sync());
        synced.map_err(|error| self.poison(Error::io("sync", self.log_path(), error)))?;
        failpoint!("log::stable");
        leader.advance(HeadId::FRESH, self.batches.stable_point(fresh));
        for (head, written) in HeadId::all().skip(1).zip(relocated) {
            leader.advance(head, written);
        }
        Ok(())
    }

    /// Waits until every reservation made before this call, in every head, has been completed or aborted.
    /// Returns where each head's log ended then: whatever lies below has been installed.
    pub(crate) fn quiesce(&self) -> Result<HeadLsns> {
        let mut ends = HeadLsns::default();
        for (end, ring) in ends.iter_mut().zip(&self.rings) {
            *end = ring.settle(&self.host())?;
        }
        Ok(ends)
    }

    /// Returns when everything below these LSNs, in every head, survives a power cut.
    pub(crate) fn make_all_stable(&self, ends: &HeadLsns) -> Result<()> {
        for (head, end) in HeadId::all().zip(ends) {
            if head == HeadId::FRESH {
                self.make_stable_below(*end)?;
            }
            while self.durability.stable(head) < *end {
                self.write_head(head, *end)?;
                self.sync_now()?;
            }
        }
        Ok(())
    }

    /// Writes everything of a head below `bound`, waiting for its writers, without a sync.
    pub(crate) fn write_head(&self, head: HeadId, bound: Lsn) -> Result<()> {
        let ring = self.ring(head);
        ring.seal_below(bound);
        ring.wait_written(&self.host(), bound)
    }

    /// Up to where each head is in the file. Every reservation below has been completed, and installed
    /// before, or aborted.
    pub(crate) fn written(&self) -> HeadLsns {
        self.rings.each_ref().map(Ring::written)
    }

    /// Where each head's log ends now.
    pub(crate) fn tails(&self) -> HeadLsns {
        self.rings.each_ref().map(Ring::tail)
    }

    /// The end of an instance: nothing is written any more when this returns, by whichever thread was on its
    /// way.
    pub(crate) fn stop(&self) {
        self.gate.stop();
        self.wake_all();
        self.manifest.close();
        // Whoever was writing when the gate was shut has finished when its lock could be had once.
        self.rings.iter().for_each(Ring::pass_drain);
        self.supply.pass();
        while self.durability.lead().is_none() {}
    }

    fn wake_all(&self) {
        for ring in &self.rings {
            ring.wake();
        }
        self.durability.wake();
        self.batches.wake();
    }

    /// Stops writing for good and wakes everybody who waits for something to be written. The one place that
    /// does.
    pub(crate) fn poison(&self, error: Error) -> Error {
        let error = self.gate.poison(error);
        failpoint!("poison::set");
        self.wake_all();
        error
    }

    pub(crate) fn append_manifest(&self, entry: &ManifestEntry) -> Result<()> {
        self.gate.check_poison()?;
        let _timed = self.counters.time(Timed::ManifestWrite);
        self.make_manifest_room(1)?;
        self.manifest.append(entry).map_err(|error| self.poison(error))
    }

    /// Makes sure that so many more manifest entries will find space.
    pub(crate) fn make_manifest_room(&self, entries: u64) -> Result<()> {
        self.manifest.make_room(entries).map_err(|error| match error {
            Error::DiskFull { .. } | Error::Io { operation: "extend", .. } => error,
            error => self.poison(error),
        })
    }

    /// Fills the bytes `from .. to` of a slot at the end of the file with zeros.
    pub(crate) fn zero(&self, slot: SlotId, from: u32, to: u32) -> io::Result<()> {
        for start in (from..to).step_by(ZEROS.len()) {
            let length = (to - start) as usize;
            let zeros = ZEROS.get(..length).unwrap_or(&ZEROS);
            self.file.write_at(zeros, self.geometry.file_offset(slot, start))?;
        }
        Ok(())
    }

    /// Gives back what the file has from there on. An error does no harm: the next slot is written over it.
    pub(crate) fn cut_file(&self, length: u64) {
        if let Err(error) = self.file.set_len(length) {
            ::log::debug!("{} stays longer than it need be: {error}", self.log_path());
        }
    }

    /// Makes the file of a log without pages shorter, if it is clearly longer than what is in use and a stock
    /// beside it. Returns whether the head is in the way of that.
    pub(crate) fn shrink_to_what_is_used(&self) -> Result<bool> {
        let figures = self.supply.figures();
        let fitting = figures.used() + RESERVE as u32 + claimed_at_once(figures.slots) + 1;
        if figures.slots <= fitting + 2 + fitting / 8 {
            return Ok(false);
        }
        match self.supply.shrink(self, fitting, 1) {
            Err(Error::DiskFull { .. }) | Ok(_) => {}
            Err(error) => return Err(error),
        }
        let in_the_way = self.supply.in_the_way(fitting, usize::MAX);
        Ok(in_the_way.iter().any(|slot| self.accountant.state(*slot) == SegmentState::Active))
    }

    /// The log file's length in bytes.
    pub(crate) fn file_length(&self) -> u64 {
        self.supply.figures().file_length(self.geometry)
    }

    /// The manifest of the store.
    pub(crate) fn manifest(&self) -> &ManifestFile {
        &self.manifest
    }

    /// The length that the log file really has.
    pub(crate) fn length_found(&self) -> Result<u64> {
        self.file.len().map_err(|error| Error::io("read", self.log_path(), error))
    }

    /// Reads bytes of a slot, which must be there: if the file has lost them, that is damage.
    pub(crate) fn read_slot(&self, place: Place, buffer: &mut [u8]) -> Result<()> {
        let offset = self.geometry.file_offset(place.slot, place.offset);
        self.file.read_at(buffer, offset).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                Corruption::new(self.log_path(), "the file ends before a record does")
                    .at_offset(offset)
                    .into()
            }
            _ => Error::io("read", self.log_path(), error),
        })
    }

    fn host(&self) -> Host<'_> {
        Host { core: self, privilege: Privilege::Ordinary }
    }
}
