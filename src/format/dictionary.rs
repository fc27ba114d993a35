//! A compression dictionary: the file that records refer to by its number.
//!
//! ```text
//!  0      4        8                16         32       36       40
//!  +------+--------+----------------+----------+--------+--------+----------------+
//!  | crc  | "PLDC" | format version | store id | number | length | dictionary     |
//!  | u32  |        | u32, zeros u32 | 16 bytes | u32    | u32    | `length` bytes |
//!  +------+--------+----------------+----------+--------+--------+----------------+
//! ```
//!
//! The dictionary itself is one of zstd's, whose own id is the number.

use crate::error::Corruption;
use crate::format::checksum::checksum;
use crate::format::fields::FieldReader;
use crate::format::store_id::StoreId;

const MAGIC: [u8; 4] = *b"PLDC";
const VERSION: u32 = 1;
#[cfg(any(test, feature = "compression"))]
const CRC_LENGTH: usize = 4;
#[cfg(any(test, feature = "compression"))]
const HEADER_LENGTH: usize = 40;

/// The highest number that a dictionary can have: a frame then names it in one byte.
pub(crate) const MAX_DICTIONARIES: u32 = 255;

/// No file is longer, by far.
pub(crate) const LONGEST_DICTIONARY_FILE: usize = 64 << 20;

/// What the name of a dictionary file begins with.
const PREFIX: &str = "dictionary-";

/// The name of the file.
pub(crate) fn dictionary_name(number: u32) -> String {
    format!("{PREFIX}{number:03}")
}

/// The number of a dictionary, by the file's name; `None` for other files.
pub(crate) fn dictionary_number(name: &str) -> Option<u32> {
    let number = name.strip_prefix(PREFIX)?.parse().ok()?;
    (dictionary_name(number) == name && (1..=MAX_DICTIONARIES).contains(&number)).then_some(number)
}

/// The bytes of the file.
#[cfg(any(test, feature = "compression"))]
pub(crate) fn encode_dictionary(store_id: StoreId, number: u32, dictionary: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_LENGTH + dictionary.len());
    bytes.extend([0; CRC_LENGTH]);
    bytes.extend(MAGIC);
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(store_id.0);
    bytes.extend(number.to_le_bytes());
    // Dictionaries are far below 4 GiB.
    bytes.extend((dictionary.len() as u32).to_le_bytes());
    bytes.extend(dictionary);
    let crc = checksum(0, bytes.get(CRC_LENGTH..).unwrap_or_default());
    bytes.splice(..CRC_LENGTH, crc.to_le_bytes());
    bytes
}

/// The dictionary in a file.
pub(crate) fn decode_dictionary<'a>(
    bytes: &'a [u8],
    path: &str,
    store_id: StoreId,
    number: u32,
) -> Result<&'a [u8], Corruption> {
    let fault = |reason| Corruption::new(path, reason);
    let mut fields = FieldReader::new(bytes);
    let crc = fields.u32().ok_or_else(|| fault("the file is cut short"))?;
    if checksum(0, fields.rest()) != crc {
        return Err(fault("the file does not match its checksum"));
    }
    read_body(fields, store_id, number).ok_or_else(|| fault("the file is no dictionary of this store"))
}

fn read_body<'a>(mut fields: FieldReader<'a>, store_id: StoreId, number: u32) -> Option<&'a [u8]> {
    let is_own = fields.slice(MAGIC.len())? == MAGIC
        && fields.u32()? == VERSION
        && fields.u32()? == 0
        && fields.slice(StoreId::LENGTH)? == store_id.0
        && fields.u32()? == number;
    let length = fields.u32()?;
    (is_own && usize::try_from(length).ok()? == fields.rest().len()).then(|| fields.rest())
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{HEADER_LENGTH, decode_dictionary, dictionary_name, dictionary_number, encode_dictionary};
    use crate::format::store_id::StoreId;

    const STORE: StoreId = StoreId(*b"0123456789abcdef");

    #[test]
    fn golden_bytes() {
        let bytes = encode_dictionary(STORE, 7, b"words");
        let mut expected = b"PLDC".to_vec();
        expected.extend([1, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend(b"0123456789abcdef");
        expected.extend([7, 0, 0, 0, 5, 0, 0, 0]);
        expected.extend(b"words");
        assert_eq!(bytes[4..], expected);
        assert_eq!(bytes.len(), HEADER_LENGTH + 5);
        // Computed by another implementation: zlib.
        assert_eq!(bytes[..4], 0xBB6F_86DA_u32.to_le_bytes());
        assert_eq!(decode_dictionary(&bytes, "file", STORE, 7).unwrap(), b"words");
    }

    #[test]
    fn another_store_another_number_and_every_damage_is_refused() {
        let bytes = encode_dictionary(STORE, 7, b"words");
        assert!(decode_dictionary(&bytes, "file", StoreId([0; 16]), 7).is_err());
        assert!(decode_dictionary(&bytes, "file", STORE, 8).is_err());
        for length in 0..bytes.len() {
            assert!(decode_dictionary(&bytes[..length], "file", STORE, 7).is_err(), "{length}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_dictionary(&bad, "file", STORE, 7).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn names_have_one_form() {
        for number in [1, 9, 42, 255] {
            assert_eq!(dictionary_number(&dictionary_name(number)), Some(number));
        }
        for name in
            ["dictionary-0", "dictionary-000", "dictionary-1", "dictionary-256", "dictionary-001.new", "log"]
        {
            assert_eq!(dictionary_number(name), None, "{name}");
        }
    }
}
