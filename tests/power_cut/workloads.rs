//! A random workload: several lives of a store, each cut everywhere.

use pagelog::sim::SimStorage;
use pagelog::{PageCache, PageId};

use super::examine::{Examiner, Operations, Origin};
use super::support::oracle::{Candidate, Journal, State, observe};
use super::support::random::Random;
use super::support::session::{Copy, Op, Session, Setting};
use super::support::{Bytes, contents};
use super::tally::Tally;

const LIVES: u32 = 3;
/// Images of each moment.
const IMAGES: u32 = 2;
/// Images of each moment of a copy.
const IMAGES_OF_COPIES: u64 = 12;

/// Examines every moment of a disk that was worked with, and a few of each copy that was made of it.
fn examine_all_moments(
    setting: &Setting,
    session: Session,
    random: &mut Random,
    tally: &mut Tally,
) -> Result<Journal, String> {
    let disk = session.disk.clone();
    tally.session(&session);
    // Beside the history: closing would go on writing.
    let journal = session.journal.clone();
    let copies = session.copies.clone();
    let moments = disk.history().ok_or("no history")?;
    let operations = Operations::new(*moments.start(), &disk.take_calls());
    let mut examiner = Examiner { setting, tally, random: random.clone() };
    for moment in moments {
        examiner.tally.one("moments");
        for _ in 0..IMAGES {
            let seed = random.next();
            let image = disk.image_at(moment, seed).ok_or("no image")?;
            operations.tally_cut(moment, examiner.tally);
            let examined = examiner.examine(&journal, moment, &image, 2, Origin::default());
            examined
                .map_err(|text| format!("cut during operation {} , image seed {seed}: {text}", moment + 1))?;
        }
    }
    session.crash();
    for copy in &copies {
        examine_copy(setting, copy, random, tally).map_err(|text| format!("a copy: {text}"))?;
    }
    Ok(journal)
}

/// A copy is no store until it is complete; then it is one, and holds exactly what it should.
fn examine_copy(
    setting: &Setting,
    copy: &Copy,
    random: &mut Random,
    tally: &mut Tally,
) -> Result<(), String> {
    let moments = copy.target.history().ok_or("no history")?;
    let check = |cache: &PageCache<Bytes>| {
        let bound = copy.expected.pages.keys().max().copied().unwrap_or(0) + 3;
        let (view, _) = observe(cache, bound)?;
        if view == copy.expected { Ok(()) } else { Err(format!("{view:?} instead of {:?}", copy.expected)) }
    };
    for count in 0..IMAGES_OF_COPIES {
        // Most of them near the end, where it becomes a store.
        let back = (moments.end() - moments.start()).min(if count % 2 == 0 { 8 } else { u64::MAX });
        let (moment, seed) = (moments.end() - random.below(back + 1), random.next());
        let said = |text: String| format!("cut at {moment} of {moments:?}, seed {seed}: {text}");
        let image = copy.target.image_at(moment, seed).ok_or("no image")?;
        tally.one("images");
        tally.one("images of copies");
        let finished = moment >= copy.finished;
        // Opening for writing would make a store where there is nothing.
        let config = setting.config(std::sync::Arc::new(image.clone())).read_only(!finished);
        match config.open::<Bytes>() {
            Ok(cache) => {
                check(&cache).map_err(said)?;
                image.cut_power();
                tally.one("copy: a store");
            }
            Err(error) if finished => return Err(said(format!("it does not open: {error}"))),
            Err(_) => tally.one("copy: interrupted"),
        }
    }
    Ok(())
}

/// Goes on with one of the images, of a late moment.
fn next_life(
    setting: &Setting,
    disk: &SimStorage,
    journal: &Journal,
    random: &mut Random,
    tally: &mut Tally,
) -> Result<(SimStorage, Journal), String> {
    let moments = disk.history().ok_or("no history")?;
    let moment = moments.end() - random.below((moments.end() - moments.start()).min(12));
    let next = disk.image_at(moment, random.next()).ok_or("no image")?;
    let probe = next.fork();
    let mut examiner = Examiner { setting, tally, random: random.clone() };
    let (cache, mut candidates) = examiner.recovered(journal, moment, &probe)?;
    // Versions of freed ids can't be seen, but those of pages that are made of them can.
    for page_id in 1..journal.page_bound {
        if cache.version(PageId::new(page_id)).is_ok_and(|version| version.is_none()) {
            let made = cache.allocate(contents(0, 4)).map_err(|error| error.to_string())?;
            let version = |at: &Candidate| at.state.pages.get(&page_id).map_or(1, |life| life.version + 1);
            candidates.retain(|at| made.page_id.get() == page_id && made.version.get() == version(at));
        }
    }
    probe.cut_power();
    drop(cache);
    let state = candidates.pop().ok_or("new pages have unexpected ids or versions")?.state;
    let used_again = state.pages.values().filter(|life| life.birth > 1).count();
    tally.add("done: a page id used again", used_again as u64);
    Ok((next, journal.successor(moment, state)))
}

pub fn random_workload(seed: u64, tally: &mut Tally) -> Result<(), String> {
    let mut random = Random::new(seed);
    let setting = Setting::random(&mut random);
    workload(seed, &setting, random, LIVES, tally)
}

/// The same on a disk that damages whole blocks.
pub fn torn_workload(seed: u64, tally: &mut Tally) -> Result<(), String> {
    let mut random = Random::new(seed.rotate_left(32) ^ 0x7012);
    let segment_size = random.pick(&[2048, 4096]);
    let setting = Setting { segment_size, cache_capacity: 4096, ..Setting::random(&mut random) };
    assert!(setting.torn_block() > 0, "a store that keeps blocks apart");
    tally.one("workloads on disks that damage whole blocks");
    workload(seed, &setting, random, 1, tally)
}

fn workload(
    seed: u64,
    setting: &Setting,
    mut random: Random,
    lives: u32,
    tally: &mut Tally,
) -> Result<(), String> {
    let mut disk = setting.disk(seed);
    let mut journal = Journal::new(State::default(), None);
    for life in 0..lives {
        disk.log_calls();
        disk.record_history();
        let said = |text: String| format!("life {life} of {setting:?}: {text}");
        let opened = Session::open(setting, &disk, journal, life << 16);
        let mut session = opened.map_err(|trouble| said(trouble.text()))?;
        for count in 0..20 + random.below(60) {
            let op = Op::random_or_raced(&mut random, setting);
            session
                .run(&op)
                .map_err(|trouble| said(format!("operation {count}, {op:?}: {}", trouble.text())))?;
        }
        tally.one("random workloads");
        journal = examine_all_moments(setting, session, &mut random, tally).map_err(said)?;
        (disk, journal) = next_life(setting, &disk, &journal, &mut random, tally).map_err(said)?;
    }
    Ok(())
}
