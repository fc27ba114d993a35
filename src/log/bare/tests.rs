//! What can't be seen, or made to happen, from outside.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use super::Log;
use crate::config::Config;
use crate::error::Error;
use crate::format::{ManifestState, Payload, RecordKind, StoreId, StoreKind};
use crate::ids::{HeadId, SegmentId};
use crate::log::claim::Claim;
use crate::log::{Adding, ManifestFile, Privilege};
use crate::storage::{MemoryStorage, Storage};

fn open(storage: &Arc<MemoryStorage>) -> Log {
    Log::open(Config::with_storage(storage.clone()).segment_size(4096).io_buffer_size(1024)).unwrap()
}

/// A flush used to ask once how far it has to go. If a batch had reserved its begin below that, and
/// registered it later, the flush went round and round, with a sync each time, and did not end when the batch
/// was sealed.
#[test]
fn a_flush_that_overtakes_the_registration_of_a_batch_ends_with_the_batch() {
    let log = open(&Arc::new(MemoryStorage::new()));
    let core = &*log.core;
    core.batches().take(|| Ok(())).unwrap();
    let reserve =
        |kind: &RecordKind| core.reserve(HeadId::FRESH, Privilege::Reserve, kind, Payload::NONE).unwrap();
    let begin = reserve(&RecordKind::BatchBegin);
    let lsn = begin.lsn();
    thread::scope(|scope| {
        let flush = scope.spawn(|| log.flush());
        // The flush has sealed the buffer, and waits for the begin to be released.
        while !core.ring(HeadId::FRESH).is_sealed() {
            thread::yield_now();
        }
        core.batches().begun(lsn, || begin.complete_dead());
        while log.counts().syncs == 0 {
            thread::yield_now();
        }
        log.append(b"in the batch").unwrap();
        let end = reserve(&RecordKind::BatchEnd { begin: lsn });
        core.batches().ended(end.end(), || end.complete_dead());
        flush.join().unwrap().unwrap();
    });
    assert!(log.stable_lsn() > lsn);
    assert!(log.counts().syncs <= 3, "{:?}", log.counts());
}

/// A thread that had passed the gate before the log was closed used to go on writing, into what the next one
/// to open the log had taken for free.
#[test]
fn a_writer_that_was_past_the_gate_writes_nothing_after_the_close() {
    let storage = Arc::new(MemoryStorage::new());
    let log = open(&storage);
    log.append(&[1; 100]).unwrap();
    log.close().unwrap();
    let next = open(&storage);
    (0..200).for_each(|_| _ = next.append(&[2; 100]).unwrap());
    next.flush().unwrap();
    // As `append` does behind the gate.
    let late = || {
        log.core.reserve(HeadId::FRESH, Privilege::Ordinary, &RecordKind::Entry, Payload::plain(&[3; 100]))
    };
    let refused = (0..100).find_map(|_| late().map(Claim::complete).err());
    assert!(matches!(refused, Some(Error::Closed)), "{refused:?}");
    let entries = next.iter_from(next.first_lsn()).unwrap();
    let payloads: Vec<Vec<u8>> = entries.map(|entry| entry.unwrap().payload).collect();
    assert_eq!(payloads.len(), 201);
    assert!(payloads[1..].iter().all(|payload| *payload == [2; 100]));
}

/// Behind the last segment that a word can name the log used to claim one after the other, never to find that
/// one was armed: the file grew, and the append did not return.
#[test]
fn behind_the_last_segment_writing_stops() {
    let storage = Arc::new(MemoryStorage::new());
    storage.create("log").unwrap();
    let mut state = ManifestState::new(StoreId([7; 16]), StoreKind::Log, 512);
    state.next_segment = SegmentId(SegmentId::LIMIT - 3);
    drop(ManifestFile::write(storage.clone(), state, Adding::InPlace).unwrap());
    let log = Log::open(Config::with_storage(storage.clone())).unwrap();
    let (sender, receiver) = channel();
    let refused = thread::scope(|scope| {
        let append = scope.spawn(|| {
            let refused =
                (0..20).find_map(|_| log.append(&[1; 200]).and_then(|lsn| log.make_stable(lsn)).err());
            sender.send(()).unwrap();
            refused
        });
        if receiver.recv_timeout(Duration::from_secs(20)).is_err() {
            // Ends it.
            log.close().unwrap();
        }
        append.join().unwrap()
    });
    assert!(matches!(refused, Some(Error::Poisoned { .. })), "{refused:?}");
    let stable = log.iter_from(log.first_lsn()).unwrap().filter(Result::is_ok).count();
    assert!(stable > 0);
    let _ = log.close();
    let log = Log::open(Config::with_storage(storage).read_only(true)).unwrap();
    assert_eq!(log.iter_from(log.first_lsn()).unwrap().filter(Result::is_ok).count(), stable);
}

/// An iterator that found its next segment cut off, and used again, named the beginning of the segment after
/// it, which may be gone as well.
#[test]
fn an_iteration_that_a_truncation_overtakes_says_where_the_log_begins() {
    let log = open(&Arc::new(MemoryStorage::new()));
    let append = |_| log.append(&[1; 200]).unwrap();
    let lsns: Vec<_> = (0..100).map(append).collect();
    log.flush().unwrap();
    let mut entries = log.iter_from(lsns[0]).unwrap();
    assert_eq!(entries.next().unwrap().unwrap().lsn, lsns[0]);
    log.truncate_before(lsns[80]).unwrap();
    for round in 0..4 {
        (0..20).map(append).for_each(drop);
        log.flush().unwrap();
        assert!(log.stats().segments < 12, "nothing was used again in {round} rounds");
    }
    let told = entries.find_map(Result::err);
    assert!(matches!(told, Some(Error::Truncated { first }) if first == lsns[80]), "{told:?}");
}

/// A segment in which all entries were aborted is used again without a truncation. Who iterated, or read one
/// of them, was told of one, though nothing was missing.
#[test]
fn a_segment_of_aborted_entries_that_is_used_again_is_no_gap() {
    let log = open(&Arc::new(MemoryStorage::new()));
    let append = |_| log.append(&[1; 200]).unwrap();
    let abort = |_| {
        let reservation = log.reserve(&[2; 200]).unwrap();
        let location = reservation.location();
        reservation.abort();
        location
    };
    let lsns: Vec<_> = (0..3).map(append).collect();
    let mut aborted: Vec<_> = (0..40).map(abort).collect();
    // The segment that is being filled has nothing but aborted entries.
    let mut entries = log.iter_from(lsns[0]).unwrap();
    let mut found = vec![entries.next().unwrap().unwrap().lsn];
    aborted.extend((0..40).map(abort));
    log.flush().unwrap();
    let segments = log.stats().segments;
    for _ in 0..6 {
        (0..10).map(append).for_each(drop);
        log.flush().unwrap();
    }
    assert!(log.stats().segments <= segments + 1, "no segment was used again");
    found.extend(entries.map(|entry| entry.unwrap().lsn));
    assert_eq!(found, lsns);
    assert!(aborted.iter().all(|location| log.read(*location).unwrap().is_none()));
}
