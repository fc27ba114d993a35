//! Following a store: every change, once, in order, when it is stable, and nothing else.

mod common;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use common::{Bytes, Dice, alone, link, open, read, replace, tiny};
use pagelog::sim::SimStorage;
use pagelog::{
    Cas, ChangeKind, Config, Error, Event, Follower, Log, LogEvent, Lsn, MemoryStorage, PageCache, PageId,
    RootCas, Roots, Version,
};

const PATIENCE: Duration = Duration::from_secs(20);

fn memory() -> Config {
    Config::with_storage(Arc::new(MemoryStorage::new()))
}

/// What a follower knows of the store.
#[derive(Debug, Default, PartialEq, Eq)]
struct Mirror {
    pages: BTreeMap<PageId, (Version, Vec<u8>)>,
    roots: Roots,
    changes: u64,
    batch: bool,
    last: Option<Lsn>,
}

impl Mirror {
    fn apply(&mut self, event: Event<Bytes>) {
        let change = match event {
            Event::BatchBegins => return assert!(!std::mem::replace(&mut self.batch, true)),
            Event::BatchEnds => return assert!(std::mem::replace(&mut self.batch, false)),
            Event::Change(change) => change,
            other => panic!("{other:?}"),
        };
        assert!(self.last.is_none_or(|last| last < change.lsn), "out of order");
        self.last = Some(change.lsn);
        self.changes += 1;
        let (page_id, version) = (change.page_id, change.version);
        let before = self.pages.get(&page_id).map(|(version, _)| *version);
        match change.kind {
            ChangeKind::Allocate(Bytes(bytes)) => {
                assert_eq!(before, None);
                self.pages.insert(page_id, (version, bytes));
            }
            ChangeKind::Replace(Bytes(bytes)) => {
                assert_eq!(before.map(|version| version.get() + 1), Some(version.get()));
                self.pages.insert(page_id, (version, bytes));
            }
            ChangeKind::Link(Bytes(bytes)) => {
                let (found, page) = self.pages.get_mut(&page_id).expect("links have a page");
                assert_eq!(found.get() + 1, version.get());
                *found = version;
                page.extend(bytes);
            }
            ChangeKind::Free => assert!(self.pages.remove(&page_id).is_some()),
            ChangeKind::Roots(roots) => self.roots = roots,
            other => panic!("{other:?}"),
        }
    }

    fn catch_up(&mut self, follower: &mut Follower<Bytes>) {
        while let Some(event) = follower.try_next().unwrap() {
            self.apply(event);
        }
        assert!(!self.batch);
    }

    fn check(&self, cache: &PageCache<Bytes>) {
        for (page_id, (version, bytes)) in &self.pages {
            assert_eq!(cache.version(*page_id).unwrap(), Some(*version));
            assert_eq!(&read(cache, *page_id).unwrap(), bytes);
        }
        let stats = cache.stats();
        assert_eq!(stats.page_ids - stats.free_page_ids, self.pages.len() as u64);
        assert_eq!(*cache.meta().unwrap(), self.roots);
    }
}

/// Random verbs, the same in every run; some in batches.
struct Work {
    dice: Dice,
    pages: Vec<(PageId, Version)>,
}

impl Work {
    fn new(seed: u64) -> Self {
        Self { dice: Dice::new(seed), pages: Vec::new() }
    }

    fn go_on(&mut self, cache: &PageCache<Bytes>, verbs: usize) {
        for _ in 0..verbs {
            if self.dice.below(20) == 0 {
                let batch = cache.pin_log().unwrap();
                let verbs = self.dice.below(30);
                (0..verbs).for_each(|_| self.verb(cache));
                batch.seal_batch().unwrap();
            } else {
                self.verb(cache);
            }
        }
    }

