//! Reading a snapshot out of a slice. The format, and the letters, are in [`snapshot`](crate::format::snapshot).
//!
//! There are two passes. [`Snapshot::open`] verifies all blocks and the footer (A), so that nobody begins to believe
//! a file that turns out to be cut short. [`Snapshot::pages`] then walks through the pages. Its items are still
//! results, since a file can have the right checksums and say what no writer says.

use crate::format::checksum::checksum;
use crate::format::fields::FieldReader;
use crate::format::manifest_entry::FORMAT_VERSION;
use crate::format::record;
use crate::format::snapshot::{
    BLOCK_HEADER_LENGTH, FOOTER, HEADER, MAGIC, PAGES, SnapshotBase, SnapshotFault, SnapshotFooter,
    SnapshotHeader, SnapshotRecord, block_seed, unzigzag,
};
use crate::format::store_id::StoreId;
use crate::geometry::Geometry;
use crate::ids::{Lsn, PageId, Version};

type Reason = &'static str;

/// A snapshot whose every block verifies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Snapshot<'a> {
    bytes: &'a [u8],
    header: SnapshotHeader,
    footer: SnapshotFooter,
}

impl<'a> Snapshot<'a> {
    /// Verifies the snapshot that fills `bytes` and has to be of that store and serial.
    pub(crate) fn open(bytes: &'a [u8], store_id: StoreId, serial: u64) -> Result<Self, SnapshotFault> {
        let mut blocks = Blocks::new(bytes);
        let mut check = SnapshotCheck::new(store_id, serial);
        loop {
            let offset = blocks.offset();
            let fault = |reason| SnapshotFault { offset, reason };
            let block = blocks.next().ok_or(fault(CUT_SHORT))?;
            check.take(&block).map_err(fault)?;
            if let (Some(header), Some(footer)) = (check.header, check.footer) {
                let over = blocks.is_over();
                return if over { Ok(Self { bytes, header, footer }) } else { Err(fault(BEHIND_FOOTER)) };
            }
        }
    }

    pub(crate) const fn header(&self) -> &SnapshotHeader {
        &self.header
    }

    pub(crate) const fn footer(&self) -> &SnapshotFooter {
        &self.footer
    }

    /// All pages, by rising id. Ends after the first fault.
    pub(crate) fn pages(&self) -> SnapshotPages<'a> {
        let mut blocks = Blocks::new(self.bytes);
        // The header; it was read already.
        let _ = blocks.next();
        SnapshotPages {
            offset: blocks.offset(),
            blocks,
            block: FieldReader::new(&[]),
            previous: None,
            previous_lsn: Lsn(0),
            lowest_id: 0,
            footer: self.footer,
            pages: 0,
            over: false,
        }
    }
}

const BEHIND_FOOTER: Reason = "something follows the footer";
const CUT_SHORT: Reason = "the snapshot is cut short";

/// Verifies a snapshot block by block, for those who can't have all of it in memory.
#[derive(Debug)]
pub(crate) struct SnapshotCheck {
    store_id: StoreId,
    serial: u64,
    number: u32,
    file_check: u32,
    header: Option<SnapshotHeader>,
    footer: Option<SnapshotFooter>,
}

impl SnapshotCheck {
    /// How many bytes at the front of a block say how long it is.
    pub(crate) const PREFIX: usize = BLOCK_HEADER_LENGTH;

    pub(crate) fn new(store_id: StoreId, serial: u64) -> Self {
        Self { store_id, serial, number: 0, file_check: 0, header: None, footer: None }
    }

    /// The length of the block that begins with these bytes.
    pub(crate) fn block_length(prefix: &[u8; Self::PREFIX]) -> u64 {
        let mut fields = FieldReader::new(prefix);
        let _crc = fields.u32();
        Self::PREFIX as u64 + u64::from(fields.u32().unwrap_or(0))
    }

