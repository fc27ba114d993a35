//! Numbers of variable length: LEB128, the lowest seven bits first, the top bit of a byte says that more
//! follow.
//!
//! - **A.** Every number has exactly one form: [`read`] refuses a last byte of zero (except in the number 0
//!   itself) and anything above 64 bits. So an equal value means equal bytes, and a checksum over the bytes
//!   is one over the value.
//! - **B.** [`put`] spreads a number below 2⁵⁶ over a word without a loop and stores the whole word. It may
//!   write up to seven bytes more than it reports, never past the end of the slice it was given; its caller
//!   goes on to fill those. On mixed lengths a byte loop costs a mispredicted branch per number, which a
//!   record of 60 bytes notices.

/// The longest form: 64 bits in groups of seven.
pub(crate) const MAX_LENGTH: usize = 10;

/// Numbers below this fit in the eight bytes of a word.
const WORD_LIMIT: u64 = 1 << 56;

/// How many bytes a number takes.
#[inline]
pub(crate) const fn length(value: u64) -> usize {
    // ⌈bits / 7⌉ without a division: 9/64 is a hair above 1/7, and stays right up to 64 bits.
    let highest_bit = 63 - (value | 1).leading_zeros();
    ((highest_bit * 9 + 73) / 64) as usize
}

/// Writes a number at `at` and returns the position behind it. Bytes behind it may be overwritten: see B.
///
/// What does not fit in `bytes` is not written.
#[inline]
pub(crate) fn put(bytes: &mut [u8], at: usize, value: u64) -> usize {
    if value < WORD_LIMIT
        && let Some(word) = bytes.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<8>)
    {
        let length = length(value);
        let continuation = 0x8080_8080_8080_8080 & ((1 << (8 * (length - 1))) - 1);
        *word = (spread(value) | continuation).to_le_bytes();
        return at + length;
    }
    put_bytewise(bytes, at, value)
}

/// Puts each group of seven bits in a byte of its own, halving the groups from 28 bits over 14 to 7.
#[inline]
const fn spread(value: u64) -> u64 {
    let value = (value & 0x0000_0000_0FFF_FFFF) | ((value & 0x00FF_FFFF_F000_0000) << 4);
    let value = (value & 0x0000_3FFF_0000_3FFF) | ((value & 0x0FFF_C000_0FFF_C000) << 2);
    (value & 0x007F_007F_007F_007F) | ((value & 0x3F80_3F80_3F80_3F80) << 1)
}

fn put_bytewise(bytes: &mut [u8], mut at: usize, mut value: u64) -> usize {
    loop {
        let more = value >= 0x80;
        if let Some(byte) = bytes.get_mut(at) {
            *byte = (value as u8 & 0x7F) | (u8::from(more) << 7);
        }
        at += 1;
        value >>= 7;
        if !more {
            return at;
        }
    }
}

/// Appends a number.
pub(crate) fn push(to: &mut Vec<u8>, value: u64) {
    let mut buffer = [0; MAX_LENGTH];
    let length = put(&mut buffer, 0, value);
    to.extend(buffer.iter().take(length));
}

/// The number at the front of `bytes` and its length, or `None` if there is none, or one in a form that is
/// not ours.
#[inline]
pub(crate) fn read(bytes: &[u8]) -> Option<(u64, usize)> {
    match *bytes {
        [byte, ..] if byte < 0x80 => Some((u64::from(byte), 1)),
        // A second byte of zero is not ours.
        [low, high, ..] if high < 0x80 && high != 0 => {
            Some((u64::from(low & 0x7F) | u64::from(high) << 7, 2))
        }
        _ => read_long(bytes),
    }
}

fn read_long(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0;
    for (index, &byte) in bytes.iter().take(MAX_LENGTH).enumerate() {
        let group = u64::from(byte & 0x7F);
        if index == MAX_LENGTH - 1 && byte > 1 {
            return None;
        }
        value |= group << (7 * index);
        if byte < 0x80 {
            return (index == 0 || byte != 0).then_some((value, index + 1));
        }
    }
    None
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::{MAX_LENGTH, length, push, put, put_bytewise, read};

    fn encode(value: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        push(&mut bytes, value);
        bytes
    }

    #[test]
    fn golden_forms() {
        assert_eq!(encode(0), [0]);
        assert_eq!(encode(127), [127]);
        assert_eq!(encode(128), [0x80, 1]);
        assert_eq!(encode(300), [0xAC, 2]);
        assert_eq!(encode(u64::from(u32::MAX)), [0xFF, 0xFF, 0xFF, 0xFF, 0x0F]);
        assert_eq!(encode(u64::MAX), [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1]);
    }

    #[test]
    fn all_edges_of_the_groups_survive() {
        for bit in 0..64 {
            for value in [(1_u64 << bit) - 1, 1 << bit, (1 << bit) | 1, u64::MAX >> bit] {
                let bytes = encode(value);
                assert_eq!(bytes.len(), length(value), "{value:#x}");
                assert_eq!(read(&bytes), Some((value, bytes.len())), "{value:#x}");
            }
        }
    }

    #[test]
    fn forms_that_are_not_canonical_are_refused() {
        for bytes in [
            &[][..],
            &[0x80],
            &[0x80, 0],
            &[0xFF, 0x80, 0],
            &[0xFF; 10],
            &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 2],
            &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1],
        ] {
            assert_eq!(read(bytes), None, "{bytes:x?}");
        }
    }

    #[test]
    fn nothing_is_written_past_the_end_of_a_slice_that_is_too_short() {
        let mut bytes = [0xEE; 4];
        assert_eq!(put(&mut bytes[..2], 0, 1 << 30), 5);
        assert_eq!(bytes[2..], [0xEE; 2]);
        assert_eq!(put(&mut bytes[..2], 9, 5), 10);
    }

    proptest! {
        #[test]
        fn the_word_form_and_the_byte_form_agree(value in any::<u64>(), shift in 0_u32..64) {
            let value = value >> shift;
            let (mut quick, mut plain) = ([0; 16], [0; 16]);
            let end = put(&mut quick, 1, value);
            prop_assert_eq!(put_bytewise(&mut plain, 1, value), end);
            prop_assert_eq!(&quick[..end], &plain[..end]);
            prop_assert_eq!(read(&quick[1..]), Some((value, end - 1)));
            prop_assert_eq!(length(value), end - 1);
        }

        #[test]
        fn whatever_is_read_writes_back_to_the_same_bytes(bytes in any::<[u8; MAX_LENGTH]>()) {
            if let Some((value, length)) = read(&bytes) {
                prop_assert!(length <= bytes.len());
                prop_assert_eq!(&encode(value)[..], &bytes[..length]);
            }
        }
    }
}
