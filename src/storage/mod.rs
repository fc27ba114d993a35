//! Where bytes live: the [`Storage`] trait and its implementations.

mod bytes;
#[cfg(test)]
mod conformance;
#[cfg(feature = "failpoints")]
mod failing;
mod file;
mod final_sync;
mod locks;
mod memory;
#[cfg(feature = "sim")]
pub mod sim;
mod staged;

use std::fmt;
use std::io;
use std::sync::Arc;

pub use file::FileStorage;
pub(crate) use final_sync::FinalSync;
pub use memory::MemoryStorage;
pub(crate) use staged::Staged;

/// A directory of files: everything that pagelog asks of an operating system.
///
/// Names are relative, without a leading slash; a back-end may treat them as flat keys. All methods can be
/// called from many threads. A back-end must not return from a `sync` before the bytes would survive a power
/// cut: all durability rests on that.
///
/// ```
/// use std::io;
/// use std::sync::Arc;
/// use pagelog::{Access, Config, Log, MemoryStorage, Storage, StorageFile, StorageLock};
///
/// /// A part of another storage: the files whose names begin with a prefix.
/// #[derive(Debug)]
/// struct Part {
///     whole: Arc<dyn Storage>,
///     prefix: &'static str,
/// }
///
/// impl Part {
///     fn full(&self, name: &str) -> String {
///         format!("{}{name}", self.prefix)
///     }
/// }
///
/// impl Storage for Part {
///     fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn StorageFile>> {
///         self.whole.open(&self.full(name), access)
///     }
///     fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
///         self.whole.create(&self.full(name))
///     }
///     fn rename(&self, from: &str, to: &str) -> io::Result<()> {
///         self.whole.rename(&self.full(from), &self.full(to))
///     }
///     fn remove(&self, name: &str) -> io::Result<()> {
///         self.whole.remove(&self.full(name))
///     }
///     fn list(&self) -> io::Result<Vec<String>> {
///         let names = self.whole.list()?;
///         Ok(names.iter().filter_map(|name| name.strip_prefix(self.prefix)).map(str::to_owned).collect())
///     }
///     fn create_directory(&self) -> io::Result<()> {
///         self.whole.create_directory()
///     }
///     fn sync_directory(&self) -> io::Result<()> {
///         self.whole.sync_directory()
///     }
///     fn lock(&self, name: &str, access: Access) -> io::Result<Option<Box<dyn StorageLock>>> {
///         self.whole.lock(&self.full(name), access)
///     }
///     fn remove_directory(&self) -> io::Result<()> {
///         self.list()?.iter().try_for_each(|name| self.remove(name))
///     }
///     fn describe(&self, name: &str) -> String {
///         self.whole.describe(&self.full(name))
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let whole = Arc::new(MemoryStorage::new());
/// let part = |prefix| Config::with_storage(Arc::new(Part { whole: whole.clone(), prefix }));
/// let orders = Log::open(part("orders-"))?;
/// let events = Log::open(part("events-").temporary(true))?;
/// orders.append(b"an order")?;
/// events.append(b"an event")?;
/// events.close()?;
/// assert!(whole.list()?.iter().all(|name| name.starts_with("orders-")));
/// assert_eq!(orders.iter_from(orders.first_lsn())?.count(), 1);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// What the system says, as it is. Its kind counts in three cases: [`NotFound`](io::ErrorKind::NotFound) is a
/// file that does not exist, [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) a read beyond a file's end, and
/// [`StorageFull`](io::ErrorKind::StorageFull), [`QuotaExceeded`](io::ErrorKind::QuotaExceeded) and
/// [`FileTooLarge`](io::ErrorKind::FileTooLarge) say that there is no space left. A call that fails may have
/// done a part of its work. After a write or a sync that failed pagelog believes nothing of what was not
/// durable before.
pub trait Storage: fmt::Debug + Send + Sync + 'static {
    /// Opens a file that exists. [`io::ErrorKind::NotFound`] if it does not.
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn StorageFile>>;

    /// Creates an empty file for reading and writing, truncating one that exists.
    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>>;

    /// Atomically renames a file, replacing the target.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// The names of all files and sub-directories, in no order. Empty if the directory does not exist.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Creates the directory itself, and makes its own entry durable, if it does not exist.
    fn create_directory(&self) -> io::Result<()>;

    /// Makes creations, renames and removals of files durable.
    fn sync_directory(&self) -> io::Result<()>;

    /// Takes the lock `name`, without waiting. `Ok(None)` if somebody else has it in a way that excludes this
    /// one.
    ///
    /// An [`Access::Write`] lock creates the lock file if needed and excludes all others. An [`Access::Read`]
    /// lock excludes writers only, and neither creates nor changes anything: without a lock file it succeeds.
    /// The lock is given back when the value is dropped.
    fn lock(&self, name: &str, access: Access) -> io::Result<Option<Box<dyn StorageLock>>>;

    /// Removes the whole directory, for temporary stores.
    fn remove_directory(&self) -> io::Result<()>;

    /// Takes back what the last [`create_directory`](Self::create_directory) of this value has made, for a
    /// copy that failed: the directory, and those above it that were not there either, as far as they are
    /// empty. Others stay. A back-end to which directories are nothing has nothing to do here, and that is
    /// what this does by itself.
    fn remove_new_directory(&self) -> io::Result<()> {
        Ok(())
    }

    /// What to call the file in error messages: its path, or a name that a person understands.
    fn describe(&self, name: &str) -> String;
}

