//! Writing a snapshot, block by block, into whatever takes bytes. The format is in
//! [`snapshot`](crate::format::snapshot).

use crate::error::Result;
use crate::format::fields::FieldWriter;
use crate::format::snapshot::{
    BLOCK_HEADER_LENGTH, BlockKind, FOOTER_LENGTH, HEADER_LENGTH, MAGIC, SNAPSHOT_VERSION, SnapshotBase,
    SnapshotHeader, SnapshotRecord, seal_block,
};
use crate::format::snapshot_directory::{BlockPlace, encode_directory};
use crate::format::snapshot_range::RangeEncoder;
use crate::format::store_id::StoreId;
use crate::ids::{HeadLsns, PageId, RangeId};

/// Turns pages into blocks and gives those to `sink`, which gets one whole block at a time, and at last an
/// empty slice.
#[derive(Debug)]
pub(crate) struct SnapshotWriter<S> {
    sink: S,
    store_id: StoreId,
    serial: u64,
    /// The block that is being filled, with room for its header in front.
    block: Vec<u8>,
    /// The range in it.
    range: Option<(RangeId, RangeEncoder)>,
    bytes: u64,
    /// The ranges that were written.
    places: Vec<BlockPlace>,
}

/// A snapshot that was written.
#[derive(Debug)]
pub(crate) struct WrittenSnapshot {
    /// The length of the file.
    pub(crate) bytes: u64,
    pub(crate) directory: Vec<BlockPlace>,
}

impl<S: FnMut(&[u8]) -> Result<()>> SnapshotWriter<S> {
    /// Begins a snapshot.
    pub(crate) fn begin(header: &SnapshotHeader, sink: S) -> Result<Self> {
        let mut writer = Self {
            sink,
            store_id: header.store_id,
            serial: header.serial,
            block: Vec::new(),
            range: None,
            bytes: 0,
            places: Vec::new(),
        };
        writer.start_block();
        let mut body = [0; HEADER_LENGTH];
        FieldWriter::new(&mut body)
            .bytes(&MAGIC)
            .u32(SNAPSHOT_VERSION)
            .bytes(&header.store_id.0)
            .u64(header.serial)
            .head_lsns(&header.begin);
        writer.block.extend(body);
        writer.finish_block(BlockKind::Header)?;
        Ok(writer)
    }

    /// Adds a page. Page ids rise from call to call; links go from the oldest to the newest.
    pub(crate) fn page(&mut self, base: &SnapshotBase, links: &[SnapshotRecord]) -> Result<()> {
        let range = RangeId::of(base.page_id);
        let (_, encoder) = match &mut self.range {
            Some(current) if current.0 == range => current,
            _ => {
                self.finish_range()?;
                self.range.insert((range, RangeEncoder::new(range)))
            }
        };
        encoder.page(&mut self.block, base, links.iter().copied());
        Ok(())
    }

    /// Adds a whole range, in encoded form. Its pages come behind all that were added before.
    pub(crate) fn range(&mut self, range: RangeId, pages: &[u8]) -> Result<()> {
        self.finish_range()?;
        self.block.extend_from_slice(pages);
        self.range = Some((range, RangeEncoder::new(range)));
        self.finish_range()
    }

    /// Writes the directory and the footer. `kept` are the blocks of older files that still are what they
    /// were, by rising ranges, none of which was added here. `end` is where the log had come to when the last
    /// page was taken from the page table, and `next_page_id` is above all ids in it.
    pub(crate) fn finish(
        mut self,
        kept: impl Iterator<Item = BlockPlace>,
        end: &HeadLsns,
        next_page_id: PageId,
    ) -> Result<WrittenSnapshot> {
        self.finish_range()?;
        let mut directory = std::mem::take(&mut self.places);
        directory.extend(kept);
        // Two runs that rise: the sort finds and merges them.
        directory.sort_by_key(|place| place.range);
        encode_directory(&mut self.block, self.serial, &directory);
        let place = self.finish_block(BlockKind::Directory)?;
        let mut body = [0; FOOTER_LENGTH];
        FieldWriter::new(&mut body)
            .head_lsns(end)
            .u64(next_page_id.0)
            .u64(place.offset)
            .u32(place.length)
            .u32(place.checksum);
        self.block.extend(body);
        self.finish_block(BlockKind::Footer)?;
        (self.sink)(&[])?;
        Ok(WrittenSnapshot { bytes: self.bytes, directory })
    }

    /// Closes the block of the present range, if there is one.
    fn finish_range(&mut self) -> Result<()> {
        if let Some((range, _)) = self.range.take()
            && self.block.len() > BLOCK_HEADER_LENGTH
        {
            let place = self.finish_block(BlockKind::Range(range.0))?;
            self.places.push(place);
        }
        Ok(())
    }

    fn start_block(&mut self) {
        self.block.clear();
        self.block.extend([0; BLOCK_HEADER_LENGTH]);
    }

