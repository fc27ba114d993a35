//! The Raft log on a [`pagelog::Log`]: entries, and the few marks that Raft must not forget.
//!
//! The log below can append, read where it has appended, and give up its front. A Raft log also loses its
//! *end* (entries of a leader that was overruled), and has a vote, a committed and a purged point beside it.
//! All of that is records, and what counts is the order:
//!
//! ```text
//!   entry 4 │ entry 5 │ entry 6 │ marks │ truncate from 5 │ entry 5' │ marks │ entry 6' …
//!      └─────────┴─────────┴──────── gone ────────┘
//! ```
//!
//! (A) *Replaying is the truth.* An entry adds to the end, `truncate from i` takes away all from `i` on,
//! marks stand for all three of their kind and replace those before. So one prefix of the records is one
//! state of the Raft log, and a crash leaves a prefix: never a hole. (B) *Acknowledged means stable.*
//! [`commit`](Journal::commit) returns when what it was given is. Only the committed point is let run behind:
//! it is a hint, it is in order with the rest, and it rides along with the next sync. (C) *Giving up the
//! front.* Before the front is given up, marks with the new purged point are stable. It is given up below the
//! first entry that is left, which is before these marks; with none left, below the marks. Of live entries
//! the later one has the higher LSN, so all of them stay, and what the records before them did to each other
//! concerns nobody any more: what (A) makes of the rest is the same. (D) *Purged on disk only what the
//! machine has.* openraft 0.9 purges entries that a received snapshot covers without waiting for the machine
//! to have it on disk. A crash in between would leave neither. So a purge takes force in memory at once, and
//! on disk when the [`DurablePoint`] is there, with whatever is committed next. Until then a crash brings the
//! entries back, which does no harm. (A log that is to go on behind such a purge leaves no choice: it is
//! written first, for (A) knows no holes. openraft does not ask for that before the snapshot is in place.)
//! (E) *Two sides.* What is asked for changes memory at once, in [`append`](Journal::append) and its like,
//! and comes back as [`Work`]; `commit` takes it to disk, in the same order, and never waits for those who
//! read. The newest entries stay in memory; others are read from where they lie. (F) *The first failure is
//! the last.* After it memory may be ahead of the disk; all that follows fails with the same words.

use std::collections::VecDeque;
use std::ops::Bound;
use std::ops::RangeBounds;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pagelog::{Config, Location, Log, Lsn};
use serde::{Deserialize, Serialize};

use crate::codec::{decode, encode};
use crate::failure::{Failure, Result};
use crate::machine::DurablePoint;
use crate::types::{Entry, LogId, Vote};

/// How many of the newest entries stay in memory.
const IN_MEMORY: usize = 1024;

/// What Raft must not forget beside the entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marks {
    /// The vote.
    pub vote: Option<Vote>,
    /// The last entry that is known to be committed. May be behind after a crash.
    pub committed: Option<LogId>,
    /// The last entry that was given up at the front.
    pub purged: Option<LogId>,
}

#[derive(Debug, Deserialize)]
enum Record {
    Entry(Entry),
    TruncateFrom(u64),
    Marks(Marks),
}

/// [`Record`], to be written. The same variants in the same order.
#[derive(Debug, Serialize)]
enum RecordRef<'a> {
    Entry(&'a Entry),
    TruncateFrom(u64),
    Marks(Marks),
}

/// Something that memory knows and the disk does not, yet: for [`Journal::commit`].
#[derive(Clone, Debug)]
#[must_use = "not on disk before it is committed"]
pub enum Work {
    /// Entries to append.
    Append(Vec<Arc<Entry>>),
    /// The end of the log goes, from this index on.
    TruncateFrom(u64),
    /// The front of the log goes, up to and with this entry.
    Purge(LogId),
    /// A vote.
    Vote(Vote),
    /// A committed point, for which nobody waits.
    Committed(Option<LogId>),
}

/// A live entry of the Raft log.
#[derive(Clone, Debug)]
struct Slot {
    id: LogId,
    /// The entry, while it is one of the newest or not yet in the log.
    entry: Option<Arc<Entry>>,
    /// Where it lies, when it is in the log.
    location: Option<Location>,
}

/// The Raft log as readers see it (E).
#[derive(Debug, Default)]
struct Memory {
    marks: Marks,
    /// Of consecutive indices.
    slots: VecDeque<Slot>,
}

