//! A record: the unit of the log.
//!
//! ```text
//!  0        4     5            5+v
//!  +--------+-----+------------+--------------------------------------+
//!  | crc    | tag | length     | rest: fields of the kind, payload    |
//!  | u32 LE | u8  | varint (v) | `length` bytes                       |
//!  +--------+-----+------------+--------------------------------------+
//!            |   |
//!            |   +- bits 0..4: kind, never 0
//!            +----- bits 4..8: flags, for kinds 1 and 2 only. 4: the payload is compressed. 5: it is a pointer to a file
//!                   (`large`) whose value is meant, and bit 4 is about that. The others are 0 in this version
//!
//!  kind            rest
//!  1 Replace       page id varint | version varint | age varint | payload
//!  2 Link          page id varint | version varint | payload
//!  3 Free          page id varint | version varint | age varint
//!  4 Entry         payload
//!  5 BatchBegin    (empty)
//!  6 BatchEnd      LSN of the begin u64
//!  7 Mark          end of its buffer in the segment u32 | stable LSN u64 for each head, 1 to 4
//!  8 Cancelled     anything
//!  9 End           (empty)
//! ```
//!
//! A record does not say where it lies: its LSN is its position. The checksum covers all bytes behind it and is seeded
//! with that position ([`RecordSeed::at`](crate::format::RecordSeed::at)).
//!
//! - **A.** [`decode`] is total, allocates nothing, and looks at no byte of the record's inside before the checksum has
//!   verified, except tag and length, which it needs to find the end.
//! - **B.** Every value has one form. What [`decode`] accepts, [`encode`] writes back to the same bytes.
//! - **C.** A run of zeros is no record, since no kind is 0: space that was reserved in the file and never written ends a scan.
//! - **D.** [`cancel`] keeps length and rest, so that the records behind a cancelled one are still found, and
//!   [`reseal`] keeps everything but the checksum, so that a moved record is the same record.
//!
//! The writing half is on the hottest path there is (some 60 bytes, millions per second and core), so it makes one
//! pass: fields straight into the reserved bytes, payload behind them, one checksum over both.

use crate::format::checksum::checksum;
use crate::format::fields::FieldReader;
use crate::format::varint;
use crate::ids::{HeadId, HeadLsns, Lsn, PageId, Version};

/// The shortest record: checksum, tag and a length of 0. A rest of a segment below this ends the segment.
pub(crate) const MIN_LENGTH: usize = TAG_AT + 2;
/// The length of an [`End`](RecordKind::End).
pub(crate) const END_LENGTH: usize = MIN_LENGTH;
/// The length of the marks that this version writes.
pub(crate) const MARK_LENGTH: usize = MIN_LENGTH + mark_body_length(HeadId::COUNT);

const TAG_AT: usize = 4;
const KIND_BITS: u32 = 4;
const KIND_MASK: u8 = (1 << KIND_BITS) - 1;
/// The flag of a record whose payload is compressed.
const COMPRESSED: u8 = 1 << KIND_BITS;
/// The flag of a record whose payload is a pointer to a file.
const OUTSIDE: u8 = 2 << KIND_BITS;

const REPLACE: u8 = 1;
const LINK: u8 = 2;
const FREE: u8 = 3;
const ENTRY: u8 = 4;
const BATCH_BEGIN: u8 = 5;
const BATCH_END: u8 = 6;
const MARK: u8 = 7;
const CANCELLED: u8 = 8;
const END: u8 = 9;

const BATCH_END_BODY: usize = 8;

const fn mark_body_length(heads: usize) -> usize {
    4 + 8 * heads
}

// The length of a mark takes one byte for any number of heads, and tags have room for all kinds.
const _: () = assert!(mark_body_length(HeadId::MAXIMUM) < 0x80 && END < 1 << KIND_BITS);
const _: () = assert!(MARK_LENGTH == 26 && MIN_LENGTH == 6);

