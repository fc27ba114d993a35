//! Failing calls: every call of a workload fails in turn, in several ways, once and for ever; and disks that
//! are full.
//!
//! What must hold: no panic and no hang; after a failed write or sync of the log or the manifest every later
//! write says `Poisoned`, and reading goes on; whoever waits is woken; and whatever was acknowledged is there
//! when the store is opened on the surviving disk, also if the power goes right after that. A full disk is no
//! such failure: it passes.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pagelog::sim::{Call, CallKind, Fault, SimStorage, When};
use pagelog::{Cas, Config, Error, Log, PageCache, PageId, Version};

use support::oracle::{Journal, State, observe};
use support::random::Random;
use support::session::{Op, Session, Setting, Trouble};
use support::{Bytes, alone, contents, look};

/// Longer than any step takes, also on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(100);

/// Fails with what `current` says if that stays the same for so long that it must be hanging.
fn watched(patience: Duration, work: impl FnOnce(&Mutex<String>) + Send + 'static) {
    let current = Arc::new(Mutex::new(String::new()));
    let (sender, receiver) = channel();
    let (shown, said) = (Arc::clone(&current), sender);
    let worker = std::thread::spawn(move || {
        work(&shown);
        let _ = said.send(());
    });
    let mut before = String::new();
    while let Err(RecvTimeoutError::Timeout) = receiver.recv_timeout(patience) {
        let now = current.lock().unwrap().clone();
        assert!(now != before, "it hangs: {now}");
        before = now;
    }
    worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

fn setting(random: &mut Random) -> Setting {
    Setting { segment_size: random.pick(&[1000, 1024, 2048]), ..Setting::random(random) }
}

fn ops(random: &mut Random, setting: &Setting, count: u64) -> Vec<Op> {
    let op = |random: &mut Random| match Op::random(random, setting) {
        Op::Reopen => Op::Flush,
        Op::Replace { page, length } => Op::Replace { page, length: length.min(400) },
        op => op,
    };
    (0..count).map(|_| op(random)).collect()
}

/// A store that was worked with and then lost its power, and what is in it.
fn aged(setting: &Setting, random: &mut Random) -> (SimStorage, Journal) {
    let disk = SimStorage::new(0);
    let mut session = Session::open(setting, &disk, Journal::new(State::default(), None), 0).unwrap();
    for op in ops(random, setting, 40) {
        session.run(&op).unwrap();
    }
    let next = disk.after_power_cut(random.next());
    let mut journal = session.crash();
    let probe = next.fork();
    let (view, _) = observe(&setting.open(&probe).unwrap(), journal.page_bound + 2).unwrap();
    let found = journal.candidates(u64::MAX, &view).pop().expect("a state that may be");
    journal = journal.successor(u64::MAX, found.state);
    journal.uncertain = true;
    (next, journal)
}

#[derive(Clone, Copy, Debug)]
struct Failure {
    when: When,
    fault: Fault,
    for_ever: bool,
}

/// Whether the failure of the last of these calls may have lost something that was written. `length` is the
/// log's before them.
fn loses(calls: &[Call], fault: Fault, mut length: u64) -> bool {
    let Some((call, before)) = calls.split_last() else { return false };
    for call in before.iter().filter(|call| call.file == "log") {
        match call.kind {
            CallKind::Write => length = length.max(call.offset + call.length),
            CallKind::SetLength => length = call.length,
            _ => {}
        }
    }
    match (call.kind, call.file.as_str()) {
        // To make the file longer is no loss if it fails: records are written to what is there.
        (CallKind::Write, "log") => call.offset < length,
        (CallKind::Sync, "log") => true,
        // Room ahead and a new manifest are no loss either. The name is the one that the file had when it was
        // made.
        (CallKind::Sync, "MANIFEST.new") => fault != Fault::NoSpace,
        _ => false,
    }
}

fn is_poison<T>(result: &pagelog::Result<T>) -> bool {
    matches!(result, Err(Error::Poisoned { .. }))
}

/// All that writes must say that the store is poisoned.
fn check_poisoned(cache: &PageCache<Bytes>) {
    assert!(is_poison(&cache.allocate(contents(0, 9))), "allocate");
    assert!(is_poison(&cache.link(PageId::new(1), Version::new(1), contents(0, 9))), "link");
    assert!(is_poison(&cache.replace(PageId::new(1), Version::new(1), contents(0, 9))), "replace");
    assert!(is_poison(&cache.free(PageId::new(1), Version::new(1))), "free");
    assert!(is_poison(&cache.cas_root_in_meta(b"r", None, None)), "roots");
    assert!(is_poison(&cache.flush()), "flush");
    assert!(is_poison(&cache.pin_log()), "pin_log");
    assert!(is_poison(&cache.generate_id()), "generate_id");
    assert!(is_poison(&cache.attempt_gc()), "attempt_gc");
    assert!(is_poison(&cache.snapshot()), "snapshot");
}

/// Runs the workload with one failure. Returns what was done, and whether the store was opened.
fn run_failing(
    setting: &Setting,
    disk: &SimStorage,
    journal: &Journal,
    ops: &[Op],
    failure: Option<Failure>,
) -> (Journal, bool) {
    disk.log_calls();
    let length = disk.contents().get("log").map_or(0, |log| log.len() as u64);
    if let Some(Failure { when, fault, for_ever }) = failure {
        if for_ever { disk.fail_from(when, fault) } else { disk.fail_at(when, fault) }
    }
    let mut session = match Session::open(setting, disk, journal.clone(), 1 << 20) {
        Ok(session) => session,
        Err(Trouble::Refused(error)) if failure.is_some() => {
            assert!(!matches!(error, Error::Poisoned { .. }), "{error}");
            return (journal.clone(), false);
        }
        Err(trouble) => panic!("{}", trouble.text()),
    };
    let opened = disk.calls();
    let mut poisoned = false;
    for op in ops {
        match session.run(op) {
            Ok(()) => {}
            Err(Trouble::Refused(Error::Poisoned { .. })) if failure.is_some() => {
                poisoned = true;
                break;
            }
            Err(Trouble::Refused(Error::Io { .. } | Error::DiskFull { .. })) if failure.is_some() => {}
            Err(trouble) => panic!("{op:?}: {}", trouble.text()),
        }
    }
    let calls = disk.take_calls();
    let Some(Failure { when, fault, for_ever }) = failure else { return (session.journal.clone(), true) };
    if poisoned {
        check_poisoned(&session.cache);
    } else if let (When::Call(at), true) = (when, !for_ever) {
        // It struck behind the opening, lost something, and nothing has said so: then a flush must.
        let struck = calls.get(..at as usize).filter(|_| at > opened).unwrap_or_default();
        if loses(struck, fault, length) {
            assert!(is_poison(&session.cache.flush()), "{:?} failed, and a flush succeeds", struck.last());
        }
    }
    // Only calls that change something fail for ever, so reading goes on.
    disk.clear_faults();
    session.check_all().unwrap_or_else(|trouble| panic!("reading on: {}", trouble.text()));
    let survivor = session.journal.clone();
    session.crash();
    (survivor, true)
}

/// The store must open on the surviving disk, with all that was acknowledged; and keep what it has shown from
/// then on.
fn check_survivor(setting: &Setting, disk: &SimStorage, journal: &Journal, seed: u64) {
    let cache = setting.open(disk).unwrap_or_else(|error| panic!("it does not open again: {error}"));
    let (view, _) = observe(&cache, journal.page_bound + 2).unwrap();
    let candidates = journal.candidates(u64::MAX, &view);
    assert!(!candidates.is_empty(), "{}", journal.describe(u64::MAX, &view));
    let later = disk.after_power_cut(seed);
    disk.cut_power();
    drop(cache);
    let cache =
        setting.open(&later).unwrap_or_else(|error| panic!("it does not open after a power cut: {error}"));
    let (again, _) = observe(&cache, journal.page_bound + 2).unwrap();
    later.cut_power();
    assert!(again == view, "what was there after opening is gone: {}", journal.describe(u64::MAX, &again));
}

#[test]
fn whatever_call_fails_nothing_acknowledged_is_lost() {
    let _alone = alone();
    watched(PATIENCE, |current| {
        let (mut runs, mut poisoned_open) = (0_u64, 0_u64);
        for seed in 0..6 {
            let mut random = Random::new(seed);
            let setting = setting(&mut random);
            let (start, journal) = aged(&setting, &mut random);
            let ops = ops(&mut random, &setting, 40);
            let probe = start.fork();
            run_failing(&setting, &probe, &journal, &ops, None);
            let (calls, operations) = (probe.calls(), probe.operations());
            let once = (1..=calls).map(When::Call).map(|when| (when, false));
            let for_ever = (1..=operations).map(When::Operation).map(|when| (when, true));
            for (when, for_ever) in once.chain(for_ever) {
                for fault in [Fault::Error, Fault::ShortWrite, Fault::NoSpace, Fault::SyncDropsPages] {
                    let failure = Failure { when, fault, for_ever };
                    *current.lock().unwrap() = format!("seed {seed}, {setting:?}, {failure:?}");
                    let disk = start.fork();
                    let (journal, opened) = run_failing(&setting, &disk, &journal, &ops, Some(failure));
                    disk.clear_faults();
                    let seed = random.next();
                    check_survivor(&setting, &disk.after_kill(), &journal, seed);
                    check_survivor(&setting, &disk.after_power_cut(seed), &journal, !seed);
                    runs += 1;
                    poisoned_open += u64::from(!opened);
                }
            }
        }
        println!("{runs} runs, {poisoned_open} of them did not open");
        assert!(runs > 3000 && poisoned_open > 100, "{runs} runs, {poisoned_open} not opened");
    });
}

#[test]
fn a_failed_sync_wakes_all_who_wait_and_stays_failed() {
    let _alone = alone();
    watched(PATIENCE, |current| {
        for round in 0..200 {
            *current.lock().unwrap() = format!("round {round}");
            let disk = SimStorage::new(round);
            let log = Log::open(Config::with_storage(Arc::new(disk.clone())).segment_size(1000)).unwrap();
            let next_sync = disk.count(CallKind::Sync) + 1 + round % 7;
            disk.fail_from(When::Kind(CallKind::Sync, next_sync), Fault::Error);
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        // Each commit needs a sync, and syncs fail sooner or later.
                        for _ in 0..100 {
                            match log.append(b"entry").and_then(|lsn| log.make_stable(lsn)) {
                                Ok(()) => {}
                                Err(error) => {
                                    assert!(matches!(error, Error::Poisoned { .. }), "{error}");
                                    assert!(is_poison(&log.append(b"more")));
                                    return;
                                }
                            }
                        }
                        panic!("no sync failed");
                    });
                }
            });
            disk.cut_power();
        }
    });
}

