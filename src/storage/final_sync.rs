//! A storage whose directory, once a sync of it has failed, is never said to be durable again.
//!
//! After a failed sync a system may drop what it could not write, and say at the next sync that all is well.
//! For the log that is met by poisoning. But several files have their entries in one directory: the log, the
//! manifest, snapshots, large values. If the sync of one fails, and only that one is given up, the success of
//! the next would vouch for entries that are lost. So this is remembered for all of them, until the store is
//! opened again. A full disk is no such failure: nothing is dropped then.

use std::io;
use std::sync::Arc;

use super::{Access, Storage, StorageFile, StorageLock, is_full};
use crate::sync::Mutex;

#[derive(Debug)]
pub(crate) struct FinalSync {
    storage: Arc<dyn Storage>,
    failed: Mutex<bool>,
}

impl FinalSync {
    pub(crate) fn new(storage: Arc<dyn Storage>) -> Self {
        Self { storage, failed: Mutex::new(false) }
    }
}

impl Storage for FinalSync {
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn StorageFile>> {
        self.storage.open(name, access)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        self.storage.create(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.storage.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.storage.remove(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.storage.list()
    }

    fn create_directory(&self) -> io::Result<()> {
        self.storage.create_directory()
    }

    fn sync_directory(&self) -> io::Result<()> {
        // Held over the sync: of two at once, one may fail and the other say that all is well, in this order.
        let mut failed = self.failed.lock();
        if *failed {
            return Err(io::Error::other("an earlier sync of the directory has failed"));
        }
        let synced = self.storage.sync_directory();
        *failed = synced.as_ref().is_err_and(|error| !is_full(error));
        synced
    }

    fn lock(&self, name: &str, access: Access) -> io::Result<Option<Box<dyn StorageLock>>> {
        self.storage.lock(name, access)
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
