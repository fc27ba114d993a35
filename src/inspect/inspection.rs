//! What a directory holds, from its files alone.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::types::{FileInfo, FileKind, SnapshotInfo, Source, StoreInfo, StoreKind};
use crate::config::DEFAULT_SEGMENT_SIZE;
use crate::error::{Error, Result};
use crate::format::{
    Claim, LargeName, ManifestState, RecordSeed, StoreId, StoreKind as Kind, dictionary_number,
    snapshot_serial,
};
use crate::geometry::Geometry;
use crate::ids::{HeadId, HeadLsns, Lsn, SegmentId, SlotId};
use crate::log::{LOG_FILE, MANIFEST_FILE, MANIFEST_TEMPORARY};
use crate::recovery::{Facts, LOCK_FILE, LogBytes, UNFINISHED_FILE, facts, read_index, snapshot_serials};
use crate::storage::{Access, Storage, StorageFile, StorageLock};

/// How to look at a store.
///
/// ```
/// use std::sync::Arc;
/// use pagelog::inspect::{InspectOptions, Inspection};
/// use pagelog::{Config, Log, MemoryStorage};
///
/// # fn main() -> pagelog::Result<()> {
/// let storage = Arc::new(MemoryStorage::new());
/// let log = Log::open(Config::with_storage(storage.clone()))?;
/// let options = InspectOptions::new().beside_writer(true);
/// assert!(Inspection::open(storage, options)?.store().in_use);
/// # log.close()
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InspectOptions {
    beside_writer: bool,
    segment_size: Option<u32>,
}

impl InspectOptions {
    /// Looks only if nobody writes.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    #[doc = include_str!("../docs/closed_store.txt")]
    /// # fn main() -> pagelog::Result<()> {
    /// let storage = closed_store()?;
    /// let cache: PageCache<Text> = Config::with_storage(storage.clone()).open()?;
    /// let refused = Inspection::open(storage.clone(), InspectOptions::new());
    /// assert!(matches!(refused, Err(Error::Locked { .. })));
    /// cache.close()?;
    /// assert!(Inspection::open(storage, InspectOptions::new()).is_ok());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether to look also while somebody has the store open for writing. It harms nobody. But what is read
    /// is of many moments, so what looks like damage may be none. Default false.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    #[doc = include_str!("../docs/closed_store.txt")]
    /// # fn main() -> pagelog::Result<()> {
    /// let storage = closed_store()?;
    /// let cache: PageCache<Text> = Config::with_storage(storage.clone()).open()?;
    /// let inspection = Inspection::open(storage, InspectOptions::new().beside_writer(true))?;
    /// assert!(inspection.store().in_use);
    /// // Nobody is in the writer's way.
    /// cache.allocate(Text("another page".into()))?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn beside_writer(mut self, on: bool) -> Self {
        self.beside_writer = on;
        self
    }

    /// The segment size in bytes, in case that nothing in the files tells it any more: see
    /// [`StoreInfo::segment_size_is_assumed`].
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    #[doc = include_str!("../docs/closed_store.txt")]
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let storage = closed_store()?;
    /// storage.remove("MANIFEST")?;
    /// // There is one segment. So nothing tells where the next one would begin.
    /// let inspection = Inspection::open(storage, InspectOptions::new().segment_size(4096))?;
    /// assert!(inspection.store().segment_size_is_assumed);
    /// assert_eq!(inspection.store().segment_size, 4096);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn segment_size(mut self, bytes: u32) -> Self {
        self.segment_size = Some(bytes);
        self
    }
}

/// The files of a store, looked at without opening it. Keeps writers out while it lives.
///
/// ```
/// use std::ops::ControlFlow;
/// use std::sync::Arc;
/// use pagelog::inspect::{InspectOptions, Inspection, RecordState};
/// use pagelog::{Config, FileStorage, Log};
///
/// # fn main() -> pagelog::Result<()> {
/// # let place = tempfile::tempdir().unwrap();
/// # let directory = place.path();
/// let log = Log::open(Config::new(directory))?;
/// log.append(b"hello")?;
/// log.close()?;
/// drop(log);
///
/// let storage = Arc::new(FileStorage::new(directory));
/// let inspection = Inspection::open(storage, InspectOptions::new())?;
/// let survey = inspection.survey(|_| ControlFlow::Continue(()))?;
/// assert!(survey.faults.is_empty());
/// for segment in &survey.segments {
///     inspection.records(&survey, segment, |record, payload| {
///         if record.state == RecordState::Live {
///             assert_eq!(payload, b"hello");
///         }
///         ControlFlow::Continue(())
///     })?;
/// }
/// assert_eq!(survey.live_records, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Inspection {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) info: StoreInfo,
    files: Vec<FileInfo>,
    /// `None` if the manifest can't be read.
    pub(super) manifest: Option<ManifestState>,
    pub(super) claims: BTreeMap<SlotId, Claim>,
    pub(super) store_id: Option<StoreId>,
    pub(super) geometry: Geometry,
    /// `None` if there is none.
    pub(super) log: Option<Arc<dyn StorageFile>>,
    pub(super) log_length: u64,
    pub(super) log_path: String,
    _lock: Option<Box<dyn StorageLock>>,
}

