//! Reading a snapshot, block by block. The format, and the letters, are in
//! [`snapshot`](crate::format::snapshot).
//!
//! Whoever reads one asks for the header and the footer, whose lengths are known, then for the directory that
//! the footer names, then for the blocks that the directory names. Everything is compared with the length of
//! the file before it is asked for (E).

use crate::format::fields::FieldReader;
use crate::format::snapshot::{
    BLOCK_HEADER_LENGTH, BlockKind, FOOTER_LENGTH, HEADER_LENGTH, MAGIC, SNAPSHOT_VERSION, SnapshotFault,
    SnapshotHeader, open_block,
};
use crate::format::snapshot_directory::{BlockPlace, decode_directory};
use crate::format::store_id::StoreId;
use crate::ids::{HeadLsns, PageId};

type Reason = &'static str;

/// What a snapshot ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotFooter {
    /// Where the log had come to: see C.
    pub(crate) end: HeadLsns,
    /// Above all page ids in the snapshot.
    pub(crate) next_page_id: PageId,
    /// Where the directory lies.
    pub(crate) directory_offset: u64,
    pub(crate) directory_length: u32,
    directory_checksum: u32,
}

/// Reads the parts of one file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SnapshotReader {
    store_id: StoreId,
    serial: u64,
}

impl SnapshotReader {
    /// How long the header is, at the front of the file.
    pub(crate) const HEADER: usize = BLOCK_HEADER_LENGTH + HEADER_LENGTH;
    /// How long the footer is, at its end.
    pub(crate) const FOOTER: usize = BLOCK_HEADER_LENGTH + FOOTER_LENGTH;

    pub(crate) const fn new(store_id: StoreId, serial: u64) -> Self {
        Self { store_id, serial }
    }

    fn open(self, bytes: &[u8], kind: BlockKind) -> Result<(&[u8], u32), Reason> {
        open_block(bytes, kind, self.store_id, self.serial)
    }

    /// The first [`HEADER`](Self::HEADER) bytes.
    pub(crate) fn header(self, bytes: &[u8]) -> Result<SnapshotHeader, SnapshotFault> {
        let header = || {
            let (body, _) = self.open(bytes, BlockKind::Header)?;
            let mut fields = FieldReader::new(body);
            if fields.array() != Some(MAGIC) {
                return Err("the file is not a snapshot");
            }
            if fields.u32() != Some(SNAPSHOT_VERSION) {
                return Err("the snapshot has another format version");
            }
            let mut parse = || {
                let store_id = StoreId(fields.array()?);
                let (serial, begin) = (fields.u64()?, fields.head_lsns()?);
                fields.rest().is_empty().then_some(SnapshotHeader { store_id, serial, begin })
            };
            let is_own =
                |header: &SnapshotHeader| (header.store_id, header.serial) == (self.store_id, self.serial);
            parse().filter(is_own).ok_or("the snapshot is of another store or serial")
        };
        header().map_err(|reason| SnapshotFault { offset: 0, reason })
    }

    /// The last [`FOOTER`](Self::FOOTER) bytes of a file of that length.
    pub(crate) fn footer(self, bytes: &[u8], file_length: u64) -> Result<SnapshotFooter, SnapshotFault> {
        let offset = file_length.saturating_sub(Self::FOOTER as u64);
        let footer = || {
            let (body, _) = self.open(bytes, BlockKind::Footer)?;
            let mut fields = FieldReader::new(body);
            let mut parse = || {
                let footer = SnapshotFooter {
                    end: fields.head_lsns()?,
                    next_page_id: PageId(fields.u64()?),
                    directory_offset: fields.u64()?,
                    directory_length: fields.u32()?,
                    directory_checksum: fields.u32()?,
                };
                fields.rest().is_empty().then_some(footer)
            };
            let is_possible = |footer: &SnapshotFooter| {
                let directory_end = footer.directory_offset.checked_add(footer.directory_length.into());
                directory_end == Some(offset) && footer.next_page_id.0 <= PageId::LIMIT
            };
            parse().filter(is_possible).ok_or("the footer says what is impossible")
        };
        footer().map_err(|reason| SnapshotFault { offset, reason })
    }

