//! The bare log against a plain list, with segments of 1000 bytes, over clean restarts, killed processes and
//! power cuts.
//!
//! The list knows of every entry whether it is open, complete or aborted. What the log promises about it: the
//! order is that of reservation, whatever the order of completion; an aborted entry is never seen; nothing
//! behind an open reservation is made durable by its own thread; after a crash there is a prefix of what was
//! completed, whole batches only, and all of what was stable; what was cut off at the front stays away; and
//! no LSN is ever used twice.
//!
//! `PROPTEST_CASES=100000 cargo test --release --test log_model` is a longer run.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::sync::Arc;

use pagelog::sim::SimStorage;
use pagelog::{Config, Error, Location, Log, Lsn, Reservation};
use proptest::prelude::{Just, Strategy, any};
use proptest::test_runner::{TestCaseError, TestRng, TestRunner};
use proptest::{collection, prop_assert, prop_assert_eq, prop_oneof};

use support::contents;

#[derive(Clone, Debug)]
enum Step {
    Append(usize),
    Reserve(usize),
    Complete(usize),
    Abort(usize),
    Read(usize),
    Iterate(usize),
    Flush,
    MakeStable(usize),
    Truncate(usize),
    Batch(Vec<usize>),
    TooLarge,
    Close,
    Kill,
    PowerCut(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let index = || any::<u16>().prop_map(usize::from);
    let length = || prop_oneof![8 => 0_usize..60, 1 => 60_usize..850];
    prop_oneof![
        10 => length().prop_map(Step::Append),
        6 => length().prop_map(Step::Reserve),
        5 => index().prop_map(Step::Complete),
        3 => index().prop_map(Step::Abort),
        5 => index().prop_map(Step::Read),
        3 => index().prop_map(Step::Iterate),
        2 => Just(Step::Flush),
        4 => index().prop_map(Step::MakeStable),
        2 => index().prop_map(Step::Truncate),
        2 => collection::vec(0_usize..200, 0..8).prop_map(Step::Batch),
        1 => Just(Step::TooLarge),
        1 => Just(Step::Close),
        1 => Just(Step::Kill),
        2 => any::<u64>().prop_map(Step::PowerCut),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Open,
    Complete,
    Aborted,
}

#[derive(Clone, Debug)]
struct Entry {
    location: Location,
    payload: Vec<u8>,
    fate: Fate,
    /// The last entry of its batch, or of no batch: the log may end behind it.
    may_end: bool,
}

#[derive(Debug, Default)]
struct Model {
    entries: Vec<Entry>,
    first: Lsn,
    highest: Option<Lsn>,
    serial: u32,
}

type Checked = Result<(), TestCaseError>;

fn open(disk: &SimStorage) -> Log {
    open_on(disk, 0)
}

/// On a disk that damages whole blocks of that size, if it is not 0.
fn open_on(disk: &SimStorage, torn_block: u32) -> Log {
    let segment_size = if torn_block == 0 { 1000 } else { 2 * torn_block };
    let config = Config::with_storage(Arc::new(disk.clone())).segment_size(segment_size);
    Log::open(config.torn_block_size(torn_block).io_buffer_size(512).io_buffers(2)).unwrap()
}

impl Model {
    fn payload(&mut self, length: usize) -> Vec<u8> {
        self.serial += 1;
        let mut bytes = contents(self.serial, length).0;
        bytes.truncate(length);
        bytes
    }

    fn add(&mut self, location: Location, payload: Vec<u8>, fate: Fate) -> Checked {
        prop_assert!(
            self.highest.is_none_or(|highest| location.lsn() > highest),
            "{location:?} was used before"
        );
        self.highest = Some(location.lsn());
        self.entries.push(Entry { location, payload, fate, may_end: true });
        Ok(())
    }

    fn settle(&mut self, lsn: Lsn, fate: Fate) {
        self.entries
            .iter_mut()
            .filter(|entry| entry.location.lsn() == lsn)
            .for_each(|entry| entry.fate = fate);
    }

    fn pick(&self, index: usize) -> Option<&Entry> {
        self.entries.get(index.checked_rem(self.entries.len())?)
    }

    fn first_open(&self) -> Option<Lsn> {
        self.entries.iter().find(|entry| entry.fate == Fate::Open).map(|entry| entry.location.lsn())
    }

    /// What is complete from an LSN on.
    fn complete(&self, from: Lsn) -> Vec<&Entry> {
        let from = from.max(self.first);
        self.entries.iter().filter(|e| e.fate == Fate::Complete && e.location.lsn() >= from).collect()
    }

    fn check_read(&self, log: &Log, index: usize) -> Checked {
        let Some(entry) = self.pick(index) else { return Ok(()) };
        let lsn = entry.location.lsn();
        match (log.read(entry.location), entry.fate) {
            (Err(Error::Truncated { first }), _) => prop_assert!(lsn < self.first && first == self.first),
            (Err(Error::ReservationOpen { .. }), _) => prop_assert!(self.first_open().is_some()),
            (Ok(Some(payload)), Fate::Complete) => prop_assert_eq!(payload, entry.payload.clone()),
            (Ok(None), Fate::Aborted) => {}
            (found, fate) => prop_assert!(false, "{fate:?} entry at {lsn}: {found:?}"),
        }
        Ok(())
    }

    /// An iterator sees what is complete, up to some point that is not before the stable LSN.
    fn check_iteration(&self, log: &Log, from: Lsn) -> Checked {
        let expected = self.complete(from);
        let found: Vec<_> = log.iter_from(from.max(self.first)).unwrap().map(Result::unwrap).collect();
        prop_assert!(found.len() <= expected.len(), "{} entries instead of {}", found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            prop_assert_eq!(found.location, expected.location);
            prop_assert_eq!(&found.payload, &expected.payload);
        }
        let missing = expected.get(found.len()).map(|entry| entry.location.lsn());
        prop_assert!(missing.is_none_or(|lsn| lsn >= log.stable_lsn()), "{missing:?} is stable and not seen");
        prop_assert!(missing.is_none() || self.first_open().is_some(), "{missing:?} is not seen");
        Ok(())
    }

    fn check_flush(&self, outcome: Result<(), Error>, bound: Lsn) -> Checked {
        match outcome {
            Ok(()) => prop_assert!(self.first_open().is_none_or(|open| open >= bound)),
            Err(Error::ReservationOpen { lsn }) => prop_assert_eq!(Some(lsn), self.first_open()),
            Err(error) => prop_assert!(false, "{error}"),
        }
        Ok(())
    }

    fn truncate(&mut self, log: &Log, index: usize) -> Checked {
        let Some(entry) = self.pick(index) else { return Ok(()) };
        let wanted = entry.location.lsn();
        let first = wanted.min(log.stable_lsn()).max(self.first);
        log.truncate_before(wanted).unwrap();
        prop_assert_eq!(log.first_lsn(), first);
        self.first = first;
        Ok(())
    }

    fn batch(&mut self, log: &Log, lengths: &[usize]) -> Checked {
        let batch = log.pin_log().unwrap();
        for (count, length) in lengths.iter().enumerate() {
            let payload = self.payload(*length);
            let reservation = log.reserve(&payload).unwrap();
            self.add(reservation.location(), payload, Fate::Complete)?;
            reservation.complete();
            self.entries.last_mut().unwrap().may_end = count + 1 == lengths.len();
        }
        if !lengths.is_empty() {
            let refused = log.flush();
            let own = matches!(refused, Err(Error::BatchOpen | Error::ReservationOpen { .. }));
            prop_assert!(own, "a flush inside a batch: {refused:?}");
        }
        batch.seal_batch().unwrap();
        Ok(())
    }

    /// The log was opened after a crash that happened when `stable` was stable.
    fn recover(&mut self, log: &Log, stable: Lsn) -> Checked {
        prop_assert_eq!(log.first_lsn(), self.first);
        let first_open = self.first_open();
        let found: Vec<_> = log.iter_from(self.first).unwrap().map(Result::unwrap).collect();
        let expected = self.complete(self.first);
        prop_assert!(found.len() <= expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            prop_assert_eq!((found.location, &found.payload), (expected.location, &expected.payload));
        }
        if let Some(lost) = expected.get(found.len()) {
            prop_assert!(lost.location.lsn() >= stable, "{:?} was stable", lost.location);
        }
        if let Some(last) = found.len().checked_sub(1).map(|last| expected[last]) {
            prop_assert!(last.may_end, "a batch is torn behind {:?}", last.location);
            let open_before = first_open.is_some_and(|open| open < last.location.lsn());
            prop_assert!(!open_before, "{:?} is there, and a reservation before it was open", last.location);
        }
        let kept: Vec<Entry> = expected.iter().take(found.len()).map(|entry| Entry::clone(entry)).collect();
        self.entries = kept;
        Ok(())
    }
}

/// What ends the life of an instance.
enum End {
    History,
    Close,
    Crash(SimStorage, Lsn),
}

/// Goes on until the log is closed or crashes.
fn live(
    model: &mut Model,
    disk: &SimStorage,
    log: &Log,
    steps: &mut std::slice::Iter<'_, Step>,
) -> Result<End, TestCaseError> {
    let mut held: Vec<Reservation<'_>> = Vec::new();
    let take =
        |held: &mut Vec<Reservation<'_>>, index: usize| -> Option<usize> { index.checked_rem(held.len()) };
    for step in steps {
        match step {
            Step::Append(length) | Step::Reserve(length) => {
                let payload = model.payload(*length);
                let reservation = log.reserve(&payload).unwrap();
                model.add(reservation.location(), payload, Fate::Open)?;
                if matches!(step, Step::Append(_)) {
                    model.settle(reservation.complete(), Fate::Complete);
                } else {
                    held.push(reservation);
                }
            }
            Step::Complete(index) | Step::Abort(index) => {
                let Some(index) = take(&mut held, *index) else { continue };
                let reservation = held.swap_remove(index);
                let lsn = reservation.lsn();
                if matches!(step, Step::Complete(_)) {
                    reservation.complete();
                    model.settle(lsn, Fate::Complete);
                } else {
                    reservation.abort();
                    model.settle(lsn, Fate::Aborted);
                }
            }
            Step::Read(index) => model.check_read(log, *index)?,
            Step::Iterate(index) => {
                let from = model.pick(*index).map_or(Lsn::default(), |entry| entry.location.lsn());
                model.check_iteration(log, from)?;
            }
            Step::Flush => model.check_flush(log.flush(), Lsn::new(u64::MAX))?,
            Step::MakeStable(index) => {
                let Some(entry) = model.pick(*index) else { continue };
                let lsn = entry.location.lsn();
                let outcome = log.make_stable(lsn);
                if outcome.is_ok() {
                    prop_assert!(log.stable_lsn() > lsn);
                }
                model.check_flush(outcome, lsn)?;
            }
            Step::Truncate(index) => model.truncate(log, *index)?,
            Step::Batch(lengths) => model.batch(log, lengths)?,
            Step::TooLarge => {
                let refused = log.append(&[7; 950]);
                prop_assert!(matches!(refused, Err(Error::ValueTooLarge { .. })), "{refused:?}");
            }
            Step::Close => {
                held.drain(..).for_each(|reservation| model.settle(reservation.lsn(), Fate::Aborted));
                return Ok(End::Close);
            }
            Step::Kill => return Ok(End::Crash(disk.after_kill(), log.stable_lsn())),
            Step::PowerCut(seed) => return Ok(End::Crash(disk.after_power_cut(*seed), log.stable_lsn())),
        }
    }
    held.drain(..).for_each(|reservation| model.settle(reservation.lsn(), Fate::Aborted));
    Ok(End::History)
}

fn check(steps: &[Step], torn_block: u32) -> Checked {
    let mut disk = SimStorage::new(0);
    disk.set_torn_block(Some(torn_block.into()));
    let open = |disk: &SimStorage| open_on(disk, torn_block);
    let mut model = Model::default();
    let mut log = open(&disk);
    let mut steps = steps.iter();
    loop {
        match live(&mut model, &disk, &log, &mut steps)? {
            End::Close => {
                log.close().unwrap();
                log = open(&disk);
                model.recover(&log, Lsn::new(u64::MAX))?;
            }
            End::Crash(next, stable) => {
                disk.cut_power();
                log = open(&next);
                disk = next;
                model.recover(&log, stable)?;
            }
            End::History => break,
        }
    }
    model.check_iteration(&log, Lsn::default())?;
    log.close().unwrap();
    model.recover(&open(&disk), Lsn::new(u64::MAX))
}

#[test]
fn a_log_behaves_like_a_list_over_restarts_and_crashes() {
    check_many(3000, 0);
}

#[test]
fn a_log_behaves_like_a_list_on_a_disk_that_damages_whole_blocks() {
    check_many(600, 512);
}

fn check_many(cases: u32, torn_block: u32) {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(cases);
    let config = proptest::test_runner::Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 4000,
        ..Default::default()
    };
    let random = TestRng::deterministic_rng(config.rng_algorithm);
    let mut runner = TestRunner::new_with_rng(config, random);
    if let Err(error) = runner.run(&collection::vec(step(), 1..100), |steps| check(&steps, torn_block)) {
        panic!("{error}");
    }
}

/// A thread that holds a reservation asked for what lies before it to be made stable. Both were in one write
/// buffer, which can't be written before its last reservation is finished: the thread waited for itself, for
/// ever.
#[test]
fn a_thread_that_holds_a_reservation_is_told_so_instead_of_waiting_for_itself() {
    let log = open(&SimStorage::new(0));
    let first = log.append(b"first").unwrap();
    log.flush().unwrap();
    let before = log.reserve(b"before").unwrap();
    let (before, place) = (before.lsn(), (before.location(), before.complete()).0);
    let held = log.reserve(b"held").unwrap();
    for refused in [log.make_stable(before), log.flush(), log.read(place).map(drop)] {
        assert!(matches!(refused, Err(Error::ReservationOpen { lsn }) if lsn == held.lsn()), "{refused:?}");
    }
    log.make_stable(first).unwrap();
    held.complete();
    log.flush().unwrap();
    assert_eq!(log.read(place).unwrap().unwrap(), b"before");
}
