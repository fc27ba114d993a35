//! Which files of large values are needed, and the end of the others.
//!
//! A file's name says which record it belongs to. If that record is live, and points to this very number, the
//! file is needed; in all other cases it is an orphan: its record was lost with the end of the log, or was
//! cut, or superseded, or never written. So this takes a listing, and one read of the log for each file; no
//! file is opened.
//!
//! A record that points to a file which is not there is found by whoever reads the page: opening does not
//! fail for it, since all other pages can be read, and finding it here would mean to read every record of the
//! log.
//!
//! Orphans are removed when the new manifest is in force: before, a crash could bring back a longer log. A
//! record that can't be read keeps its file: whoever wants to save what can be saved needs it.

use std::collections::BTreeMap;

use super::heads::Scene;
use super::replay::{ReplayedRange, Spot, spot_of};
use crate::error::{Error, Result};
use crate::format::{LargeName, LargePointer, ManifestState, RecordKind, RecordSeed, record};
use crate::ids::{SegmentId, SlotId};
use crate::log::OwnedFile;
use crate::pages::bulk::{Bulk, Bulks};
use crate::storage::Storage;

/// What there is of files.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) owned: Vec<OwnedFile>,
    pub(super) orphans: Vec<LargeName>,
}

impl Survey {
    /// Which records are in files of their own, by page.
    pub(super) fn bulks(&self) -> Bulks {
        let mut bulks = Bulks::new();
        for OwnedFile { name, bytes } in &self.owned {
            bulks.entry(name.page_id).or_default().push((name.version, Bulk::of(*bytes)));
        }
        bulks
    }
}

/// What a record says of a file that is named after it.
enum Verdict {
    Needs(u64),
    DoesNot,
    /// It is damaged.
    Unknown,
}

pub(super) fn survey(
    storage: &dyn Storage,
    scene: &Scene,
    state: &ManifestState,
    ranges: &[ReplayedRange],
) -> Result<Survey> {
    let mut survey = Survey::default();
    let slots = state.claims.iter().map(|(slot, claim)| (claim.segment, *slot)).collect();
    let files = storage.list().map_err(|error| Error::io("list", storage.describe(""), error))?;
    for name in files.iter().filter_map(|file| LargeName::parse(file)) {
        let verdict = match spot_of(ranges, name.page_id, name.version) {
            Some(spot) => ask(scene, RecordSeed::new(state.store_id), &slots, &name, spot)?,
            None => Verdict::DoesNot,
        };
        match verdict {
            Verdict::Needs(bytes) => survey.owned.push(OwnedFile { name, bytes }),
            Verdict::DoesNot => survey.orphans.push(name),
            Verdict::Unknown => {}
        }
    }
    Ok(survey)
}

fn ask(
    scene: &Scene,
    seed: RecordSeed,
    slots: &BTreeMap<SegmentId, SlotId>,
    name: &LargeName,
    spot: Spot,
) -> Result<Verdict> {
    let (geometry, log_path) = (scene.geometry, &scene.log_path);
    let (segment, offset) = (geometry.segment(spot.lsn), geometry.offset(spot.lsn));
    // Its segment has been checked with those of all live records.
    let Some(slot) = slots.get(&segment).copied() else { return Ok(Verdict::Unknown) };
    // A record is shorter than a segment.
    let mut bytes = vec![0; spot.length as usize];
    let read = scene.file.read_at(&mut bytes, geometry.file_offset(slot, offset));
    read.map_err(|error| Error::io("read", log_path, error))?;
    let Ok(record) = record::decode(&bytes, seed.at(segment, offset)) else { return Ok(Verdict::Unknown) };
    let is_named = matches!(
        record.kind,
        RecordKind::Replace { page_id, version, .. } | RecordKind::Link { page_id, version }
            if (page_id, version) == (name.page_id, name.version)
    );
    let pointer = LargePointer::decode(record.payload.bytes).filter(|_| record.payload.outside);
    Ok(match pointer.filter(|pointer| is_named && pointer.number == name.number) {
        Some(pointer) => Verdict::Needs(pointer.file_length()),
        None => Verdict::DoesNot,
    })
}

/// Removes orphans. One that can't be removed does no harm, and is tried again by the next opening.
pub(super) fn sweep(storage: &dyn Storage, orphans: &[LargeName]) {
    for name in orphans {
        if let Err(error) = storage.remove(&name.file()) {
            ::log::warn!("{} stays for now: {error}", storage.describe(&name.file()));
        }
    }
}