/// An open file. Offsets are absolute; there is no cursor, so threads do not disturb each other.
///
/// ```
/// use std::io::ErrorKind;
/// use pagelog::{MemoryStorage, Storage};
///
/// # fn main() -> std::io::Result<()> {
/// let file = MemoryStorage::new().create("data")?;
/// file.write_at(b"hello", 3)?;
/// file.sync()?;
/// let mut bytes = [1; 8];
/// file.read_at(&mut bytes, 0)?;
/// assert_eq!(&bytes, b"\0\0\0hello");
/// file.set_len(5)?;
/// assert_eq!(file.read_at(&mut bytes, 0).map_err(|error| error.kind()), Err(ErrorKind::UnexpectedEof));
/// assert!(file.len()? == 5 && !file.is_empty()?);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// As for [`Storage`].
pub trait StorageFile: fmt::Debug + Send + Sync + 'static {
    /// Fills `buffer` from `offset`. [`io::ErrorKind::UnexpectedEof`] if the file ends before.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`, growing the file if needed.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes all that was written, and the file's length, durable (`fdatasync`).
    fn sync(&self) -> io::Result<()>;

    /// The file's length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Cuts or extends (with zeros) the file to `length` bytes.
    fn set_len(&self, length: u64) -> io::Result<()>;

    /// Whether the file is empty.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// A lock that is held until it is dropped.
///
/// ```
/// use pagelog::{Access, MemoryStorage, Storage};
///
/// # fn main() -> std::io::Result<()> {
/// let storage = MemoryStorage::new();
/// let lock = storage.lock("LOCK", Access::Write)?;
/// assert!(lock.is_some() && storage.lock("LOCK", Access::Read)?.is_none());
/// drop(lock);
/// assert!(storage.lock("LOCK", Access::Read)?.is_some());
/// # Ok(())
/// # }
/// ```
pub trait StorageLock: fmt::Debug + Send + Sync + 'static {}

/// What a file is opened for, or a lock taken for.
///
/// ```
/// use pagelog::{Access, MemoryStorage, Storage};
///
/// # fn main() -> std::io::Result<()> {
/// # let storage = MemoryStorage::new();
/// # storage.create("data")?;
/// storage.open("data", Access::Write)?.write_at(b"hello", 0)?;
/// let file = storage.open("data", Access::Read)?;
/// assert_eq!(file.len()?, 5);
/// assert!(file.write_at(b"goodbye", 0).is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading only.
    Read,
    /// Reading and writing.
    Write,
}

/// The storage of an instance, with failpoints in a build that has them.
pub(crate) fn with_failpoints(storage: Arc<dyn Storage>) -> Arc<dyn Storage> {
    #[cfg(feature = "failpoints")]
    let storage = Arc::new(failing::FailingStorage::new(storage, failing::Whose::Own));
    storage
}

/// The storage that a backup goes to, with failpoints in a build that has them.
pub(crate) fn with_backup_failpoints(storage: Arc<dyn Storage>) -> Arc<dyn Storage> {
    #[cfg(feature = "failpoints")]
    let storage = Arc::new(failing::FailingStorage::new(storage, failing::Whose::Backup));
    storage
}

/// Whether an error says that there is no space left.
pub(crate) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}
