//! Reading the manifest: which entries there are, which one was torn, and what is damage.
//!
//! The letters are those of the [manifest](crate::format::manifest)'s essay. An entry is there if one of its
//! copies verifies. If neither does, the place decides:
//!
//! | place                                       | verdict                                                       |
//! |---------------------------------------------|---------------------------------------------------------------|
//! | entry 0, no copy begins like a manifest     | not a store                                                   |
//! | entry 0, or the table that belongs to it    | corruption: the picture was synced before it got its name     |
//! | a step with an entry's bytes behind it      | corruption: it had been synced before those were written (A)  |
//! | a step that is the last, whole or cut short | a torn append: nobody was told of it (B), so it is left out   |
//! | nothing but zeros from there on             | the end: room for steps to come, made when the file was       |
//!
//! What rots in both copies of the very last step can't be told from a torn append. That is the reason for
//! two copies in two sectors: a disk loses a sector, a power cut loses what was being written.

use crate::error::{Corruption, Error};
use crate::format::manifest::ManifestState;
use crate::format::manifest_entry::StoreKind;
use crate::format::manifest_entry::{
    ENTRY_LENGTH, Entry, FORMAT_VERSION, FRAME_LENGTH, Frame, MAGIC, ManifestHead,
};
use crate::format::store_id::StoreId;

/// A manifest that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReadManifest {
    pub(crate) state: ManifestState,
    /// How many entries verify; the next one would have this number.
    pub(crate) entries: u64,
    /// How many copies of these do not verify. Not zero means rot, or a last append that was torn.
    pub(crate) damaged_copies: u64,
    /// Whether a torn append was left out.
    pub(crate) torn: bool,
}

/// Why bytes are not a manifest that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ManifestFault {
    /// It does not begin like a manifest.
    NotAStore(&'static str),
    /// A newer version wrote it.
    Unsupported { found: u32 },
    /// It is a manifest, and not as it was written.
    Corruption { entry: u64, reason: &'static str },
}

impl ManifestFault {
    /// The error for a user; `path` names the manifest.
    pub(crate) fn into_error(self, path: &str) -> Error {
        match self {
            Self::NotAStore(reason) => Error::NotAStore { path: path.into(), reason: reason.into() },
            Self::Unsupported { found } => {
                Error::UnsupportedFormat { path: path.into(), found, supported: FORMAT_VERSION }
            }
            Self::Corruption { entry, reason } => Corruption::new(path, format!("entry {entry} {reason}"))
                .at_offset(entry.saturating_mul(ENTRY_LENGTH as u64))
                .into(),
        }
    }
}

/// What the first entry of a manifest says, for those who look at a manifest of which the rest may be
/// damaged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FirstEntry {
    pub(crate) format_version: u32,
    pub(crate) store_id: StoreId,
    pub(crate) kind: StoreKind,
    pub(crate) segment_size: u32,
}

/// Reads the first entry alone.
pub(crate) fn read_first_entry(bytes: &[u8]) -> Result<FirstEntry, ManifestFault> {
    let (store_id, head) = read_head(bytes, &mut 0)?;
    // The fields are checked as those of a whole manifest are.
    let at = |reason| ManifestFault::Corruption { entry: 0, reason };
    let ManifestState { kind, segment_size, .. } = ManifestState::from_head(store_id, &head).map_err(at)?;
    let copies = Copies::open(bytes.get(..ENTRY_LENGTH).unwrap_or(bytes), |_| true);
    let format_version = copies.intact.and_then(|frame| frame.format_version()).unwrap_or(FORMAT_VERSION);
    Ok(FirstEntry { format_version, store_id, kind, segment_size })
}

/// Whether these bytes can be what an interrupted writing of a manifest has left: frames, and sectors that
/// were not written.
pub(crate) fn may_be_manifest(bytes: &[u8]) -> bool {
    let is_frame = |frame: &[u8]| frame.get(4..8).is_none_or(|magic| magic == MAGIC);
    bytes.chunks(FRAME_LENGTH).all(|frame| is_frame(frame) || frame.iter().all(|byte| *byte == 0))
}

