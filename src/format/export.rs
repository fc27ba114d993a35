//! An export: what a store holds, as a stream of bytes that does not depend on how the store's own files are
//! laid out.
//!
//! ```text
//!  0        4          8
//!  +--------+----------+-------+-------+-- ... --+-------+-----+
//!  | "PLEX" | version  | Start | Pages | Pages   | Roots | End |
//!  |        | u32 = 1  |       |       |         |       |     |
//!  +--------+----------+-------+-------+-- ... --+-------+-----+
//!
//!  each block:
//!  0      4        8      9
//!  +------+--------+------+----------------+
//!  | crc  | length | kind | body           |
//!  | u32  | u32    | u8   | `length` bytes |
//!  +------+--------+------+----------------+
//!
//!  kind      body
//!  1 Start   next page id u64 | version floor u64 | id bound u64
//!  2 Pages   for each: page id, less that of the page before, varint | version varint | age varint |
//!            length of the payload + 1, or 0 if the id is free, varint | payload
//!  3 Roots   the named roots, as in the log
//!  4 End     pages u64 | free ids u64
//! ```
//!
//! - **(A) Every byte is checked.** The checksum of a block covers all of it, and begins from the block's
//!   number and the checksum of the first block; that one begins from what stands before it. So no block is
//!   taken that is damaged, out of its place, or of another export, and the End says that nothing is missing.
//! - **(B) One form.** Page ids rise strictly, numbers have one form, nothing follows the End.
//! - **(C) Nothing is believed.** A reader asks for no more memory than there are bytes.

use super::checksum::checksum;
use super::fields::FieldReader;
use super::varint;
use crate::ids::{PageId, Version};

/// What stands before the first block.
pub(crate) const EXPORT_MAGIC: [u8; 4] = *b"PLEX";
/// The newest version of the stream, and the only one so far.
pub(crate) const EXPORT_VERSION: u32 = 1;
/// What a block begins with.
pub(crate) const BLOCK_HEADER: usize = 9;

const CRC: usize = 4;
const MULTIPLIER: u32 = 0x9E37_79B1;

/// The kinds of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BlockKind {
    Start,
    Pages,
    Roots,
    End,
}

impl BlockKind {
    const fn byte(self) -> u8 {
        self as u8 + 1
    }

    fn of(byte: u8) -> Option<Self> {
        [Self::Start, Self::Pages, Self::Roots, Self::End].into_iter().find(|kind| kind.byte() == byte)
    }
}

/// Numbers the blocks of a stream, and knows what their checksums begin from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockSeeds {
    first: u32,
    number: u32,
}

impl BlockSeeds {
    pub(crate) fn new() -> Self {
        Self { first: checksum(0, &preamble()), number: 0 }
    }

    fn next(self) -> u32 {
        self.first ^ self.number.wrapping_mul(MULTIPLIER)
    }

    fn passed(&mut self, crc: u32) {
        if self.number == 0 {
            self.first = crc;
        }
        self.number = self.number.wrapping_add(1);
    }

    /// Puts the header in front of a body, for which room was left.
    pub(crate) fn seal(&mut self, kind: BlockKind, block: &mut [u8]) {
        let length = block.len().saturating_sub(BLOCK_HEADER) as u32;
        if let Some((header, _)) = block.split_first_chunk_mut::<BLOCK_HEADER>() {
            let [.., l0, l1, l2, l3, k] = header;
            [*l0, *l1, *l2, *l3] = length.to_le_bytes();
            *k = kind.byte();
        }
        if let Some((crc, covered)) = block.split_first_chunk_mut::<CRC>() {
            let sum = checksum(self.next(), covered);
            *crc = sum.to_le_bytes();
            self.passed(sum);
        }
    }

    /// The kind of a whole block, if it is the next one.
    pub(crate) fn open(&mut self, block: &[u8]) -> Option<BlockKind> {
        let (crc, covered) = block.split_first_chunk::<CRC>()?;
        let crc = u32::from_le_bytes(*crc);
        if checksum(self.next(), covered) != crc {
            return None;
        }
        self.passed(crc);
        block.get(BLOCK_HEADER - 1).copied().and_then(BlockKind::of)
    }
}

/// The bytes before the first block.
pub(crate) fn preamble() -> [u8; 8] {
    let [a, b, c, d] = EXPORT_MAGIC;
    let [e, f, g, h] = EXPORT_VERSION.to_le_bytes();
    [a, b, c, d, e, f, g, h]
}

/// How long the body is of the block with that header.
pub(crate) fn body_length(header: &[u8; BLOCK_HEADER]) -> u32 {
    let [.., a, b, c, d, _] = *header;
    u32::from_le_bytes([a, b, c, d])
}

/// What a stream begins with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ExportStart {
    /// Above all page ids.
    pub(crate) next_page_id: u64,
    pub(crate) version_floor: u64,
    /// Above all generated ids.
    pub(crate) id_bound: u64,
}

impl ExportStart {
    pub(crate) fn push(&self, into: &mut Vec<u8>) {
        for number in [self.next_page_id, self.version_floor, self.id_bound] {
            into.extend_from_slice(&number.to_le_bytes());
        }
    }

    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        let mut fields = FieldReader::new(body);
        let (next_page_id, version_floor, id_bound) = (fields.u64()?, fields.u64()?, fields.u64()?);
        let is_sane = (PageId::FIRST.0..=PageId::LIMIT).contains(&next_page_id) && fields.rest().is_empty();
        is_sane.then_some(Self { next_page_id, version_floor, id_bound })
    }
}

/// What a stream ends with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ExportEnd {
    pub(crate) pages: u64,
    pub(crate) free: u64,
}

