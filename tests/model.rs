//! The page cache against a plain map, with tiny constants, over clean restarts, killed processes and power
//! cuts.
//!
//! The map knows for every page id whether it was never used, is free, or holds a page, and of what contents.
//! After every operation the page it was about is compared, after every restart everything. At the end of
//! each history the live bytes that segments are charged with are compared with the records of what is there.
//!
//! `PROPTEST_CASES=100000 cargo test --release --test model` is a longer run.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use pagelog::Counts;
use pagelog::sim::SimStorage;
use proptest::prelude::{Just, Strategy, any};
use proptest::test_runner::{Config, TestRunner};
use proptest::{collection, prop_oneof};

use support::oracle::{Journal, State, observe};
use support::session::{Op, Session, Setting, Trouble, all_live_bytes};

#[derive(Clone, Debug)]
enum Step {
    Do(Op),
    /// Kills the process, after a flush or not.
    Kill {
        flushed: bool,
    },
    /// Cuts the power, and keeps what this seed decides of what is not synced.
    PowerCut {
        seed: u64,
    },
}

fn operation() -> impl Strategy<Value = Op> {
    let page = any::<u8>().prop_map(usize::from);
    let length = 4_usize..60;
    prop_oneof![
        6 => length.clone().prop_map(|length| Op::Allocate { length }),
        8 => (page.clone(), length.clone()).prop_map(|(page, length)| Op::Link { page, length }),
        5 => (page.clone(), length).prop_map(|(page, length)| Op::Replace { page, length }),
        2 => (page.clone(), 4_usize..800).prop_map(|(page, length)| Op::Replace { page, length }),
        4 => page.clone().prop_map(|page| Op::Free { page }),
        3 => (page.clone(), 1_u64..5).prop_map(|(page, back)| Op::Stale { page, back }),
        6 => page.clone().prop_map(|page| Op::Get { page }),
        1 => (0_u64..3).prop_map(|beyond| Op::GetAbsent { beyond }),
        2 => Just(Op::GenerateId),
        2 => (0_u8..3, page).prop_map(|(name, page)| Op::Root { name, page }),
        2 => Just(Op::Flush),
        1 => (0_usize..6).prop_map(|back| Op::MakeStable { back }),
        2 => Just(Op::Collect),
        1 => (0_usize..4).prop_map(|keep| Op::Empty { keep }),
        1 => Just(Op::Snapshot),
        2 => Just(Op::Reopen),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let in_batch = operation()
        .prop_filter("a batch can't outlive its store", |op| !matches!(op, Op::Reopen | Op::Empty { .. }));
    prop_oneof![
        90 => operation().prop_map(Step::Do),
        4 => collection::vec(in_batch, 0..6).prop_map(|ops| Step::Do(Op::Batch(ops))),
        3 => any::<bool>().prop_map(|flushed| Step::Kill { flushed }),
        3 => any::<u64>().prop_map(|seed| Step::PowerCut { seed }),
    ]
}

fn setting() -> Setting {
    Setting {
        segment_size: 1000,
        cache_capacity: 256,
        space_target: 1.5,
        collects: true,
        snapshots: true,
        chain: 6,
        compression: None,
        inline_limit: Some(300),
    }
}

/// Goes on with what the disk `next` holds.
fn crash(session: Session, next: &SimStorage) -> Result<Session, Trouble> {
    let (serial, setting) = (session.serial, session.setting.clone());
    let journal = session.crash();
    let cache = setting.open(next)?;
    let (view, bytes) = observe(&cache, journal.page_bound + 2).map_err(Trouble::Wrong)?;
    let mut candidates = journal.candidates(u64::MAX, &view);
    candidates.retain(|candidate| bytes + candidate.state.bytes_beside_pages() == all_live_bytes(&cache));
    let Some(found) = candidates.pop() else {
        return Err(Trouble::Wrong(format!("after a crash: {}", journal.describe(u64::MAX, &view))));
    };
    let uncertain = journal.uncertain || candidates.iter().any(|other| other.state != found.state);
    let mut journal = journal.successor(u64::MAX, found.state);
    journal.uncertain = uncertain;
    Ok(Session::of(&setting, next, cache, journal, serial))
}

fn check(steps: &[Step]) -> Result<[u64; 5], Trouble> {
    let disk = SimStorage::new(0);
    let mut session = Session::open(&setting(), &disk, Journal::new(State::default(), None), 0)?;
    let mut reached = [0; 5];
    let mut tally = |session: &Session| {
        let counts = session.cache.stats().counts;
        let Counts { evictions, misses, relocated_records, segments_reused, shrinks, .. } = counts;
        let now = [evictions, misses, relocated_records, segments_reused, shrinks];
        reached.iter_mut().zip(now).for_each(|(sum, count)| *sum += count);
    };
    for step in steps {
        match step {
            Step::Do(Op::Reopen) => {
                tally(&session);
                session.run(&Op::Reopen)?;
            }
            Step::Do(op) => {
                session.run(op)?;
                let last = (session.journal.page_bound - 1).max(1);
                session.check_page(last)?;
            }
            Step::Kill { flushed } => {
                if *flushed {
                    session.run(&Op::Flush)?;
                }
                tally(&session);
                let next = session.disk.after_kill();
                session = crash(session, &next)?;
            }
            Step::PowerCut { seed } => {
                tally(&session);
                let next = session.disk.after_power_cut(*seed);
                session = crash(session, &next)?;
            }
        }
    }
    tally(&session);
    for _ in 0..2 {
        session.run(&Op::Flush)?;
        session.check_all()?;
        session.check_live_bytes()?;
        session.run(&Op::Reopen)?;
        session.check_live_bytes()?;
    }
    session.crash();
    Ok(reached)
}

#[test]
fn a_page_cache_behaves_like_a_map_over_restarts_and_crashes() {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(1200);
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 4000, ..Config::default() };
    let algorithm = config.rng_algorithm;
    let random = proptest::test_runner::TestRng::deterministic_rng(algorithm);
    let mut runner = TestRunner::new_with_rng(config, random);
    let reached = std::cell::RefCell::new([0; 5]);
    let result = runner.run(&collection::vec(step(), 1..100), |steps| {
        let counts =
            check(&steps).map_err(|trouble| proptest::test_runner::TestCaseError::fail(trouble.text()))?;
        reached.borrow_mut().iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    let reached = reached.into_inner();
    println!("evictions, misses, records relocated, segments reused, files made shorter: {reached:?}");
    let [evictions, misses, relocated, reused, shrunk] = reached;
    assert!(evictions > 1000 && misses > 1000 && relocated > 100 && reused > 100 && shrunk > 20);
}