/// What only `commit` needs.
#[derive(Debug, Default)]
struct Disk {
    marks: Marks,
    marks_lsn: Option<Lsn>,
    /// Index and place of the entries that (A) would find.
    entries: VecDeque<(u64, Lsn)>,
    /// A purge that waits for the machine (D).
    parked: Option<LogId>,
    failure: Option<Failure>,
}

/// The Raft log of one node. Its calls that touch the disk wait for it: see [`LogStore`](crate::LogStore) for
/// openraft's.
#[derive(Debug)]
pub struct Journal {
    log: Log,
    memory: Mutex<Memory>,
    disk: Mutex<Disk>,
    machine: DurablePoint,
}

impl Journal {
    /// Opens the journal in the configured place, or makes an empty one there. `machine` is that of the state
    /// machine that lives on it.
    ///
    /// # Errors
    /// What opening a log can meet with, and [`Failure::Damaged`] if its records are none of a journal.
    pub fn open(config: Config, machine: DurablePoint) -> Result<Self> {
        let log = Log::open(config)?;
        let mut memory = Memory::default();
        let mut marks_lsn = None;
        for record in log.iter_from(log.first_lsn())? {
            let record = record?;
            match decode("a record of the Raft log", &record.payload)? {
                Record::Entry(entry) => {
                    memory.follows(entry.log_id.index)?;
                    memory.push(Slot { id: entry.log_id, entry: None, location: Some(record.location) });
                }
                Record::TruncateFrom(index) => memory.truncate_from(index),
                Record::Marks(marks) => {
                    memory.marks = marks;
                    marks_lsn = Some(record.lsn);
                    memory.drop_purged();
                }
            }
        }
        let places = memory.slots.iter().filter_map(|slot| Some((slot.id.index, slot.location?.lsn())));
        let disk = Disk { marks: memory.marks, marks_lsn, entries: places.collect(), ..Disk::default() };
        Ok(Self { log, memory: Mutex::new(memory), disk: Mutex::new(disk), machine })
    }

    // ------------------------------------------------------------------------------------------- asking

    /// Adds entries to the end. Those that the purged point covers are gone already, and left out.
    ///
    /// # Errors
    /// [`Failure::OutOfOrder`] if their indices do not go on where the log ends; nothing has changed then.
    pub fn append(&self, entries: impl IntoIterator<Item = Entry>) -> Result<Work> {
        let mut memory = self.memory();
        let purged = memory.marks.purged.map(|purged| purged.index);
        let entries = entries.into_iter().filter(|entry| Some(entry.log_id.index) > purged);
        let entries: Vec<Arc<Entry>> = entries.map(Arc::new).collect();
        let mut previous: Option<u64> = None;
        for entry in &entries {
            let found = entry.log_id.index;
            match previous {
                None => memory.follows(found)?,
                Some(previous) if found != previous + 1 => {
                    return Err(Failure::OutOfOrder { expected: previous + 1, found });
                }
                Some(_) => {}
            }
            previous = Some(found);
        }
        for entry in &entries {
            memory.push(Slot { id: entry.log_id, entry: Some(entry.clone()), location: None });
        }
        Ok(Work::Append(entries))
    }

    /// Takes the end away, from `index` on.
    pub fn truncate_from(&self, index: u64) -> Work {
        self.memory().truncate_from(index);
        Work::TruncateFrom(index)
    }

    /// Takes the front away, up to and with `upto`, which may be behind the end.
    pub fn purge(&self, upto: LogId) -> Work {
        let mut memory = self.memory();
        if memory.marks.purged < Some(upto) {
            memory.marks.purged = Some(upto);
            memory.drop_purged();
        }
        Work::Purge(upto)
    }

    /// Votes.
    pub fn vote(&self, vote: Vote) -> Work {
        self.memory().marks.vote = Some(vote);
        Work::Vote(vote)
    }

    /// Notes what is committed.
    pub fn committed(&self, committed: Option<LogId>) -> Work {
        self.memory().marks.committed = committed;
        Work::Committed(committed)
    }

    // ------------------------------------------------------------------------------------------- writing

