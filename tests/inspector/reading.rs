//! `pagelog::inspect`: reading files without opening them says the same as opening does, finds every flipped
//! bit, and survives anything.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use pagelog::inspect::{InspectOptions, Inspection, RecordState, Survey};
use pagelog::sim::SimStorage;
use pagelog::{Error, PageCache, Storage};

use crate::common::{Bytes, Dice, alone, link, open, replace, tiny};

pub fn inspect(storage: &Arc<SimStorage>) -> Result<Inspection, Error> {
    Inspection::open(Arc::clone(storage) as Arc<dyn Storage>, InspectOptions::new().beside_writer(true))
}

pub fn survey(inspection: &Inspection) -> Survey {
    inspection.survey(|_| ControlFlow::Continue(())).unwrap()
}

/// Random changes, batches, garbage collection and snapshots.
fn work(cache: &PageCache<Bytes>, dice: &mut Dice, steps: u64) {
    let mut pages: Vec<_> = (1..2000)
        .map(pagelog::PageId::new)
        .filter_map(|page_id| cache.version(page_id).unwrap().map(|version| (page_id, version)))
        .collect();
    for _ in 0..steps {
        let bytes = vec![dice.next() as u8; dice.below(200) as usize];
        let at = dice.below(pages.len().max(1) as u64) as usize;
        match dice.below(20) {
            0..=5 => {
                let page = cache.allocate(Bytes(bytes)).unwrap();
                pages.push((page.page_id, page.version));
            }
            6..=11 if !pages.is_empty() => pages[at].1 = link(cache, pages[at].0, pages[at].1, &bytes),
            12..=15 if !pages.is_empty() => pages[at].1 = replace(cache, pages[at].0, pages[at].1, &bytes),
            16..=17 if !pages.is_empty() => {
                let (page_id, version) = pages.swap_remove(at);
                assert!(cache.free(page_id, version).unwrap().is_done());
            }
            18 => {
                let batch = cache.pin_log().unwrap();
                let page = cache.allocate(Bytes(bytes)).unwrap();
                batch.seal_batch().unwrap();
                pages.push((page.page_id, page.version));
            }
            _ => match dice.below(4) {
                0 => drop(cache.attempt_gc().unwrap()),
                1 => cache.snapshot().unwrap(),
                _ => cache.flush().unwrap(),
            },
        }
    }
}

/// Compares what is read with what is found by opening the same files.
fn compare(image: &Arc<SimStorage>, case: &str) {
    let inspection = inspect(image).unwrap();
    let found = survey(&inspection);
    assert!(found.faults.is_empty(), "{case}: {:#?}", found.faults);
    assert_eq!(image.operations(), 0, "{case}: it was written to");
    let check = inspection.check(|_| ControlFlow::Continue(())).unwrap();
    assert!(check.faults.is_empty(), "{case}: {:#?}", check.faults);
    drop(inspection);
    let cache = open(tiny(image).read_only(true));
    let (report, stats) = (cache.verify().unwrap(), cache.stats());
    assert!(report.is_sound(), "{case}: {:#?}", report.faults);
    assert_eq!(found.live_records, report.live_records, "{case}");
    assert_eq!(found.live_bytes, report.live_bytes, "{case}");
    // Ids that were handed out and lost with the end of the log are free, and no record says so.
    assert_eq!(found.pages, stats.page_ids - stats.free_page_ids, "{case}");
    assert_eq!(found.large_values, stats.large_values, "{case}");
    // A store that is open has set segments free in which nothing is live.
    assert!(found.records >= report.records, "{case}");
}

#[test]
fn what_is_read_is_what_opening_finds() {
    let _turn = alone();
    for seed in 0..12 {
        let disk = Arc::new(SimStorage::new(seed));
        let mut dice = Dice::new(seed);
        for life in 0..3 {
            let cache = open(tiny(&disk).inline_limit(150));
            work(&cache, &mut dice, 150);
            let open_batch = cache.pin_log().unwrap();
            cache.allocate(Bytes(vec![9; 30])).unwrap();
            for cut in 0..4 {
                compare(
                    &Arc::new(disk.after_power_cut(cut)),
                    &format!("seed {seed}, life {life}, cut {cut}"),
                );
            }
            compare(&Arc::new(disk.after_kill()), &format!("seed {seed}, life {life}, killed"));
            open_batch.seal_batch().unwrap();
            if life == 1 {
                cache.close().unwrap();
            }
            drop(cache);
            compare(&Arc::new(disk.after_kill()), &format!("seed {seed}, life {life}, closed"));
        }
    }
}

/// A store of which all is proven: after its last records others were written and are gone.
pub fn proven(seed: u64) -> Arc<SimStorage> {
    let disk = Arc::new(SimStorage::new(seed));
    let cache = open(tiny(&disk).garbage_collection(false).snapshots(false));
    for n in 0..25u8 {
        let page = cache.allocate(Bytes(vec![n; 60])).unwrap();
        let version = link(&cache, page.page_id, page.version, &[n; 9]);
        replace(&cache, page.page_id, version, &[n; 30]);
    }
    cache.flush().unwrap();
    cache.close().unwrap();
    drop(cache);
    // Opening says in the manifest what is stable.
    drop(open(tiny(&disk).garbage_collection(false).snapshots(false)));
    Arc::new(disk.after_kill())
}

