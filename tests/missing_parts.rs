//! Reading a page of which many records are not in memory: how often the file is read, that slow reads run
//! side by side, and what an error, damage or a race in the middle of it does.

mod common;
#[path = "support/observed.rs"]
mod observed;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Bytes, alone, link, open, replace};
use observed::{Observed, Observer};
use pagelog::{Access, Config, Error, MemoryStorage, PageCache, PageId, Storage, Version};

/// What happens to the reads of the log.
#[derive(Debug, Default)]
struct Reads {
    /// Each read's offset and length, since they were last taken.
    all: Mutex<Vec<(u64, usize)>>,
    /// How long each takes, in microseconds.
    slow: AtomicU64,
    now: AtomicU64,
    most_at_once: AtomicU64,
    /// Reads that touch this byte of the file fail.
    bad: Mutex<Option<u64>>,
    /// The next read says that it begins, and then waits for a word.
    stop: Mutex<Option<(Sender<()>, Receiver<()>)>>,
}

impl Reads {
    fn take(&self) -> Vec<(u64, usize)> {
        std::mem::take(&mut self.all.lock().unwrap())
    }
}

impl Observer for Reads {
    fn before_read(&self, length: usize, offset: u64) -> io::Result<()> {
        self.all.lock().unwrap().push((offset, length));
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_at_once.fetch_max(now, Ordering::SeqCst);
        let stop = self.stop.lock().unwrap().take();
        if let Some((began, go_on)) = stop {
            began.send(()).unwrap();
            // Not for ever: a test that fails should end.
            go_on.recv_timeout(Duration::from_secs(20)).unwrap();
        }
        std::thread::sleep(Duration::from_micros(self.slow.load(Ordering::SeqCst)));
        self.now.fetch_sub(1, Ordering::SeqCst);
        let range = offset..offset + length as u64;
        match *self.bad.lock().unwrap() {
            Some(byte) if range.contains(&byte) => Err(io::Error::other("a bad sector")),
            _ => Ok(()),
        }
    }
}

/// A disk in memory whose log is read under observation.
type Watched = Observed<MemoryStorage, Reads>;

/// What is linked to the page, one after another.
const LINKS: u8 = 20;

/// A store in which one page has a base and [`LINKS`] links of 30 bytes, `apart` bytes of others' records
/// between them; opened anew, so nothing is in memory.
struct Store {
    cache: PageCache<Bytes>,
    storage: Watched,
    page_id: PageId,
    version: Version,
    contents: Vec<u8>,
}

impl Store {
    fn new(apart: usize) -> Self {
        let storage = Watched::default();
        let config = || {
            let config = Config::with_storage(Arc::new(storage.clone())).segment_size(64 << 10);
            config.io_buffer_size(1024).cache_capacity(16 << 10).garbage_collection(false)
        };
        let cache = open(config());
        let page = cache.allocate(Bytes(vec![0; 100])).unwrap();
        let other = cache.allocate(Bytes(vec![0; 10])).unwrap();
        let (mut version, mut filled) = (page.version, other.version);
        let mut contents = vec![0; 100];
        for number in 1..=LINKS {
            filled = replace(&cache, other.page_id, filled, &vec![0xFF; apart]);
            version = link(&cache, page.page_id, version, &[number; 30]);
            contents.extend([number; 30]);
        }
        cache.close().unwrap();
        let cache = open(config());
        storage.observer.take();
        Self { cache, storage, page_id: page.page_id, version, contents }
    }

    fn read(&self) -> pagelog::Result<Vec<u8>> {
        let guard = self.cache.pin();
        guard.get(self.page_id).map(|page| page.unwrap().merged().0.clone())
    }
}

#[test]
fn records_that_lie_together_are_one_read() {
    let _turn = alone();
    let store = Store::new(100);
    assert_eq!(store.read().unwrap(), store.contents);
    assert_eq!(store.storage.observer.take().len(), 1);
    let counts = store.cache.stats().counts;
    assert_eq!((counts.records_read, counts.reads, counts.misses), (u64::from(LINKS) + 1, 1, 1));
    assert!((3000..6000).contains(&counts.read_bytes), "{counts:?}");
    // And now it is in memory.
    assert_eq!(store.read().unwrap(), store.contents);
    assert_eq!(store.storage.observer.take(), []);
}

