//! Rot, and writes that end up elsewhere: a clear error, or the right data.
//!
//! A store is worked with and closed. Then bits are flipped, sectors turn into garbage, or one write of all
//! went to another place. What is found then must be the state after some prefix of what was done, but for
//! pages that say that they are damaged.
//!
//! How long a prefix? A single bit can hide only what nothing behind it proves: what the last sync has made
//! durable. Garbage and stray writes can destroy the proof itself (both copies of a manifest's last entry, or
//! a whole flush that was never there), so there any prefix will do; what may never be seen is something that
//! is no state at all.

use std::collections::BTreeMap;

use pagelog::sim::{CallKind, Fault, SimStorage, When};
use pagelog::{Access, Error, Storage};

use super::support::look;
use super::support::oracle::{Journal, State};
use super::support::random::Random;
use super::support::session::{Op, Session, Setting, Trouble};
use super::tally::Tally;

const FLIPS: u32 = 16;
const GARBAGE: u32 = 8;
const STRAYS: u32 = 4;

/// What is read of a page: a version and contents, nothing, or that it is damaged.
type Seen = BTreeMap<u64, Option<Option<(u64, Vec<u8>)>>>;

fn agrees(seen: &Seen, state: &State) -> bool {
    seen.iter().all(|(page_id, found)| {
        let Some(found) = found else { return true };
        let life = state.pages.get(page_id);
        let live = life.and_then(|life| Some((life.version, life.contents.clone()?)));
        *found == live
    })
}

/// Opens a disk on which something is damaged.
fn examine(
    setting: &Setting,
    journal: &Journal,
    image: &SimStorage,
    least: usize,
    tally: &mut Tally,
) -> Result<(), String> {
    tally.one("images");
    tally.one("images with rot");
    let cache = match setting.open(image) {
        Ok(cache) => cache,
        Err(Error::Corruption(_) | Error::NotAStore { .. } | Error::UnsupportedFormat { .. }) => {
            tally.one("rot: it does not open, and says why");
            return Ok(());
        }
        Err(error) => return Err(format!("it does not open, and says {error}")),
    };
    let mut seen = Seen::new();
    for page_id in 1..journal.page_bound + 2 {
        match look(&cache, page_id) {
            Ok(found) => seen.insert(page_id, Some(found)),
            Err(Error::Corruption(_)) => seen.insert(page_id, None),
            Err(error) => return Err(format!("page {page_id}: {error}")),
        };
    }
    let roots = cache.meta().map_err(|error| format!("meta: {error}"))?;
    let roots: BTreeMap<Vec<u8>, u64> = roots.iter().map(|(name, id)| (name.clone(), id.get())).collect();
    let damaged = seen.values().filter(|found| found.is_none()).count();
    if damaged > 0 {
        tally.one("rot: a page is damaged, and says so");
        let report = cache.verify().map_err(|error| format!("verify: {error}"))?;
        if report.is_sound() {
            return Err(format!("{damaged} pages can't be read, and a check finds nothing: {seen:?}"));
        }
    }
    image.cut_power();
    drop(cache);
    let all = journal.len();
    let Some(steps) = journal.longest_prefix(|state| state.roots == roots && agrees(&seen, state)) else {
        return Err(format!("what is found is no state that ever was: {seen:?}, {roots:?}"));
    };
    tally.when("rot: nothing is missing", damaged == 0 && steps == all);
    tally.when("rot: the end is missing", steps < all);
    if steps < least {
        return Err(format!("only {steps} steps of {all} are there, and {least} had been proven: {seen:?}"));
    }
    Ok(())
}

/// Works and closes. With a fault, closing may fail.
fn worked(setting: &Setting, disk: &SimStorage, ops: &[Op]) -> Result<Journal, String> {
    let opened = Session::open(setting, disk, Journal::new(State::default(), None), 0);
    let mut session = opened.map_err(Trouble::text)?;
    for op in ops {
        session.run(op).map_err(|trouble| format!("{op:?}: {}", trouble.text()))?;
    }
    session.cache.close().map_err(|error| format!("close: {error}"))?;
    session.journal.acknowledge_all(disk.operations());
    Ok(session.crash())
}

fn anywhere(disk: &SimStorage, random: &mut Random) -> Result<(String, u64, u64), String> {
    let lengths = disk.list().unwrap_or_default().into_iter().filter_map(|name| {
        let length = disk.open(&name, Access::Read).and_then(|file| file.len()).ok()?;
        (length > 0).then_some((name, length))
    });
    let mut lengths: Vec<(String, u64)> = lengths.collect();
    // By name, for the list is in no order; half of the time the log.
    lengths.sort();
    let log = lengths.iter().position(|(name, _)| name == "log").filter(|_| random.one_in(2));
    let index = log.unwrap_or(random.below(lengths.len() as u64) as usize);
    let (name, length) = lengths.swap_remove(index);
    let offset = random.below(length);
    Ok((name, offset, length))
}

pub fn rotting_workload(seed: u64, tally: &mut Tally) -> Result<(), String> {
    let mut random = Random::new(seed.rotate_left(32) ^ 0x5EED);
    let setting = Setting::random(&mut random);
    let op = |random: &mut Random| match Op::random(random, &setting) {
        Op::Reopen => Op::Flush,
        op => op,
    };
    let ops: Vec<Op> = (0..20 + random.below(40)).map(|_| op(&mut random)).collect();
    let disk = SimStorage::new(seed);
    let said = |text: String| format!("rotting, {setting:?}: {text}");
    let journal = worked(&setting, &disk, &ops).map_err(said)?;
    let writes = disk.count(CallKind::Write);
    let settled = disk.after_power_cut(0);
    for _ in 0..FLIPS {
        let image = settled.fork();
        let (file, offset, _) = anywhere(&image, &mut random)?;
        let bit = random.below(8) as u8;
        image.flip_bit(&file, offset, bit).map_err(|error| error.to_string())?;
        examine(&setting, &journal, &image, journal.acknowledged_before_the_last_time(), tally)
            .map_err(|text| said(format!("bit {bit} of byte {offset} of {file}: {text}")))?;
    }
    for _ in 0..GARBAGE {
        let image = settled.fork();
        let (file, offset, length) = anywhere(&image, &mut random)?;
        let start = offset / 512 * 512;
        for at in start..length.min(start + 512) {
            image.set_byte(&file, at, random.next() as u8).map_err(|error| error.to_string())?;
        }
        examine(&setting, &journal, &image, 0, tally)
            .map_err(|text| said(format!("garbage from byte {start} of {file} on: {text}")))?;
    }
    for _ in 0..STRAYS {
        let disk = SimStorage::new(random.next());
        let stray = 1 + random.below(writes);
        disk.fail_at(When::Kind(CallKind::Write, stray), Fault::Misdirected);
        let said = |text: String| said(format!("write {stray} went elsewhere: {text}"));
        // The process does not notice, for it reads from the page cache, unless it is opened again.
        let journal = worked(&setting, &disk, &ops).map_err(said)?;
        let image = disk.after_power_cut(0);
        tally.one("rot: a write went elsewhere");
        examine(&setting, &journal, &image, 0, tally).map_err(said)?;
    }
    Ok(())
}
