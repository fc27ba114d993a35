//! A random load: how quickly, what it writes, closing included, what the files take then, and how long
//! opening takes, in a process of its own and with the files in the operating system's cache.

use std::time::Instant;

use super::{KEY, VALUE, Writes, check, open, record};
use crate::child::{Role, say};
use crate::settings::Settings;
use crate::system::{on_disk, read_all, written};
use crate::ycsb::key;

pub fn measure(role: &Role, settings: &Settings) {
    let records = settings.records;
    match role.step.as_str() {
        "" => {}
        "load" => return load(role, records),
        _ => return time_opening(role, records),
    }
    let loaded = role.step("load", &role.place).run();
    let live = records as f64 * (KEY + VALUE) as f64;
    say("load_rate", records as f64 / loaded[0] / 1e3);
    say("load_written", loaded[1] / live);
    say("load_space", on_disk(&role.place) as f64 / live);
    read_all(&role.place);
    say("load_open", role.step("open", &role.place).run()[0]);
}

/// Prints the seconds that loading took, and the bytes written until the store was closed.
fn load(role: &Role, records: u64) {
    let map = open(&role.engine, &role.place, Writes::Buffered);
    let (before, start) = (written(), Instant::now());
    map.load(&mut (0..records).map(record));
    let seconds = start.elapsed().as_secs_f64();
    map.close();
    println!("{seconds} {}", written() - before);
}

/// Prints the milliseconds that opening takes and the first read, and looks at some records then.
fn time_opening(role: &Role, records: u64) {
    let start = Instant::now();
    let map = open(&role.engine, &role.place, Writes::Buffered);
    let read = |number: u64| {
        let key = key(number);
        assert!(map.get(&key, &mut |value| check(&key, value)), "record {number} is not there");
    };
    read(0);
    println!("{}", start.elapsed().as_secs_f64() * 1e3);
    (0..records).step_by(101).for_each(read);
}
