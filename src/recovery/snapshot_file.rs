//! Snapshots as files: reading one, writing a new one, removing what is no longer needed.
//!
//! A snapshot is a file, with the blocks of older files that its directory names. It only makes opening
//! quicker. If anything of it is torn, missing or rotten it is not used; an older one is, if that is
//! complete, or else the whole log is read.
//!
//! # Which ones may be used
//!
//! A file is removed when the newest snapshot, durable with its name, names no block of it. So an older
//! snapshot can be whole. It is as good as it was before there was a newer one, with a longer log behind it,
//! as long as the store goes by the same record of each page: of two equal copies of a record it may have to
//! choose, and the segment of the other is reused. What it goes by follows from a snapshot and the log behind
//! it, or in a running store from what it began with. Only an opening that did *not* use a snapshot may
//! choose otherwise than it. Therefore:
//!
//! - **(A)** Each opening removes, durably and before a segment is reused, all files but those of the
//!   snapshot that it used.
//!
//! Then all files that are there have been written, or used, in each life of the store since the oldest of
//! them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::identify::UNFINISHED_FILE;
use crate::error::{Corruption, Error, Result};
use crate::format::{
    BlockPlace, SnapshotBase, SnapshotFault, SnapshotFooter, SnapshotHeader, SnapshotReader, SnapshotRecord,
    SnapshotWriter, StoreId, snapshot_name, snapshot_serial,
};
use crate::ids::{HeadLsns, PageId, RangeId};
use crate::storage::{Access, Storage, StorageFile};

/// What the name of a snapshot ends with until it is complete.
const TEMPORARY: &str = ".new";

/// The name that a snapshot has until it is complete.
fn temporary_name(serial: u64) -> String {
    format!("{}{TEMPORARY}", snapshot_name(serial))
}

/// So many bytes of neighbouring blocks are read at a time.
const READ_AT_ONCE: u64 = 1 << 20;

/// The files of a snapshot, and what lies where in them.
#[derive(Clone, Debug, Default)]
pub(crate) struct SnapshotFiles {
    /// The newest block of each range that has pages, by rising ranges.
    pub(crate) directory: Vec<BlockPlace>,
    /// The files that have some of them, and the newest one: their serials and lengths.
    pub(crate) files: BTreeMap<u64, u64>,
}

impl SnapshotFiles {
    /// The bytes of all files.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.values().sum()
    }

    /// The bytes of the blocks in them that count.
    pub(crate) fn bytes_in_use(&self) -> u64 {
        self.directory.iter().map(|place| u64::from(place.length)).sum()
    }
}

/// A snapshot before its blocks are read.
#[derive(Debug)]
pub(crate) struct SnapshotIndex {
    pub(crate) header: SnapshotHeader,
    pub(crate) footer: SnapshotFooter,
    pub(crate) files: SnapshotFiles,
}

/// The serials of all snapshots, the newest first.
pub(crate) fn snapshot_serials(storage: &dyn Storage) -> Result<Vec<u64>> {
    let names = storage.list().map_err(|error| Error::io("list", storage.describe(""), error))?;
    let mut serials: Vec<u64> = names.iter().filter_map(|name| snapshot_serial(name)).collect();
    serials.sort_unstable_by(|one, other| other.cmp(one));
    Ok(serials)
}

/// Reads header, footer and directory of a snapshot.
pub(crate) fn read_index(storage: &dyn Storage, store_id: StoreId, serial: u64) -> Result<SnapshotIndex> {
    let part = Part::open(storage, serial)?;
    let reader = SnapshotReader::new(store_id, serial);
    let fault = |fault: SnapshotFault| Error::from(fault.into_corruption(&part.path));
    let header = reader.header(&part.read(0, SnapshotReader::HEADER as u64)?).map_err(fault)?;
    let footer_at = part.length.saturating_sub(SnapshotReader::FOOTER as u64);
    let footer = part.read(footer_at, SnapshotReader::FOOTER as u64)?;
    let footer = reader.footer(&footer, part.length).map_err(fault)?;
    let directory = part.read(footer.directory_offset, footer.directory_length.into())?;
    let directory = reader.directory(&directory, &footer).map_err(fault)?;
    let mut files = BTreeMap::from([(serial, part.length)]);
    for place in &directory {
        if let std::collections::btree_map::Entry::Vacant(entry) = files.entry(place.serial) {
            entry.insert(Part::open(storage, place.serial)?.length);
        }
    }
    Ok(SnapshotIndex { header, footer, files: SnapshotFiles { directory, files } })
}