impl Inspection {
    /// Reads the manifest, or if that can't be read the headers of all segments.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    #[doc = include_str!("../docs/closed_store.txt")]
    /// # fn main() -> pagelog::Result<()> {
    /// let inspection = Inspection::open(closed_store()?, InspectOptions::new())?;
    /// assert!(inspection.store().manifest_fault.is_none());
    /// let nothing = Inspection::open(Arc::new(MemoryStorage::new()), InspectOptions::new());
    /// assert!(matches!(nothing, Err(Error::NotAStore { .. })));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`NotAStore`](Error::NotAStore) if there is neither a manifest nor a segment;
    /// [`UnsupportedFormat`](Error::UnsupportedFormat); [`Locked`](Error::Locked) if the store is open for
    /// writing, see [`InspectOptions::beside_writer`]; [`Io`](Error::Io).
    pub fn open(storage: Arc<dyn Storage>, options: InspectOptions) -> Result<Self> {
        let files = list(storage.as_ref())?;
        if files.is_empty() {
            let reason = "there is nothing to read".into();
            return Err(Error::NotAStore { path: storage.describe(""), reason });
        }
        let lock = storage.lock(LOCK_FILE, Access::Read);
        let lock = lock.map_err(|error| Error::io("lock", storage.describe(LOCK_FILE), error))?;
        if lock.is_none() && !options.beside_writer {
            return Err(Error::Locked { path: storage.describe("") });
        }
        let log_path = storage.describe(LOG_FILE);
        let log = open_if_there(storage.as_ref(), LOG_FILE)?;
        let length = log.as_ref().map(|file| file.len()).transpose();
        let log_length = length.map_err(|error| Error::io("read", &log_path, error))?.unwrap_or(0);
        let bytes = log.as_deref().map(|file| LogBytes { file, length: log_length, path: &log_path });
        let has_manifest = files.iter().any(|file| file.kind == FileKind::Manifest);
        let facts = facts(storage.as_ref(), has_manifest, bytes.as_ref())?;
        let wanted = facts.segment_size.or(options.segment_size.filter(|size| is_segment_size(*size)));
        let geometry = Geometry::new(wanted.unwrap_or(DEFAULT_SEGMENT_SIZE));
        let claims = match (&facts.manifest, &bytes, facts.store_id) {
            (Some(manifest), _, _) => manifest.claims.clone(),
            (None, Some(log), Some(store_id)) => log.claims(store_id, geometry.segment_size()),
            _ => BTreeMap::new(),
        };
        let info = info(storage.as_ref(), &facts, geometry, &claims, log_length, lock.is_none());
        let Facts { manifest, store_id, .. } = facts;
        Ok(Self {
            storage,
            info,
            files,
            manifest,
            claims,
            store_id,
            geometry,
            log,
            log_length,
            log_path,
            _lock: lock,
        })
    }

    /// What is known of the store as a whole.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    #[doc = include_str!("../docs/closed_store.txt")]
    /// # use pagelog::inspect::StoreKind;
    /// # fn main() -> pagelog::Result<()> {
    /// let inspection = Inspection::open(closed_store()?, InspectOptions::new())?;
    /// let store = inspection.store();
    /// assert_eq!((store.kind, store.segment_size), (Some(StoreKind::Pages), 4096));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn store(&self) -> &StoreInfo {
        &self.info
    }

    /// The files in its directory, by name.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    #[doc = include_str!("../docs/closed_store.txt")]
    /// # fn main() -> pagelog::Result<()> {
    /// let inspection = Inspection::open(closed_store()?, InspectOptions::new())?;
    /// let names: Vec<&str> = inspection.files().iter().map(|file| file.name.as_str()).collect();
    /// assert!(names.contains(&"MANIFEST") && names.contains(&"log") && names.is_sorted());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn files(&self) -> &[FileInfo] {
        &self.files
    }

    /// The newest snapshot, if there is one. Its blocks are not looked at; [`check`](Self::check) does that.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    #[doc = include_str!("../docs/closed_store.txt")]
    /// # fn main() -> pagelog::Result<()> {
    /// let inspection = Inspection::open(closed_store()?, InspectOptions::new())?;
    /// // Closing has written one, of two pages.
    /// let next = inspection.snapshot()?.map(|snapshot| snapshot.next_page_id);
    /// assert_eq!(next, Some(PageId::new(3)));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Corruption`](Error::Corruption) if it is damaged; [`Io`](Error::Io).
    pub fn snapshot(&self) -> Result<Option<SnapshotInfo>> {
        let storage = self.storage.as_ref();
        let newest = snapshot_serials(storage)?.first().copied();
        let (Some(serial), Some(store_id)) = (newest, self.store_id) else { return Ok(None) };
        let index = read_index(storage, store_id, serial)?;
        Ok(Some(SnapshotInfo {
            serial,
            files: index.files.files.len().try_into().unwrap_or(u32::MAX),
            bytes: index.files.bytes(),
            bytes_in_use: index.files.bytes_in_use(),
            begin: index.header.begin.get(HeadId::FRESH.index()).copied().unwrap_or_default(),
            next_page_id: index.footer.next_page_id,
        }))
    }

    /// The seed of all checksums.
    pub(super) fn seed(&self) -> RecordSeed {
        RecordSeed::new(self.store_id.unwrap_or(StoreId([0; StoreId::LENGTH])))
    }

    /// What the manifest alone proves stable.
    pub(super) fn proven(&self) -> HeadLsns {
        self.manifest.as_ref().map(|manifest| manifest.stable).unwrap_or_default()
    }
}

