//! What is told of a store, a segment, a record.

use std::fmt;

use crate::error::Error;
use crate::format::RecordKind;
use crate::ids::{HeadId, Lsn, PageId, Version};

/// What a store was created as.
///
/// ```
/// # use std::sync::Arc;
/// # use pagelog::inspect::{InspectOptions, Inspection, StoreKind};
/// # use pagelog::{Config, Log, MemoryStorage};
/// # fn main() -> pagelog::Result<()> {
/// let storage = Arc::new(MemoryStorage::new());
/// Log::open(Config::with_storage(storage.clone()))?.close()?;
/// let inspection = Inspection::open(storage, InspectOptions::new())?;
/// assert_eq!(inspection.store().kind, Some(StoreKind::Log));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreKind {
    /// Pages over a log: [`PageCache`](crate::PageCache).
    Pages,
    /// A log without pages: [`Log`](crate::Log).
    Log,
}

/// What the segments of a store are known from.
///
/// ```
#[doc = include_str!("../docs/text_pages.txt")]
#[doc = include_str!("../docs/closed_store.txt")]
/// # use pagelog::inspect::Source;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let storage = closed_store()?;
/// let source = || Inspection::open(storage.clone(), InspectOptions::new()).map(|store| store.store().source);
/// assert_eq!(source()?, Source::Manifest);
/// storage.remove("MANIFEST")?;
/// assert_eq!(source()?, Source::Headers);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// The manifest, as it should be.
    Manifest,
    /// The headers of the segments: the manifest can't be read.
    Headers,
}

/// What is known of a store as a whole.
///
/// ```
#[doc = include_str!("../docs/text_pages.txt")]
#[doc = include_str!("../docs/closed_store.txt")]
/// # fn main() -> pagelog::Result<()> {
/// let inspection = Inspection::open(closed_store()?, InspectOptions::new())?;
/// let store = inspection.store();
/// assert_eq!((store.segment_size, store.segment_size_is_assumed), (4096, false));
/// assert!(store.segments <= store.slots && u64::from(store.segments) < store.next_segment);
/// assert!(!store.in_use && store.store_id.as_ref().is_some_and(|id| id.len() == 32));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StoreInfo {
    /// The directory.
    pub path: String,
    /// The version of the file format; `None` if the manifest does not say it any more.
    pub format_version: Option<u32>,
    /// The store's random name, 32 hexadecimal digits; `None` for a store without manifest and segments.
    pub store_id: Option<String>,
    /// What it was created as; `None` if the manifest does not say it any more.
    pub kind: Option<StoreKind>,
    /// Bytes of a segment.
    pub segment_size: u32,
    /// The segment size is a guess: nothing that can be read tells it.
    pub segment_size_is_assumed: bool,
    /// What the segments are known from.
    pub source: Source,
    /// Why the manifest can't be read.
    pub manifest_fault: Option<Error>,
    /// Slots that the log file has room for, or that are in use.
    pub slots: u32,
    /// Slots that hold a segment.
    pub segments: u32,
    /// The id that the next segment gets.
    pub next_segment: u64,
    /// [Generated ids](crate::PageCache::generate_id) are below this. 0 if unknown.
    pub id_bound: u64,
    /// Where the kept part of a bare log begins.
    pub first_lsn: Lsn,
    /// The store is open for writing while this is read: see
    /// [`InspectOptions::beside_writer`](super::InspectOptions::beside_writer).
    pub in_use: bool,
}

