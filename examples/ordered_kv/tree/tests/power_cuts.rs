//! Whatever a power cut leaves is a tree.
//!
//! The power is cut at each operation of the disk. A write buffer takes few records, so many of the moments
//! lie between two steps of a change of structure; that they lie in those of each kind, at leaves and above
//! them, is counted.

use std::sync::Arc;

use pagelog::sim::SimStorage;

use super::super::{Figures, Forest, Report, Tuning};
use super::{Map, Random, change, check, config, contents, key, open_with};

/// Inner nodes have four or five children.
const NARROW: Tuning = Tuning { leaf_bytes: 220, inner_bytes: 200, unmerged: 2 };
const KEYS: u64 = 50;
const STEPS: u64 = 400;

#[test]
fn whatever_a_power_cut_leaves_is_a_tree_with_all_that_was_flushed() {
    let (mut before, mut after, mut found) = (Figures::default(), Figures::default(), Report::default());
    let (mut images, mut ids_used_again) = (0, 0);
    for seed in 1..=5 {
        let disk = SimStorage::new(seed);
        disk.record_history();
        let run = workload(&disk, seed);
        before += run.figures;
        ids_used_again += run.ids_used_again;
        let mut random = Random(seed ^ 0xBEEF);
        for moment in disk.history().unwrap() {
            let image = Arc::new(disk.image_at(moment, random.below(1 << 40)).unwrap());
            let Some((report, figures)) = examine(&image, &run, moment, &mut random) else { continue };
            images += 1;
            found.unposted += report.unposted;
            found.inner_unposted += report.inner_unposted;
            found.sealed += report.sealed;
            found.inner_sealed += report.inner_sealed;
            found.unused += report.unused;
            after += figures;
        }
    }
    let figures =
        format!("{images} images, {ids_used_again} ids used again, {before:?}, {found:?}, {after:?}");
    assert!(images > 300 && ids_used_again > 10, "{figures}");
    // What was done: all changes of structure, at all levels;
    assert!(before.splits > before.inner_splits && before.inner_splits > 10, "{figures}");
    assert!(before.joins > before.inner_joins && before.inner_joins > 5, "{figures}");
    assert!(before.growths > 5 && before.collapses > 5, "{figures}");
    // what was interrupted: those of more than one step;
    assert!(found.unposted > found.inner_unposted && found.inner_unposted > 0, "{figures}");
    assert!(found.sealed > found.inner_sealed && found.inner_sealed > 0, "{figures}");
    assert!(found.unused > 0, "{figures}");
    // and what was mended afterwards.
    assert!(after.late_joins > 0 && after.late_posts > 0, "{figures}");
}

/// What was done before the power was cut.
struct Run {
    /// The map after each change.
    states: Vec<Map>,
    /// At which operation of the disk which of them was flushed.
    flushed: Vec<(u64, usize)>,
    figures: Figures,
    ids_used_again: u64,
}

fn workload(disk: &SimStorage, seed: u64) -> Run {
    let mut random = Random(seed);
    let config = config(&Arc::new(disk.clone())).io_buffer_size(512).io_buffers(2);
    let forest = Forest::open(config, NARROW).unwrap();
    let tree = forest.tree("t").unwrap();
    let (mut map, mut states, mut flushed) = (Map::new(), vec![Map::new()], Vec::new());
    for step in 0..STEPS {
        // Grows and shrinks, twice.
        let deletes = if step % (STEPS / 2) < 60 { 0 } else { 98 };
        change(&tree, &mut map, &mut random, KEYS, deletes);
        states.push(map.clone());
        if random.below(40) == 0 {
            forest.flush().unwrap();
            flushed.push((disk.operations(), states.len() - 1));
        }
    }
    let figures = forest.figures();
    // One for each node that was made, had none been used again.
    let nodes = 1 + figures.splits + figures.growths;
    Run { states, flushed, figures, ids_used_again: nodes - forest.stats().page_ids }
}

/// Opens what a power cut has left, compares, and goes on from there. `None` if the tree was not made yet.
fn examine(
    image: &Arc<SimStorage>,
    run: &Run,
    moment: u64,
    random: &mut Random,
) -> Option<(Report, Figures)> {
    let forest = open_with(image, NARROW);
    let acknowledged = run.flushed.iter().rev().find(|(operations, _)| *operations <= moment);
    let Some(tree) = forest.existing_tree("t").unwrap() else {
        assert!(acknowledged.is_none());
        return None;
    };
    let (found, first) = (contents(&tree), acknowledged.map_or(0, |(_, state)| *state));
    let state = run.states[first..].iter().position(|state| *state == found);
    let mut map = run.states[first + state.expect("not what it was at any time since the flush")].clone();
    let report = check(&forest, &tree, &map);
    assert_eq!(forest.sweep().unwrap(), report.unused);
    // Writes mend what was interrupted.
    for key in (0..KEYS).map(key) {
        tree.put(&key, b"again").unwrap();
        map.insert(key, b"again".to_vec());
    }
    for _ in 0..30 {
        change(&tree, &mut map, random, KEYS, 80);
    }
    let mended = check(&forest, &tree, &map);
    assert_eq!((mended.unused, mended.sealed), (0, mended.inner_sealed), "{mended:?}");
    // Above the leaves, writes are those of structure.
    map.keys().for_each(|key| assert!(tree.delete(key).unwrap()));
    let emptied = check(&forest, &tree, &Map::new());
    assert_eq!((emptied.unused, emptied.sealed), (0, 0), "{emptied:?}");
    assert!(emptied.leaves < 10, "{emptied:?}");
    Some((report, forest.figures()))
}
