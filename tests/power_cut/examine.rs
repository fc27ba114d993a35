//! Opens what a power cut has left, and says whether it is right.

use pagelog::sim::{Call, CallKind, SimStorage};
use pagelog::{Access, PageCache, Storage};

use super::support::Bytes;
use super::support::oracle::{Candidate, Journal, observe};
use super::support::random::Random;
use super::support::session::{Op, Session, Setting, all_live_bytes};
use super::tally::Tally;

/// Where an image comes from: so many cuts lie before it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Origin {
    /// Cuts within openings that came directly before this one.
    openings: u32,
    /// The one before had lost something.
    had_lost: bool,
}

pub struct Examiner<'a> {
    pub setting: &'a Setting,
    pub tally: &'a mut Tally,
    pub random: Random,
}

type Found = (PageCache<Bytes>, Vec<Candidate>);

impl Examiner<'_> {
    /// Opens a disk that a cut after `operations` has left, and examines it. `depth` more cuts are nested.
    pub fn examine(
        &mut self,
        journal: &Journal,
        operations: u64,
        image: &SimStorage,
        depth: u32,
        origin: Origin,
    ) -> Result<(), String> {
        self.tally.one("images");
        self.tally.when("cut: twice, in an opening within an opening", origin.openings > 1);
        let again = self.random.one_in(8).then(|| image.fork());
        let nest = depth > 0 && self.random.one_in(6);
        if nest {
            image.record_history();
        }
        let (cache, candidates) = self.recovered(journal, operations, image)?;
        let opened = image.operations();
        let had_lost = self.tally_cut(journal, operations, &candidates);
        self.tally.when("found: less than was done, twice in a row", had_lost && origin.had_lost);
        if let Some(again) = again {
            self.tally.one("images opened twice");
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
            self.tally.one("images nested");
            let examined = if moment < opened {
                self.tally.one("cut: within an opening, again");
                let origin = Origin { openings: origin.openings + 1, had_lost };
                self.examine(journal, operations, &inner, depth - 1, origin)
            } else {
                self.tally.one("cut: within what followed an opening, again");
                let origin = Origin { openings: 0, had_lost };
                self.examine(&journal_after, moment, &inner, depth - 1, origin)
            };
            examined.map_err(|text| {
                format!("nested cut at {moment} (opened at {opened}), seed {seed}: {text}")
            })?;
        }
        Ok(())
    }

    /// Opens the disk. Fails unless what is there can be explained.
    pub fn recovered(
        &mut self,
        journal: &Journal,
        operations: u64,
        image: &SimStorage,
    ) -> Result<Found, String> {
        self.tally_heads(image);
        let before = Names::of(image);
        let damaged = self.harmless_damage(image, &before);
        let cache = self.setting.open(image);
        let cache = cache.map_err(|error| format!("it does not open: {error}; damaged: {damaged:?}"))?;
        let after = Names::of(image);
        self.tally_snapshots(&before, &after, damaged.as_deref());
        let (view, bytes) = observe(&cache, journal.page_bound + 2)?;
        let mut candidates = journal.candidates(operations, &view);
        if candidates.is_empty() {
            let states = journal.describe(operations, &view);
            return Err(format!("what is found is no state that may be; damaged: {damaged:?}\n{states}"));
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
        if after.saved_tail {
            return Err("what was saved of the log's end stays behind".into());
        }
        if after.values != stats.large_values {
            return Err(format!("{} files for {} large values", after.values, stats.large_values));
        }
        self.tally
            .add("found: a large value that belongs to nobody", before.values.saturating_sub(after.values));
        self.tally.when("found: a large value", after.values > 0);
        self.tally.when("found: an end of the log that was saved elsewhere", before.saved_tail);
        // All pages have been read, so it was used if anything was made with it.
        self.tally.when("found: a dictionary", after.dictionary);
        Ok((cache, candidates))
    }

    /// Looks now and then which heads have filled the segments that are there.
    fn tally_heads(&mut self, image: &SimStorage) {
        /// Where a segment's header names the head.
        const HEAD_AT: u64 = 44;
        if !self.tally.images().is_multiple_of(8) {
            return;
        }
        let Ok(log) = image.open("log", Access::Read) else { return };
        let slots = (0..log.len().unwrap_or(0)).step_by(self.setting.segment_size as usize);
        let mut filled = [false; 4];
        for start in slots {
            let mut head = [0];
            if log.read_at(&mut head, start + HEAD_AT).is_ok() {
                filled[usize::from(head[0] & 3)] = true;
            }
        }
        let survivors = filled[1..].iter().filter(|filled| **filled).count();
        self.tally.when("found: survivors of cleaning in two heads", survivors > 1);
        self.tally.when("found: survivors of cleaning in three heads", survivors > 2);
    }

    /// Now and then rot, of the kind that must not matter: in a snapshot, or in one of the two copies of a
    /// manifest's entry.
    fn harmless_damage(&mut self, image: &SimStorage, names: &Names) -> Option<String> {
        if !self.random.one_in(16) {
            return None;
        }
        let (file, offset) = match &names.newest_snapshot {
            Some(snapshot) if self.random.one_in(2) => {
                let length = image.open(snapshot, Access::Read).and_then(|file| file.len()).ok()?;
                (snapshot.as_str(), self.random.below(length))
            }
            _ => ("MANIFEST", self.place_in_manifest(image)?),
        };
        let bit = self.random.below(8) as u8;
        image.flip_bit(file, offset, bit).ok()?;
        self.tally.when("found: a manifest of which a bit has flipped", file == "MANIFEST");
        Some(format!("bit {bit} of byte {offset} of {file}"))
    }

    /// A byte of an entry of which both copies are there: in what is not there yet, each bit counts.
    fn place_in_manifest(&mut self, image: &SimStorage) -> Option<u64> {
        let file = image.open("MANIFEST", Access::Read).ok()?;
        let mut bytes = vec![0; file.len().ok()? as usize];
        file.read_at(&mut bytes, 0).ok()?;
        let is_whole =
            |entry: &[u8]| entry.len() == 1024 && entry[..512] == entry[512..] && entry[0..8] != [0; 8];
        let entries = bytes.chunks(1024).take_while(|entry| is_whole(entry)).count() as u64;
        (entries > 0).then(|| self.random.below(1024 * entries))
    }

    fn tally_snapshots(&mut self, before: &Names, after: &Names, damaged: Option<&str>) {
        let Some(newest) = &before.newest_snapshot else { return };
        let used = after.newest_snapshot.as_ref() == Some(newest);
        let is_damaged = damaged.is_some_and(|damaged| damaged.ends_with(newest));
        self.tally.when("found: a snapshot that can be used", used);
        self.tally.when("found: a snapshot that can't be used", !used);
        self.tally.when("found: a snapshot that is damaged", !used && is_damaged);
    }

    /// Whether something was lost.
    fn tally_cut(&mut self, journal: &Journal, operations: u64, candidates: &[Candidate]) -> bool {
        let steps = candidates.last().map_or(0, |candidate| candidate.steps);
        let lost = steps < journal.bounds(operations).1;
        self.tally.when("found: less than was done", lost);
        self.tally.when("cut: with a batch begun", journal.cuts_batch(steps, operations));
        lost
    }

    /// Works on with what was recovered, cuts the power again, and looks once more. Returns what was done.
    fn work_on(
        &mut self,
        journal: &Journal,
        operations: u64,
        image: &SimStorage,
        cache: PageCache<Bytes>,
        mut candidates: Vec<Candidate>,
    ) -> Result<Journal, String> {
        if self.random.one_in(3) {
            let id = cache.generate_id().map_err(|error| format!("generate_id: {error}"))?;
            if journal.highest_id(operations).is_some_and(|highest| id <= highest) {
                return Err(format!("id {id} was generated before"));
            }
        }
        let tails = cache.stats().tail_lsn;
        if journal.lsn_back(0).is_some_and(|last| last > tails && candidates[0].steps == journal.len()) {
            return Err(format!("the log ends at {tails}, below what is there"));
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
        let finish = session.run(&Op::Flush).and_then(|()| session.check_all());
        finish
            .and_then(|()| session.check_live_bytes())
            .map_err(|trouble| format!("working on: {}", trouble.text()))?;
        self.tally.session(&session);
        let seed = self.random.next();
        let after = image.after_power_cut(seed);
        let journal = session.crash();
        self.tally.one("images");
        self.tally.one("images of what followed an opening");
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

/// The files that matter here.
struct Names {
    values: u64,
    dictionary: bool,
    saved_tail: bool,
    newest_snapshot: Option<String>,
}

impl Names {
    fn of(disk: &SimStorage) -> Self {
        let names = disk.list().unwrap_or_default();
        let values = names.iter().filter(|name| name.starts_with("blob-")).count() as u64;
        let dictionary = names.iter().any(|name| name.starts_with("dictionary-") && !name.contains('.'));
        let is_snapshot = |name: &String| name.starts_with("snapshot-") && !name.contains('.');
        let saved_tail = names.iter().any(|name| name == "TAIL");
        Self { values, dictionary, saved_tail, newest_snapshot: names.into_iter().filter(is_snapshot).max() }
    }
}

/// What each operation of a disk was, by number.
pub struct Operations {
    first: u64,
    names: Vec<&'static str>,
}

impl Operations {
    /// Of the calls that a disk has logged since it had done `before` operations.
    pub fn new(before: u64, calls: &[Call]) -> Self {
        let operations = calls.iter().filter(|call| call.kind.is_operation());
        Self { first: before + 1, names: operations.map(name_of).collect() }
    }

    fn name(&self, operation: u64) -> Option<&'static str> {
        let index = operation.checked_sub(self.first)?;
        self.names.get(usize::try_from(index).ok()?).copied()
    }

    /// Counts a cut when so many operations had returned.
    pub fn tally_cut(&self, moment: u64, tally: &mut Tally) {
        if let Some(name) = self.name(moment + 1) {
            tally.one(name);
        }
        let mut before = (moment.saturating_sub(2)..=moment).filter_map(|operation| self.name(operation));
        let shortly = before.any(|name| name == "cut: in a truncation of the log");
        tally.when("cut: shortly after a truncation of the log", shortly);
    }
}

fn name_of(call: &Call) -> &'static str {
    let (log, manifest) = (call.file == "log", call.file.starts_with("MANIFEST"));
    match call.kind {
        CallKind::Create | CallKind::WriteLock | CallKind::CreateDirectory => "cut: in a creation",
        CallKind::Rename => "cut: in a rename",
        CallKind::Remove => "cut: in a removal",
        CallKind::SyncDirectory => "cut: in a sync of the directory",
        CallKind::Write if log => "cut: in a write of the log",
        CallKind::Write if manifest => "cut: in a write of the manifest",
        CallKind::Write => "cut: in a write of a snapshot, a dictionary or a large value",
        CallKind::Sync if log => "cut: in a sync of the log",
        CallKind::Sync if manifest => "cut: in a sync of the manifest",
        CallKind::Sync => "cut: in a sync of a snapshot, a dictionary or a large value",
        CallKind::SetLength if log => "cut: in a truncation of the log",
        _ => "cut: in something else",
    }
}
