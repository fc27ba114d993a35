//! The manifest as a file: entries appended one at a time, each synced before anything relies on it.
//!
//! An append is one write (both copies of the entry) and one sync, under a lock, so at most one entry is ever
//! un-synced. It mostly goes to room that was made, and synced, with the file: if the file grew, its sync
//! would commit the file system's journal, and with it wait for whatever was just written to the log. When
//! the room is used up, the file is written anew beside the old one and renamed over it; the directory is
//! synced before the next append, for an append to a file whose rename is undone by a power cut would be
//! lost.
//!
//! A full disk must not stop what makes space, and that needs entries too. So
//!
//! * the file is filled with zeros ahead of what is in it, and a claim that would use up the last of them is
//!   refused while nothing is lost by it. A reader takes the zeros for room.
//! * the file that the manifest is next written to is there beforehand, with its space. So it can always be
//!   written anew, which makes room for more entries, also when a full disk is opened.
//!
//! # Disks that damage whole blocks
//!
//! With [`Config::torn_block_size`](crate::Config::torn_block_size) nothing may be written into a block that
//! holds what is durable. Then no entry is appended: each step writes the file anew. The space that this
//! takes is there beforehand as well, or a claim is refused while nothing is lost by it.

use std::io;
use std::sync::Arc;

use crate::error::{Corruption, Error, Result};
use crate::format::{
    ENTRY_LENGTH, ManifestEntry, ManifestState, damaged_copies, encode_entry, read_manifest,
};
use crate::ids::HeadLsns;
use crate::storage::{Access, Storage, StorageFile, is_full};
use crate::sync::Mutex;

/// The manifest's name.
pub(crate) const MANIFEST_FILE: &str = "MANIFEST";
/// Where it is written anew, before it is renamed.
pub(crate) const MANIFEST_TEMPORARY: &str = "MANIFEST.new";

/// How many entries a file is made with room for, beside those that it begins with: for some megabytes of log
/// between two rewrites, and few where segments are small, so that a small store stays small.
fn room_beside(state: &ManifestState, entries: u64) -> u64 {
    let by_segment = u64::from(state.segment_size >> 13).clamp(RESERVE_ENTRIES, 128);
    (3 * entries + by_segment).next_multiple_of(ENTRIES_AHEAD)
}

/// Zeros are written ahead in steps of so many entries: the block of most file systems.
const ENTRIES_AHEAD: u64 = 4;
/// Room that ordinary writes leave: the log's reserve is worth nothing without the entries that claim its
/// segments.
pub(super) const RESERVE_ENTRIES: u64 = 8;
/// A temporary file that is longer than this is not reused.
const LONGEST_REUSED: u64 = 1 << 24;

#[derive(Debug)]
struct Open {
    state: ManifestState,
    /// `None` if the store is read-only or closed.
    file: Option<Arc<dyn StorageFile>>,
    entries: u64,
    /// Space is claimed for so many.
    room: u64,
    /// With so many the file is written anew.
    rewrite_at: u64,
    /// The file that comes next has space for so many.
    kept: u64,
}

/// How entries are added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Adding {
    /// Behind the others.
    InPlace,
    /// In a file of its own, with all the others.
    Anew,
}

impl Open {
    fn new(state: ManifestState, prepared: Option<Prepared>) -> Self {
        let (file, entries, room) = match prepared {
            Some(Prepared { file, entries, room }) => (Some(file), entries, room),
            None => (None, 0, 0),
        };
        // Before the room that ordinary writes leave is touched.
        let rewrite_at = room.saturating_sub(RESERVE_ENTRIES).max(entries + 1);
        Self { state, file, entries, room, rewrite_at, kept: 0 }
    }
}

/// The manifest of an open store.
#[derive(Debug)]
pub(crate) struct ManifestFile {
    storage: Arc<dyn Storage>,
    adding: Adding,
    open: Mutex<Open>,
}

impl ManifestFile {
    /// Writes a manifest that says `state`, puts it in force, and keeps it open for appending.
    pub(crate) fn write(storage: Arc<dyn Storage>, state: ManifestState, adding: Adding) -> Result<Self> {
        let prepared = prepare(storage.as_ref(), &state)?;
        put_in_force(storage.as_ref())?;
        let kept = keep_space(storage.as_ref(), &state, prepared.entries);
        let open = Open { kept, ..Open::new(state, Some(prepared)) };
        Ok(Self { storage, adding, open: Mutex::new(open) })
    }

    /// A manifest that is only known, for a read-only store.
    pub(crate) fn read_only(storage: Arc<dyn Storage>, state: ManifestState) -> Self {
        Self { storage, adding: Adding::InPlace, open: Mutex::new(Open::new(state, None)) }
    }

