//! A large value: the file that holds it, and the record that points there.
//!
//! ```text
//!  the file
//!  0      4        8                16         32       40        48        56       60      64
//!  +------+--------+----------------+----------+--------+---------+---------+--------+-------+--------------+
//!  | crc  | "PLBV" | format version | store id | number | page id | version | length | check | value        |
//!  | u32  |        | u32, flags u32 | 16 bytes | u64    | u64     | u64     | u32    | u32   | length bytes |
//!  +------+--------+----------------+----------+--------+---------+---------+--------+-------+--------------+
//!
//!  the payload of its record
//!  0        8        12      16
//!  +--------+--------+-------+
//!  | number | length | check |
//!  | u64    | u32    | u32   |
//!  +--------+--------+-------+
//! ```
//!
//! `crc` covers the header. `check` covers the value and is seeded like a record, with the number in the
//! place of the segment and offset 0, so the bytes of another number never verify. Flag 1: the value is
//! compressed; the record says the same by its tag.
//!
//! The *name* says number, page and version, so who looks for files that nobody needs has to read no file,
//! and no torn header can hide whose it was.

use crate::format::checksum::{RecordSeed, checksum};
use crate::format::fields::FieldReader;
use crate::format::store_id::StoreId;
use crate::ids::{PageId, SegmentId, Version};

/// The bytes before the value.
pub(crate) const LARGE_HEADER: usize = 64;
/// The payload of a record that points to a file.
pub(crate) const POINTER_LENGTH: usize = 16;
/// No value is longer.
pub(crate) const LARGEST_VALUE: usize = 1 << 30;

const MAGIC: [u8; 4] = *b"PLBV";
const VERSION: u32 = 1;
const COMPRESSED: u32 = 1;
const PREFIX: &str = "blob-";

/// Which file a large value is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LargeName {
    /// Never used twice.
    pub(crate) number: u64,
    /// Whose record points there.
    pub(crate) page_id: PageId,
    pub(crate) version: Version,
}

impl LargeName {
    pub(crate) fn file(&self) -> String {
        format!("{PREFIX}{:016x}-{:08x}-{:016x}", self.number, self.page_id.0, self.version.0)
    }

    /// `None` for the names of other files.
    pub(crate) fn parse(file: &str) -> Option<Self> {
        let mut parts = file.strip_prefix(PREFIX)?.split('-').map(|part| u64::from_str_radix(part, 16).ok());
        let (number, page_id, version) = (parts.next()??, parts.next()??, parts.next()??);
        let name = Self { number, page_id: PageId(page_id), version: Version(version) };
        (page_id < PageId::LIMIT && name.file() == file).then_some(name)
    }
}

/// What a record says of the file that holds its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LargePointer {
    pub(crate) number: u64,
    pub(crate) length: u32,
    pub(crate) check: u32,
}

impl LargePointer {
    pub(crate) fn new(seed: RecordSeed, number: u64, value: &[u8]) -> Self {
        // At most LARGEST_VALUE.
        Self { number, length: value.len() as u32, check: value_check(seed, number, value) }
    }

    pub(crate) fn encode(&self) -> [u8; POINTER_LENGTH] {
        let mut bytes = [0; POINTER_LENGTH];
        let number = self.number.to_le_bytes().into_iter();
        let fields = number.chain(self.length.to_le_bytes()).chain(self.check.to_le_bytes());
        bytes.iter_mut().zip(fields).for_each(|(into, byte)| *into = byte);
        bytes
    }

    /// `None` if no writer of this format makes such a payload.
    pub(crate) fn decode(payload: &[u8]) -> Option<Self> {
        let mut fields = FieldReader::new(payload);
        let found = Self { number: fields.u64()?, length: fields.u32()?, check: fields.u32()? };
        (fields.rest().is_empty() && found.length as usize <= LARGEST_VALUE).then_some(found)
    }

    /// The length of the whole file.
    pub(crate) fn file_length(&self) -> u64 {
        u64::from(self.length) + LARGE_HEADER as u64
    }
}

/// The checksum of a value.
pub(crate) fn value_check(seed: RecordSeed, number: u64, value: &[u8]) -> u32 {
    checksum(seed.at(SegmentId(number), 0), value)
}

