//! An entry of the manifest, and the two frames that hold it.
//!
//! ```text
//!  file:   entry 0            entry 1            entry 2
//!          +--------+--------+--------+--------+--------+--------+----
//!          | copy A | copy B | copy A | copy B | copy A | copy B | ...    512 bytes each
//!          +--------+--------+--------+--------+--------+--------+----
//!
//!  copy:   0      4        8         16          32     33       35
//!          +------+--------+---------+-----------+------+--------+----------------+---------+
//!          | crc  | "PLMF" | number  | store id  | kind | length | body           | zeros   |
//!          | u32  |        | u64     | 16 bytes  | u8   | u16    | `length` bytes | to 512  |
//!          +------+--------+---------+-----------+------+--------+----------------+---------+
//!
//!  kind            body
//!  1 Head          format version u32 | store kind u8 | segment size u32 | heads u8 | next segment u64 | id bound u64
//!                  | next page id u64 | version floor u64 | stable 4 x u64 | first LSN u64 | table entries u32
//!  2 Claims        stable 4 x u64 | count u8 | count x (slot u32 | segment u64 | head u8 | predecessor u64 | end u32)
//!  4 Release       slots u32 | stable 4 x u64
//!  5 IdBound       bound u64
//!  6 VersionFloor  next page id u64 | floor u64
//!  7 Truncate      first LSN u64 | stable 4 x u64
//! ```
//!
//! - **A.** *Each entry is there twice, in different sectors.* With one copy, rot in the last entry could not
//!   be told from an append that a power cut tore: the entry would be dropped although somebody relied on it.
//!   With two, a torn append is the only likely way to lose both.
//! - **B.** *A frame is one sector*, so a copy is old or new, and never spans what a power cut separates.
//! - **C.** *The number and the store id are checked with the checksum.* A frame that was written to the
//!   wrong place, or belongs to another store, counts as damaged.
//! - **D.** *The frame up to the format version in entry 0 is the same in all versions of the format, for
//!   ever*, so that any version can tell "newer than I" from "rotten".
//! - **E.** Decoding is total and canonical: unknown kinds, wrong lengths and padding that is not zero are
//!   refused.

use crate::format::checksum::checksum;
use crate::format::fields::{FieldReader, FieldWriter, HEAD_LSNS_LENGTH};
use crate::format::store_id::StoreId;
use crate::ids::{HeadId, HeadLsns, Lsn, PageId, SegmentId, SlotId, Version};

/// The version of all files of the store.
pub(crate) const FORMAT_VERSION: u32 = 2;
/// One copy of an entry.
pub(super) const FRAME_LENGTH: usize = 512;
/// Both copies. Entry `n` begins at byte `n * ENTRY_LENGTH` of the file.
pub(crate) const ENTRY_LENGTH: usize = 2 * FRAME_LENGTH;
/// How many claims fit in one entry.
pub(crate) const MAX_CLAIMS: usize = (BODY_CAPACITY - HEAD_LSNS_LENGTH - 1) / CLAIM_LENGTH;

pub(super) const MAGIC: [u8; 4] = *b"PLMF";
const CRC_LENGTH: usize = 4;
const BODY_AT: usize = 35;
const BODY_CAPACITY: usize = FRAME_LENGTH - BODY_AT;
const CLAIM_LENGTH: usize = 25;
const HEAD_LENGTH: usize = 4 + 1 + 4 + 1 + 8 + 8 + 8 + 8 + HEAD_LSNS_LENGTH + 8 + 4;

const HEAD: u8 = 1;
const CLAIMS: u8 = 2;
const RELEASE: u8 = 4;
const ID_BOUND: u8 = 5;
const VERSION_FLOOR: u8 = 6;
const TRUNCATE: u8 = 7;

const _: () = assert!(BODY_AT == CRC_LENGTH + 4 + 8 + StoreId::LENGTH + 1 + 2);
const _: () = assert!(CLAIM_LENGTH == 4 + 8 + 1 + 8 + 4);
const _: () = assert!(MAX_CLAIMS == 17 && HEAD_LENGTH == 86 && HEAD_LENGTH <= BODY_CAPACITY);

/// What the store was created as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreKind {
    /// Pages over a log.
    PageCache,
    /// A log of the user's own records.
    Log,
}

