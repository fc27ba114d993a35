//! What the tests of whole stores share: a fragment, a random number generator, and an oracle.
//!
//! Each test file is a crate of its own and uses a part of this.
#![allow(dead_code)]

pub mod oracle;
pub mod random;
pub mod session;

use pagelog::{Codec, CodecError, Fragment, Page, PageCache, PageId};

/// A page of bytes; merging is concatenation, so every fragment that was ever linked stays visible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

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

/// Contents that nobody else has: a serial number, then its low byte over and over.
pub fn contents(serial: u32, length: usize) -> Bytes {
    let mut bytes = serial.to_le_bytes().to_vec();
    bytes.resize(length.max(4), serial as u8);
    Bytes(bytes)
}

/// The fragments of a page, put together. The merged page must be the same.
pub fn joined_fragments(page: &Page<'_, Bytes>) -> Vec<u8> {
    let mut fragments: Vec<&Bytes> = page.fragments().collect();
    fragments.reverse();
    Bytes::merge(&fragments).0
}

/// Version and contents of a page.
pub fn look(cache: &PageCache<Bytes>, page_id: u64) -> pagelog::Result<Option<(u64, Vec<u8>)>> {
    let guard = cache.pin();
    let page = guard.get(PageId::new(page_id))?;
    Ok(page.map(|page| (page.version().get(), page.merged().0.clone())))
}