/// The bytes before the value.
pub(crate) fn encode_large_header(
    store_id: StoreId,
    name: &LargeName,
    pointer: &LargePointer,
    compressed: bool,
) -> [u8; LARGE_HEADER] {
    let mut header = Vec::with_capacity(LARGE_HEADER);
    header.extend(MAGIC);
    header.extend(VERSION.to_le_bytes());
    header.extend(if compressed { COMPRESSED } else { 0 }.to_le_bytes());
    header.extend(store_id.0);
    header.extend(name.number.to_le_bytes());
    header.extend(name.page_id.0.to_le_bytes());
    header.extend(name.version.0.to_le_bytes());
    header.extend(pointer.length.to_le_bytes());
    header.extend(pointer.check.to_le_bytes());
    let crc = checksum(0, &header);
    let mut bytes = [0; LARGE_HEADER];
    bytes.iter_mut().zip(crc.to_le_bytes().into_iter().chain(header)).for_each(|(into, byte)| *into = byte);
    bytes
}

/// What is wrong with a file's header, if anything: it must be exactly what a writer would have written.
pub(crate) fn large_header_fault(found: &[u8], expected: &[u8; LARGE_HEADER]) -> Option<&'static str> {
    if found == expected {
        return None;
    }
    let mut fields = FieldReader::new(found);
    let matches = fields.u32().is_some_and(|crc| checksum(0, fields.rest()) == crc);
    Some(if matches {
        "the header is of another large value"
    } else {
        "the header of a large value does not match its checksum"
    })
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{
        LARGE_HEADER, LARGEST_VALUE, LargeName, LargePointer, encode_large_header, large_header_fault,
    };
    use crate::format::checksum::RecordSeed;
    use crate::format::store_id::StoreId;
    use crate::ids::{PageId, Version};

    const STORE: StoreId = StoreId(*b"0123456789abcdef");
    const NAME: LargeName = LargeName { number: 7, page_id: PageId(300), version: Version(5) };

    #[test]
    fn golden_bytes() {
        let pointer = LargePointer::new(RecordSeed::new(STORE), 7, b"value");
        let header = encode_large_header(STORE, &NAME, &pointer, true);
        let mut expected = b"PLBV".to_vec();
        expected.extend([1, 0, 0, 0, 1, 0, 0, 0]);
        expected.extend(b"0123456789abcdef");
        expected.extend([7, 0, 0, 0, 0, 0, 0, 0, 0x2C, 1, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend([5, 0, 0, 0]);
        expected.extend(pointer.check.to_le_bytes());
        assert_eq!(header[4..], expected);
        // Computed by another implementation: zlib.
        assert_eq!((pointer.check, &header[..4]), (VALUE_CHECK, &HEADER_CRC.to_le_bytes()[..]));
        let mut payload = vec![7, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0];
        payload.extend(pointer.check.to_le_bytes());
        assert_eq!(pointer.encode()[..], payload);
        assert_eq!(LargePointer::decode(&payload), Some(pointer));
    }

    const VALUE_CHECK: u32 = 0xD3D5_ED38;
    const HEADER_CRC: u32 = 0x0924_8712;

    #[test]
    fn every_damage_is_noticed() {
        let pointer = LargePointer::new(RecordSeed::new(STORE), 7, b"value");
        let header = encode_large_header(STORE, &NAME, &pointer, false);
        assert_eq!(large_header_fault(&header, &header), None);
        for bit in 0..LARGE_HEADER * 8 {
            let mut bad = header;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(large_header_fault(&bad, &header).is_some(), "bit {bit}");
        }
        for length in 0..16 {
            assert_eq!(LargePointer::decode(&pointer.encode()[..length]), None);
        }
        let mut long = [0; 16];
        long[8..12].copy_from_slice(&(LARGEST_VALUE as u32 + 1).to_le_bytes());
        assert_eq!(LargePointer::decode(&long), None);
        assert_ne!(LargePointer::new(RecordSeed::new(STORE), 8, b"value").check, pointer.check);
    }

    #[test]
    fn names_have_one_form() {
        assert_eq!(NAME.file(), "blob-0000000000000007-0000012c-0000000000000005");
        assert_eq!(LargeName::parse(&NAME.file()), Some(NAME));
        for other in [
            "blob-7-12c-5",
            "blob-0000000000000007-0000012C-0000000000000005",
            "blob-0000000000000007-0000012c-0000000000000005.new",
            "blob-0000000000000007-0000012c-0000000000000005-0",
            "blob-0000000000000007-100000000-0000000000000005",
            "blob-0000000000000007",
            "blob-mine",
            "log",
        ] {
            assert_eq!(LargeName::parse(other), None, "{other}");
        }
    }
}