/// Reads a manifest: all bytes of the file.
pub(crate) fn read_manifest(bytes: &[u8]) -> Result<ReadManifest, ManifestFault> {
    let mut damaged_copies = 0;
    let (store_id, head) = read_head(bytes, &mut damaged_copies)?;
    let at = |entry: u64| move |reason| ManifestFault::Corruption { entry, reason };
    let mut state = ManifestState::from_head(store_id, &head).map_err(at(0))?;
    let picture = 1 + u64::from(head.table_entries);
    let (mut entries, mut torn) = (1, false);

    let mut rest = bytes.get(ENTRY_LENGTH..).unwrap_or_default();
    while !is_room(rest) {
        let (pair, behind) = rest.split_at_checked(ENTRY_LENGTH).unwrap_or((rest, &[]));
        let copies = Copies::open(pair, |frame| frame.number == entries && frame.store_id == store_id);
        let Some(frame) = copies.intact else {
            if !is_room(behind) {
                return Err(at(entries)("is damaged in both copies"));
            }
            torn = true;
            break;
        };
        let entry = frame.entry().ok_or("says what no entry can").map_err(at(entries))?;
        let applied = if entries < picture { state.apply_table(&entry) } else { state.apply(&entry) };
        applied.map_err(at(entries))?;
        damaged_copies += copies.damaged;
        entries += 1;
        rest = behind;
    }
    if entries < picture {
        return Err(at(entries)("belongs to the table, and is missing or damaged in both copies"));
    }
    state.check().map_err(at(entries - 1))?;
    Ok(ReadManifest { state, entries, damaged_copies, torn })
}

/// Where the copies begin that do not verify, among those of the first `entries` entries.
pub(crate) fn damaged_copies(bytes: &[u8], store_id: StoreId, entries: u64) -> Vec<u64> {
    let copies = (0..).zip(bytes.chunks(FRAME_LENGTH)).take_while(|(index, _)| index / 2 < entries);
    let is_intact = |index: u64, copy| {
        Frame::open(copy).is_some_and(|frame| frame.number == index / 2 && frame.store_id == store_id)
    };
    let damaged = copies.filter(|(index, copy)| !is_intact(*index, copy));
    damaged.map(|(index, _)| index * FRAME_LENGTH as u64).collect()
}

/// Whether nothing was ever appended here. There may be megabytes of it, so whole frames are looked at, which
/// compilers do many bytes at a time.
fn is_room(bytes: &[u8]) -> bool {
    bytes.chunks(FRAME_LENGTH).all(|frame| frame.iter().fold(0, |all, byte| all | byte) == 0)
}

fn read_head(bytes: &[u8], damaged_copies: &mut u64) -> Result<(StoreId, ManifestHead), ManifestFault> {
    let pair = bytes.get(..ENTRY_LENGTH).unwrap_or(bytes);
    if pair.len() < FRAME_LENGTH {
        return Err(ManifestFault::NotAStore("the manifest is too short"));
    }
    let copies = Copies::open(pair, |_| true);
    let Some(frame) = copies.intact else {
        let ours = pair.chunks(FRAME_LENGTH).any(|copy| copy.get(4..8) == Some(&MAGIC));
        return Err(if ours {
            ManifestFault::Corruption { entry: 0, reason: "is damaged in both copies" }
        } else {
            ManifestFault::NotAStore("the manifest does not begin like one")
        });
    };
    // Before anything that a newer version could have changed.
    if let Some(found) = frame.format_version().filter(|&found| found > FORMAT_VERSION) {
        return Err(ManifestFault::Unsupported { found });
    }
    *damaged_copies += copies.damaged;
    match frame.entry() {
        Some(Entry::Head(head)) if frame.number == 0 => Ok((frame.store_id, head)),
        _ => Err(ManifestFault::Corruption { entry: 0, reason: "is not a head" }),
    }
}

/// What the two copies of an entry come to.
struct Copies<'a> {
    intact: Option<Frame<'a>>,
    damaged: u64,
}

