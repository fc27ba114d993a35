//! A small store of which everything is known: its files, what is in it, and what was in it after each
//! change. And a judge who says whether what a damaged copy shows is an error, or right, or was right not
//! long before.

use std::collections::BTreeMap;
use std::sync::Arc;

use pagelog::{
    Access, Config, Doubtful, Error, Fragment, MemoryStorage, PageCache, PageId, Storage, VerifyReport,
    Version,
};

use crate::bytes::Bytes;

/// The bytes of each file.
pub type Files = BTreeMap<String, Vec<u8>>;

/// The version and contents of each page, and the roots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub pages: BTreeMap<u64, (u64, Vec<u8>)>,
    pub roots: BTreeMap<Vec<u8>, u64>,
}

pub struct Golden {
    pub files: Files,
    /// What was in the store after each change. The last one is what is in the files.
    pub states: Vec<State>,
    /// How many changes are proven by what was written later: damage can't hide them.
    pub proven: usize,
    /// Page ids above this are not in use.
    pub pages: u64,
}

/// How it is opened. It was created with segments of 512 bytes.
pub fn config(storage: &Arc<MemoryStorage>) -> Config {
    let config = Config::with_storage(Arc::clone(storage) as Arc<dyn Storage>);
    let config = config.io_buffer_size(512).io_buffers(2).inline_limit(100);
    config.snapshot_interval(1 << 30).max_chain_length(4).space_target(2.0).cache_capacity(1 << 16)
}

/// Copies all files.
pub fn files_of(storage: &MemoryStorage) -> Files {
    let names = storage.list().unwrap();
    let read = |name: String| {
        let file = storage.open(&name, Access::Read).unwrap();
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_at(&mut bytes, 0).unwrap();
        (name, bytes)
    };
    names.into_iter().map(read).collect()
}

/// A disk with these files.
pub fn storage_of(files: &Files) -> Arc<MemoryStorage> {
    let storage = MemoryStorage::new();
    for (name, bytes) in files {
        storage.create(name).unwrap().write_at(bytes, 0).unwrap();
    }
    Arc::new(storage)
}

/// A store, and what was done to it.
pub struct Builder {
    pub cache: PageCache<Bytes>,
    pub states: Vec<State>,
}

impl Builder {
    pub fn new(cache: PageCache<Bytes>) -> Self {
        Self { cache, states: vec![State::default()] }
    }

    fn change(&mut self, change: impl FnOnce(&mut State)) {
        let mut state = self.states.last().cloned().unwrap_or_default();
        change(&mut state);
        self.states.push(state);
    }

    pub fn allocate(&mut self, bytes: &[u8]) -> u64 {
        let page = self.cache.allocate(Bytes(bytes.to_vec())).unwrap();
        let page_id = page.page_id.get();
        self.change(|state| _ = state.pages.insert(page_id, (page.version.get(), bytes.to_vec())));
        page_id
    }

    fn version(&self, page_id: u64) -> Version {
        Version::new(self.states.last().unwrap().pages[&page_id].0)
    }

    pub fn link(&mut self, page_id: u64, bytes: &[u8]) {
        let linked = self.cache.link(PageId::new(page_id), self.version(page_id), Bytes(bytes.to_vec()));
        let version = linked.unwrap().done().unwrap().get();
        self.change(|state| {
            let page = state.pages.get_mut(&page_id).unwrap();
            page.0 = version;
            page.1.extend_from_slice(bytes);
        });
    }

    pub fn replace(&mut self, page_id: u64, bytes: &[u8]) {
        let replaced = self.cache.replace(PageId::new(page_id), self.version(page_id), Bytes(bytes.to_vec()));
        let version = replaced.unwrap().done().unwrap().get();
        self.change(|state| _ = state.pages.insert(page_id, (version, bytes.to_vec())));
    }

    pub fn free(&mut self, page_id: u64) {
        assert!(self.cache.free(PageId::new(page_id), self.version(page_id)).unwrap().is_done());
        self.change(|state| _ = state.pages.remove(&page_id));
    }

    fn root(&mut self, name: &[u8], page_id: u64) {
        let new = Some(PageId::new(page_id));
        assert!(matches!(
            self.cache.cas_root_in_meta(name, None, new).unwrap(),
            pagelog::RootCas::Done { .. }
        ));
        self.change(|state| _ = state.roots.insert(name.to_vec(), page_id));
    }
}