/// Reads all blocks that a directory names, file by file, and hands each with its pages to `each`; or with
/// what is wrong with it. Returns how many bytes were read.
pub(crate) fn read_blocks(
    storage: &dyn Storage,
    store_id: StoreId,
    directory: &[BlockPlace],
    mut each: impl FnMut(&BlockPlace, std::result::Result<&[u8], Corruption>) -> Result<()>,
) -> Result<u64> {
    let mut places: Vec<&BlockPlace> = directory.iter().collect();
    places.sort_by_key(|place| (place.serial, place.offset));
    let (mut read, mut bytes) = (0, Vec::new());
    for of_file in places.chunk_by(|one, next| one.serial == next.serial) {
        let Some(first) = of_file.first() else { continue };
        let part = Part::open(storage, first.serial)?;
        let mut rest = of_file;
        while let Some((first, _)) = rest.split_first() {
            let stretch = stretch_length(rest);
            let (now, later) = rest.split_at(stretch);
            let end = now.last().map_or(first.offset, |place| place.end());
            part.read_into(&mut bytes, first.offset, end - first.offset)?;
            read += bytes.len() as u64;
            for place in now {
                // Inside of what was read, or behind the end of the file.
                let start = usize::try_from(place.offset - first.offset).unwrap_or(usize::MAX);
                let block = start.checked_add(place.length as usize).and_then(|end| bytes.get(start..end));
                let pages = SnapshotReader::range(store_id, place, block.unwrap_or_default());
                each(place, pages.map_err(|fault| fault.into_corruption(&part.path)))?;
            }
            rest = later;
        }
    }
    Ok(read)
}

/// How many of the first blocks lie one behind the other and are read in one go; at least one.
fn stretch_length(places: &[&BlockPlace]) -> usize {
    let Some(first) = places.first() else { return 0 };
    let follows = |pair: &&[&BlockPlace]| match pair {
        [one, next] => one.end() == next.offset && next.end() - first.offset <= READ_AT_ONCE,
        _ => false,
    };
    1 + places.windows(2).take_while(|pair| follows(pair)).count()
}

/// A file of a snapshot.
struct Part {
    file: Arc<dyn StorageFile>,
    path: String,
    length: u64,
}

impl Part {
    fn open(storage: &dyn Storage, serial: u64) -> Result<Self> {
        let name = snapshot_name(serial);
        let path = storage.describe(&name);
        let opened = storage.open(&name, Access::Read).and_then(|file| Ok((file.len()?, file)));
        let (length, file) = opened.map_err(|error| Error::io("read", path.clone(), error))?;
        Ok(Self { file, path, length })
    }

    fn read(&self, offset: u64, length: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.read_into(&mut bytes, offset, length)?;
        Ok(bytes)
    }

    /// So many bytes, or fewer if the file ends before: no more memory is taken than the file has bytes.
    fn read_into(&self, bytes: &mut Vec<u8>, offset: u64, length: u64) -> Result<()> {
        let there = length.min(self.length.saturating_sub(offset));
        let failed = |error| Error::io("read", self.path.clone(), error);
        let there = usize::try_from(there).map_err(|_| failed(std::io::ErrorKind::FileTooLarge.into()))?;
        bytes.resize(there, 0);
        if there > 0 {
            self.file.read_at(bytes, offset).map_err(failed)?;
        }
        Ok(())
    }
}

/// What a snapshot has told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Loaded {
    /// Replay starts here; zeros without a snapshot.
    pub(crate) starts: HeadLsns,
    /// The log was stable up to here.
    pub(crate) ends: HeadLsns,
    /// The snapshot that was used.
    pub(crate) serial: Option<u64>,
    /// Its files.
    pub(crate) files: SnapshotFiles,
}

/// Loads a snapshot, if it can be used: `take` gets the pages of each range, and says whether there can be
/// such a range.
pub(crate) fn load(
    storage: &dyn Storage,
    store_id: StoreId,
    serial: u64,
    mut take: impl FnMut(RangeId, &[u8]) -> bool,
) -> Result<Loaded> {
    let SnapshotIndex { header, footer, files } = read_index(storage, store_id, serial)?;
    read_blocks(storage, store_id, &files.directory, |place, pages| {
        if take(place.range, pages?) {
            return Ok(());
        }
        let reason = "a range is higher than the log has room for";
        Err(Corruption::new(storage.describe(&snapshot_name(place.serial)), reason).into())
    })?;
    Ok(Loaded { starts: header.begin, ends: footer.end, serial: Some(serial), files })
}

