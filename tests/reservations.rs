//! Reservations of the bare log: the order is the order of reserving, whatever the order of finishing; only
//! what was completed is ever seen; and nobody waits for himself.

mod common;

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use common::{Dice, tiny};
use pagelog::{Error, Log, Lsn, MemoryStorage, Reservation};

fn entries(log: &Log) -> Vec<(Lsn, Vec<u8>)> {
    let entries = log.iter_from(log.first_lsn()).unwrap();
    entries.map(|entry| entry.unwrap()).map(|entry| (entry.lsn, entry.payload)).collect()
}

fn payloads(log: &Log) -> Vec<Vec<u8>> {
    entries(log).into_iter().map(|(_, payload)| payload).collect()
}

#[test]
fn after_a_race_on_a_counter_the_log_holds_exactly_the_winners_in_order() {
    const THREADS: usize = 4;
    const TRIES: usize = 400;
    let storage = Arc::new(MemoryStorage::new());
    let counter = AtomicU64::new(0);
    let mut lost = 0;
    for opening in 0..5 {
        let log = Log::open(tiny(&storage)).unwrap();
        let aborted = AtomicU64::new(0);
        let start = Barrier::new(THREADS);
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let (log, counter, aborted, start) = (&log, &counter, &aborted, &start);
                scope.spawn(move || {
                    start.wait();
                    for attempt in 0..TRIES {
                        let seen = counter.load(Ordering::SeqCst);
                        let reservation = log.reserve(&seen.to_le_bytes()).unwrap();
                        if attempt % 16 == thread {
                            thread::yield_now();
                        }
                        let won =
                            counter.compare_exchange(seen, seen + 1, Ordering::SeqCst, Ordering::SeqCst);
                        if won.is_ok() {
                            reservation.complete();
                        } else {
                            aborted.fetch_add(1, Ordering::Relaxed);
                            if attempt % 2 == 0 { reservation.abort() } else { drop(reservation) }
                        }
                        if attempt % 64 == 63 {
                            log.flush().unwrap();
                        }
                    }
                });
            }
        });
        lost += aborted.into_inner();
        if opening % 2 == 0 {
            log.close().unwrap();
        }
        drop(log);
        let log = Log::open(tiny(&storage)).unwrap();
        let found: Vec<u64> =
            payloads(&log).iter().map(|bytes| u64::from_le_bytes(bytes[..].try_into().unwrap())).collect();
        let winners: Vec<u64> = (0..counter.load(Ordering::SeqCst)).collect();
        assert_eq!(found, winners, "opening {opening}");
    }
    println!("{} winners, {lost} losers", counter.into_inner());
    assert!(lost > 0, "no race was ever lost");
}

#[test]
fn thirty_one_reservations_aborted_in_reverse_leave_nothing() {
    let storage = Arc::new(MemoryStorage::new());
    let log = Log::open(tiny(&storage)).unwrap();
    let before = log.append(b"before").unwrap();
    let mut open: Vec<Reservation> = (0..31).map(|n| log.reserve(&[n; 150]).unwrap()).collect();
    assert!(open.is_sorted_by_key(Reservation::lsn));
    let locations: Vec<_> = open.iter().map(Reservation::location).collect();
    while let Some(reservation) = open.pop() {
        reservation.abort();
    }
    drop(open);
    let after = log.append(b"after").unwrap();
    log.flush().unwrap();
    for location in locations {
        assert_eq!(log.read(location).unwrap(), None);
    }
    let expected = [(before, b"before".to_vec()), (after, b"after".to_vec())];
    assert_eq!(entries(&log), expected);
    drop(log);
    assert_eq!(entries(&Log::open(tiny(&storage)).unwrap()), expected);
}

