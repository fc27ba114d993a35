//! Opening: from whatever a directory holds to a log that can be written, and the pages that it holds.
//!
//! ```text
//!  identify ─► lock ─► manifest ─► newest snapshot ─► heads: scan, prove, find the tips ─► pages
//!                                                                                        │
//!  serve ◄─ sweep ◄─ new manifest with the cut (temp, sync, rename, sync) ◄─ tail again, sync
//! ```
//!
//! # Why it can be killed at any point, any number of times
//!
//! * Up to *tail again* nothing is written at all; a read-only opening stops there.
//! * *Tail again* writes, above the proven point, the bytes that are there. After a failed sync the kernel
//!   may hold pages as clean that the disk never got; what is built upon must be on disk. If the disk may
//!   damage what lies beside, they are saved elsewhere first (`saved_tail`).
//! * The new manifest takes effect with one rename. Before, the next opening finds what this one found.
//!   After, it finds the cut, and what lies between the tips and the next segment is void for ever.
//! * Only then is anything removed or reused. A snapshot that was not used is removed before a segment is
//!   reused: of two equal copies of a record the scan may keep the one that the snapshot does not know.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::census::{self, Census};
use super::heads::{Claimed, HeadScan, Scene, Tips};
use super::identify::{Found, LOCK_FILE, Leftovers, check_kind, identify, is_store};
use super::large;
use super::replay::{Obstacle, Replay, ReplayedRange, Spot};
use super::saved_tail::{self, Overlaid, Stretch};
use super::snapshot_file::{self, Loaded, SnapshotFiles};
use crate::config::{Config, DEFAULT_SEGMENT_SIZE};
use crate::error::{Corruption, Error, Result};
use crate::failpoints::failpoint;
use crate::format::{ManifestState, RecordSeed, SegmentHeader, StoreId, StoreKind, decode_roots, record};
use crate::geometry::Geometry;
use crate::ids::{HeadId, HeadLsns, Lsn, PageId, SegmentId, SlotId, Version, raise};
use crate::location::Place;
use crate::log::{Adding, LOG_FILE, LogCore, LogStart, ManifestFile, SupplyStart};
use crate::pages::free_list::FreeList;
use crate::pages::packed::Homes;
use crate::pages::segment_map::SegmentMap;
use crate::progress::{Reporter, Tell};
use crate::segments::{RestoredSegment, SegmentAccountant};
use crate::stats::Counters;
use crate::storage::{Access, Storage, StorageFile, StorageLock};

/// What an opened store starts with.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) core: Arc<LogCore>,
    pub(crate) lock: Option<Box<dyn StorageLock>>,
    pub(crate) pages: RecoveredPages,
    pub(crate) was_recovered: bool,
    /// Where the kept part of a bare log begins.
    pub(crate) first_lsn: Lsn,
    /// Generated ids start here.
    pub(crate) id_bound: u64,
    /// Pages that were never allocated start above this version.
    pub(crate) version_floor: Version,
    pub(crate) snapshot: RecoveredSnapshot,
}

/// The pages that were found.
#[derive(Debug)]
pub(crate) struct RecoveredPages {
    pub(crate) ranges: Vec<ReplayedRange>,
    /// Where their records lie.
    pub(crate) homes: Homes,
    /// Ids that hold no page.
    pub(crate) free: FreeList,
    /// Above all ids.
    pub(crate) next_page_id: u64,
}

/// What the next snapshot builds upon.
#[derive(Debug, Default)]
pub(crate) struct RecoveredSnapshot {
    /// The newest snapshot's number, whether it was used or not.
    pub(crate) serial: u64,
    /// The files of the snapshot that was used, if one was.
    pub(crate) files: Option<SnapshotFiles>,
    /// That snapshot says all there is to say.
    pub(crate) is_current: bool,
}

/// Opens or creates a store.
pub(crate) fn recover(config: &Config, kind: StoreKind, tell: Tell<'_>) -> Result<Recovered> {
    config.validate()?;
    let storage = config.storage.as_ref();
    let leftovers = match config.torn_block_size {
        0 => Leftovers::Sectors,
        _ => Leftovers::Anything,
    };
    if !is_store(storage, leftovers)? && config.read_only {
        let reason = "there is nothing to read".into();
        return Err(Error::NotAStore { path: storage.describe(""), reason });
    }
    let lock = lock(config)?;
    // Looked at again: until the lock was taken somebody else may have written.
    let found = identify(storage, leftovers)?;
    failpoint!("recovery::identified");
    let parts = match found {
        Found::Nothing => create(config, kind)?,
        Found::Store(manifest) => {
            check_kind(storage, manifest.state.kind, kind)?;
            check_options(config, &manifest.state)?;
            reopen(config, manifest.state, &mut Reporter::new(tell))?
        }
    };
    Ok(parts.into_recovered(config, lock))
}

