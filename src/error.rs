//! The one error type. Every variant carries what a program needs to decide and a person needs to look.

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::ids::{Lsn, PageId};

/// A result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong. Outcomes of a race are not errors: see [`Cas`](crate::Cas).
///
/// Its text is made to be shown alone, so it names its cause too, if there is one.
///
/// ```
/// use std::sync::Arc;
/// use pagelog::{Config, Error, Log, MemoryStorage};
///
/// # fn main() -> pagelog::Result<()> {
/// let storage = Arc::new(MemoryStorage::new());
/// let log = Log::open(Config::with_storage(storage.clone()))?;
/// match Log::open(Config::with_storage(storage)) {
///     Err(Error::Locked { path }) => println!("{path} is in use, try again later"),
///     Err(Error::Corruption(damage)) => println!("restore {}: {}", damage.file, damage.reason),
///     Err(error) => return Err(error),
///     Ok(_) => unreachable!("a store is open once"),
/// }
/// # log.close()
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused an operation. If data may have been lost by it, the instance is poisoned
    /// too.
    Io {
        /// What was tried: `"read"`, `"write"`, `"sync"` …
        operation: &'static str,
        /// The file or directory.
        path: String,
        /// The system's own error.
        source: Arc<io::Error>,
    },
    /// Bytes that were once valid are not any more.
    Corruption(Box<Corruption>),
    /// Another handle has the store open.
    Locked {
        /// The store's directory.
        path: String,
    },
    /// The directory holds something other than a store. Nothing in it was changed.
    NotAStore {
        /// The directory or file.
        path: String,
        /// What was found there, or is missing.
        reason: String,
    },
    /// The store was written by a newer version of this library.
    UnsupportedFormat {
        /// The manifest.
        path: String,
        /// The format version that it names.
        found: u32,
        /// The newest one that this version reads.
        supported: u32,
    },
    /// An option is out of its range, or contradicts what the store was created with.
    InvalidConfig {
        /// The option's name.
        option: &'static str,
        /// Its range, or the contradiction.
        reason: String,
    },
    /// An earlier failure may have lost data, so nothing can be written any more until the store is opened
    /// again. Reading intact data goes on.
    Poisoned {
        /// The first failure.
        cause: Arc<Error>,
    },
    /// The instance was closed.
    Closed,
    /// The instance was opened read-only.
    ReadOnly,
    /// A fragment could not be encoded. Nothing was logged; the fragment is dropped.
    Encode {
        /// Why, in the codec's own words.
        reason: String,
    },
    /// A record passed its checksum, but its payload could not be decoded as a fragment.
    Decode {
        /// The page.
        page_id: PageId,
        /// Why, in the codec's own words.
        reason: String,
    },
    /// A value is longer than [`Config::max_value_size`](crate::Config::max_value_size), or a record that
    /// can't be stored outside of the log (an entry of a bare log, the named roots) would not fit in a
    /// segment. Nothing was logged.
    ValueTooLarge {
        /// The encoded length in bytes.
        length: usize,
        /// The largest encoded length that this store takes.
        maximum: usize,
    },
    /// There is no space for another segment, or for a large value. Not final: when there is space again,
    /// writing goes on.
    DiskFull {
        /// The file.
        path: String,
    },
    /// Page id 0 belongs to the store itself.
    ReservedPageId,
    /// All page ids are in use.
    TooManyPages,
    /// The store has had 255 compression dictionaries, and keeps all of them.
    TooManyDictionaries,
    /// This thread has a batch open; what it asked for would wait for its own end.
    BatchOpen,
    /// A batch was dropped unsealed after its thread had logged something. Poisons the instance.
    UnsealedBatch,
    /// This thread holds a reservation, and what it asked for may have to wait until that is finished.
    ReservationOpen {
        /// Where the oldest reservation of the thread begins.
        lsn: Lsn,
    },
    /// So many reservations are open that no write buffer is left: more than 30 000 full ones wait for the
    /// oldest.
    TooManyReservations,
    /// A backup can't be written there, or an export be imported. Nothing in it was changed.
    BackupTarget {
        /// The directory.
        path: String,
        /// What is in the way.
        reason: String,
    },
    /// The log no longer reaches back to that LSN.
    Truncated {
        /// The oldest LSN kept.
        first: Lsn,
    },
    /// The caller's progress callback asked to stop.
    Cancelled,
}