    fn verb(&mut self, cache: &PageCache<Bytes>) {
        let length = self.dice.below(60) as usize;
        let bytes = vec![self.dice.below(256) as u8; length];
        let at = self.dice.below(self.pages.len() as u64 + 1) as usize;
        match (self.pages.get(at).copied(), self.dice.below(10)) {
            (None, _) => {
                let page = cache.allocate(Bytes(bytes)).unwrap();
                self.pages.push((page.page_id, page.version));
            }
            (_, 0) if self.pages.len() < 60 => {
                let page = cache.allocate(Bytes(bytes)).unwrap();
                self.pages.push((page.page_id, page.version));
            }
            (Some((page_id, version)), 1) => {
                assert!(cache.free(page_id, version).unwrap().is_done());
                self.pages.swap_remove(at);
            }
            (Some((page_id, _)), 2) => {
                let name = [b'a' + self.dice.below(4) as u8];
                let old = cache.meta_pid_for_name(&name).unwrap();
                let new = (self.dice.below(3) > 0).then_some(page_id);
                assert!(matches!(cache.cas_root_in_meta(&name, old, new).unwrap(), RootCas::Done { .. }));
            }
            (Some((page_id, version)), 3..6) => self.pages[at].1 = link(cache, page_id, version, &bytes),
            (Some((page_id, version)), _) => self.pages[at].1 = replace(cache, page_id, version, &bytes),
        }
    }
}

#[test]
fn each_verb_is_one_change_when_it_is_stable() {
    let _turn = alone();
    let cache = open(memory().max_chain_length(3));
    let mut follower = cache.follow(Lsn::default(), 0).unwrap();
    assert_eq!(follower.try_next().unwrap(), None);
    let page = cache.allocate(Bytes(vec![1])).unwrap();
    // Writes it, and makes it no more stable than it was.
    assert_eq!(read(&cache, page.page_id).unwrap(), [1]);
    assert_eq!(follower.try_next().unwrap(), None);
    assert_eq!(follower.next_within(Duration::from_millis(2)).unwrap(), None);
    let mut version = page.version;
    for n in 2..7 {
        version = link(&cache, page.page_id, version, &[n]);
    }
    assert!(matches!(cache.link(page.page_id, page.version, Bytes(vec![])).unwrap(), Cas::Changed { .. }));
    let root = cache.cas_root_in_meta(b"root", None, Some(page.page_id)).unwrap();
    assert!(matches!(root, RootCas::Done { .. }));
    assert!(cache.free(page.page_id, version).unwrap().is_done());
    cache.flush().unwrap();
    let kinds: Vec<_> = follower
        .by_ref()
        .map(|event| match event.unwrap() {
            Event::Change(change) => change.kind,
            other => panic!("{other:?}"),
        })
        .collect();
    let bytes = |bytes: &[u8]| Bytes(bytes.to_vec());
    let roots = Roots::from([(b"root".to_vec(), page.page_id)]);
    let expected = [
        ChangeKind::Allocate(bytes(&[1])),
        ChangeKind::Link(bytes(&[2])),
        ChangeKind::Link(bytes(&[3])),
        ChangeKind::Link(bytes(&[4])),
        // The fourth link was written as the whole page.
        ChangeKind::Replace(bytes(&[1, 2, 3, 4, 5])),
        ChangeKind::Link(bytes(&[6])),
        ChangeKind::Roots(roots),
        ChangeKind::Free,
    ];
    assert_eq!(kinds, expected);
    assert_eq!(follower.position(), cache.stable_lsn());
}

#[test]
fn a_batch_comes_as_a_whole_or_not_at_all() {
    let _turn = alone();
    let cache = open(memory());
    let mut follower = cache.follow(cache.stable_lsn(), 0).unwrap();
    let batch = cache.pin_log().unwrap();
    for n in 0..3 {
        cache.allocate(Bytes(vec![n])).unwrap();
    }
    assert_eq!(follower.try_next().unwrap(), None);
    let begin = follower.position();
    let lsn = batch.seal_batch().unwrap();
    cache.make_stable(lsn).unwrap();
    assert_eq!(follower.try_next().unwrap(), Some(Event::BatchBegins));
    for _ in 0..3 {
        assert!(matches!(follower.try_next().unwrap(), Some(Event::Change(_))));
    }
    // In the midst of it, one begins anew at its begin.
    assert!(follower.position() >= begin && follower.position() < lsn);
    let mut another = cache.follow(follower.position(), 0).unwrap();
    assert_eq!(another.try_next().unwrap(), Some(Event::BatchBegins));
    assert_eq!(follower.try_next().unwrap(), Some(Event::BatchEnds));
    assert!(follower.position() > lsn);
    assert_eq!(follower.try_next().unwrap(), None);
}