/// Removes what an interrupted writer left, also one of a backup, and all files of snapshots but those in
/// use. Durable when this returns.
pub(crate) fn sweep(storage: &dyn Storage, used: &SnapshotFiles) -> Result<()> {
    let failed = |operation, name: &str, error| Error::io(operation, storage.describe(name), error);
    let names = storage.list().map_err(|error| failed("list", "", error))?;
    let mut removed = false;
    for name in names {
        let is_unused = snapshot_serial(&name).is_some_and(|serial| !used.files.contains_key(&serial));
        let temporary = name.strip_suffix(TEMPORARY).is_some_and(|name| snapshot_serial(name).is_some());
        if temporary || name == UNFINISHED_FILE || is_unused {
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

/// So many bytes are written at a time, and
const WRITTEN_AT_ONCE: usize = 64 << 10;
/// so many synced: whoever writes a snapshot in passing must not have to wait for all of it at the end.
const SYNCED_AT_ONCE: u64 = 1 << 20;

/// A snapshot that is being written under a temporary name, a few pages at a time.
pub(crate) struct SnapshotFile {
    writer: SnapshotWriter<Sink>,
    storage: Arc<dyn Storage>,
    serial: u64,
}

impl fmt::Debug for SnapshotFile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("SnapshotFile").field(&self.serial).finish()
    }
}

/// A snapshot that is complete and synced, under its temporary name.
#[derive(Debug)]
pub(crate) struct PendingSnapshot {
    storage: Arc<dyn Storage>,
    serial: u64,
    length: u64,
    files: SnapshotFiles,
}

impl SnapshotFile {
    /// Begins a snapshot.
    pub(crate) fn create(storage: &Arc<dyn Storage>, header: &SnapshotHeader) -> Result<Self> {
        let (name, storage, serial) = (temporary_name(header.serial), Arc::clone(storage), header.serial);
        let path = storage.describe(&name);
        let file = storage.create(&name).map_err(|error| Error::io("create", path.clone(), error))?;
        match SnapshotWriter::begin(header, sink(file, path)) {
            Ok(writer) => Ok(Self { writer, storage, serial }),
            Err(error) => {
                abandon(&*storage, serial);
                Err(error)
            }
        }
    }

    /// Adds a page. Page ids rise from call to call; links go from the oldest to the newest.
    pub(crate) fn page(&mut self, base: &SnapshotBase, links: &[SnapshotRecord]) -> Result<()> {
        self.writer.page(base, links)
    }

    /// Adds a whole range, in encoded form, behind all pages so far.
    pub(crate) fn range(&mut self, range: RangeId, pages: &[u8]) -> Result<()> {
        self.writer.range(range, pages)
    }

    /// Completes the snapshot: of `before`, the blocks of all ranges still count but those in `walked`, which
    /// rises. `end` is where the log had come to, `next_page_id` is above all ids.
    pub(crate) fn finish(
        self,
        before: &SnapshotFiles,
        walked: &[RangeId],
        end: &HeadLsns,
        next_page_id: PageId,
    ) -> Result<PendingSnapshot> {
        let Self { writer, storage, serial } = self;
        let is_kept = |place: &&BlockPlace| walked.binary_search(&place.range).is_err();
        let kept = before.directory.iter().filter(is_kept).copied();
        match writer.finish(kept, end, next_page_id) {
            Ok(written) => {
                let mut files = SnapshotFiles { directory: written.directory, files: BTreeMap::new() };
                for place in &files.directory {
                    let length = before.files.get(&place.serial).copied().unwrap_or_default();
                    files.files.insert(place.serial, length);
                }
                files.files.insert(serial, written.bytes);
                Ok(PendingSnapshot { storage, serial, length: written.bytes, files })
            }
            Err(error) => {
                abandon(&*storage, serial);
                Err(error)
            }
        }
    }

    /// Gives up.
    pub(crate) fn abandon(self) {
        let Self { writer, storage, serial } = self;
        // With its file, which some systems do not remove as long as it is open.
        drop(writer);
        abandon(&*storage, serial);
    }
}

/// Writes and syncs a file as its bytes come. An empty slice says that this is all.
fn sink(file: Arc<dyn StorageFile>, path: String) -> Sink {
    let (mut offset, mut synced, mut gathered) = (0, 0, Vec::new());
    Box::new(move |bytes: &[u8]| {
        gathered.extend_from_slice(bytes);
        let is_over = bytes.is_empty();
        if !is_over && gathered.len() < WRITTEN_AT_ONCE {
            return Ok(());
        }
        file.write_at(&gathered, offset).map_err(|error| Error::io("write", path.clone(), error))?;
        offset += gathered.len() as u64;
        gathered.clear();
        if is_over || offset - synced >= SYNCED_AT_ONCE {
            synced = offset;
            file.sync().map_err(|error| Error::io("sync", path.clone(), error))?;
        }
        Ok(())
    })
}

impl PendingSnapshot {
    /// The length of its own file in bytes.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Puts the snapshot in force; the files that it does not need can be [swept](sweep). Everything that it
    /// names must be stable. After an error it may be in force after a crash, and may not.
    pub(crate) fn publish(self) -> Result<SnapshotFiles> {
        let (to, storage) = (snapshot_name(self.serial), self.storage.as_ref());
        let from = temporary_name(self.serial);
        storage.rename(&from, &to).map_err(|error| Error::io("rename", storage.describe(&from), error))?;
        storage.sync_directory().map_err(|error| Error::io("sync", storage.describe(""), error))?;
        Ok(self.files)
    }

    /// Gives up. What was written is removed by the next snapshot or opening.
    pub(crate) fn abandon(self) {
        abandon(&*self.storage, self.serial);
    }
}

fn abandon(storage: &dyn Storage, serial: u64) {
    if let Err(error) = storage.remove(&temporary_name(serial)) {
        ::log::debug!("an abandoned snapshot stays for now: {error}");
    }
}
