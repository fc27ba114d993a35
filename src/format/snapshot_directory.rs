//! The directory of a [`snapshot`](crate::format::snapshot): where the block of each range lies.
//!
//! ```text
//!  for each range that has pages, by rising numbers:
//!  range       varint  the first as it is, then the difference to the one before
//!  age         varint  serial of this file - serial of the file that holds the block
//!  offset      varint  where the block begins there
//!  length      varint  of the whole block
//!  checksum    u32     the block's
//! ```
//!
//! It takes about 12 bytes for each range, where the range itself takes some 2000, so that it is written as a
//! whole each time.

use crate::format::fields::FieldReader;
use crate::format::snapshot::{BLOCK_HEADER_LENGTH, HEADER_LENGTH};
use crate::format::varint;
use crate::ids::{PageId, RangeId};

type Reason = &'static str;

/// Where the newest block of a range lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockPlace {
    pub(crate) range: RangeId,
    /// The file.
    pub(crate) serial: u64,
    pub(crate) offset: u64,
    /// Of the whole block.
    pub(crate) length: u32,
    pub(crate) checksum: u32,
}

impl BlockPlace {
    /// The offset behind the block.
    pub(crate) const fn end(&self) -> u64 {
        self.offset.saturating_add(self.length as u64)
    }
}

/// Appends a directory of the file with that serial. Ranges rise.
pub(super) fn encode_directory(into: &mut Vec<u8>, serial: u64, places: &[BlockPlace]) {
    let mut previous = 0;
    for place in places {
        debug_assert!(place.serial <= serial && (previous == 0 || place.range.0 > previous));
        let range = u64::from(place.range.0 - previous);
        for number in [range, serial - place.serial, place.offset, u64::from(place.length)] {
            varint::push(into, number);
        }
        into.extend(place.checksum.to_le_bytes());
        previous = place.range.0;
    }
}

/// Reads the directory of the file with that serial, which begins at `offset` of it.
pub(super) fn decode_directory(body: &[u8], serial: u64, offset: u64) -> Result<Vec<BlockPlace>, Reason> {
    let (mut fields, mut places) = (FieldReader::new(body), Vec::new());
    let mut lowest = 0;
    // Where the file's own blocks go on.
    let mut filled = (BLOCK_HEADER_LENGTH + HEADER_LENGTH) as u64;
    while !fields.rest().is_empty() {
        let previous = places.last().map_or(0, |place: &BlockPlace| place.range.0);
        let place = decode_place(&mut fields, serial, previous);
        let place = place.filter(|place| u64::from(place.range.0) >= lowest);
        let place = place.ok_or("the directory names an impossible block")?;
        if place.serial == serial {
            if place.offset != filled {
                return Err("the file's own blocks do not follow one another");
            }
            filled = place.end();
        }
        lowest = u64::from(place.range.0) + 1;
        places.push(place);
    }
    if filled == offset { Ok(places) } else { Err("there is something between the ranges and the directory") }
}

fn decode_place(fields: &mut FieldReader<'_>, serial: u64, previous: u32) -> Option<BlockPlace> {
    let range = u64::from(previous).checked_add(fields.varint()?)?;
    let range = RangeId(u32::try_from(range).ok()?);
    let serial = serial.checked_sub(fields.varint()?)?;
    let (offset, length) = (fields.varint()?, u32::try_from(fields.varint()?).ok()?);
    let checksum = fields.u32()?;
    let place = BlockPlace { range, serial, offset, length, checksum };
    let is_possible = range.first().0 < PageId::LIMIT
        && length as usize > BLOCK_HEADER_LENGTH
        && offset.checked_add(u64::from(length)).is_some();
    is_possible.then_some(place)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{BlockPlace, decode_directory, encode_directory};
    use crate::ids::RangeId;

    fn place(range: u32, serial: u64, offset: u64, length: u32) -> BlockPlace {
        BlockPlace { range: RangeId(range), serial, offset, length, checksum: 0x0403_0201 }
    }

    fn encoded(places: &[BlockPlace]) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode_directory(&mut bytes, 9, places);
        bytes
    }

    #[test]
    fn golden_bytes() {
        let places = [place(0, 9, 73, 20), place(7, 4, 300, 500), place(8, 9, 93, 10)];
        let expected: [&[u8]; 3] =
            [&[0, 0, 73, 20, 1, 2, 3, 4], &[7, 5, 0xAC, 2, 0xF4, 3, 1, 2, 3, 4], &[1, 0, 93, 10, 1, 2, 3, 4]];
        assert_eq!(encoded(&places), expected.concat());
        assert_eq!(decode_directory(&expected.concat(), 9, 103), Ok(places.to_vec()));
        assert_eq!(decode_directory(&[], 9, 73), Ok(vec![]));
    }

    #[test]
    fn a_directory_that_names_nonsense_is_refused() {
        let most = u64::MAX - 5;
        let nonsense = [
            // A block without a body, one that ends beyond all numbers, and ranges that no page is in.
            vec![place(0, 4, 100, 9)],
            vec![place(0, 4, most, 20)],
            vec![place(u32::MAX, 4, 100, 20)],
            // The file's own blocks leave a gap, overlap, or do not reach the directory.
            vec![place(0, 9, 74, 20)],
            vec![place(0, 9, 73, 20), place(1, 9, 92, 11)],
            vec![place(0, 9, 73, 20), place(1, 9, 93, 9 + 2)],
        ];
        for places in nonsense {
            assert!(decode_directory(&encoded(&places), 9, 103).is_err(), "{places:?}");
        }
        // The same range twice, a file that is newer than this one, a range that is none, and a cut.
        let twice = [encoded(&[place(3, 4, 100, 20)]), vec![0, 5, 100, 20, 1, 2, 3, 4]].concat();
        assert!(decode_directory(&twice, 9, 73).is_err());
        assert!(decode_directory(&[0, 10, 73, 20, 1, 2, 3, 4], 9, 73).is_err());
        assert!(decode_directory(&[0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 5, 73, 20, 1, 2, 3, 4], 9, 73).is_err());
        let good = encoded(&[place(0, 4, 100, 20)]);
        assert!((1..good.len()).all(|length| decode_directory(&good[..length], 9, 73).is_err()));
    }
}
