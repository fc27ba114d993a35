//! Dropping trees: all of it, beside writers, and when the power is cut.

use std::sync::Arc;

use pagelog::MemoryStorage;
use pagelog::sim::SimStorage;

use super::super::{Error, Forest, Tuning};
use super::{Map, Random, check, config, contents, in_memory, key, open, open_with};

const NARROW: Tuning = Tuning { leaf_bytes: 220, inner_bytes: 200, unmerged: 2 };

fn fill(forest: &Forest, name: &str, keys: u64) -> Map {
    let (tree, mut map) = (forest.tree(name).unwrap(), Map::new());
    for key in (0..keys).map(key) {
        tree.put(&key, name.as_bytes()).unwrap();
        map.insert(key, name.into());
    }
    map
}

#[test]
fn a_dropped_tree_leaves_no_page_and_no_name() {
    let storage = Arc::new(MemoryStorage::new());
    let forest = open(&storage);
    let kept = fill(&forest, "kept", 40);
    let before = forest.stats().free_page_ids;
    fill(&forest, "t", 600);
    let old = forest.tree("t").unwrap();
    assert!(forest.drop_tree("t").unwrap());
    assert!(!forest.drop_tree("t").unwrap());
    assert!(
        matches!(old.get(b"k"), Err(Error::Dropped)) && matches!(old.put(b"k", b"v"), Err(Error::Dropped))
    );
    assert_eq!(forest.names().unwrap(), ["kept"]);
    assert!(forest.stats().free_page_ids > before + 30);
    let tree = forest.tree("kept").unwrap();
    assert_eq!(check(&forest, &tree, &kept).unused, 0);
    // The name and the ids are used again, and old handles still lead nowhere.
    let new = fill(&forest, "t", 100);
    assert!(matches!(old.get(b"k"), Err(Error::Dropped)));
    forest.close().unwrap();
    let forest = open(&storage);
    assert_eq!(contents(&forest.tree("t").unwrap()), new);
    assert_eq!(forest.check().unwrap().unused, 0);
}

#[test]
fn writers_that_are_at_work_on_a_tree_that_is_dropped_are_told_and_leave_nothing_behind() {
    for round in 0..20 {
        let forest = in_memory();
        fill(&forest, "t", 30);
        std::thread::scope(|scope| {
            for thread in 0..3 {
                let tree = forest.tree("t").unwrap();
                scope.spawn(move || {
                    super::hesitate_from_now_on(round * 8 + thread + 1);
                    let mut random = Random(round * 8 + thread + 1);
                    loop {
                        let (key, value) = (random.key(5000), random.value());
                        let done = if random.below(4) == 0 {
                            tree.delete(&key).map(drop)
                        } else {
                            tree.put(&key, &value)
                        };
                        match done {
                            Ok(()) => {}
                            Err(Error::Dropped) => break,
                            Err(error) => panic!("{error}"),
                        }
                    }
                });
            }
            std::thread::sleep(std::time::Duration::from_millis(3));
            assert!(forest.drop_tree("t").unwrap());
        });
        let report = forest.check().unwrap();
        assert_eq!((report.trees, report.unused, report.faults), (0, 0, vec![]));
    }
}

#[test]
fn a_power_cut_leaves_all_of_a_tree_or_pages_that_a_sweep_frees() {
    let (mut whole, mut gone, mut in_the_midst) = (0, 0, 0);
    for seed in 1..=3 {
        let disk = SimStorage::new(seed);
        let config = config(&Arc::new(disk.clone())).io_buffer_size(512).io_buffers(2);
        let forest = Forest::open(config, NARROW).unwrap();
        let (dropped, kept) = (fill(&forest, "t", 1500), fill(&forest, "u", 60));
        forest.flush().unwrap();
        disk.record_history();
        let began = disk.operations();
        assert!(forest.drop_tree("t").unwrap());
        forest.flush().unwrap();
        let ended = disk.operations();
        for moment in disk.history().unwrap().filter(|moment| *moment >= began) {
            let image = Arc::new(disk.image_at(moment, seed ^ moment).unwrap());
            let forest = open_with(&image, NARROW);
            match forest.existing_tree("t").unwrap() {
                Some(tree) => {
                    assert!(moment < ended, "that it is gone was flushed");
                    assert_eq!(contents(&tree), dropped);
                    whole += 1;
                }
                None => gone += 1,
            }
            let tree = forest.tree("u").unwrap();
            let unused = check(&forest, &tree, &kept).unused;
            in_the_midst += u64::from(unused > 0);
            assert_eq!(forest.sweep().unwrap(), unused);
            let again = fill(&forest, "t", 20);
            let found = contents(&forest.tree("t").unwrap());
            assert!(again.iter().all(|(key, value)| found.get(key) == Some(value)));
            assert_eq!(check(&forest, &tree, &kept).unused, 0);
        }
    }
    assert!(whole > 0 && gone > 0 && in_the_midst > 3, "{whole}, {gone}, {in_the_midst}");
}
