//! A thread that is stopped anywhere between reserving a record and finishing it must stop nobody but those
//! who commit.
//!
//! Each scenario does a verb step by step with the verb's own parts and stops at one of the steps, the worst
//! that a scheduler can do. While it stands still the others link, replace, allocate, free and read thousands
//! of times, through many buffers and segments, with collection and snapshots running; a flush that began
//! meanwhile must wait, for the log is a prefix, and must return once the thread goes on.
//!
//! The same holds for a thread that is stopped while it evicts, though then the others exceed the memory
//! budget.
//!
//! The story behind it: a writer that begins a segment does a share of the housekeeping. That share used to
//! flush (to get emptied segments back) and to wait until the log was quiet (to take a snapshot), so one
//! stopped thread stopped every writer that came upon a new segment. Housekeeping now takes what is written
//! already, and waits for nobody.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use super::{Text, turn_at_the_collector};
use crate::config::Config;
use crate::format::{Payload, RecordKind};
use crate::ids::{HeadId, PageId, Version};
use crate::log::Privilege;
use crate::pagecache::Cas;
use crate::pagecache::gc::MOMENT;
use crate::pagecache::shared::{Inner, Killer, PageCache, encode};
use crate::pages::content::Content;
use crate::pages::publish::PreparedBase;
use crate::pages::table::Entry;
use crate::storage::MemoryStorage;
use crate::storage::sim::SimStorage;
use crate::sync::epoch;

/// What everybody links to the shared page.
const SHARED: &[u8] = b"traceless, for it is shared";

/// Where the thread is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Behind the reservation, before the page's head is exchanged.
    Reserved,
    /// Behind the exchange, before the reservation is completed.
    Published,
    /// Behind the completion, before the records that were superseded are declared dead.
    Completed,
}

#[derive(Clone, Copy, Debug)]
enum Verb {
    Link,
    Replace,
}

/// Does a verb on a page, calling `reached` at each step. The new version, or `None` if the race was lost.
fn step_by_step(
    inner: &Inner<Text>,
    verb: Verb,
    page_id: PageId,
    version: Version,
    reached: impl Fn(Step),
) -> Option<Version> {
    let fragment = Text(b"frozen".to_vec());
    let guard = epoch::pin();
    let head = inner.at_version(page_id, version, &guard).ok()?;
    let mut payload = Vec::new();
    encode(&fragment, &mut payload).unwrap();
    let next = Version(version.0 + 1);
    let reserve = |kind| {
        inner.core.reserve(HeadId::FRESH, Privilege::Ordinary, &kind, Payload::plain(&payload)).unwrap()
    };
    match verb {
        Verb::Link => {
            let link = head.prepare_link(fragment, payload.len(), u32::MAX);
            let claim = reserve(RecordKind::Link { page_id, version: next });
            reached(Step::Reserved);
            let linked = link.publish(claim.place(), claim.length()).ok()?;
            reached(Step::Published);
            claim.complete();
            reached(Step::Completed);
            Some(linked)
        }
        Verb::Replace => {
            let birth = head.birth();
            let base = PreparedBase::page(next, birth, Content::new(fragment, payload.len() as u64));
            let claim = reserve(RecordKind::Replace { page_id, version: next, age: next.0 - birth.0 });
            reached(Step::Reserved);
            let chain = base.publish(&Entry::Occupied(head), claim.place(), claim.length()).ok()?;
            reached(Step::Published);
            let killer = Killer { end: claim.end() };
            claim.complete();
            reached(Step::Completed);
            if let Some(chain) = chain {
                inner.bury(chain, killer);
            }
            Some(next)
        }
    }
}

/// A page that one thread writes, and what must be in it.
struct Owned {
    page_id: PageId,
    version: Version,
    bytes: Vec<u8>,
}

impl Owned {
    fn new(cache: &PageCache<Text>) -> Self {
        let page = cache.allocate(Text(vec![0; 40])).unwrap();
        Self { page_id: page.page_id, version: page.version, bytes: vec![0; 40] }
    }

