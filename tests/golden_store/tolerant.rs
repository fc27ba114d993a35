//! The same damage, opened tolerantly: what is handed out was in the store, what is called certain is what
//! was there last, and what is not there is reported.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use pagelog::{Condition, Config, Damage, Doubtful, Error, MemoryStorage, PageCache, PageId, Storage};

use crate::bytes::Bytes;
use crate::golden::{Files, Golden, State, Verdict, config, files_of, look, storage_of};
use crate::{Case, STORES, bits, closed, every_bit, killed, snapshots};

/// Opens, and sees that no byte changes.
fn rescue(files: &Files, doubtful: Doubtful) -> Result<(PageCache<Bytes>, Damage), Error> {
    let storage = storage_of(files);
    let opened = config(&storage).open_tolerantly(doubtful);
    assert!(files_of(&storage) == *files, "something was written");
    opened
}

/// What the roots or a page were at a moment; page 0 stands for the roots.
fn of_page(state: &State, page_id: u64) -> String {
    match page_id {
        0 => format!("{:?}", state.roots),
        _ => format!("{:?}", state.pages.get(&page_id)),
    }
}

/// How many pages are in each condition.
type Conditions = BTreeMap<Condition, u32>;

/// Looks at all pages, and panics if anything is handed out that was not there, or called certain without
/// being so.
fn examine(golden: &Golden, files: &Files) -> (Damage, Conditions) {
    let (served, damage) = rescue(files, Doubtful::Serve).unwrap();
    let (refusing, again) = rescue(files, Doubtful::Refuse).unwrap();
    assert_eq!(damage.to_string(), again.to_string());
    let (seen, unreadable) = look(&served, golden.pages);
    let (seen_surely, refused) = look(&refusing, golden.pages);
    let mut conditions = Conditions::new();
    let mut certain: Vec<u64> = Vec::new();
    for page_id in 0..=golden.pages {
        let condition = damage.condition(PageId::new(page_id));
        *conditions.entry(condition).or_default() += 1;
        let (is_lost, is_refused) = (unreadable.contains(&page_id), refused.contains(&page_id));
        assert_eq!(is_lost, condition == Condition::Lost, "page {page_id}\n{damage}");
        assert_eq!(is_refused, condition != Condition::Certain, "page {page_id}\n{damage}");
        if !is_lost {
            let now = of_page(&seen, page_id);
            assert!(
                golden.states.iter().any(|state| of_page(state, page_id) == now),
                "page {page_id}: {now}"
            );
        }
        if condition == Condition::Certain {
            assert_eq!(of_page(&seen, page_id), of_page(&seen_surely, page_id));
            certain.push(page_id);
        }
    }
    // All that is certain was so at one moment, and that was not before what was proven.
    let agrees = |state: &State| certain.iter().all(|id| of_page(state, *id) == of_page(&seen_surely, *id));
    assert!(
        golden.states[golden.proven..].iter().any(agrees),
        "{seen_surely:?} was not the last state\n{damage}"
    );
    (damage, conditions)
}

fn flip(golden: &Golden, name: &str, bits: &[(usize, u32)]) -> Conditions {
    let (mut files, mut all) = (golden.files.clone(), Conditions::new());
    for (at, bit) in bits {
        let _case = Case(name, *at, format!("bit {bit} flipped"));
        files.get_mut(name).unwrap()[*at] ^= 1 << bit;
        let verdict = golden.judge(&files, true);
        let (damage, conditions) = examine(golden, &files);
        if !matches!(verdict, Verdict::Unnoticed | Verdict::Shorter) {
            assert!(!damage.is_none() && damage.fault_count() > 0, "{verdict:?}, and nothing is reported");
        }
        files.get_mut(name).unwrap()[*at] ^= 1 << bit;
        conditions.into_iter().for_each(|(condition, count)| *all.entry(condition).or_default() += count);
    }
    println!("{name}: {all:?}");
    all
}

/// One bit in so many.
fn some(bits: Vec<(usize, u32)>, step: usize) -> Vec<(usize, u32)> {
    bits.into_iter().step_by(if every_bit() { 1 } else { step }).collect()
}

fn only_certain(conditions: &Conditions) -> bool {
    conditions.keys().all(|condition| *condition == Condition::Certain)
}

#[test]
fn without_damage_all_is_certain() {
    for golden in &*STORES {
        let (damage, conditions) = examine(golden, &golden.files);
        assert!(damage.is_none() && only_certain(&conditions), "{damage}");
        assert_eq!(damage.to_string(), "no damage was found");
        assert!(damage.lost_pages().len() == 0 && !damage.others_in_doubt() && damage.segments().is_empty());
    }
}

#[test]
fn behind_every_flipped_bit_of_the_log_pages_are_right_or_lost_or_in_doubt() {
    for (golden, step) in [(killed(), 31), (closed(), 101)] {
        let some: Vec<_> = some(bits(&golden.files["log"], 32), step);
        let conditions = flip(golden, "log", &some);
        let of = |condition| f64::from(conditions[&condition]) / f64::from(conditions.values().sum::<u32>());
        // Not all is called in doubt to be on the safe side, and nothing that is lost is overlooked.
        assert!(of(Condition::Certain) > 0.6, "{conditions:?}");
        assert!(of(Condition::Lost) > 0.005 && of(Condition::InDoubt) > 0.005, "{conditions:?}");
    }
}

#[test]
fn one_copy_of_an_entry_of_the_manifest_is_enough() {
    let golden = killed();
    let entries =
        golden.files["MANIFEST"].chunks(1024).take_while(|entry| entry.iter().any(|byte| *byte != 0));
    let written = entries.count() * 1024;
    let bits = bits(&golden.files["MANIFEST"], 64).into_iter().filter(|(at, _)| *at < written);
    assert!(only_certain(&flip(golden, "MANIFEST", &some(bits.collect(), 101))));
}

