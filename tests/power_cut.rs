//! Power cuts at every operation of many workloads, on the simulated disk.
//!
//! A workload runs once, with the disk's history recorded. Then, for every moment of it and several seeds, the disk is taken
//! as a power cut at that moment leaves it, and the store is opened on it. What must hold:
//!
//! - opening succeeds, and what is found is the state after some prefix, in the order of LSNs, of what was done;
//! - nothing is missing that was acknowledged: by `flush`, `make_stable`, `close` or the stable LSN;
//! - no batch is torn; no page is there that was not made; ids are not generated twice;
//! - the live bytes of the accountant are those of what is there;
//! - opening the same disk twice finds the same, also if the first opening was itself cut, two deep;
//! - the store can be worked with: new pages get the lowest free id and a version never seen, and what is flushed survives
//!   the next cut.
//!
//! First all short workloads, then random long ones with reuse, relocation, eviction, snapshots and batches, each of which is
//! counted and has to have happened.
//!
//! A failure prints the command that repeats it. A longer run, for instance of two million images:
//!
//! ```text
//! PAGELOG_IMAGES=2000000 PAGELOG_SEED=1 cargo test --release --test power_cut -- --nocapture
//! ```
//!
//! `PAGELOG_SEED` alone runs the one random workload of that seed.
//!
//! # Bugs that were planted
//!
//! Each of these was put into the store by hand, one at a time, and made a test here fail (or in `faults.rs`, where it says so):
//!
//! - the sync left out of: a claim; a flush; a manifest before its rename; the directory after it; the directory before the
//!   first manifest; the log after its tail was written again (faults)
//! - a slot reused without regard to what killed its records, in either head or in both
//! - a stable LSN inside a batch; a tip that ignores an open batch
//! - recovery that does not write the tail again, does not cut a segment at the tip, or gives out a segment's number twice
//! - a victim that is not stable; a relocated record announced before it is written; contents evicted before they are written
//! - a snapshot published before what it names is stable
//! - an id bound that is not written down; a batch's boundary that counts as live
//!
//! - a file cut before the entry that releases its slots is synced, or without that entry
//!
//! These survived. A release without the stable LSNs loses proof that only rot would need. A slot reused before its own end is stable, and a relocated copy that loses its race and stays charged,
//! take threads that race; here there is one. An unused snapshot that is not removed, and a snapshot that is not synced before
//! it gets its name, cost an opening its speed and nothing else, for a snapshot that is damaged is not used.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::sync::{Mutex, PoisonError};

use pagelog::sim::SimStorage;
use pagelog::{PageId, Storage};

use support::oracle::{Candidate, Journal, State, observe};
use support::random::Random;
use support::session::{Op, Session, Setting, Trouble, all_live_bytes};

/// Reclamation goes by the epochs of all threads, so workloads that run side by side would disturb each other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// What was reached.
#[derive(Clone, Debug, Default)]
struct Tally {
    images: u64,
    nested: u64,
    lost_tail: u64,
    cut_batch: u64,
    used_snapshot: u64,
    reused: u64,
    shrunk: u64,
    relocated: u64,
    evicted: u64,
    paged_in: u64,
    snapshots: u64,
    recycled_ids: u64,
    large_written: u64,
    large_removed: u64,
    large_found: u64,
    orphans: u64,
}

impl Tally {
    fn count(&mut self, session: &Session) {
        let counts = session.cache.stats().counts;
        self.reused += counts.segments_reused;
        self.shrunk += counts.shrinks;
        self.relocated += counts.relocated_records;
        self.evicted += counts.evictions;
        self.paged_in += counts.misses;
        self.snapshots += counts.snapshots;
        self.large_written += counts.large_values_written;
        self.large_removed += counts.large_values_removed;
    }
}

struct Examiner<'a> {
    setting: &'a Setting,
    tally: &'a mut Tally,
    random: Random,
}