    fn link(&mut self, cache: &PageCache<Text>, byte: u8) {
        let outcome = cache.link(self.page_id, self.version, Text(vec![byte; 20])).unwrap();
        self.version = outcome.done().expect("nobody else writes this page");
        self.bytes.extend([byte; 20]);
    }

    fn replace(&mut self, cache: &PageCache<Text>, byte: u8) {
        let outcome = cache.replace(self.page_id, self.version, Text(vec![byte; 30])).unwrap();
        self.version = outcome.done().expect("nobody else writes this page");
        self.bytes = vec![byte; 30];
    }

    fn check(&self, cache: &PageCache<Text>) {
        let guard = cache.pin();
        let page = guard.get(self.page_id).unwrap().expect("nobody frees this page");
        assert_eq!((page.version(), &page.merged().0), (self.version, &self.bytes));
    }
}

/// A link to a page that others write too.
fn link_shared(cache: &PageCache<Text>, page_id: PageId) {
    let mut version = cache.version(page_id).unwrap().unwrap();
    let mut fragment = Text(SHARED.to_vec());
    loop {
        match cache.link(page_id, version, fragment).unwrap() {
            Cas::Done { .. } => return,
            Cas::Changed { current, fragment: back } => (version, fragment) = (current, back),
            Cas::Gone { .. } => panic!("nobody frees this page"),
        }
    }
}

const ROUNDS: u32 = 1000;

fn work(cache: &PageCache<Text>, shared: PageId) -> Vec<Owned> {
    let mut pages: Vec<Owned> = (0..8).map(|_| Owned::new(cache)).collect();
    for round in 0..ROUNDS {
        let page = &mut pages[round as usize % 8];
        if round % 5 == 4 {
            page.replace(cache, round as u8);
        } else {
            page.link(cache, round as u8);
        }
        page.check(cache);
        link_shared(cache, shared);
        let brief = cache.allocate(Text(vec![1])).unwrap();
        assert!(cache.free(brief.page_id, brief.version).unwrap().is_done());
    }
    pages
}

fn config(storage: &Arc<MemoryStorage>) -> Config {
    let config = Config::with_storage(Arc::clone(storage) as Arc<_>).segment_size(4096);
    let config = config.io_buffer_size(512).io_buffers(2).snapshot_interval(4096);
    config.cache_capacity(32 << 10).max_chain_ratio(8.0)
}

fn scenario(verb: Verb, stop: Step) {
    let storage = Arc::new(MemoryStorage::new());
    let cache: PageCache<Text> = config(&storage).open().unwrap();
    let shared = cache.allocate(Text(Vec::new())).unwrap();
    work(&cache, shared.page_id);
    let version = cache.version(shared.page_id).unwrap().unwrap();

    let (stopped_sender, stopped): (Sender<()>, Receiver<()>) = channel();
    let (release, released_receiver): (Sender<()>, Receiver<()>) = channel();
    let released = Arc::new(AtomicBool::new(false));
    let frozen = thread::spawn({
        let cache = cache.clone();
        move || {
            step_by_step(&cache.inner, verb, shared.page_id, version, |step| {
                if step == stop {
                    stopped_sender.send(()).unwrap();
                    released_receiver.recv().unwrap();
                }
            })
        }
    });
    stopped.recv().unwrap();

    let committing = Arc::new(Barrier::new(2));
    let commit = thread::spawn({
        let (cache, released, committing) = (cache.clone(), Arc::clone(&released), Arc::clone(&committing));
        move || {
            committing.wait();
            cache.flush().unwrap();
            released.load(Ordering::SeqCst)
        }
    });
    committing.wait();
    let before = cache.stats().counts;
    let workers: Vec<_> = (0..2)
        .map(|_| {
            let cache = cache.clone();
            thread::spawn(move || work(&cache, shared.page_id))
        })
        .collect();
    let pages: Vec<Owned> = workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect();
    let after = cache.stats().counts;
    assert!(after.links - before.links > u64::from(ROUNDS), "{before:?} {after:?}");
    assert!(after.segments_opened - before.segments_opened > 20, "{before:?} {after:?}");

    released.store(true, Ordering::SeqCst);
    release.send(()).unwrap();
    let outcome = frozen.join().unwrap();
    assert_eq!(outcome.is_some(), stop != Step::Reserved, "{verb:?}: others have linked meanwhile");
    let waited = commit.join().unwrap();
    assert!(waited || stop == Step::Completed, "a flush returned while a record before it was open");
    cache.flush().unwrap();
    pages.iter().for_each(|page| page.check(&cache));
    cache.close().unwrap();
    let again: PageCache<Text> = config(&storage).open().unwrap();
    pages.iter().for_each(|page| page.check(&again));
    let guard = again.pin();
    let text = &guard.get(shared.page_id).unwrap().unwrap().merged().0;
    let found = text.windows(6).any(|window| window == b"frozen");
    assert_eq!(found, stop != Step::Reserved);
}