impl<'a> Copies<'a> {
    /// Takes the first copy that verifies and is the wanted one. Two intact copies can differ, if an append
    /// failed and the next one was torn; nobody was told of either (B), so either will do.
    fn open(pair: &'a [u8], wanted: impl Fn(&Frame<'a>) -> bool) -> Self {
        let (first, second) = pair.split_at_checked(FRAME_LENGTH).unwrap_or((pair, &[]));
        let copies = [first, second].map(|copy| Frame::open(copy).filter(&wanted));
        let damaged = copies.iter().filter(|copy| copy.is_none()).count() as u64;
        let [first, second] = copies;
        Self { intact: first.or(second), damaged }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::{ManifestFault, ReadManifest, read_manifest};
    use crate::error::Error;
    use crate::format::checksum::checksum;
    use crate::format::manifest::ManifestState;
    use crate::format::manifest_entry::{
        Claim, ENTRY_LENGTH, Entry, FRAME_LENGTH, MAX_CLAIMS, StoreKind, encode_entry,
    };
    use crate::format::store_id::StoreId;
    use crate::ids::{HeadId, HeadLsns, Lsn, PageId, SegmentId, SlotId, Version};

    const STORE: StoreId = StoreId(*b"0123456789abcdef");
    /// A head and two tables, then three steps.
    const PICTURE: usize = 3;
    const STEPS: usize = 3;

    fn claims(segment: u64, slot: u32) -> Entry {
        let claim = Claim { segment: SegmentId(segment), head: HeadId::FRESH, predecessor: None, end: 512 };
        let stable = [Lsn(segment), Lsn(0), Lsn(0), Lsn(0)];
        Entry::Claims { stable, claims: vec![(SlotId(slot), claim)] }
    }

    fn steps() -> [Entry; STEPS] {
        let pair = Entry::VersionFloor { next_page_id: PageId(6), floor: Version(7) };
        [claims(100, 3), pair, Entry::IdBound(5)]
    }

    /// A picture with more claims than fit in one entry.
    fn picture() -> ManifestState {
        let mut state = ManifestState::new(STORE, StoreKind::PageCache, 512);
        for slot in 0..=MAX_CLAIMS as u32 {
            state.apply(&claims(u64::from(slot) + 1, slot)).unwrap();
        }
        state
    }

    fn file(steps: &[Entry]) -> Vec<u8> {
        let mut bytes = picture().to_bytes();
        assert_eq!(bytes.len(), PICTURE * ENTRY_LENGTH);
        for step in steps {
            let number = (bytes.len() / ENTRY_LENGTH) as u64;
            bytes.extend(encode_entry(number, STORE, step));
        }
        bytes
    }

    fn folded(steps: &[Entry]) -> ManifestState {
        let mut state = picture();
        for step in steps {
            state.apply(step).unwrap();
        }
        state
    }

    fn is_corruption<T: std::fmt::Debug>(result: &Result<T, ManifestFault>, entry: usize) -> bool {
        matches!(result, Err(ManifestFault::Corruption { entry: found, .. }) if *found == entry as u64)
    }

    #[test]
    fn a_manifest_reads_as_the_fold_of_its_entries() {
        for count in 0..=STEPS {
            let steps = &steps()[..count];
            let expected = ReadManifest {
                state: folded(steps),
                entries: (PICTURE + count) as u64,
                damaged_copies: 0,
                torn: false,
            };
            assert_eq!(read_manifest(&file(steps)), Ok(expected));
        }
    }

    #[test]
    fn any_single_flipped_bit_is_survived_and_counted() {
        let good = file(&steps());
        let expected = folded(&steps());
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let read = read_manifest(&bad).unwrap();
            assert_eq!((&read.state, read.damaged_copies, read.torn), (&expected, 1, false), "bit {bit}");
        }
    }

    #[test]
    fn an_entry_lost_in_both_copies_is_torn_only_at_the_end() {
        for entry in 0..PICTURE + STEPS {
            let mut bytes = file(&steps());
            bytes[entry * ENTRY_LENGTH + 100] ^= 4;
            bytes[entry * ENTRY_LENGTH + FRAME_LENGTH + 200] ^= 8;
            let read = read_manifest(&bytes);
            if entry < PICTURE + STEPS - 1 {
                assert!(is_corruption(&read, entry), "{entry}: {read:?}");
            } else {
                let read = read.unwrap();
                assert_eq!((read.state, read.torn), (folded(&steps()[..STEPS - 1]), true));
                assert_eq!(read.entries, entry as u64);
            }
        }
    }

    #[test]
    fn the_last_entry_of_the_picture_is_never_torn() {
        let mut bytes = file(&[]);
        bytes[2 * ENTRY_LENGTH] ^= 1;
        bytes[2 * ENTRY_LENGTH + FRAME_LENGTH] ^= 1;
        assert!(is_corruption(&read_manifest(&bytes), 2));
    }

    #[test]
    fn more_than_one_unreadable_entry_at_the_end_is_corruption() {
        let mut bytes = file(&steps());
        let length = bytes.len();
        bytes.resize(length + ENTRY_LENGTH, 1);
        assert!(read_manifest(&bytes).unwrap().torn);
        bytes.push(1);
        assert!(is_corruption(&read_manifest(&bytes), PICTURE + STEPS));
    }

    #[test]
    fn zeros_behind_the_last_entry_are_room_for_more() {
        let mut bytes = file(&steps());
        let length = bytes.len();
        bytes.resize(length + 3 * ENTRY_LENGTH, 0);
        let read = read_manifest(&bytes).unwrap();
        assert_eq!(
            (read.state, read.torn, read.entries),
            (folded(&steps()), false, (PICTURE + STEPS) as u64)
        );
        bytes[length + 5] = 1;
        assert!(read_manifest(&bytes).unwrap().torn);
        bytes[length - ENTRY_LENGTH] ^= 1;
        bytes[length - 1] ^= 1;
        assert!(is_corruption(&read_manifest(&bytes), PICTURE + STEPS - 1));
    }

    #[test]
    fn every_truncation_is_a_prefix_or_an_error() {
        let bytes = file(&steps());
        for length in 0..bytes.len() {
            let read = read_manifest(&bytes[..length]);
            // One copy is enough.
            let entries = (length + FRAME_LENGTH) / ENTRY_LENGTH;
            match entries {
                0 => assert!(matches!(read, Err(ManifestFault::NotAStore(_))), "{length}"),
                1..PICTURE => assert!(matches!(read, Err(ManifestFault::Corruption { .. })), "{length}"),
                _ => {
                    let read = read.unwrap();
                    assert_eq!(read.state, folded(&steps()[..entries - PICTURE]), "{length}");
                    assert_eq!(read.entries, entries as u64);
                    assert_eq!(read.torn, length > entries * ENTRY_LENGTH);
                }
            }
        }
    }

    #[test]
    fn something_else_is_not_a_store() {
        for bytes in [&b"# a shopping list\n"[..], &[], &[0; 4096], &[0xFF; 4096], &[b'P'; FRAME_LENGTH]] {
            assert!(matches!(read_manifest(bytes), Err(ManifestFault::NotAStore(_))));
        }
        let error = read_manifest(&[]).unwrap_err().into_error("dir/MANIFEST");
        assert!(matches!(error, Error::NotAStore { path, .. } if path == "dir/MANIFEST"));
    }

    #[test]
    fn a_rotten_beginning_is_corruption() {
        let mut bytes = file(&[]);
        bytes[50] ^= 1;
        bytes[FRAME_LENGTH + 60] ^= 1;
        assert!(is_corruption(&read_manifest(&bytes), 0));
        let error = read_manifest(&bytes).unwrap_err().into_error("MANIFEST");
        assert!(matches!(error, Error::Corruption(corruption) if corruption.offset == Some(0)));
    }

    fn reseal(frame: &mut [u8]) {
        let crc = checksum(0, &frame[4..FRAME_LENGTH]);
        frame[..4].copy_from_slice(&crc.to_le_bytes());
    }

    /// Writes `patch` over both copies of an entry and makes their checksums right.
    fn patched(entry: usize, at: usize, patch: &[u8]) -> Vec<u8> {
        let mut bytes = file(&steps());
        for frame in bytes[entry * ENTRY_LENGTH..][..ENTRY_LENGTH].chunks_mut(FRAME_LENGTH) {
            frame[at..at + patch.len()].copy_from_slice(patch);
            reseal(frame);
        }
        bytes
    }

    #[test]
    fn a_newer_version_is_named_whatever_else_it_changed() {
        let mut newer = [0xAB; FRAME_LENGTH - 8];
        newer[35 - 8..39 - 8].copy_from_slice(&7_u32.to_le_bytes());
        let read = read_manifest(&patched(0, 8, &newer));
        assert_eq!(read, Err(ManifestFault::Unsupported { found: 7 }));
        let error = read.unwrap_err().into_error("MANIFEST");
        assert!(matches!(error, Error::UnsupportedFormat { found: 7, supported: 2, .. }));
        assert!(is_corruption(&read_manifest(&patched(0, 35, &[0])), 0));
    }

    #[test]
    fn sealed_nonsense_is_corruption() {
        let cases: [(&str, usize, usize, &[u8]); 15] = [
            ("a first entry with another number", 0, 8, &[1]),
            ("a store kind that can't be", 0, 39, &[3]),
            ("a segment size that can't be", 0, 40, &[0, 0, 0, 0]),
            ("no heads", 0, 44, &[0]),
            ("no head for what is moved", 0, 44, &[1]),
            ("five heads", 0, 44, &[5]),
            ("a segment of the table that was never given out", 0, 45, &[18]),
            ("an LSN beyond the log", 0, 35 + 42 + 6, &[1]),
            ("more table entries than there are", 0, 121 - 4, &[0xFF, 0xFF, 0xFF, 0xFF]),
            ("a step where the table goes on", 0, 121 - 4, &[3]),
            ("a claim for a head that can't be", 1, 35 + 33 + 12, &[4]),
            ("a slot twice in the table", 1, 35 + 33, &[1]),
            ("a slot twice in two tables", 2, 35 + 33, &[1]),
            ("an end behind the segment", 1, 35 + 33 + 21, &[1, 2]),
            ("an unknown kind", 3, 32, &[3]),
        ];
        for (what, entry, at, patch) in cases {
            let read = read_manifest(&patched(entry, at, patch));
            assert!(matches!(read, Err(ManifestFault::Corruption { .. })), "{what}: {read:?}");
        }
    }

    #[test]
    fn an_entry_of_another_place_or_store_counts_as_damaged() {
        let last = PICTURE + STEPS - 1;
        for (at, patch) in [(8, [9]), (16, [9])] {
            assert!(read_manifest(&patched(last, at, &patch)).unwrap().torn);
            assert!(is_corruption(&read_manifest(&patched(last - 1, at, &patch)), last - 1));
        }
    }

    #[test]
    fn two_intact_copies_of_different_appends_are_no_contradiction() {
        let mut bytes = file(&[claims(100, 3)]);
        let retried = encode_entry(PICTURE as u64, STORE, &claims(101, 4));
        let place = PICTURE * ENTRY_LENGTH;
        bytes[place..place + FRAME_LENGTH].copy_from_slice(&retried[..FRAME_LENGTH]);
        assert_eq!(read_manifest(&bytes).unwrap().state, folded(&[claims(101, 4)]));
    }

    #[test]
    fn what_was_folded_is_the_same_when_it_is_written_anew() {
        let state = folded(&steps());
        let read = read_manifest(&state.to_bytes()).unwrap();
        assert_eq!(read.state, state);
        assert_eq!(read.entries, PICTURE as u64);
        let stable: HeadLsns = [Lsn(100), Lsn(0), Lsn(0), Lsn(0)];
        assert_eq!(read.state.stable, stable);
    }

    proptest! {
        #[test]
        fn random_damage_gives_an_answer(
            damage in vec((0..(PICTURE + STEPS) * 2, 0..FRAME_LENGTH, any::<u8>(), any::<bool>()), 1..8),
            cut in 0..ENTRY_LENGTH * 2,
        ) {
            let mut bytes = file(&steps());
            for (frame, at, byte, both) in damage {
                let first = if both { frame & !1 } else { frame };
                for frame in first..=frame | usize::from(both) {
                    let frame = &mut bytes[frame * FRAME_LENGTH..][..FRAME_LENGTH];
                    frame[at] = byte;
                    reseal(frame);
                }
            }
            bytes.truncate(bytes.len() - cut);
            if let Ok(read) = read_manifest(&bytes) {
                prop_assert!(read.entries >= PICTURE as u64 || read.state.claims.len() <= MAX_CLAIMS);
                let again = read_manifest(&read.state.to_bytes()).unwrap();
                prop_assert_eq!(again.state, read.state);
            }
        }

        #[test]
        fn random_bytes_give_an_answer(bytes in vec(any::<u8>(), 0..3000)) {
            prop_assert!(read_manifest(&bytes).is_err());
        }
    }
}