impl ExportEnd {
    pub(crate) fn push(&self, into: &mut Vec<u8>) {
        into.extend_from_slice(&self.pages.to_le_bytes());
        into.extend_from_slice(&self.free.to_le_bytes());
    }

    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        let mut fields = FieldReader::new(body);
        let end = Self { pages: fields.u64()?, free: fields.u64()? };
        fields.rest().is_empty().then_some(end)
    }
}

/// A page of an export, or a free id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ExportedPage<'a> {
    pub(crate) page_id: PageId,
    pub(crate) version: Version,
    pub(crate) age: u64,
    /// `None` if the id is free.
    pub(crate) payload: Option<&'a [u8]>,
}

impl ExportedPage<'_> {
    /// Behind the page `before`.
    pub(crate) fn push(&self, before: PageId, into: &mut Vec<u8>) {
        varint::push(into, self.page_id.0 - before.0);
        varint::push(into, self.version.0);
        varint::push(into, self.age);
        varint::push(into, self.payload.map_or(0, |payload| payload.len() as u64 + 1));
        into.extend_from_slice(self.payload.unwrap_or_default());
    }

    /// Takes the next page of a block, behind the page `before`.
    pub(crate) fn take<'a>(before: PageId, fields: &mut FieldReader<'a>) -> Option<ExportedPage<'a>> {
        let page_id = fields.varint().filter(|step| *step > 0)?.checked_add(before.0)?;
        let (version, age) = (fields.varint()?, fields.varint()?);
        let payload = match fields.varint()? {
            0 => None,
            length => Some(fields.slice(usize::try_from(length - 1).ok()?)?),
        };
        let is_sane = page_id < PageId::LIMIT && age < version;
        let page = ExportedPage { page_id: PageId(page_id), version: Version(version), age, payload };
        is_sane.then_some(page)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{
        BLOCK_HEADER, BlockKind, BlockSeeds, ExportEnd, ExportStart, ExportedPage, body_length, preamble,
    };
    use crate::format::fields::FieldReader;
    use crate::ids::{PageId, Version};

    fn block(seeds: &mut BlockSeeds, kind: BlockKind, body: &[u8]) -> Vec<u8> {
        let mut block = vec![0; BLOCK_HEADER];
        block.extend_from_slice(body);
        seeds.seal(kind, &mut block);
        block
    }

    #[test]
    fn a_block_verifies_in_its_place_only() {
        let mut seeds = BlockSeeds::new();
        let kinds = [BlockKind::Start, BlockKind::Pages, BlockKind::Pages, BlockKind::End];
        let blocks = kinds.map(|kind| block(&mut seeds, kind, b"the same"));
        let mut reading = BlockSeeds::new();
        for (at, expected) in kinds.iter().enumerate() {
            for (other, block) in blocks.iter().enumerate().filter(|(other, _)| *other != at) {
                assert_eq!({ reading }.open(block), None, "{other} at {at}");
            }
            for bit in 0..blocks[at].len() * 8 {
                let mut damaged = blocks[at].clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                assert_eq!({ reading }.open(&damaged), None, "bit {bit}");
            }
            assert_eq!(body_length(blocks[at].first_chunk().unwrap()), 8);
            assert_eq!(reading.open(&blocks[at]), Some(*expected));
        }
        // Of another export, at the same place.
        let mut others = BlockSeeds::new();
        block(&mut others, BlockKind::Start, b"another!");
        let foreign = block(&mut others, BlockKind::Pages, b"the same");
        let mut reading = BlockSeeds::new();
        reading.open(&blocks[0]).unwrap();
        assert_eq!(reading.open(&foreign), None);
        assert_eq!(preamble(), *b"PLEX\x01\0\0\0");
    }

    #[test]
    fn what_is_pushed_is_read_and_nothing_else_is() {
        let page = |id, payload| ExportedPage { page_id: PageId(id), version: Version(9), age: 3, payload };
        let pages = [page(1, Some(&b"abc"[..])), page(2, None), page(400, Some(&b""[..]))];
        let (mut bytes, mut before) = (Vec::new(), PageId(0));
        for page in pages {
            page.push(before, &mut bytes);
            before = page.page_id;
        }
        assert_eq!(bytes, [&[1, 9, 3, 4, b'a', b'b', b'c', 1, 9, 3, 0][..], &[0x8E, 3, 9, 3, 1]].concat());
        let (mut fields, mut before) = (FieldReader::new(&bytes), PageId(0));
        for page in pages {
            assert_eq!(ExportedPage::take(before, &mut fields), Some(page));
            before = page.page_id;
        }
        assert!(fields.rest().is_empty());
        let refused = |bytes: &[u8]| ExportedPage::take(PageId(0), &mut FieldReader::new(bytes)).is_none();
        // The page before again; older than its version; longer than there is.
        assert!(
            refused(&[0, 9, 3, 0]) && refused(&[1, 9, 9, 0]) && refused(&[1, 9, 3, 3, 1]) && refused(&[1, 9])
        );
        let start = ExportStart { next_page_id: 7, version_floor: 2, id_bound: 3 };
        let mut bytes = Vec::new();
        start.push(&mut bytes);
        assert_eq!(ExportStart::read(&bytes), Some(start));
        bytes.push(0);
        assert_eq!(ExportStart::read(&bytes), None);
        let end = ExportEnd { pages: 5, free: 6 };
        let mut bytes = Vec::new();
        end.push(&mut bytes);
        assert_eq!((ExportEnd::read(&bytes), ExportEnd::read(&bytes[1..])), (Some(end), None));
    }
}
