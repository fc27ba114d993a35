//! The index: a page cache full of [`Piece`]s, and what is where in it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};

use pagelog::{Cas, Codec, Config, Lsn, PageCache, PageId, RootCas, Stats};

use crate::failure::{Failure, Result};
use crate::files::{FileEntry, Files, Fingerprint};
use crate::piece::{Compact, Directory, Piece};
use crate::plan::Plan;
use crate::tokens;
use crate::words::Words;

/// The name by which the directory is found again.
const ROOT: &[u8] = b"word index";

/// Bucket → word → lines.
type Buckets = BTreeMap<u64, BTreeMap<Box<str>, Vec<u32>>>;

pub struct Index {
    cache: PageCache<Piece>,
    directory: Directory,
    linked_bytes: AtomicU64,
}

impl Index {
    /// The index in the store that `config` names. If there is none it is made, as large as the plan says.
    pub fn open(config: Config, plan: &Plan) -> Result<Self> {
        let cache: PageCache<Piece> = config.open()?;
        let directory = match cache.meta_pid_for_name(ROOT)? {
            Some(page_id) => read_directory(&cache, page_id)?,
            None => make_directory(&cache, plan)?,
        };
        Ok(Self { cache, directory, linked_bytes: AtomicU64::new(0) })
    }

    /// Indexes a text under a name, unless it is what was indexed under that name before. `None` if so, else
    /// the place in the log: once that is stable, so is all that the index knows of the file.
    pub fn add(&self, name: &str, text: &str) -> Result<Option<Lsn>> {
        let known = self.entry(name)?;
        let fingerprint = Some(Fingerprint::of(text));
        if known.as_ref().is_some_and(|known| known.fingerprint == fingerprint) {
            return Ok(None);
        }
        let (id, had) = match known {
            Some(known) => (known.id, known.buckets),
            None => (self.cache.generate_id()?, Vec::new()),
        };
        let words = self.by_bucket(text);
        let buckets = words.keys().copied().collect();
        self.rewrite(name, id, had, words)?;
        self.note(name, Some(FileEntry { id, fingerprint, buckets })).map(Some)
    }

    /// Forgets a file.
    pub fn forget(&self, name: &str) -> Result<Lsn> {
        if let Some(FileEntry { id, buckets, .. }) = self.entry(name)? {
            self.rewrite(name, id, buckets, Buckets::new())?;
        }
        self.note(name, None)
    }

    /// Tells all buckets that a file has words in, or had, what it has there now. Before that it is noted
    /// which ones these are.
    fn rewrite(&self, name: &str, id: u64, had: Vec<u64>, mut words: Buckets) -> Result<()> {
        let touched: BTreeSet<u64> = had.into_iter().chain(words.keys().copied()).collect();
        let buckets = touched.iter().copied().collect();
        self.note(name, Some(FileEntry { id, fingerprint: None, buckets }))?;
        for bucket in touched {
            let words = Words::change(id, words.remove(&bucket).unwrap_or_default());
            self.link(self.bucket_page(bucket)?, Piece::Words(words))?;
        }
        Ok(())
    }

    /// Puts on a file's shelf what is known of it now.
    fn note(&self, name: &str, entry: Option<FileEntry>) -> Result<Lsn> {
        self.link(self.shelf_page(name)?, Piece::Files(Files::change(name, entry)))
    }

    /// Puts a piece on top of a page. The loop ends when this thread wins a race, and whenever it loses one
    /// another wins.
    fn link(&self, page_id: PageId, mut piece: Piece) -> Result<Lsn> {
        self.measure(&piece)?;
        let missing = || Failure::Strange(format!("page {page_id} of the index is missing"));
        let mut version = self.cache.version(page_id)?.ok_or_else(missing)?;
        loop {
            match self.cache.link(page_id, version, piece)? {
                Cas::Done { lsn, .. } => return Ok(lsn),
                Cas::Changed { current, fragment } => (version, piece) = (current, fragment),
                Cas::Gone { .. } => return Err(missing()),
            }
        }
    }