/// A store that cleans all the time, and a follower that is kept up to date now and then.
#[test]
fn what_a_follower_has_heard_of_is_the_store_and_relocations_are_not_heard_of() {
    let _turn = alone();
    for seed in 0..6 {
        let storage = Arc::new(SimStorage::new(seed));
        let cache = open(tiny(&storage).space_target(1.05));
        let mut follower = cache.follow(Lsn::default(), 1 << 30).unwrap();
        let (mut mirror, mut work) = (Mirror::default(), Work::new(seed));
        for round in 0..30 {
            work.go_on(&cache, 40);
            cache.flush().unwrap();
            if round % (1 + seed) == 0 {
                mirror.catch_up(&mut follower);
                mirror.check(&cache);
            }
        }
        mirror.catch_up(&mut follower);
        mirror.check(&cache);
        let counts = cache.stats().counts;
        let page_changes =
            counts.allocations + counts.links + counts.replacements + counts.frees + counts.consolidations;
        assert!(mirror.changes >= page_changes, "{counts:?}");
        assert!(counts.relocated_records > 50 && counts.segments_reused > 10, "{counts:?}");
        assert!(cache.verify().unwrap().is_sound());
    }
}

#[test]
fn one_can_go_on_from_a_position_also_after_a_restart() {
    let _turn = alone();
    let storage = Arc::new(MemoryStorage::new());
    let (mut mirror, mut position, mut work) = (Mirror::default(), Lsn::default(), Work::new(3));
    // Nothing dies, so that no segment is given up when the store is opened.
    let config = || tiny(&storage).garbage_collection(false);
    for round in 0..20 {
        let cache = open(config());
        let keeper = cache.allocate(Bytes(vec![round; 10])).unwrap();
        let mut follower = cache.follow(position, 1 << 30).unwrap();
        for _ in 0..10 {
            let page = cache.allocate(Bytes(vec![round; work.dice.below(50) as usize])).unwrap();
            link(&cache, page.page_id, page.version, &[round; 5]);
            if work.dice.below(2) == 0 {
                cache.flush().unwrap();
                mirror.catch_up(&mut follower);
            }
        }
        cache.flush().unwrap();
        mirror.catch_up(&mut follower);
        mirror.check(&cache);
        position = follower.position();
        drop((follower, keeper));
        cache.close().unwrap();
    }
}

fn overwrite(cache: &PageCache<Bytes>, times: usize) {
    let page = cache.allocate(Bytes(vec![0; 100])).unwrap();
    let mut version = page.version;
    for n in 0..times {
        version = replace(cache, page.page_id, version, &[n as u8; 100]);
        if n % 20 == 19 {
            cache.flush().unwrap();
        }
    }
    cache.flush().unwrap();
}

#[test]
fn who_falls_behind_is_told_where_the_log_begins() {
    let _turn = alone();
    let cache = open(tiny(&Arc::new(MemoryStorage::new())));
    let mut follower = cache.follow(cache.stable_lsn(), 0).unwrap();
    overwrite(&cache, 400);
    let told = loop {
        match follower.try_next() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("nothing was lost"),
            Err(Error::Truncated { first }) => break first,
            Err(error) => panic!("{error}"),
        }
    };
    assert!(told > follower.position() && told <= cache.stable_lsn());
    assert!(matches!(follower.try_next(), Err(Error::Truncated { .. })));
    assert!(matches!(cache.follow(Lsn::default(), 0), Err(Error::Truncated { .. })));
    // From there on it is whole.
    let mut again = cache.follow(told, 0).unwrap();
    let mut seen = 0;
    while again.try_next().unwrap().is_some() {
        seen += 1;
    }
    assert!(seen > 0);
    assert_eq!(again.position(), cache.stable_lsn());
}

