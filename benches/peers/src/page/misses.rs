//! Gets of pages that are not in memory, of one record each. The cache has a twentieth of the data; the files
//! are in the operating system's cache. Beside them bare positioned reads of as many bytes, in turns of a
//! quarter of the time.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::{create, open};
use crate::child::{Role, say_with_raw};
use crate::engine::{BASE, Random, rate, read_some};
use crate::settings::Settings;

/// What a page's record takes in a file, about.
const RECORD: usize = BASE + 12;
/// What pagelog, whose budget includes them, has of nodes for each page.
const NODE: usize = 48;
const TURNS: u32 = 4;

pub fn measure(role: &Role, settings: &Settings) {
    let pages = settings.pages;
    create(&role.engine, &role.place, pages, BASE).close();
    let nodes = if role.engine == "pagelog" { NODE * pages } else { 0 };
    let store = open(&role.engine, &role.place, pages, (nodes + pages * BASE / 20) as u64);
    let file = role.place.with_extension("raw");
    let raw = File::options().read(true).write(true).create(true).truncate(true).open(&file).expect("a file");
    raw.write_all_at(&vec![7; pages * RECORD], 0).expect("a write");
    let read_raw = |_, random: &mut Random| {
        let mut buffer = [0; RECORD];
        raw.read_exact_at(&mut buffer, (random.below(pages) * RECORD) as u64).expect("a read");
        assert_eq!(buffer[17], 7);
    };
    let read = |_, random: &mut Random| read_some(&*store, pages, random);
    // Until the cache is full, and what is evicted has been seen before.
    rate(1, settings.time / 2, read);
    let (mut ours, mut bare) = (0.0, 0.0);
    for _ in 0..TURNS {
        bare += rate(1, settings.time / TURNS, read_raw);
        ours += rate(1, settings.time / TURNS, read);
    }
    let each = f64::from(TURNS) * 1e3;
    say_with_raw("miss", ours * store.miss_share() / each, bare / each);
    let _ = std::fs::remove_file(file);
}
