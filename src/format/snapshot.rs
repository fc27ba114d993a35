//! A snapshot: the page table at some time, so that opening need not read the whole log.
//!
//! ```text
//!  file:    +--------+-------+-------+-- ... --+--------+
//!           | header | pages | pages |         | footer |     blocks, numbered from 0
//!           +--------+-------+-------+-- ... --+--------+
//!
//!  block:   0      4        8      9
//!           +------+--------+------+----------------+
//!           | crc  | length | kind | body           |
//!           | u32  | u32    | u8   | `length` bytes |
//!           +------+--------+------+----------------+
//!
//!  kind       body
//!  1 Header   "PLSN" | format version u32 | store id 16 bytes | serial u64 | begin: 4 LSNs u64
//!  2 Pages    one or more pages, each
//!                page id       varint  the first of a block as it is, then the difference to the page before
//!                shape         varint  2 x number of links, + 1 if the page is free
//!                version       varint  of the base record
//!                age           varint  version of the base - version of the birth
//!                base          record
//!                links         records, oldest first, versions counting up from the base
//!             where a record is
//!                LSN           varint  zigzag difference to the record before in this block, to 0 at its start
//!                length        varint
//!  3 Footer   end: 4 LSNs u64 | next page id u64 | pages u64 | blocks before u32 | file check u32
//! ```
//!
//! A snapshot only makes opening faster. Everything in it can be had from the log, so whatever is wrong with it has one
//! answer: it is no snapshot, and the log is read instead.
//!
//! - **A.** *Complete or nothing*: only a file whose every block verifies and that ends with a footer which agrees with the
//!   blocks is a snapshot. Nothing is given out before that is known.
//! - **B.** A block's checksum is seeded with the store id, the serial and the block number, so blocks of other snapshots,
//!   or in other places, do not verify. The *file check* is the CRC-32 of the checksums of all blocks before the footer.
//! - **C.** `begin` is where replay starts, in each head: all that lies below is in the pages. `end` is where the log had
//!   come to when the walk was over: pages may be newer than `begin` but never than `end`, so a log that ends
//!   below `end` must not use the snapshot.
//! - **D.** Page ids rise through the whole file. A page never spans two blocks. Blocks can be read without each other.
//! - **E.** Reading allocates nothing: counts in the file are compared with what is there, never believed.

use crate::error::Corruption;
use crate::format::checksum::RecordSeed;
use crate::format::fields::HEAD_LSNS_LENGTH;
use crate::format::store_id::StoreId;
use crate::ids::{HeadLsns, Lsn, PageId, SegmentId, Version};

pub(super) const MAGIC: [u8; 4] = *b"PLSN";

/// Checksum, length and kind.
pub(super) const BLOCK_HEADER_LENGTH: usize = 4 + 4 + 1;
pub(super) const CRC_LENGTH: usize = 4;
pub(super) const HEADER_LENGTH: usize = 4 + 4 + StoreId::LENGTH + 8 + HEAD_LSNS_LENGTH;
pub(super) const FOOTER_LENGTH: usize = HEAD_LSNS_LENGTH + 8 + 8 + 4 + 4;

pub(super) const HEADER: u8 = 1;
pub(super) const PAGES: u8 = 2;
pub(super) const FOOTER: u8 = 3;

const _: () = assert!(BLOCK_HEADER_LENGTH == 9 && HEADER_LENGTH == 64 && FOOTER_LENGTH == 56);

/// What a snapshot begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotHeader {
    pub(crate) store_id: StoreId,
    /// Rises with every snapshot of a store, and is in the file's name.
    pub(crate) serial: u64,
    /// Where replay starts: see C.
    pub(crate) begin: HeadLsns,
}

/// What a snapshot ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotFooter {
    /// Where the log had come to: see C.
    pub(crate) end: HeadLsns,
    /// Above all page ids in the snapshot.
    pub(crate) next_page_id: PageId,
    /// How many pages there are in it.
    pub(crate) pages: u64,
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

/// The seed of a block: see B.
pub(super) fn block_seed(store_id: StoreId, serial: u64, block: u32) -> u32 {
    RecordSeed::new(store_id).at(SegmentId(serial), block)
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

/// Maps differences, which are small in either direction, to small numbers.
pub(super) const fn zigzag(from: Lsn, to: Lsn) -> u64 {
    let difference = to.0.wrapping_sub(from.0) as i64;
    ((difference << 1) ^ (difference >> 63)) as u64
}

/// The inverse of [`zigzag`].
pub(super) const fn unzigzag(from: Lsn, number: u64) -> Lsn {
    Lsn(from.0.wrapping_add((number >> 1) ^ (number & 1).wrapping_neg()))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::{snapshot_name, snapshot_serial, unzigzag, zigzag};
    use crate::ids::Lsn;

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

    #[test]
    fn small_differences_are_small_numbers() {
        assert_eq!(zigzag(Lsn(10), Lsn(10)), 0);
        assert_eq!(zigzag(Lsn(10), Lsn(9)), 1);
        assert_eq!(zigzag(Lsn(10), Lsn(11)), 2);
    }

    proptest! {
        #[test]
        fn zigzag_is_a_permutation(from in any::<u64>(), to in any::<u64>()) {
            let (from, to) = (Lsn(from), Lsn(to));
            prop_assert_eq!(unzigzag(from, zigzag(from, to)), to);
            prop_assert_eq!(zigzag(from, unzigzag(from, to.0)), to.0);
        }
    }
}