#[test]
fn records_that_lie_far_apart_are_read_once_each_in_the_order_of_the_file() {
    let _turn = alone();
    let store = Store::new(9000);
    assert_eq!(store.read().unwrap(), store.contents);
    let reads = store.storage.observer.take();
    assert_eq!(reads.len(), usize::from(LINKS) + 1);
    assert!(reads.is_sorted(), "{reads:?}");
    assert!(reads.iter().all(|(_, length)| *length < 200), "what lies between was read too: {reads:?}");
}

#[test]
fn slow_reads_run_side_by_side() {
    let _turn = alone();
    let store = Store::new(9000);
    store.storage.observer.slow.store(3000, Ordering::SeqCst);
    assert_eq!(store.read().unwrap(), store.contents);
    let at_once = store.storage.observer.most_at_once.load(Ordering::SeqCst);
    assert!((2..=8).contains(&at_once), "{at_once} at once");
    assert_eq!(store.storage.observer.take().len(), usize::from(LINKS) + 1);
}

#[test]
fn an_error_of_one_of_the_reads_is_that_of_the_get_and_leaves_nothing_behind() {
    let _turn = alone();
    for slow in [0, 3000] {
        let store = Store::new(9000);
        assert_eq!(store.read().unwrap(), store.contents);
        let places = store.storage.observer.take();
        for (offset, _) in places.iter().step_by(5) {
            let store = Store::new(9000);
            store.storage.observer.slow.store(slow, Ordering::SeqCst);
            *store.storage.observer.bad.lock().unwrap() = Some(offset + 7);
            assert!(matches!(store.read(), Err(Error::Io { .. })));
            *store.storage.observer.bad.lock().unwrap() = None;
            assert_eq!(store.read().unwrap(), store.contents);
        }
    }
}

#[test]
fn a_bad_sector_between_the_records_does_no_harm() {
    let _turn = alone();
    let store = Store::new(1000);
    // A byte of another page's record, between two of this one's.
    let probe = Store::new(1000);
    probe.read().unwrap();
    let (begin, _) = probe.storage.observer.take()[0];
    *store.storage.observer.bad.lock().unwrap() = Some(begin + 800);
    assert_eq!(store.read().unwrap(), store.contents);
}

#[test]
fn damage_to_one_of_the_records_is_named() {
    let _turn = alone();
    for apart in [100, 9000] {
        let store = Store::new(apart);
        let file = store.storage.open("log", Access::Write).unwrap();
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_at(&mut bytes, 0).unwrap();
        let at = bytes.windows(30).position(|bytes| bytes == [11; 30]).unwrap();
        file.write_at(&[12], at as u64).unwrap();
        let Err(Error::Corruption(corruption)) = store.read() else { panic!("the damage was not seen") };
        assert_eq!(corruption.page_id, Some(store.page_id));
        let offset = corruption.offset.unwrap() as usize;
        assert!((at - 20..at).contains(&offset), "{offset}, not just before {at}");
    }
}

#[test]
fn a_page_that_is_replaced_while_its_records_are_read_is_one_version_or_the_other() {
    let _turn = alone();
    for apart in [100, 9000] {
        let store = Store::new(apart);
        let (began, has_begun) = channel();
        let (go_on, wait) = channel();
        *store.storage.observer.stop.lock().unwrap() = Some((began, wait));
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| store.read().unwrap());
            has_begun.recv_timeout(Duration::from_secs(20)).expect("a read");
            // The records die, and much is written behind, so that their slots would be used again if they
            // could be.
            let mut version = replace(&store.cache, store.page_id, store.version, b"new");
            for _ in 0..200 {
                version = replace(&store.cache, store.page_id, version, &[7; 5000]);
                store.cache.attempt_gc().unwrap();
            }
            store.cache.flush().unwrap();
            go_on.send(()).unwrap();
            assert_eq!(
                reader.join().unwrap(),
                store.contents,
                "the version that was there when the read began"
            );
        });
        assert_eq!(store.read().unwrap(), [7; 5000]);
    }
}