    /// Takes the next block, which fills `bytes`. The error is a sentence about the snapshot.
    pub(crate) fn take_bytes(&mut self, bytes: &[u8]) -> Result<(), Reason> {
        let block = Blocks::new(bytes).next().ok_or(CUT_SHORT)?;
        if self.footer.is_some() {
            return Err(BEHIND_FOOTER);
        }
        self.take(&block)
    }

    /// What is wrong with a snapshot that ends here.
    pub(crate) fn finish(&self) -> Result<(), Reason> {
        if self.footer.is_some() { Ok(()) } else { Err(CUT_SHORT) }
    }

    fn take(&mut self, block: &Block<'_>) -> Result<(), Reason> {
        if checksum(block_seed(self.store_id, self.serial, self.number), block.covered) != block.crc {
            return Err("a block does not match its checksum");
        }
        match (block.kind, self.header) {
            (HEADER, None) => self.header = Some(decode_header(block.body, self.store_id, self.serial)?),
            (PAGES, Some(_)) => {}
            (FOOTER, Some(_)) => {
                self.footer = Some(decode_footer(block.body, self.number, self.file_check)?);
            }
            _ => return Err("a block has the wrong kind for its place"),
        }
        self.file_check = checksum(self.file_check, &block.crc.to_le_bytes());
        self.number = self.number.checked_add(1).ok_or("there are too many blocks")?;
        Ok(())
    }
}

/// One block, not yet verified.
#[derive(Clone, Copy)]
struct Block<'a> {
    crc: u32,
    kind: u8,
    body: &'a [u8],
    /// Everything behind the checksum.
    covered: &'a [u8],
}

/// Splits a file into blocks.
#[derive(Clone, Debug)]
struct Blocks<'a> {
    length: usize,
    fields: FieldReader<'a>,
}

impl<'a> Blocks<'a> {
    const fn new(bytes: &'a [u8]) -> Self {
        Self { length: bytes.len(), fields: FieldReader::new(bytes) }
    }

    /// Where the next block begins.
    const fn offset(&self) -> u64 {
        (self.length - self.fields.rest().len()) as u64
    }

    const fn is_over(&self) -> bool {
        self.fields.rest().is_empty()
    }
}

impl<'a> Iterator for Blocks<'a> {
    type Item = Block<'a>;

    fn next(&mut self) -> Option<Block<'a>> {
        let crc = self.fields.u32()?;
        let start = self.fields.rest();
        let (length, kind) = (self.fields.u32()?, self.fields.u8()?);
        let body = self.fields.slice(usize::try_from(length).ok()?)?;
        let covered = start.get(..start.len() - self.fields.rest().len())?;
        Some(Block { crc, kind, body, covered })
    }
}

fn decode_header(body: &[u8], store_id: StoreId, serial: u64) -> Result<SnapshotHeader, Reason> {
    let mut fields = FieldReader::new(body);
    if fields.array() != Some(MAGIC) {
        return Err("the file is not a snapshot");
    }
    if fields.u32() != Some(FORMAT_VERSION) {
        return Err("the snapshot has another format version");
    }
    let mut parse = || {
        let store_id = StoreId(fields.array()?);
        let (serial, begin) = (fields.u64()?, fields.head_lsns()?);
        fields.rest().is_empty().then_some(SnapshotHeader { store_id, serial, begin })
    };
    match parse() {
        Some(header) if header.store_id == store_id && header.serial == serial => Ok(header),
        Some(_) => Err("the snapshot is of another store or serial"),
        None => Err("the header has another length"),
    }
}

/// Reads the footer behind that many blocks, which come to that check.
fn decode_footer(body: &[u8], blocks: u32, file_check: u32) -> Result<SnapshotFooter, Reason> {
    let mut fields = FieldReader::new(body);
    let mut parse = || {
        let end = fields.head_lsns()?;
        let (next_page_id, pages) = (PageId(fields.u64()?), fields.u64()?);
        let agrees = (fields.u32()?, fields.u32()?) == (blocks, file_check);
        fields.rest().is_empty().then_some((SnapshotFooter { end, next_page_id, pages }, agrees))
    };
    match parse() {
        Some((_, false)) => Err("the footer does not agree with the blocks before it"),
        Some((footer, true)) if footer.next_page_id.0 <= PageId::LIMIT => Ok(footer),
        Some((_, true)) => Err("the footer names a page id that can't be"),
        None => Err("the footer has another length"),
    }
}

