//! The core workloads of YCSB, scans and insertions, on one store after the other: first those that do not
//! insert.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::{KEY, Map, Writes, check, open, record, value_of};
use crate::child::{Role, say};
use crate::rate::rate_from;
use crate::settings::Settings;
use crate::ycsb::{LONGEST_SCAN, Operation, Random, WORKLOADS, Workload, Zipf, key};

/// A store, and what is known of its records.
struct Field {
    map: Box<dyn Map>,
    /// How many records there were at first: all of these are there.
    records: u64,
    /// How many records there are, or will be in a moment.
    inserted: AtomicU64,
    zipf: Zipf,
}

pub fn measure(role: &Role, settings: &Settings, threads: usize) {
    let map = open(&role.engine, &role.place, Writes::Buffered);
    let records = settings.records;
    map.load(&mut (0..records).map(record));
    let field = Field { map, records, inserted: AtomicU64::new(records), zipf: Zipf::new(records) };
    let rate = |operation: &(dyn Fn(&mut Random) + Sync)| {
        // A little before it counts: caches and buffers are those of the last workload.
        run(threads, settings.time / 4, operation);
        run(threads, settings.time, operation) / 1e3
    };
    for workload in &WORKLOADS {
        let cell = format!("{}_{threads}", workload.name.to_lowercase());
        say(&cell, rate(&|random| field.operation(workload, random)));
    }
    say(&format!("scan_{threads}"), rate(&|random| field.scan(random, LONGEST_SCAN as usize)));
    say(&format!("insert_{threads}"), rate(&|_| field.insert()));
    field.check();
    field.map.close();
}

/// Operations per second of some threads, with other random numbers in each run.
fn run(threads: usize, time: Duration, operation: &(dyn Fn(&mut Random) + Sync)) -> f64 {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    rate_from(run * 64, threads, time, |_, random| operation(random))
}

impl Field {
    fn operation(&self, workload: &Workload, random: &mut Random) {
        match workload.draw(&self.zipf, self.inserted.load(Ordering::Relaxed), random) {
            Operation::Insert => self.insert(),
            Operation::Read(number) => self.read(number),
            Operation::Update(number) => {
                let (key, value) = record(number);
                self.map.put(&key, &value);
            }
            Operation::ReadModifyWrite(number) => self.read_modify_write(number),
            Operation::Scan(number, count) => self.scan_from(number, count),
        }
    }

    fn insert(&self) {
        let (key, value) = record(self.inserted.fetch_add(1, Ordering::Relaxed));
        self.map.put(&key, &value);
    }

    fn read(&self, number: u64) {
        let key = key(number);
        let found = self.map.get(&key, &mut |value| check(&key, value));
        // Another thread may be about to insert the newest ones.
        assert!(found || number >= self.records, "record {number} is not there");
    }

    fn read_modify_write(&self, number: u64) {
        let key = key(number);
        let mut copy = value_of(&key);
        let found = self.map.get(&key, &mut |value| {
            check(&key, value);
            copy.copy_from_slice(value);
        });
        assert!(found, "record {number} is not there");
        copy[KEY..].iter_mut().for_each(|byte| *byte = byte.wrapping_add(1));
        self.map.put(&key, &copy);
    }

    fn scan(&self, random: &mut Random, count: usize) {
        self.scan_from(self.zipf.draw(random), count);
    }

    /// Scans from a record that is there, and checks that entries are in order.
    fn scan_from(&self, number: u64, count: usize) {
        let from = key(number);
        let (mut last, mut seen) = ([0; KEY], 0);
        self.map.scan(&from, count, &mut |key, value| {
            check(key, value);
            assert!(if seen == 0 { *key == from } else { *key > last[..] });
            last.copy_from_slice(key);
            seen += 1;
        });
        // Only at the very end there are fewer.
        assert!(seen == count || last[0] == b'f', "{seen} of {count} entries");
    }

    /// Some of the records, old and new, are there; and scans here and there show neither more nor less than
    /// there should be.
    fn check(&self) {
        let inserted = self.inserted.load(Ordering::Relaxed);
        let mut keys: Vec<_> = (0..inserted).map(key).collect();
        for key in keys.iter().step_by(101) {
            assert!(self.map.get(key, &mut |value| check(key, value)), "{key:?} is not there");
        }
        keys.sort_unstable();
        for start in (0..keys.len()).step_by(keys.len() / 20 + 1) {
            let expected = &keys[start..keys.len().min(start + 1000)];
            let mut seen = Vec::new();
            self.map.scan(&expected[0], expected.len(), &mut |key, value| {
                check(key, value);
                seen.push(key.to_vec());
            });
            assert!(seen.iter().eq(expected.iter()), "a scan from {:?}", expected[0]);
        }
    }
}