/// What a file in the directory of a store is.
///
/// ```
#[doc = include_str!("../docs/text_pages.txt")]
#[doc = include_str!("../docs/closed_store.txt")]
/// # use pagelog::inspect::FileKind;
/// # fn main() -> pagelog::Result<()> {
/// let inspection = Inspection::open(closed_store()?, InspectOptions::new())?;
/// let count = |kind| inspection.files().iter().filter(|file| file.kind == kind).count();
/// assert_eq!((count(FileKind::Log), count(FileKind::Manifest), count(FileKind::Lock)), (1, 1, 1));
/// assert_eq!((count(FileKind::LargeValue), count(FileKind::Other)), (1, 0));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum FileKind {
    /// The records.
    Log,
    /// Which segments there are.
    Manifest,
    /// Space that is kept for writing the manifest anew.
    NextManifest,
    /// The page table at some time, or a part of it.
    Snapshot,
    /// A large value.
    LargeValue,
    /// A compression dictionary.
    Dictionary,
    /// What is locked.
    Lock,
    /// The note that a backup was not finished.
    UnfinishedBackup,
    /// Not the store's.
    Other,
}

/// A file in the directory of a store.
///
/// ```
#[doc = include_str!("../docs/text_pages.txt")]
#[doc = include_str!("../docs/closed_store.txt")]
/// # use pagelog::inspect::FileKind;
/// # fn main() -> pagelog::Result<()> {
/// let inspection = Inspection::open(closed_store()?, InspectOptions::new())?;
/// let large = inspection.files().iter().find(|file| file.kind == FileKind::LargeValue);
/// assert!(large.is_some_and(|file| file.name.starts_with("blob-") && file.bytes > Some(2000)));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileInfo {
    /// Its name.
    pub name: String,
    /// What it is, by its name.
    pub kind: FileKind,
    /// Its length; `None` if it can't be opened, as a directory can't.
    pub bytes: Option<u64>,
}

/// The newest snapshot.
///
/// ```
#[doc = include_str!("../docs/text_pages.txt")]
#[doc = include_str!("../docs/closed_store.txt")]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let inspection = Inspection::open(closed_store()?, InspectOptions::new())?;
/// let snapshot = inspection.snapshot()?.ok_or("there is none")?;
/// assert!(snapshot.files > 0 && snapshot.bytes_in_use <= snapshot.bytes);
/// assert_eq!(snapshot.next_page_id, PageId::new(3));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SnapshotInfo {
    /// Its number.
    pub serial: u64,
    /// How many files it consists of.
    pub files: u32,
    /// Bytes of these files.
    pub bytes: u64,
    /// Bytes in them that it needs; the others are of older snapshots.
    pub bytes_in_use: u64,
    /// Opening reads what users logged from here on.
    pub begin: Lsn,
    /// Above all page ids in it.
    pub next_page_id: PageId,
}

/// Who fills a segment.
///
/// ```
#[doc = include_str!("../docs/text_pages.txt")]
#[doc = include_str!("../docs/closed_store.txt")]
/// # use pagelog::inspect::Lane;
/// # fn main() -> pagelog::Result<()> {
/// let inspection = Inspection::open(closed_store()?, InspectOptions::new())?;
/// let survey = inspection.survey(|_| ControlFlow::Continue(()))?;
/// // Nothing was moved yet.
/// let mut used = survey.segments.iter().filter(|segment| segment.records > 0);
/// assert!(used.all(|segment| segment.lane == Some(Lane::Fresh)));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Lane {
    /// What users write.
    Fresh,
    /// What garbage collection moves.
    Relocated,
    /// A head that this version does not have.
    Other(u8),
}

impl From<HeadId> for Lane {
    fn from(head: HeadId) -> Self {
        match head {
            HeadId::FRESH => Self::Fresh,
            HeadId(other) if head.index() >= HeadId::COUNT => Self::Other(other),
            _ => Self::Relocated,
        }
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fresh => formatter.pad("fresh"),
            Self::Relocated => formatter.pad("relocated"),
            Self::Other(head) => write!(formatter, "head {head}"),
        }
    }
}

