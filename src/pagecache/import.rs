//! `import`: a store from an export.
//!
//! ```text
//!  empty? ─► lock ─► note that it is unfinished ─► a store, its manifest under another name ─► pages, roots, bounds ─►
//!  close it ─► the manifest gets its name ─► note away
//! ```
//!
//! - **(A) It is no store until it is complete**, see `storage/staged`: whenever the work ends, the directory
//!   says that it is unfinished, or holds all of it. What fails is cleared away.
//! - **(B) Nothing is taken unchecked.** Each block is verified before anything of it is used, and no page is
//!   decoded: its bytes go from the stream to the log as they are.
//! - **(C) Ids and versions stay**, of freed pages too. So a token of an earlier life is as old as it was,
//!   and a page that names another one names the same.

use std::io::{ErrorKind, Read};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::export::PAGES_BETWEEN_REPORTS;
use super::large::bulk_of;
use super::shared::{Inner, PageCache};
use crate::config::Config;
use crate::error::{Corruption, Error, Result};
use crate::format::{
    BLOCK_HEADER, BlockKind, BlockSeeds, EXPORT_MAGIC, EXPORT_VERSION, ExportEnd, ExportStart, ExportedPage,
    FieldReader, LARGEST_VALUE, ManifestEntry, Payload, RecordKind, body_length, decode_roots, encode_roots,
};
use crate::ids::{HeadId, PageId, Version};
use crate::log::{LargeFile, Privilege};
use crate::pages::content::Content;
use crate::pages::publish::PreparedBase;
use crate::pages::{Codec, CodecError, Fragment};
use crate::progress::{Progress, Reporter, Tell};
use crate::recovery::Building;
use crate::sync::atomic::Ordering;
use crate::sync::epoch;

/// What an import has made.
///
/// ```
#[doc = include_str!("../docs/text_pages.txt")]
/// # use std::ops::ControlFlow;
/// # let cache = open()?;
/// # let page = cache.allocate(Text("a page".into()))?;
/// # let mut stream = Vec::new();
/// # cache.export(&mut stream, |_| ControlFlow::Continue(()))?;
/// let config = Config::with_storage(Arc::new(MemoryStorage::new()));
/// let report = config.import(&mut &stream[..], |_| ControlFlow::Continue(()))?;
/// assert_eq!((report.pages, report.bytes), (1, stream.len() as u64));
/// # Ok::<(), pagelog::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImportReport {
    /// Pages.
    pub pages: u64,
    /// Ids of freed pages, with their last versions.
    pub free_ids: u64,
    /// Bytes of the stream.
    pub bytes: u64,
    /// How long it took.
    pub duration: Duration,
}

