//! A store that is damaged and not repaired: an error, or what was in it, down to what was proven.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use pagelog_fuzz::golden::Golden;
use pagelog_fuzz::limits::limited;
use pagelog_fuzz::mutation::{damaged, stores};

static STORES: LazyLock<Vec<Golden>> = LazyLock::new(stores);

fuzz_target!(|input: &[u8]| {
    let Some((golden, files)) = damaged(&STORES, input) else { return };
    let length = files.values().map(Vec::len).sum();
    limited(length, || _ = golden.judge_any(&files, input.len().is_multiple_of(2)));
});