#[test]
fn a_failure_wakes_those_who_wait_for_a_batch() {
    let _alone = alone();
    watched(PATIENCE / 5, |current| {
        for round in 0..200 {
            *current.lock().unwrap() = format!("round {round}");
            let disk = SimStorage::new(round);
            let cache: PageCache<Bytes> =
                Config::with_storage(Arc::new(disk.clone())).segment_size(1000).open().unwrap();
            let page = cache.allocate(contents(1, 20)).unwrap();
            let batch = cache.pin_log().unwrap();
            let linked = cache.link(page.page_id, page.version, contents(2, 20)).unwrap();
            assert!(matches!(linked, Cas::Done { .. }));
            std::thread::scope(|scope| {
                let waiters = [
                    scope.spawn(|| cache.pin_log().map(drop)),
                    scope.spawn(|| cache.flush()),
                    scope.spawn(|| cache.snapshot()),
                ];
                if round % 2 == 0 {
                    std::thread::yield_now();
                }
                disk.fail_from(When::Operation(disk.operations() + 1), Fault::Error);
                assert!(is_poison(&cache.generate_id()));
                for waiter in waiters {
                    let woken = waiter.join().unwrap();
                    assert!(is_poison(&woken), "{woken:?}");
                }
            });
            assert!(is_poison(&batch.seal_batch().map(drop)));
            assert_eq!(look(&cache, page.page_id.get()).unwrap().unwrap().1.len(), 40);
        }
    });
}