/// Where damage was found.
///
/// ```
#[doc = include_str!("docs/text_pages.txt")]
#[doc = include_str!("docs/damage.txt")]
/// # let storage = Arc::new(MemoryStorage::new());
/// # let cache: PageCache<Text> = Config::with_storage(storage.clone()).open()?;
/// let page = cache.allocate(Text("a page".into()))?;
/// cache.flush()?;
/// # rot(&storage, "a page");
/// // Meanwhile a bit of the log has flipped.
/// let fault = cache.verify()?.faults.remove(0);
/// assert_eq!((fault.page_id, fault.lsn), (Some(page.page_id), Some(page.lsn)));
/// assert!(fault.offset.is_some() && fault.file.ends_with("log"));
/// println!("{fault}");
/// # Ok::<(), pagelog::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Corruption {
    /// The file.
    pub file: String,
    /// The byte offset in the file.
    pub offset: Option<u64>,
    /// The log sequence number.
    pub lsn: Option<Lsn>,
    /// The page.
    pub page_id: Option<PageId>,
    /// What was expected and what was found.
    pub reason: String,
}

impl Corruption {
    pub(crate) fn new(file: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { file: file.into(), reason: reason.into(), ..Self::default() }
    }

    pub(crate) fn at_offset(mut self, offset: u64) -> Self {
        self.offset = Some(offset);
        self
    }

    pub(crate) fn at_lsn(mut self, lsn: Lsn) -> Self {
        self.lsn = Some(lsn);
        self
    }

    pub(crate) fn of_page(mut self, page_id: PageId) -> Self {
        self.page_id = Some(page_id);
        self
    }
}

impl From<Corruption> for Error {
    fn from(corruption: Corruption) -> Self {
        Self::Corruption(Box::new(corruption))
    }
}

impl Error {
    pub(crate) fn io(operation: &'static str, path: impl Into<String>, source: io::Error) -> Self {
        Self::Io { operation, path: path.into(), source: Arc::new(source) }
    }
}

impl fmt::Display for Corruption {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.file)?;
        if let Some(offset) = self.offset {
            write!(formatter, ", byte {offset}")?;
        }
        if let Some(lsn) = self.lsn {
            write!(formatter, ", LSN {lsn}")?;
        }
        if let Some(page_id) = self.page_id {
            write!(formatter, ", page {page_id}")?;
        }
        write!(formatter, ": {}", self.reason)
    }
}

impl std::error::Error for Corruption {}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { operation, path, source } => write!(formatter, "cannot {operation} {path}: {source}"),
            Self::Corruption(corruption) => write!(formatter, "corruption in {corruption}"),
            Self::Locked { path } => write!(formatter, "the store {path} is open elsewhere"),
            Self::NotAStore { path, reason } => write!(formatter, "{path} is not a pagelog store: {reason}"),
            Self::UnsupportedFormat { path, found, supported } => {
                write!(formatter, "{path} has format version {found}; this version reads up to {supported}")
            }
            Self::InvalidConfig { option, reason } => {
                write!(formatter, "invalid configuration: {option} {reason}")
            }
            Self::Poisoned { cause } => {
                write!(formatter, "writing has stopped, until the store is opened again: {cause}")
            }
            Self::Closed => formatter.write_str("the store is closed"),
            Self::ReadOnly => formatter.write_str("the store is open read-only"),
            Self::Encode { reason } => write!(formatter, "the fragment cannot be encoded: {reason}"),
            Self::Decode { page_id, reason } => {
                write!(formatter, "page {page_id} cannot be decoded: {reason}")
            }
            Self::ValueTooLarge { length, maximum } => {
                write!(formatter, "a value of {length} bytes is above the maximum of {maximum}")
            }
            Self::DiskFull { path } => write!(formatter, "the disk has no space for {path} to grow"),
            Self::ReservedPageId => formatter.write_str("page id 0 is reserved for the store"),
            Self::TooManyPages => formatter.write_str("all page ids are in use"),
            Self::TooManyDictionaries => {
                formatter.write_str("the store has had 255 dictionaries, and can have no more")
            }
            Self::BatchOpen => formatter.write_str(
                "this thread has a batch open, and would wait for its end for ever: seal it first",
            ),
            Self::UnsealedBatch => formatter.write_str("a batch was dropped before it was sealed"),
            Self::ReservationOpen { lsn } => {
                write!(formatter, "this thread might wait for its own open reservation, at LSN {lsn}")
            }
            Self::TooManyReservations => formatter.write_str("too many reservations are open"),
            Self::BackupTarget { path, reason } => {
                write!(formatter, "nothing can be copied to {path}: {reason}")
            }
            Self::Truncated { first } => {
                write!(formatter, "the log no longer reaches back that far: it begins at LSN {first}")
            }
            Self::Cancelled => formatter.write_str("cancelled by the caller"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source.as_ref()),
            Self::Poisoned { cause } => Some(cause.as_ref()),
            _ => None,
        }
    }
}
