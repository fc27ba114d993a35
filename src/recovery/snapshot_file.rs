//! Snapshots as files: loading the newest, writing a new one, removing the others.
//!
//! A snapshot only makes opening quicker. One that is torn, missing or rotten is not used, and then the whole log is read;
//! an *older* one is never used in its place, for the records that it names may have been moved and their segments reused.

use std::sync::Arc;

use super::identify::{UNFINISHED_FILE, read_file};
use super::replay::{Base, Replay, Spot};
use crate::error::{Error, Result};
use crate::format::{
    Snapshot, SnapshotHeader, SnapshotRecord, SnapshotWriter, StoreId, snapshot_name, snapshot_serial,
};
use crate::ids::{HeadLsns, PageId, Version};
use crate::storage::{Storage, StorageFile};

/// What the name of a snapshot ends with until it is complete.
const TEMPORARY: &str = ".new";

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
pub(crate) type Sink<'a> = Box<dyn FnMut(&[u8]) -> Result<()> + 'a>;

/// A snapshot that is being written under a temporary name.
#[derive(Debug)]
pub(crate) struct PendingSnapshot {
    storage: Arc<dyn Storage>,
    file: Arc<dyn StorageFile>,
    serial: u64,
    length: u64,
}

impl PendingSnapshot {
    /// Writes a snapshot whose pages `walk` delivers; it returns where the log had come to, and a bound of the page ids.
    pub(crate) fn write(
        storage: &Arc<dyn Storage>,
        header: &SnapshotHeader,
        walk: impl FnOnce(&mut SnapshotWriter<Sink<'_>>) -> Result<(HeadLsns, PageId)>,
    ) -> Result<Self> {
        let name = format!("{}{TEMPORARY}", snapshot_name(header.serial));
        let path = || storage.describe(&name);
        let file = storage.create(&name).map_err(|error| Error::io("create", path(), error))?;
        let written = Self::fill(storage, &name, &file, header, walk);
        if written.is_err()
            && let Err(error) = storage.remove(&name)
        {
            ::log::debug!("a part of a snapshot stays for now: {error}");
        }
        written
    }

    fn fill(
        storage: &Arc<dyn Storage>,
        name: &str,
        file: &Arc<dyn StorageFile>,
        header: &SnapshotHeader,
        walk: impl FnOnce(&mut SnapshotWriter<Sink<'_>>) -> Result<(HeadLsns, PageId)>,
    ) -> Result<Self> {
        let path = || storage.describe(name);
        let mut offset = 0;
        let sink: Sink<'_> = Box::new(|bytes: &[u8]| {
            file.write_at(bytes, offset).map_err(|error| Error::io("write", path(), error))?;
            offset += bytes.len() as u64;
            Ok(())
        });
        let mut writer = SnapshotWriter::begin(header, sink)?;
        let (end, next_page_id) = walk(&mut writer)?;
        let length = writer.finish(&end, next_page_id)?;
        file.sync().map_err(|error| Error::io("sync", path(), error))?;
        Ok(Self { storage: Arc::clone(storage), file: Arc::clone(file), serial: header.serial, length })
    }

    /// Its length in bytes.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Puts the snapshot in force, and removes the others. Everything that it names must be stable.
    pub(crate) fn publish(self) -> Result<()> {
        let (to, storage) = (snapshot_name(self.serial), self.storage.as_ref());
        let from = format!("{to}{TEMPORARY}");
        drop(self.file);
        storage.rename(&from, &to).map_err(|error| Error::io("rename", storage.describe(&from), error))?;
        storage.sync_directory().map_err(|error| Error::io("sync", storage.describe(""), error))?;
        sweep(storage, Some(self.serial))
    }

    /// Gives up. What was written is removed by the next snapshot or opening.
    pub(crate) fn abandon(self) {
        let name = format!("{}{TEMPORARY}", snapshot_name(self.serial));
        if let Err(error) = self.storage.remove(&name) {
            ::log::debug!("an abandoned snapshot stays for now: {error}");
        }
    }
}