#[test]
fn what_a_follower_has_kept_is_bounded_and_given_back() {
    let _turn = alone();
    let segment = 1000;
    let length_with = |keep: u64| {
        let cache = open(tiny(&Arc::new(MemoryStorage::new())));
        let mut follower = cache.follow(cache.stable_lsn(), keep).unwrap();
        overwrite(&cache, 400);
        let length = cache.size_on_disk();
        let outcome = loop {
            match follower.try_next() {
                Ok(Some(_)) => {}
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        // What was kept is used again.
        let before = cache.stats().counts.segments_reused;
        overwrite(&cache, 100);
        assert!(cache.stats().counts.segments_reused > before);
        drop(follower);
        overwrite(&cache, 200);
        assert!(cache.size_on_disk() <= length.max(20 * segment));
        (length, outcome)
    };
    let (nothing, lost) = length_with(0);
    assert!(matches!(lost, Err(Error::Truncated { .. })));
    let (bounded, lost) = length_with(10 * segment);
    assert!(matches!(lost, Err(Error::Truncated { .. })));
    assert!(bounded <= nothing + 12 * segment, "{bounded} {nothing}");
    let (all, kept) = length_with(1 << 30);
    kept.unwrap();
    assert!(all > 40 * segment, "{all}");
}

#[test]
fn a_value_that_was_removed_is_superseded_later_on() {
    let _turn = alone();
    let cache = open(memory().inline_limit(100));
    let mut follower = cache.follow(cache.stable_lsn(), 1 << 30).unwrap();
    let page = cache.allocate(Bytes(vec![1; 1000])).unwrap();
    let lives = cache.allocate(Bytes(vec![2; 1000])).unwrap();
    let version = link(&cache, page.page_id, page.version, &[3; 10]);
    let version = replace(&cache, page.page_id, version, &[4; 10]);
    for _ in 0..10 {
        cache.flush().unwrap();
    }
    assert_eq!(cache.stats().large_values, 1);
    let mut kinds = Vec::new();
    while let Some(Event::Change(change)) = follower.try_next().unwrap() {
        kinds.push((change.page_id, change.version, change.kind));
    }
    assert_eq!(kinds[0].2, ChangeKind::Superseded);
    assert_eq!(kinds[1], (lives.page_id, lives.version, ChangeKind::Allocate(Bytes(vec![2; 1000]))));
    assert_eq!(kinds.last().unwrap(), &(page.page_id, version, ChangeKind::Replace(Bytes(vec![4; 10]))));
}

#[test]
fn who_waits_is_woken_by_a_flush_by_the_end_and_by_a_failure() {
    let _turn = alone();
    let cache = open(memory());
    // Mostly the other thread waits by then; that it has seen the first change is all that must be.
    let moment = || thread::sleep(Duration::from_millis(2));
    let (seen, first_seen) = mpsc::channel();
    let wait = |mut follower: Follower<Bytes>| {
        let began = Instant::now();
        let first = follower.next_within(PATIENCE).unwrap();
        assert!(matches!(first, Some(Event::Change(_))));
        let took = began.elapsed();
        seen.send(()).unwrap();
        // Who is not woken looks again when its patience is over.
        assert!(took < PATIENCE / 2, "it was not woken");
        follower.next_within(PATIENCE)
    };
    let follower = cache.follow(cache.stable_lsn(), 0).unwrap();
    thread::scope(|scope| {
        let waits = scope.spawn(|| wait(follower));
        cache.allocate(Bytes(vec![1])).unwrap();
        moment();
        cache.flush().unwrap();
        first_seen.recv().unwrap();
        moment();
        cache.close().unwrap();
        let last = waits.join().unwrap();
        assert!(matches!(last, Err(Error::Closed)), "{last:?}");
    });
    let cache = open(memory());
    let follower = cache.follow(cache.stable_lsn(), 0).unwrap();
    let page = cache.allocate(Bytes(vec![1])).unwrap();
    cache.flush().unwrap();
    thread::scope(|scope| {
        let waits = scope.spawn(|| wait(follower));
        first_seen.recv().unwrap();
        moment();
        let batch = cache.pin_log().unwrap();
        link(&cache, page.page_id, page.version, &[2]);
        drop(batch);
        let last = waits.join().unwrap();
        assert!(matches!(last, Err(Error::Poisoned { .. })), "{last:?}");
    });
}

/// Followers beside writers, cleaning and a thread that syncs.
#[test]
fn followers_keep_up_with_a_store_in_use() {
    let _turn = alone();
    let config = tiny(&Arc::new(MemoryStorage::new())).flush_every(Duration::from_millis(1)).background(true);
    let cache = open(config.space_target(1.05));
    let done = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        let follow = || {
            let mut follower = cache.follow(Lsn::default(), 1 << 30).unwrap();
            let mut mirror = Mirror::default();
            loop {
                let over = done.load(std::sync::atomic::Ordering::SeqCst);
                match follower.next_within(Duration::from_millis(5)).unwrap() {
                    Some(event) => mirror.apply(event),
                    None if over => return mirror,
                    None => {}
                }
            }
        };
        let followers = [scope.spawn(follow), scope.spawn(follow)];
        // Until both have left their marks.
        thread::sleep(Duration::from_millis(20));
        let mut work = Work::new(9);
        for _ in 0..20 {
            work.go_on(&cache, 50);
        }
        cache.flush().unwrap();
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        for follower in followers {
            follower.join().unwrap().check(&cache);
        }
    });
}

