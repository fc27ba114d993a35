//! A store that is damaged, and whose checksums are made right. There is no telling what is in it; but it
//! opens or it does not, with an error of the right kind; it can be read, written, checked and opened again;
//! and nothing panics.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use pagelog_fuzz::golden::{Golden, exercise};
use pagelog_fuzz::limits::limited_beside_disk;
use pagelog_fuzz::mutation::{damaged, stores};
use pagelog_fuzz::repair::repair;

static STORES: LazyLock<Vec<Golden>> = LazyLock::new(stores);

fuzz_target!(|input: &[u8]| {
    let Some((golden, mut files)) = damaged(&STORES, input) else { return };
    repair(&mut files, &golden.files);
    let length = files.values().map(Vec::len).sum();
    limited_beside_disk(length, || exercise(&files, golden.pages));
});