    /// Appends an entry and syncs it. After an error nothing may be appended any more: the caller poisons the
    /// instance.
    pub(crate) fn append(&self, entry: &ManifestEntry) -> Result<()> {
        let mut open = self.open.lock();
        let Some(file) = open.file.clone() else { return Err(Error::Closed) };
        let applied = open.state.apply(entry);
        applied.map_err(|reason| Error::InvalidConfig {
            option: "manifest",
            reason: format!("an entry {reason}"),
        })?;
        if self.adding == Adding::Anew {
            drop(file);
            return self.replace(&mut open);
        }
        let offset = open.entries * ENTRY_LENGTH as u64;
        let path = || self.storage.describe(MANIFEST_FILE);
        let bytes = encode_entry(open.entries, open.state.store_id, entry);
        file.write_at(&bytes, offset).map_err(|error| Error::io("write", path(), error))?;
        file.sync().map_err(|error| Error::io("sync", path(), error))?;
        drop(file);
        open.entries += 1;
        open.room = open.room.max(open.entries);
        if open.entries > open.rewrite_at { self.rewrite(&mut open) } else { Ok(()) }
    }

    /// Writes the file anew, if there is space for that.
    fn rewrite(&self, open: &mut Open) -> Result<()> {
        match self.replace(open) {
            Err(Error::Io { source, .. }) if is_full(&source) && open.file.is_some() => {
                open.rewrite_at = open.entries + room_beside(&open.state, 0);
                Ok(())
            }
            other => other,
        }
    }

    /// Writes the file anew.
    fn replace(&self, open: &mut Open) -> Result<()> {
        let prepared = prepare(self.storage.as_ref(), &open.state)?;
        // Closed, so that its space is free when its name is gone. Should the next step fail, nobody writes
        // any more.
        open.file = None;
        put_in_force(self.storage.as_ref())?;
        let kept = keep_space(self.storage.as_ref(), &open.state, prepared.entries);
        *open = Open { kept, ..Open::new(open.state.clone(), Some(prepared)) };
        Ok(())
    }

    /// Makes sure that there is space for a file of so many more entries.
    fn make_room_anew(&self, open: &mut Open, entries: u64) -> Result<()> {
        // The state, with what comes to it, takes no more entries than it has and those.
        let wanted = open.entries + entries;
        if open.kept < wanted {
            open.kept = keep_space(self.storage.as_ref(), &open.state, wanted);
        }
        let refused = || Error::DiskFull { path: self.storage.describe(MANIFEST_TEMPORARY) };
        if open.kept >= wanted { Ok(()) } else { Err(refused()) }
    }

    /// Waits for whoever is appending now; nobody can after this.
    pub(crate) fn close(&self) {
        self.open.lock().file = None;
    }

    /// Whether it says that everything below these LSNs was stable.
    pub(crate) fn proves(&self, stable: &HeadLsns) -> bool {
        self.open.lock().state.stable.iter().zip(stable).all(|(proven, stable)| proven >= stable)
    }

    /// What the store knows of itself, as the file says it.
    pub(crate) fn state(&self) -> ManifestState {
        self.open.lock().state.clone()
    }

    /// Reads the file and compares it with what was written to it. Returns its length and what is wrong with
    /// it. Appends wait.
    pub(crate) fn check(&self) -> Result<(u64, Vec<Corruption>)> {
        let open = self.open.lock();
        let path = self.storage.describe(MANIFEST_FILE);
        let bytes = read_whole(self.storage.as_ref()).map_err(|error| Error::io("read", &path, error))?;
        let length = bytes.len() as u64;
        let read = match read_manifest(&bytes) {
            Ok(read) => read,
            Err(fault) => match fault.into_error(&path) {
                Error::Corruption(corruption) => return Ok((length, vec![*corruption])),
                error => return Ok((length, vec![Corruption::new(&path, error.to_string())])),
            },
        };
        let fault = |offset, reason: &str| Corruption::new(&path, reason).at_offset(offset);
        let is_writer = open.file.is_some();
        // What was torn by a crash before a read-only opening is no damage: nobody was told of it.
        let settled = if is_writer { read.entries } else { read.entries.saturating_sub(1).max(1) };
        let damaged = damaged_copies(&bytes, open.state.store_id, settled);
        let mut faults: Vec<Corruption> = damaged
            .into_iter()
            .map(|offset| fault(offset, "one of two copies of an entry does not match its checksum"))
            .collect();
        if is_writer && read.torn {
            faults.push(fault(read.entries * ENTRY_LENGTH as u64, "something follows the last entry"));
        }
        if is_writer && read.state != open.state {
            faults.push(fault(0, "it says something else than what was written"));
        }
        Ok((length, faults))
    }

