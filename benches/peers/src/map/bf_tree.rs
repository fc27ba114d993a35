//! bf-tree.

use std::path::{Path, PathBuf};

use bf_tree::{BfTree, Config, LeafInsertResult, LeafReadResult, ScanReturnField};

use super::{KEY, Key, Map, VALUE, Value};

/// Its circular buffer, which holds all records here.
const BUFFER: usize = 1 << 30;

pub struct Store {
    tree: BfTree,
    snapshot: PathBuf,
}

impl Store {
    pub fn open(directory: &Path) -> Self {
        let snapshot = directory.join("snapshot");
        if snapshot.exists() {
            let tree = BfTree::new_from_cpr_snapshot(&snapshot, true, None, Some(BUFFER), None);
            return Self { tree: tree.expect("it opens"), snapshot: directory.join("snapshot again") };
        }
        let mut config = Config::new(directory.join("pages"), BUFFER);
        config.use_snapshot(true).cb_max_key_len(KEY);
        Self { tree: BfTree::with_config(config, None).expect("it opens"), snapshot }
    }
}

impl Map for Store {
    fn put(&self, key: &Key, value: &Value) {
        assert_eq!(self.tree.insert(key, value), LeafInsertResult::Success);
    }

    fn put_durably(&self, _: &Key, _: &Value) {
        unimplemented!("its log is never synced");
    }

    fn get(&self, key: &Key, look: &mut dyn FnMut(&[u8])) -> bool {
        let mut buffer = [0; VALUE];
        match self.tree.read(key, &mut buffer) {
            LeafReadResult::Found(length) => {
                look(&buffer[..length as usize]);
                true
            }
            _ => false,
        }
    }

    fn scan(&self, from: &Key, count: usize, look: &mut dyn FnMut(&[u8], &[u8])) {
        let mut buffer = [0; KEY + VALUE];
        let mut entries =
            self.tree.scan_with_count(from, count, ScanReturnField::KeyAndValue).expect("a scan");
        while let Some((key, value)) = entries.next(&mut buffer) {
            look(&buffer[..key], &buffer[key..key + value]);
        }
    }

    fn close(self: Box<Self>) {
        self.tree.cpr_snapshot(&self.snapshot);
    }
}
