//! The store's files as bytes: pure codecs over slices, described for readers in `docs/format.md`.

mod checksum;
mod fields;
mod manifest_entry;
pub(crate) mod record;
mod segment_header;
mod store_id;
mod varint;

pub(crate) use checksum::RecordSeed;
pub(crate) use manifest_entry::{Claim, Entry, StoreKind};
pub(crate) use record::{Record, RecordFault, RecordKind};
pub(crate) use segment_header::{SegmentHeader, SegmentHeaderFault};
pub(crate) use store_id::StoreId;
