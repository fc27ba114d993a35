//! A snapshot, or the pages of one range. If the first bit of the first four bytes is set, all checksums are
//! made right.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pagelog_fuzz::{limits::limited, repair};

fuzz_target!(|input: &[u8]| {
    let Some((mode, rest)) = repair::split_u32(input) else { return };
    if mode & 2 == 2 {
        limited(input.len(), || pagelog::fuzzing::range(rest, mode >> 8));
        return;
    }
    let (mut bytes, serial) = (rest.to_vec(), u64::from(mode >> 2));
    if mode & 1 == 1 {
        repair::seal_snapshot(&mut bytes, serial);
    }
    limited(input.len(), || pagelog::fuzzing::snapshot(&bytes, serial));
});
