//! The store's files as bytes: pure codecs over slices, described for readers in `docs/format.md`.

mod checksum;
mod dictionary;
mod export;
mod fields;
mod large;
mod manifest;
mod manifest_entry;
mod manifest_reader;
pub(crate) mod record;
mod roots;
mod segment_header;
mod snapshot;
mod snapshot_directory;
mod snapshot_range;
mod snapshot_reader;
mod snapshot_writer;
mod store_id;
mod varint;

pub(crate) use checksum::{RecordSeed, checksum};
pub(crate) use dictionary::{LONGEST_DICTIONARY_FILE, decode_dictionary, dictionary_number};
#[cfg(feature = "compression")]
pub(crate) use dictionary::{MAX_DICTIONARIES, dictionary_name, encode_dictionary};
pub(crate) use export::{
    BLOCK_HEADER, BlockKind, BlockSeeds, EXPORT_MAGIC, EXPORT_VERSION, ExportEnd, ExportStart, ExportedPage,
    body_length, preamble,
};
pub(crate) use fields::FieldReader;
pub(crate) use large::{
    LARGE_HEADER, LARGEST_VALUE, LargeName, LargePointer, POINTER_LENGTH, encode_large_header,
    large_header_fault, value_check,
};
pub(crate) use manifest::{ManifestState, Voided};
pub(crate) use manifest_entry::{
    Claim, ENTRY_LENGTH, Entry as ManifestEntry, MAX_CLAIMS, StoreKind, encode_entry,
};
pub(crate) use manifest_reader::{
    ReadManifest, damaged_copies, may_be_manifest, read_first_entry, read_manifest,
};
pub(crate) use record::{Payload, Record, RecordFault, RecordKind};
pub(crate) use roots::{decode_roots, encode_roots};
pub(crate) use segment_header::{SegmentHeader, SegmentHeaderFault};
pub(crate) use snapshot::{
    SnapshotBase, SnapshotFault, SnapshotHeader, SnapshotRecord, snapshot_name, snapshot_serial,
};
pub(crate) use snapshot_directory::BlockPlace;
pub(crate) use snapshot_range::{RangeEncoder, RangePages, SnapshotPage};
pub(crate) use snapshot_reader::{SnapshotFooter, SnapshotReader};
pub(crate) use snapshot_writer::SnapshotWriter;
pub(crate) use store_id::StoreId;
