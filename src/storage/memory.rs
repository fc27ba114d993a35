//! Files in memory: for tests, caches and stores that may be forgotten.
//!
//! A disk is a map from names to files. A file lives as long as its name or a handle, as on Unix. Nothing is
//! ever durable, so `sync` has nothing to do. Clones of the storage see the same disk; that is how a store is
//! "opened again".

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use crate::storage::bytes::SparseBytes;
use crate::storage::locks::{LockTable, NoLock};
use crate::storage::{Access, Storage, StorageFile, StorageLock};
use crate::sync::Mutex;

/// A disk in memory. Clones share it; it ends with the last clone or open file.
///
/// ```
/// use std::sync::Arc;
///
/// use pagelog::{Config, Log, MemoryStorage};
///
/// # fn main() -> pagelog::Result<()> {
/// let storage = MemoryStorage::new();
/// let log = Log::open(Config::with_storage(Arc::new(storage.clone())))?;
/// log.append(b"entry")?;
/// log.close()?;
/// // It can be opened again.
/// let log = Log::open(Config::with_storage(Arc::new(storage)))?;
/// assert!(log.was_recovered());
/// # log.close()
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct MemoryStorage {
    files: Arc<Mutex<BTreeMap<String, Arc<MemoryFile>>>>,
    locks: LockTable,
}

impl MemoryStorage {
    /// A new, empty disk. Its one directory exists from the start.
    ///
    /// ```
    /// use pagelog::{MemoryStorage, Storage};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let storage = MemoryStorage::new();
    /// assert!(storage.list()?.is_empty());
    /// storage.clone().create("data")?;
    /// assert_eq!(storage.list()?, ["data"]);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self { files: Arc::new(Mutex::new(BTreeMap::new())), locks: LockTable::new() }
    }
}

impl Default for MemoryStorage {
    fn default() -> Self {
        Self::new()
    }
}

impl Storage for MemoryStorage {
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn StorageFile>> {
        let file = self.files.lock().get(name).cloned().ok_or_else(|| not_found(name))?;
        Ok(match access {
            Access::Write => file,
            Access::Read => Arc::new(ReadOnly(file)),
        })
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let mut files = self.files.lock();
        if let Some(file) = files.get(name) {
            file.set_len(0)?;
            return Ok(file.clone());
        }
        let file = Arc::new(MemoryFile(Mutex::new(SparseBytes::default())));
        files.insert(name.to_owned(), file.clone());
        Ok(file)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = self.files.lock();
        let file = files.remove(from).ok_or_else(|| not_found(from))?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.files.lock().remove(name).map(drop).ok_or_else(|| not_found(name))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.files.lock().keys().cloned().collect())
    }

    fn create_directory(&self) -> io::Result<()> {
        Ok(())
    }

    fn sync_directory(&self) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, name: &str, access: Access) -> io::Result<Option<Box<dyn StorageLock>>> {
        let mut files = self.files.lock();
        if !files.contains_key(name) {
            if access == Access::Read {
                return Ok(Some(Box::new(NoLock)));
            }
            files.insert(name.to_owned(), Arc::new(MemoryFile(Mutex::new(SparseBytes::default()))));
        }
        Ok(self.locks.take(name, access))
    }

    fn remove_directory(&self) -> io::Result<()> {
        self.files.lock().clear();
        Ok(())
    }

    fn describe(&self, name: &str) -> String {
        format!("memory:{name}")
    }
}

/// The error of a name that no file has.
pub(super) fn not_found(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("no file {name}"))
}

/// The error of a write through a file that was opened for reading.
pub(super) fn read_only() -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, "the file is open for reading only")
}

/// A block of 16 KiB keeps the map of a large file small.
#[derive(Debug)]
struct MemoryFile(Mutex<SparseBytes<{ 16 << 10 }>>);

impl StorageFile for MemoryFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.lock().read(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.lock().write(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().len())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.lock().set_len(length)
    }
}

/// A handle that was opened for reading: it refuses to write, as a real one would.
#[derive(Debug)]
struct ReadOnly(Arc<MemoryFile>);

impl StorageFile for ReadOnly {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_at(buffer, offset)
    }

    fn write_at(&self, _bytes: &[u8], _offset: u64) -> io::Result<()> {
        Err(read_only())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn set_len(&self, _length: u64) -> io::Result<()> {
        Err(read_only())
    }
}
