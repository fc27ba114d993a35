//! Snapshots: the page table at some time, so that opening need not read the whole log.
//!
//! The table is cut in *ranges* of pages with consecutive ids. A file holds the ranges that have changed
//! since the snapshot before, and a directory that says of every range of the table in which file its newest
//! block lies. So a snapshot is the newest file, with those of the older ones that it names.
//!
//! ```text
//!  file:    +--------+-------+-------+-- ... --+-----------+--------+
//!           | header | range | range |         | directory | footer |     blocks
//!           +--------+-------+-------+-- ... --+-----------+--------+
//!
//!  block:   0      4        8      9
//!           +------+--------+------+----------------+
//!           | crc  | length | kind | body           |
//!           | u32  | u32    | u8   | `length` bytes |
//!           +------+--------+------+----------------+
//!
//!  kind         body
//!  1 Header     "PLSN" | format version u32 | store id 16 bytes | serial u64 | begin: 4 LSNs u64
//!  2 Range      its pages: see `snapshot_range`
//!  3 Directory  for each range that has pages: see `snapshot_directory`
//!  4 Footer     end: 4 LSNs u64 | next page id u64 | directory: offset u64, length u32, checksum u32
//! ```
//!
//! A snapshot only makes opening faster. Everything in it can be had from the log, so whatever is wrong with
//! it has one answer: it is no snapshot, and the log is read instead.
//!
//! - **A.** *Complete or nothing*: only a file whose header, footer and directory verify, and all of whose
//!   named blocks do, in whichever file they lie, is a snapshot. The file's own blocks fill it without a gap,
//!   so nothing in it is left unchecked.
//! - **B.** A block's checksum is seeded with the store id, the serial of the file and the number of the
//!   range, so blocks of other files or of other ranges do not verify. The three other blocks have numbers
//!   above those of all ranges. A directory repeats the checksums of the blocks that it names, and the footer
//!   that of the directory.
//! - **C.** `begin` is where replay starts, in each head: all that lies below is in the ranges, also in those
//!   of older files. `end` is where the log had come to when the walk was over: pages may be newer than
//!   `begin` but never than `end`, so a log that ends below `end` must not use the snapshot. The ends of
//!   older files are lower.
//! - **D.** Page ids rise within a range, and blocks can be read without each other.
//! - **E.** Nothing is believed: lengths and counts in a file are compared with what is there before memory
//!   is taken for them.

use crate::error::Corruption;
use crate::format::checksum::{RecordSeed, checksum};
use crate::format::fields::{FieldReader, FieldWriter, HEAD_LSNS_LENGTH};
use crate::format::store_id::StoreId;
use crate::ids::{HeadLsns, Lsn, PageId, SegmentId, Version};

pub(super) const MAGIC: [u8; 4] = *b"PLSN";
/// Version 1 had all pages in one file.
pub(super) const SNAPSHOT_VERSION: u32 = 2;

/// Checksum, length and kind.
pub(super) const BLOCK_HEADER_LENGTH: usize = 4 + 4 + 1;
const CRC_LENGTH: usize = 4;
pub(super) const HEADER_LENGTH: usize = 4 + 4 + StoreId::LENGTH + 8 + HEAD_LSNS_LENGTH;
pub(super) const FOOTER_LENGTH: usize = HEAD_LSNS_LENGTH + 8 + 8 + 4 + 4;

const _: () = assert!(BLOCK_HEADER_LENGTH == 9 && HEADER_LENGTH == 64 && FOOTER_LENGTH == 56);

/// What is in a block. Its number goes into the seed (B).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BlockKind {
    Header,
    Range(u32),
    Directory,
    Footer,
}

impl BlockKind {
    const fn code(self) -> u8 {
        match self {
            Self::Header => 1,
            Self::Range(_) => 2,
            Self::Directory => 3,
            Self::Footer => 4,
        }
    }

    const fn number(self) -> u32 {
        match self {
            Self::Header => u32::MAX,
            Self::Range(range) => range,
            Self::Directory => u32::MAX - 1,
            Self::Footer => u32::MAX - 2,
        }
    }