impl Examiner<'_> {
    /// Opens a disk that a cut after `operations` has left, and examines it. `depth` more cuts are nested.
    fn examine(
        &mut self,
        journal: &Journal,
        operations: u64,
        image: &SimStorage,
        depth: u32,
    ) -> Result<(), String> {
        self.tally.images += 1;
        let again = self.random.one_in(8).then(|| image.fork());
        let nest = depth > 0 && self.random.one_in(6);
        if nest {
            image.record_history();
        }
        let (cache, candidates) = self.recovered(journal, operations, image)?;
        let opened = image.operations();
        self.tally_cut(journal, operations, &candidates);
        self.tally.used_snapshot += u64::from(has_snapshot(image));
        if let Some(again) = again {
            let (twin, others) = self.recovered(journal, operations, &again)?;
            if states(&others) != states(&candidates) {
                return Err("a second opening found something else".into());
            }
            again.cut_power();
            drop(twin);
        }
        let journal_after = if nest || self.random.one_in(3) {
            self.work_on(journal, operations, image, cache, candidates)?
        } else {
            image.cut_power();
            drop(cache);
            return Ok(());
        };
        if !nest {
            return Ok(());
        }
        let moments = image.history().ok_or("no history")?;
        for _ in 0..2 {
            let moment = moments.start() + self.random.below(moments.end() - moments.start() + 1);
            let seed = self.random.next();
            let inner = image.image_at(moment, seed).ok_or("no image")?;
            self.tally.nested += 1;
            let examined = if moment < opened {
                self.examine(journal, operations, &inner, depth - 1)
            } else {
                self.examine(&journal_after, moment, &inner, depth - 1)
            };
            examined.map_err(|text| {
                format!("nested cut at {moment} (opened at {opened}), seed {seed}: {text}")
            })?;
        }
        Ok(())
    }

    /// Opens the disk. Fails unless what is there can be explained.
    fn recovered(
        &mut self,
        journal: &Journal,
        operations: u64,
        image: &SimStorage,
    ) -> Result<(pagelog::PageCache<support::Bytes>, Vec<Candidate>), String> {
        let before = files_of_values(image);
        let cache = self.setting.open(image).map_err(|error| format!("it does not open: {error}"))?;
        let (view, bytes) = observe(&cache, journal.page_bound + 2)?;
        let mut candidates = journal.candidates(operations, &view);
        if candidates.is_empty() {
            return Err(format!(
                "what is found is no state that may be:\n{}",
                journal.describe(operations, &view)
            ));
        }
        let stats = cache.stats();
        if stats.page_ids >= journal.page_bound {
            return Err(format!("{} page ids, more than were ever made", stats.page_ids));
        }
        let expected: Vec<u64> =
            candidates.iter().map(|candidate| bytes + candidate.state.bytes_beside_pages()).collect();
        let mut counts = expected.iter().map(|expected| *expected == all_live_bytes(&cache));
        candidates.retain(|_| counts.next() == Some(true));
        if candidates.is_empty() {
            return Err(format!("{} live bytes instead of {expected:?}", all_live_bytes(&cache)));
        }
        let files = files_of_values(image);
        if files != stats.large_values {
            return Err(format!("{files} files for {} large values", stats.large_values));
        }
        self.tally.orphans += before - files;
        self.tally.large_found += u64::from(files > 0);
        Ok((cache, candidates))
    }

    fn tally_cut(&mut self, journal: &Journal, operations: u64, candidates: &[Candidate]) {
        let steps = candidates.last().map_or(0, |candidate| candidate.steps);
        self.tally.lost_tail += u64::from(steps < journal.bounds(operations).1);
        self.tally.cut_batch += u64::from(journal.cuts_batch(steps, operations));
    }

    /// Works on with what was recovered, cuts the power again, and looks once more. Returns what was done.
    fn work_on(
        &mut self,
        journal: &Journal,
        operations: u64,
        image: &SimStorage,
        cache: pagelog::PageCache<support::Bytes>,
        mut candidates: Vec<Candidate>,
    ) -> Result<Journal, String> {
        if self.random.one_in(3) {
            let id = cache.generate_id().map_err(|error| format!("generate_id: {error}"))?;
            if journal.highest_id(operations).is_some_and(|highest| id <= highest) {
                return Err(format!("id {id} was generated before"));
            }
        }
        let state = candidates.swap_remove(0).state;
        let mut successor = journal.successor(operations, state);
        successor.uncertain =
            journal.uncertain || candidates.iter().any(|other| other.state != successor.base);
        let next: Vec<(u64, u64)> =
            candidates.iter().map(|candidate| candidate.state.next_allocation()).collect();
        let mut session = Session::of(self.setting, image, cache, successor, 1 << 24);
        session
            .run(&Op::Allocate { length: 20 })
            .map_err(|trouble| format!("{}; also possible {next:?}", trouble.text()))?;
        for _ in 0..self.random.below(6) {
            let op = Op::random(&mut self.random, self.setting);
            session.run(&op).map_err(|trouble| format!("working on, {op:?}: {}", trouble.text()))?;
        }
        let finish = [Op::Flush].iter().try_for_each(|op| session.run(op)).and_then(|()| session.check_all());
        finish
            .and_then(|()| session.check_live_bytes())
            .map_err(|trouble| format!("working on: {}", trouble.text()))?;
        self.tally.count(&session);
        let seed = self.random.next();
        let after = image.after_power_cut(seed);
        let journal = session.crash();
        let (cache, _) =
            self.recovered(&journal, u64::MAX, &after).map_err(|text| format!("after working on: {text}"))?;
        after.cut_power();
        drop(cache);
        Ok(journal)
    }
}