    /// Writes what was asked for, and returns when it survives a power cut (B): one sync for all of the
    /// group. To be called with everything that was asked for, in that order, from one thread.
    ///
    /// # Errors
    /// What stopped writing; final.
    pub fn commit(&self, group: &[Work]) -> Result<()> {
        let mut disk = self.disk.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(failure) = &disk.failure {
            return Err(failure.clone());
        }
        self.write(&mut disk, group).inspect_err(|failure| disk.failure = Some(failure.clone()))
    }

    fn write(&self, disk: &mut Disk, group: &[Work]) -> Result<()> {
        let mut wanted = None;
        for work in group {
            let lsn = match work {
                Work::Append(entries) => self.write_entries(disk, entries)?,
                Work::TruncateFrom(index) => {
                    disk.truncate_from(*index);
                    Some(self.log.append(&encode(&RecordRef::TruncateFrom(*index))?)?)
                }
                Work::Purge(upto) => {
                    disk.parked = disk.parked.max(Some(*upto));
                    None
                }
                Work::Vote(vote) => {
                    disk.marks.vote = Some(*vote);
                    Some(self.write_marks(disk)?)
                }
                Work::Committed(committed) => {
                    disk.marks.committed = *committed;
                    self.write_marks(disk)?;
                    None
                }
            };
            wanted = lsn.or(wanted);
        }
        let purged = disk.parked.filter(|upto| upto.index < self.machine.entries());
        if let Some(upto) = purged {
            wanted = Some(self.write_purge(disk, upto)?);
        }
        if let Some(lsn) = wanted {
            self.log.make_stable(lsn)?;
        }
        if let (Some(_), Some(lsn)) = (purged, disk.first_needed()) {
            self.log.truncate_before(lsn)?;
        }
        Ok(())
    }

    fn write_entries(&self, disk: &mut Disk, entries: &[Arc<Entry>]) -> Result<Option<Lsn>> {
        let mut last = None;
        for entry in entries {
            let index = entry.log_id.index;
            if let Some(upto) = disk.parked.filter(|_| disk.next().is_some_and(|next| next < index)) {
                self.write_purge(disk, upto)?;
            }
            let reservation = self.log.reserve(&encode(&RecordRef::Entry(entry))?)?;
            let location = reservation.location();
            last = Some(reservation.complete());
            disk.entries.push_back((index, location.lsn()));
            self.memory().written(entry.log_id, location);
        }
        Ok(last)
    }

    fn write_marks(&self, disk: &mut Disk) -> Result<Lsn> {
        let lsn = self.log.append(&encode(&RecordRef::Marks(disk.marks))?)?;
        disk.marks_lsn = Some(lsn);
        Ok(lsn)
    }

    fn write_purge(&self, disk: &mut Disk, upto: LogId) -> Result<Lsn> {
        disk.parked = None;
        disk.marks.purged = disk.marks.purged.max(Some(upto));
        disk.drop_purged();
        self.write_marks(disk)
    }

    // ------------------------------------------------------------------------------------------- reading

    /// The marks.
    #[must_use]
    pub fn marks(&self) -> Marks {
        self.memory().marks
    }

    /// The last entry, or the purged point if there is none.
    #[must_use]
    pub fn last(&self) -> Option<LogId> {
        let memory = self.memory();
        memory.slots.back().map(|slot| slot.id).or(memory.marks.purged)
    }

    /// The entries of a range of indices, as far as they are there: consecutive ones. Reads the disk, except
    /// for the newest.
    ///
    /// # Errors
    /// What reading can meet with.
    pub fn read(&self, range: &impl RangeBounds<u64>) -> Result<Vec<Entry>> {
        self.load(self.find(range))
    }

    /// The first half of [`read`](Self::read), which does not touch the disk.
    #[must_use]
    pub fn find(&self, range: &impl RangeBounds<u64>) -> Found {
        let memory = self.memory();
        let first = memory.slots.front().map_or(0, |slot| slot.id.index);
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(start) => start.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(end) => end.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        let skip = usize::try_from(start.saturating_sub(first)).unwrap_or(usize::MAX);
        let take = usize::try_from(end.saturating_sub(start.max(first))).unwrap_or(usize::MAX);
        Found(memory.slots.iter().skip(skip).take(take).cloned().collect())
    }