/// What a record says, without its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordKind {
    /// The whole page: everything of it with a lower version is dead.
    Replace {
        page_id: PageId,
        version: Version,
        /// How many versions ago this life of the page id began; 0 if it begins here.
        age: u64,
    },
    /// A fragment on top of the page's version before.
    Link { page_id: PageId, version: Version },
    /// The page is no more; its id is free.
    Free { page_id: PageId, version: Version, age: u64 },
    /// A record of somebody who uses the log without pages.
    Entry,
    /// A batch begins here.
    BatchBegin,
    /// The batch that began at `begin` is complete.
    BatchEnd { begin: Lsn },
    /// The first record of a write buffer.
    Mark {
        /// Where the buffer ends, counted from the start of the segment.
        end: u32,
        /// What was stable when the buffer was written.
        stable: HeadLsns,
        /// How many of `stable` are written, 1 to 4; the others are zero.
        heads: u8,
    },
    /// The writer of this record withdrew it.
    Cancelled,
    /// Nothing follows in this segment.
    End,
}

impl RecordKind {
    /// A mark as this version writes it.
    pub(crate) const fn mark(end: u32, stable: HeadLsns) -> Self {
        Self::Mark { end, stable, heads: HeadId::COUNT as u8 }
    }

    #[inline]
    const fn tag(&self) -> u8 {
        match self {
            Self::Replace { .. } => REPLACE,
            Self::Link { .. } => LINK,
            Self::Free { .. } => FREE,
            Self::Entry => ENTRY,
            Self::BatchBegin => BATCH_BEGIN,
            Self::BatchEnd { .. } => BATCH_END,
            Self::Mark { .. } => MARK,
            Self::Cancelled => CANCELLED,
            Self::End => END,
        }
    }

    /// The bytes of the fields between length and payload.
    #[inline]
    const fn fields_length(&self) -> usize {
        match *self {
            Self::Replace { page_id, version, age } | Self::Free { page_id, version, age } => {
                varint::length(page_id.0) + varint::length(version.0) + varint::length(age)
            }
            Self::Link { page_id, version } => varint::length(page_id.0) + varint::length(version.0),
            Self::BatchEnd { .. } => BATCH_END_BODY,
            Self::Mark { heads, .. } => mark_body_length(heads as usize),
            Self::Entry | Self::BatchBegin | Self::Cancelled | Self::End => 0,
        }
    }

    #[inline]
    const fn takes_payload(&self) -> bool {
        matches!(self, Self::Replace { .. } | Self::Link { .. } | Self::Entry | Self::Cancelled)
    }

    /// Whether the payload may be compressed, and may be in a file of its own.
    #[inline]
    const fn takes_flags(&self) -> bool {
        matches!(self, Self::Replace { .. } | Self::Link { .. })
    }
}

/// What a record carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Payload<'a> {
    pub(crate) bytes: &'a [u8],
    /// The bytes are not the user's, but what compression has made of them.
    pub(crate) compressed: bool,
    /// The bytes are a pointer to the file that holds what is meant.
    pub(crate) outside: bool,
}

impl<'a> Payload<'a> {
    pub(crate) const NONE: Self = Payload::plain(&[]);

    #[inline]
    pub(crate) const fn plain(bytes: &'a [u8]) -> Self {
        Self { bytes, compressed: false, outside: false }
    }

    #[cfg(any(test, feature = "compression"))]
    pub(crate) const fn compressed(bytes: &'a [u8]) -> Self {
        Self { bytes, compressed: true, outside: false }
    }
}

/// A record that verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) kind: RecordKind,
    /// Empty for kinds that carry none, also for cancelled records.
    pub(crate) payload: Payload<'a>,
    /// The length of the whole record.
    pub(crate) length: usize,
}

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordFault {
    /// There is no room for a record.
    TooShort,
    /// The checksum does not match these bytes at this place.
    Checksum,
    /// What is written can't be.
    Invalid(&'static str),
}

impl RecordFault {
    /// The end of a sentence that begins with "the record".
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::TooShort => "has no room before the end of the segment",
            Self::Checksum => "does not match its checksum",
            Self::Invalid(reason) => reason,
        }
    }
}

