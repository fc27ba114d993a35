//! Threads that keep count of what they did.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::super::{Direction, Range, Swap, Tree};
use super::{Map, Random, check, in_memory};

/// Writers of their own keys, counters that all write, and scanners that must find the keys that are always
/// there.
#[test]
fn threads_lose_nothing_and_scans_miss_nothing() {
    const WRITERS: u64 = 4;
    const COUNTERS: u64 = 5;
    let forest = in_memory();
    let tree = forest.tree("t").unwrap();
    let fixed: Vec<_> = (0..60).map(|number| format!("k{:05}", number * 50 + 1).into_bytes()).collect();
    fixed.iter().for_each(|key| tree.put(key, b"fixed").unwrap());
    let (stop, rounds) = (AtomicBool::new(false), AtomicU64::new(0));
    let maps: Vec<Map> = std::thread::scope(|scope| {
        let scanners: Vec<_> = [Direction::Up, Direction::Down]
            .map(|direction| {
                let (tree, fixed, stop, rounds) = (&tree, &fixed, &stop, &rounds);
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        scan_once(tree, fixed, direction);
                        rounds.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .into();
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let tree = tree.clone();
                scope.spawn(move || write_own_keys(&tree, writer, WRITERS, COUNTERS))
            })
            .collect();
        let maps = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
        stop.store(true, Ordering::Relaxed);
        scanners.into_iter().for_each(|scanner| scanner.join().unwrap());
        maps
    });
    let mut expected: Map = maps.into_iter().flatten().collect();
    expected.extend(fixed.into_iter().map(|key| (key, b"fixed".to_vec())));
    let mut counted = 0;
    for counter in 0..COUNTERS {
        let name = format!("k{counter:05}c").into_bytes();
        let value = tree.get(&name).unwrap().unwrap();
        counted += u64::from_le_bytes(value[..].try_into().unwrap());
        expected.insert(name, value);
    }
    assert_eq!(counted, WRITERS * 200, "no increment was lost");
    let report = check(&forest, &tree, &expected);
    assert_eq!((report.unused, report.sealed), (0, 0));
    let figures = forest.figures();
    assert!(figures.splits > 100 && figures.joins > 50, "{figures:?}");
    assert!(rounds.load(Ordering::Relaxed) > 0);
}

fn scan_once(tree: &Tree, fixed: &[Vec<u8>], direction: Direction) {
    let mut keys: Vec<_> = tree.scan(Range::all(), direction).map(|entry| entry.unwrap().0).collect();
    if direction == Direction::Down {
        keys.reverse();
    }
    assert!(keys.is_sorted_by(|one, other| one < other), "each key once, and in order");
    assert!(fixed.iter().all(|key| keys.binary_search(key).is_ok()));
}

fn write_own_keys(tree: &Tree, writer: u64, writers: u64, counters: u64) -> Map {
    let mut random = Random(writer + 77);
    let mut map = Map::new();
    for step in 0..3000 {
        let number = random.below(700) * writers + writer;
        let key = format!("k{number:05}w").into_bytes();
        if random.below(100) < if step / 750 % 2 == 0 { 20 } else { 80 } {
            assert_eq!(tree.delete(&key).unwrap(), map.remove(&key).is_some());
        } else {
            let value = random.value();
            tree.put(&key, &value).unwrap();
            map.insert(key.clone(), value);
        }
        assert_eq!(tree.get(&key).unwrap().as_ref(), map.get(&key), "a thread sees its own writes");
        if step % 15 == 0 {
            increment(tree, &format!("k{:05}c", random.below(counters)).into_bytes());
        }
    }
    map
}

fn increment(tree: &Tree, name: &[u8]) {
    let mut current = tree.get(name).unwrap();
    loop {
        let number = current.as_ref().map_or(0, |bytes| u64::from_le_bytes(bytes[..].try_into().unwrap()));
        let next = (number + 1).to_le_bytes();
        match tree.compare_and_swap(name, current.as_deref(), Some(&next)).unwrap() {
            Swap::Done => return,
            Swap::Differs(found) => current = found,
        }
    }
}
