//! A whole node: one buffer, in memory as on disk.
//!
//! ```text
//!   0  kind      u8     1 (changes have others, see `node`)
//!   1  level     u8     0: a leaf
//!   2  sealed    u8
//!   3  bounded   u8     whether there is a high bound
//!   4  count     u32    entries
//!   8  serial    u64
//!  16  right     u64    page of the right sibling, 0 if none
//!  24            u64    its serial number
//!  32  prefix    u16    length of what all keys begin with
//!  34  low       u16    length of the low bound
//!  36  high      u16    length of the high bound
//!  38            u16    0
//!  40  slots     8 × count: the four bytes of the key behind the prefix, big-endian as a number (u32), and where the entry begins (u32)
//!      low, high
//!      entries   length of the key (u16), key, value; up to the next entry or the end
//! ```
//!
//! Numbers are little-endian. A search compares the slots' numbers, and keys only where these are equal; so
//! it touches few cache lines. The layout is checked once, when the bytes are decoded; what reads it later is
//! total all the same.

use std::cmp::Ordering;
use std::ops::Range;

use pagelog::{CodecError, PageId};

/// The first byte of a whole node.
pub const WHOLE: u8 = 1;
/// The longest key.
pub const LONGEST_KEY: usize = u16::MAX as usize;

/// Bytes of a node besides bounds and entries.
pub const HEADER: usize = 40;
const SLOT: usize = 8;
/// Bytes of an entry besides key and value.
pub const OVERHEAD: usize = SLOT + 2;

/// A link to a node: its page, and the serial number that it was made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    pub page: PageId,
    pub serial: u64,
}

impl Link {
    pub const NONE: Self = Self { page: PageId::new(0), serial: 0 };

    pub fn exists(self) -> bool {
        self.page.get() != 0
    }

    /// As the value of an inner node's entry.
    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        let (page, serial) = bytes.split_at_mut(8);
        page.copy_from_slice(&self.page.get().to_le_bytes());
        serial.copy_from_slice(&self.serial.to_le_bytes());
        bytes
    }

    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self { page: PageId::new(u64_at(bytes, 0)), serial: u64_at(bytes, 8) }
    }
}

/// What a node is besides its entries.
#[derive(Clone, Copy, Debug)]
pub struct Title<'a> {
    pub level: u8,
    pub sealed: bool,
    pub serial: u64,
    pub right: Link,
    pub low: &'a [u8],
    pub high: Option<&'a [u8]>,
}

/// A key and its value.
pub type Entry<'a> = (&'a [u8], &'a [u8]);

/// A view of a whole node.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    bytes: &'a [u8],
    count: usize,
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

#[inline]
pub fn u16_at(bytes: &[u8], at: usize) -> usize {
    u16::from_le_bytes(array_at(bytes, at)).into()
}

#[inline]
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

#[inline]
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

fn from(bytes: &[u8], at: usize) -> &[u8] {
    bytes.get(at..).unwrap_or_default()
}

/// The four bytes that a slot shows of a key. Shorter ones are filled up with zeros, which keeps the order.
#[inline]
fn shown(tail: &[u8]) -> u32 {
    if let Some(four) = tail.first_chunk() {
        return u32::from_be_bytes(*four);
    }
    let mut four = [0; 4];
    four.iter_mut().zip(tail).for_each(|(to, byte)| *to = *byte);
    u32::from_be_bytes(four)
}

/// The same, as they are written in a slot.
#[inline]
fn shown_in(slot: &[u8; SLOT]) -> u32 {
    u32_at(slot, 0)
}

/// Where the entry of a slot begins.
#[inline]
fn begin_in(slot: &[u8; SLOT]) -> usize {
    u32_at(slot, 4) as usize
}