#[test]
fn one_thread_holds_hundreds_of_reservations_and_finishes_them_in_any_order() {
    let storage = Arc::new(MemoryStorage::new());
    let log = Log::open(tiny(&storage)).unwrap();
    // Two buffers of 512 bytes are the ring's nominal size; this is a hundred times that.
    let mut open: Vec<(u32, Reservation)> =
        (0..700u32).map(|n| (n, log.reserve(&n.to_le_bytes().repeat(35)).unwrap())).collect();
    let mut expected: Vec<(Lsn, Vec<u8>)> = Vec::new();
    for (n, reservation) in &open {
        if n % 3 != 0 {
            expected.push((reservation.lsn(), n.to_le_bytes().repeat(35)));
        }
    }
    Dice::new(7).shuffle(&mut open);
    for (n, reservation) in open {
        if n % 3 != 0 {
            assert!(reservation.complete() > Lsn::new(0));
        } else {
            reservation.abort();
        }
    }
    log.flush().unwrap();
    assert_eq!(entries(&log), expected);
    drop(log);
    assert_eq!(entries(&Log::open(tiny(&storage)).unwrap()), expected);
}

#[test]
fn a_flush_of_another_thread_waits_for_an_open_reservation_and_wakes() {
    let storage = Arc::new(MemoryStorage::new());
    let log = Log::open(tiny(&storage)).unwrap();
    for round in 0..100u32 {
        let reservation = log.reserve(&round.to_le_bytes()).unwrap();
        let (finished, begun) = (AtomicBool::new(false), Barrier::new(2));
        thread::scope(|scope| {
            scope.spawn(|| {
                begun.wait();
                if round % 2 == 0 {
                    log.flush().unwrap();
                } else {
                    log.make_stable(last_lsn()).unwrap();
                }
                assert!(finished.load(Ordering::SeqCst), "stable before it was completed");
            });
            begun.wait();
            // Others append meanwhile, also through full buffers.
            (0..20).for_each(|n| _ = log.append(&[n; 100]).unwrap());
            (0..50).for_each(|_| thread::yield_now());
            assert!(log.stable_lsn() <= reservation.lsn());
            finished.store(true, Ordering::SeqCst);
            if round % 3 == 0 { reservation.abort() } else { _ = reservation.complete() }
        });
    }
}

/// An LSN at the end of the log, which is above any open reservation.
fn last_lsn() -> Lsn {
    Lsn::new(u64::MAX - 1)
}

#[test]
fn a_flush_behind_an_own_open_reservation_is_an_error_and_no_hang() {
    let storage = Arc::new(MemoryStorage::new());
    let log = Log::open(tiny(&storage)).unwrap();
    let other = Log::open(tiny(&Arc::new(MemoryStorage::new()))).unwrap();
    other.append(b"other").unwrap();
    let first = log.append(b"first").unwrap();
    let held = log.reserve(b"held").unwrap();
    let later = log.reserve(b"later").unwrap();
    let behind = later.location();
    let lsn = held.lsn();
    let refused = |result: pagelog::Result<()>| match result {
        Err(Error::ReservationOpen { lsn: found }) => assert_eq!(found, lsn),
        other => panic!("{other:?}"),
    };
    refused(log.flush());
    refused(log.make_stable(lsn));
    refused(log.make_stable(later.lsn()));
    let later_lsn = later.complete();
    refused(log.make_stable(later_lsn));
    refused(log.read(behind).map(drop));
    // What is in the same write buffer can't be written either: it used to hang here.
    refused(log.make_stable(first));
    // Other logs are not concerned.
    other.flush().unwrap();
    // Nothing was broken by the refusals.
    held.complete();
    log.flush().unwrap();
    assert!(log.stable_lsn() > later_lsn);
    assert_eq!(payloads(&log), [b"first".to_vec(), b"held".to_vec(), b"later".to_vec()]);
}