    /// Makes sure that so many more entries will find space. `DiskFull` if they don't, and "extend" as the
    /// operation of an I/O error: nothing is lost then. Any other error is one of writing the file anew, and
    /// final.
    pub(crate) fn make_room(&self, entries: u64) -> Result<()> {
        let mut open = self.open.lock();
        if self.adding == Adding::Anew && open.file.is_some() {
            return self.make_room_anew(&mut open, entries);
        }
        let wanted = open.entries + entries;
        let Some(file) = open.file.as_ref().filter(|_| open.room < wanted) else { return Ok(()) };
        let wanted = wanted.next_multiple_of(ENTRIES_AHEAD);
        let zeros = vec![0; ((wanted - open.room) as usize) * ENTRY_LENGTH];
        match file.write_at(&zeros, open.room * ENTRY_LENGTH as u64) {
            Ok(()) => {
                open.room = wanted;
                Ok(())
            }
            Err(error) if is_full(&error) => {
                self.rewrite(&mut open)?;
                let enough = open.room >= open.entries + entries;
                let refused = Error::DiskFull { path: self.storage.describe(MANIFEST_FILE) };
                if enough { Ok(()) } else { Err(refused) }
            }
            Err(error) => Err(Error::io("extend", self.storage.describe(MANIFEST_FILE), error)),
        }
    }
}

fn read_whole(storage: &dyn Storage) -> io::Result<Vec<u8>> {
    let file = storage.open(MANIFEST_FILE, Access::Read)?;
    let length = usize::try_from(file.len()?).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut bytes = vec![0; length];
    file.read_at(&mut bytes, 0)?;
    Ok(bytes)
}

fn failed(storage: &dyn Storage, operation: &'static str, name: &str, error: io::Error) -> Error {
    Error::io(operation, storage.describe(name), error)
}

/// A manifest under its temporary name.
struct Prepared {
    file: Arc<dyn StorageFile>,
    entries: u64,
    room: u64,
}

/// Writes the state under a temporary name. A file of that name is written over, for the sake of its space.
fn prepare(storage: &dyn Storage, state: &ManifestState) -> Result<Prepared> {
    let failed = |operation, error| failed(storage, operation, MANIFEST_TEMPORARY, error);
    let mut bytes = state.to_bytes();
    let entries = (bytes.len() / ENTRY_LENGTH) as u64;
    let (file, there) = temporary(storage).map_err(|error| failed("create", error))?;
    let room = match there {
        0 => (entries + room_beside(state, entries)) * ENTRY_LENGTH as u64,
        // At most LONGEST_REUSED.
        _ => there.next_multiple_of(ENTRY_LENGTH as u64),
    };
    let bare = bytes.len();
    bytes.resize(bare.max(room as usize), 0);
    match file.write_at(&bytes, 0) {
        Err(error) if is_full(&error) => {
            // Without room for more, then.
            bytes.truncate(bare);
            file.set_len(bare as u64).map_err(|error| failed("write", error))?;
            file.write_at(&bytes, 0).map_err(|error| failed("write", error))?;
        }
        written => written.map_err(|error| failed("write", error))?,
    }
    file.sync().map_err(|error| failed("sync", error))?;
    Ok(Prepared { file, entries, room: (bytes.len() / ENTRY_LENGTH) as u64 })
}

/// The temporary file and its length, made if there is none.
fn temporary(storage: &dyn Storage) -> io::Result<(Arc<dyn StorageFile>, u64)> {
    match storage.open(MANIFEST_TEMPORARY, Access::Write) {
        Ok(file) => {
            let length = file.len()?;
            if length <= LONGEST_REUSED {
                return Ok((file, length));
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok((storage.create(MANIFEST_TEMPORARY)?, 0))
}

/// Makes the file that the manifest is next written to, and says for how many entries it has space. Without
/// it the manifest can still be written if there is space then.
fn keep_space(storage: &dyn Storage, state: &ManifestState, entries: u64) -> u64 {
    for room in [room_beside(state, entries), RESERVE_ENTRIES] {
        let zeros = vec![0; (entries + room) as usize * ENTRY_LENGTH];
        match storage.create(MANIFEST_TEMPORARY).and_then(|file| file.write_at(&zeros, 0)) {
            Ok(()) => return entries + room,
            Err(error) => ::log::debug!("no space is kept for the next manifest: {error}"),
        }
    }
    0
}

/// Renames what was prepared into place. In force when this returns.
fn put_in_force(storage: &dyn Storage) -> Result<()> {
    let renamed = storage.rename(MANIFEST_TEMPORARY, MANIFEST_FILE);
    renamed.map_err(|error| failed(storage, "rename", MANIFEST_TEMPORARY, error))?;
    let synced = storage.sync_directory();
    synced.map_err(|error| failed(storage, "sync the directory of", MANIFEST_FILE, error))
}
