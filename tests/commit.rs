//! Commits: durability that is waited for without blocking.

mod common;
#[path = "support/observed.rs"]
mod observed;

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use common::{Bytes, alone, open, read};
use observed::{Observed, Observer};
use pagelog::sim::{CallKind, Fault, SimStorage, When};
use pagelog::{Commit, Config, Error, Log, MemoryStorage, Storage};

/// A waker that counts, and that a thread can wait for.
#[derive(Default)]
struct Bell {
    rung: Mutex<u64>,
    ringing: Condvar,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        *self.rung.lock().unwrap() += 1;
        self.ringing.notify_all();
    }
}

impl Bell {
    fn rung(&self) -> u64 {
        *self.rung.lock().unwrap()
    }

    fn wait(&self) {
        let patience = Duration::from_secs(20);
        let rung = self.rung.lock().unwrap();
        let (rung, timeout) = self.ringing.wait_timeout_while(rung, patience, |rung| *rung == 0).unwrap();
        assert!(!timeout.timed_out(), "nobody was woken");
        drop(rung);
        *self.rung.lock().unwrap() = 0;
    }
}

fn poll(commit: &mut Commit, bell: &Arc<Bell>) -> Poll<pagelog::Result<()>> {
    Pin::new(commit).poll(&mut Context::from_waker(&Waker::from(Arc::clone(bell))))
}

/// The smallest executor there is.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(Arc::clone(&bell));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return value;
        }
        bell.wait();
    }
}

const HOUR: Duration = Duration::from_secs(60 * 60);

fn memory() -> Config {
    Config::with_storage(Arc::new(MemoryStorage::new()))
}

/// Lets no sync of the log through while it is shut.
#[derive(Debug, Default)]
struct Sluice {
    shut: AtomicBool,
    waiting: AtomicU64,
}