    /// Counts the bytes that are asked to be kept. What is written for them, and written again, is compared
    /// with that.
    fn measure(&self, piece: &Piece) -> Result<()> {
        let mut bytes = Vec::new();
        Compact::encode(piece, &mut bytes).map_err(|error| Failure::Strange(error.to_string()))?;
        self.linked_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// The words of a text with their lines, by bucket.
    fn by_bucket(&self, text: &str) -> Buckets {
        let mut buckets = Buckets::new();
        for (line, word) in tokens::words(text) {
            let bucket = buckets.entry(self.bucket_of(&word)).or_default();
            bucket.entry(word.into_boxed_str()).or_default().push(line);
        }
        buckets
    }

    pub fn bucket_of(&self, word: &str) -> u64 {
        tokens::hash(word.as_bytes()) % self.buckets()
    }

    pub fn buckets(&self) -> u64 {
        self.directory.buckets.len() as u64
    }

    /// Lends the words of a bucket. They are borrowed from the cache, which keeps them as long as this takes.
    pub fn with_bucket<R>(&self, bucket: u64, use_it: impl FnOnce(&Words) -> R) -> Result<R> {
        let page_id = self.bucket_page(bucket)?;
        self.with_page(page_id, |piece| match piece {
            Piece::Words(words) => Some(use_it(words)),
            _ => None,
        })
    }

    fn entry(&self, name: &str) -> Result<Option<FileEntry>> {
        let page_id = self.shelf_page(name)?;
        self.with_shelf(page_id, |files| files.get(name).cloned())
    }

    /// All indexed files, by name.
    pub fn files(&self) -> Result<BTreeMap<String, FileEntry>> {
        let mut all = BTreeMap::new();
        for page_id in &self.directory.shelves {
            self.with_shelf(*page_id, |files| {
                all.extend(files.iter().map(|(name, entry)| (name.to_owned(), entry.clone())));
            })?;
        }
        Ok(all)
    }

    fn with_shelf<R>(&self, page_id: PageId, use_it: impl FnOnce(&Files) -> R) -> Result<R> {
        self.with_page(page_id, |piece| match piece {
            Piece::Files(files) => Some(use_it(files)),
            _ => None,
        })
    }

    fn with_page<R>(&self, page_id: PageId, use_it: impl FnOnce(&Piece) -> Option<R>) -> Result<R> {
        read(&self.cache, page_id, use_it)
    }

    fn bucket_page(&self, bucket: u64) -> Result<PageId> {
        let page = usize::try_from(bucket).ok().and_then(|bucket| self.directory.buckets.get(bucket));
        page.copied().ok_or_else(|| Failure::Strange(format!("the index has no bucket {bucket}")))
    }

    fn shelf_page(&self, name: &str) -> Result<PageId> {
        let shelves = &self.directory.shelves;
        let at = tokens::hash(name.as_bytes()).checked_rem(shelves.len() as u64).unwrap_or(0) as usize;
        shelves.get(at).copied().ok_or_else(|| Failure::Strange("the index has no shelves".into()))
    }

    /// Returns when the change at `lsn`, and all before it, survive a power cut.
    pub fn commit(&self, lsn: Lsn) -> Result<()> {
        Ok(self.cache.make_stable(lsn)?)
    }

    pub fn close(&self) -> Result<()> {
        Ok(self.cache.close()?)
    }

    pub fn was_recovered(&self) -> bool {
        self.cache.was_recovered()
    }

    pub fn stats(&self) -> Stats {
        self.cache.stats()
    }

    pub fn linked_bytes(&self) -> u64 {
        self.linked_bytes.load(Ordering::Relaxed)
    }
}

fn read<R>(cache: &PageCache<Piece>, page_id: PageId, use_it: impl FnOnce(&Piece) -> Option<R>) -> Result<R> {
    let guard = cache.pin();
    let page = guard.get(page_id)?;
    let page = page.ok_or_else(|| Failure::Strange(format!("page {page_id} of the index is missing")))?;
    let used = use_it(page.merged());
    used.ok_or_else(|| Failure::Strange(format!("page {page_id} of the index holds something else")))
}

fn read_directory(cache: &PageCache<Piece>, page_id: PageId) -> Result<Directory> {
    let directory = read(cache, page_id, |piece| match piece {
        Piece::Directory(directory) => Some(directory.clone()),
        _ => None,
    })?;
    if directory.buckets.is_empty() || directory.shelves.is_empty() {
        return Err(Failure::Strange("the index has an empty directory".into()));
    }
    Ok(directory)
}

/// An empty index: all of it survives a crash, or nothing.
fn make_directory(cache: &PageCache<Piece>, plan: &Plan) -> Result<Directory> {
    let batch = cache.pin_log()?;
    let allocate = |piece: Piece| Ok(cache.allocate(piece)?.page_id);
    let buckets: Result<_> = (0..plan.buckets).map(|_| allocate(Piece::Words(Words::new()))).collect();
    let shelves: Result<_> = (0..plan.shelves).map(|_| allocate(Piece::Files(Files::default()))).collect();
    let directory = Directory { buckets: buckets?, shelves: shelves? };
    let page_id = allocate(Piece::Directory(directory.clone()))?;
    match cache.cas_root_in_meta(ROOT, None, Some(page_id))? {
        RootCas::Done { .. } => {}
        RootCas::Changed { .. } => return Err(Failure::Strange("another index appeared".into())),
    }
    cache.make_stable(batch.seal_batch()?)?;
    Ok(directory)
}
