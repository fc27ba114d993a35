//! The log on its own: a write-ahead log for users who need no pages.

#[cfg(all(test, not(loom)))]
mod tests;

use std::fmt;
use std::sync::Arc;

use super::batch_guard::Batch;
use super::commit::Commit;
use super::committer::Committer;
use super::core::LogCore;
use super::gate::Privilege;
use super::iter::LogIter;
use super::reservation::{Reservation, refuse_holder};
use crate::error::{Corruption, Error, Result};
use crate::format::{ManifestEntry, Payload, RecordKind, record};
use crate::ids::{HeadId, Lsn, SlotId};
use crate::location::{Location, Place};
use crate::segments::SegmentState;
use crate::stats::{Counter, Counts};
use crate::storage::StorageLock;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};

/// A log of byte strings: append, make durable, read back in order, cut off at the front.
///
/// ```
/// use std::sync::Arc;
/// use pagelog::{Config, Log, MemoryStorage};
///
/// # fn main() -> pagelog::Result<()> {
/// let storage = Arc::new(MemoryStorage::new());
/// let log = Log::open(Config::with_storage(storage.clone()))?;
/// log.append(b"first")?;
/// let second = log.append(b"second")?;
/// log.make_stable(second)?;
/// log.close()?;
///
/// let log = Log::open(Config::with_storage(storage))?;
/// assert!(log.was_recovered());
/// let entries = log.iter_from(log.first_lsn())?.collect::<pagelog::Result<Vec<_>>>()?;
/// assert_eq!(entries[0].payload, b"first");
/// assert_eq!(entries[1].lsn, second);
/// # Ok(())
/// # }
/// ```
pub struct Log {
    core: Arc<LogCore>,
    committer: Committer,
    /// The oldest LSN kept.
    first: AtomicU64,
    truncation: Mutex<()>,
    was_recovered: bool,
    lock: Mutex<Option<Box<dyn StorageLock>>>,
    temporary: bool,
}

impl fmt::Debug for Log {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Log").field("file", &self.core.log_path()).finish_non_exhaustive()
    }
}

impl Log {
    /// Puts the parts together that recovery made.
    pub(crate) fn assemble(
        core: Arc<LogCore>,
        committer: Committer,
        first: Lsn,
        was_recovered: bool,
        lock: Option<Box<dyn StorageLock>>,
        temporary: bool,
    ) -> Self {
        let (first, lock) = (AtomicU64::new(first.0), Mutex::new(lock));
        Self { core, committer, first, truncation: Mutex::new(()), was_recovered, lock, temporary }
    }

    /// What is below, for those who copy it. Fails if the thread holds a reservation, which they would wait
    /// for.
    pub(crate) fn core_without_reservation(&self) -> Result<&LogCore> {
        refuse_holder(&self.core)?;
        Ok(&self.core)
    }

    pub(super) fn core(&self) -> &Arc<LogCore> {
        &self.core
    }

    /// Fails if the log was cut off behind that LSN.
    pub(super) fn check_reaches(&self, lsn: Lsn) -> Result<()> {
        let first = self.first_lsn();
        if lsn < first { Err(Error::Truncated { first }) } else { Ok(()) }
    }

    /// Whether the log existed before it was opened.
    ///
    /// ```
    #[doc = include_str!("../docs/bare_log.txt")]
    /// # let storage = Arc::new(MemoryStorage::new());
    /// let log = Log::open(Config::with_storage(storage.clone()))?;
    /// assert!(!log.was_recovered());
    /// log.close()?;
    /// assert!(Log::open(Config::with_storage(storage))?.was_recovered());
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    #[must_use]
    pub fn was_recovered(&self) -> bool {
        self.was_recovered
    }