/// Whether a mark may begin here: a quick look for who searches every byte for one.
pub(crate) fn may_be_mark(bytes: &[u8]) -> bool {
    // The length is looked at too: else bytes chosen for it would have most of a segment checksummed, again and again.
    let is_length =
        |length: &u8| (1..=HeadId::MAXIMUM).any(|heads| usize::from(*length) == mark_body_length(heads));
    bytes.get(TAG_AT) == Some(&MARK) && bytes.get(TAG_AT + 1).is_some_and(is_length)
}

/// How long the record that begins here says it is, if it can be one: a quick look for who searches every byte for one.
pub(crate) fn claimed_length(bytes: &[u8]) -> Option<usize> {
    bytes.get(TAG_AT).filter(|tag| (REPLACE..=END).contains(&(**tag & KIND_MASK)))?;
    let (body, length) = varint::read(bytes.get(TAG_AT + 1..)?)?;
    let whole = usize::try_from(body).ok()?.checked_add(TAG_AT + 1 + length)?;
    (whole <= bytes.len()).then_some(whole)
}

/// The length of the whole record.
#[inline]
pub(crate) const fn encoded_length(kind: &RecordKind, payload_length: usize) -> usize {
    let body = kind.fields_length() + payload_length;
    TAG_AT + 1 + varint::length(body as u64) + body
}

/// Writes a record over all of `into`, which has exactly its [`encoded_length`].
#[inline]
pub(crate) fn encode(into: &mut [u8], seed: u32, kind: &RecordKind, payload: Payload<'_>) {
    let Payload { bytes: payload, compressed, outside } = payload;
    debug_assert_eq!(into.len(), encoded_length(kind, payload.len()));
    debug_assert!(payload.is_empty() || kind.takes_payload());
    debug_assert!(!(compressed || outside) || kind.takes_flags());
    let body = kind.fields_length() + payload.len();
    if let Some(tag) = into.get_mut(TAG_AT) {
        *tag = kind.tag() | if compressed { COMPRESSED } else { 0 } | if outside { OUTSIDE } else { 0 };
    }
    let at = varint::put(into, TAG_AT + 1, body as u64);
    let at = put_fields(into, at, kind);
    // The caller's slice has the right length or this panics, before anything is sealed.
    into[at..].copy_from_slice(payload);
    reseal(into, seed);
}

#[inline]
fn put_fields(into: &mut [u8], at: usize, kind: &RecordKind) -> usize {
    match *kind {
        RecordKind::Replace { page_id, version, age } | RecordKind::Free { page_id, version, age } => {
            debug_assert!(age <= version.0);
            let at = varint::put(into, at, page_id.0);
            let at = varint::put(into, at, version.0);
            varint::put(into, at, age)
        }
        RecordKind::Link { page_id, version } => {
            let at = varint::put(into, at, page_id.0);
            varint::put(into, at, version.0)
        }
        RecordKind::BatchEnd { begin } => put_bytes(into, at, begin.0.to_le_bytes()),
        RecordKind::Mark { end, stable, heads } => {
            debug_assert!((1..=HeadId::MAXIMUM).contains(&usize::from(heads)));
            let mut at = put_bytes(into, at, end.to_le_bytes());
            for lsn in stable.iter().take(usize::from(heads)) {
                at = put_bytes(into, at, lsn.0.to_le_bytes());
            }
            at
        }
        RecordKind::Entry | RecordKind::BatchBegin | RecordKind::Cancelled | RecordKind::End => at,
    }
}