    /// The second half of [`read`](Self::read).
    ///
    /// # Errors
    /// What reading can meet with.
    pub fn load(&self, found: Found) -> Result<Vec<Entry>> {
        let mut entries = Vec::with_capacity(found.0.len());
        for slot in found.0 {
            match (slot.entry, slot.location) {
                (Some(entry), _) => entries.push(Entry::clone(&entry)),
                (None, Some(location)) => match self.log.read(location) {
                    Ok(Some(bytes)) => entries.push(decode_entry(slot.id, &bytes)?),
                    // Purged since it was found, and so are those before it.
                    Err(pagelog::Error::Truncated { .. }) => entries.clear(),
                    Ok(None) => return Err(lost(slot.id)),
                    Err(error) => return Err(error.into()),
                },
                (None, None) => return Err(lost(slot.id)),
            }
        }
        Ok(entries)
    }

    /// How many bytes the file takes.
    #[must_use]
    pub fn size_on_disk(&self) -> u64 {
        self.log.size_on_disk()
    }

    /// Flushes, and closes the log.
    ///
    /// # Errors
    /// What the flush met with.
    pub fn close(&self) -> Result<()> {
        Ok(self.log.close()?)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Entries that were found, but not read yet.
#[derive(Clone, Debug)]
pub struct Found(Vec<Slot>);

impl Found {
    /// Whether [`Journal::load`] does without the disk.
    #[must_use]
    pub fn is_in_memory(&self) -> bool {
        self.0.iter().all(|slot| slot.entry.is_some())
    }
}

impl Disk {
    /// The index that has to come next; none if any may.
    fn next(&self) -> Option<u64> {
        let last = self.entries.back().map(|(index, _)| *index);
        last.or(self.marks.purged.map(|purged| purged.index)).map(|index| index + 1)
    }

    fn truncate_from(&mut self, from: u64) {
        while self.entries.back().is_some_and(|(index, _)| *index >= from) {
            self.entries.pop_back();
        }
    }

    fn drop_purged(&mut self) {
        let Some(purged) = self.marks.purged else { return };
        while self.entries.front().is_some_and(|(index, _)| *index <= purged.index) {
            self.entries.pop_front();
        }
    }

    /// The oldest LSN that (A) still needs, when marks have just been written (C).
    fn first_needed(&self) -> Option<Lsn> {
        self.entries.front().map(|(_, lsn)| *lsn).or(self.marks_lsn)
    }
}

impl Memory {
    /// The index that has to come next; none if any may, for nothing was there yet.
    fn next(&self) -> Option<u64> {
        self.slots.back().map(|slot| slot.id).or(self.marks.purged).map(|id| id.index + 1)
    }

    fn follows(&self, found: u64) -> Result<()> {
        match self.next() {
            Some(expected) if expected != found => Err(Failure::OutOfOrder { expected, found }),
            _ => Ok(()),
        }
    }

    fn push(&mut self, slot: Slot) {
        self.slots.push_back(slot);
    }

    fn truncate_from(&mut self, index: u64) {
        while self.slots.back().is_some_and(|slot| slot.id.index >= index) {
            self.slots.pop_back();
        }
    }

    fn drop_purged(&mut self) {
        let Some(purged) = self.marks.purged else { return };
        while self.slots.front().is_some_and(|slot| slot.id.index <= purged.index) {
            self.slots.pop_front();
        }
    }

    /// Notes where an entry lies, unless it is gone already, and forgets the contents of an older one.
    fn written(&mut self, id: LogId, location: Location) {
        let Some(first) = self.slots.front().map(|slot| slot.id.index) else { return };
        let Some(position) = id.index.checked_sub(first).and_then(|position| usize::try_from(position).ok())
        else {
            return;
        };
        if let Some(slot) = self.slots.get_mut(position).filter(|slot| slot.id == id) {
            slot.location = Some(location);
        }
        let old = position.checked_sub(IN_MEMORY).and_then(|position| self.slots.get_mut(position));
        if let Some(slot) = old.filter(|slot| slot.location.is_some()) {
            slot.entry = None;
        }
    }
}

fn decode_entry(id: LogId, bytes: &[u8]) -> Result<Entry> {
    match decode("a record of the Raft log", bytes)? {
        Record::Entry(entry) if entry.log_id == id => Ok(entry),
        _ => Err(lost(id)),
    }
}

fn lost(id: LogId) -> Failure {
    Failure::Damaged(format!("entry {id} is not where it was written"))
}