    /// The block that the footer names as the directory.
    pub(crate) fn directory(
        self,
        bytes: &[u8],
        footer: &SnapshotFooter,
    ) -> Result<Vec<BlockPlace>, SnapshotFault> {
        let directory = || {
            let (body, checksum) = self.open(bytes, BlockKind::Directory)?;
            if checksum != footer.directory_checksum {
                return Err("the directory is not the one that the footer names");
            }
            let places = decode_directory(body, self.serial, footer.directory_offset)?;
            let bound = places.last().map_or(0, |place| place.range.first().0);
            if bound < footer.next_page_id.0 || places.is_empty() {
                Ok(places)
            } else {
                Err("the directory names a range above all pages")
            }
        };
        directory().map_err(|reason| SnapshotFault { offset: footer.directory_offset, reason })
    }

    /// The pages in the block that a directory names, which fills `bytes`: see
    /// [`RangePages`](crate::format::RangePages).
    pub(crate) fn range<'a>(
        store_id: StoreId,
        place: &BlockPlace,
        bytes: &'a [u8],
    ) -> Result<&'a [u8], SnapshotFault> {
        let fault = |reason| SnapshotFault { offset: place.offset, reason };
        let reader = Self::new(store_id, place.serial);
        let (body, checksum) = reader.open(bytes, BlockKind::Range(place.range.0)).map_err(fault)?;
        if checksum == place.checksum {
            Ok(body)
        } else {
            Err(fault("a block is not the one that the directory names"))
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{any, prop_assert, proptest};

    use super::SnapshotReader;
    use crate::format::snapshot::{
        BlockKind, SnapshotBase, SnapshotFault, SnapshotHeader, SnapshotRecord, seal_block,
    };
    use crate::format::snapshot_directory::BlockPlace;
    use crate::format::snapshot_range::RangePages;
    use crate::format::snapshot_writer::SnapshotWriter;
    use crate::format::store_id::StoreId;
    use crate::ids::{HeadLsns, Lsn, PageId, RangeId, Version};

    const STORE: StoreId = StoreId(*b"0123456789abcdef");
    const SERIAL: u64 = 0x1_0000_0005;
    const BEGIN: HeadLsns = [Lsn(1), Lsn(2), Lsn(0), Lsn(0)];
    const END: HeadLsns = [Lsn(3), Lsn(4), Lsn(0), Lsn(0)];
    const OLD: BlockPlace = BlockPlace { range: RangeId(2), serial: 3, offset: 73, length: 20, checksum: 7 };

    fn written(ids: &[u64], kept: &[BlockPlace]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let header = SnapshotHeader { store_id: STORE, serial: SERIAL, begin: BEGIN };
        let mut writer = SnapshotWriter::begin(&header, |block: &[u8]| {
            bytes.extend_from_slice(block);
            Ok(())
        })
        .unwrap();
        for id in ids {
            let record = SnapshotRecord { lsn: Lsn(id * 100), length: 60 };
            let base =
                SnapshotBase { page_id: PageId(*id), free: false, version: Version(9), age: 9, record };
            writer.page(&base, &[]).unwrap();
        }
        writer.finish(kept.iter().copied(), &END, PageId(PageId::LIMIT)).unwrap();
        bytes
    }

    /// The ids of the pages in the file itself.
    fn read(bytes: &[u8], store_id: StoreId, serial: u64) -> Result<Vec<u64>, SnapshotFault> {
        let reader = SnapshotReader::new(store_id, serial);
        let part = |from: usize, length: usize| bytes.get(from..from + length).unwrap_or_default();
        let header = reader.header(part(0, SnapshotReader::HEADER))?;
        assert_eq!(header, SnapshotHeader { store_id, serial, begin: BEGIN });
        let footer_at = bytes.len().saturating_sub(SnapshotReader::FOOTER);
        let footer = reader.footer(part(footer_at, SnapshotReader::FOOTER), bytes.len() as u64)?;
        assert_eq!((footer.end, footer.next_page_id.0), (END, PageId::LIMIT));
        let directory = part(footer.directory_offset as usize, footer.directory_length as usize);
        let mut ids = Vec::new();
        for place in reader.directory(directory, &footer)?.iter().filter(|place| place.serial == serial) {
            let block = part(place.offset as usize, place.length as usize);
            let pages = SnapshotReader::range(store_id, place, block)?;
            ids.extend(RangePages::new(place.range, pages).map(|page| page.unwrap().base.page_id.0));
        }
        Ok(ids)
    }

    fn good() -> (Vec<u64>, Vec<u8>) {
        let ids = vec![0, 1, 9, 41, 43, 90, 1 << 20];
        let bytes = written(&ids, &[OLD]);
        (ids, bytes)
    }

    #[test]
    fn pages_come_back() {
        let (ids, bytes) = good();
        assert_eq!(read(&bytes, STORE, SERIAL), Ok(ids));
        assert_eq!(read(&written(&[], &[]), STORE, SERIAL), Ok(vec![]));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let (_, good) = good();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&bad, STORE, SERIAL).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn every_truncation_and_anything_behind_the_end_is_noticed() {
        let (_, mut bytes) = good();
        for length in 0..bytes.len() {
            assert!(read(&bytes[..length], STORE, SERIAL).is_err(), "{length}");
        }
        bytes.push(0);
        assert!(read(&bytes, STORE, SERIAL).is_err());
    }

    #[test]
    fn a_snapshot_of_another_store_or_serial_is_none() {
        let (_, bytes) = good();
        assert!(read(&bytes, StoreId([1; 16]), SERIAL).is_err());
        assert!(read(&bytes, STORE, SERIAL + 1).is_err());
        // The seeds are equal here; the header is not.
        let fault = read(&bytes, STORE, 5).unwrap_err();
        assert_eq!(fault.reason, "the snapshot is of another store or serial");
        assert_eq!(fault.into_corruption("snapshot-5").offset, Some(0));
    }

    #[test]
    fn a_block_of_another_range_or_file_is_not_taken() {
        let mut block = vec![0; 9];
        block.extend([0, 0, 9, 9, 2, 60]);
        let checksum = seal_block(&mut block, BlockKind::Range(4), STORE, SERIAL);
        let length = block.len() as u32;
        let place = BlockPlace { range: RangeId(4), serial: SERIAL, offset: 73, length, checksum };
        assert!(SnapshotReader::range(STORE, &place, &block).is_ok());
        let others = [
            BlockPlace { range: RangeId(5), ..place },
            BlockPlace { serial: SERIAL + 1, ..place },
            BlockPlace { checksum: checksum ^ 1, ..place },
        ];
        for other in others {
            assert!(SnapshotReader::range(STORE, &other, &block).is_err(), "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn damage_that_is_sealed_again_gives_an_answer(at in any::<u16>(), byte in any::<u8>(), which in 0..3_u8) {
            let (_, mut bytes) = good();
            let directory_end = bytes.len() - SnapshotReader::FOOTER;
            let footer = SnapshotReader::new(STORE, SERIAL)
                .footer(&bytes[directory_end..], bytes.len() as u64)
                .unwrap();
            let (from, to, kind) = match which {
                0 => (0, SnapshotReader::HEADER, BlockKind::Header),
                1 => (footer.directory_offset as usize, directory_end, BlockKind::Directory),
                _ => (directory_end, bytes.len(), BlockKind::Footer),
            };
            let block = &mut bytes[from..to];
            let at = 9 + usize::from(at) % (block.len() - 9);
            block[at] = byte;
            seal_block(block, kind, STORE, SERIAL);
            let reader = SnapshotReader::new(STORE, SERIAL);
            let block = &bytes[from..to];
            match kind {
                BlockKind::Header => drop(reader.header(block)),
                BlockKind::Directory => drop(reader.directory(block, &footer)),
                _ => drop(reader.footer(block, bytes.len() as u64)),
            }
        }

        #[test]
        fn random_bytes_are_no_snapshot(bytes in vec(any::<u8>(), 0..300)) {
            prop_assert!(read(&bytes, STORE, SERIAL).is_err());
        }
    }
}
