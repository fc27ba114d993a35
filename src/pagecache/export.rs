//! `export`: what a store holds, as a stream that any version can read. The stream is described in
//! `format/export`.
//!
//! Pages are read one after the other, each under a guard of its own, which is let go before the stream is
//! written: that may take its time. So nobody is held up, and each page is as of a moment of its own. Whether
//! these are one moment is known at the end: if the log has not grown since all that was on its way had
//! arrived.

use std::io::Write;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::shared::{Inner, PageCache, encode};
use crate::error::{Error, Result};
use crate::format::{
    BLOCK_HEADER, BlockKind, BlockSeeds, ExportEnd, ExportStart, ExportedPage, encode_roots, preamble,
};
use crate::ids::{HeadId, PageId, Version};
use crate::pages::Fragment;
use crate::progress::{Progress, Reporter, Tell};
use crate::recovery::Damage;
use crate::sync::atomic::Ordering;
use crate::sync::epoch;

/// A block is written when it has so many bytes.
const BLOCK: usize = 64 << 10;
/// How often progress is told, in page ids.
pub(super) const PAGES_BETWEEN_REPORTS: u64 = 1024;

/// What an export holds.
///
/// ```
#[doc = include_str!("../docs/text_pages.txt")]
/// # let cache = open()?;
/// use std::ops::ControlFlow;
///
/// let (page, another) = (cache.allocate(Text("a page".into()))?, cache.allocate(Text("another".into()))?);
/// let _ = cache.free(page.page_id, page.version)?;
/// let mut stream = Vec::new();
/// let report = cache.export(&mut stream, |_| ControlFlow::Continue(()))?;
/// assert_eq!((report.pages, report.free_ids, report.left_out), (1, 1, 0));
/// assert_eq!(report.bytes, stream.len() as u64);
/// assert!(report.is_consistent, "nobody wrote meanwhile");
/// # Ok::<(), pagelog::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExportReport {
    /// Pages.
    pub pages: u64,
    /// Ids of freed pages, with their last versions.
    pub free_ids: u64,
    /// Bytes of the stream.
    pub bytes: u64,
    /// Pages, and perhaps the named roots, that are left out because they can't be read. Only in an export of
    /// a store that was [opened tolerantly](crate::Config::open_tolerantly); elsewhere that is an error.
    pub left_out: u64,
    /// Whether it is the state of one moment: nobody wrote meanwhile, no batch was open, and nothing is known
    /// to be damaged.
    pub is_consistent: bool,
    /// How long it took.
    pub duration: Duration,
}

