//! Durable puts, beside a raw loop of one thread: a write of 4 KiB over blocks that were written before, and
//! a sync.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Writes, check, open, record};
use crate::child::{Role, say_with_raw};
use crate::engine::rate;
use crate::settings::Settings;
use crate::subject::RawLoop;
use crate::ycsb::key;

const THREADS: usize = 8;

pub fn measure(role: &Role, settings: &Settings) {
    let map = open(&role.engine, &role.place, Writes::Durable);
    let file = role.place.with_extension("raw");
    let raw = RawLoop::create(&file).expect("a file");
    let raw_rate = || rate(1, settings.time / 2, |_, _| raw.step());
    let put = AtomicU64::new(0);
    let before = raw_rate();
    let ours = rate(THREADS, settings.time, |_, _| {
        let (key, value) = record(put.fetch_add(1, Ordering::Relaxed));
        map.put_durably(&key, &value);
    });
    say_with_raw("durable_8", ours, f64::midpoint(before, raw_rate()));
    for number in 0..put.into_inner() {
        let key = key(number);
        assert!(map.get(&key, &mut |value| check(&key, value)), "record {number} is not there");
    }
    let _ = std::fs::remove_file(file);
    map.close();
}
