//! A manifest. If the first bit of the first four bytes is set, all frames have the right checksums. Of each
//! 512 bytes of a frame the input has only the first so many, so it need not spend most of itself on zeros.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pagelog_fuzz::{limits::limited, repair};

fuzz_target!(|input: &[u8]| {
    let Some((mode, rest)) = repair::split_u32(input) else { return };
    let mut bytes = rest.to_vec();
    if mode & 2 == 2 {
        bytes.clear();
        for frame in rest.chunks(128) {
            let mut whole = frame.to_vec();
            whole.resize(512, 0);
            // Both copies.
            bytes.extend([whole.clone(), whole].concat());
        }
    }
    if mode & 1 == 1 {
        repair::seal_frames(&mut bytes);
    }
    limited(bytes.len(), || pagelog::fuzzing::manifest(&bytes));
});
