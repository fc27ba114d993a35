//! A record: four bytes of seed, then the record. If the first bit is set, its checksum is made right.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pagelog_fuzz::{limits::limited, repair};

fuzz_target!(|input: &[u8]| {
    let Some((seed, rest)) = repair::split_u32(input) else { return };
    let mut bytes = rest.to_vec();
    if seed & 1 == 1 {
        let _ = repair::seal_record(&mut bytes, seed);
    }
    limited(input.len(), || pagelog::fuzzing::record(&bytes, seed));
});