#[test]
fn only_what_is_stable_already_can_be_asked_for_with_a_reservation_open() {
    let storage = Arc::new(MemoryStorage::new());
    let log = Log::open(tiny(&storage)).unwrap();
    let stable = log.append(b"stable").unwrap();
    log.flush().unwrap();
    let early: Vec<Lsn> = (0..20).map(|n| log.append(&[n; 200]).unwrap()).collect();
    let held = log.reserve(&[9; 200]).unwrap();
    log.make_stable(stable).unwrap();
    // It lies in an earlier buffer; but a leader that is at it may wait for this very reservation.
    assert!(matches!(log.make_stable(early[10]), Err(Error::ReservationOpen { .. })));
    held.abort();
    log.make_stable(early[10]).unwrap();
}

#[test]
fn what_lies_behind_an_open_reservation_is_not_seen_by_an_iteration() {
    let storage = Arc::new(MemoryStorage::new());
    let log = Log::open(tiny(&storage)).unwrap();
    log.append(b"seen").unwrap();
    log.flush().unwrap();
    let held = log.reserve(b"held").unwrap();
    log.append(b"behind").unwrap();
    assert_eq!(payloads(&log), [b"seen".to_vec()]);
    held.complete();
    assert_eq!(payloads(&log).len(), 3);
}

#[test]
fn many_threads_append_and_flush_and_all_is_there_in_the_order_of_each() {
    const THREADS: u32 = 32;
    const APPENDS: u32 = 250;
    let storage = Arc::new(MemoryStorage::new());
    let log = Log::open(tiny(&storage)).unwrap();
    let appended: Vec<Vec<(Lsn, u32)>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let log = &log;
                scope.spawn(move || {
                    let mut mine = Vec::new();
                    for n in 0..APPENDS {
                        let payload =
                            [thread.to_le_bytes(), n.to_le_bytes()].concat().repeat(1 + n as usize % 9);
                        let lsn = log.append(&payload).unwrap();
                        mine.push((lsn, n));
                        if n % 20 == 19 {
                            log.make_stable(lsn).unwrap();
                            assert!(log.stable_lsn() > lsn);
                        }
                    }
                    mine
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let counts = log.counts();
    println!("{} syncs, {} writes for {} flushes", counts.syncs, counts.writes, THREADS * (APPENDS / 20));
    log.close().unwrap();
    let log = Log::open(tiny(&storage)).unwrap();
    let mut found: Vec<Vec<(Lsn, u32)>> = vec![Vec::new(); THREADS as usize];
    let all = entries(&log);
    assert!(all.is_sorted_by_key(|(lsn, _)| *lsn));
    for (lsn, payload) in all {
        let word = |at: usize| u32::from_le_bytes(payload[at..at + 4].try_into().unwrap());
        found[word(0) as usize].push((lsn, word(4)));
    }
    assert_eq!(found, appended);
}

/// The list of a thread's reservations used to be gone, and whoever asked for it with it, if a value of the
/// thread that is dropped after it wrote to the log: that ended the process.
#[test]
fn what_is_dropped_when_a_thread_ends_can_write() {
    struct Farewell(Arc<Log>);
    impl Drop for Farewell {
        fn drop(&mut self) {
            let lsn = self.0.append(b"farewell").unwrap();
            self.0.make_stable(lsn).unwrap();
        }
    }
    thread_local! {
        static LAST: RefCell<Option<Farewell>> = const { RefCell::new(None) };
    }
    let log = Arc::new(Log::open(tiny(&Arc::new(MemoryStorage::new()))).unwrap());
    // In which order a thread's values are dropped depends on which of them it had first.
    for writes_first in [false, true] {
        let its_log = Arc::clone(&log);
        let thread = thread::spawn(move || {
            let keep = || LAST.with(|last| *last.borrow_mut() = Some(Farewell(Arc::clone(&its_log))));
            if !writes_first {
                keep();
            }
            its_log.append(b"hello").unwrap();
            if writes_first {
                keep();
            }
        });
        thread.join().unwrap();
    }
    assert_eq!(payloads(&log), [&b"hello"[..], b"farewell", b"hello", b"farewell"]);
}