impl StoreKind {
    const fn number(self) -> u8 {
        match self {
            Self::PageCache => 1,
            Self::Log => 2,
        }
    }

    const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::PageCache),
            2 => Some(Self::Log),
            _ => None,
        }
    }
}

/// One life of a slot, as the manifest knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) segment: SegmentId,
    pub(crate) head: HeadId,
    /// The segment that the head filled before.
    pub(crate) predecessor: Option<SegmentId>,
    /// How many bytes of the segment can hold valid records: all, unless recovery has cut it.
    pub(crate) end: u32,
}

/// Everything that is not claims, at the time when the manifest was written anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ManifestHead {
    pub(crate) kind: StoreKind,
    pub(crate) segment_size: u32,
    pub(crate) heads: u8,
    pub(crate) next_segment: SegmentId,
    pub(crate) id_bound: u64,
    pub(crate) next_page_id: PageId,
    pub(crate) version_floor: Version,
    pub(crate) stable: HeadLsns,
    pub(crate) first_lsn: Lsn,
    /// How many entries of claims follow and belong to the same picture.
    pub(crate) table_entries: u32,
}

/// One step of the manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// Always the first entry, and only that.
    Head(ManifestHead),
    /// These slots begin these lives. At most [`MAX_CLAIMS`].
    Claims { stable: HeadLsns, claims: Vec<(SlotId, Claim)> },
    /// The slots from `slots` on are about to be cut off the log file.
    Release { slots: u32, stable: HeadLsns },
    /// Ids that the store generates for its user stay below this.
    IdBound(u64),
    /// Records of pages from `next_page_id` on, with versions up to `floor`, are void.
    VersionFloor { next_page_id: PageId, floor: Version },
    /// Records below `first` are no longer wanted.
    Truncate { first: Lsn, stable: HeadLsns },
}

impl Entry {
    const fn kind(&self) -> u8 {
        match self {
            Self::Head(_) => HEAD,
            Self::Claims { .. } => CLAIMS,
            Self::Release { .. } => RELEASE,
            Self::IdBound(_) => ID_BOUND,
            Self::VersionFloor { .. } => VERSION_FLOOR,
            Self::Truncate { .. } => TRUNCATE,
        }
    }
}

/// Both copies of an entry.
pub(crate) fn encode_entry(number: u64, store_id: StoreId, entry: &Entry) -> [u8; ENTRY_LENGTH] {
    let mut bytes = [0; ENTRY_LENGTH];
    let (first, second) = bytes.split_at_mut(FRAME_LENGTH);
    encode_frame(first, number, store_id, entry);
    second.copy_from_slice(first);
    bytes
}

fn encode_frame(frame: &mut [u8], number: u64, store_id: StoreId, entry: &Entry) {
    let (header, body) = frame.split_at_mut(BODY_AT);
    let mut fields = FieldWriter::new(body);
    encode_body(&mut fields, entry);
    // A body is at most BODY_CAPACITY long.
    let length = (BODY_CAPACITY - fields.remaining()) as u16;
    FieldWriter::new(header).u32(0).bytes(&MAGIC).u64(number).bytes(&store_id.0).u8(entry.kind()).u16(length);
    let (crc, covered) = frame.split_at_mut(CRC_LENGTH);
    crc.copy_from_slice(&checksum(0, covered).to_le_bytes());
}

fn encode_body(fields: &mut FieldWriter<'_>, entry: &Entry) {
    match entry {
        Entry::Head(head) => encode_head(fields, head),
        Entry::Claims { stable, claims } => {
            debug_assert!(claims.len() <= MAX_CLAIMS);
            fields.head_lsns(stable).u8(claims.len() as u8);
            for (slot, claim) in claims {
                let predecessor = claim.predecessor.map_or(0, |segment| segment.0);
                fields.u32(slot.0).u64(claim.segment.0).u8(claim.head.0).u64(predecessor).u32(claim.end);
            }
        }
        Entry::Release { slots, stable } => {
            fields.u32(*slots).head_lsns(stable);
        }
        Entry::IdBound(bound) => {
            fields.u64(*bound);
        }
        Entry::VersionFloor { next_page_id, floor } => {
            fields.u64(next_page_id.0).u64(floor.0);
        }
        Entry::Truncate { first, stable } => {
            fields.u64(first.0).head_lsns(stable);
        }
    }
}