#[test]
fn a_snapshot_that_is_damaged_takes_no_page_with_it() {
    for golden in [killed(), closed()] {
        for name in snapshots(golden) {
            let some = some(bits(&golden.files[name], 1), 29);
            assert!(only_certain(&flip(golden, name, &some)));
        }
    }
}

#[test]
fn a_large_value_that_is_damaged_or_missing_is_the_only_page_that_is_lost() {
    let golden = closed();
    let name = golden.files.keys().find(|name| name.starts_with("blob-")).unwrap();
    let some = some(bits(&golden.files[name], 1), 29);
    let conditions = flip(golden, name, &some);
    assert_eq!(conditions[&Condition::Lost], some.len() as u32);
    assert!(!conditions.contains_key(&Condition::InDoubt));
    let mut files = golden.files.clone();
    files.remove(name);
    let (damage, _) = examine(golden, &files);
    let lost: Vec<_> = damage.lost_pages().map(|(page_id, _)| page_id.get()).collect();
    assert_eq!((lost, damage.fault_count()), (vec![2], 1), "{damage}");
    assert!(damage.faults()[0].file.contains(name.as_str()) && damage.to_string().contains("pages lost: 1"));
}

#[test]
fn every_file_that_is_cut_short_or_gone_leaves_what_can_be_known() {
    for golden in [killed(), closed()] {
        for (name, bytes) in &golden.files {
            let step = if name.starts_with("MANIFEST") { 2039 } else { 37 };
            let mut all = Conditions::new();
            for length in (0..bytes.len()).step_by(step) {
                let _case = Case(name, length, "cut".into());
                let mut files = golden.files.clone();
                files.get_mut(name).unwrap().truncate(length);
                let conditions = examine(golden, &files).1;
                conditions
                    .into_iter()
                    .for_each(|(condition, count)| *all.entry(condition).or_default() += count);
            }
            println!("{name} cut: {all:?}");
            let mut files = golden.files.clone();
            files.remove(name);
            match rescue(&files, Doubtful::Serve) {
                Err(Error::Corruption(fault)) => assert!(name == "log" && fault.file.contains("log")),
                Err(error) => panic!("{name} removed: {error}"),
                Ok(_) => drop(examine(golden, &files)),
            }
        }
    }
}

/// With a slot in the place of another one, or as it was never written.
#[test]
fn lost_and_misplaced_segments_are_survived() {
    let golden = killed();
    let slots = golden.files["log"].len() / crate::SLOT;
    for slot in 0..slots {
        for other in [None, Some((slot + 1) % slots)] {
            let _case = Case("log", slot * crate::SLOT, format!("slot {slot} overwritten with {other:?}"));
            let mut files = golden.files.clone();
            let log = files.get_mut("log").unwrap();
            let from = other.map(|other| log[other * crate::SLOT..][..crate::SLOT].to_vec());
            log[slot * crate::SLOT..][..crate::SLOT].copy_from_slice(&from.unwrap_or(vec![0; crate::SLOT]));
            let verdict = golden.judge(&files, true);
            let (damage, _) = examine(golden, &files);
            if verdict == Verdict::Refused {
                let hit = |segment: &&pagelog::DamagedSegment| segment.slot == slot as u32;
                let segment = damage.segments().iter().find(hit).expect("it is named");
                assert_eq!(segment.readable_records, 0, "{damage}");
                assert!(damage.to_string().contains("all of it"));
            }
        }
    }
}

#[test]
fn without_a_manifest_pages_are_found_by_the_headers_and_all_are_in_doubt() {
    for golden in [killed(), closed()] {
        let mut files = golden.files.clone();
        files.remove("MANIFEST");
        files.remove("MANIFEST.new");
        let (damage, conditions) = examine(golden, &files);
        assert!(damage.manifest_is_lost() && damage.others_in_doubt());
        assert!(!conditions.contains_key(&Condition::Certain));
        let (cache, _) = rescue(&files, Doubtful::Serve).unwrap();
        let (seen, unreadable) = look(&cache, golden.pages);
        assert_eq!((Some(&seen), unreadable), (golden.states.last(), vec![]), "all of it is there");
        // Some of the entries only.
        let log = golden.files["log"].clone();
        let mut files = Files::from([("log".to_owned(), log)]);
        files.insert("MANIFEST".into(), golden.files["MANIFEST"][..1024].to_vec());
        examine(golden, &files);
    }
}

#[test]
fn an_export_of_what_is_left_is_a_store_again() {
    let golden = closed();
    let blob = golden.files.keys().find(|name| name.starts_with("blob-")).unwrap();
    let mut files = golden.files.clone();
    files.remove(blob);
    let log = files.get_mut("log").unwrap();
    let middle = log.len() / 2;
    log[middle] ^= 1;
    for doubtful in [Doubtful::Serve, Doubtful::Refuse] {
        let (cache, damage) = rescue(&files, doubtful).unwrap();
        let (seen, unreadable) = look(&cache, golden.pages);
        let mut stream = Vec::new();
        let report = cache.export(&mut stream, |_| ControlFlow::Continue(())).unwrap();
        assert!(!report.is_consistent && report.pages == seen.pages.len() as u64);
        assert_eq!(report.left_out, unreadable.len() as u64, "{damage}");
        let storage = Arc::new(MemoryStorage::new());
        let new = || Config::with_storage(Arc::clone(&storage) as Arc<dyn Storage>);
        new().import(&mut &stream[..], |_| ControlFlow::Continue(())).unwrap();
        assert_eq!(look(&new().open().unwrap(), golden.pages), (seen, vec![]));
    }
}
