//! Snapshots as files: loading the newest, writing a new one, removing the others.
//!
//! A snapshot only makes opening quicker. One that is torn, missing or rotten is not used, and then the whole log is read;
//! an *older* one is never used in its place, for the records that it names may have been moved and their segments reused.

use std::fmt;
use std::sync::Arc;

use super::identify::{UNFINISHED_FILE, read_file};
use super::replay::{Base, Replay, Spot};
use crate::error::{Error, Result};
use crate::format::{
    Snapshot, SnapshotBase, SnapshotHeader, SnapshotRecord, SnapshotWriter, StoreId, snapshot_name,
    snapshot_serial,
};
use crate::ids::{HeadLsns, PageId, Version};
use crate::storage::{Storage, StorageFile};

/// What the name of a snapshot ends with until it is complete.
const TEMPORARY: &str = ".new";

/// The name that a snapshot has until it is complete.
fn temporary_name(serial: u64) -> String {
    format!("{}{TEMPORARY}", snapshot_name(serial))
}

/// What a snapshot has told.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Loaded {
    /// Replay starts here; zeros without a snapshot.
    pub(crate) starts: HeadLsns,
    /// The log was stable up to here.
    pub(crate) ends: HeadLsns,
    /// The snapshot that was used.
    pub(crate) serial: Option<u64>,
    /// The highest number of any snapshot.
    pub(crate) newest_serial: u64,
}

/// Loads the newest snapshot into a new replay, if it can be used.
pub(crate) fn load(
    storage: &dyn Storage,
    store_id: StoreId,
    new_replay: impl Fn() -> Replay,
) -> Result<(Replay, Loaded)> {
    let names = storage.list().map_err(|error| Error::io("list", storage.describe(""), error))?;
    let Some(serial) = names.iter().filter_map(|name| snapshot_serial(name)).max() else {
        return Ok((new_replay(), Loaded::default()));
    };
    let name = snapshot_name(serial);
    let mut replay = new_replay();
    match read_file(storage, &name).and_then(|bytes| apply(&bytes, storage, store_id, serial, &mut replay)) {
        Ok(loaded) => Ok((replay, loaded)),
        Err(error) => {
            ::log::warn!("the whole log is read, for a snapshot can't be used: {error}");
            Ok((new_replay(), Loaded { newest_serial: serial, ..Loaded::default() }))
        }
    }
}

fn apply(
    bytes: &[u8],
    storage: &dyn Storage,
    store_id: StoreId,
    serial: u64,
    replay: &mut Replay,
) -> Result<Loaded> {
    let path = storage.describe(&snapshot_name(serial));
    let snapshot = Snapshot::open(bytes, store_id, serial).map_err(|fault| fault.into_corruption(&path))?;
    let spot = |record: SnapshotRecord| Spot { lsn: record.lsn, length: record.length };
    replay.expect_pages(snapshot.footer().next_page_id);
    for page in snapshot.pages() {
        let page = page.map_err(|fault| fault.into_corruption(&path))?;
        let found = page.base;
        let birth = Version(found.version.0.saturating_sub(found.age));
        let base = Base { version: found.version, birth, freed: found.free, spot: spot(found.record) };
        replay.apply_snapshot(found.page_id, base, page.links.map(spot))?;
    }
    let (starts, ends) = (snapshot.header().begin, snapshot.footer().end);
    Ok(Loaded { starts, ends, serial: Some(serial), newest_serial: serial })
}

/// Removes what an interrupted writer left, also one of a backup, and all snapshots but the one in use. Durable when this returns.
pub(crate) fn sweep(storage: &dyn Storage, used: Option<u64>) -> Result<()> {
    let failed = |operation, name: &str, error| Error::io(operation, storage.describe(name), error);
    let names = storage.list().map_err(|error| failed("list", "", error))?;
    let mut removed = false;
    for name in names {
        let serial = snapshot_serial(&name);
        let temporary = name.strip_suffix(TEMPORARY).is_some_and(|name| snapshot_serial(name).is_some());
        if temporary || name == UNFINISHED_FILE || (serial.is_some() && serial != used) {
            storage.remove(&name).map_err(|error| failed("remove", &name, error))?;
            removed = true;
        }
    }
    if removed {
        storage.sync_directory().map_err(|error| failed("sync", "", error))?;
    }
    Ok(())
}