/// A page of a snapshot.
#[derive(Clone, Debug)]
pub(crate) struct SnapshotPage<'a> {
    pub(crate) base: SnapshotBase,
    /// The links on top of the base, oldest first; the n-th has the base's version plus n, counted from 1.
    pub(crate) links: SnapshotLinks<'a>,
}

/// The links of a page. All of them are there: that was looked at when the page was read.
#[derive(Clone, Debug)]
pub(crate) struct SnapshotLinks<'a> {
    fields: FieldReader<'a>,
    previous_lsn: Lsn,
    left: usize,
}

impl Iterator for SnapshotLinks<'_> {
    type Item = SnapshotRecord;

    fn next(&mut self) -> Option<SnapshotRecord> {
        self.left = self.left.checked_sub(1)?;
        decode_record(&mut self.fields, &mut self.previous_lsn)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for SnapshotLinks<'_> {}

/// Walks through the pages of a snapshot.
#[derive(Clone, Debug)]
pub(crate) struct SnapshotPages<'a> {
    blocks: Blocks<'a>,
    /// Where the present block begins.
    offset: u64,
    /// What is left of it.
    block: FieldReader<'a>,
    /// The page before in this block.
    previous: Option<PageId>,
    /// The record before in this block; 0 at its start.
    previous_lsn: Lsn,
    /// Above all page ids so far.
    lowest_id: u64,
    footer: SnapshotFooter,
    pages: u64,
    over: bool,
}

impl<'a> Iterator for SnapshotPages<'a> {
    type Item = Result<SnapshotPage<'a>, SnapshotFault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let page = self.next_page();
        self.over = !matches!(page, Ok(Some(_)));
        page.map_err(|reason| SnapshotFault { offset: self.offset, reason }).transpose()
    }
}

impl<'a> SnapshotPages<'a> {
    fn next_page(&mut self) -> Result<Option<SnapshotPage<'a>>, Reason> {
        while self.block.rest().is_empty() {
            self.offset = self.blocks.offset();
            let Some(block) = self.blocks.next().filter(|block| block.kind == PAGES) else {
                let complete = self.pages == self.footer.pages;
                return if complete {
                    Ok(None)
                } else {
                    Err("the number of pages is not that of the footer")
                };
            };
            self.block = FieldReader::new(block.body);
            self.previous = None;
            self.previous_lsn = Lsn(0);
        }
        let page = self.decode_page().ok_or("a block holds a page that can't be")?;
        let page_id = page.base.page_id;
        if page_id.0 < self.lowest_id {
            return Err("page ids do not rise");
        }
        if page_id >= self.footer.next_page_id {
            return Err("a page id is above what the footer says");
        }
        self.previous = Some(page_id);
        self.lowest_id = page_id.0 + 1;
        self.pages += 1;
        Ok(Some(page))
    }

    fn decode_page(&mut self) -> Option<SnapshotPage<'a>> {
        let difference = self.block.varint()?;
        let page_id = self.previous.map_or(0, |page_id| page_id.0).checked_add(difference)?;
        let shape = self.block.varint()?;
        let (free, links) = (shape & 1 == 1, shape >> 1);
        let version = self.block.varint()?;
        let age = self.block.varint().filter(|&age| age <= version)?;
        version.checked_add(links)?;
        if free && links != 0 {
            return None;
        }
        let record = decode_record(&mut self.block, &mut self.previous_lsn)?;
        let first_link = SnapshotLinks {
            fields: self.block.clone(),
            previous_lsn: self.previous_lsn,
            left: usize::try_from(links).ok()?,
        };
        for _ in 0..links {
            // Each takes bytes, so a count that is a lie ends here soon.
            decode_record(&mut self.block, &mut self.previous_lsn)?;
        }
        let base = SnapshotBase { page_id: PageId(page_id), free, version: Version(version), age, record };
        Some(SnapshotPage { base, links: first_link })
    }
}