/// What an opened store consists of.
pub(super) struct Parts {
    start: LogStart,
    pub(super) pages: RecoveredPages,
    was_recovered: bool,
    first_lsn: Lsn,
    pub(super) id_bound: u64,
    pub(super) version_floor: Version,
    snapshot: RecoveredSnapshot,
}

impl Parts {
    pub(super) fn into_recovered(self, config: &Config, lock: Option<Box<dyn StorageLock>>) -> Recovered {
        let counters = Arc::new(Counters::new());
        Recovered {
            core: Arc::new(LogCore::new(config, self.start, counters)),
            lock,
            pages: self.pages,
            was_recovered: self.was_recovered,
            first_lsn: self.first_lsn,
            id_bound: self.id_bound,
            version_floor: self.version_floor,
            snapshot: self.snapshot,
        }
    }
}

pub(super) fn lock(config: &Config) -> Result<Option<Box<dyn StorageLock>>> {
    let storage = config.storage.as_ref();
    let access = if config.read_only { Access::Read } else { Access::Write };
    if !config.read_only {
        storage.create_directory().map_err(|error| Error::io("create", storage.describe(""), error))?;
    }
    let lock = storage.lock(LOCK_FILE, access);
    match lock.map_err(|error| Error::io("lock", storage.describe(LOCK_FILE), error))? {
        Some(lock) => Ok(Some(lock)),
        None => Err(Error::Locked { path: storage.describe("") }),
    }
}

pub(super) fn check_options(config: &Config, state: &ManifestState) -> Result<()> {
    if let Some(wanted) = config.segment_size.filter(|size| *size != state.segment_size) {
        let reason = format!("is {wanted}, but the store was created with {}", state.segment_size);
        return Err(Error::InvalidConfig { option: "segment_size", reason });
    }
    let blocks = config.torn_block_size;
    if blocks > 0 && !state.segment_size.is_multiple_of(blocks) {
        let reason = format!("must divide the store's segment size, {}", state.segment_size);
        return Err(Error::InvalidConfig { option: "torn_block_size", reason });
    }
    Ok(())
}

/// A random name for a new store, from the randomness that std seeds its hash maps with, and the time.
fn new_store_id() -> StoreId {
    let mut id = [0; StoreId::LENGTH];
    for half in id.chunks_mut(8) {
        let mut hasher = RandomState::new().build_hasher();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        hasher.write_u128(now);
        hasher.write_u32(std::process::id());
        half.copy_from_slice(&hasher.finish().to_le_bytes());
    }
    StoreId(id)
}

fn adding(config: &Config) -> Adding {
    if config.torn_block_size > 0 { Adding::Anew } else { Adding::InPlace }
}

fn create(config: &Config, kind: StoreKind) -> Result<Parts> {
    let storage = config.storage.as_ref();
    let segment_size = config.segment_size.unwrap_or(DEFAULT_SEGMENT_SIZE);
    let file = storage.create(LOG_FILE);
    let file = file.map_err(|error| Error::io("create", storage.describe(LOG_FILE), error))?;
    // Before the manifest's rename: a power cut may keep that and lose this, and a store with a manifest must
    // have a log.
    storage
        .sync_directory()
        .map_err(|error| Error::io("sync the directory of", storage.describe(""), error))?;
    let state = ManifestState::new(new_store_id(), kind, segment_size);
    let supply = SupplyStart { next_segment: state.next_segment.0, ..SupplyStart::default() };
    let (store_id, geometry) = (state.store_id, state.geometry());
    let manifest = ManifestFile::write(Arc::clone(&config.storage), state, adding(config))?;
    let (tips, accountant) = (HeadLsns::default(), SegmentAccountant::new());
    let (restored, large) = (BTreeMap::new(), Vec::new());
    let start = LogStart { store_id, geometry, tips, supply, accountant, manifest, file, restored, large };
    let homes = Homes::new(geometry, SegmentMap::new([]));
    let pages =
        RecoveredPages { ranges: Vec::new(), homes, free: FreeList::new(), next_page_id: PageId::FIRST.0 };
    Ok(Parts {
        start,
        pages,
        was_recovered: false,
        first_lsn: Lsn(0),
        id_bound: 0,
        version_floor: Version(0),
        snapshot: RecoveredSnapshot::default(),
    })
}