#[inline]
fn put_bytes<const N: usize>(into: &mut [u8], at: usize, bytes: [u8; N]) -> usize {
    if let Some(field) = into.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<N>) {
        *field = bytes;
    }
    at + N
}

/// Makes the checksum right for these bytes at another place (or for bytes that were changed).
#[inline]
pub(crate) fn reseal(record: &mut [u8], seed: u32) {
    if let Some((crc, covered)) = record.split_first_chunk_mut::<TAG_AT>() {
        *crc = checksum(seed, covered).to_le_bytes();
    }
}

/// Turns a record, whatever it was, into a cancelled one of the same length.
pub(crate) fn cancel(record: &mut [u8], seed: u32) {
    if let Some(tag) = record.get_mut(TAG_AT) {
        *tag = CANCELLED;
    }
    reseal(record, seed);
}

/// Reads the record at the front of `bytes`, which reach up to the end of the segment (or of what is known of it).
#[inline]
pub(crate) fn decode(bytes: &[u8], seed: u32) -> Result<Record<'_>, RecordFault> {
    let mut fields = FieldReader::new(bytes);
    let (Some(crc), covered) = (fields.u32(), fields.rest()) else { return Err(RecordFault::TooShort) };
    let tag = fields.u8().ok_or(RecordFault::TooShort)?;
    if fields.rest().is_empty() {
        return Err(RecordFault::TooShort);
    }
    let (number, flags) = (tag & KIND_MASK, tag & !KIND_MASK);
    if number == 0 || number > END || flags & !(COMPRESSED | OUTSIDE) != 0 {
        return Err(RecordFault::Invalid("has an unknown kind"));
    }
    let body_length = fields.varint().ok_or(RecordFault::Invalid("has an invalid length"))?;
    let body = usize::try_from(body_length)
        .ok()
        .and_then(|length| fields.slice(length))
        .ok_or(RecordFault::Invalid("reaches beyond its segment"))?;
    let covered = covered.get(..covered.len() - fields.rest().len()).unwrap_or(covered);
    if checksum(seed, covered) != crc {
        return Err(RecordFault::Checksum);
    }
    let (kind, bytes) = decode_body(number, body).ok_or(RecordFault::Invalid("has invalid fields"))?;
    if flags != 0 && !kind.takes_flags() {
        return Err(RecordFault::Invalid("is of a kind that has no flags"));
    }
    let payload = Payload { bytes, compressed: flags & COMPRESSED != 0, outside: flags & OUTSIDE != 0 };
    Ok(Record { kind, payload, length: TAG_AT + covered.len() })
}

/// The fields of a record whose checksum is right; `None` if no writer of this format makes them.
#[inline]
fn decode_body(tag: u8, body: &[u8]) -> Option<(RecordKind, &[u8])> {
    let mut fields = FieldReader::new(body);
    let kind = match tag {
        REPLACE => {
            let (page_id, version) = page_and_version(&mut fields)?;
            RecordKind::Replace { page_id, version, age: age(&mut fields, version)? }
        }
        LINK => {
            let (page_id, version) = page_and_version(&mut fields)?;
            RecordKind::Link { page_id, version }
        }
        FREE => {
            let (page_id, version) = page_and_version(&mut fields)?;
            RecordKind::Free { page_id, version, age: age(&mut fields, version)? }
        }
        ENTRY => RecordKind::Entry,
        BATCH_BEGIN => RecordKind::BatchBegin,
        BATCH_END => RecordKind::BatchEnd { begin: Lsn(fields.u64()?) },
        MARK => decode_mark(&mut fields)?,
        CANCELLED => return Some((RecordKind::Cancelled, &[])),
        END => RecordKind::End,
        _ => return None,
    };
    (kind.takes_payload() || fields.rest().is_empty()).then_some((kind, fields.rest()))
}

#[inline]
fn page_and_version(fields: &mut FieldReader<'_>) -> Option<(PageId, Version)> {
    let page_id = fields.varint().filter(|&id| id < PageId::LIMIT)?;
    Some((PageId(page_id), Version(fields.varint()?)))
}

