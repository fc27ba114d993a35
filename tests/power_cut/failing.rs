//! Calls that fail, and disks that are full, and then the power goes.

use pagelog::Error;
use pagelog::sim::{CallKind, Fault, SimStorage, When};

use super::examine::{Examiner, Origin};
use super::support::oracle::{Journal, State};
use super::support::random::Random;
use super::support::session::{Op, Session, Setting, Trouble};
use super::tally::Tally;

/// Failures that are tried with each workload.
const FAILURES: u32 = 8;
/// Moments that are examined of each.
const MOMENTS: u32 = 10;

#[derive(Clone, Copy, Debug)]
enum Failure {
    Call {
        when: When,
        fault: Fault,
        for_ever: bool,
    },
    /// So many blocks are free.
    Full {
        blocks: u64,
    },
}

/// What a disk was called.
#[derive(Clone, Copy, Debug)]
struct Counts {
    calls: u64,
    operations: u64,
    syncs: u64,
    directory_syncs: u64,
}

impl Counts {
    fn of(disk: &SimStorage) -> Self {
        let (syncs, directory_syncs) = (disk.count(CallKind::Sync), disk.count(CallKind::SyncDirectory));
        Self { calls: disk.calls(), operations: disk.operations(), syncs, directory_syncs }
    }
}

impl Failure {
    /// While the counts go from `first` to `last`.
    fn random(random: &mut Random, first: Counts, last: Counts) -> Self {
        let between = |random: &mut Random, count: fn(&Counts) -> u64| {
            let first = count(&first);
            first + 1 + random.below(count(&last) - first)
        };
        let for_ever = random.one_in(3);
        let (when, fault) = match random.below(10) {
            0..=1 => return Self::Full { blocks: random.below(10) },
            2..=4 => {
                let sync = between(random, |counts| counts.syncs);
                (When::Kind(CallKind::Sync, sync), random.pick(&[Fault::Error, Fault::SyncDropsPages]))
            }
            5 => {
                let sync = between(random, |counts| counts.directory_syncs);
                (When::Kind(CallKind::SyncDirectory, sync), Fault::Error)
            }
            // Only calls that change something fail for ever.
            6..=8 => {
                let operation = between(random, |counts| counts.operations);
                (
                    When::Operation(operation),
                    random.pick(&[Fault::Error, Fault::ShortWrite, Fault::NoSpace, Fault::SyncDropsPages]),
                )
            }
            _ => {
                let call = between(random, |counts| counts.calls);
                return Self::Call { when: When::Call(call), fault: Fault::Error, for_ever: false };
            }
        };
        Self::Call { when, fault, for_ever }
    }

    fn plan(self, disk: &SimStorage, tally: &mut Tally) {
        match self {
            Self::Full { blocks } => {
                tally.one("failing: the disk is full");
                disk.set_capacity(Some(disk.used_bytes() + 4096 * blocks));
            }
            Self::Call { when, fault, for_ever } => {
                let plan = if for_ever { SimStorage::fail_from } else { SimStorage::fail_at };
                plan(disk, when, fault);
                tally.when("failing: for ever", for_ever);
                tally.one(match (when, fault) {
                    (When::Kind(CallKind::SyncDirectory, _), _) => "failing: a sync of the directory",
                    (When::Kind(..), Fault::Error) => "failing: a sync that keeps its pages",
                    (When::Kind(..), _) => "failing: a sync that loses its pages",
                    (_, Fault::NoSpace) => "failing: a call that says that there is no space",
                    (_, Fault::ShortWrite) => "failing: a short write, or another call",
                    _ => "failing: any call",
                });
            }
        }
    }
}