/// Runs a scenario, and fails rather than hangs if it does not come to an end.
fn within_reason(name: &str, scenario: impl FnOnce() + Send + 'static) {
    let (sender, done) = channel();
    let thread = thread::spawn(move || {
        scenario();
        let _ = sender.send(());
    });
    // Sanitizers are slow.
    let minutes = if cfg!(any(sanitized, miri)) { 30 } else { 2 };
    match done.recv_timeout(Duration::from_secs(60 * minutes)) {
        Err(std::sync::mpsc::RecvTimeoutError::Timeout) => panic!("{name} stops others"),
        _ => thread.join().unwrap(),
    }
}

fn stopped_writer(verb: Verb, stop: Step) {
    let _turn = turn_at_the_collector();
    within_reason(&format!("{verb:?} stopped at {stop:?}"), move || scenario(verb, stop));
}

#[test]
fn a_link_stopped_behind_its_reservation_stops_nobody() {
    stopped_writer(Verb::Link, Step::Reserved);
}

#[test]
fn a_link_stopped_before_its_completion_stops_only_commits() {
    stopped_writer(Verb::Link, Step::Published);
}

#[test]
fn a_replace_stopped_behind_its_reservation_stops_nobody() {
    stopped_writer(Verb::Replace, Step::Reserved);
}

#[test]
fn a_replace_stopped_before_its_completion_stops_only_commits() {
    stopped_writer(Verb::Replace, Step::Published);
}

#[test]
fn a_replace_stopped_before_it_declares_records_dead_stops_nobody() {
    stopped_writer(Verb::Replace, Step::Completed);
}

#[test]
fn a_thread_stopped_while_it_evicts_stops_nobody() {
    let _turn = turn_at_the_collector();
    within_reason("an eviction", stopped_evictor);
}

/// Each verb that is over the budget gives the stopped thread a moment, so this does little work.
fn stopped_evictor() {
    const ROUNDS: u8 = 200;
    let storage = Arc::new(MemoryStorage::new());
    let cache: PageCache<Text> = config(&storage).cache_capacity(8 << 10).open().unwrap();
    let mut pages: Vec<Owned> = (0..8).map(|_| Owned::new(&cache)).collect();
    let before = cache.stats();
    let stopped = cache.inner.evictor.stop();
    thread::scope(|scope| {
        for pages in pages.chunks_mut(4) {
            let cache = &cache;
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let page = &mut pages[usize::from(round) % 4];
                    page.link(cache, round);
                    page.check(cache);
                    page.replace(cache, round);
                    cache.allocate(Text(vec![round; 40])).unwrap();
                }
            });
        }
    });
    let during = cache.stats();
    assert_eq!(during.counts.evictions, before.counts.evictions);
    assert!(during.resident_bytes > 16 << 10 && during.counts.over_budget > 100, "{during:?}");
    // So far over the budget, a verb gives it the moment that keeps writers from running away from one that
    // is only slow.
    let start = Instant::now();
    pages[1].link(&cache, 1);
    assert!(start.elapsed() >= Duration::from_millis(1));
    drop(stopped);
    // One verb does as much as it has time for. And how much is dead is only estimated until it is freed,
    // which waits for guards that other tests hold in this process.
    let deadline = Instant::now() + Duration::from_secs(60);
    let is_kept = || {
        let after = cache.stats();
        after.resident_bytes + after.buffer_bytes <= after.cache_capacity.max(after.buffer_bytes)
    };
    while !is_kept() {
        assert!(Instant::now() < deadline, "{:?}", cache.stats());
        thread::sleep(Duration::from_millis(10));
        pages[0].link(&cache, 1);
    }
    pages.iter().for_each(|page| page.check(&cache));
}

