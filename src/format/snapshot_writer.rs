//! Writing a snapshot, block by block, into whatever takes bytes. The format is in [`snapshot`](crate::format::snapshot).

use std::mem;

use crate::error::Result;
use crate::format::checksum::checksum;
use crate::format::fields::FieldWriter;
use crate::format::manifest_entry::FORMAT_VERSION;
use crate::format::snapshot::{
    BLOCK_HEADER_LENGTH, CRC_LENGTH, FOOTER, FOOTER_LENGTH, HEADER, HEADER_LENGTH, MAGIC, PAGES,
    SnapshotBase, SnapshotHeader, SnapshotRecord, block_seed, zigzag,
};
use crate::format::store_id::StoreId;
use crate::format::varint;
use crate::ids::{HeadLsns, Lsn, PageId};

/// A block of pages is closed when it has come to this length.
const BLOCK_TARGET: usize = if cfg!(test) { 64 } else { 64 << 10 };

/// Turns pages into blocks and gives those to `sink`, which gets one whole block at a time.
#[derive(Debug)]
pub(crate) struct SnapshotWriter<S> {
    sink: S,
    store_id: StoreId,
    serial: u64,
    /// The block that is being filled, with room for its header in front.
    block: Vec<u8>,
    blocks: u32,
    /// The checksum of the checksums of all blocks written.
    file_check: u32,
    bytes: u64,
    pages: u64,
    /// The page before in this block; 0 at its start.
    previous_id: u64,
    /// The record before in this block; 0 at its start.
    previous_lsn: Lsn,
}

impl<S: FnMut(&[u8]) -> Result<()>> SnapshotWriter<S> {
    /// Begins a snapshot.
    pub(crate) fn begin(header: &SnapshotHeader, sink: S) -> Result<Self> {
        let mut writer = Self {
            sink,
            store_id: header.store_id,
            serial: header.serial,
            block: Vec::with_capacity(2 * BLOCK_TARGET),
            blocks: 0,
            file_check: 0,
            bytes: 0,
            pages: 0,
            previous_id: 0,
            previous_lsn: Lsn(0),
        };
        writer.start_block();
        let mut body = [0; HEADER_LENGTH];
        FieldWriter::new(&mut body)
            .bytes(&MAGIC)
            .u32(FORMAT_VERSION)
            .bytes(&header.store_id.0)
            .u64(header.serial)
            .head_lsns(&header.begin);
        writer.block.extend(body);
        writer.finish_block(HEADER)?;
        Ok(writer)
    }

    /// Adds a page. Page ids rise from call to call; links go from the oldest to the newest.
    pub(crate) fn page(&mut self, base: &SnapshotBase, links: &[SnapshotRecord]) -> Result<()> {
        debug_assert!(base.age <= base.version.0 && (links.is_empty() || !base.free));
        let first = self.block.len() == BLOCK_HEADER_LENGTH;
        debug_assert!(first || base.page_id.0 > self.previous_id, "page ids rise");
        let shape = (links.len() as u64) << 1 | u64::from(base.free);
        for number in [base.page_id.0 - self.previous_id, shape, base.version.0, base.age] {
            varint::push(&mut self.block, number);
        }
        self.previous_id = base.page_id.0;
        self.push_record(base.record);
        for &link in links {
            self.push_record(link);
        }
        self.pages += 1;
        if self.block.len() < BLOCK_TARGET { Ok(()) } else { self.finish_block(PAGES) }
    }

    /// Writes the footer and returns the length of the file. `end` is where the log had come to when the last page was
    /// taken from the page table, and `next_page_id` is above all ids in it.
    pub(crate) fn finish(mut self, end: &HeadLsns, next_page_id: PageId) -> Result<u64> {
        if self.block.len() > BLOCK_HEADER_LENGTH {
            self.finish_block(PAGES)?;
        }
        let mut body = [0; FOOTER_LENGTH];
        FieldWriter::new(&mut body)
            .head_lsns(end)
            .u64(next_page_id.0)
            .u64(self.pages)
            .u32(self.blocks)
            .u32(self.file_check);
        self.block.extend(body);
        self.finish_block(FOOTER)?;
        Ok(self.bytes)
    }

    fn push_record(&mut self, record: SnapshotRecord) {
        let previous = mem::replace(&mut self.previous_lsn, record.lsn);
        varint::push(&mut self.block, zigzag(previous, record.lsn));
        varint::push(&mut self.block, u64::from(record.length));
    }

    fn start_block(&mut self) {
        self.block.clear();
        self.block.extend([0; BLOCK_HEADER_LENGTH]);
        self.previous_id = 0;
        self.previous_lsn = Lsn(0);
    }

