//! The fragment of most tests.

use pagelog::{Codec, CodecError, Fragment};

/// A page of bytes; merging is concatenation, so every fragment that was ever linked stays visible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

/// Encodes fragments as they are.
#[derive(Debug)]
pub struct Raw;

impl Codec<Bytes> for Raw {
    fn encode(fragment: &Bytes, into: &mut Vec<u8>) -> Result<(), CodecError> {
        into.extend_from_slice(&fragment.0);
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<Bytes, CodecError> {
        Ok(Bytes(bytes.to_vec()))
    }
}

impl Fragment for Bytes {
    type Codec = Raw;

    fn merge(oldest_to_newest: &[&Self]) -> Self {
        Self(oldest_to_newest.iter().flat_map(|fragment| fragment.0.iter().copied()).collect())
    }
}
