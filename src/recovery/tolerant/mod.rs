//! Opening a damaged store, to save what is left of it.
//!
//! [`open`](super::open) refuses a store of which anything is damaged that had been stable. This goes on past
//! the damage, and says of each page what can be known of it. It only reads: what looks like garbage today
//! may be what a better tool, or a copy that reads without errors tomorrow, makes a page of; and an opening
//! for writing would cut the log, reuse slots, and remove files that look like orphans only because their
//! records can't be read.
//!
//! ```text
//!  manifest, or segment headers ─► a snapshot, as a witness ─► all of the log, past holes ─► judgement of each page ─► pages, damage
//! ```
//!
//! # The log
//!
//! * **(A) The rules are those of recovery.** Below the proven point of a head whatever does not verify is
//!   damage; above it the first record that does not is the tip, and what lies behind is void, like a batch
//!   without its end. What the disk does not hand out is no torn tail, but damage wherever it is. So a store
//!   that opens strictly opens with no damage, and in the same state. Unlike there, damage does not end the
//!   pass: it is a *hole*, up to the next record of the same head that verifies, or up to the end of the log
//!   if there is none. A segment header that does not verify is reported, and makes no hole, for each
//!   record's checksum names its segment. If the file of the log is shorter than what was proven, all that
//!   its end cuts off is a hole, proven or not.
//!
//! # Pages
//!
//! * **(B) Whole.** A page's records that can be read must be a base, and links on top of it without a gap. A
//!   page of which this is not so, or of which a snapshot knows a newer version than was found, is *lost*:
//!   reading it is an error, and no older state of it is given out. Nor is a page with a large value whose
//!   file is not sound.
//!
//! That leaves pages that can be put together, and of which a *newer* record may have been in a hole.
//!
//! * **(C) Evidence.** In the fresh head, versions of a page rise with LSNs. So if a page's newest readable
//!   record is at an LSN of the fresh head, no record below that is newer: that LSN is the page's evidence. A
//!   record of a relocated head is evidence of nothing. It was live when it was moved, but it need not have
//!   been the newest of its page: there may have been links on top. A sound snapshot knows of every page what
//!   had been logged below its begin: with (B), that begin is evidence for all pages, also for there being
//!   none.
//! * **(D) Threshold.** A hole in the fresh head can hide a newer record only of a page whose evidence is
//!   below the hole's end. A hole in a relocated head hides records that were logged in the fresh head
//!   before, in segments that are used again, or else they would be found there. So what it hides is older
//!   than the first segment from which on none of the fresh head is missing. The highest of these places is
//!   the threshold: a page with evidence from there on is certain, the others are *in doubt*. When the log's
//!   end is gone, that is all pages.
//!
//! What lies in the very last flush is proven by nothing: damage there looks like a torn tail, here as
//! everywhere, and no doubt comes of it.
//!
//! # Without a manifest
//!
//! * **(E) Headers.** The segments are told by their headers then. What recoveries have cut is not known: a
//!   record may be void, of a history that a power cut has ended. So only those segments count that the chain
//!   of predecessors leads to from the newest; each up to the first record that does not verify, and not
//!   beyond the begin of a batch whose end can't be found. Two records of one version that are no copies are
//!   of two histories, and the page is lost. All else is in doubt.
//!
//! # Bounds
//!
//! The log is read once, a segment at a time, with a bounded search behind damaged records; snapshots up to
//! the first sound one; the files of large values that are needed. Memory is a few words for each record that
//! is live, was overwritten in the last stretch, or is in the snapshot.

mod damage;
mod pages;
mod scan;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::census;
use super::checks::check_dictionaries;
use super::facts::{Facts, facts};
use super::headers::LogBytes;
use super::identify::{UNFINISHED_FILE, check_kind, read_file, unfinished};
use super::open::{Recovered, Survey, check_options, lock, open_scene, resume};
use super::replay::{Obstacle, Replay};
use super::snapshot_file::{self, Loaded, read_blocks, read_index};
use crate::config::{Config, DEFAULT_SEGMENT_SIZE};
use crate::error::{Corruption, Error, Result};
use crate::format::{
    Claim, LargeName, LargePointer, ManifestState, RangePages, StoreId, StoreKind, damaged_copies,
    read_manifest, snapshot_name,
};
use crate::ids::{HeadId, HeadLsns, PageId, SegmentId, SlotId, Version, raise};
use crate::log::{LOG_FILE, LargeValues, MANIFEST_FILE};
use crate::stats::Counters;
use crate::storage::{Access, Storage};
use damage::{Faults, Findings};
use pages::{Loss, Pages, Witness, Witnessed};
use scan::{Scan, Scanned};