fn list(storage: &dyn Storage) -> Result<Vec<FileInfo>> {
    let mut names = storage.list().map_err(|error| Error::io("list", storage.describe(""), error))?;
    names.sort_unstable();
    let info = |name: String| {
        let bytes = storage.open(&name, Access::Read).and_then(|file| file.len()).ok();
        let kind = kind_of(&name);
        // A directory can be opened on some systems, and has a length that says nothing.
        let bytes = bytes.filter(|_| kind != FileKind::Other || !is_directory(storage, &name));
        FileInfo { name, kind, bytes }
    };
    Ok(names.into_iter().map(info).collect())
}

/// Whether reading says that it is one.
fn is_directory(storage: &dyn Storage, name: &str) -> bool {
    let read = storage.open(name, Access::Read).and_then(|file| file.read_at(&mut [0], 0));
    read.is_err_and(|error| error.kind() == io::ErrorKind::IsADirectory)
}

fn kind_of(name: &str) -> FileKind {
    match name {
        LOG_FILE => FileKind::Log,
        MANIFEST_FILE => FileKind::Manifest,
        MANIFEST_TEMPORARY => FileKind::NextManifest,
        LOCK_FILE => FileKind::Lock,
        UNFINISHED_FILE => FileKind::UnfinishedBackup,
        _ if snapshot_serial(name).is_some() => FileKind::Snapshot,
        _ if LargeName::parse(name).is_some() => FileKind::LargeValue,
        _ if dictionary_number(name).is_some() => FileKind::Dictionary,
        _ => FileKind::Other,
    }
}

fn open_if_there(storage: &dyn Storage, name: &str) -> Result<Option<Arc<dyn StorageFile>>> {
    match storage.open(name, Access::Read) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("open", storage.describe(name), error)),
    }
}

fn is_segment_size(size: u32) -> bool {
    (Geometry::MIN_SEGMENT_SIZE..=Geometry::MAX_SEGMENT_SIZE).contains(&size)
}

const fn public(kind: Kind) -> StoreKind {
    match kind {
        Kind::PageCache => StoreKind::Pages,
        Kind::Log => StoreKind::Log,
    }
}

/// The directory, without what a path of a file in it would go on with.
fn directory(storage: &dyn Storage) -> String {
    let path = storage.describe("");
    let bare = path.trim_end_matches(std::path::MAIN_SEPARATOR);
    if bare.is_empty() { path } else { bare.to_owned() }
}

fn info(
    storage: &dyn Storage,
    facts: &Facts,
    geometry: Geometry,
    claims: &BTreeMap<SlotId, Claim>,
    log_length: u64,
    in_use: bool,
) -> StoreInfo {
    let of_file = log_length.div_ceil(u64::from(geometry.segment_size())).try_into().unwrap_or(u32::MAX);
    let of_claims = claims.last_key_value().map_or(0, |(slot, _)| slot.0 + 1);
    let newest = claims.values().map(|claim| claim.segment).max().map_or(SegmentId(0), |segment| segment);
    let manifest = facts.manifest.as_ref();
    StoreInfo {
        path: directory(storage),
        format_version: facts.format_version,
        store_id: facts.store_id.map(|id| format!("{:032x}", u128::from_be_bytes(id.0))),
        kind: facts.kind.map(public),
        segment_size: geometry.segment_size(),
        segment_size_is_assumed: facts.segment_size.is_none(),
        source: if manifest.is_some() { Source::Manifest } else { Source::Headers },
        manifest_fault: facts.fault.clone(),
        slots: of_claims.max(of_file),
        // Fewer than 2²⁴ slots.
        segments: claims.len() as u32,
        next_segment: manifest.map_or(newest.0.saturating_add(1), |manifest| manifest.next_segment.0),
        id_bound: manifest.map_or(0, |manifest| manifest.id_bound),
        first_lsn: manifest.map_or(Lsn(0), |manifest| manifest.first_lsn),
        in_use,
    }
}