/// What was found in the files, before anything is changed.
pub(super) struct Survey {
    pub(super) snapshot: Loaded,
    pub(super) found: Tips,
    pub(super) census: Census,
    pub(super) ranges: Vec<ReplayedRange>,
}

/// So many snapshots are tried, from the newest on. That an older one can be used when a newer one can't is
/// not worth more.
const SNAPSHOTS_TRIED: usize = 3;

/// Reads snapshot and log. Snapshots that can't be used are left aside.
fn survey(
    storage: &dyn Storage,
    scene: &Scene,
    state: &ManifestState,
    serials: &[u64],
    reporter: &mut Reporter<'_>,
) -> Result<Survey> {
    for serial in serials.iter().take(SNAPSHOTS_TRIED).copied() {
        let mut replay = new_replay(scene, state);
        let take = |range, pages: &[u8]| replay.take_range(range, pages);
        let loaded = snapshot_file::load(storage, state.store_id, serial, take);
        let reason = match loaded.map(|loaded| read_log(scene, state, loaded, replay, reporter)) {
            Ok(Ok(survey)) => return Ok(survey),
            Ok(Err(Obstacle::Error(error))) => return Err(error),
            Ok(Err(Obstacle::Snapshot(reason))) => reason.to_owned(),
            Err(error) => error.to_string(),
        };
        ::log::warn!("snapshot {serial:016x} can't be used: {reason}");
    }
    match read_log(scene, state, Loaded::default(), new_replay(scene, state), reporter) {
        Ok(survey) => Ok(survey),
        Err(Obstacle::Error(error)) => Err(error),
        // There is none here.
        Err(Obstacle::Snapshot(reason)) => Err(Corruption::new(&scene.log_path, reason).into()),
    }
}

fn new_replay(scene: &Scene, state: &ManifestState) -> Replay {
    Replay::new(scene.log_path.clone(), scene.file_length, state)
}

/// Reads the log, from where the snapshot begins, on top of what the snapshot has told.
fn read_log(
    scene: &Scene,
    state: &ManifestState,
    snapshot: Loaded,
    mut replay: Replay,
    reporter: &mut Reporter<'_>,
) -> Result<Survey, Obstacle> {
    let mut proven = state.stable;
    raise(&mut proven, &snapshot.ends);
    let scan = HeadScan::new(scene, proven, snapshot.starts, &mut replay, reporter);
    let found = scan.run(|head| state.chain(head))?;
    replay.settle()?;
    let census = census::count(scene, state, &found, &replay)?;
    check_roots(scene, state, census.roots)?;
    Ok(Survey { snapshot, found, census, ranges: replay.into_ranges().collect() })
}

fn reopen(config: &Config, state: ManifestState, reporter: &mut Reporter<'_>) -> Result<Parts> {
    let storage = config.storage.as_ref();
    let scene = open_scene(config, &state)?;
    let serials = snapshot_file::snapshot_serials(storage)?;
    let survey = survey(storage, &scene, &state, &serials, reporter)?;
    resume(config, state, scene, serials.first().copied().unwrap_or(0), survey)
}