#[inline]
fn age(fields: &mut FieldReader<'_>, version: Version) -> Option<u64> {
    fields.varint().filter(|&age| age <= version.0)
}

fn decode_mark(fields: &mut FieldReader<'_>) -> Option<RecordKind> {
    let end = fields.u32()?;
    let mut stable = HeadLsns::default();
    let mut heads = 0;
    for lsn in &mut stable {
        if fields.rest().is_empty() {
            break;
        }
        *lsn = Lsn(fields.u64()?);
        heads += 1;
    }
    (heads > 0).then_some(RecordKind::Mark { end, stable, heads })
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{Just, Strategy, any, prop_assert_eq, prop_oneof, proptest};

    use super::{
        END_LENGTH, MARK_LENGTH, Payload, Record, RecordFault, RecordKind, cancel, decode, encode,
        encoded_length, reseal,
    };
    use crate::format::checksum::RecordSeed;
    use crate::format::store_id::StoreId;
    use crate::ids::{HeadId, Lsn, PageId, SegmentId, Version};

    const STABLE: [Lsn; HeadId::MAXIMUM] = [Lsn(0x0102_0304), Lsn(5), Lsn(0), Lsn(0)];

    fn seed() -> u32 {
        RecordSeed::new(StoreId(*b"0123456789abcdef")).at(SegmentId(9), 80)
    }

    fn encoded(kind: &RecordKind, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0xEE; encoded_length(kind, payload.len())];
        encode(&mut bytes, seed(), kind, Payload::plain(payload));
        bytes
    }

    /// One of each kind, with the bytes behind the checksum.
    fn golden() -> Vec<(RecordKind, &'static [u8], Vec<u8>)> {
        let (page_id, version) = (PageId(300), Version(5));
        let mut mark = vec![7, 20, 0x78, 0x56, 0x34, 0x12, 4, 3, 2, 1, 0, 0, 0, 0];
        mark.extend([5, 0, 0, 0, 0, 0, 0, 0]);
        vec![
            (
                RecordKind::Replace { page_id, version, age: 4 },
                b"page",
                vec![1, 8, 0xAC, 2, 5, 4, b'p', b'a', b'g', b'e'],
            ),
            (RecordKind::Link { page_id, version }, b"up", vec![2, 5, 0xAC, 2, 5, b'u', b'p']),
            (RecordKind::Free { page_id, version, age: 5 }, b"", vec![3, 4, 0xAC, 2, 5, 5]),
            (RecordKind::Entry, b"\0\xFF", vec![4, 2, 0, 0xFF]),
            (RecordKind::BatchBegin, b"", vec![5, 0]),
            (RecordKind::BatchEnd { begin: Lsn(0x0A0B) }, b"", vec![6, 8, 0x0B, 0x0A, 0, 0, 0, 0, 0, 0]),
            (RecordKind::mark(0x1234_5678, STABLE), b"", mark),
            (RecordKind::Cancelled, b"", vec![8, 0]),
            (RecordKind::End, b"", vec![9, 0]),
        ]
    }

    #[test]
    fn golden_bytes_of_every_kind() {
        for (kind, payload, expected) in golden() {
            let bytes = encoded(&kind, payload);
            assert_eq!(bytes[4..], expected, "{kind:?}");
            assert_eq!(
                decode(&bytes, seed()),
                Ok(Record { kind, payload: Payload::plain(payload), length: bytes.len() })
            );
        }
        assert_eq!(encoded(&RecordKind::mark(0, STABLE), b"").len(), MARK_LENGTH);
        assert_eq!(encoded(&RecordKind::End, b"").len(), END_LENGTH);
    }

    #[test]
    fn a_compressed_payload_is_a_flag_in_the_tag_of_pages_and_links_only() {
        for (kind, payload, expected) in golden() {
            let mut bytes = encoded(&kind, payload);
            bytes[4] |= 0x10;
            reseal(&mut bytes, seed());
            if matches!(kind, RecordKind::Replace { .. } | RecordKind::Link { .. }) {
                let mut written = vec![0; bytes.len()];
                encode(&mut written, seed(), &kind, Payload::compressed(payload));
                assert_eq!((&written, &written[5..]), (&bytes, &expected[1..]));
                let payload = Payload::compressed(payload);
                assert_eq!(decode(&bytes, seed()), Ok(Record { kind, payload, length: bytes.len() }));
            } else {
                assert!(matches!(decode(&bytes, seed()), Err(RecordFault::Invalid(_))), "{kind:?}");
            }
            bytes[4] ^= 0x50;
            reseal(&mut bytes, seed());
            assert!(matches!(decode(&bytes, seed()), Err(RecordFault::Invalid(_))), "{kind:?}");
        }
    }

    #[test]
    fn golden_checksums() {
        // Computed by another implementation: zlib.
        let sums: Vec<u32> = golden()
            .iter()
            .map(|(kind, payload, _)| {
                let bytes = encoded(kind, payload);
                u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
            })
            .collect();
        assert_eq!(
            sums,
            [
                0x4D50_C2FF,
                0x3B37_4DBE,
                0xF03E_8D5F,
                0x4D92_218B,
                0xBDA0_1E77,
                0xACE8_273B,
                0x2837_573C,
                0x080E_603A,
                0x1115_517B
            ]
        );
    }

    #[test]
    fn the_example_in_the_documentation_is_a_record() {
        let document: String = include_str!("../docs/format.md").split_whitespace().collect();
        let (kind, payload, _) = &golden()[1];
        let example: String = encoded(kind, payload).iter().map(|byte| format!("{byte:02X}")).collect();
        assert!(document.contains(&example), "{example}");
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        for (kind, payload, _) in golden() {
            let good = encoded(&kind, payload);
            for bit in 0..good.len() * 8 {
                let mut bad = good.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                bad.extend([0; 64]);
                assert!(decode(&bad, seed()).is_err(), "{kind:?}, bit {bit}");
            }
        }
    }

    #[test]
    fn every_truncation_is_noticed() {
        for (kind, payload, _) in golden() {
            let bytes = encoded(&kind, payload);
            for length in 0..bytes.len() {
                assert!(decode(&bytes[..length], seed()).is_err(), "{kind:?} cut to {length}");
            }
        }
    }

    #[test]
    fn a_record_verifies_at_no_other_place() {
        let bytes = encoded(&RecordKind::Entry, b"where am I");
        let store = RecordSeed::new(StoreId(*b"0123456789abcdef"));
        for (segment, offset) in [(8, 80), (10, 80), (9, 79), (9, 81), (9, 0)] {
            assert_eq!(decode(&bytes, store.at(SegmentId(segment), offset)), Err(RecordFault::Checksum));
        }
        let other = RecordSeed::new(StoreId(*b"0123456789abcdeg"));
        assert_eq!(decode(&bytes, other.at(SegmentId(9), 80)), Err(RecordFault::Checksum));
    }

    #[test]
    fn a_run_of_equal_bytes_is_no_record() {
        for byte in 0..=u8::MAX {
            assert!(decode(&[byte; 4096], seed()).is_err(), "{byte}");
        }
    }

    #[test]
    fn cancelling_keeps_the_length_and_hides_the_payload() {
        for (kind, payload, _) in golden() {
            let mut bytes = encoded(&kind, payload);
            let before = bytes.clone();
            cancel(&mut bytes, seed());
            let expected =
                Record { kind: RecordKind::Cancelled, payload: Payload::NONE, length: before.len() };
            assert_eq!(decode(&bytes, seed()), Ok(expected));
            assert_eq!(bytes[5..], before[5..]);
        }
    }

    #[test]
    fn resealing_moves_a_record_and_changes_nothing_else() {
        let mut bytes = encoded(&RecordKind::Entry, b"moving");
        let before = bytes.clone();
        reseal(&mut bytes, 77);
        assert_eq!(decode(&bytes, 77).unwrap().payload.bytes, b"moving");
        assert!(decode(&bytes, seed()).is_err());
        assert_eq!(bytes[4..], before[4..]);
    }

    /// Bodies with a right checksum that no writer makes: `tag`, `length` and what follows.
    #[test]
    fn sealed_nonsense_is_refused() {
        let nonsense: [&[u8]; 16] = [
            &[0, 0],
            &[10, 0],
            &[0x14, 0],
            &[1, 0],
            &[1, 3, 1, 5, 6],
            &[1, 7, 0x80, 0x80, 0x80, 0x80, 0x10, 1, 0],
            &[2, 1, 1],
            &[2, 3, 0x81, 0, 1],
            &[3, 4, 1, 5, 5, 0],
            &[4, 0x80, 0],
            &[5, 1, 0],
            &[6, 7, 0, 0, 0, 0, 0, 0, 0],
            &[7, 4, 0, 0, 0, 0],
            &[7, 13, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            &[7, 44, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            &[9, 1, 0],
        ];
        for body in nonsense {
            let mut bytes = vec![0; 4];
            bytes.extend(body);
            // The mark of five heads.
            bytes.resize(bytes.len().max(if body[1] == 44 { 50 } else { 0 }), 0);
            reseal(&mut bytes, seed());
            assert!(matches!(decode(&bytes, seed()), Err(RecordFault::Invalid(_))), "{body:?}");
        }
    }

    #[test]
    fn marks_of_every_number_of_heads_are_read() {
        for heads in 1..=4 {
            let mut stable = [Lsn(11), Lsn(22), Lsn(33), Lsn(44)];
            stable[usize::from(heads)..].fill(Lsn(0));
            let kind = RecordKind::Mark { end: 512, stable, heads };
            assert_eq!(decode(&encoded(&kind, b""), seed()).unwrap().kind, kind);
        }
    }

    fn kinds() -> impl Strategy<Value = RecordKind> {
        let page = || (0..PageId::LIMIT).prop_map(PageId);
        let versions =
            || (any::<u64>(), any::<u64>(), 0_u32..64).prop_map(|(a, b, s)| (a.max(b) >> s, a.min(b) >> s));
        prop_oneof![
            (page(), versions()).prop_map(|(page_id, (version, age))| RecordKind::Replace {
                page_id,
                version: Version(version),
                age
            }),
            (page(), versions())
                .prop_map(|(page_id, (version, _))| RecordKind::Link { page_id, version: Version(version) }),
            Just(RecordKind::Entry),
        ]
    }

    proptest! {
        #[test]
        fn records_come_back(kind in kinds(), payload in vec(any::<u8>(), 0..300), tail in vec(any::<u8>(), 0..20)) {
            let mut bytes = encoded(&kind, &payload);
            let length = bytes.len();
            bytes.extend(tail);
            prop_assert_eq!(decode(&bytes, seed()), Ok(Record { kind, payload: Payload::plain(&payload), length }));
        }

        #[test]
        fn random_bytes_give_an_answer(mut bytes in vec(any::<u8>(), 0..100), tag in 0_u8..11, length in 0_u8..90) {
            let _ = decode(&bytes, seed());
            if bytes.len() > 6 {
                (bytes[4], bytes[5]) = (tag, length);
                bytes.truncate(6 + usize::from(length));
                reseal(&mut bytes, seed());
                if let Ok(Record { kind, payload, .. }) = decode(&bytes, seed())
                    && kind != RecordKind::Cancelled
                {
                    prop_assert_eq!(encoded(&kind, payload.bytes), bytes);
                }
            }
        }
    }
}