/// Fills a disk. Returns the session, which has got a page refused.
fn filled(segment_size: u32, capacity: u64, seed: u64) -> Session {
    let mut random = Random::new(seed);
    // Large values on a full disk are in `large_values.rs`.
    let setting = Setting { segment_size, snapshots: false, inline_limit: None, ..setting(&mut random) };
    let disk = SimStorage::new(seed);
    disk.set_capacity(Some(capacity));
    let mut session = Session::open(&setting, &disk, Journal::new(State::default(), None), 0).unwrap();
    for count in 0.. {
        let op = if random.one_in(4) {
            Op::Link { page: random.next() as usize, length: 30 }
        } else if random.one_in(10) {
            Op::Flush
        } else {
            Op::Allocate { length: 60 + random.below(200) as usize }
        };
        match session.run(&op) {
            Ok(()) => assert!(count < 10_000, "the disk does not fill"),
            Err(Trouble::Refused(Error::DiskFull { .. })) => break,
            Err(trouble) => panic!("capacity {capacity}, operation {count}, {op:?}: {}", trouble.text()),
        }
    }
    session
}

/// A store on a full disk can be opened, for reading and for writing.
fn check_full_survivor(session: &Session, seed: u64) {
    let survivor = session.disk.after_power_cut(seed);
    let config = Config::with_storage(Arc::new(survivor.clone())).read_only(true);
    let cache: PageCache<Bytes> =
        config.open().unwrap_or_else(|error| panic!("it does not open for reading: {error}"));
    let (view, _) = observe(&cache, session.journal.page_bound + 2).unwrap();
    assert!(view == session.journal.now.view(), "{}", session.journal.describe(u64::MAX, &view));
    drop(cache);
    if session.setting.torn_block() > 0 {
        // What is to be written again has to be saved first.
        let refused = session.setting.open(&survivor.fork());
        assert!(matches!(refused, Ok(_) | Err(Error::DiskFull { .. })), "{refused:?}");
        survivor.set_capacity(None);
    }
    check_survivor(&session.setting, &survivor, &session.journal, seed);
}

