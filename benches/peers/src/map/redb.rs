//! redb.

use std::path::Path;

use redb::{Database, Durability, ReadableDatabase, TableDefinition};

use super::{AMPLE, BATCH, Key, Map, Value};

const RECORDS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("records");

pub struct Store(Database);

impl Store {
    pub fn open(directory: &Path) -> Self {
        let database = Database::builder()
            .set_cache_size(AMPLE as usize)
            .create(directory.join("redb"))
            .expect("it opens");
        let store = Self(database);
        store.write(Durability::Immediate, &mut std::iter::empty());
        store
    }

    fn write(&self, durability: Durability, records: &mut dyn Iterator<Item = (Key, Value)>) {
        let mut transaction = self.0.begin_write().expect("a transaction");
        transaction.set_durability(durability).expect("no savepoints");
        {
            let mut table = transaction.open_table(RECORDS).expect("a table");
            for (key, value) in records {
                table.insert(&key[..], &value[..]).expect("a write");
            }
        }
        transaction.commit().expect("a commit");
    }
}

impl Map for Store {
    fn put(&self, key: &Key, value: &Value) {
        self.write(Durability::None, &mut std::iter::once((*key, *value)));
    }

    fn put_durably(&self, key: &Key, value: &Value) {
        self.write(Durability::Immediate, &mut std::iter::once((*key, *value)));
    }

    fn get(&self, key: &Key, look: &mut dyn FnMut(&[u8])) -> bool {
        let transaction = self.0.begin_read().expect("a transaction");
        let table = transaction.open_table(RECORDS).expect("a table");
        let found = table.get(&key[..]).expect("a read");
        found.map(|value| look(value.value())).is_some()
    }

    fn scan(&self, from: &Key, count: usize, look: &mut dyn FnMut(&[u8], &[u8])) {
        let transaction = self.0.begin_read().expect("a transaction");
        let table = transaction.open_table(RECORDS).expect("a table");
        for entry in table.range(&from[..]..).expect("a scan").take(count) {
            let (key, value) = entry.expect("an entry");
            look(key.value(), value.value());
        }
    }

    fn load(&self, records: &mut dyn Iterator<Item = (Key, Value)>) {
        let mut records = records.peekable();
        while records.peek().is_some() {
            self.write(Durability::None, &mut records.by_ref().take(BATCH));
        }
        // What was not durable is given back its space by a commit that is.
        self.write(Durability::Immediate, &mut std::iter::empty());
    }

    fn close(self: Box<Self>) {
        self.write(Durability::Immediate, &mut std::iter::empty());
    }
}
