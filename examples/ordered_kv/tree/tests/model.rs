//! The tree against a map, over restarts.

use std::ops::ControlFlow;
use std::sync::Arc;

use pagelog::MemoryStorage;

use super::super::{Direction, Error, Figures, Range, Tree};
use super::{Map, Random, change, check, contents, in_memory, key, open};

fn compare_range(tree: &Tree, map: &Map, random: &mut Random, keys: u64) {
    let (mut from, mut to) = (random.key(keys), random.key(keys));
    if from > to {
        std::mem::swap(&mut from, &mut to);
    }
    let (range, expected): (_, Vec<_>) = match random.below(4) {
        0 => (Range::new(&from[..]..&to[..]), map.range(from..to).collect()),
        1 => (Range::new(&from[..]..=&to[..]), map.range(from..=to).collect()),
        2 => (Range::new(..&to[..]), map.range(..to).collect()),
        _ => {
            from.truncate(random.below(4) as usize);
            (Range::prefix(&from), map.iter().filter(|(key, _)| key.starts_with(&from)).collect())
        }
    };
    let owned = |entries: Vec<(&Vec<u8>, &Vec<u8>)>| -> Vec<_> {
        entries.into_iter().map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    let mut expected = owned(expected);
    let up: Vec<_> = tree.scan(range.clone(), Direction::Up).map(Result::unwrap).collect();
    assert_eq!(up, expected);
    expected.reverse();
    let most = random.below(10) as usize;
    let mut down = Vec::new();
    tree.visit(range, Direction::Down, |key, value| {
        if down.len() == most {
            return ControlFlow::Break(());
        }
        down.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    })
    .unwrap();
    expected.truncate(most);
    assert_eq!(down, expected);
}

#[test]
fn a_tree_is_a_map_over_restarts() {
    let mut figures = Figures::default();
    let (mut deepest, mut evictions) = (0, 0);
    for seed in 1..=6 {
        let mut random = Random(seed);
        let storage = Arc::new(MemoryStorage::new());
        let mut forest = open(&storage);
        let mut tree = forest.tree("t").unwrap();
        let mut map = Map::new();
        for step in 0..3000 {
            // Grows, then shrinks, again and again.
            change(&tree, &mut map, &mut random, 600, if step / 500 % 2 == 0 { 15 } else { 85 });
            let probe = random.key(600);
            assert_eq!(tree.get(&probe).unwrap(), map.get(&probe).cloned());
            if step % 40 == 0 {
                compare_range(&tree, &map, &mut random, 600);
            }
            if random.below(400) == 0 {
                deepest = check(&forest, &tree, &map).levels.max(deepest);
                figures += forest.figures();
                evictions += forest.stats().counts.evictions;
                forest.close().unwrap();
                forest = open(&storage);
                tree = forest.existing_tree("t").unwrap().unwrap();
            }
        }
        let report = check(&forest, &tree, &map);
        assert_eq!((report.unused, report.sealed, report.unposted), (0, 0, 0), "nothing was interrupted");
        for key in map.into_keys() {
            assert!(tree.delete(&key).unwrap());
        }
        let report = check(&forest, &tree, &Map::new());
        assert!(report.leaves < 10, "an emptied tree is small: {report:?}");
        figures += forest.figures();
    }
    assert!(figures.splits > 500 && figures.growths > 10, "{figures:?}");
    assert!(figures.joins > 300 && figures.collapses > 2, "{figures:?}");
    assert!(deepest >= 3 && evictions > 100, "{deepest} levels, {evictions} evictions");
}

#[test]
fn what_is_loaded_is_there_and_loads_mix_with_what_was_there() {
    let forest = in_memory();
    let tree = forest.tree("t").unwrap();
    let mut map: Map = (0..2000u64).map(|number| (format!("{number:06}").into(), vec![1; 10])).collect();
    assert_eq!(tree.load(map.clone()).unwrap(), 2000);
    let report = check(&forest, &tree, &map);
    let fill = report.bytes as f64 / ((report.leaves + report.inner_nodes) * 256) as f64;
    assert!(fill > 0.6 && report.levels >= 3 && report.unused == 0, "{fill} {report:?}");

    let more: Map = (500..1500u64).map(|number| (format!("{number:06}+").into(), vec![2; 30])).collect();
    tree.load(more.clone()).unwrap();
    map.extend(more);
    let unsorted = [("b", "1"), ("a", "2"), ("b", "3"), ("000007", "4")];
    let unsorted = unsorted.map(|(key, value)| (key.as_bytes().to_vec(), value.as_bytes().to_vec()));
    assert_eq!(tree.load(unsorted.clone()).unwrap(), 4);
    map.extend(unsorted);
    check(&forest, &tree, &map);
    assert!(forest.figures().loads > 20);
}

#[test]
fn named_trees_share_a_store_and_nothing_else() {
    let storage = Arc::new(MemoryStorage::new());
    let forest = open(&storage);
    let names = ["one", "two", "drei"];
    for (number, name) in names.iter().enumerate() {
        let tree = forest.tree(name).unwrap();
        for at in 0..200 {
            tree.put(&key(at), &[number as u8; 9]).unwrap();
        }
    }
    assert!(forest.existing_tree("four").unwrap().is_none());
    forest.close().unwrap();
    let forest = open(&storage);
    assert_eq!(forest.names().unwrap(), ["drei", "one", "two"]);
    for (number, name) in names.iter().enumerate() {
        let all = contents(&forest.tree(name).unwrap());
        assert!(all.len() == 200 && all.values().all(|value| *value == [number as u8; 9]));
    }
    let report = forest.check().unwrap();
    assert_eq!((report.trees, report.entries, report.faults.len(), report.unused), (3, 600, 0, 0));
}

#[test]
fn long_keys_and_values_are_taken_and_longer_keys_refused() {
    let forest = in_memory();
    let tree = forest.tree("t").unwrap();
    let longest = vec![b'x'; 65_535];
    for length in [65_535, 65_534, 300] {
        tree.put(&longest[..length], &vec![7; 100_000]).unwrap();
    }
    (0..50).for_each(|number| tree.put(&key(number), b"small").unwrap());
    assert_eq!(tree.get(&longest).unwrap().unwrap().len(), 100_000);
    assert!(matches!(tree.put(&[0; 65_536], b""), Err(Error::KeyTooLong(65_536))));
    let report = forest.check().unwrap();
    assert_eq!((report.entries, report.faults), (53, Vec::new()));
}