    /// Puts an entry in the log's order, without making it part of the log yet. One compare-exchange, and a
    /// copy.
    ///
    /// ```
    #[doc = include_str!("../docs/bare_log.txt")]
    /// # let log = open()?;
    /// use std::sync::atomic::{AtomicU64, Ordering};
    ///
    /// let counter = AtomicU64::new(7);
    /// let entry = log.reserve(b"from 7 to 8")?;
    /// // It has its place in the order of things before it is known whether there is such a thing.
    /// match counter.compare_exchange(7, 8, Ordering::SeqCst, Ordering::SeqCst) {
    ///     Ok(_) => _ = entry.complete(),
    ///     Err(_) => entry.abort(),
    /// }
    /// assert_eq!(log.iter_from(log.first_lsn())?.count(), 1);
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::ValueTooLarge`], [`Error::DiskFull`], or what stopped writing; nothing was logged.
    pub fn reserve(&self, payload: &[u8]) -> Result<Reservation<'_>> {
        self.core.admit(Privilege::Ordinary)?;
        let claim = self.core.reserve(
            HeadId::FRESH,
            Privilege::Ordinary,
            &RecordKind::Entry,
            Payload::plain(payload),
        )?;
        let counters = self.core.counters();
        counters.add(Counter::FreshBytes, claim.length().into());
        counters.add(Counter::PayloadBytes, payload.len() as u64);
        Ok(Reservation::new(&self.core, claim))
    }

    /// Reserves and completes in one step. The entry is durable once [`stable_lsn`](Self::stable_lsn) is
    /// above the returned LSN.
    ///
    /// ```
    #[doc = include_str!("../docs/bare_log.txt")]
    /// # let log = open()?;
    /// let (first, second) = (log.append(b"first")?, log.append(b"second")?);
    /// assert!(first < second);
    /// // With an entry, all before it become stable.
    /// log.make_stable(second)?;
    /// assert!(log.stable_lsn() > second);
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`reserve`](Self::reserve).
    pub fn append(&self, payload: &[u8]) -> Result<Lsn> {
        Ok(self.reserve(payload)?.complete())
    }

    /// Opens a [`Batch`]: what is appended until it is sealed survives a crash as a whole or not at all.
    ///
    /// ```
    #[doc = include_str!("../docs/bare_log.txt")]
    /// # let log = open()?;
    /// use std::ops::ControlFlow;
    ///
    /// let batch = log.pin_log()?;
    /// log.append(b"half of it")?;
    /// // A copy holds what a crash would leave: nothing of the batch.
    /// let target = Arc::new(MemoryStorage::new());
    /// log.backup_to_storage(target.clone(), |_| ControlFlow::Continue(()))?;
    /// log.append(b"the other half")?;
    /// log.make_stable(batch.seal_batch()?)?;
    /// let copy = Log::open(Config::with_storage(target))?;
    /// assert_eq!(copy.iter_from(copy.first_lsn())?.count(), 0);
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::BatchOpen`] if this thread has one open already; a batch of another thread is waited for.
    /// Otherwise as [`reserve`](Self::reserve).
    pub fn pin_log(&self) -> Result<Batch<'_>> {
        Batch::begin(&self.core)
    }

    /// Returns when the entry at `lsn`, and all before it, survive a power cut. Waits for reservations of
    /// other threads before it, and for the end of a batch that it lies in. An LSN behind the log's end means
    /// all of the log.
    ///
    /// ```
    #[doc = include_str!("../docs/bare_log.txt")]
    /// # let log = open()?;
    /// let (first, second) = (log.append(b"first")?, log.reserve(b"second")?);
    /// // It would wait for the reservation.
    /// assert!(matches!(log.make_stable(first), Err(Error::ReservationOpen { .. })));
    /// let second = second.complete();
    /// log.make_stable(second)?;
    /// assert!(log.stable_lsn() > second);
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::ReservationOpen`] if the calling thread holds a reservation and the LSN is not stable yet,
    /// and [`Error::BatchOpen`] if it lies in the thread's own batch: it would wait for itself; an I/O error,
    /// which also poisons the log; [`Error::Poisoned`] by an earlier one, [`Error::ReadOnly`],
    /// [`Error::Closed`].
    pub fn make_stable(&self, lsn: Lsn) -> Result<()> {
        self.core.gate().admit_flush()?;
        let bound = Lsn(lsn.0.saturating_add(1)).min(self.core.tail());
        if bound > self.stable_lsn() {
            refuse_holder(&self.core)?;
        }
        self.core.make_stable_below(bound)
    }

    /// Makes everything stable that was reserved before this call.
    ///
    /// ```
    #[doc = include_str!("../docs/bare_log.txt")]
    /// # let log = open()?;
    /// let lsn = log.append(b"entry")?;
    /// assert!(log.stable_lsn() <= lsn);
    /// log.flush()?;
    /// assert!(log.stable_lsn() > lsn);
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`make_stable`](Self::make_stable).
    pub fn flush(&self) -> Result<()> {
        self.make_stable(Lsn(u64::MAX))
    }

    /// As [`make_stable`](Self::make_stable), without waiting: see [`Commit`].
    ///
    /// ```
    #[doc = include_str!("../docs/bare_log.txt")]
    /// # let log = open()?;
    /// let lsn = log.append(b"entry")?;
    /// let commit = log.make_stable_later(lsn)?;
    /// // It can be waited for wherever that is no matter.
    /// let waiting = std::thread::spawn(move || commit.wait());
    /// waiting.join().expect("it does not panic")?;
    /// assert!(log.stable_lsn() > lsn);
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::ReadOnly`], [`Error::Poisoned`], [`Error::Closed`]. What the commit itself meets with, it
    /// says itself.
    pub fn make_stable_later(&self, lsn: Lsn) -> Result<Commit> {
        self.core.gate().admit_flush()?;
        Ok(Commit::new(&self.core, Lsn(lsn.0.saturating_add(1)).min(self.core.tail())))
    }

    /// As [`flush`](Self::flush), without waiting: see [`Commit`].
    ///
    /// ```
    #[doc = include_str!("../docs/bare_log.txt")]
    /// # let log = open()?;
    /// let first = log.append(b"first")?;
    /// let commit = log.flush_later()?;
    /// let second = log.append(b"second")?;
    /// // What is appended by now is none of its business.
    /// assert!(first < commit.bound() && commit.bound() <= second);
    /// commit.wait()?;
    /// assert!(log.stable_lsn() > first);
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`make_stable_later`](Self::make_stable_later).
    pub fn flush_later(&self) -> Result<Commit> {
        self.make_stable_later(Lsn(u64::MAX))
    }

    /// Every entry that begins below this LSN survives a power cut.
    ///
    /// ```
    #[doc = include_str!("../docs/bare_log.txt")]
    /// # let log = open()?;
    /// let first = log.append(b"first")?;
    /// log.flush()?;
    /// let second = log.append(b"second")?;
    /// assert!(first < log.stable_lsn() && log.stable_lsn() <= second);
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    #[must_use]
    pub fn stable_lsn(&self) -> Lsn {
        self.core.durability().stable(HeadId::FRESH)
    }

    /// The oldest LSN that the log still reaches back to.
    ///
    /// ```
    #[doc = include_str!("../docs/bare_log.txt")]
    /// # let log = open()?;
    /// let (first, second) = (log.append(b"first")?, log.append(b"second")?);
    /// assert!(log.first_lsn() <= first);
    /// log.flush()?;
    /// log.truncate_before(second)?;
    /// assert_eq!(log.first_lsn(), second);
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    #[must_use]
    pub fn first_lsn(&self) -> Lsn {
        Lsn(self.first.load(Ordering::Acquire))
    }

    /// Reads one entry; `None` if it was aborted. Writes out the buffer that holds it, if need be, but does
    /// not sync.
    ///
    /// ```
    #[doc = include_str!("../docs/bare_log.txt")]
    /// # let log = open()?;
    /// let entry = log.reserve(b"entry")?;
    /// let location = entry.location();
    /// entry.complete();
    /// assert_eq!(log.read(location)?.as_deref(), Some(&b"entry"[..]));
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Truncated`] if the log was cut off behind it, [`Error::ReservationOpen`] if this thread holds
    /// a reservation, which may keep it from being written, [`Error::Closed`], [`Error::Corruption`],
    /// [`Error::Io`].
    pub fn read(&self, location: Location) -> Result<Option<Vec<u8>>> {
        self.core.gate().admit_read()?;
        let Location { slot, lsn, length } = location;
        self.check_reaches(lsn)?;
        let end = Lsn(lsn.0.saturating_add(length.into()));
        if end > self.core.ring(HeadId::FRESH).written() {
            refuse_holder(&self.core)?;
            self.core.write_below(end.min(self.core.tail()))?;
        }
        let geometry = self.core.geometry();
        let place = Place::new(slot, geometry.offset(lsn));
        let mut bytes = vec![0; length as usize];
        let read = self.core.read_slot(place, &mut bytes);
        // Truncated meanwhile, so the slot may be in another life, or cut off.
        self.check_reaches(lsn)?;
        if self.core.accountant().segment(slot) != geometry.segment(lsn) {
            // It is so without a truncation if all that the segment had was aborted.
            return Ok(None);
        }
        read?;
        let seed = self.core.seed().at(geometry.segment(lsn), place.offset);
        match record::decode(&bytes, seed) {
            Ok(record) if record.kind == RecordKind::Entry => Ok(Some(record.payload.bytes.to_vec())),
            Ok(_) => Ok(None),
            Err(fault) => {
                let corruption =
                    Corruption::new(self.core.log_path(), format!("the record {}", fault.reason()));
                Err(corruption.at_lsn(lsn).at_offset(geometry.file_offset(slot, place.offset)).into())
            }
        }
    }

    /// Iterates over the completed entries from `lsn` on, in the order of their LSNs, up to what can be
    /// written to the file at this moment. What lies behind an open reservation is not seen. An error in
    /// reading is an item, the last one, behind the entries before it.
    ///
    /// ```
    #[doc = include_str!("../docs/bare_log.txt")]
    /// # let log = open()?;
    /// log.append(b"one")?;
    /// let two = log.append(b"two")?;
    /// log.append(b"six")?;
    /// let entries = log.iter_from(two)?.collect::<pagelog::Result<Vec<_>>>()?;
    /// let payloads: Vec<_> = entries.iter().map(|entry| &entry.payload[..]).collect();
    /// assert_eq!(payloads, [b"two", b"six"]);
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Truncated`] if the log does not reach back to `lsn`, [`Error::Closed`], and an I/O error in
    /// writing out what is in buffers, which poisons the log. Items are [`Error::Corruption`], [`Error::Io`],
    /// or [`Error::Truncated`] if the log was cut off behind what is read next.
    pub fn iter_from(&self, lsn: Lsn) -> Result<LogIter<'_>> {
        self.core.gate().admit_read()?;
        self.check_reaches(lsn)?;
        if self.core.gate().check_poison().is_ok() && !self.core.gate().is_read_only() {
            self.core.write_out()?;
        }
        Ok(LogIter::new(self, lsn))
    }

    /// Gives up everything before `lsn`, durably, and reuses its space; what is at the end of the file, and
    /// more than the log will soon need, is cut off. Entries are given up by whole segments on disk, but none
    /// before `lsn` can be read any more. Nothing that is not stable is given up.
    ///
    /// ```
    #[doc = include_str!("../docs/bare_log.txt")]
    /// # let log = open()?;
    /// let (old, new) = (log.append(b"old")?, log.append(b"new")?);
    /// log.flush()?;
    /// log.truncate_before(new)?;
    /// assert!(matches!(log.iter_from(old), Err(Error::Truncated { first }) if first == new));
    /// assert_eq!(log.iter_from(new)?.count(), 1);
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    ///
    /// # Errors
    /// An I/O error, which poisons the log; [`Error::Poisoned`] by an earlier one, [`Error::ReadOnly`],
    /// [`Error::Closed`].
    pub fn truncate_before(&self, lsn: Lsn) -> Result<()> {
        self.core.gate().admit_flush()?;
        let _one_at_a_time = self.truncation.lock();
        let first = lsn.min(self.stable_lsn());
        if first <= self.first_lsn() {
            return Ok(());
        }
        let stable = self.core.durability().all_stable();
        self.core.append_manifest(&ManifestEntry::Truncate { first, stable })?;
        self.first.store(first.0, Ordering::Release);
        let accountant = self.core.accountant();
        for slot in (0..accountant.bound()).map(SlotId) {
            if accountant.state(slot) == SegmentState::Sealed && accountant.end(slot) <= first {
                let live = u32::try_from(accountant.live(slot)).unwrap_or(0);
                // A segment with none is on its way to being empty already.
                if live > 0 {
                    accountant.abort(slot, live);
                }
            }
        }
        self.core.supply().harvest(&self.core);
        // The head is in one segment, and the next one is claimed.
        for _ in 0..2 {
            if self.core.shrink_to_what_is_used()? {
                // What it leaves behind keeps the file as it is for now; the next truncation can cut it off.
                self.core.leave_segment(HeadId::FRESH)?;
            }
        }
        Ok(())
    }

    /// What the log did since it was opened: the part of [`stats`](Self::stats) that is summed up quickest.
    ///
    /// ```
    #[doc = include_str!("../docs/bare_log.txt")]
    /// # let log = open()?;
    /// log.append(b"entry")?;
    /// log.flush()?;
    /// // There is nothing left to sync.
    /// log.flush()?;
    /// let counts = log.counts();
    /// assert_eq!((counts.payload_bytes, counts.syncs), (5, 1));
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.core.counters().read()
    }

    /// The size of the log file in bytes.
    ///
    /// ```
    #[doc = include_str!("../docs/bare_log.txt")]
    /// # let log = open()?;
    /// for _ in 0..20 {
    ///     log.append(&[7; 100_000])?;
    /// }
    /// log.flush()?;
    /// assert!(log.size_on_disk() > 2_000_000);
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    #[must_use]
    pub fn size_on_disk(&self) -> u64 {
        self.core.file_length()
    }

    /// Flushes, closes, and releases the lock. Later calls fail with [`Error::Closed`]; closing twice does
    /// nothing. A batch that another thread has open is waited for: nothing more is written in it, but it can
    /// be sealed.
    ///
    /// ```
    #[doc = include_str!("../docs/bare_log.txt")]
    /// # let storage = Arc::new(MemoryStorage::new());
    /// let log = Log::open(Config::with_storage(storage.clone()))?;
    /// log.append(b"entry")?;
    /// log.close()?;
    /// assert!(matches!(log.append(b"too late"), Err(Error::Closed)));
    /// // All is stable, and there is no lock.
    /// let log = Log::open(Config::with_storage(storage))?;
    /// assert_eq!(log.iter_from(log.first_lsn())?.count(), 1);
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::BatchOpen`] and [`Error::ReservationOpen`] if the calling thread has one open: then nothing
    /// has happened, and it can be finished. What the flush met with: then the log is closed all the same,
    /// and if that has stopped writing, closing again says so again.
    pub fn close(&self) -> Result<()> {
        if !self.core.gate().is_closed() {
            if self.core.batches().is_own() {
                return Err(Error::BatchOpen);
            }
            refuse_holder(&self.core)?;
        }
        self.shut()?;
        self.core.gate().tell_failure()
    }

    fn shut(&self) -> Result<()> {
        if !self.core.gate().close() {
            return Ok(());
        }
        let flushed = if self.core.gate().is_read_only() {
            Ok(())
        } else {
            let flushed = match refuse_holder(&self.core) {
                Ok(()) => self.core.make_stable_at_last(),
                // It was forgotten, and nobody will finish it: what lies before it is all there is.
                Err(error) => self.core.sync_in_passing().and(Err(error)),
            };
            let shrunk = flushed.and_then(|()| self.core.shrink_to_what_is_used());
            shrunk.and_then(|_| self.core.supply().note_stable(&self.core))
        };
        self.core.stop();
        self.committer.join();
        *self.lock.lock() = None;
        if self.temporary {
            let removed = self.core.storage().remove_directory();
            removed.map_err(|error| Error::io("remove", self.core.log_path(), error))?;
        }
        flushed
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if let Err(error) = self.shut() {
            ::log::error!("closing {}: {error}", self.core.log_path());
        }
    }
}