fn encode_head(fields: &mut FieldWriter<'_>, head: &ManifestHead) {
    fields
        .u32(FORMAT_VERSION)
        .u8(head.kind.number())
        .u32(head.segment_size)
        .u8(head.heads)
        .u64(head.next_segment.0)
        .u64(head.id_bound)
        .u64(head.next_page_id.0)
        .u64(head.version_floor.0)
        .head_lsns(&head.stable)
        .u64(head.first_lsn.0)
        .u32(head.table_entries);
}

/// One copy of an entry whose checksum is right.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame<'a> {
    pub(super) number: u64,
    pub(super) store_id: StoreId,
    kind: u8,
    length: u16,
    space: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The frame in these bytes, if they are one.
    pub(super) fn open(bytes: &'a [u8]) -> Option<Self> {
        let mut fields = FieldReader::new(bytes);
        let crc = fields.u32()?;
        if bytes.len() != FRAME_LENGTH || checksum(0, fields.rest()) != crc || fields.array() != Some(MAGIC) {
            return None;
        }
        let number = fields.u64()?;
        let store_id = StoreId(fields.array()?);
        let (kind, length) = (fields.u8()?, fields.u16()?);
        Some(Self { number, store_id, kind, length, space: fields.rest() })
    }

    /// The format version that this frame names, if it is the first of a manifest. See D.
    pub(super) fn format_version(&self) -> Option<u32> {
        FieldReader::new(self.space).u32()
    }

    /// The entry in this frame, or `None` if no writer of this format version makes it.
    pub(super) fn entry(&self) -> Option<Entry> {
        let (body, padding) = self.space.split_at_checked(usize::from(self.length))?;
        let mut fields = FieldReader::new(body);
        let entry = decode_body(self.kind, &mut fields)?;
        let clean = fields.rest().is_empty() && padding.iter().all(|&byte| byte == 0);
        clean.then_some(entry)
    }
}

fn decode_body(kind: u8, fields: &mut FieldReader<'_>) -> Option<Entry> {
    Some(match kind {
        HEAD => Entry::Head(decode_head(fields)?),
        CLAIMS => Entry::Claims { stable: fields.head_lsns()?, claims: decode_claims(fields)? },
        RELEASE => Entry::Release { slots: fields.u32()?, stable: fields.head_lsns()? },
        ID_BOUND => Entry::IdBound(fields.u64()?),
        VERSION_FLOOR => {
            Entry::VersionFloor { next_page_id: PageId(fields.u64()?), floor: Version(fields.u64()?) }
        }
        TRUNCATE => Entry::Truncate { first: Lsn(fields.u64()?), stable: fields.head_lsns()? },
        _ => return None,
    })
}

fn decode_head(fields: &mut FieldReader<'_>) -> Option<ManifestHead> {
    if fields.u32()? != FORMAT_VERSION {
        return None;
    }
    Some(ManifestHead {
        kind: StoreKind::from_number(fields.u8()?)?,
        segment_size: fields.u32()?,
        heads: fields.u8()?,
        next_segment: SegmentId(fields.u64()?),
        id_bound: fields.u64()?,
        next_page_id: PageId(fields.u64()?),
        version_floor: Version(fields.u64()?),
        stable: fields.head_lsns()?,
        first_lsn: Lsn(fields.u64()?),
        table_entries: fields.u32()?,
    })
}

fn decode_claims(fields: &mut FieldReader<'_>) -> Option<Vec<(SlotId, Claim)>> {
    let count = fields.u8()?;
    // The frame bounds the vector: a count that is too large ends at the missing bytes.
    (0..count).map(|_| decode_claim(fields)).collect()
}