fn states(candidates: &[Candidate]) -> Vec<usize> {
    candidates.iter().map(|candidate| candidate.steps).collect()
}

fn files_of_values(disk: &SimStorage) -> u64 {
    let names = disk.list().unwrap_or_default();
    names.iter().filter(|name| name.starts_with("blob-")).count() as u64
}

fn has_snapshot(disk: &SimStorage) -> bool {
    let is_snapshot = |name: &String| name.starts_with("snapshot-") && !name.contains('.');
    disk.list().is_ok_and(|names| names.iter().any(is_snapshot))
}

/// Runs operations on a disk and examines every moment of it.
fn examine_all_moments(
    setting: &Setting,
    session: Session,
    seeds: u64,
    depth: u32,
    random: &mut Random,
    tally: &mut Tally,
) -> Result<Journal, String> {
    let disk = session.disk.clone();
    tally.count(&session);
    // Beside the history: closing would go on writing.
    let journal = session.journal.clone();
    let moments = disk.history().ok_or("no history")?;
    let mut examiner = Examiner { setting, tally, random: random.clone() };
    for moment in moments {
        for _ in 0..seeds {
            let seed = random.next();
            let image = disk.image_at(moment, seed).ok_or("no image")?;
            let examined = examiner.examine(&journal, moment, &image, depth);
            examined
                .map_err(|text| format!("cut during operation {} , image seed {seed}: {text}", moment + 1))?;
        }
    }
    session.crash();
    Ok(journal)
}

/// One random workload: several lives of a store, each examined at every moment.
fn random_workload(seed: u64, seeds: u64, tally: &mut Tally) -> Result<(), String> {
    let mut random = Random::new(seed);
    let setting = Setting::random(&mut random);
    let mut disk = SimStorage::new(seed);
    let mut journal = Journal::new(State::default(), None);
    for life in 0..3 {
        disk.record_history();
        let said = |text: String| format!("life {life} of {setting:?}: {text}");
        let opened = Session::open(&setting, &disk, journal, life << 16);
        let mut session = opened.map_err(|trouble| said(trouble.text()))?;
        for count in 0..20 + random.below(60) {
            let op = Op::random(&mut random, &setting);
            session
                .run(&op)
                .map_err(|trouble| said(format!("operation {count}, {op:?}: {}", trouble.text())))?;
        }
        journal = examine_all_moments(&setting, session, seeds, 2, &mut random, tally).map_err(said)?;
        // Goes on with one of the images, of a late moment.
        let moments = disk.history().ok_or("no history")?;
        let moment = moments.end() - random.below((moments.end() - moments.start()).min(12));
        let next = disk.image_at(moment, random.next()).ok_or("no image")?;
        let probe = next.fork();
        let mut examiner = Examiner { setting: &setting, tally, random: random.clone() };
        let (cache, mut candidates) = examiner.recovered(&journal, moment, &probe)?;
        // Versions of freed ids can't be seen, but those of pages that are made of them can.
        for page_id in 1..journal.page_bound {
            if cache.version(PageId::new(page_id)).is_ok_and(|version| version.is_none()) {
                let made = cache.allocate(support::contents(0, 4)).map_err(|error| error.to_string())?;
                let version =
                    |at: &Candidate| at.state.pages.get(&page_id).map_or(1, |life| life.version + 1);
                candidates.retain(|at| made.page_id.get() == page_id && made.version.get() == version(at));
            }
        }
        probe.cut_power();
        drop(cache);
        let state = candidates.pop().ok_or("new pages have unexpected ids or versions")?.state;
        tally.recycled_ids += state.pages.values().filter(|life| life.birth > 1).count() as u64;
        journal = journal.successor(moment, state);
        disk = next;
    }
    Ok(())
}

