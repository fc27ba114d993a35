//! The store's files as bytes: pure codecs over slices, described for readers in `docs/format.md`.

mod checksum;
mod fields;
mod manifest;
mod manifest_entry;
mod manifest_reader;
pub(crate) mod record;
mod segment_header;
mod store_id;
mod varint;

pub(crate) use checksum::RecordSeed;
pub(crate) use manifest::ManifestState;
pub(crate) use manifest_entry::{
    Claim, ENTRY_LENGTH, Entry as ManifestEntry, FORMAT_VERSION, MAX_CLAIMS, StoreKind, encode_entry,
};
pub(crate) use manifest_reader::{ManifestFault, ReadManifest, read_manifest};
pub(crate) use record::{Record, RecordFault, RecordKind};
pub(crate) use segment_header::{SegmentHeader, SegmentHeaderFault};
pub(crate) use store_id::StoreId;