/// Goes on from what was found; `serial` is the newest snapshot's.
pub(super) fn resume(
    config: &Config,
    mut state: ManifestState,
    scene: Scene,
    serial: u64,
    survey: Survey,
) -> Result<Parts> {
    let storage = config.storage.as_ref();
    let Survey { snapshot, found, census, ranges } = survey;
    let live = census.live;
    let large = large::survey(storage, &scene, &state, &ranges)?;
    failpoint!("recovery::surveyed");
    let chains: Vec<Vec<Claimed>> = HeadId::all().map(|head| state.chain(head)).collect();
    let supply_newest = newest(&chains, &found, scene.geometry);
    cut(&mut state, &found, &live);
    let FileShape { slots, short, beyond } = file_shape(&scene, &state);
    let free = (0..slots).map(SlotId).filter(|slot| !state.claims.contains_key(slot)).collect();
    let (next_segment, newest) = (state.next_segment.0, supply_newest);
    let supply = SupplyStart { free, slots, short, beyond, next_segment, newest };
    let accountant = restore_accountant(&state, &live);
    let restored: BTreeMap<SegmentId, SlotId> =
        state.claims.iter().map(|(slot, claim)| (claim.segment, *slot)).collect();
    let homes = SegmentMap::new(restored.iter().map(|(segment, slot)| (*segment, *slot)));
    let (first_lsn, id_bound, version_floor) = (state.first_lsn, state.id_bound, state.version_floor);
    let (store_id, geometry) = (state.store_id, scene.geometry);
    let manifest = if config.read_only {
        ManifestFile::read_only(Arc::clone(&config.storage), state)
    } else {
        let tail = unproven(&scene, &chains, &found, config.torn_block_size);
        if config.torn_block_size > 0 && !tail.is_empty() {
            saved_tail::save(storage, store_id, scene.file.as_ref(), &tail)?;
            failpoint!("recovery::tail_saved");
        }
        rewrite(&scene, &tail)?;
        failpoint!("recovery::tail_written");
        let manifest = ManifestFile::write(Arc::clone(&config.storage), state, adding(config))?;
        failpoint!("recovery::cut");
        saved_tail::remove(storage)?;
        snapshot_file::sweep(storage, &snapshot.files)?;
        large::sweep(storage, &large.orphans);
        failpoint!("recovery::swept");
        manifest
    };
    let file = scene.file;
    let (tips, bulks, large) = (found.tips, large.bulks(), large.owned);
    let start = LogStart { store_id, geometry, tips, supply, accountant, manifest, file, restored, large };
    Ok(Parts {
        start,
        pages: RecoveredPages {
            ranges,
            homes: Homes::new(geometry, homes).with_bulks(bulks),
            free: census.free,
            next_page_id: census.next_page_id,
        },
        was_recovered: true,
        first_lsn,
        id_bound,
        version_floor,
        snapshot: RecoveredSnapshot {
            serial,
            is_current: snapshot.serial.is_some() && snapshot.ends == tips,
            files: snapshot.serial.map(|_| snapshot.files),
        },
    })
}

pub(super) fn open_scene(config: &Config, state: &ManifestState) -> Result<Scene> {
    let storage = config.storage.as_ref();
    let log_path = storage.describe(LOG_FILE);
    let access = if config.read_only { Access::Read } else { Access::Write };
    let file: Arc<dyn StorageFile> = match storage.open(LOG_FILE, access) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Corruption::new(log_path, "the file is missing").into());
        }
        Err(error) => return Err(Error::io("open", log_path, error)),
    };
    let saved = saved_tail::load(storage, state.store_id)?;
    let file = if saved.is_empty() {
        file
    } else if config.read_only {
        Arc::new(Overlaid { log: file, pieces: saved })
    } else {
        saved_tail::put_back(file.as_ref(), &log_path, &saved)?;
        file
    };
    let file_length = file.len().map_err(|error| Error::io("read", &log_path, error))?;
    Ok(Scene { file, file_length, geometry: state.geometry(), store_id: state.store_id, log_path })
}

/// Reads the one record that an opening can't do without, the named roots, as long as nothing has been
/// changed.
fn check_roots(scene: &Scene, state: &ManifestState, roots: Option<Spot>) -> Result<()> {
    let (geometry, Some(spot)) = (scene.geometry, roots) else { return Ok(()) };
    let (segment, offset) = (geometry.segment(spot.lsn), geometry.offset(spot.lsn));
    let slot = state.claims.iter().find(|(_, claim)| claim.segment == segment).map(|(slot, _)| *slot);
    // Its segment has been checked with those of all live records.
    let Some(slot) = slot else { return Ok(()) };
    let file_offset = geometry.file_offset(slot, offset);
    // A record is shorter than a segment.
    let mut bytes = vec![0; spot.length as usize];
    let read = scene.file.read_at(&mut bytes, file_offset);
    read.map_err(|error| Error::io("read", &scene.log_path, error))?;
    let reason = match record::decode(&bytes, RecordSeed::new(state.store_id).at(segment, offset)) {
        Ok(record) if decode_roots(record.payload.bytes).is_some() => return Ok(()),
        Ok(_) => "the named roots can't be decoded".to_owned(),
        Err(fault) => format!("the record of the named roots {}", fault.reason()),
    };
    let corruption = Corruption::new(&scene.log_path, reason).at_lsn(spot.lsn).at_offset(file_offset);
    Err(corruption.of_page(PageId::META).into())
}