/// Writers that find the stock of free segments used up give the one who is collecting a moment, at each step
/// of the log. Then the file grows.
#[test]
fn a_thread_stopped_while_it_collects_delays_others_and_stops_nobody() {
    let _turn = turn_at_the_collector();
    within_reason("a collector", || {
        let cache: PageCache<Text> = config(&Arc::new(MemoryStorage::new())).open().unwrap();
        let page = cache.allocate(Text(vec![0; 500])).unwrap();
        let (mut version, before) = (page.version, cache.stats());
        let stopped = cache.inner.collector.hold();
        let start = Instant::now();
        for byte in 0..200 {
            let replaced = cache.replace(page.page_id, version, Text(vec![byte; 500])).unwrap();
            version = replaced.done().unwrap();
        }
        let (taken, after) = (start.elapsed(), cache.stats());
        assert!(after.segments > before.segments + 20 && after.counts.relocated_records == 0, "{after:?}");
        assert!(taken > 10 * MOMENT, "{taken:?}");
        drop(stopped);
        assert_eq!(cache.pin().get(page.page_id).unwrap().unwrap().merged().0, [199; 500]);
    });
}

/// A snapshot in passing begins where the log is written, and not where it ends: what a stopped writer will
/// put in the table when the walk has been there must be found in the log behind the begin.
#[test]
fn a_snapshot_leaves_the_record_of_a_stopped_writer_to_the_log() {
    for verb in [Verb::Link, Verb::Replace] {
        let disk = SimStorage::new(1);
        let open = |disk: &SimStorage| -> PageCache<Text> {
            let config = Config::with_storage(Arc::new(disk.clone())).segment_size(16 << 10);
            config.io_buffer_size(1024).snapshot_interval(4096).open().unwrap()
        };
        let cache = open(&disk);
        let inner = &*cache.inner;
        let page = cache.allocate(Text(b"first".to_vec())).unwrap();
        {
            // Nobody begins one before it is time.
            let _busy = inner.snapshots.busy();
            (0..200).for_each(|_| _ = cache.allocate(Text(vec![1; 60])).unwrap());
            cache.flush().unwrap();
        }
        let taken = || cache.stats().counts.snapshots;
        let pace = || (0..100).for_each(|_| inner.pace_snapshots().unwrap());
        let done = step_by_step(inner, verb, page.page_id, page.version, |step| {
            if step == Step::Reserved {
                pace();
                assert_eq!(taken(), 0, "it can't be in force before the writer has come to an end");
            }
        });
        assert_eq!(done, Some(Version(page.version.0 + 1)));
        cache.flush().unwrap();
        pace();
        assert_eq!(taken(), 1);
        let found = open(&disk.after_power_cut(7));
        assert_eq!(found.version(page.page_id).unwrap(), done, "{verb:?}");
        let guard = found.pin();
        let text = guard.get(page.page_id).unwrap().unwrap().merged().0.clone();
        assert!(text.ends_with(b"frozen"), "{text:?}");
    }
}