impl<'a> Block<'a> {
    /// A view of bytes that were decoded, or built, as a whole node.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, count: u32_at(bytes, 4) as usize }
    }

    pub fn level(self) -> u8 {
        self.bytes.get(1).copied().unwrap_or(0)
    }

    #[inline]
    pub fn is_sealed(self) -> bool {
        self.bytes.get(2) != Some(&0)
    }

    #[inline]
    pub fn serial(self) -> u64 {
        u64_at(self.bytes, 8)
    }

    pub fn right(self) -> Link {
        Link::from_bytes(from(self.bytes, 16))
    }

    /// How many entries there are.
    #[inline]
    pub fn count(self) -> usize {
        self.count
    }

    /// How many bytes it takes.
    #[inline]
    pub fn size(self) -> usize {
        self.bytes.len()
    }

    fn bounds_at(self) -> usize {
        HEADER + SLOT * self.count
    }

    /// All keys are at or above this.
    pub fn low(self) -> &'a [u8] {
        from(self.bytes, self.bounds_at()).get(..u16_at(self.bytes, 34)).unwrap_or_default()
    }

    /// All keys are below this.
    #[inline]
    pub fn high(self) -> Option<&'a [u8]> {
        if self.bytes.get(3) == Some(&0) {
            return None;
        }
        let at = self.bounds_at() + u16_at(self.bytes, 34);
        from(self.bytes, at).get(..u16_at(self.bytes, 36))
    }

    pub fn title(self) -> Title<'a> {
        Title {
            level: self.level(),
            sealed: self.is_sealed(),
            serial: self.serial(),
            right: self.right(),
            low: self.low(),
            high: self.high(),
        }
    }

    #[inline]
    fn begin(self, index: usize) -> usize {
        u32_at(self.bytes, HEADER + SLOT * index + 4) as usize
    }

    #[inline]
    pub fn key(self, index: usize) -> &'a [u8] {
        let entry = from(self.bytes, self.begin(index));
        from(entry, 2).get(..u16_at(entry, 0)).unwrap_or_default()
    }

    /// The entry at an index below [`count`](Self::count).
    #[inline]
    pub fn entry(self, index: usize) -> Entry<'a> {
        self.entry_of(self.slots(), index)
    }

    #[inline]
    fn entry_of(self, slots: &[[u8; SLOT]], index: usize) -> Entry<'a> {
        let begin = |index: usize| slots.get(index).map_or(self.bytes.len(), begin_in);
        let entry = self.bytes.get(begin(index)..begin(index + 1)).unwrap_or_default();
        let Some((length, rest)) = entry.split_first_chunk() else { return Entry::default() };
        rest.split_at_checked(u16::from_le_bytes(*length).into()).unwrap_or_default()
    }

    pub fn entries(self) -> impl DoubleEndedIterator<Item = Entry<'a>> {
        self.entries_in(0..self.count)
    }

    /// The entries from one index to before another.
    #[inline]
    pub fn entries_in(self, range: Range<usize>) -> impl DoubleEndedIterator<Item = Entry<'a>> {
        let slots = self.slots();
        range.map(move |index| self.entry_of(slots, index))
    }

    /// The bytes of the entries from one index to before another, as they lie there, and where they begin.
    fn stretch(self, range: Range<usize>) -> (usize, &'a [u8]) {
        let at = |index| if index < self.count { self.begin(index) } else { self.bytes.len() };
        let (begin, end) = (at(range.start), at(range.end));
        (begin, self.bytes.get(begin..end).unwrap_or_default())
    }

    /// The slots, one for each entry.
    #[inline]
    fn slots(self) -> &'a [[u8; SLOT]] {
        from(self.bytes, HEADER).as_chunks().0.get(..self.count).unwrap_or_default()
    }

    /// Where a key is, or where it would be.
    #[inline]
    pub fn search(self, key: &[u8]) -> Result<usize, usize> {
        let slots = self.slots();
        if slots.is_empty() {
            return Err(0);
        }
        let prefix = u16_at(self.bytes, 32);
        let (begin, tail) = key.split_at(prefix.min(key.len()));
        match begin.cmp(self.key(0).get(..prefix).unwrap_or_default()) {
            Ordering::Less => return Err(0),
            Ordering::Greater => return Err(self.count),
            Ordering::Equal => {}
        }
        let sought = shown(tail);
        let low = slots.partition_point(|slot| shown_in(slot) < sought);
        if slots.get(low).is_none_or(|slot| shown_in(slot) != sought) {
            return Err(low);
        }
        let alike = slots.get(low + 1..).unwrap_or_default().partition_point(|slot| shown_in(slot) == sought);
        self.search_among(low, low + 1 + alike, prefix, tail)
    }

    /// Where a key is among those whose slots show the same four bytes.
    #[inline]
    fn search_among(
        self,
        mut low: usize,
        mut high: usize,
        prefix: usize,
        tail: &[u8],
    ) -> Result<usize, usize> {
        while low < high {
            let middle = low.midpoint(high);
            match from(self.key(middle), prefix).cmp(tail) {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => return Ok(middle),
            }
        }
        Err(low)
    }

    pub fn get(self, key: &[u8]) -> Option<&'a [u8]> {
        self.search(key).ok().map(|index| self.entry(index).1)
    }

    /// The node that the entry at an index leads to.
    pub fn child(self, index: usize) -> Link {
        Link::from_bytes(self.entry(index).1)
    }

    /// Whether bytes are laid out as they should be.
    pub fn validate(bytes: &'a [u8]) -> Result<(), CodecError> {
        if bytes.len() < HEADER {
            return Err("a node shorter than its header".into());
        }
        let block = Self::new(bytes);
        let bounds = block.bounds_at();
        let mut end = bounds + u16_at(bytes, 34) + u16_at(bytes, 36);
        if end > bytes.len() || block.count > bytes.len() / SLOT {
            return Err("a node shorter than its bounds".into());
        }
        for index in 0..block.count {
            let begin = block.begin(index);
            if begin < end || (index == 0 && begin != end) || begin + 2 > bytes.len() {
                return Err("entries of a node overlap".into());
            }
            end = begin + 2 + u16_at(bytes, begin);
        }
        let prefix = u16_at(bytes, 32);
        if end > bytes.len() || (0..block.count).any(|index| block.key(index).len() < prefix) {
            return Err("a key is cut short".into());
        }
        Ok(())
    }
}