/// What a slot of the log file is in.
///
/// ```
#[doc = include_str!("../docs/text_pages.txt")]
#[doc = include_str!("../docs/closed_store.txt")]
/// # use pagelog::inspect::SegmentState;
/// # fn main() -> pagelog::Result<()> {
/// let inspection = Inspection::open(closed_store()?, InspectOptions::new())?;
/// let survey = inspection.survey(|_| ControlFlow::Continue(()))?;
/// assert_eq!(survey.segments[0].state, SegmentState::Active);
/// assert_eq!(SegmentState::Active.to_string(), "active");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum SegmentState {
    /// Nothing in it is needed.
    Free,
    /// Chosen for a segment, of which nothing is written.
    Claimed,
    /// Being filled.
    Active,
    /// Full.
    Sealed,
    /// Full once, and without live records now: it will be free.
    Empty,
    /// Written, but behind the end of the log: an opening takes nothing of it.
    Void,
    /// It should be there, and nothing of it can be read: the file ends before it, or the system does not
    /// hand it out.
    Missing,
}

impl fmt::Display for SegmentState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Free => "free",
            Self::Claimed => "claimed",
            Self::Active => "active",
            Self::Sealed => "sealed",
            Self::Empty => "empty",
            Self::Void => "void",
            Self::Missing => "missing",
        })
    }
}

/// A slot of the log file, and the segment in it.
///
/// ```
#[doc = include_str!("../docs/text_pages.txt")]
#[doc = include_str!("../docs/closed_store.txt")]
/// # fn main() -> pagelog::Result<()> {
/// let inspection = Inspection::open(closed_store()?, InspectOptions::new())?;
/// let survey = inspection.survey(|_| ControlFlow::Continue(()))?;
/// let segment = &survey.segments[0];
/// assert_eq!((segment.slot, segment.live_records, segment.faults), (0, 3, 0));
/// assert!(segment.live_records < segment.records);
/// assert!(segment.live_bytes < u64::from(segment.written) && segment.written <= segment.end);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SegmentInfo {
    /// Its place: slot `n` begins at byte `n` × segment size of the file.
    pub slot: u32,
    /// What it is in.
    pub state: SegmentState,
    /// The segment's id, which is never used twice; 0 if the slot is free.
    pub segment: u64,
    /// Who fills it; `None` if the slot is free.
    pub lane: Option<Lane>,
    /// The LSN of its first byte.
    pub base: Lsn,
    /// How many bytes from its beginning can be valid: all, unless a recovery has cut it.
    pub end: u32,
    /// Bytes up to the end of its last record, with its header.
    pub written: u32,
    /// Readable records in it.
    pub records: u64,
    /// Those of them that are live.
    pub live_records: u64,
    /// Bytes of these.
    pub live_bytes: u64,
    /// How many segments were begun after it: its age.
    pub age: u64,
    /// How many faults were found in it.
    pub faults: u32,
}

/// What a record is.
///
/// ```
#[doc = include_str!("../docs/text_pages.txt")]
#[doc = include_str!("../docs/closed_store.txt")]
/// # use pagelog::inspect::RecordType;
/// # fn main() -> pagelog::Result<()> {
/// let inspection = Inspection::open(closed_store()?, InspectOptions::new())?;
/// let records = records(&inspection)?;
/// let of_page = records.iter().filter(|record| record.page_id == Some(PageId::new(1)));
/// let kinds: Vec<RecordType> = of_page.map(|record| record.kind).collect();
/// assert_eq!(kinds, [RecordType::Replace, RecordType::Replace, RecordType::Link]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum RecordType {
    /// A whole page.
    Replace,
    /// A change to a page.
    Link,
    /// The end of a page.
    Free,
    /// An entry of a bare log.
    Entry,
    /// A batch begins.
    BatchBegin,
    /// A batch is complete.
    BatchEnd,
    /// A write buffer begins.
    Mark,
    /// Its writer withdrew it.
    Cancelled,
    /// Bytes of which it can't be told what they were.
    Unreadable,
}

impl RecordType {
    pub(super) fn of(kind: &RecordKind) -> Self {
        match kind {
            RecordKind::Replace { .. } => Self::Replace,
            RecordKind::Link { .. } => Self::Link,
            RecordKind::Free { .. } => Self::Free,
            RecordKind::Entry => Self::Entry,
            RecordKind::BatchBegin => Self::BatchBegin,
            RecordKind::BatchEnd { .. } => Self::BatchEnd,
            RecordKind::Mark { .. } => Self::Mark,
            RecordKind::Cancelled => Self::Cancelled,
            // Never handed on.
            RecordKind::End => Self::Unreadable,
        }
    }
}

