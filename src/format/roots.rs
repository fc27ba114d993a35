//! The payload of page 0: the named roots.
//!
//! ```text
//!  count varint | count x (name length varint | name | page id varint)
//! ```
//!
//! Names rise strictly, so one map has one form.

use std::collections::BTreeMap;

use super::varint;
use crate::ids::PageId;

/// Encodes a map of names.
pub(crate) fn encode_roots(roots: &BTreeMap<Vec<u8>, PageId>) -> Vec<u8> {
    let mut bytes = Vec::new();
    varint::push(&mut bytes, roots.len() as u64);
    for (name, page_id) in roots {
        varint::push(&mut bytes, name.len() as u64);
        bytes.extend_from_slice(name);
        varint::push(&mut bytes, page_id.0);
    }
    bytes
}

/// The inverse. `None` if the bytes are not exactly one map.
pub(crate) fn decode_roots(bytes: &[u8]) -> Option<BTreeMap<Vec<u8>, PageId>> {
    let mut rest = bytes;
    let number = |rest: &mut &[u8]| {
        let (value, length) = varint::read(rest)?;
        *rest = rest.get(length..)?;
        Some(value)
    };
    let count = number(&mut rest)?;
    let mut roots = BTreeMap::new();
    for _ in 0..count {
        let length = usize::try_from(number(&mut rest)?).ok()?;
        let (name, behind) = rest.split_at_checked(length)?;
        rest = behind;
        let page_id = PageId(number(&mut rest)?);
        if roots.last_key_value().is_some_and(|(last, _): (&Vec<u8>, _)| last.as_slice() >= name) {
            return None;
        }
        roots.insert(name.to_vec(), page_id);
    }
    rest.is_empty().then_some(roots)
}

#[cfg(test)]
mod tests {
    use super::{decode_roots, encode_roots};
    use crate::ids::PageId;

    #[test]
    fn a_map_has_these_bytes_and_comes_back() {
        let roots = [(b"a".to_vec(), PageId(1)), (b"tree".to_vec(), PageId(300))].into();
        let bytes = encode_roots(&roots);
        assert_eq!(bytes, b"\x02\x01a\x01\x04tree\xac\x02");
        assert_eq!(decode_roots(&bytes), Some(roots));
    }

    #[test]
    fn every_truncation_and_any_extension_is_refused() {
        let bytes = encode_roots(&[(b"name".to_vec(), PageId(7))].into());
        (0..bytes.len()).for_each(|length| assert_eq!(decode_roots(&bytes[..length]), None));
        assert_eq!(decode_roots(&[bytes.as_slice(), &[0]].concat()), None);
        assert_eq!(decode_roots(b"\x02\x01b\x01\x01a\x01"), None);
        assert_eq!(decode_roots(&[0xff; 30]), None);
    }
}