pub use damage::{Condition, Damage, DamagedSegment, Doubtful};

/// A record whose value is in a file of its own.
struct LargeRecord {
    page_id: PageId,
    version: Version,
    /// `None` if what it carries is none.
    pointer: Option<LargePointer>,
    compressed: bool,
}

/// Opens what can be read of a store. The configuration is read-only.
pub(crate) fn rescue(config: &Config, doubtful: Doubtful) -> Result<(Recovered, Damage)> {
    config.validate()?;
    let storage = config.storage.as_ref();
    let mut findings = Findings::default();
    let lock = lock(config)?;
    let state = ground(config, &mut findings)?;
    let scene = open_scene(config, &state)?;
    let (witness, ends) = find_witness(storage, state.store_id, &mut findings.faults)?;
    let mut proven = state.stable;
    raise(&mut proven, &ends);
    let pages = Pages::new(state.voided(), Replay::limit(scene.file_length));
    let scanned = Scan::new(&scene, &state, proven, pages, &mut findings).run();
    let Scanned { tips, mut pages, large, threshold } = scanned;
    check_large_values(config, state.store_id, large, &mut pages, &mut findings.faults);
    match check_dictionaries(storage, state.store_id) {
        Ok((_, faults)) => faults.into_iter().for_each(|fault| findings.faults.push(fault)),
        Err(error) => findings.faults.push_error(error, &storage.describe("")),
    }
    let highest = pages.highest_version();
    let ranges = pages.settle(&witness, threshold, doubtful == Doubtful::Serve, &mut findings);
    let mut replay = Replay::new(scene.log_path.clone(), scene.file_length, &state);
    for (range, pages) in &ranges {
        if !replay.take_range(*range, pages) {
            return Err(
                Corruption::new(&scene.log_path, "a page id is higher than the log has room for").into()
            );
        }
    }
    let census = census::count(&scene, &state, &tips, &replay).map_err(|obstacle| match obstacle {
        Obstacle::Error(error) => error,
        Obstacle::Snapshot(reason) => Corruption::new(&scene.log_path, reason).into(),
    })?;
    let ranges = replay.into_ranges().collect();
    let survey = Survey { snapshot: Loaded::default(), found: tips, census, ranges };
    let damage = Damage::new(findings, doubtful, &scene.log_path);
    let mut parts = resume(config, state, scene, 0, survey)?;
    if !damage.is_none() {
        // An export says from which version on new pages begin. Of a page that is lost it should be a version
        // that it never had.
        parts.version_floor = parts.version_floor.max(highest);
    }
    Ok((parts.into_recovered(config, lock), damage))
}

/// What the store is: its manifest, or what the headers of its segments say in its place.
fn ground(config: &Config, findings: &mut Findings) -> Result<ManifestState> {
    let storage = config.storage.as_ref();
    let names = storage.list().map_err(|error| Error::io("list", storage.describe(""), error))?;
    let has = |wanted: &str| names.iter().any(|name| name == wanted);
    if !has(MANIFEST_FILE) && has(UNFINISHED_FILE) {
        return Err(unfinished(storage));
    }
    let path = storage.describe(LOG_FILE);
    let opened = if has(LOG_FILE) { Some(storage.open(LOG_FILE, Access::Read)) } else { None };
    let file = opened.transpose().map_err(|error| Error::io("open", &path, error))?;
    let length = file.as_ref().map_or(Ok(0), |file| file.len());
    let length = length.map_err(|error| Error::io("read", &path, error))?;
    let log = file.as_deref().map(|file| LogBytes { file, length, path: &path });
    let found = match facts(storage, has(MANIFEST_FILE), log.as_ref()) {
        // The disk does not hand it out. It is as good as gone.
        Err(error @ Error::Io { .. }) => {
            facts(storage, false, log.as_ref()).map(|found| Facts { fault: Some(error), ..found })?
        }
        other => other?,
    };
    if let Some(kind) = found.kind {
        check_kind(storage, kind, StoreKind::PageCache)?;
    }
    if let Some(state) = found.manifest {
        check_options(config, &state)?;
        check_copies(storage, state.store_id, &mut findings.faults);
        return Ok(state);
    }
    findings.manifest_is_lost = true;
    if let Some(error) = found.fault {
        findings.faults.push_error(error, &storage.describe(MANIFEST_FILE));
    }
    let size = found.segment_size.or(config.segment_size).unwrap_or(DEFAULT_SEGMENT_SIZE);
    let store_id = found.store_id.unwrap_or(StoreId([0; StoreId::LENGTH]));
    let mut state = ManifestState::new(store_id, StoreKind::PageCache, size);
    state.claims = log.map(|log| credible(&log.claims(store_id, size))).unwrap_or_default();
    let newest = state.claims.values().map(|claim| claim.segment.0).max().unwrap_or(0);
    state.next_segment = SegmentId(newest + 1);
    Ok(state)
}

