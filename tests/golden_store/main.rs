//! Every flipped bit and every shortened file of a small store: an error, or what was in it. Never anything
//! that was not, never less than was proven to be stable, and never a panic; and whoever checks the store is
//! told, but for bytes that nobody needs.
//!
//! Of a run of zeros, and of the manifest, only some bits are flipped (the decoder's own test does them all);
//! `PAGELOG_EVERY_BIT=1 cargo test --release --test golden_store` flips them all.

#[path = "../support/bytes.rs"]
mod bytes;
#[cfg(feature = "compression")]
mod compressed;
mod frozen;
mod golden;
mod tolerant;
mod two_heads;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::LazyLock;
use std::thread;

use golden::{Files, Golden, Verdict, config, files_of, golden, storage_of, wide};
use pagelog::{Error, Log, MemoryStorage};

const SLOT: usize = 512;

/// The store that was killed, the one that was closed, and the one of two ranges. Made once, before any test
/// has a store open: all stores of a process share a collector, and a guard that another test holds would
/// keep segments from being reused.
static STORES: LazyLock<[Golden; 3]> = LazyLock::new(|| [golden(false), golden(true), wide()]);

fn killed() -> &'static Golden {
    &STORES[0]
}

fn closed() -> &'static Golden {
    &STORES[1]
}

/// Says which case it was if it fails.
struct Case<'a>(&'a str, usize, String);

impl Drop for Case<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            println!("{}, byte {}: {}", self.0, self.1, self.2);
        }
    }
}

fn every_bit() -> bool {
    std::env::var("PAGELOG_EVERY_BIT").is_ok()
}

/// Which bits of a file to flip. In a run of zeros one in so many bytes, of the others all.
fn bits(bytes: &[u8], of_zeros: usize) -> Vec<(usize, u32)> {
    let is_run =
        |at: usize| bytes[at.saturating_sub(8)..bytes.len().min(at + 8)].iter().all(|byte| *byte == 0);
    let of_byte = |at: usize| match is_run(at) && !every_bit() {
        false => 0..8,
        true if at.is_multiple_of(of_zeros) => (at / of_zeros) as u32 % 8..(at / of_zeros) as u32 % 8 + 1,
        true => 0..0,
    };
    (0..bytes.len()).flat_map(|at| of_byte(at).map(move |bit| (at, bit))).collect()
}

/// What came of flipping bits of a file: how often each, and at which bytes nobody noticed.
#[derive(Debug, Default)]
struct Tally {
    verdicts: BTreeMap<Verdict, u32>,
    unnoticed: BTreeSet<usize>,
    noticed: BTreeSet<usize>,
}

fn flip(golden: &Golden, name: &str, bits: &[(usize, u32)], read_only: bool) -> Tally {
    let mut files: Files = golden.files.clone();
    let mut tally = Tally::default();
    for (at, bit) in bits {
        let _case = Case(name, *at, format!("bit {bit} flipped"));
        files.get_mut(name).unwrap()[*at] ^= 1 << bit;
        let verdict = golden.judge(&files, read_only);
        files.get_mut(name).unwrap()[*at] ^= 1 << bit;
        *tally.verdicts.entry(verdict).or_default() += 1;
        let seen = if verdict == Verdict::Unnoticed { &mut tally.unnoticed } else { &mut tally.noticed };
        seen.insert(*at);
    }
    println!("{name}, {} bytes, read-only {read_only}: {:?}", files[name].len(), tally.verdicts);
    tally
}

fn snapshots(golden: &Golden) -> Vec<&String> {
    golden.files.keys().filter(|name| name.starts_with("snapshot-")).collect()
}

fn without_damage(golden: &Golden) {
    assert_eq!(golden.judge(&golden.files, true), Verdict::Unnoticed);
    assert_eq!(golden.judge(&golden.files, false), Verdict::Unnoticed);
}

/// The store that was closed and the one that was killed, before anything is done to them.
#[test]
fn without_damage_all_is_there_and_nothing_is_reported() {
    for golden in &*STORES {
        without_damage(golden);
        assert!(!snapshots(golden).is_empty() && golden.files.contains_key("log"));
    }
}

