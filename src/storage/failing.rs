//! A storage whose calls pass a failpoint each.
//!
//! The points are here and not where the calls are made, so that the code that makes them reads as if there
//! were none, and so that no call can be left out: one for which there is no point in the table is caught by
//! an assertion. What a call is for is seen from the file's name and from what was done with the file before:
//!
//! * a manifest is written anew up to its first sync; what comes behind that is appended;
//! * a write to the log or to a manifest in force that goes beyond the file's end makes it longer, and says
//!   nothing yet.

use std::io;
use std::sync::Arc;

use super::{Access, Storage, StorageFile, StorageLock};
use crate::failpoints::{Strike, strike};
use crate::sync::atomic::{AtomicBool, Ordering};

/// Whose files they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// The store's own.
    Own,
    /// Those of a copy that is being made.
    Backup,
}

#[derive(Debug)]
pub(crate) struct FailingStorage {
    storage: Arc<dyn Storage>,
    whose: Whose,
}

impl FailingStorage {
    pub(crate) fn new(storage: Arc<dyn Storage>, whose: Whose) -> Self {
        Self { storage, whose }
    }

    fn purpose(&self, name: &str) -> &'static str {
        let is = |prefix| name.starts_with(prefix);
        match name {
            _ if self.whose == Whose::Backup => "backup",
            "log" => "log",
            "LOCK" => "lock",
            "TAIL" => "tail",
            _ if is("MANIFEST") => "manifest",
            _ if is("snapshot-") => "snapshot",
            _ if is("blob-") => "large",
            _ if is("dictionary-") => "dictionary",
            _ => "directory",
        }
    }

    /// A call that concerns the directory as a whole: of a backup everything has the same purpose, so it has
    /// another name there.
    fn pass_directory(&self, call: &str, in_backup: &str) -> io::Result<()> {
        match self.whose {
            Whose::Own => pass("directory", call),
            Whose::Backup => pass("backup", in_backup),
        }
    }

    fn file(&self, name: &str, file: Arc<dyn StorageFile>) -> Arc<dyn StorageFile> {
        let purpose = self.purpose(name);
        Arc::new(FailingFile { file, purpose, was_synced: AtomicBool::new(false) })
    }
}

fn point(purpose: &str, call: &str) -> Option<Strike> {
    strike(&format!("pagelog::{purpose}::{call}"))
}

fn pass(purpose: &str, call: &str) -> io::Result<()> {
    point(purpose, call).map_or(Ok(()), |strike| Err(strike.error))
}

impl Storage for FailingStorage {
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn StorageFile>> {
        pass(self.purpose(name), "open")?;
        Ok(self.file(name, self.storage.open(name, access)?))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        pass(self.purpose(name), "create")?;
        Ok(self.file(name, self.storage.create(name)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        pass(self.purpose(from), "rename")?;
        self.storage.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        pass(self.purpose(name), "remove")?;
        self.storage.remove(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.pass_directory("list", "list")?;
        self.storage.list()
    }

    fn create_directory(&self) -> io::Result<()> {
        self.pass_directory("create", "create_directory")?;
        self.storage.create_directory()
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.pass_directory("sync", "sync_directory")?;
        self.storage.sync_directory()
    }

    fn lock(&self, name: &str, access: Access) -> io::Result<Option<Box<dyn StorageLock>>> {
        match self.whose {
            Whose::Own => pass("lock", "take")?,
            Whose::Backup => pass("backup", "lock")?,
        }
        self.storage.lock(name, access)
    }

    fn remove_directory(&self) -> io::Result<()> {
        self.pass_directory("remove", "remove")?;
        self.storage.remove_directory()
    }

    fn remove_new_directory(&self) -> io::Result<()> {
        self.pass_directory("remove", "remove")?;
        self.storage.remove_new_directory()
    }

    fn describe(&self, name: &str) -> String {
        self.storage.describe(name)
    }
}

#[derive(Debug)]
struct FailingFile {
    file: Arc<dyn StorageFile>,
    purpose: &'static str,
    was_synced: AtomicBool,
}

impl FailingFile {
    /// Of a manifest: whether it is complete, so that it is appended to.
    fn is_complete_manifest(&self) -> bool {
        self.purpose == "manifest" && self.was_synced.load(Ordering::Relaxed)
    }

    fn kind_of_write(&self, end: u64) -> io::Result<&'static str> {
        let is_complete = self.is_complete_manifest();
        let grows = (is_complete || self.purpose == "log") && self.file.len()? < end;
        Ok(match (grows, is_complete) {
            (true, _) => "grow",
            (false, true) => "append",
            (false, false) => "write",
        })
    }
}

impl StorageFile for FailingFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        pass(self.purpose, "read")?;
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let call = self.kind_of_write(offset.saturating_add(bytes.len() as u64))?;
        let Some(Strike { error, is_short }) = point(self.purpose, call) else {
            return self.file.write_at(bytes, offset);
        };
        if is_short {
            self.file.write_at(bytes.get(..bytes.len() / 2).unwrap_or_default(), offset)?;
        }
        Err(error)
    }

    fn sync(&self) -> io::Result<()> {
        pass(self.purpose, if self.is_complete_manifest() { "append_sync" } else { "sync" })?;
        self.file.sync()?;
        self.was_synced.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        pass(self.purpose, "open")?;
        self.file.len()
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        // Of other files it is a part of writing them in less space.
        pass(self.purpose, if self.purpose == "log" { "cut" } else { "write" })?;
        self.file.set_len(length)
    }
}