/// Those segments that the chain of predecessors leads to from the newest of each head. Where it is broken,
/// because a segment was used again, it goes on with the newest one that is older than what is missing.
fn credible(claims: &BTreeMap<SlotId, Claim>) -> BTreeMap<SlotId, Claim> {
    let mut kept = BTreeMap::new();
    for head in HeadId::all() {
        let of_head = claims.iter().filter(|(_, claim)| claim.head == head);
        let mut chain: Vec<(SlotId, Claim)> = of_head.map(|(slot, claim)| (*slot, *claim)).collect();
        chain.sort_unstable_by_key(|(_, claim)| claim.segment);
        let mut bound = SegmentId(u64::MAX);
        for (slot, claim) in chain.into_iter().rev() {
            if claim.segment <= bound {
                bound = claim.predecessor.unwrap_or(SegmentId(0));
                kept.insert(slot, claim);
            }
        }
    }
    kept
}

/// Each entry of the manifest is there twice. What was torn by a crash is no damage: nobody was told of it.
fn check_copies(storage: &dyn Storage, store_id: StoreId, faults: &mut Faults) {
    let Ok(bytes) = read_file(storage, MANIFEST_FILE) else { return };
    let Ok(read) = read_manifest(&bytes) else { return };
    for offset in damaged_copies(&bytes, store_id, read.entries.saturating_sub(1).max(1)) {
        let reason = "one of two copies of an entry does not match its checksum";
        faults.push(Corruption::new(storage.describe(MANIFEST_FILE), reason).at_offset(offset));
    }
}

/// The newest snapshot that is sound, and up to where the log was stable by then.
fn find_witness(
    storage: &dyn Storage,
    store_id: StoreId,
    faults: &mut Faults,
) -> Result<(Witness, HeadLsns)> {
    for serial in snapshot_file::snapshot_serials(storage)? {
        match read_witness(storage, store_id, serial) {
            Ok(found) => return Ok(found),
            Err(error) => faults.push_error(error, &storage.describe(&snapshot_name(serial))),
        }
    }
    Ok(Default::default())
}

fn read_witness(storage: &dyn Storage, store_id: StoreId, serial: u64) -> Result<(Witness, HeadLsns)> {
    let index = read_index(storage, store_id, serial)?;
    let mut pages = Vec::new();
    read_blocks(storage, store_id, &index.files.directory, |place, bytes| {
        for page in RangePages::new(place.range, bytes?) {
            let path = || storage.describe(&snapshot_name(place.serial));
            let page = page.map_err(|reason| Corruption::new(path(), reason).at_offset(place.offset))?;
            let newest = Version(page.base.version.0.saturating_add(page.links.count() as u64));
            pages.push(Witnessed { page_id: page.base.page_id, newest, freed: page.base.free });
        }
        Ok(())
    })?;
    let begin = index.header.begin.get(HeadId::FRESH.index()).copied().unwrap_or_default();
    Ok((Witness { begin, pages }, index.footer.end))
}

/// Looks whether the large values are there that pages need.
fn check_large_values(
    config: &Config,
    store_id: StoreId,
    records: Vec<LargeRecord>,
    pages: &mut Pages,
    faults: &mut Faults,
) {
    let counters = Arc::new(Counters::new());
    let values = LargeValues::new(Arc::clone(&config.storage), store_id, Vec::new(), counters);
    let mut checked = std::collections::BTreeSet::new();
    for LargeRecord { page_id, version, pointer, compressed } in records {
        // A record that was moved may be there twice.
        if !pages.needs(page_id, version) || !checked.insert((page_id, version)) {
            continue;
        }
        let Some(pointer) = pointer else {
            pages.lose(page_id, Loss::Impossible);
            continue;
        };
        let name = LargeName { number: pointer.number, page_id, version };
        if let Err(error) = values.scan(name, &pointer, compressed, |_| Ok(())) {
            faults.push_error(error, &config.storage.describe(&name.file()));
            pages.lose(page_id, Loss::LargeValue);
        }
    }
}