impl<F: Fragment> PageCache<F> {
    /// Writes all pages, merged, with their ids and versions, the named roots, and a bound above all
    /// generated ids, as a stream that does not depend on the format of the store's own files.
    /// [`Config::import`](crate::Config::import) makes a store of it, with any version of this library from
    /// this one on. Ids and versions are the same there, so pages can hold them.
    ///
    /// To read it one needs no more than [its description](crate::docs::format): each page's payload is what
    /// the codec made of it. If the same version of this library is to go on with the copy, a
    /// [backup](Self::backup_to) is quicker.
    ///
    /// Others go on meanwhile; but then pages are as of different moments, and
    /// [`ExportReport::is_consistent`] is false. For one moment of a store in use, make a backup and export
    /// that. Works on read-only stores.
    ///
    /// `progress` is told how far it is, in page ids; `Break` ends it.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    /// # let cache = open()?;
    /// use std::ops::ControlFlow;
    ///
    /// let page = cache.allocate(Text("hello".into()))?;
    /// let mut stream = Vec::new();
    /// let report = cache.export(&mut stream, |_| ControlFlow::Continue(()))?;
    /// assert!(report.is_consistent && report.pages == 1);
    ///
    /// let config = Config::with_storage(Arc::new(MemoryStorage::new()));
    /// config.clone().import(&mut &stream[..], |_| ControlFlow::Continue(()))?;
    /// let copy: PageCache<Text> = config.open()?;
    /// assert_eq!(copy.pin().get(page.page_id)?.map(|page| page.merged().0.as_str()), Some("hello"));
    /// assert_eq!(copy.version(page.page_id)?, Some(page.version));
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Io`](Error::Io) if the stream can't be written; what can go wrong in reading pages;
    /// [`Encode`](Error::Encode); [`Cancelled`](Error::Cancelled); [`Closed`](Error::Closed). What was
    /// written is no export then.
    pub fn export(
        &self,
        to: &mut impl Write,
        mut progress: impl FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<ExportReport> {
        let began = Instant::now();
        self.inner.core.gate().admit_read()?;
        let mut stream = Stream::new(to);
        let mut left_out = 0;
        let (end, is_consistent) = self.write_export(&mut stream, &mut left_out, &mut progress)?;
        let (ExportEnd { pages, free: free_ids }, bytes) = (end, stream.bytes);
        Ok(ExportReport { pages, free_ids, bytes, left_out, is_consistent, duration: began.elapsed() })
    }

    fn write_export(
        &self,
        stream: &mut Stream<'_>,
        left_out: &mut u64,
        tell: Tell<'_>,
    ) -> Result<(ExportEnd, bool)> {
        let inner = &*self.inner;
        let mut is_consistent = inner.settle_for_export()?;
        let before = inner.core.tail();
        let start = ExportStart {
            next_page_id: inner.next_page_id.load(Ordering::Acquire).min(PageId::LIMIT),
            version_floor: inner.version_floor.0,
            id_bound: inner.ids.bound(),
        };
        let mut reporter = Reporter::new(tell);
        reporter.begin(start.next_page_id)?;
        stream.raw(&preamble())?;
        start.push(&mut stream.block);
        stream.end_block(BlockKind::Start)?;
        let (mut end, mut last) = (ExportEnd::default(), PageId(0));
        for page_id in (PageId::FIRST.0..start.next_page_id).map(PageId) {
            let exported = inner.export_page(self, page_id, last, &mut stream.block);
            match inner.tolerate(exported, Exported::Damaged)? {
                Exported::Page => end.pages += 1,
                Exported::Free => end.free += 1,
                Exported::Nothing => continue,
                Exported::Damaged => {
                    *left_out += 1;
                    continue;
                }
            }
            last = page_id;
            if stream.block.len() >= BLOCK {
                stream.end_block(BlockKind::Pages)?;
            }
            if page_id.0 % PAGES_BETWEEN_REPORTS == 0 {
                reporter.advance_to(page_id.0)?;
            }
        }
        if stream.has_block() {
            stream.end_block(BlockKind::Pages)?;
        }
        let roots = inner.tolerate(self.meta().map(Some), None)?;
        *left_out += u64::from(roots.is_none());
        let roots = encode_roots(&roots.unwrap_or_default());
        stream.block.extend_from_slice(&roots);
        stream.end_block(BlockKind::Roots)?;
        end.push(&mut stream.block);
        stream.end_block(BlockKind::End)?;
        stream.to.flush().map_err(|error| Error::io("write", "the export", error))?;
        is_consistent &= inner.core.tail() == before && !inner.core.batches().is_open();
        is_consistent &= *left_out == 0 && inner.damage.as_ref().is_none_or(Damage::is_none);
        reporter.finish()?;
        Ok((end, is_consistent))
    }
}

/// What was found under a page id.
enum Exported {
    Page,
    Free,
    Nothing,
    Damaged,
}

impl<F: Fragment> Inner<F> {
    /// What stands for something that can't be read, in a store that was opened tolerantly.
    fn tolerate<T>(&self, read: Result<T>, instead: T) -> Result<T> {
        match read {
            Err(Error::Corruption(_) | Error::Decode { .. } | Error::Io { .. }) if self.damage.is_some() => {
                Ok(instead)
            }
            other => other,
        }
    }

    /// Waits for what is on its way. Returns whether the state is one moment's then: nothing came meanwhile,
    /// and no batch is open.
    fn settle_for_export(&self) -> Result<bool> {
        if !self.core.gate().is_read_only() && self.core.gate().check_poison().is_ok() {
            let ends = self.core.quiesce()?;
            let fresh = ends.get(HeadId::FRESH.index()).copied().unwrap_or_default();
            return Ok(!self.core.batches().is_open() && self.core.tail() == fresh);
        }
        Ok(true)
    }

    /// Puts a page into a block.
    fn export_page(
        &self,
        cache: &PageCache<F>,
        page_id: PageId,
        last: PageId,
        block: &mut Vec<u8>,
    ) -> Result<Exported> {
        let guard = cache.pin();
        if let Some(page) = guard.get(page_id)? {
            let (version, birth) = (page.version(), page.birth());
            let mut payload = Vec::new();
            encode(page.merged(), &mut payload)?;
            let age = version.0 - birth.0;
            ExportedPage { page_id, version, age, payload: Some(&payload) }.push(last, block);
            return Ok(Exported::Page);
        }
        match self.freed(page_id, &guard.epoch) {
            Some((version, birth)) => {
                let age = version.0 - birth.0;
                ExportedPage { page_id, version, age, payload: None }.push(last, block);
                Ok(Exported::Free)
            }
            None => Ok(Exported::Nothing),
        }
    }

    /// Version and birth of a page that was freed.
    fn freed(&self, page_id: PageId, guard: &epoch::Guard) -> Option<(Version, Version)> {
        let head = self.table.head(page_id, guard).filter(|head| head.is_freed())?;
        Some((head.version(), head.birth()))
    }
}

/// The stream that is written, block by block.
struct Stream<'a> {
    to: &'a mut dyn Write,
    seeds: BlockSeeds,
    block: Vec<u8>,
    bytes: u64,
}

impl<'a> Stream<'a> {
    fn new(to: &'a mut dyn Write) -> Self {
        Self { to, seeds: BlockSeeds::new(), block: vec![0; BLOCK_HEADER], bytes: 0 }
    }

    fn has_block(&self) -> bool {
        self.block.len() > BLOCK_HEADER
    }

    fn end_block(&mut self, kind: BlockKind) -> Result<()> {
        let mut block = std::mem::take(&mut self.block);
        self.seeds.seal(kind, &mut block);
        self.raw(&block)?;
        block.truncate(BLOCK_HEADER);
        // A large page is not to be paid for again and again.
        block.shrink_to(2 * BLOCK);
        self.block = block;
        Ok(())
    }

    fn raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes += bytes.len() as u64;
        self.to.write_all(bytes).map_err(|error| Error::io("write", "the export", error))
    }
}
