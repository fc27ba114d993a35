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
//! A record does not say where it lies: its LSN is its position. The checksum covers all bytes behind it and
//! is seeded with that position ([`RecordSeed::at`](crate::format::RecordSeed::at)).
//!
//! - **A.** [`decode`] is total, allocates nothing, and looks at no byte of the record's inside before the
//!   checksum has verified, except tag and length, which it needs to find the end.
//! - **B.** Every value has one form. What [`decode`] accepts, [`encode`] writes back to the same bytes.
//! - **C.** A run of zeros is no record, since no kind is 0: space that was reserved in the file and never
//!   written ends a scan.
//! - **D.** [`cancel`] keeps length and rest, so that the records behind a cancelled one are still found, and
//!   [`reseal`] keeps everything but the checksum, so that a moved record is the same record.
//!
//! The writing half is on the hottest path there is (some 60 bytes, millions per second and core), so it
//! makes one pass: fields straight into the reserved bytes, payload behind them, one checksum over both.

use crate::format::checksum::checksum;
use crate::format::fields::FieldReader;
use crate::format::varint;
use crate::ids::{HeadId, HeadLsns, Lsn, PageId, Version};

/// The shortest record: checksum, tag and a length of 0. A rest of a segment below this ends the segment.
pub(crate) const MIN_LENGTH: usize = TAG_AT + 2;
/// The length of an [`End`](RecordKind::End).
pub(crate) const END_LENGTH: usize = MIN_LENGTH;

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

/// The length of the marks of a store with so many heads.
pub(crate) const fn mark_length(heads: u8) -> usize {
    MIN_LENGTH + mark_body_length(heads as usize)
}

const fn mark_body_length(heads: usize) -> usize {
    4 + 8 * heads
}

// The length of a mark takes one byte for any number of heads, and tags have room for all kinds.
const _: () = assert!(mark_body_length(HeadId::COUNT) < 0x80 && END < 1 << KIND_BITS);
const _: () = assert!(mark_length(2) == 26 && MIN_LENGTH == 6);

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

/// Whether a mark may begin here: a quick look for those who search every byte for one.
pub(crate) fn may_be_mark(bytes: &[u8]) -> bool {
    // The length is looked at too: else bytes chosen for it would have most of a segment checksummed, again
    // and again.
    let is_length =
        |length: &u8| (1..=HeadId::COUNT).any(|heads| usize::from(*length) == mark_body_length(heads));
    bytes.get(TAG_AT) == Some(&MARK) && bytes.get(TAG_AT + 1).is_some_and(is_length)
}

/// How long the record that begins here says it is, if it can be one: a quick look for those who search every
/// byte for one.
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
            debug_assert!((1..=HeadId::COUNT).contains(&usize::from(heads)));
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

/// Makes cancelled records of all of the bytes, which are none or as many as the shortest record has. `seed`
/// is that of a place so many bytes behind the first.
pub(crate) fn fill(bytes: &mut [u8], seed: impl Fn(u32) -> u32) {
    let (mut rest, mut at) = (bytes, 0);
    while !rest.is_empty() {
        // There are lengths that no record has: a byte more, and the length takes another. Then the shortest
        // goes before it.
        let body = body_length(rest.len());
        let length = if body.is_some() { rest.len() } else { MIN_LENGTH.min(rest.len()) };
        let (record, behind) = rest.split_at_mut(length);
        record.fill(0);
        varint::put(record, TAG_AT + 1, body.unwrap_or(0));
        cancel(record, seed(at));
        // Below a segment's length.
        at += length as u32;
        rest = behind;
    }
}

/// How long the rest of a record is that has so many bytes in all.
fn body_length(whole: usize) -> Option<u64> {
    let body = |length: usize| Some(whole.checked_sub(TAG_AT + 1 + length)? as u64);
    (1..=4).find_map(|length| body(length).filter(|body| varint::length(*body) == length))
}

/// Reads the record at the front of `bytes`, which reach up to the end of the segment (or of what is known of
/// it).
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
mod tests;