    fn finish_block(&mut self, kind: u8) -> Result<()> {
        // One page and its chain have far less than 4 GiB of locations.
        let length = (self.block.len() - BLOCK_HEADER_LENGTH) as u32;
        FieldWriter::new(&mut self.block).u32(0).u32(length).u8(kind);
        let (crc, covered) = self.block.split_at_mut(CRC_LENGTH);
        let sum = checksum(block_seed(self.store_id, self.serial, self.blocks), covered).to_le_bytes();
        crc.copy_from_slice(&sum);
        (self.sink)(&self.block)?;
        self.file_check = checksum(self.file_check, &sum);
        self.bytes += self.block.len() as u64;
        self.blocks += 1;
        self.start_block();
        Ok(())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::cell::RefCell;

    use super::SnapshotWriter;
    use crate::error::{Error, Result};
    use crate::format::snapshot::{SnapshotBase, SnapshotHeader, SnapshotRecord};
    use crate::format::store_id::StoreId;
    use crate::ids::{Lsn, PageId, Version};

    const HEADER: SnapshotHeader = SnapshotHeader {
        store_id: StoreId(*b"0123456789abcdef"),
        serial: 5,
        begin: [Lsn(1), Lsn(2), Lsn(0), Lsn(0)],
    };

    /// Computed by another implementation: zlib.
    const GOLDEN_CRCS: [u32; 3] = [0x63C6_4734, 0x914D_04F6, 0x4E8B_9F50];
    const GOLDEN_FILE_CHECK: u32 = 0x9AF1_4A10;

    fn record(lsn: u64) -> SnapshotRecord {
        SnapshotRecord { lsn: Lsn(lsn), length: 60 }
    }

    fn base(page_id: u64, free: bool) -> SnapshotBase {
        SnapshotBase { page_id: PageId(page_id), free, version: Version(3), age: 2, record: record(1000) }
    }

    #[test]
    fn golden_bytes() {
        let mut bytes = Vec::new();
        let mut writer = SnapshotWriter::begin(&HEADER, |block: &[u8]| {
            bytes.extend_from_slice(block);
            Ok(())
        })
        .unwrap();
        writer.page(&base(0, false), &[]).unwrap();
        writer.page(&base(300, false), &[record(1060), record(900)]).unwrap();
        writer.page(&base(301, true), &[]).unwrap();
        let length = writer.finish(&[Lsn(3), Lsn(4), Lsn(0), Lsn(0)], PageId(302)).unwrap();

        let word = |number: u8| [number, 0, 0, 0, 0, 0, 0, 0];
        let mut expected = GOLDEN_CRCS[0].to_le_bytes().to_vec();
        expected.extend(b"\x40\0\0\0\x01PLSN\x02\0\0\x000123456789abcdef");
        expected.extend([word(5), word(1), word(2), word(0), word(0)].concat());
        expected.extend(GOLDEN_CRCS[1].to_le_bytes());
        expected.extend(b"\x1A\0\0\0\x02");
        expected.extend([0, 0, 3, 2, 0xD0, 0x0F, 60]);
        expected.extend([0xAC, 2, 4, 3, 2, 0, 60, 120, 60, 0xBF, 2, 60]);
        expected.extend([1, 1, 3, 2, 0xC8, 1, 60]);
        expected.extend(GOLDEN_CRCS[2].to_le_bytes());
        expected.extend(b"\x38\0\0\0\x03");
        expected.extend([word(3), word(4), word(0), word(0), [0x2E, 1, 0, 0, 0, 0, 0, 0], word(3)].concat());
        expected.extend([2, 0, 0, 0]);
        expected.extend(GOLDEN_FILE_CHECK.to_le_bytes());
        assert_eq!(bytes, expected);
        assert_eq!(length, bytes.len() as u64);
    }

    #[test]
    fn blocks_go_out_as_they_fill_up_and_the_first_error_comes_back() {
        let blocks = RefCell::new(0);
        let sink = |_: &[u8]| -> Result<()> {
            *blocks.borrow_mut() += 1;
            if *blocks.borrow() < 4 { Ok(()) } else { Err(Error::Closed) }
        };
        let mut writer = SnapshotWriter::begin(&HEADER, sink).unwrap();
        let failed = (1..100).find(|&id| writer.page(&base(id, false), &[]).is_err());
        assert_eq!(*blocks.borrow(), 4);
        // Seven bytes for most pages, 64 for a block.
        assert!((20..40).contains(&failed.unwrap()));
    }
}
