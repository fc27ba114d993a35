//! What the fuzz targets in `tests/fuzz` call (`--cfg fuzzing` only): decoders are private, and to reach them
//! through whole stores takes a thousand times as long. Each takes any bytes and panics if a decoder breaks
//! its word.
//!
//! The word is: bytes are refused, or they are the one form of what they were read as. So what was read is
//! written again and compared.

use crate::format::record::{self, encoded_length, reseal};
use crate::format::{
    LARGE_HEADER, LargeName, LargePointer, RangePages, RecordSeed, SegmentHeader, SnapshotReader, StoreId,
    encode_large_header, encode_roots, large_header_fault, read_manifest,
};
use crate::ids::SegmentId;
use crate::log::Records;

const STORE: StoreId = StoreId(*b"0123456789abcdef");

/// A record of a log segment.
pub fn record(bytes: &[u8], seed: u32) {
    let Ok(found) = record::decode(bytes, seed) else { return };
    let length = encoded_length(&found.kind, found.payload.bytes.len());
    assert!(found.length <= bytes.len());
    // The payload of a cancelled record is not handed out.
    if found.length == length {
        let mut again = vec![0; length];
        record::encode(&mut again, seed, &found.kind, found.payload);
        assert_eq!(again, bytes[..length]);
    }
    if let Some(pointer) = LargePointer::decode(found.payload.bytes) {
        assert_eq!(pointer.encode(), found.payload.bytes);
    }
    if let Some(roots) = crate::format::decode_roots(found.payload.bytes) {
        assert_eq!(encode_roots(&roots), found.payload.bytes);
    }
}

/// Makes the checksums of a segment's header and records right, as far as they can be followed.
pub fn repair_segment(bytes: &mut [u8], segment: u64) {
    if let Some((crc, covered)) =
        bytes.get_mut(..SegmentHeader::LENGTH).and_then(<[u8]>::split_first_chunk_mut::<4>)
    {
        *crc = crate::format::checksum(0, covered).to_le_bytes();
    }
    let (seed, mut offset) = (RecordSeed::new(STORE), SegmentHeader::LENGTH);
    while let Some(rest) = bytes.get_mut(offset..) {
        let Some(length) = record::claimed_length(rest) else { return };
        reseal(&mut rest[..length], seed.at(SegmentId(segment), offset as u32));
        offset += length;
    }
}

/// A segment: its header, then its records up to the first that is none.
pub fn segment(bytes: &[u8], segment: u64) {
    if let Ok(header) = SegmentHeader::decode(bytes) {
        let mut again = [0; SegmentHeader::LENGTH];
        header.encode(&mut again);
        assert_eq!(again, bytes[..SegmentHeader::LENGTH]);
    }
    let seed = RecordSeed::new(STORE);
    let mut records = Records::new(bytes, seed, SegmentId(segment), SegmentHeader::LENGTH as u32);
    let mut before = SegmentHeader::LENGTH;
    while let Some(found) = records.next() {
        let Ok((offset, found)) = found else { break };
        assert_eq!(offset as usize, before);
        record(&bytes[before..], seed.at(SegmentId(segment), offset));
        before += found.length;
        assert!(before <= bytes.len());
    }
    assert!(records.next().is_none());
}

/// A manifest.
pub fn manifest(bytes: &[u8]) {
    let _ = crate::format::may_be_manifest(bytes);
    let Ok(read) = read_manifest(bytes) else { return };
    let _ = crate::format::damaged_copies(bytes, read.state.store_id, read.entries);
    let again = read_manifest(&read.state.to_bytes()).expect("what was read can be written and read again");
    assert_eq!(again.state, read.state);
    assert!(!again.torn && again.damaged_copies == 0);
}

/// A snapshot that is one file: its header, footer, directory, and the blocks that this names.
pub fn snapshot(bytes: &[u8], serial: u64) {
    let reader = SnapshotReader::new(STORE, serial);
    let part = |from: u64, length: u64| {
        let (from, length) = (usize::try_from(from).ok()?, usize::try_from(length).ok()?);
        bytes.get(from..from.checked_add(length)?)
    };
    if let Some(head) = bytes.get(..SnapshotReader::HEADER) {
        let _ = reader.header(head);
    }
    let Some(from) = bytes.len().checked_sub(SnapshotReader::FOOTER) else { return };
    let Ok(footer) = reader.footer(&bytes[from..], bytes.len() as u64) else { return };
    let Some(block) = part(footer.directory_offset, footer.directory_length.into()) else { return };
    let Ok(places) = reader.directory(block, &footer) else { return };
    for place in places {
        let Some(block) = part(place.offset, place.length.into()) else { continue };
        if let Ok(pages) = SnapshotReader::range(STORE, &place, block) {
            range(pages, place.range.0);
        }
    }
}

/// The pages of a block of a snapshot.
pub fn range(bytes: &[u8], range: u32) {
    let range = crate::ids::RangeId(range);
    let (mut last, mut records) = (None, 0);
    for page in RangePages::new(range, bytes) {
        let Ok(page) = page else { break };
        let page_id = page.base.page_id;
        assert!(page_id >= range.first() && page_id < range.end() && last.is_none_or(|last| last < page_id));
        assert!(page.base.age <= page.base.version.0);
        records += 1 + page.links.count();
        last = Some(page_id);
    }
    assert!(records <= bytes.len());
}

/// The name of a large value's file, and its header beside the one that is expected.
pub fn large(bytes: &[u8], name: &str) {
    if let Some(name) = LargeName::parse(name) {
        assert_eq!(LargeName::parse(&name.file()), Some(name));
    }
    let Some(pointer) = LargePointer::decode(bytes) else { return };
    assert_eq!(pointer.encode(), bytes);
    let name = LargeName {
        number: pointer.number,
        page_id: crate::ids::PageId(pointer.length.into()),
        version: crate::ids::Version(pointer.check.into()),
    };
    let expected: [u8; LARGE_HEADER] = encode_large_header(STORE, &name, &pointer, false);
    assert!(large_header_fault(&expected, &expected).is_none());
}