#[test]
fn every_flipped_bit_of_a_record_is_found_at_its_place() {
    let _turn = alone();
    let disk = proven(1);
    let mut records = Vec::new();
    let inspection = inspect(&disk).unwrap();
    let clean = survey(&inspection);
    for segment in &clean.segments {
        let visited = inspection.records(&clean, segment, |record, _| {
            records.push((record.file_offset, u64::from(record.length), record.page_id, record.state));
            ControlFlow::Continue(())
        });
        assert!(visited.unwrap().is_continue());
    }
    drop(inspection);
    assert!(records.iter().filter(|record| record.3 == RecordState::Live).count() == 25, "{records:?}");
    let mut named = 0;
    for (offset, length, page_id, _) in &records {
        for byte in *offset..offset + length {
            let bit = (byte % 8) as u8;
            disk.flip_bit("log", byte, bit).unwrap();
            let inspection = inspect(&disk).unwrap();
            let found = survey(&inspection);
            let fault = found.faults.iter().find(|fault| fault.offset == Some(*offset));
            let fault = fault.unwrap_or_else(|| panic!("byte {byte} is missed: {:?}", found.faults));
            assert!(fault.lsn.is_some());
            named += u64::from(page_id.is_some() && fault.page_id == *page_id);
            // Nothing else is lost by it: all others can be read.
            assert!(
                found.records >= clean.records - 2,
                "byte {byte}: {} of {}",
                found.records,
                clean.records
            );
            disk.flip_bit("log", byte, bit).unwrap();
        }
    }
    // Where the damage is not in what names the page.
    assert!(named > 2000, "{named}");
}

#[test]
fn a_page_whose_record_is_lost_is_named() {
    let _turn = alone();
    let disk = Arc::new(SimStorage::new(1));
    let cache = open(tiny(&disk).garbage_collection(false).snapshots(false).max_chain_ratio(100.0));
    let page = cache.allocate(Bytes(vec![1; 60])).unwrap();
    let version = link(&cache, page.page_id, page.version, &[2; 30]);
    link(&cache, page.page_id, version, &[3; 30]);
    cache.flush().unwrap();
    drop(cache);
    drop(open(tiny(&disk).garbage_collection(false).snapshots(false)));
    let disk = Arc::new(disk.after_kill());
    let log = disk.contents().remove("log").unwrap();
    for lost in [[1; 30], [2; 30]] {
        let at = log.windows(30).position(|window| window == lost).unwrap() as u64;
        disk.flip_bit("log", at, 1).unwrap();
        let found = survey(&inspect(&disk).unwrap());
        let of_page = found.faults.iter().filter(|fault| fault.page_id == Some(page.page_id));
        let reasons: Vec<&str> = of_page.map(|fault| fault.reason.as_str()).collect();
        assert_eq!(reasons.len(), 2, "{:?}", found.faults);
        assert!(
            reasons[1].contains("nothing that they change") || reasons[1].contains("are missing"),
            "{reasons:?}"
        );
        disk.flip_bit("log", at, 1).unwrap();
    }
}

#[test]
fn any_bytes_give_an_answer() {
    let _turn = alone();
    let names: BTreeSet<String> = proven(1).contents().into_keys().collect();
    let mut answers = 0;
    for seed in 0..300 {
        let mut dice = Dice::new(seed + 1);
        let disk = proven(2);
        for _ in 0..=dice.below(4) {
            let name = names.iter().nth(dice.below(names.len() as u64) as usize).unwrap();
            let length = disk.contents()[name].len() as u64;
            if length == 0 {
                continue;
            }
            let at = dice.below(length);
            match dice.below(3) {
                0 => disk.flip_bit(name, at, dice.below(8) as u8).unwrap(),
                1 => (at..(at + dice.below(600)).min(length))
                    .for_each(|at| disk.set_byte(name, at, dice.next() as u8).unwrap()),
                _ => disk.open(name, pagelog::Access::Write).unwrap().set_len(at).unwrap(),
            }
        }
        let Ok(inspection) = inspect(&disk) else { continue };
        let report = inspection.check(|_| ControlFlow::Continue(())).unwrap();
        for segment in &report.survey.segments {
            let visited = inspection.records(&report.survey, segment, |_, _| ControlFlow::Continue(()));
            assert!(visited.unwrap().is_continue());
        }
        drop(inspection.snapshot());
        answers += 1;
    }
    assert!(answers > 200, "{answers}");
}

#[test]
fn a_survey_can_be_cancelled() {
    let _turn = alone();
    let disk = proven(3);
    let inspection = inspect(&disk).unwrap();
    assert!(matches!(inspection.survey(|_| ControlFlow::Break(())), Err(Error::Cancelled)));
    let (mut done, mut total) = (Vec::new(), 0);
    let told = inspection.survey(|progress| {
        done.push(progress.done);
        total = progress.total;
        ControlFlow::Continue(())
    });
    told.unwrap();
    assert!(done.first() == Some(&0) && done.last() == Some(&total) && done.is_sorted(), "{done:?}");
}

#[test]
fn a_writer_and_an_inspection_exclude_each_other() {
    let _turn = alone();
    let disk = proven(4);
    let cache = open(tiny(&disk));
    let refused = Inspection::open(Arc::clone(&disk) as Arc<dyn Storage>, InspectOptions::new());
    assert!(matches!(refused, Err(Error::Locked { .. })));
    assert!(inspect(&disk).unwrap().store().in_use);
    drop(cache);
    let inspection = Inspection::open(Arc::clone(&disk) as Arc<dyn Storage>, InspectOptions::new()).unwrap();
    assert!(!inspection.store().in_use);
    assert!(matches!(tiny(&disk).open::<Bytes>(), Err(Error::Locked { .. })));
    drop(open(tiny(&disk).read_only(true)));
}