#[test]
fn what_was_heard_of_survives_a_power_cut() {
    let _turn = alone();
    let disk = SimStorage::new(5);
    disk.record_history();
    let cache = open(tiny(&Arc::new(disk.clone())));
    let mut follower = cache.follow(Lsn::default(), 0).unwrap();
    let mut heard = Vec::new();
    let mut versions = BTreeMap::new();
    for n in 0..60_u8 {
        let page = cache.allocate(Bytes(vec![n; 30])).unwrap();
        let _ = link(&cache, page.page_id, page.version, &[n; 5]);
        if n % 3 == 0 {
            cache.flush().unwrap();
        }
        while let Some(event) = follower.try_next().unwrap() {
            let Event::Change(change) = event else { panic!() };
            versions.insert(change.page_id, change.version);
        }
        heard.push((disk.operations(), versions.clone()));
    }
    for (operations, versions) in heard.iter().step_by(4) {
        for seed in 0..3 {
            let after = disk.image_at(*operations, seed).unwrap();
            let cache = open(tiny(&Arc::new(after)));
            for (page_id, version) in versions {
                assert!(cache.version(*page_id).unwrap() >= Some(*version), "{page_id} at {operations}");
            }
        }
    }
}

#[test]
fn damage_is_an_error_and_not_the_end() {
    let _turn = alone();
    let disk = SimStorage::new(5);
    let cache = open(Config::with_storage(Arc::new(disk.clone())));
    let mut follower = cache.follow(cache.stable_lsn(), 0).unwrap();
    (0..10).for_each(|n| _ = cache.allocate(Bytes(vec![n; 50])).unwrap());
    cache.flush().unwrap();
    disk.flip_bit("log", 300, 2).unwrap();
    let end = follower.find_map(Result::err);
    assert!(matches!(end, Some(Error::Corruption(_))), "{end:?}");
    let report = cache.backup_to_storage(Arc::new(MemoryStorage::new()), |_| ControlFlow::Continue(()));
    assert!(matches!(report, Err(Error::Corruption(_))));
}