fn decode_claim(fields: &mut FieldReader<'_>) -> Option<(SlotId, Claim)> {
    let (slot, segment, head) = (fields.u32()?, fields.u64()?, fields.u8()?);
    let (predecessor, end) = (fields.u64()?, fields.u32()?);
    let predecessor = (predecessor != 0).then_some(SegmentId(predecessor));
    Some((SlotId(slot), Claim { segment: SegmentId(segment), head: HeadId(head), predecessor, end }))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::{
        BODY_AT, Claim, ENTRY_LENGTH, Entry, FRAME_LENGTH, Frame, MAX_CLAIMS, ManifestHead, StoreKind,
        encode_entry,
    };
    use crate::format::checksum::checksum;
    use crate::format::store_id::StoreId;
    use crate::ids::{HeadId, HeadLsns, Lsn, PageId, SegmentId, SlotId, Version};

    const STORE: StoreId = StoreId(*b"0123456789abcdef");
    const STABLE: HeadLsns = [Lsn(9), Lsn(8), Lsn(0), Lsn(0)];
    const STABLE_BYTES: [u8; 32] =
        [9, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

    /// Computed by another implementation: zlib.
    const GOLDEN_CRCS: [u32; 6] =
        [0x853B_D593, 0x8B8C_0657, 0x6003_FABA, 0x5836_6C9D, 0xF11A_5AE4, 0xB0CB_CA48];

    fn claim(segment: u64) -> Claim {
        let predecessor = (segment > 1).then(|| SegmentId(segment - 1));
        Claim { segment: SegmentId(segment), head: HeadId::RELOCATED, predecessor, end: 4096 }
    }

    fn head() -> ManifestHead {
        ManifestHead {
            kind: StoreKind::Log,
            segment_size: 4096,
            heads: 2,
            next_segment: SegmentId(3),
            id_bound: 4,
            next_page_id: PageId(5),
            version_floor: Version(6),
            stable: STABLE,
            first_lsn: Lsn(7),
            table_entries: 1,
        }
    }

    /// One of each kind, with its kind number, body and checksum as entry 2.
    fn golden() -> Vec<(Entry, u8, Vec<u8>, u32)> {
        let word = |number: u8| [number, 0, 0, 0, 0, 0, 0, 0];
        let words = |numbers: &[u8]| numbers.iter().flat_map(|&number| word(number)).collect::<Vec<u8>>();
        let claims = vec![(SlotId(3), claim(1)), (SlotId(0), claim(2))];
        vec![
            (
                Entry::Head(head()),
                1,
                [
                    &[2, 0, 0, 0, 2, 0, 16, 0, 0, 2],
                    &words(&[3, 4, 5, 6])[..],
                    &STABLE_BYTES,
                    &word(7),
                    &[1, 0, 0, 0],
                ]
                .concat(),
                GOLDEN_CRCS[0],
            ),
            (
                Entry::Claims { stable: STABLE, claims },
                2,
                [
                    &STABLE_BYTES[..],
                    &[2, 3, 0, 0, 0],
                    &word(1),
                    &[1],
                    &word(0),
                    &[0, 16, 0, 0, 0, 0, 0, 0],
                    &word(2),
                    &[1],
                    &word(1),
                    &[0, 16, 0, 0],
                ]
                .concat(),
                GOLDEN_CRCS[1],
            ),
            (
                Entry::Release { slots: 2, stable: STABLE },
                4,
                [&[2, 0, 0, 0], &STABLE_BYTES[..]].concat(),
                GOLDEN_CRCS[2],
            ),
            (Entry::IdBound(77), 5, words(&[77]), GOLDEN_CRCS[3]),
            (
                Entry::VersionFloor { next_page_id: PageId(5), floor: Version(6) },
                6,
                words(&[5, 6]),
                GOLDEN_CRCS[4],
            ),
            (
                Entry::Truncate { first: Lsn(80), stable: STABLE },
                7,
                [&word(80), &STABLE_BYTES[..]].concat(),
                GOLDEN_CRCS[5],
            ),
        ]
    }

    fn decoded(frame: &[u8]) -> Option<Entry> {
        Frame::open(frame)?.entry()
    }

    #[test]
    fn golden_bytes_of_every_kind() {
        for (entry, kind, body, crc) in golden() {
            let mut expected = crc.to_le_bytes().to_vec();
            expected.extend(b"PLMF\x02\0\0\0\0\0\0\x000123456789abcdef");
            expected.extend([kind, body.len() as u8, 0]);
            expected.extend(body);
            expected.resize(FRAME_LENGTH, 0);
            let bytes = encode_entry(2, STORE, &entry);
            assert_eq!(bytes[..FRAME_LENGTH], expected, "{entry:?}");
            assert_eq!(bytes[FRAME_LENGTH..], expected);
            let frame = Frame::open(&expected).unwrap();
            assert_eq!((frame.number, frame.store_id), (2, STORE));
            assert_eq!(frame.entry(), Some(entry));
        }
    }

    #[test]
    fn the_format_version_stands_at_a_fixed_place() {
        let bytes = encode_entry(0, STORE, &Entry::Head(head()));
        assert_eq!(Frame::open(&bytes[..FRAME_LENGTH]).unwrap().format_version(), Some(2));
        assert_eq!(bytes[35..39], [2, 0, 0, 0]);
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_of_a_frame_is_noticed() {
        for (entry, ..) in golden() {
            let good = encode_entry(2, STORE, &entry);
            for bit in 0..FRAME_LENGTH * 8 {
                let mut bad = good;
                bad[bit / 8] ^= 1 << (bit % 8);
                assert!(Frame::open(&bad[..FRAME_LENGTH]).is_none(), "bit {bit} of {entry:?}");
            }
            for length in (0..FRAME_LENGTH).chain(FRAME_LENGTH + 1..=ENTRY_LENGTH) {
                assert!(Frame::open(&good[..length]).is_none(), "{length} bytes of {entry:?}");
            }
        }
    }

    #[test]
    fn an_entry_takes_as_many_claims_as_fit_and_a_larger_count_is_refused() {
        let claims: Vec<_> = (1..=MAX_CLAIMS).map(|n| (SlotId(n as u32), claim(n as u64))).collect();
        let entry = Entry::Claims { stable: STABLE, claims };
        let mut bytes = encode_entry(1, STORE, &entry);
        assert_eq!(decoded(&bytes[..FRAME_LENGTH]), Some(entry));
        for count in [0, 16, 18, 255] {
            bytes[BODY_AT + 32] = count;
            reseal(&mut bytes);
            assert_eq!(decoded(&bytes[..FRAME_LENGTH]), None, "{count}");
        }
    }

    #[test]
    fn sealed_nonsense_is_refused() {
        for (entry, _, body, _) in golden() {
            // The kinds of no entry, a body one byte longer or shorter, and padding in use.
            let length = body.len() as u8;
            let changes = [
                (32, 0),
                (32, 3),
                (32, 8),
                (33, length + 1),
                (33, length - 1),
                (34, 2),
                (FRAME_LENGTH - 1, 1),
            ];
            for (at, byte) in changes {
                let mut bytes = encode_entry(1, STORE, &entry);
                bytes[at] = byte;
                reseal(&mut bytes);
                assert_eq!(decoded(&bytes[..FRAME_LENGTH]), None, "byte {at} = {byte} of {entry:?}");
            }
        }
    }

    fn reseal(bytes: &mut [u8]) {
        let crc = checksum(0, &bytes[4..FRAME_LENGTH]);
        bytes[..4].copy_from_slice(&crc.to_le_bytes());
    }

    proptest! {
        #[test]
        fn any_sealed_body_gives_an_answer_and_what_is_read_writes_back(
            kind in 0_u8..9,
            length in 0_u16..480,
            count in any::<u8>(),
            body in vec(any::<u8>(), FRAME_LENGTH - BODY_AT),
        ) {
            let mut bytes = encode_entry(3, STORE, &Entry::IdBound(0));
            bytes[32] = kind;
            let body_length = [0, 86, 33 + 25 * u16::from(count % 19), length, 36, 8, 16, 40, length][usize::from(kind)];
            bytes[33..35].copy_from_slice(&body_length.to_le_bytes());
            bytes[BODY_AT..FRAME_LENGTH].copy_from_slice(&body);
            bytes[(BODY_AT + usize::from(body_length)).min(FRAME_LENGTH)..FRAME_LENGTH].fill(0);
            match kind {
                1 => bytes[BODY_AT..BODY_AT + 5].copy_from_slice(&[1, 0, 0, 0, count % 4]),
                2 => bytes[BODY_AT + 32] = count % 19,
                _ => {}
            }
            reseal(&mut bytes);
            if let Some(entry) = decoded(&bytes[..FRAME_LENGTH]) {
                prop_assert_eq!(&encode_entry(3, STORE, &entry)[..FRAME_LENGTH], &bytes[..FRAME_LENGTH]);
            }
        }
    }
}
