//! RocksDB.

use std::path::Path;

use rocksdb::{
    BlockBasedOptions, Cache, DB, DBCompressionType, Direction, IteratorMode, Options, WriteOptions,
};

use super::{AMPLE, Key, Map, Value};

pub struct Store(DB);

impl Store {
    pub fn open(directory: &Path) -> Self {
        let mut blocks = BlockBasedOptions::default();
        blocks.set_block_cache(&Cache::new_lru_cache(AMPLE as usize).expect("a cache"));
        blocks.set_bloom_filter(10.0, false);
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_block_based_table_factory(&blocks);
        options.increase_parallelism(2);
        // Some builds of the library compress by default, and others can't.
        options.set_compression_type(DBCompressionType::None);
        Self(DB::open(&options, directory).expect("it opens"))
    }
}

impl Map for Store {
    fn put(&self, key: &Key, value: &Value) {
        self.0.put(key, value).expect("a write");
    }

    fn put_durably(&self, key: &Key, value: &Value) {
        let mut options = WriteOptions::default();
        options.set_sync(true);
        self.0.put_opt(key, value, &options).expect("a write");
    }

    fn get(&self, key: &Key, look: &mut dyn FnMut(&[u8])) -> bool {
        let found = self.0.get_pinned(key).expect("a read");
        found.map(|value| look(&value)).is_some()
    }

    fn scan(&self, from: &Key, count: usize, look: &mut dyn FnMut(&[u8], &[u8])) {
        for entry in self.0.iterator(IteratorMode::From(from, Direction::Forward)).take(count) {
            let (key, value) = entry.expect("an entry");
            look(&key, &value);
        }
    }

    fn close(self: Box<Self>) {
        self.0.flush_wal(true).expect("a sync");
        self.0.flush().expect("a flush");
    }
}
