//! Locks for back-ends in memory, with the rules of file locks: many readers or one writer.

use std::collections::HashMap;
use std::sync::Arc;

use crate::storage::{Access, StorageLock};
use crate::sync::Mutex;

/// Who holds which name. Copies share the table.
#[derive(Clone, Debug)]
pub(super) struct LockTable(Arc<Mutex<HashMap<String, Held>>>);

#[derive(Debug)]
enum Held {
    Readers(usize),
    Writer,
}

impl LockTable {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(HashMap::new())))
    }

    /// Takes the lock unless somebody holds it in a way that excludes this one.
    pub(super) fn take(&self, name: &str, access: Access) -> Option<Box<dyn StorageLock>> {
        let mut table = self.0.lock();
        match (table.get_mut(name), access) {
            (None, Access::Write) => {
                table.insert(name.to_owned(), Held::Writer);
            }
            (None, Access::Read) => {
                table.insert(name.to_owned(), Held::Readers(1));
            }
            (Some(Held::Readers(readers)), Access::Read) => *readers += 1,
            (Some(_), _) => return None,
        }
        Some(Box::new(TableLock { table: self.clone(), name: name.to_owned() }))
    }
}

#[derive(Debug)]
struct TableLock {
    table: LockTable,
    name: String,
}

impl StorageLock for TableLock {}

impl Drop for TableLock {
    fn drop(&mut self) {
        let mut table = self.table.0.lock();
        match table.get_mut(&self.name) {
            Some(Held::Readers(readers)) if *readers > 1 => *readers -= 1,
            _ => {
                table.remove(&self.name);
            }
        }
    }
}

/// The read lock where there is no lock file: nothing to hold on to.
#[derive(Debug)]
pub(super) struct NoLock;

impl StorageLock for NoLock {}