    /// Where the block was written.
    fn finish_block(&mut self, kind: BlockKind) -> Result<BlockPlace> {
        let checksum = seal_block(&mut self.block, kind, self.store_id, self.serial);
        (self.sink)(&self.block)?;
        let range = RangeId(if let BlockKind::Range(number) = kind { number } else { 0 });
        // As in `seal_block`, far less than 4 GiB.
        let length = self.block.len() as u32;
        let place = BlockPlace { range, serial: self.serial, offset: self.bytes, length, checksum };
        self.bytes += u64::from(length);
        self.start_block();
        Ok(place)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::SnapshotWriter;
    use crate::error::{Error, Result};
    use crate::format::snapshot::{SnapshotBase, SnapshotHeader, SnapshotRecord};
    use crate::format::snapshot_directory::BlockPlace;
    use crate::format::store_id::StoreId;
    use crate::ids::{Lsn, PageId, RangeId, Version};

    const HEADER: SnapshotHeader = SnapshotHeader {
        store_id: StoreId(*b"0123456789abcdef"),
        serial: 5,
        begin: [Lsn(1), Lsn(2), Lsn(0), Lsn(0)],
    };

    /// Computed by another implementation: zlib.
    const GOLDEN_CRCS: [u32; 5] = [0xD614_3C0C, 0x61DD_E2AC, 0x0605_74F6, 0xAAB4_AB98, 0x86FC_56D7];

    fn record(lsn: u64) -> SnapshotRecord {
        SnapshotRecord { lsn: Lsn(lsn), length: 60 }
    }

    fn base(range: u32, free: bool) -> SnapshotBase {
        let page_id = PageId(RangeId(range).first().0 + 1);
        SnapshotBase { page_id, free, version: Version(3), age: 2, record: record(1000) }
    }

    #[test]
    fn golden_bytes() {
        let mut bytes = Vec::new();
        let mut writer = SnapshotWriter::begin(&HEADER, |block: &[u8]| {
            bytes.extend_from_slice(block);
            Ok(())
        })
        .unwrap();
        writer.page(&base(0, false), &[record(1060)]).unwrap();
        writer.range(RangeId(1), &[]).unwrap();
        writer.range(RangeId(6), &[0, 1, 3, 2, 0xD0, 0x0F, 60]).unwrap();
        let old = BlockPlace { range: RangeId(2), serial: 3, offset: 73, length: 20, checksum: 7 };
        let written =
            writer.finish([old].into_iter(), &[Lsn(3), Lsn(4), Lsn(0), Lsn(0)], PageId(302)).unwrap();

        let word = |number: u8| [number, 0, 0, 0, 0, 0, 0, 0];
        let crc = |index: usize| GOLDEN_CRCS[index].to_le_bytes();
        let mut expected = crc(0).to_vec();
        expected.extend(b"\x40\0\0\0\x01PLSN\x02\0\0\x000123456789abcdef");
        expected.extend([word(5), word(1), word(2), word(0), word(0)].concat());
        expected.extend(crc(1));
        expected.extend(b"\x09\0\0\0\x02");
        expected.extend([1, 2, 3, 2, 0xD0, 0x0F, 60, 120, 60]);
        expected.extend(crc(2));
        expected.extend(b"\x07\0\0\0\x02");
        expected.extend([0, 1, 3, 2, 0xD0, 0x0F, 60]);
        expected.extend(crc(3));
        expected.extend(b"\x18\0\0\0\x03");
        expected
            .extend([[0, 0, 73, 18], crc(1), [2, 2, 73, 20], [7, 0, 0, 0], [4, 0, 91, 16], crc(2)].concat());
        expected.extend(crc(4));
        expected.extend(b"\x38\0\0\0\x04");
        expected
            .extend([word(3), word(4), word(0), word(0), [0x2E, 1, 0, 0, 0, 0, 0, 0], word(107)].concat());
        expected.extend([[33, 0, 0, 0], crc(3)].concat());
        assert_eq!(bytes, expected);
        assert_eq!(written.bytes, bytes.len() as u64);
        let ranges: Vec<_> = written.directory.iter().map(|place| (place.range.0, place.serial)).collect();
        assert_eq!(ranges, [(0, 5), (2, 3), (6, 5)]);
    }

    #[test]
    fn each_range_is_a_block_and_the_first_error_comes_back() {
        let (mut blocks, mut left) = (0, 4);
        let mut sink = |_: &[u8]| {
            blocks += 1;
            left -= 1;
            if left > 0 { Ok(()) } else { Err(Error::Closed) }
        };
        let mut writer = SnapshotWriter::begin(&HEADER, &mut sink).unwrap();
        let mut write = |range| -> Result<()> { writer.page(&base(range, false), &[]) };
        let results = [0, 1, 2, 3].map(|range| write(range).is_ok());
        assert_eq!(results, [true, true, true, false]);
        assert_eq!(blocks, 4);
    }
}
