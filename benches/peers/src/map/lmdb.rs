//! LMDB, by heed.

use std::path::Path;

use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions};

use super::{BATCH, Key, Map, Value, Writes};

const MAP: usize = 16 << 30;

pub struct Store {
    /// Never dropped: the process ends with it.
    env: &'static Env,
    records: Database<'static, Bytes, Bytes>,
}

impl Store {
    pub fn open(directory: &Path, writes: Writes) -> Self {
        let mut options = EnvOpenOptions::new();
        options.map_size(MAP);
        if writes == Writes::Buffered {
            // SAFETY: a power cut may damage the file then, and nobody opens it after one.
            unsafe { options.flags(EnvFlags::NO_SYNC) };
        }
        // SAFETY: the file is this process's own; nobody changes it meanwhile.
        let env = unsafe { options.open(directory) }.expect("it opens");
        let env: &'static Env = Box::leak(Box::new(env));
        let transaction = env.write_txn().expect("a transaction");
        let created = env.create_databases_and_commit(transaction, |databases, transaction| {
            let records = databases.database_options().types::<Bytes, Bytes>().create(transaction);
            records.map(CommitOrAbort::<_, ()>::Commit)
        });
        Self { env, records: created.expect("a database").unwrap_commit() }
    }

    fn write(&self, records: &mut dyn Iterator<Item = (Key, Value)>) {
        let mut transaction = self.env.write_txn().expect("a transaction");
        for (key, value) in records {
            self.records.put(&mut transaction, &key, &value).expect("a write");
        }
        transaction.commit().expect("a commit");
    }
}

impl Map for Store {
    fn put(&self, key: &Key, value: &Value) {
        self.write(&mut std::iter::once((*key, *value)));
    }

    fn put_durably(&self, key: &Key, value: &Value) {
        self.put(key, value);
    }

    fn get(&self, key: &Key, look: &mut dyn FnMut(&[u8])) -> bool {
        let transaction = self.env.read_txn().expect("a transaction");
        let found = self.records.get(&transaction, key).expect("a read");
        found.map(look).is_some()
    }

    fn scan(&self, from: &Key, count: usize, look: &mut dyn FnMut(&[u8], &[u8])) {
        let transaction = self.env.read_txn().expect("a transaction");
        let range = (std::ops::Bound::Included(&from[..]), std::ops::Bound::Unbounded);
        for entry in self.records.range(&transaction, &range).expect("a scan").take(count) {
            let (key, value) = entry.expect("an entry");
            look(key, value);
        }
    }

    fn load(&self, records: &mut dyn Iterator<Item = (Key, Value)>) {
        let mut records = records.peekable();
        while records.peek().is_some() {
            self.write(&mut records.by_ref().take(BATCH));
        }
    }

    fn close(self: Box<Self>) {
        self.env.force_sync().expect("a sync");
    }
}
