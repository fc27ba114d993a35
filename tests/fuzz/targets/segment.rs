//! A segment. If the first bit of the first four bytes is set, all checksums are made right.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pagelog_fuzz::{limits::limited, repair};

fuzz_target!(|input: &[u8]| {
    let Some((number, rest)) = repair::split_u32(input) else { return };
    let (mut bytes, segment) = (rest.to_vec(), u64::from(number >> 1));
    if number & 1 == 1 {
        pagelog::fuzzing::repair_segment(&mut bytes, segment);
    }
    limited(input.len(), || pagelog::fuzzing::segment(&bytes, segment));
});