/// Takes the bytes of a snapshot as they come.
type Sink = Box<dyn FnMut(&[u8]) -> Result<()> + Send>;

/// So many bytes are synced at a time: whoever writes a snapshot in passing must not have to wait for all of it at the end.
const SYNCED_AT_ONCE: u64 = 1 << 20;

/// A snapshot that is being written under a temporary name, a few pages at a time.
pub(crate) struct SnapshotFile {
    writer: SnapshotWriter<Sink>,
    pending: PendingSnapshot,
}

impl fmt::Debug for SnapshotFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("SnapshotFile").field(&self.pending).finish()
    }
}

/// A snapshot that is complete and synced, under its temporary name.
#[derive(Debug)]
pub(crate) struct PendingSnapshot {
    storage: Arc<dyn Storage>,
    file: Arc<dyn StorageFile>,
    serial: u64,
    length: u64,
}

impl SnapshotFile {
    /// Begins a snapshot.
    pub(crate) fn create(storage: &Arc<dyn Storage>, header: &SnapshotHeader) -> Result<Self> {
        let name = temporary_name(header.serial);
        let path = storage.describe(&name);
        let file = storage.create(&name).map_err(|error| Error::io("create", path.clone(), error))?;
        let pending = PendingSnapshot {
            storage: Arc::clone(storage),
            file: Arc::clone(&file),
            serial: header.serial,
            length: 0,
        };
        match SnapshotWriter::begin(header, sink(file, path)) {
            Ok(writer) => Ok(Self { writer, pending }),
            Err(error) => {
                pending.abandon();
                Err(error)
            }
        }
    }

    /// Adds a page. Page ids rise from call to call; links go from the oldest to the newest.
    pub(crate) fn page(&mut self, base: &SnapshotBase, links: &[SnapshotRecord]) -> Result<()> {
        self.writer.page(base, links)
    }

    /// Completes the snapshot: `end` is where the log had come to, `next_page_id` is above all ids in it.
    pub(crate) fn finish(self, end: &HeadLsns, next_page_id: PageId) -> Result<PendingSnapshot> {
        let Self { writer, mut pending } = self;
        let path = || pending.storage.describe(&temporary_name(pending.serial));
        let finished = writer.finish(end, next_page_id).and_then(|length| {
            pending.file.sync().map_err(|error| Error::io("sync", path(), error))?;
            Ok(length)
        });
        match finished {
            Ok(length) => {
                pending.length = length;
                Ok(pending)
            }
            Err(error) => {
                pending.abandon();
                Err(error)
            }
        }
    }

    /// Gives up.
    pub(crate) fn abandon(self) {
        self.pending.abandon();
    }
}

fn sink(file: Arc<dyn StorageFile>, path: String) -> Sink {
    let (mut offset, mut synced) = (0, 0);
    Box::new(move |bytes: &[u8]| {
        file.write_at(bytes, offset).map_err(|error| Error::io("write", path.clone(), error))?;
        offset += bytes.len() as u64;
        if offset - synced >= SYNCED_AT_ONCE {
            synced = offset;
            file.sync().map_err(|error| Error::io("sync", path.clone(), error))?;
        }
        Ok(())
    })
}

impl PendingSnapshot {
    /// Its length in bytes.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Puts the snapshot in force, and removes the others. Everything that it names must be stable.
    pub(crate) fn publish(self) -> Result<()> {
        let (to, storage) = (snapshot_name(self.serial), self.storage.as_ref());
        let from = temporary_name(self.serial);
        drop(self.file);
        storage.rename(&from, &to).map_err(|error| Error::io("rename", storage.describe(&from), error))?;
        storage.sync_directory().map_err(|error| Error::io("sync", storage.describe(""), error))?;
        sweep(storage, Some(self.serial))
    }

    /// Gives up. What was written is removed by the next snapshot or opening.
    pub(crate) fn abandon(self) {
        let name = temporary_name(self.serial);
        if let Err(error) = self.storage.remove(&name) {
            ::log::debug!("an abandoned snapshot stays for now: {error}");
        }
    }
}
