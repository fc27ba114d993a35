//! fjall.

use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::{AMPLE, Key, Map, Value};

pub struct Store {
    database: Database,
    records: Keyspace,
}

impl Store {
    pub fn open(directory: &Path) -> Self {
        let database = Database::builder(directory).cache_size(AMPLE).open().expect("it opens");
        let records = database.keyspace("records", KeyspaceCreateOptions::default).expect("a keyspace");
        Self { database, records }
    }
}

impl Map for Store {
    fn put(&self, key: &Key, value: &Value) {
        self.records.insert(key, value).expect("a write");
    }

    fn put_durably(&self, key: &Key, value: &Value) {
        self.put(key, value);
        self.database.persist(PersistMode::SyncData).expect("a sync");
    }

    fn get(&self, key: &Key, look: &mut dyn FnMut(&[u8])) -> bool {
        let found = self.records.get(key).expect("a read");
        found.map(|value| look(&value)).is_some()
    }

    fn scan(&self, from: &Key, count: usize, look: &mut dyn FnMut(&[u8], &[u8])) {
        for entry in self.records.range(&from[..]..).take(count) {
            let (key, value) = entry.into_inner().expect("an entry");
            look(&key, &value);
        }
    }

    fn close(self: Box<Self>) {
        self.database.persist(PersistMode::SyncAll).expect("a sync");
    }
}