impl Observer for Sluice {
    fn before_sync(&self, name: &str) {
        self.waiting.fetch_add(u64::from(name == "log"), Ordering::SeqCst);
        // A test that fails while it is shut is to end.
        let began = Instant::now();
        while name == "log" && self.shut.load(Ordering::SeqCst) && began.elapsed().as_secs() < 20 {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

fn dammed() -> (Config, Arc<Sluice>) {
    let storage = Observed::new(MemoryStorage::new(), Sluice::default());
    let sluice = Arc::clone(&storage.observer);
    (Config::with_storage(Arc::new(storage) as Arc<dyn Storage>), sluice)
}

#[test]
fn without_a_thread_whoever_polls_syncs() {
    let _turn = alone();
    let cache = open(memory());
    let page = cache.allocate(Bytes(vec![1])).unwrap();
    let mut commit = cache.make_stable_later(page.lsn).unwrap();
    assert!(!commit.is_stable().unwrap());
    assert_eq!(cache.stats().counts.syncs, 0);
    assert!(matches!(poll(&mut commit, &Arc::default()), Poll::Ready(Ok(()))));
    assert!(cache.stable_lsn() > page.lsn && commit.is_stable().unwrap());
    assert_eq!(cache.stats().counts.syncs, 1);
    // What is stable already costs nothing.
    block_on(cache.flush_later().unwrap()).unwrap();
    cache.flush_later().unwrap().wait().unwrap();
    assert_eq!(cache.stats().counts.syncs, 1);
    // Waiting does the same as polling.
    cache.allocate(Bytes(vec![2])).unwrap();
    let commit = cache.flush_later().unwrap();
    commit.wait().unwrap();
    assert!(cache.stable_lsn() >= commit.bound());
}

#[test]
fn with_a_thread_a_poll_never_waits_for_the_disk() {
    let _turn = alone();
    let (config, sluice) = dammed();
    let log = Log::open(config.flush_every(HOUR)).unwrap();
    sluice.shut.store(true, Ordering::SeqCst);
    let lsn = log.append(b"entry").unwrap();
    let (mut commit, bell) = (log.make_stable_later(lsn).unwrap(), Arc::new(Bell::default()));
    // Were this thread to sync, it would hang here.
    assert!(poll(&mut commit, &bell).is_pending());
    while sluice.waiting.load(Ordering::SeqCst) == 0 {
        thread::yield_now();
    }
    assert!(poll(&mut commit, &bell).is_pending());
    assert_eq!((bell.rung(), commit.is_stable().unwrap()), (0, false));
    sluice.shut.store(false, Ordering::SeqCst);
    bell.wait();
    assert!(matches!(poll(&mut commit, &bell), Poll::Ready(Ok(()))));
    assert!(log.stable_lsn() > lsn);
    // The thread goes on without being polled: to make the handle is enough.
    log.append(b"another").unwrap();
    let commit = log.flush_later().unwrap();
    eventually(|| commit.is_stable().unwrap());
}

fn eventually(is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(20), "it never came");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn who_finds_another_at_it_is_woken_when_that_is_done() {
    let _turn = alone();
    let (config, sluice) = dammed();
    let log = Log::open(config).unwrap();
    log.append(b"first").unwrap();
    sluice.shut.store(true, Ordering::SeqCst);
    thread::scope(|scope| {
        let flush = scope.spawn(|| log.flush());
        while sluice.waiting.load(Ordering::SeqCst) == 0 {
            thread::yield_now();
        }
        // Behind what is being synced.
        log.append(b"second").unwrap();
        let (mut commit, bell) = (log.flush_later().unwrap(), Arc::new(Bell::default()));
        assert!(poll(&mut commit, &bell).is_pending());
        assert!(poll(&mut commit, &bell).is_pending());
        sluice.shut.store(false, Ordering::SeqCst);
        flush.join().unwrap().unwrap();
        bell.wait();
        // That round did not reach it, and nobody else will: it leads itself.
        assert!(matches!(poll(&mut commit, &bell), Poll::Ready(Ok(()))));
    });
    assert_eq!(log.stable_lsn(), log.flush_later().unwrap().bound());
}

#[test]
fn a_batch_of_another_thread_is_waited_for_without_blocking() {
    let _turn = alone();
    for config in [memory(), memory().flush_every(HOUR)] {
        let cache = open(config);
        let (opened, seal) = (Barrier::new(2), Barrier::new(2));
        thread::scope(|scope| {
            scope.spawn(|| {
                let batch = cache.pin_log().unwrap();
                cache.allocate(Bytes(vec![1])).unwrap();
                opened.wait();
                seal.wait();
                batch.seal_batch().unwrap();
            });
            opened.wait();
            let (mut commit, bell) = (cache.flush_later().unwrap(), Arc::new(Bell::default()));
            assert!(poll(&mut commit, &bell).is_pending());
            thread::sleep(Duration::from_millis(5));
            assert!(poll(&mut commit, &bell).is_pending());
            // What lies before the batch may be synced, but not again and again.
            let in_vain = cache.stats().counts.syncs;
            seal.wait();
            assert!(in_vain <= 1, "{in_vain} syncs");
            while poll(&mut commit, &bell).is_pending() {
                bell.wait();
            }
            assert!(commit.is_stable().unwrap() && cache.stable_lsn() >= commit.bound());
        });
    }
}

#[test]
fn who_wants_less_does_not_wait_for_the_batch_of_who_wants_more() {
    let _turn = alone();
    for config in [memory(), memory().flush_every(HOUR)] {
        let cache = open(config);
        let before = cache.allocate(Bytes(vec![1])).unwrap();
        let batch = cache.pin_log().unwrap();
        let within = cache.allocate(Bytes(vec![2])).unwrap();
        thread::scope(|scope| {
            let cache = &cache;
            let more = scope.spawn(move || block_on(cache.make_stable_later(within.lsn).unwrap()));
            let less = scope.spawn(move || {
                thread::sleep(Duration::from_millis(5));
                block_on(cache.make_stable_later(before.lsn).unwrap())
            });
            less.join().unwrap().unwrap();
            assert!(!more.is_finished() && cache.stable_lsn() <= within.lsn);
            batch.seal_batch().unwrap();
            more.join().unwrap().unwrap();
        });
    }
}

#[test]
fn nobody_waits_for_himself() {
    let _turn = alone();
    for config in [memory(), memory().flush_every(HOUR)] {
        let log = Log::open(config).unwrap();
        let reservation = log.reserve(b"held").unwrap();
        let mut commit = log.flush_later().unwrap();
        let polled = poll(&mut commit, &Arc::default());
        assert!(matches!(polled, Poll::Ready(Err(Error::ReservationOpen { .. }))), "{polled:?}");
        assert!(matches!(commit.wait(), Err(Error::ReservationOpen { .. })));
        reservation.complete();
        block_on(commit).unwrap();

        let batch = log.pin_log().unwrap();
        let lsn = log.append(b"in the batch").unwrap();
        let mut commit = log.make_stable_later(lsn).unwrap();
        let polled = poll(&mut commit, &Arc::default());
        assert!(matches!(polled, Poll::Ready(Err(Error::BatchOpen))), "{polled:?}");
        assert!(matches!(commit.wait(), Err(Error::BatchOpen)));
        batch.seal_batch().unwrap();
        block_on(commit).unwrap();
        // Not closed by who has a batch open; and then it is, with a commit that nobody waits for.
        let batch = log.pin_log().unwrap();
        let commit = log.flush_later().unwrap();
        assert!(matches!(log.close(), Err(Error::BatchOpen)));
        batch.seal_batch().unwrap();
        log.close().unwrap();
        assert!(matches!(commit.is_stable(), Ok(true) | Err(Error::Closed)));
    }
}

#[test]
fn a_failed_sync_wakes_all_who_wait() {
    let _turn = alone();
    let disk = SimStorage::new(1);
    let storage = Observed::new(disk.clone(), Sluice::default());
    let sluice = Arc::clone(&storage.observer);
    let log = Log::open(Config::with_storage(Arc::new(storage)).flush_every(HOUR)).unwrap();
    sluice.shut.store(true, Ordering::SeqCst);
    log.append(b"entry").unwrap();
    disk.fail_from(When::Kind(CallKind::Sync, disk.count(CallKind::Sync) + 1), Fault::Error);
    let mut commits: Vec<_> =
        (0..3).map(|_| (log.flush_later().unwrap(), Arc::new(Bell::default()))).collect();
    for (commit, bell) in &mut commits {
        assert!(poll(commit, bell).is_pending());
    }
    sluice.shut.store(false, Ordering::SeqCst);
    for (commit, bell) in &mut commits {
        bell.wait();
        assert!(matches!(poll(commit, bell), Poll::Ready(Err(Error::Poisoned { .. }))));
        assert!(matches!(commit.wait(), Err(Error::Poisoned { .. })));
    }
    assert!(matches!(log.flush_later(), Err(Error::Poisoned { .. })));
}

#[test]
fn a_commit_outlives_the_store_and_is_done_by_its_closing() {
    let _turn = alone();
    for config in [memory(), memory().flush_every(HOUR)] {
        let (opened, closing) = (Barrier::new(2), Barrier::new(2));
        let cache = open(config);
        let mut commit = None;
        thread::scope(|scope| {
            let cache = &cache;
            scope.spawn(|| {
                // Keeps the commit from being done before the store is closed.
                let batch = cache.pin_log().unwrap();
                cache.allocate(Bytes(vec![1])).unwrap();
                opened.wait();
                closing.wait();
                thread::sleep(Duration::from_millis(5));
                batch.seal_batch().unwrap();
            });
            opened.wait();
            let (mut waiting, bell) = (cache.flush_later().unwrap(), Arc::new(Bell::default()));
            assert!(poll(&mut waiting, &bell).is_pending());
            closing.wait();
            cache.close().unwrap();
            bell.wait();
            commit = Some(waiting);
        });
        drop(cache);
        block_on(commit.unwrap()).unwrap();
    }
}

#[test]
fn a_commit_that_is_dropped_leaves_nothing_behind() {
    let _turn = alone();
    let (config, sluice) = dammed();
    let log = Log::open(config.flush_every(HOUR)).unwrap();
    sluice.shut.store(true, Ordering::SeqCst);
    log.append(b"entry").unwrap();
    let bell = Arc::new(Bell::default());
    let mut commit = log.flush_later().unwrap();
    (0..10).for_each(|_| assert!(poll(&mut commit, &bell).is_pending()));
    // Polling again takes the place of the waker before.
    assert_eq!(Arc::strong_count(&bell), 2);
    drop(commit);
    assert_eq!(Arc::strong_count(&bell), 1);
    sluice.shut.store(false, Ordering::SeqCst);
    log.close().unwrap();
    assert_eq!(bell.rung(), 0);
}

#[test]
fn a_log_is_flushed_at_its_interval_unless_something_is_open() {
    let _turn = alone();
    let log = Log::open(memory().flush_every(Duration::from_millis(1))).unwrap();
    let lsn = log.append(b"entry").unwrap();
    eventually(|| log.stable_lsn() > lsn);
    // At rest it does nothing.
    let syncs = log.counts().syncs;
    thread::sleep(Duration::from_millis(20));
    assert_eq!(log.counts().syncs, syncs);
    let (first, held) = (log.append(b"before").unwrap(), log.reserve(b"held").unwrap());
    thread::sleep(Duration::from_millis(10));
    assert!(log.stable_lsn() <= held.lsn());
    let last = held.complete();
    assert!(first < last);
    eventually(|| log.stable_lsn() > last);
}

/// Many threads, each with commits of its own, against each other and against flushes and batches: every
/// wake-up comes.
fn race(config: Config) -> u64 {
    let cache = open(config.segment_size(16 << 10).io_buffer_size(1024));
    thread::scope(|scope| {
        for worker in 0..4_u8 {
            let cache = &cache;
            scope.spawn(move || {
                for round in 0..150_u32 {
                    let page = cache.allocate(Bytes(vec![worker; 50])).unwrap();
                    let mut dropped = cache.flush_later().unwrap();
                    let commit = cache.make_stable_later(page.lsn).unwrap();
                    match (round + u32::from(worker)) % 8 {
                        0 => cache.flush().unwrap(),
                        1 => {
                            let batch = cache.pin_log().unwrap();
                            cache.allocate(Bytes(vec![worker; 50])).unwrap();
                            let lsn = batch.seal_batch().unwrap();
                            block_on(cache.make_stable_later(lsn).unwrap()).unwrap();
                        }
                        2 => drop(poll(&mut dropped, &Arc::default())),
                        _ => {}
                    }
                    drop(dropped);
                    block_on(commit).unwrap();
                    assert!(cache.stable_lsn() > page.lsn);
                    assert_eq!(read(cache, page.page_id).unwrap(), [worker; 50]);
                }
            });
        }
    });
    cache.stats().counts.syncs
}

#[test]
fn no_wake_up_is_lost_and_syncs_are_shared() {
    let _turn = alone();
    let syncs = [
        race(memory()),
        race(memory().flush_every(HOUR)),
        race(memory().flush_every(Duration::from_millis(1))),
    ];
    println!("{syncs:?} syncs for some 700 commits each");
}