fn number_from(variable: &str) -> Option<u64> {
    std::env::var(variable)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

#[test]
fn random_workloads_survive_power_cuts_at_every_operation() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let (seed, images) = (number_from("PAGELOG_SEED"), number_from("PAGELOG_IMAGES"));
    let wanted = match (seed, images) {
        (Some(_), None) => 1,
        (_, images) => images.unwrap_or(16_000),
    };
    let mut tally = Tally::default();
    let mut seed = seed.unwrap_or(1);
    while tally.images < wanted {
        if let Err(text) = random_workload(seed, 2, &mut tally) {
            panic!(
                "{text}\n\n{tally:?}\nrepeat it with: PAGELOG_SEED={seed} cargo test --test power_cut random_workloads"
            );
        }
        seed += 1;
    }
    println!("{tally:?}");
    if wanted >= 10_000 {
        let reached = [
            ("a segment reused", tally.reused),
            ("a file made shorter", tally.shrunk),
            ("a record relocated", tally.relocated),
            ("an eviction", tally.evicted),
            ("a page read back", tally.paged_in),
            ("a snapshot published", tally.snapshots),
            ("a snapshot used", tally.used_snapshot),
            ("a batch cut", tally.cut_batch),
            ("a tail lost", tally.lost_tail),
            ("a cut within a recovery", tally.nested),
            ("an id used again", tally.recycled_ids),
            ("a large value written", tally.large_written),
            ("a large value removed", tally.large_removed),
            ("a large value found again", tally.large_found),
            ("a large value swept", tally.orphans),
        ];
        for (what, times) in reached {
            assert!(times > 0, "never reached: {what}");
        }
    }
}

/// All sequences of so many operations, from a new store on.
fn all_short_workloads(length: u32, tally: &mut Tally) -> Result<(), String> {
    let alphabet = [
        Op::Allocate { length: 30 },
        Op::Link { page: 0, length: 40 },
        Op::Replace { page: 0, length: 200 },
        Op::Free { page: 0 },
        Op::Flush,
        Op::Batch(vec![Op::Allocate { length: 10 }, Op::Link { page: 0, length: 10 }]),
        Op::Collect,
        Op::Reopen,
    ];
    let setting = Setting {
        segment_size: 512,
        cache_capacity: 256,
        space_target: 1.05,
        collects: true,
        snapshots: true,
        chain: 2,
        compression: None,
        inline_limit: Some(100),
    };
    let count = alphabet.len() as u64;
    for index in 0..count.pow(length) {
        let letters = (0..length).map(|place| (index / count.pow(place) % count) as usize);
        let ops: Vec<Op> = letters.map(|letter| alphabet[letter].clone()).collect();
        // Most of the moments are those of creation; they are examined once.
        let disk = SimStorage::new(index);
        if index == 0 {
            disk.record_history();
        }
        let said = |text: String| format!("{ops:?}: {text}");
        let opened = Session::open(&setting, &disk, Journal::new(State::default(), None), 0);
        let mut session = opened.map_err(|trouble| said(trouble.text()))?;
        if index > 0 {
            disk.record_history();
        }
        ops.iter().try_for_each(|op| session.run(op)).map_err(|trouble: Trouble| said(trouble.text()))?;
        let mut random = Random::new(index);
        examine_all_moments(&setting, session, 1, 1, &mut random, tally).map_err(said)?;
    }
    Ok(())
}

#[test]
fn all_workloads_of_up_to_three_operations_survive_power_cuts() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut tally = Tally::default();
    let longest = if number_from("PAGELOG_IMAGES").is_some() { 4 } else { 3 };
    for length in 1..=longest {
        if let Err(text) = all_short_workloads(length, &mut tally) {
            panic!("{text}\n\nrepeat it with: cargo test --test power_cut all_workloads");
        }
    }
    println!("{tally:?}");
    assert!(tally.images > 3000 && tally.lost_tail > 0 && tally.cut_batch > 0, "{tally:?}");
}
