//! A storage that tells somebody of each read and write of the log before it happens, and is otherwise the one it stands before. For
//! tests and benchmarks.

use std::fmt::Debug;
use std::io;
use std::sync::Arc;

use pagelog::{Access, Storage, StorageFile, StorageLock};

/// Who is told.
pub trait Observer: Debug + Send + Sync + 'static {
    /// A read is about to happen. It does not if this fails.
    fn before_read(&self, length: usize, offset: u64) -> io::Result<()>;

    /// A write is about to happen. It does not if this fails.
    fn before_write(&self, _bytes: &[u8], _offset: u64) -> io::Result<()> {
        Ok(())
    }
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
        if name == "log" { Arc::new(ObservedFile(file, Arc::clone(&self.observer))) } else { file }
    }
}

#[derive(Debug)]
struct ObservedFile<O>(Arc<dyn StorageFile>, Arc<O>);

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
        self.disk.lock(name, access)
    }
    fn remove_directory(&self) -> io::Result<()> {
        self.disk.remove_directory()
    }
    fn describe(&self, name: &str) -> String {
        self.disk.describe(name)
    }
}

impl<O: Observer> StorageFile for ObservedFile<O> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.1.before_read(buffer.len(), offset)?;
        self.0.read_at(buffer, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.1.before_write(bytes, offset)?;
        self.0.write_at(bytes, offset)
    }
    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }
}
