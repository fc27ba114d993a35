//! The name and the pointer of a large value.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pagelog_fuzz::limits::limited;

fuzz_target!(|input: &[u8]| {
    let name = String::from_utf8_lossy(input);
    limited(input.len(), || pagelog::fuzzing::large(input, &name));
});