fn put_u16(into: &mut Vec<u8>, number: usize) {
    into.extend_from_slice(&u16::try_from(number).unwrap_or(u16::MAX).to_le_bytes());
}

fn put_u32(into: &mut Vec<u8>, number: usize) {
    into.extend_from_slice(&u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
}

/// How many bytes a node will take.
pub fn size_of(title: &Title<'_>, entries: &[Entry<'_>]) -> usize {
    let bounds = title.low.len() + title.high.map_or(0, <[u8]>::len);
    HEADER + bounds + entries.iter().map(entry_size).sum::<usize>()
}

/// How many bytes of a node an entry takes.
pub fn entry_size((key, value): &Entry<'_>) -> usize {
    OVERHEAD + key.len() + value.len()
}

/// How many bytes two keys have in common at the beginning.
pub fn common_prefix(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}

/// A whole node of entries that are in order.
pub fn build(title: &Title<'_>, entries: &[Entry<'_>]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size_of(title, entries));
    let prefix = match entries {
        [] => 0,
        [(first, _), .., (last, _)] => common_prefix(first, last),
        [(only, _)] => only.len(),
    };
    let mut begin = put_header(&mut bytes, title, entries.len(), prefix);
    for (key, value) in entries {
        put_slot(&mut bytes, shown(from(key, prefix)), &mut begin, 2 + key.len() + value.len());
    }
    put_bounds(&mut bytes, title);
    entries.iter().for_each(|entry| put_entry(&mut bytes, entry));
    bytes
}

/// A change to a block: what it has at these indices goes, an entry comes in its place, or both.
pub struct Splice<'a> {
    /// One index, or none.
    pub replaced: Range<usize>,
    pub entry: Option<Entry<'a>>,
}

