//! What the tests of whole stores share: a fragment, a random number generator, and an oracle.
//!
//! Each test file is a crate of its own and uses a part of this.
#![allow(dead_code, unused_imports)]

mod alone;
mod bytes;
pub mod hook;
mod observed;
pub mod oracle;
mod races;
pub mod random;
pub mod session;
mod setting;

pub use alone::alone;
pub use bytes::Bytes;
use pagelog::{Fragment, Page, PageCache, PageId};

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
