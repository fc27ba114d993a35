//! sled.

use std::path::Path;

use sled::{Config, Db};

use super::{AMPLE, Key, Map, Value};

pub struct Store(Db);

impl Store {
    pub fn open(directory: &Path) -> Self {
        Self(Config::new().path(directory).cache_capacity(AMPLE).open().expect("it opens"))
    }
}

impl Map for Store {
    fn put(&self, key: &Key, value: &Value) {
        self.0.insert(key, &value[..]).expect("a write");
    }

    fn put_durably(&self, key: &Key, value: &Value) {
        self.put(key, value);
        self.0.flush().expect("a flush");
    }

    fn get(&self, key: &Key, look: &mut dyn FnMut(&[u8])) -> bool {
        let found = self.0.get(key).expect("a read");
        found.map(|value| look(&value)).is_some()
    }

    fn scan(&self, from: &Key, count: usize, look: &mut dyn FnMut(&[u8], &[u8])) {
        for entry in self.0.range(&from[..]..).take(count) {
            let (key, value) = entry.expect("an entry");
            look(&key, &value);
        }
    }

    fn close(self: Box<Self>) {
        self.0.flush().expect("a flush");
    }
}