#[test]
fn a_bare_log_can_be_followed_and_truncated() {
    let _turn = alone();
    let storage = Arc::new(MemoryStorage::new());
    let log = Log::open(tiny(&storage)).unwrap();
    let mut follower = log.follow(Lsn::default()).unwrap();
    let mut expected = Vec::new();
    for n in 0..200_u32 {
        let lsn = log.append(&n.to_le_bytes()).unwrap();
        expected.push((lsn, n.to_le_bytes().to_vec()));
        if n % 50 == 49 {
            log.flush().unwrap();
        }
    }
    let entries = |follower: &mut dyn Iterator<Item = pagelog::Result<LogEvent>>| -> Vec<_> {
        let entry = |event| match event {
            LogEvent::Entry(entry) => (entry.lsn, entry.payload, entry.location),
            other => panic!("{other:?}"),
        };
        follower.map(|event| entry(event.unwrap())).collect()
    };
    let found = entries(&mut follower);
    for (lsn, payload, location) in &found {
        assert_eq!(log.read(*location).unwrap().as_ref(), Some(payload), "{lsn}");
    }
    let found: Vec<_> = found.into_iter().map(|(lsn, payload, _)| (lsn, payload)).collect();
    assert_eq!(found, expected);
    // What is written is not stable.
    let lsn = log.append(b"written").unwrap();
    assert_eq!(log.iter_from(lsn).unwrap().count(), 1);
    assert_eq!(follower.try_next().unwrap(), None);
    log.flush().unwrap();
    assert!(matches!(follower.try_next().unwrap(), Some(LogEvent::Entry(entry)) if entry.lsn == lsn));
    // From the middle on, and behind what was given up.
    let (middle, last) = (expected[100].0, expected[199].0);
    assert_eq!(entries(&mut log.follow(middle).unwrap()).len(), 101);
    let mut behind = log.follow(Lsn::default()).unwrap();
    assert!(behind.try_next().unwrap().is_some());
    log.truncate_before(middle).unwrap();
    assert!(matches!(behind.try_next(), Err(Error::Truncated { first }) if first == middle));
    assert!(matches!(log.follow(expected[99].0), Err(Error::Truncated { first }) if first == middle));
    assert_eq!(entries(&mut log.follow(middle).unwrap()).len(), 101);
    let batch = log.pin_log().unwrap();
    log.append(b"in it").unwrap();
    assert!(follower.try_next().unwrap().is_none());
    batch.seal_batch().unwrap();
    log.flush().unwrap();
    let events: Vec<_> = follower.map(Result::unwrap).collect();
    assert!(matches!(&events[..], [LogEvent::BatchBegins, LogEvent::Entry(_), LogEvent::BatchEnds]));
    log.close().unwrap();
    let log = Log::open(tiny(&storage)).unwrap();
    let events: Vec<_> = log.follow(last).unwrap().map(Result::unwrap).collect();
    assert_eq!(events.len(), 5, "{events:?}");
}

/// The last segment holds nothing that is live, so the next opening gives it up; and then something is
/// written.
#[test]
fn who_has_come_to_the_end_of_the_log_goes_on_from_there_after_an_opening() {
    let _turn = alone();
    let storage = Arc::new(MemoryStorage::new());
    let log = Log::open(tiny(&storage)).unwrap();
    (0..30_u32).for_each(|n| _ = log.append(&n.to_le_bytes()).unwrap());
    log.flush().unwrap();
    let mut follower = log.follow(Lsn::default()).unwrap();
    assert_eq!(follower.by_ref().map(Result::unwrap).count(), 30);
    let position = follower.position();
    drop(follower);
    log.truncate_before(log.stable_lsn()).unwrap();
    log.close().unwrap();
    drop(log);
    let log = Log::open(tiny(&storage)).unwrap();
    (0..90_u32).for_each(|n| _ = log.append(&n.to_le_bytes()).unwrap());
    log.flush().unwrap();
    let found: Vec<_> = log.follow(position).unwrap().map(Result::unwrap).collect();
    assert_eq!(found.len(), 90);
    // Who had not come to the end has missed something.
    assert!(matches!(log.follow(Lsn::new(position.get() - 20)), Err(Error::Truncated { .. })));
}
