//! Ordered maps: the engines, and what is measured of them.
//!
//! Keys are of 16 bytes, values of 100. A value begins with its key, so whatever is read can be checked.

mod bf_tree;
mod durable;
mod fjall;
mod lmdb;
mod load;
mod pagelog;
mod redb;
#[cfg(feature = "rocksdb")]
mod rocksdb;
mod sled;
mod workloads;

use std::path::Path;

use crate::child::Role;
use crate::settings::Settings;

/// More than everything takes.
const AMPLE: u64 = 4 << 30;
/// Bytes of a key.
const KEY: usize = 16;
/// Bytes of a value.
const VALUE: usize = 100;
/// How many records a transaction of a load has, with engines that want transactions.
const BATCH: usize = 1000;

type Key = [u8; KEY];
type Value = [u8; VALUE];

/// An ordered map.
pub trait Map: Sync {
    /// Gives a key a value; buffered.
    fn put(&self, key: &Key, value: &Value);

    /// Gives a key a value that survives a power cut when this returns.
    fn put_durably(&self, key: &Key, value: &Value);

    /// Shows the value of a key. False if there is none.
    fn get(&self, key: &Key, look: &mut dyn FnMut(&[u8])) -> bool;

    /// Shows so many entries from a key upwards, in order.
    fn scan(&self, from: &Key, count: usize, look: &mut dyn FnMut(&[u8], &[u8]));

    /// Gives keys values, in transactions if the engine advises that.
    fn load(&self, records: &mut dyn Iterator<Item = (Key, Value)>) {
        records.for_each(|(key, value)| self.put(&key, &value));
    }

    /// Makes everything survive, and closes.
    fn close(self: Box<Self>);
}

/// What of its durability an engine is opened with, where that can't be said for each write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writes {
    Buffered,
    Durable,
}

fn open(engine: &str, directory: &Path, writes: Writes) -> Box<dyn Map> {
    std::fs::create_dir_all(directory).expect("a directory");
    match engine {
        "pagelog" => Box::new(pagelog::Store::open(directory)),
        "sled" => Box::new(sled::Store::open(directory)),
        "redb" => Box::new(redb::Store::open(directory)),
        "fjall" => Box::new(fjall::Store::open(directory)),
        "lmdb" => Box::new(lmdb::Store::open(directory, writes)),
        "bf-tree" => Box::new(bf_tree::Store::open(directory)),
        #[cfg(feature = "rocksdb")]
        "rocksdb" => Box::new(rocksdb::Store::open(directory)),
        other => panic!("no such engine: {other}"),
    }
}

/// The record of a number: a key that looks random, and a value that begins with it.
fn record(number: u64) -> (Key, Value) {
    let key = crate::ycsb::key(number);
    (key, value_of(&key))
}

fn value_of(key: &Key) -> Value {
    let mut value = [b'v'; VALUE];
    value[..KEY].copy_from_slice(key);
    value
}

/// That a value is a value, and the key's.
fn check(key: &[u8], value: &[u8]) {
    assert_eq!(value.len(), VALUE);
    assert_eq!(&value[..KEY], key);
}

/// Measures a group's cells.
pub fn measure(role: &Role, settings: &Settings) {
    match role.group.as_str() {
        "ycsb_1" => workloads::measure(role, settings, 1),
        "ycsb_2" => workloads::measure(role, settings, 2),
        "durable" => durable::measure(role, settings),
        "load" => load::measure(role, settings),
        other => panic!("no such group: {other}"),
    }
}
