//! Files on a disk that takes its time: each read of the log sleeps first.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pagelog::{Access, FileStorage, Storage, StorageFile, StorageLock};

#[derive(Debug)]
pub struct SlowStorage {
    pub files: FileStorage,
    pub delay: Duration,
}

impl SlowStorage {
    pub fn new(directory: &Path, delay: Duration) -> Self {
        Self { files: FileStorage::new(directory), delay }
    }
}

#[derive(Debug)]
struct SlowFile(Arc<dyn StorageFile>, Duration);

impl Storage for SlowStorage {
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn StorageFile>> {
        let file = self.files.open(name, access)?;
        Ok(if name == "log" { Arc::new(SlowFile(file, self.delay)) } else { file })
    }
    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        self.files.create(name)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.files.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.files.remove(name)
    }
    fn list(&self) -> io::Result<Vec<String>> {
        self.files.list()
    }
    fn create_directory(&self) -> io::Result<()> {
        self.files.create_directory()
    }
    fn sync_directory(&self) -> io::Result<()> {
        self.files.sync_directory()
    }
    fn lock(&self, name: &str, access: Access) -> io::Result<Option<Box<dyn StorageLock>>> {
        self.files.lock(name, access)
    }
    fn remove_directory(&self) -> io::Result<()> {
        self.files.remove_directory()
    }
    fn describe(&self, name: &str) -> String {
        self.files.describe(name)
    }
}

impl StorageFile for SlowFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        std::thread::sleep(self.1);
        self.0.read_at(buffer, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
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