/// A store with pages of all kinds, in reused segments, two snapshots of which the second one names blocks of
/// the first, a large value, a batch, and some log behind them. Closed, or as a process leaves it that is
/// killed.
pub fn golden(closed: bool) -> Golden {
    let storage = Arc::new(MemoryStorage::new());
    // Collected where it says so, not behind the snapshots: there a segment can be empty of which an opening
    // reads the end.
    let cache = config(&storage).segment_size(512).garbage_collection(false).open().unwrap();
    let mut store = Builder::new(cache);
    let pages: Vec<u64> = (0..6u8).map(|n| store.allocate(&[n; 20])).collect();
    store.root(b"first", pages[0]);
    // Segments come round.
    for round in 0..6u8 {
        for page_id in &pages[1..4] {
            store.replace(*page_id, &[0x20 + round; 40]);
        }
        store.cache.flush().unwrap();
        while store.cache.attempt_gc().unwrap() {}
    }
    store.cache.snapshot().unwrap();
    store.link(pages[0], b"linked");
    store.replace(pages[1], &[0x99; 120]);
    store.free(pages[5]);
    store.cache.generate_id().unwrap();
    store.cache.snapshot().unwrap();
    store.link(pages[0], b" and again");
    store.allocate(b"reborn");
    let cache = store.cache.clone();
    let batch = cache.pin_log().unwrap();
    store.link(pages[2], b"batched");
    store.link(pages[3], b"batched");
    batch.seal_batch().unwrap();
    store.cache.flush().unwrap();
    // What was done before this flush is proven by the marks of the next.
    let proven = store.states.len() - 1;
    store.replace(pages[4], &[0x77; 30]);
    store.link(pages[4], b"last");
    store.cache.flush().unwrap();
    let reused = store.cache.stats().counts.segments_reused;
    assert!(reused > 0, "no segment was reused");
    if closed {
        store.cache.close().unwrap();
    }
    Golden { files: files_of(&storage), states: store.states, proven, pages: 8 }
}

/// A store with two ranges of pages, of which the second snapshot has only one.
pub fn wide() -> Golden {
    let storage = Arc::new(MemoryStorage::new());
    let cache = config(&storage).segment_size(512).open().unwrap();
    let mut store = Builder::new(cache);
    let pages: Vec<u64> = (0..260).map(|_| store.allocate(b"")).collect();
    store.cache.snapshot().unwrap();
    store.replace(pages[258], b"in the second range");
    store.cache.close().unwrap();
    let proven = store.states.len() - 1;
    Golden { files: files_of(&storage), states: store.states, proven, pages: 260 }
}

/// What a damaged copy came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It can't be opened: damaged, no store, of another version.
    Refused,
    /// It can be opened, and some of it can't be read, which is an error for who does, and for a check.
    PartlyUnreadable,
    /// All is there, and a check reports the damage.
    Reported,
    /// It is as it was some changes ago, none of which was proven.
    Shorter,
    /// All is there, and nobody has noticed anything.
    Unnoticed,
}

impl Golden {
    /// What the files would be without the damage, and what they are with it. Panics if that is neither right
    /// nor an error.
    pub fn judge(&self, files: &Files, read_only: bool) -> Verdict {
        let storage = storage_of(files);
        let cache = match config(&storage).read_only(read_only).open::<Bytes>() {
            Ok(cache) => cache,
            Err(error) => {
                assert!(is_refusal(&error), "{error:?}");
                return Verdict::Refused;
            }
        };
        let (seen, unreadable) = look(&cache, self.pages);
        let report = cache.verify().unwrap();
        let candidates = if unreadable.is_empty() { self.proven } else { 0 };
        let matches = |state: &&State| agrees(state, &seen, &unreadable);
        let found = self.states[candidates..].iter().rposition(|state| matches(&state));
        let Some(found) = found.map(|index| index + candidates) else {
            panic!("this was never in the store: {seen:?}, unreadable {unreadable:?}")
        };
        if !read_only {
            drop(cache);
            let again: PageCache<Bytes> = config(&storage).open().unwrap();
            assert_eq!(
                look(&again, self.pages),
                (seen, unreadable.clone()),
                "it opens differently the second time"
            );
        }
        self.verdict(found, &unreadable, &report)
    }

    /// As [`judge`](Self::judge), after any damage to any number of files. What proves a change may be gone
    /// as well, so any of the moments is right.
    #[allow(dead_code, reason = "for the fuzz targets")]
    pub fn judge_any(&self, files: &Files, read_only: bool) -> Verdict {
        let nothing_is_proven =
            Self { files: Files::new(), states: self.states.clone(), proven: 0, pages: self.pages };
        nothing_is_proven.judge(files, read_only)
    }