    fn seed(self, store_id: StoreId, serial: u64) -> u32 {
        RecordSeed::new(store_id).at(SegmentId(serial), self.number())
    }
}

/// What a snapshot begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotHeader {
    pub(crate) store_id: StoreId,
    /// Rises with every snapshot of a store, and is in the file's name.
    pub(crate) serial: u64,
    /// Where replay starts: see C.
    pub(crate) begin: HeadLsns,
}

/// Where a record was when the snapshot was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotRecord {
    pub(crate) lsn: Lsn,
    /// The length of the whole record.
    pub(crate) length: u32,
}

/// A page without its links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotBase {
    pub(crate) page_id: PageId,
    /// Whether the base record is a `Free`.
    pub(crate) free: bool,
    /// The version of the base record.
    pub(crate) version: Version,
    /// How many versions before that the page was allocated.
    pub(crate) age: u64,
    pub(crate) record: SnapshotRecord,
}

/// Why a file is no snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotFault {
    /// Where the block in question begins.
    pub(crate) offset: u64,
    /// A sentence about the snapshot.
    pub(crate) reason: &'static str,
}

impl SnapshotFault {
    /// For a report; `path` names the file.
    pub(crate) fn into_corruption(self, path: &str) -> Corruption {
        Corruption::new(path, self.reason).at_offset(self.offset)
    }
}

/// Makes a block of what lies behind the room that was left for its header, and returns its checksum.
pub(super) fn seal_block(block: &mut [u8], kind: BlockKind, store_id: StoreId, serial: u64) -> u32 {
    // A range and its chains have far less than 4 GiB of locations, and a directory 20 bytes for each of at
    // most 2²⁴ ranges.
    let length = block.len().saturating_sub(BLOCK_HEADER_LENGTH) as u32;
    FieldWriter::new(block).u32(0).u32(length).u8(kind.code());
    let (crc, covered) = block.split_at_mut(CRC_LENGTH);
    let sum = checksum(kind.seed(store_id, serial), covered);
    crc.copy_from_slice(&sum.to_le_bytes());
    sum
}

/// The body of the block that fills `bytes`, and its checksum, if it verifies.
pub(super) fn open_block(
    bytes: &[u8],
    kind: BlockKind,
    store_id: StoreId,
    serial: u64,
) -> Result<(&[u8], u32), &'static str> {
    let mut fields = FieldReader::new(bytes);
    let parts = fields.u32().zip(Some(fields.rest())).zip(fields.u32()).zip(fields.u8());
    let (((crc, covered), length), code) = parts.ok_or("a block is cut short")?;
    if checksum(kind.seed(store_id, serial), covered) != crc {
        return Err("a block does not match its checksum");
    }
    if code != kind.code() || u64::from(length) != fields.rest().len() as u64 {
        return Err("a block has another kind or length than its place asks for");
    }
    Ok((fields.rest(), crc))
}

const NAME_PREFIX: &str = "snapshot-";

/// The name of a snapshot's file.
pub(crate) fn snapshot_name(serial: u64) -> String {
    format!("{NAME_PREFIX}{serial:016x}")
}

/// The serial in a file's name, if it is that of a snapshot.
pub(crate) fn snapshot_serial(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(NAME_PREFIX)?;
    let serial = u64::from_str_radix(digits, 16).ok()?;
    (snapshot_name(serial) == name).then_some(serial)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{snapshot_name, snapshot_serial};

    #[test]
    fn names_have_one_form() {
        assert_eq!(snapshot_name(0xAB), "snapshot-00000000000000ab");
        for serial in [0, 1, u64::MAX] {
            assert_eq!(snapshot_serial(&snapshot_name(serial)), Some(serial));
        }
        for name in [
            "",
            "snapshot-",
            "snapshot-ab",
            "snapshot-00000000000000AB",
            "snapshot-00000000000000ab.new",
            "snapshot-+0000000000000ab",
            "snapshot-000000000000000ab",
            "MANIFEST",
        ] {
            assert_eq!(snapshot_serial(name), None, "{name}");
        }
    }
}