impl Config {
    /// Makes a store of an [export](PageCache::export), in a place that is empty or not there yet. Ids and
    /// versions of pages are those of the store that was exported, and so are the named roots;
    /// [generated ids](PageCache::generate_id) go on above all that were.
    ///
    /// Options count as in opening; the segment size is the new store's own. Each page is as long as it was,
    /// so [`max_value_size`](Self::max_value_size) must allow for it. The store is durable, and closed, when
    /// this returns. If it is interrupted, what is there is no store, and opening it says so; if it fails,
    /// what was written is removed as far as that goes, and so are directories that were made for it.
    ///
    /// `progress` is told how far it is, in page ids; `Break` ends it.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    /// # use std::ops::ControlFlow;
    /// # let cache = open()?;
    /// # let page = cache.allocate(Text("a page".into()))?;
    /// # let mut stream = Vec::new();
    /// # cache.export(&mut stream, |_| ControlFlow::Continue(()))?;
    /// let config = Config::with_storage(Arc::new(MemoryStorage::new()));
    /// // Half of a stream makes no store.
    /// let half = config.clone().import(&mut &stream[..stream.len() / 2], |_| ControlFlow::Continue(()));
    /// assert!(matches!(half, Err(pagelog::Error::Corruption(_))));
    /// config.clone().import(&mut &stream[..], |_| ControlFlow::Continue(()))?;
    /// let copy: PageCache<Text> = config.open()?;
    /// assert_eq!(copy.version(page.page_id)?, Some(page.version));
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Corruption`](Error::Corruption) if the stream is damaged, not complete, or no export;
    /// [`UnsupportedFormat`](Error::UnsupportedFormat) if it was made by a newer version;
    /// [`BackupTarget`](Error::BackupTarget) if there is anything in the place, [`Locked`](Error::Locked) if
    /// somebody is at it; [`InvalidConfig`](Error::InvalidConfig), also with [`read_only`](Self::read_only)
    /// or [`temporary`](Self::temporary); [`Io`](Error::Io); [`DiskFull`](Error::DiskFull);
    /// [`ValueTooLarge`](Error::ValueTooLarge); [`Cancelled`](Error::Cancelled).
    pub fn import(
        self,
        from: &mut impl Read,
        mut progress: impl FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<ImportReport> {
        let began = Instant::now();
        self.validate()?;
        for (option, is_on) in [("read_only", self.read_only), ("temporary", self.temporary)] {
            if is_on {
                let reason = "can't be combined with an import".into();
                return Err(Error::InvalidConfig { option, reason });
            }
        }
        let building = Building::begin(&self.storage)?;
        let mut config = self.background(false);
        config.flush_interval = None;
        config.storage = building.storage();
        let imported =
            import(config, from, &mut progress).and_then(|report| building.finish().map(|()| report));
        if imported.is_err() {
            building.clear();
        }
        Ok(ImportReport { duration: began.elapsed(), ..imported? })
    }
}

fn import(config: Config, from: &mut dyn Read, tell: Tell<'_>) -> Result<ImportReport> {
    let mut blocks = Blocks { from, seeds: BlockSeeds::new(), bytes: 0, block: Vec::new() };
    blocks.preamble()?;
    // Nothing is made before the stream is known to be one.
    let start = match blocks.next()? {
        BlockKind::Start => ExportStart::read(blocks.body()),
        _ => None,
    };
    let start = start.ok_or_else(|| blocks.damage("the first block is not that of an export"))?;
    let cache: PageCache<Opaque> = config.open()?;
    let taken = cache.inner.take_export(&mut blocks, start, tell);
    let closed = cache.close();
    let end = taken?;
    closed?;
    Ok(ImportReport { pages: end.pages, free_ids: end.free, bytes: blocks.bytes, ..ImportReport::default() })
}

/// A page's bytes. They are never looked into, nor merged.
struct Opaque(Vec<u8>);

struct AsItIs;

impl Codec<Opaque> for AsItIs {
    fn encode(page: &Opaque, into: &mut Vec<u8>) -> Result<(), CodecError> {
        into.extend_from_slice(&page.0);
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<Opaque, CodecError> {
        Ok(Opaque(bytes.to_vec()))
    }
}

impl Fragment for Opaque {
    type Codec = AsItIs;

    fn merge(oldest_to_newest: &[&Self]) -> Self {
        Self(oldest_to_newest.iter().flat_map(|page| page.0.iter().copied()).collect())
    }

    fn heap_size(&self) -> Option<usize> {
        Some(self.0.capacity())
    }
}

impl Inner<Opaque> {
    fn take_export(&self, blocks: &mut Blocks<'_>, start: ExportStart, tell: Tell<'_>) -> Result<ExportEnd> {
        let mut reporter = Reporter::new(tell);
        reporter.begin(start.next_page_id)?;
        let (mut found, mut last, mut told) = (ExportEnd::default(), PageId(0), 0);
        let mut has_roots = false;
        let end = loop {
            match blocks.next()? {
                BlockKind::Pages if !has_roots => {
                    let taken = self.take_pages(blocks.body(), start, &mut last, &mut found)?;
                    taken.ok_or_else(|| blocks.damage("holds an impossible page"))?;
                }
                BlockKind::Roots if !has_roots => {
                    has_roots = true;
                    let roots =
                        decode_roots(blocks.body()).ok_or_else(|| blocks.damage("holds impossible roots"))?;
                    if !roots.is_empty() {
                        self.admit(PageId::FIRST, Privilege::Ordinary)?;
                        self.log_roots(&encode_roots(&roots))?;
                    }
                }
                BlockKind::End if has_roots => break ExportEnd::read(blocks.body()),
                _ => return Err(blocks.damage("has its parts in another order than an export")),
            }
            if last.0 / PAGES_BETWEEN_REPORTS > told {
                told = last.0 / PAGES_BETWEEN_REPORTS;
                reporter.advance_to(last.0)?;
            }
        };
        if end != Some(found) {
            return Err(blocks.damage("has not as many pages as it says"));
        }
        blocks.end()?;
        self.take_bounds(start)?;
        reporter.finish()?;
        Ok(found)
    }

    /// The pages of a block. `None` if one of them is impossible.
    fn take_pages(
        &self,
        body: &[u8],
        start: ExportStart,
        last: &mut PageId,
        found: &mut ExportEnd,
    ) -> Result<Option<()>> {
        let mut fields = FieldReader::new(body);
        while !fields.rest().is_empty() {
            let page = ExportedPage::take(*last, &mut fields);
            let Some(page) = page.filter(|page| page.page_id.0 < start.next_page_id) else { return Ok(None) };
            *last = page.page_id;
            self.admit(page.page_id, Privilege::Ordinary)?;
            match page.payload {
                Some(payload) => {
                    found.pages += 1;
                    self.put_page(&page, payload)?;
                }
                None => {
                    found.free += 1;
                    self.put_free(&page)?;
                }
            }
            self.after_write();
        }
        Ok(Some(()))
    }

    fn put_page(&self, page: &ExportedPage<'_>, payload: &[u8]) -> Result<()> {
        let (page_id, version, age) = (page.page_id, page.version, page.age);
        let guard = epoch::pin();
        let entry = self.table.entry(page_id, &guard).ok_or(Error::TooManyPages)?;
        self.with_encoded(Opaque(payload.to_vec()), |opaque, length, payload| {
            let kind = RecordKind::Replace { page_id, version, age };
            let file = self.store_outside(&kind, payload)?;
            let payload = file.as_ref().map_or(payload, LargeFile::payload);
            let birth = Version(version.0 - age);
            let mut base = PreparedBase::page(version, birth, Content::new(opaque, length as u64));
            base.set_bulk(bulk_of(file.as_ref()));
            let claim = self.core.reserve(HeadId::FRESH, Privilege::Ordinary, &kind, payload)?;
            // Ids rise, so there was nothing before.
            base.publish(&entry, claim.place(), claim.length()).map_err(|_| Error::TooManyPages)?;
            claim.complete();
            if let Some(file) = file {
                file.publish();
            }
            Ok(())
        })
    }

    fn put_free(&self, page: &ExportedPage<'_>) -> Result<()> {
        let (page_id, version, age) = (page.page_id, page.version, page.age);
        let guard = epoch::pin();
        let entry = self.table.entry(page_id, &guard).ok_or(Error::TooManyPages)?;
        let base = PreparedBase::freed(version, Version(version.0 - age));
        let kind = RecordKind::Free { page_id, version, age };
        let claim = self.core.reserve(HeadId::FRESH, Privilege::Ordinary, &kind, Payload::NONE)?;
        base.publish(&entry, claim.place(), claim.length()).map_err(|_| Error::TooManyPages)?;
        claim.complete();
        Ok(())
    }

    /// What the manifest says beside the pages.
    fn take_bounds(&self, start: ExportStart) -> Result<()> {
        let next_page_id = PageId(start.next_page_id);
        self.next_page_id.store(next_page_id.0, Ordering::Release);
        if start.version_floor > 0 {
            let floor = Version(start.version_floor);
            self.core.append_manifest(&ManifestEntry::VersionFloor { next_page_id, floor })?;
        }
        if start.id_bound > 0 {
            self.core.append_manifest(&ManifestEntry::IdBound(start.id_bound))?;
        }
        Ok(())
    }
}

/// The stream that is read, block by block.
struct Blocks<'a> {
    from: &'a mut dyn Read,
    seeds: BlockSeeds,
    /// How many were read.
    bytes: u64,
    block: Vec<u8>,
}

impl Blocks<'_> {
    fn damage(&self, reason: &str) -> Error {
        Corruption::new("the export", reason).at_offset(self.bytes).into()
    }

    fn failed(&self, error: std::io::Error) -> Error {
        match error.kind() {
            ErrorKind::UnexpectedEof => self.damage("ends too early"),
            _ => Error::io("read", "the export", error),
        }
    }

    fn preamble(&mut self) -> Result<()> {
        let mut bytes = [0; 8];
        self.from.read_exact(&mut bytes).map_err(|error| self.failed(error))?;
        self.bytes += bytes.len() as u64;
        let [a, b, c, d, e, f, g, h] = bytes;
        let version = u32::from_le_bytes([e, f, g, h]);
        if [a, b, c, d] != EXPORT_MAGIC || version == 0 {
            return Err(self.damage("the stream does not begin as an export does"));
        }
        if version > EXPORT_VERSION {
            let path = "the export".into();
            return Err(Error::UnsupportedFormat { path, found: version, supported: EXPORT_VERSION });
        }
        Ok(())
    }

    /// The next block, verified.
    fn next(&mut self) -> Result<BlockKind> {
        let mut header = [0; BLOCK_HEADER];
        self.from.read_exact(&mut header).map_err(|error| self.failed(error))?;
        let length = u64::from(body_length(&header));
        // A block is ended as soon as it is long enough, so only its last page makes it longer than that.
        if length > LARGEST_VALUE as u64 + (1 << 20) {
            return Err(self.damage("has a block that does not match its checksum"));
        }
        self.block.clear();
        self.block.extend_from_slice(&header);
        // Memory is taken as bytes come.
        let read = (&mut *self.from).take(length).read_to_end(&mut self.block);
        if read.map_err(|error| self.failed(error))? as u64 != length {
            return Err(self.damage("ends too early"));
        }
        let Some(kind) = self.seeds.open(&self.block) else {
            return Err(self.damage("has a block that does not match its checksum"));
        };
        self.bytes += self.block.len() as u64;
        Ok(kind)
    }

    /// The body of the block that was read last.
    fn body(&self) -> &[u8] {
        self.block.get(BLOCK_HEADER..).unwrap_or_default()
    }

    /// Makes sure that nothing follows.
    fn end(&mut self) -> Result<()> {
        match self.from.read_exact(&mut [0]) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(()),
            Err(error) => Err(self.failed(error)),
            Ok(()) => Err(self.damage("goes on behind its end")),
        }
    }
}