/// The newest segment of each head that holds anything valid.
fn newest(chains: &[Vec<Claimed>], found: &Tips, geometry: Geometry) -> [SegmentId; HeadId::COUNT] {
    let mut newest = [SegmentId(0); HeadId::COUNT];
    for ((newest, chain), tip) in newest.iter_mut().zip(chains).zip(&found.tips) {
        let below = chain.iter().rev().find(|(_, claim)| geometry.base(claim.segment) < *tip);
        *newest = below.map_or(SegmentId(0), |(_, claim)| claim.segment);
    }
    newest
}

/// Makes the state say where each head ends. Segments without live bytes, and those behind the tips, are
/// claimed no more.
fn cut(state: &mut ManifestState, found: &Tips, live: &BTreeMap<SegmentId, u64>) {
    let geometry = state.geometry();
    state.claims.retain(|_, claim| live.contains_key(&claim.segment));
    for claim in state.claims.values_mut() {
        let tip = found.tips.get(claim.head.index()).copied().unwrap_or_default();
        if geometry.segment(tip) == claim.segment {
            claim.end = claim.end.min(geometry.offset(tip));
        }
    }
    state.stable = found.tips;
}

/// The file's length in slots.
struct FileShape {
    slots: u32,
    /// By how many bytes the last one is longer than the file,
    short: u32,
    /// or by how many bytes the file is longer.
    beyond: u32,
}

/// A slot that holds something is never left out, however long the file is: else it would be taken for new. A
/// piece of a slot counts for a slot only if something is in it, or if it is the first, which grows with what
/// is in it.
fn file_shape(scene: &Scene, state: &ManifestState) -> FileShape {
    let segment = u64::from(state.segment_size);
    let claimed = state.claims.last_key_value().map_or(0, |(slot, _)| u64::from(slot.0) + 1);
    let slots = (scene.file_length / segment).max(claimed).max(1).min(u64::from(Place::SLOT_LIMIT));
    let there = if scene.file_length == 0 && claimed == 0 { 0 } else { slots };
    let short = (there * segment).saturating_sub(scene.file_length).min(segment);
    let beyond = scene.file_length.saturating_sub(there * segment).min(segment - 1);
    // All are below their limits.
    FileShape { slots: there as u32, short: short as u32, beyond: beyond as u32 }
}

fn restore_accountant(state: &ManifestState, live: &BTreeMap<SegmentId, u64>) -> SegmentAccountant {
    let (accountant, geometry) = (SegmentAccountant::new(), state.geometry());
    for (slot, claim) in &state.claims {
        let bytes = live.get(&claim.segment).copied().unwrap_or(0);
        accountant.restore(&RestoredSegment {
            slot: *slot,
            segment: claim.segment,
            head: claim.head,
            live: bytes,
            end: geometry.lsn(claim.segment, claim.end),
            // Marks are counted as if they were dead records.
            filled: u64::from(claim.end).saturating_sub(SegmentHeader::LENGTH as u64),
            sealed: true,
        });
    }
    accountant
}

/// Where the log is not proven to be on disk, in whole blocks of that size if it is not 0.
fn unproven(scene: &Scene, chains: &[Vec<Claimed>], found: &Tips, block: u32) -> Vec<Stretch> {
    let (geometry, block) = (scene.geometry, u64::from(block.max(1)));
    let mut stretches = Vec::new();
    for ((chain, proven), tip) in chains.iter().zip(&found.proven).zip(&found.tips) {
        for (slot, claim) in chain {
            let (base, there) = (geometry.base(claim.segment).0, scene.bytes_in(*slot));
            let from = proven.0.saturating_sub(base);
            let to = tip.0.saturating_sub(base).min(u64::from(claim.end)).min(there);
            if from < to {
                let (from, to) = (from - from % block, to.next_multiple_of(block).min(there));
                let offset = geometry.file_offset(*slot, 0) + from;
                // At most a segment.
                stretches.push(Stretch { offset, length: (to - from) as u32 });
            }
        }
    }
    stretches
}

/// Writes what is there once more, and syncs it.
fn rewrite(scene: &Scene, stretches: &[Stretch]) -> Result<()> {
    let failed = |operation, error| Error::io(operation, &scene.log_path, error);
    for stretch in stretches {
        let bytes = stretch.read(scene.file.as_ref(), &scene.log_path)?;
        scene.file.write_at(&bytes, stretch.offset).map_err(|error| failed("write", error))?;
    }
    if stretches.is_empty() { Ok(()) } else { scene.file.sync().map_err(|error| failed("sync", error)) }
}