#[test]
fn every_flipped_bit_of_the_log_is_found_unless_nobody_needs_it() {
    for (golden, step) in [(killed(), 1), (closed(), 11)] {
        let log = &golden.files["log"];
        let some: Vec<_> = bits(log, 32).into_iter().step_by(step).collect();
        let tally = flip(golden, "log", &some, true);
        for slot in 0..log.len() / SLOT {
            // A slot that is not in use, or what lies behind the last record.
            let of_slot = |set: &BTreeSet<usize>| -> Vec<usize> {
                set.range(slot * SLOT..(slot + 1) * SLOT).copied().collect()
            };
            let (noticed, unnoticed) = (of_slot(&tally.noticed), of_slot(&tally.unnoticed));
            let is_tail =
                noticed.last().is_none_or(|last| unnoticed.first().is_none_or(|first| first > last));
            assert!(is_tail, "slot {slot}: noticed {noticed:?}, not noticed {unnoticed:?}");
        }
        for verdict in [Verdict::Refused, Verdict::PartlyUnreadable, Verdict::Reported] {
            assert!(tally.verdicts.contains_key(&verdict), "{verdict:?}");
        }
    }
}

#[test]
fn after_a_flipped_bit_of_the_log_the_store_goes_on_from_what_it_has() {
    let golden = killed();
    let some: Vec<_> = bits(&golden.files["log"], 64).into_iter().step_by(9).collect();
    flip(golden, "log", &some, false);
}

#[test]
fn every_flipped_bit_of_the_manifest_is_survived_or_refused() {
    let golden = killed();
    let manifest = &golden.files["MANIFEST"];
    let entries = manifest.chunks(1024).take_while(|entry| entry.iter().any(|byte| *byte != 0)).count();
    let (written, room): (Vec<_>, Vec<_>) =
        bits(manifest, 64).into_iter().partition(|(at, _)| *at < entries * 1024);
    let most: Vec<_> = written.iter().copied().step_by(if every_bit() { 1 } else { 3 }).collect();
    let tally = flip(golden, "MANIFEST", &most, true);
    // There is another copy of each; the check tells of the one that is damaged. In the last entry, it may
    // have been torn, and nobody was told of it.
    assert!(tally.verdicts.keys().all(|verdict| matches!(verdict, Verdict::Reported | Verdict::Unnoticed)));
    assert!(tally.unnoticed.iter().all(|at| at / 1024 == entries - 1));
    assert!(tally.noticed.iter().any(|at| at / 1024 == entries - 2));
    let tally = flip(golden, "MANIFEST", &room, true);
    assert!(tally.verdicts.keys().all(|verdict| matches!(verdict, Verdict::Unnoticed | Verdict::Refused)));
    let some: Vec<_> = written.into_iter().step_by(9).collect();
    let tally = flip(golden, "MANIFEST", &some, false);
    assert_eq!(
        tally.verdicts.keys().copied().collect::<Vec<_>>(),
        [Verdict::Unnoticed],
        "it is written anew"
    );
}

#[test]
fn every_flipped_bit_of_a_snapshot_is_found_and_the_log_is_read_instead() {
    for golden in [killed(), closed()] {
        for name in snapshots(golden) {
            let tally = flip(golden, name, &bits(&golden.files[name], 1), true);
            assert_eq!(tally.verdicts.keys().copied().collect::<Vec<_>>(), [Verdict::Reported]);
            flip(golden, name, &bits(&golden.files[name], 1), false);
        }
    }
    // Of a snapshot that is spread over two files.
    let wide = &STORES[2];
    let names = snapshots(wide);
    assert_eq!(names.len(), 2, "{names:?}");
    for name in names {
        let some: Vec<_> = bits(&wide.files[name], 1).into_iter().step_by(11).collect();
        let tally = flip(wide, name, &some, true);
        assert!(
            tally.verdicts.keys().all(|verdict| matches!(verdict, Verdict::Reported | Verdict::Unnoticed))
        );
        assert!(tally.verdicts[&Verdict::Reported] > 20);
    }
}