/// The same as [`build`] of a block's entries with changes, which are in order. Copies what lies between them
/// as it is.
pub fn rebuild(title: &Title<'_>, base: Block<'_>, changes: &[Splice<'_>]) -> Vec<u8> {
    let prefix = u16_at(base.bytes, 32);
    let count = match ends_with(base, changes) {
        Some((first, last, count)) if common_prefix(first, last) == prefix => count,
        // The slots show other bytes of the keys.
        _ => return build(title, &spliced(base, changes)),
    };
    let ends = || changes.iter().map(|change| change.replaced.start).chain([base.count]);
    let starts = || std::iter::once(0).chain(changes.iter().map(|change| change.replaced.end));
    let entries = || changes.iter().map(|change| change.entry.as_ref()).chain([None]);
    let kept: usize = starts().zip(ends()).map(|(start, end)| base.stretch(start..end).1.len()).sum();
    let new: usize =
        changes.iter().filter_map(|change| Some(entry_size(change.entry.as_ref()?) - SLOT)).sum();
    let mut bytes = Vec::with_capacity(size_of(title, &[]) + SLOT * count + kept + new);
    let mut begin = put_header(&mut bytes, title, count, prefix);
    for ((start, end), entry) in starts().zip(ends()).zip(entries()) {
        let (old, stretch) = base.stretch(start..end);
        for slot in base.slots().get(start..end).unwrap_or_default() {
            bytes.extend_from_slice(&moved(slot, old, begin));
        }
        begin += stretch.len();
        if let Some((key, value)) = entry {
            put_slot(&mut bytes, shown(from(key, prefix)), &mut begin, 2 + key.len() + value.len());
        }
    }
    put_bounds(&mut bytes, title);
    for ((start, end), entry) in starts().zip(ends()).zip(entries()) {
        bytes.extend_from_slice(base.stretch(start..end).1);
        entry.into_iter().for_each(|entry| put_entry(&mut bytes, entry));
    }
    bytes
}

/// The first and the last key that a block has after changes, and how many entries. `None` if that takes a
/// closer look.
fn ends_with<'a>(base: Block<'a>, changes: &[Splice<'a>]) -> Option<(&'a [u8], &'a [u8], usize)> {
    let end = base.count;
    let first = match changes.first() {
        Some(Splice { replaced, entry }) if replaced.start == 0 => entry.as_ref()?.0,
        _ => base.key(0),
    };
    let last = match changes.last() {
        Some(Splice { replaced, entry }) if replaced.end == end => entry.as_ref()?.0,
        _ => base.key(end.checked_sub(1)?),
    };
    let added = changes.iter().filter(|change| change.entry.is_some()).count();
    let removed: usize = changes.iter().map(|change| change.replaced.len()).sum();
    let count = (end + added).checked_sub(removed)?;
    (count > 1).then_some((first, last, count))
}

fn spliced<'a>(base: Block<'a>, changes: &[Splice<'a>]) -> Vec<Entry<'a>> {
    let mut entries = Vec::with_capacity(base.count + changes.len());
    let mut next = 0;
    for Splice { replaced, entry } in changes {
        entries.extend((next..replaced.start).map(|index| base.entry(index)));
        entries.extend(*entry);
        next = replaced.end;
    }
    entries.extend((next..base.count).map(|index| base.entry(index)));
    entries
}

/// Returns where the first entry will begin.
fn put_header(bytes: &mut Vec<u8>, title: &Title<'_>, count: usize, prefix: usize) -> usize {
    let high = title.high.unwrap_or_default();
    bytes.extend_from_slice(&[WHOLE, title.level, title.sealed.into(), title.high.is_some().into()]);
    put_u32(bytes, count);
    bytes.extend_from_slice(&title.serial.to_le_bytes());
    bytes.extend_from_slice(&title.right.to_bytes());
    for length in [prefix, title.low.len(), high.len(), 0] {
        put_u16(bytes, length);
    }
    HEADER + SLOT * count + title.low.len() + high.len()
}

/// Moves `begin` behind the entry.
fn put_slot(bytes: &mut Vec<u8>, shown: u32, begin: &mut usize, length: usize) {
    let mut slot = [0; SLOT];
    let (four, place) = slot.split_at_mut(4);
    four.copy_from_slice(&shown.to_le_bytes());
    place.copy_from_slice(&u32::try_from(*begin).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend_from_slice(&slot);
    *begin += length;
}

/// A slot of an entry that belongs to a stretch which began at `old` and begins at `new` now.
#[inline]
fn moved(slot: &[u8; SLOT], old: usize, new: usize) -> [u8; SLOT] {
    let begin = u32_at(slot, 4).wrapping_sub(old as u32).wrapping_add(new as u32);
    let mut slot = *slot;
    let (_, place) = slot.split_at_mut(4);
    place.copy_from_slice(&begin.to_le_bytes());
    slot
}

fn put_bounds(bytes: &mut Vec<u8>, title: &Title<'_>) {
    bytes.extend_from_slice(title.low);
    bytes.extend_from_slice(title.high.unwrap_or_default());
}

fn put_entry(bytes: &mut Vec<u8>, (key, value): &Entry<'_>) {
    put_u16(bytes, key.len());
    bytes.extend_from_slice(key);
    bytes.extend_from_slice(value);
}
