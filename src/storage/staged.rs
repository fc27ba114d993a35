//! A storage in which a store is built that is to be there as a whole or not at all.
//!
//! The store's manifest, without which there is no store, has another name until everything else is durable.
//! A note says that the work is not finished, is durable before there is anything else, and is removed last:
//! so whoever opens the directory in between is told.

use std::io;
use std::sync::Arc;

use super::{Access, Storage, StorageFile, StorageLock};

/// A view of a storage in which one file has another name, and one is not to be seen.
#[derive(Debug)]
pub(crate) struct Staged {
    storage: Arc<dyn Storage>,
    /// The file without which there is no store: the manifest.
    file: &'static str,
    /// What that file is called until everything else is durable.
    staged: &'static str,
    /// The file that says that the work is not finished.
    note: &'static str,
}

impl Staged {
    pub(crate) fn new(
        storage: Arc<dyn Storage>,
        file: &'static str,
        staged: &'static str,
        note: &'static str,
    ) -> Self {
        Self { storage, file, staged, note }
    }

    fn name<'a>(&self, name: &'a str) -> &'a str {
        if name == self.file { self.staged } else { name }
    }
}

impl Storage for Staged {
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn StorageFile>> {
        self.storage.open(self.name(name), access)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        self.storage.create(self.name(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.storage.rename(self.name(from), self.name(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.storage.remove(self.name(name))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let names = self.storage.list()?.into_iter().filter(|name| name != self.note);
        Ok(names.map(|name| if name == self.staged { self.file.into() } else { name }).collect())
    }

    fn create_directory(&self) -> io::Result<()> {
        self.storage.create_directory()
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.storage.sync_directory()
    }

    /// Whoever builds has the lock.
    fn lock(&self, _: &str, _: Access) -> io::Result<Option<Box<dyn StorageLock>>> {
        Ok(Some(Box::new(LockedOutside)))
    }

    fn remove_directory(&self) -> io::Result<()> {
        self.storage.remove_directory()
    }

    fn remove_new_directory(&self) -> io::Result<()> {
        self.storage.remove_new_directory()
    }

    fn describe(&self, name: &str) -> String {
        self.storage.describe(name)
    }
}

#[derive(Debug)]
struct LockedOutside;

impl StorageLock for LockedOutside {}