fn done(session: &mut Session, op: &Op) {
    let sizes = |session: &Session| -> Vec<(String, usize)> {
        session.disk.contents().into_iter().map(|(name, bytes)| (name, bytes.len())).collect()
    };
    session.run(op).unwrap_or_else(|trouble| {
        panic!("{op:?}: {}; {:?}, {}", trouble.text(), sizes(session), session.disk.used_bytes())
    });
}

/// As [`done`], but for a segment that is only free when threads of other tests have moved on: all stores of
/// a process share one collector.
fn done_soon(session: &mut Session, op: &Op) {
    let patience = Instant::now() + Duration::from_secs(30);
    while Instant::now() < patience {
        match session.run(op) {
            Err(Trouble::Refused(Error::DiskFull { .. })) => {
                done(session, &Op::Flush);
                let _ = session.cache.attempt_gc();
                std::thread::yield_now();
            }
            Ok(()) => return,
            Err(trouble) => panic!("{op:?}: {}", trouble.text()),
        }
    }
    done(session, op);
}

#[test]
fn a_full_disk_passes() {
    let _alone = alone();
    watched(PATIENCE, |current| {
        // More with `PAGELOG_SEEDS`.
        let seeds = std::env::var("PAGELOG_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(60);
        for seed in 0..seeds {
            let segment_size = [1000, 1024, 4096][seed as usize % 3];
            let capacity = 4096 * (20 + seed % 20);
            *current.lock().unwrap() = format!("seed {seed}, segments of {segment_size}, {capacity} bytes");
            let said = || current.lock().unwrap().clone();
            let mut session = filled(segment_size, capacity, seed);
            // Nothing is lost, all of it can be made durable, and what is durable survives.
            session.check_all().unwrap_or_else(|trouble| panic!("{}: {}", said(), trouble.text()));
            done(&mut session, &Op::Flush);
            check_full_survivor(&session, seed);
            // Freeing works on the reserve.
            for page in 0..5 {
                done(&mut session, &Op::Free { page });
            }
            done(&mut session, &Op::Flush);
            session.check_all().unwrap();
            if seed % 2 == 0 {
                // With more space, writing goes on without opening again.
                session.disk.set_capacity(Some(capacity + (1 << 20)));
            } else {
                // As it does when enough was freed.
                while session.journal.now.live().next().is_some() {
                    done_soon(&mut session, &Op::Free { page: 0 });
                    done(&mut session, &Op::Flush);
                    let _ = session.cache.attempt_gc();
                }
            }
            for length in [10, 100, 200] {
                done_soon(&mut session, &Op::Allocate { length });
            }
            done(&mut session, &Op::Flush);
            session.check_all().unwrap();
            check_full_survivor(&session, seed);
            session.crash();
        }
    });
}

/// Replaces pages until the manifest has no space, on a disk that is full of what others wrote; nothing is
/// lost, and when there is space again, writing goes on. With `frees`, most pages are freed before.
fn fill_the_manifest(seed: u32, disk: &SimStorage, config: impl Fn(&SimStorage) -> Config, frees: bool) {
    let cache: PageCache<Bytes> = config(disk).open().unwrap();
    let mut pages: Vec<_> = (0..50)
        .map(|serial| cache.allocate(contents(serial, 60)).unwrap())
        .map(|page| (page.page_id, page.version))
        .collect();
    // Each round leaves segments without live bytes to the next one: the log need not grow.
    let round = |pages: &mut [(PageId, Version)]| {
        for (page_id, version) in pages {
            let replaced = cache.replace(*page_id, *version, contents(7, 60 + seed as usize))?;
            *version = replaced.done().unwrap();
        }
        cache.flush()
    };
    (0..5).for_each(|_| round(&mut pages).unwrap());
    // Others took all there is, and each block that is given back.
    disk.set_capacity(Some(0));
    let refused = (0..100).find_map(|_| round(&mut pages).err()).expect("the manifest has no space");
    let is_the_manifest = matches!(&refused, Error::DiskFull { path } if path.contains("MANIFEST"));
    assert!(is_the_manifest, "{refused}");
    if frees {
        // Two segments are filled with this.
        for (page_id, version) in pages.drain(10..) {
            let version = cache.version(page_id).unwrap().unwrap_or(version);
            assert!(cache.free(page_id, version).unwrap().is_done());
        }
        cache.flush().unwrap();
    }
    disk.set_capacity(None);
    round(&mut pages).unwrap();
    let survivor = disk.after_power_cut(seed.into());
    disk.cut_power();
    drop(cache);
    let cache: PageCache<Bytes> = config(&survivor).open().unwrap();
    assert_eq!(observe(&cache, 60).unwrap().0.pages.len(), pages.len());
    for (page_id, _) in pages {
        let found = look(&cache, page_id.get()).unwrap().unwrap().1;
        assert_eq!(found, contents(7, 60 + seed as usize).0);
    }
}

fn small(disk: &SimStorage, segment_size: u32) -> Config {
    let config = Config::with_storage(Arc::new(disk.clone())).segment_size(segment_size).io_buffer_size(512);
    config.garbage_collection(false).snapshots(false)
}

/// The manifest can neither grow nor be written anew with room for more. Ordinary writes are refused while
/// there still is room for the entries of those who make space; a claim that took the last of it passed all
/// tests, for a manifest that is written anew in time never runs out.
#[test]
fn a_manifest_that_can_not_grow_keeps_room_for_those_who_make_space() {
    let _alone = alone();
    watched(PATIENCE, |current| {
        for seed in 0..20 {
            *current.lock().unwrap() = format!("seed {seed}");
            fill_the_manifest(seed, &SimStorage::new(seed.into()), |disk| small(disk, 1000), true);
        }
    });
}

/// On a disk that damages whole blocks each claim writes the manifest anew: if there is no space for the one
/// after next, that claim is refused.
#[test]
fn a_manifest_that_can_not_be_written_anew_refuses_a_claim() {
    let _alone = alone();
    watched(PATIENCE, |current| {
        for seed in 0..20 {
            *current.lock().unwrap() = format!("seed {seed}");
            let disk = SimStorage::new(seed.into());
            disk.set_torn_block(Some(512));
            fill_the_manifest(seed, &disk, |disk| small(disk, 2048).torn_block_size(512), false);
        }
    });
}