#[test]
fn every_flipped_bit_of_a_large_value_is_found() {
    let golden = closed();
    let name = golden.files.keys().find(|name| name.starts_with("blob-")).unwrap();
    let tally = flip(golden, name, &bits(&golden.files[name], 1), true);
    assert_eq!(tally.verdicts.keys().copied().collect::<Vec<_>>(), [Verdict::PartlyUnreadable]);
}

#[test]
fn a_manifest_that_was_being_written_does_not_matter() {
    let golden = killed();
    let tally = flip(golden, "MANIFEST.new", &bits(&golden.files["MANIFEST.new"], 128), true);
    assert_eq!(tally.verdicts.keys().copied().collect::<Vec<_>>(), [Verdict::Unnoticed]);
}

#[test]
fn every_file_cut_short_at_every_length_gives_an_error_or_what_was_proven() {
    for (golden, read_only) in [(killed(), true), (closed(), true), (killed(), false)] {
        for (name, bytes) in &golden.files {
            let step = if name.starts_with("MANIFEST") { 97 } else { 1 };
            let step = if read_only { step } else { step * 7 };
            let mut verdicts: BTreeMap<Verdict, u32> = BTreeMap::new();
            for length in (0..bytes.len()).step_by(step) {
                let _case = Case(name, length, "cut".into());
                let mut files = golden.files.clone();
                files.get_mut(name).unwrap().truncate(length);
                *verdicts.entry(golden.judge(&files, read_only)).or_default() += 1;
            }
            println!("{name} cut: {verdicts:?}");
            let mut files = golden.files.clone();
            files.remove(name);
            println!("{name} removed: {:?}", golden.judge(&files, read_only));
        }
    }
}

/// The entries that a log has, up to the first error.
fn entries(files: &Files, read_only: bool) -> Result<(Vec<Vec<u8>>, bool), Error> {
    let storage = storage_of(files);
    let log = Log::open(config(&storage).read_only(read_only))?;
    let mut found = Vec::new();
    for entry in log.iter_from(log.first_lsn())? {
        match entry {
            Ok(entry) => found.push(entry.payload),
            Err(Error::Corruption(_)) => return Ok((found, false)),
            Err(error) => return Err(error),
        }
    }
    Ok((found, true))
}

#[test]
fn every_flipped_bit_of_a_log_without_pages_gives_an_error_or_a_prefix() {
    LazyLock::force(&STORES);
    let storage = Arc::new(MemoryStorage::new());
    let log = Log::open(config(&storage).segment_size(512)).unwrap();
    let append = |n: u8| log.append(&vec![n; 20 + n as usize]).unwrap();
    (0..30).for_each(|n| _ = append(n));
    log.flush().unwrap();
    (30..34).for_each(|n| _ = append(n));
    log.flush().unwrap();
    let files = files_of(&storage);
    let expected: Vec<Vec<u8>> = (0..34).map(|n| vec![n; 20 + n as usize]).collect();
    assert_eq!(entries(&files, true).unwrap(), (expected.clone(), true));
    let (mut refused, mut shorter, mut broken) = (0, 0, 0);
    for (index, (at, bit)) in bits(&files["log"], 32).into_iter().enumerate() {
        let _case = Case("log", at, format!("bit {bit} flipped"));
        let mut damaged = files.clone();
        damaged.get_mut("log").unwrap()[at] ^= 1 << bit;
        match entries(&damaged, index % 5 != 0) {
            Ok((found, whole)) => {
                assert!(expected.starts_with(&found), "{found:?}");
                assert!(!whole || found.len() >= 30, "{} entries, and no error", found.len());
                broken += u32::from(!whole);
                shorter += u32::from(whole && found.len() < 34);
            }
            Err(Error::Corruption(_)) => refused += 1,
            Err(error) => panic!("{error:?}"),
        }
    }
    println!("refused {refused}, shorter {shorter}, broken {broken}");
    assert!(refused > 0 && shorter > 0);
}
