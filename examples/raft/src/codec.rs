//! Bytes for records, pages and frames: bincode with fixed-length integers. Decoding never takes more memory
//! than the bytes justify, and refuses bytes that are left over.

use bincode::Options;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::failure::{Failure, Result};

fn options(limit: u64) -> impl Options {
    bincode::DefaultOptions::new().with_fixint_encoding().with_limit(limit)
}

pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    options(u32::MAX.into()).serialize(value).map_err(|error| Failure::Encode(error.to_string()))
}

pub fn decode<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T> {
    let decoded = options(bytes.len() as u64).deserialize(bytes);
    decoded.map_err(|error| Failure::Damaged(format!("{what} can't be decoded: {error}")))
}