    fn verdict(&self, found: usize, unreadable: &[u64], report: &VerifyReport) -> Verdict {
        if !unreadable.is_empty() {
            assert!(!report.is_sound(), "pages {unreadable:?} can't be read, and the check is content");
            return Verdict::PartlyUnreadable;
        }
        // The same contents may be those of several moments.
        match self.states[found] == self.states[self.states.len() - 1] {
            true if report.is_sound() => Verdict::Unnoticed,
            true => Verdict::Reported,
            false => Verdict::Shorter,
        }
    }
}

/// Opens files of which nothing is known, reads all that is there, checks it, changes something, and opens it
/// again. Returns how long the disk was before it was closed, if it came so far.
#[allow(dead_code, reason = "for the fuzz targets")]
pub fn exercise(files: &Files, pages: u64) -> usize {
    use_somehow(&storage_of(files), pages).unwrap_or(0)
}

fn use_somehow(storage: &Arc<MemoryStorage>, pages: u64) -> Option<usize> {
    let open = |read_only| match config(storage).read_only(read_only).open::<Bytes>() {
        Ok(cache) => Some(cache),
        Err(error) => {
            assert!(is_refusal(&error), "{error:?}");
            None
        }
    };
    for doubtful in [Doubtful::Serve, Doubtful::Refuse] {
        match config(storage).open_tolerantly::<Bytes>(doubtful) {
            Ok((cache, damage)) => drop((look(&cache, pages), damage.to_string())),
            Err(error) => assert!(is_refusal(&error), "{error:?}"),
        }
    }
    let cache = open(true)?;
    let (before, unreadable) = look(&cache, pages);
    let _ = cache.verify();
    drop(cache);
    let cache = open(false)?;
    assert_eq!(look(&cache, pages), (before, unreadable), "it is another one when it is opened for writing");
    for (page_id, version) in (1..=pages).filter_map(|id| Some((id, cache.version(PageId::new(id)).ok()??))) {
        let (id, fragment) = (PageId::new(page_id), Bytes(vec![page_id as u8; 30]));
        let _ = match page_id % 3 {
            0 => cache.link(id, version, fragment).map(drop),
            1 => cache.replace(id, version, fragment).map(drop),
            _ => cache.free(id, version).map(drop),
        };
    }
    let _ = (cache.allocate(Bytes(b"new".to_vec())), cache.attempt_gc(), cache.flush());
    let length = |name: &String| storage.open(name, Access::Read).and_then(|file| file.len()).unwrap();
    let longest = storage.list().unwrap().iter().map(length).sum::<u64>() as usize;
    let after = look(&cache, pages);
    let is_closed = cache.close().is_ok();
    drop(cache);
    if is_closed && let Some(cache) = open(false) {
        assert_eq!(look(&cache, pages), after, "it is another one when it is opened again");
    }
    Some(longest)
}

fn is_refusal(error: &Error) -> bool {
    matches!(
        error,
        Error::Corruption(_) | Error::NotAStore { .. } | Error::UnsupportedFormat { .. } | Error::Io { .. }
    )
}

/// What can be read, and which pages can't be. Page 0 stands for the roots.
pub fn look(cache: &PageCache<Bytes>, pages: u64) -> (State, Vec<u64>) {
    let (mut seen, mut unreadable) = (State::default(), Vec::new());
    for page_id in 1..=pages {
        let guard = cache.pin();
        match guard.get(PageId::new(page_id)) {
            Ok(Some(page)) => {
                let mut parts: Vec<_> = page.fragments().collect();
                parts.reverse();
                assert_eq!(Bytes::merge(&parts), *page.merged());
                let contents = page.merged().0.clone();
                seen.pages.insert(page_id, (page.version().get(), contents));
            }
            Ok(None) => {}
            Err(Error::Corruption(_)) => unreadable.push(page_id),
            // A record whose checksum was made right may claim to be compressed.
            Err(Error::Decode { reason, .. }) if reason.contains("lacks the feature") => {
                unreadable.push(page_id);
            }
            Err(error) => panic!("page {page_id}: {error:?}"),
        }
    }
    match cache.meta() {
        Ok(roots) => {
            seen.roots = roots.iter().map(|(name, page_id)| (name.to_vec(), page_id.get())).collect();
        }
        Err(Error::Corruption(_)) => unreadable.push(0),
        Err(error) => panic!("the roots: {error:?}"),
    }
    (seen, unreadable)
}

fn agrees(state: &State, seen: &State, unreadable: &[u64]) -> bool {
    let mut pages = state.pages.clone();
    for page_id in unreadable {
        pages.remove(page_id);
    }
    pages == seen.pages && (unreadable.contains(&0) || state.roots == seen.roots)
}