impl fmt::Display for RecordType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Replace => "replace",
            Self::Link => "link",
            Self::Free => "free",
            Self::Entry => "entry",
            Self::BatchBegin => "batch-begin",
            Self::BatchEnd => "batch-end",
            Self::Mark => "mark",
            Self::Cancelled => "cancelled",
            Self::Unreadable => "unreadable",
        })
    }
}

/// What a record is good for.
///
/// ```
#[doc = include_str!("../docs/text_pages.txt")]
#[doc = include_str!("../docs/closed_store.txt")]
/// # use pagelog::inspect::RecordState;
/// # fn main() -> pagelog::Result<()> {
/// let inspection = Inspection::open(closed_store()?, InspectOptions::new())?;
/// let records = records(&inspection)?;
/// let of_page = records.iter().filter(|record| record.page_id == Some(PageId::new(1)));
/// let states: Vec<RecordState> = of_page.map(|record| record.state).collect();
/// // What it was before, what has replaced that, and the link to it.
/// assert_eq!(states, [RecordState::Dead, RecordState::Live, RecordState::Live]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum RecordState {
    /// Nothing has superseded it.
    Live,
    /// It is superseded, or one of the log's own.
    Dead,
    /// It lies behind the end of the log, or in a batch that was not finished: an opening does not take it.
    Void,
    /// It does not verify.
    Damaged,
}

impl fmt::Display for RecordState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Live => "live",
            Self::Dead => "dead",
            Self::Void => "void",
            Self::Damaged => "damaged",
        })
    }
}

/// Where a large value is.
///
/// ```
#[doc = include_str!("../docs/text_pages.txt")]
#[doc = include_str!("../docs/closed_store.txt")]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let inspection = Inspection::open(closed_store()?, InspectOptions::new())?;
/// let records = records(&inspection)?;
/// let value = records.iter().find_map(|record| record.large_value.as_ref()).ok_or("there is none")?;
/// assert_eq!(value.bytes, 2000);
/// assert!(inspection.files().iter().any(|file| file.name == value.file));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LargeValueInfo {
    /// The name of its file.
    pub file: String,
    /// Bytes of the value, compressed if it is.
    pub bytes: u64,
}

/// A record.
///
/// ```
#[doc = include_str!("../docs/text_pages.txt")]
#[doc = include_str!("../docs/closed_store.txt")]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let inspection = Inspection::open(closed_store()?, InspectOptions::new())?;
/// let records = records(&inspection)?;
/// let link = records.iter().find(|record| record.version == Some(Version::new(3))).ok_or("there is none")?;
/// assert_eq!((link.page_id, link.payload_length), (Some(PageId::new(1)), 2));
/// assert!(link.intact && link.reason.is_none() && !link.compressed);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordInfo {
    /// Where it begins in the log.
    pub lsn: Lsn,
    /// The segment that it is in,
    pub segment: u64,
    /// and where it begins in the log file.
    pub file_offset: u64,
    /// Its length in bytes, with all its fields. Of bytes that can't be read: up to the next record that can.
    pub length: u32,
    /// What it is. Of a record that does not verify this is what it seems to be, and so are page and version.
    pub kind: RecordType,
    /// Whose it is.
    pub page_id: Option<PageId>,
    /// Which state of the page it makes.
    pub version: Option<Version>,
    /// Whether it matches its checksum.
    pub intact: bool,
    /// What is wrong with it: the end of a sentence that begins with "the record".
    pub reason: Option<&'static str>,
    /// What it is good for.
    pub state: RecordState,
    /// Whether its payload is compressed.
    pub compressed: bool,
    /// The file that holds the value, if it is a large one.
    pub large_value: Option<LargeValueInfo>,
    /// Bytes of payload in the record itself.
    pub payload_length: u32,
}
