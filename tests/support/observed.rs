//! A storage that tells somebody of what is read, written and synced before it happens, and is otherwise the
//! one it stands before. For tests and benchmarks.

use std::fmt::Debug;
use std::io;
use std::sync::Arc;

use pagelog::{Access, Storage, StorageFile, StorageLock};

/// Who is told.
pub trait Observer: Debug + Send + Sync + 'static {
    /// A read of the log is about to happen. It does not if this fails.
    fn before_read(&self, _length: usize, _offset: u64) -> io::Result<()> {
        Ok(())
    }
    /// Bytes are about to be written to a file. They are not if this fails.
    fn before_write(&self, _name: &str, _bytes: &[u8], _offset: u64) -> io::Result<()> {
        Ok(())
    }
    /// A file is about to be synced.
    fn before_sync(&self, _name: &str) {}
    /// A file was synced.
    fn after_sync(&self, _name: &str) {}
    /// The store is about to be locked.
    fn before_lock(&self) {}
}

#[derive(Debug, Default)]
pub struct Observed<S, O> {
    disk: S,
    pub observer: Arc<O>,
}

impl<S: Clone, O> Clone for Observed<S, O> {
    fn clone(&self) -> Self {
        Self { disk: self.disk.clone(), observer: Arc::clone(&self.observer) }
    }
}

impl<S: Storage, O: Observer> Observed<S, O> {
    #[allow(dead_code, reason = "some begin with a default")]
    pub fn new(disk: S, observer: O) -> Self {
        Self { disk, observer: Arc::new(observer) }
    }

    #[allow(dead_code, reason = "some have an observer of their own")]
    pub fn shared(disk: S, observer: Arc<O>) -> Self {
        Self { disk, observer }
    }

    fn observe(&self, name: &str, file: Arc<dyn StorageFile>) -> Arc<dyn StorageFile> {
        Arc::new(ObservedFile { name: name.into(), file, observer: Arc::clone(&self.observer) })
    }
}

#[derive(Debug)]
struct ObservedFile<O> {
    name: String,
    file: Arc<dyn StorageFile>,
    observer: Arc<O>,
}

impl<S: Storage, O: Observer> Storage for Observed<S, O> {
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn StorageFile>> {
        Ok(self.observe(name, self.disk.open(name, access)?))
    }
    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        Ok(self.observe(name, self.disk.create(name)?))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }
    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }
    fn create_directory(&self) -> io::Result<()> {
        self.disk.create_directory()
    }
    fn sync_directory(&self) -> io::Result<()> {
        self.disk.sync_directory()
    }
    fn lock(&self, name: &str, access: Access) -> io::Result<Option<Box<dyn StorageLock>>> {
        self.observer.before_lock();
        self.disk.lock(name, access)
    }
    fn remove_directory(&self) -> io::Result<()> {
        self.disk.remove_directory()
    }
    fn remove_new_directory(&self) -> io::Result<()> {
        self.disk.remove_new_directory()
    }
    fn describe(&self, name: &str) -> String {
        self.disk.describe(name)
    }
}

impl<O: Observer> StorageFile for ObservedFile<O> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        if self.name == "log" {
            self.observer.before_read(buffer.len(), offset)?;
        }
        self.file.read_at(buffer, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.observer.before_write(&self.name, bytes, offset)?;
        self.file.write_at(bytes, offset)
    }
    fn sync(&self) -> io::Result<()> {
        self.observer.before_sync(&self.name);
        self.file.sync()?;
        self.observer.after_sync(&self.name);
        Ok(())
    }
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn set_len(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }
}