/// Works until something is poisoned. Returns what was done.
fn run(
    setting: &Setting,
    disk: &SimStorage,
    journal: &Journal,
    ops: &[Op],
    tally: &mut Tally,
) -> Result<Journal, String> {
    let mut session = match Session::open(setting, disk, journal.clone(), 1 << 20) {
        Ok(session) => session,
        Err(Trouble::Refused(Error::Io { .. } | Error::DiskFull { .. })) => {
            tally.one("failing: an opening is refused");
            return Ok(journal.clone());
        }
        Err(trouble) => return Err(format!("opening: {}", trouble.text())),
    };
    for op in ops {
        match session.run(op) {
            Ok(()) => {}
            Err(Trouble::Refused(Error::Poisoned { .. })) => {
                tally.one("failing: poisoned");
                match session.cache.flush() {
                    Err(Error::Poisoned { .. }) => break,
                    other => return Err(format!("{op:?} says that it is poisoned, flush {other:?}")),
                }
            }
            Err(Trouble::Refused(Error::Io { .. } | Error::DiskFull { .. })) => {
                tally.one("failing: a call is refused, and the store goes on");
            }
            Err(trouble) => return Err(format!("{op:?}: {}", trouble.text())),
        }
    }
    disk.clear_faults();
    session.check_all().map_err(|trouble| format!("reading on: {}", trouble.text()))?;
    tally.session(&session);
    Ok(session.crash())
}

fn one_failure(
    setting: &Setting,
    (start, journal, ops): (&SimStorage, &Journal, &[Op]),
    failure: Failure,
    random: &mut Random,
    tally: &mut Tally,
) -> Result<(), String> {
    let disk = start.fork();
    disk.record_history();
    failure.plan(&disk, tally);
    tally.one("workloads with a failure");
    let journal = run(setting, &disk, journal, ops, tally)?;
    let moments = disk.history().ok_or("no history")?;
    let (first, last) = (*moments.start(), *moments.end());
    let mut examiner = Examiner { setting, tally, random: random.clone() };
    for count in 0..MOMENTS {
        // The end first, and then whatever comes.
        let moment = if count < 2 { last } else { first + random.below(last - first + 1) };
        let seed = random.next();
        let image = disk.image_at(moment, seed).ok_or("no image")?;
        // Somebody has made room.
        image.set_capacity(None);
        let examined = examiner.examine(&journal, moment, &image, 1, Origin::default());
        examined.map_err(|text| format!("cut at {moment} of {moments:?}, image seed {seed}: {text}"))?;
    }
    Ok(())
}

/// A store that was worked with and then lost its power, and what is in it.
fn aged(setting: &Setting, random: &mut Random, tally: &mut Tally) -> Result<(SimStorage, Journal), String> {
    let disk = setting.disk(random.next());
    let opened = Session::open(setting, &disk, Journal::new(State::default(), None), 0);
    let mut session = opened.map_err(Trouble::text)?;
    for op in ops(random, setting, 30) {
        session.run(&op).map_err(|trouble| format!("{op:?}: {}", trouble.text()))?;
    }
    let next = disk.after_power_cut(random.next());
    let journal = session.crash();
    let mut examiner = Examiner { setting, tally, random: random.clone() };
    let probe = next.fork();
    let (cache, mut candidates) = examiner.recovered(&journal, u64::MAX, &probe)?;
    probe.cut_power();
    drop(cache);
    let found = candidates.pop().ok_or("no state")?;
    let mut journal = journal.successor(u64::MAX, found.state);
    journal.uncertain = true;
    Ok((next, journal))
}

fn ops(random: &mut Random, setting: &Setting, count: u64) -> Vec<Op> {
    let op = |random: &mut Random| match Op::random(random, setting) {
        // A store that does not open again ends the workload.
        Op::Reopen => Op::Flush,
        op => op,
    };
    (0..count).map(|_| op(random)).collect()
}

pub fn failing_workload(seed: u64, tally: &mut Tally) -> Result<(), String> {
    let mut random = Random::new(!seed);
    let setting = Setting::random(&mut random);
    let said = |text: String| format!("failing, {setting:?}: {text}");
    let (start, journal) = aged(&setting, &mut random, tally).map_err(said)?;
    let count = 10 + random.below(30);
    let ops = ops(&mut random, &setting, count);
    let probe = start.fork();
    run(&setting, &probe, &journal, &ops, tally).map_err(said)?;
    let (first, last) = (Counts::of(&start), Counts::of(&probe));
    for _ in 0..FAILURES {
        let failure = Failure::random(&mut random, first, last);
        one_failure(&setting, (&start, &journal, &ops), failure, &mut random, tally)
            .map_err(|text| said(format!("{failure:?}: {text}")))?;
    }
    Ok(())
}
