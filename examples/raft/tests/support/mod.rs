//! What the tests of this package share.
#![allow(dead_code, reason = "each test takes what it needs")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use openraft::{CommittedLeaderId, EntryPayload, Membership};
use pagelog::Config;
use pagelog::sim::SimStorage;
use pagelog_raft::{Command, DurablePoint, Entry, Journal, LogId, Machine, Outcome, Result};

pub type Contents = BTreeMap<String, String>;

pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16) % bound
    }
}

/// Small segments, so that they come round.
pub fn config(disk: &SimStorage) -> Config {
    Config::with_storage(Arc::new(disk.clone())).segment_size(4096).io_buffer_size(1024)
}

pub fn open_machine(disk: &SimStorage) -> Result<Machine> {
    Machine::open(config(disk).cache_capacity(256 << 10).snapshot_interval(64 << 10))
}

pub fn open_journal(disk: &SimStorage, durable: DurablePoint) -> Result<Journal> {
    Journal::open(config(disk), durable)
}

pub fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(term, 1), index)
}

pub fn normal(log_id: LogId, command: Command) -> Entry {
    Entry { log_id, payload: EntryPayload::Normal(command) }
}

pub fn membership(log_id: LogId) -> Entry {
    let members: BTreeSet<u64> = [1, 2, 3 + log_id.index % 3].into();
    Entry { log_id, payload: EntryPayload::Membership(Membership::new(vec![members], None)) }
}

/// What an entry does, in other words than the machine's.
pub fn execute(contents: &mut Contents, entry: &Entry) -> Outcome {
    let EntryPayload::Normal(command) = &entry.payload else { return Outcome::default() };
    let previous = match command {
        Command::Put { key, value } => contents.insert(key.clone(), value.clone()),
        Command::Delete { key } => contents.remove(key),
        Command::Add { key, by } => {
            let number = contents.get(key).and_then(|text| text.parse().ok()).unwrap_or(0) + by;
            contents.insert(key.clone(), number.to_string())
        }
    };
    Outcome { previous }
}

/// The bytes of a snapshot.
pub fn snapshot_of(contents: &Contents) -> Vec<u8> {
    bincode::serialize(contents).unwrap()
}