fn decode_record(fields: &mut FieldReader<'_>, previous_lsn: &mut Lsn) -> Option<SnapshotRecord> {
    const LENGTHS: std::ops::RangeInclusive<u32> = record::MIN_LENGTH as u32..=Geometry::MAX_SEGMENT_SIZE;
    let lsn = unzigzag(*previous_lsn, fields.varint()?);
    let length = u32::try_from(fields.varint()?).ok().filter(|length| LENGTHS.contains(length))?;
    *previous_lsn = lsn;
    Some(SnapshotRecord { lsn, length })
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};

    use super::{Snapshot, SnapshotFault, SnapshotPage};
    use crate::format::checksum::checksum;
    use crate::format::snapshot::{
        BLOCK_HEADER_LENGTH, SnapshotBase, SnapshotFooter, SnapshotHeader, SnapshotRecord, block_seed,
    };
    use crate::format::snapshot_writer::SnapshotWriter;
    use crate::format::store_id::StoreId;
    use crate::ids::{HeadLsns, Lsn, PageId, Version};

    const STORE: StoreId = StoreId(*b"0123456789abcdef");
    const SERIAL: u64 = 0x1_0000_0005;
    const BEGIN: HeadLsns = [Lsn(1), Lsn(2), Lsn(0), Lsn(0)];
    const END: HeadLsns = [Lsn(3), Lsn(4), Lsn(0), Lsn(0)];

    type Page = (SnapshotBase, Vec<SnapshotRecord>);

    fn written(pages: &[Page]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let header = SnapshotHeader { store_id: STORE, serial: SERIAL, begin: BEGIN };
        let sink = |block: &[u8]| {
            bytes.extend_from_slice(block);
            Ok(())
        };
        let mut writer = SnapshotWriter::begin(&header, sink).unwrap();
        for (base, links) in pages {
            writer.page(base, links).unwrap();
        }
        let length = writer.finish(&END, PageId(PageId::LIMIT)).unwrap();
        assert_eq!(length, bytes.len() as u64);
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Vec<Page>, SnapshotFault> {
        let collect = |page: SnapshotPage<'_>| (page.base, page.links.collect());
        Snapshot::open(bytes, STORE, SERIAL)?.pages().map(|page| page.map(collect)).collect()
    }

    fn record(lsn: u64) -> SnapshotRecord {
        SnapshotRecord { lsn: Lsn(lsn), length: 60 }
    }

    fn page(page_id: u64, links: u64) -> Page {
        let record_at = record(page_id * 1000);
        let base = SnapshotBase {
            page_id: PageId(page_id),
            free: false,
            version: Version(9),
            age: 9,
            record: record_at,
        };
        (base, (0..links).map(|link| record(5_000 + link)).collect())
    }

    fn pages() -> Vec<Page> {
        let mut pages = vec![page(0, 0), page(1, 3), page(7, 0), page(8, 40), page(9, 0), page(300, 2)];
        pages[2].0.free = true;
        pages
    }

    #[test]
    fn pages_come_back_with_header_and_footer() {
        let bytes = written(&pages());
        let snapshot = Snapshot::open(&bytes, STORE, SERIAL).unwrap();
        assert_eq!(*snapshot.header(), SnapshotHeader { store_id: STORE, serial: SERIAL, begin: BEGIN });
        let footer = SnapshotFooter { end: END, next_page_id: PageId(PageId::LIMIT), pages: 6 };
        assert_eq!(*snapshot.footer(), footer);
        assert_eq!(read(&bytes), Ok(pages()));
        assert_eq!(snapshot.pages().nth(1).unwrap().unwrap().links.len(), 3);
    }

    #[test]
    fn an_empty_store_has_a_snapshot_too() {
        assert_eq!(read(&written(&[])), Ok(vec![]));
    }

    #[test]
    fn every_flipped_bit_is_noticed_before_a_page_is_given_out() {
        let good = written(&pages());
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Snapshot::open(&bad, STORE, SERIAL).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn every_truncation_and_anything_behind_the_end_is_noticed() {
        let mut bytes = written(&pages());
        for length in 0..bytes.len() {
            assert!(Snapshot::open(&bytes[..length], STORE, SERIAL).is_err(), "{length}");
        }
        bytes.push(0);
        assert!(Snapshot::open(&bytes, STORE, SERIAL).is_err());
    }

    #[test]
    fn a_snapshot_of_another_store_or_serial_is_none() {
        let bytes = written(&pages());
        assert!(Snapshot::open(&bytes, StoreId([1; 16]), SERIAL).is_err());
        assert!(Snapshot::open(&bytes, STORE, SERIAL + 1).is_err());
        // The seeds are equal here; the header is not.
        let fault = Snapshot::open(&bytes, STORE, 5).unwrap_err();
        assert_eq!(fault.reason, "the snapshot is of another store or serial");
        assert_eq!(fault.into_corruption("snapshot-5").offset, Some(0));
    }

    /// The parts of a file, so that tests can put them together in another way.
    fn blocks(bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut rest = bytes;
        let mut blocks = Vec::new();
        while !rest.is_empty() {
            let length = u32::from_le_bytes(rest[4..8].try_into().unwrap()) as usize;
            let (block, behind) = rest.split_at(BLOCK_HEADER_LENGTH + length);
            blocks.push(block.to_vec());
            rest = behind;
        }
        blocks
    }

    /// Numbers and seals blocks again, and makes the footer agree with them.
    fn joined(mut blocks: Vec<Vec<u8>>) -> Vec<u8> {
        let (mut file_check, count) = (0, blocks.len());
        for (number, block) in blocks.iter_mut().enumerate() {
            let length = block.len();
            block[4..8].copy_from_slice(&((length - BLOCK_HEADER_LENGTH) as u32).to_le_bytes());
            if number == count - 1 && block[8] == 3 {
                block[length - 8..length - 4].copy_from_slice(&(number as u32).to_le_bytes());
                block[length - 4..].copy_from_slice(&u32::to_le_bytes(file_check));
            }
            let sum = checksum(block_seed(STORE, SERIAL, number as u32), &block[4..]).to_le_bytes();
            block[..4].copy_from_slice(&sum);
            file_check = checksum(file_check, &sum);
        }
        blocks.concat()
    }

    #[test]
    fn blocks_in_another_order_or_number_are_refused() {
        let good = written(&pages());
        let parts = blocks(&good);
        assert!(parts.len() >= 4);
        assert_eq!(joined(parts.clone()), good);

        let mut swapped = parts.clone();
        swapped.swap(1, 2);
        assert!(Snapshot::open(&swapped.concat(), STORE, SERIAL).is_err());
        assert_eq!(read(&joined(swapped)).unwrap_err().reason, "page ids do not rise");

        let mut fewer = parts.clone();
        fewer.remove(1);
        assert!(Snapshot::open(&fewer.concat(), STORE, SERIAL).is_err());
        assert_eq!(read(&joined(fewer)).unwrap_err().reason, "the number of pages is not that of the footer");

        let sealed = |number: usize, block: &mut Vec<u8>| {
            let sum = checksum(block_seed(STORE, SERIAL, number as u32), &block[4..]).to_le_bytes();
            block[..4].copy_from_slice(&sum);
        };
        // Every block verifies, but it is another block, or another count, than the footer was written for.
        for (number, from_end) in [(1, 1), (parts.len() - 1, 8)] {
            let mut altered = parts.clone();
            let at = altered[number].len() - from_end;
            altered[number][at] ^= 1;
            sealed(number, &mut altered[number]);
            let fault = Snapshot::open(&altered.concat(), STORE, SERIAL).unwrap_err();
            assert_eq!(fault.reason, "the footer does not agree with the blocks before it");
        }

        for wrong in [&parts[1..], &parts[..1], &parts[parts.len() - 1..], &[&parts[..1], &parts].concat()] {
            assert!(Snapshot::open(&joined(wrong.to_vec()), STORE, SERIAL).is_err());
        }
    }

    #[test]
    fn sealed_nonsense_is_refused_without_trust_in_its_counts() {
        let mut parts = blocks(&written(&[page(1, 0)]));
        assert_eq!(parts.len(), 3);
        let most = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1];
        let nonsense: [&[&[u8]]; 11] = [
            // Page id, shape, version, age, LSN, length.
            &[&[1, 0, 9, 9, 2]],
            &[&[1], &most, &[9, 9, 2, 60]],
            &[&[1, 2, 9, 9, 2, 60]],
            &[&[1, 3, 9, 9, 2, 60, 2, 60]],
            &[&[1, 0, 9, 10, 2, 60]],
            &[&[1, 0, 9, 9, 2, 5]],
            &[&[1, 0, 9, 9, 2, 0x81, 0x80, 0x80, 0x20]],
            &[&[1, 2], &most, &[9, 2, 60, 2, 60]],
            &[&most, &[0, 9, 9, 2, 60]],
            &[&[1, 0, 9, 9, 2, 60, 0, 0, 9, 9, 2, 60]],
            &[&[0x80, 0x80, 0x80, 0x80, 0x10, 0, 9, 9, 2, 60]],
        ];
        for body in nonsense {
            parts[1].truncate(BLOCK_HEADER_LENGTH);
            parts[1].extend(body.concat());
            let bytes = joined(parts.clone());
            let snapshot = Snapshot::open(&bytes, STORE, SERIAL).unwrap();
            let last = snapshot.pages().last().unwrap();
            assert!(last.is_err(), "{body:?}: {last:?}");
        }
    }

    fn any_pages() -> impl Strategy<Value = Vec<Page>> {
        let record = || (any::<u64>(), 6_u32..1 << 26).prop_map(|(lsn, length)| (Lsn(lsn), length));
        let page = (any::<bool>(), 0..u64::MAX / 2, any::<u64>(), record(), vec(record(), 0..20));
        btree_map(0..PageId::LIMIT, page, 0..30).prop_map(|pages| {
            let record = |(lsn, length)| SnapshotRecord { lsn, length };
            let page = |(page_id, (free, version, age, base, links)): (u64, (bool, u64, u64, _, Vec<_>))| {
                let (page_id, age) = (PageId(page_id), age % (version + 1));
                let base =
                    SnapshotBase { page_id, free, version: Version(version), age, record: record(base) };
                (base, if free { vec![] } else { links.into_iter().map(record).collect() })
            };
            pages.into_iter().map(page).collect()
        })
    }

    proptest! {
        #[test]
        fn any_pages_come_back(pages in any_pages()) {
            prop_assert_eq!(read(&written(&pages)), Ok(pages));
        }

        #[test]
        fn damage_that_is_sealed_again_gives_an_answer(
            at in any::<u16>(),
            byte in any::<u8>(),
            cut in 0_usize..5,
            block in 0_usize..9,
        ) {
            let mut parts = blocks(&written(&pages()));
            let block = block % parts.len();
            let length = parts[block].len() - cut;
            parts[block].truncate(length);
            let at = 8 + usize::from(at) % (length - 8);
            parts[block][at] = byte;
            if let Ok(pages) = read(&joined(parts)) {
                prop_assert!(pages.windows(2).all(|pair| pair[0].0.page_id < pair[1].0.page_id));
                prop_assert_eq!(read(&written(&pages)), Ok(pages));
            }
        }

        #[test]
        fn random_bytes_are_no_snapshot(bytes in vec(any::<u8>(), 0..300)) {
            prop_assert!(Snapshot::open(&bytes, STORE, SERIAL).is_err());
        }
    }
}
