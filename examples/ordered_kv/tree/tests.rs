//! The tree against a map, over restarts, power cuts and threads. Nodes are tiny here, so that structure changes all the time.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use pagelog::sim::SimStorage;
use pagelog::{Config, MemoryStorage, Storage};

use super::block::Link;
use super::find::{Post, Target};
use super::forest::Structure;
use super::join::Step;
use super::node::Node;
use super::{Direction, Error, Figures, Forest, Range, Swap, Tree, Tuning};

const TINY: Tuning = Tuning { leaf_bytes: 256, inner_bytes: 256, unmerged: 3 };

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16) % bound
    }

    /// Of various lengths, some of them prefixes of others, now and then the empty one.
    fn key(&mut self, keys: u64) -> Vec<u8> {
        let number = self.below(keys);
        if number == 0 { Vec::new() } else { key(number) }
    }

    fn value(&mut self) -> Vec<u8> {
        let length = if self.below(50) == 0 { 400 } else { self.below(20) };
        vec![self.below(256) as u8; length as usize]
    }
}

fn key(number: u64) -> Vec<u8> {
    let mut key = format!("k{:04}", number * 7919 % 10_000).into_bytes();
    key.resize(key.len() + (number % 3) as usize, 0);
    key
}

fn config<S: Storage>(storage: &Arc<S>) -> Config {
    let config = Config::with_storage(Arc::clone(storage) as Arc<dyn Storage>);
    config.segment_size(4 << 10).io_buffer_size(1 << 10).cache_capacity(16 << 10).snapshot_interval(64 << 10)
}

fn open<S: Storage>(storage: &Arc<S>) -> Forest {
    Forest::open(config(storage), TINY).unwrap()
}

fn in_memory() -> Forest {
    let config = Config::with_storage(Arc::new(MemoryStorage::new()));
    Forest::open(config.segment_size(64 << 10), TINY).unwrap()
}

fn contents(tree: &Tree) -> Map {
    tree.scan(Range::all(), Direction::Up).map(Result::unwrap).collect()
}

/// Sound, and as the map says.
fn check(forest: &Forest, tree: &Tree, map: &Map) -> super::Report {
    let report = forest.check().unwrap();
    assert_eq!(report.faults, Vec::<String>::new());
    assert_eq!(contents(tree), *map);
    report
}

fn add(sum: &mut Figures, more: Figures) {
    sum.splits += more.splits;
    sum.growths += more.growths;
    sum.joins += more.joins;
    sum.late_joins += more.late_joins;
    sum.late_posts += more.late_posts;
    sum.unsealed += more.unsealed;
    sum.collapses += more.collapses;
    sum.loads += more.loads;
    sum.restarts += more.restarts;
    sum.lost_races += more.lost_races;
}

/// One random change, to the tree and to the map.
fn change(tree: &Tree, map: &mut Map, random: &mut Random, keys: u64, deletes: u64) {
    let key = random.key(keys);
    if random.below(100) < deletes {
        assert_eq!(tree.delete(&key).unwrap(), map.remove(&key).is_some());
        return;
    }
    let value = random.value();
    if random.below(4) > 0 {
        tree.put(&key, &value).unwrap();
        map.insert(key, value);
        return;
    }
    let current = map.get(&key).cloned();
    let wrong = Some(&b"what it never is, for it is too long for a value"[..]);
    assert_eq!(tree.compare_and_swap(&key, wrong, None).unwrap(), Swap::Differs(current.clone()));
    let new = (random.below(3) > 0).then_some(value);
    assert_eq!(tree.compare_and_swap(&key, current.as_deref(), new.as_deref()).unwrap(), Swap::Done);
    match new {
        Some(value) => drop(map.insert(key, value)),
        None => drop(map.remove(&key)),
    }
}

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
                add(&mut figures, forest.figures());
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
        add(&mut figures, forest.figures());
    }
    assert!(figures.splits > 500 && figures.growths > 10, "{figures:?}");
    assert!(figures.joins > 300 && figures.collapses > 5, "{figures:?}");
    assert!(deepest >= 3 && evictions > 100, "{deepest} levels, {evictions} evictions");
}

#[test]
fn whatever_a_power_cut_leaves_is_a_tree_with_all_that_was_flushed() {
    let mut figures = Figures::default();
    let (mut images, mut unposted, mut sealed, mut unused) = (0, 0, 0, 0);
    for seed in 1..=12 {
        let disk = SimStorage::new(seed);
        disk.record_history();
        let (states, flushed) = power_cut_workload(&disk, seed);
        let mut random = Random(seed ^ 0xBEEF);
        for moment in disk.history().unwrap() {
            let image = Arc::new(disk.image_at(moment, random.below(1 << 40)).unwrap());
            let forest = open(&image);
            images += 1;
            let acknowledged = flushed.iter().rev().find(|(operations, _)| *operations <= moment);
            let Some(tree) = forest.existing_tree("t").unwrap() else {
                assert!(acknowledged.is_none());
                continue;
            };
            let (found, first) = (contents(&tree), acknowledged.map_or(0, |(_, state)| *state));
            let state = states[first..].iter().position(|state| *state == found);
            let mut map = states[first + state.expect("not what it was at any time since the flush")].clone();
            let report = check(&forest, &tree, &map);
            unposted += report.unposted;
            sealed += report.sealed;
            unused += report.unused;
            assert_eq!(forest.sweep().unwrap(), report.unused);
            // It goes on from there, and writes mend what was interrupted.
            let all: Vec<_> = (0..80).map(key).collect();
            for key in &all {
                tree.put(key, b"again").unwrap();
                map.insert(key.clone(), b"again".to_vec());
            }
            for _ in 0..30 {
                change(&tree, &mut map, &mut random, 80, 80);
            }
            let report = check(&forest, &tree, &map);
            assert_eq!((report.unused, report.sealed), (0, 0), "{report:?}");
            add(&mut figures, forest.figures());
        }
    }
    assert!(
        images > 300 && unposted > 0 && sealed > 0 && unused > 0,
        "{images} {unposted} {sealed} {unused}"
    );
    assert!(figures.late_joins > 0 && figures.late_posts > 0, "{figures:?}");
}

/// Returns the map after each change, and at which operation of the disk which of them was flushed.
fn power_cut_workload(disk: &SimStorage, seed: u64) -> (Vec<Map>, Vec<(u64, usize)>) {
    let mut random = Random(seed);
    let storage = Arc::new(disk.clone());
    // A buffer takes few records, so that many of the moments lie between two steps of one change of structure.
    let config = config(&storage).io_buffer_size(512).io_buffers(2);
    let forest = Forest::open(config, TINY).unwrap();
    let tree = forest.tree("t").unwrap();
    let (mut map, mut states, mut flushed) = (Map::new(), vec![Map::new()], Vec::new());
    for step in 0..160 {
        change(&tree, &mut map, &mut random, 80, if step < 80 { 10 } else { 90 });
        states.push(map.clone());
        if random.below(40) == 0 {
            forest.flush().unwrap();
            flushed.push((disk.operations(), states.len() - 1));
        }
    }
    (states, flushed)
}

/// Writers of their own keys, counters that all write, and scanners that must find the keys that are always there.
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

/// A tree of some leaves below one root. Returns a leaf that is not the first one: its link, and its low bound.
fn with_a_joinable_leaf(forest: &Forest) -> (Tree, Link, Vec<u8>) {
    let tree = forest.tree("t").unwrap();
    (0..12u8).for_each(|number| tree.put(&[b'a' + number], &[number; 50]).unwrap());
    let guard = forest.shared.cache.pin();
    let root = forest.shared.read(&guard, tree.root).unwrap().unwrap();
    assert!(root.base.level() == 1 && root.base.count() > 1, "{root:?}");
    let (link, low) = (root.base.child(1), root.base.key(1).to_vec());
    drop(guard);
    (tree, link, low)
}

/// Makes both leaves small without joining them, and seals the right one.
fn sealed(forest: &Forest, tree: &Tree, low: &[u8]) -> Link {
    let guard = forest.shared.cache.pin();
    let shared = &forest.shared;
    for (key, _) in contents(tree) {
        let seat = tree.find(&guard, Target::At(&key), 0).unwrap().unwrap().seat;
        assert!(shared.cache.link(seat.page_id(), seat.version, Node::put(&key, b"old")).unwrap().is_done());
    }
    tree.seal_for_join(low, 0, 0).unwrap().expect("it fits").0
}

#[test]
fn a_reader_that_was_overtaken_by_a_join_begins_again() {
    let forest = in_memory();
    let (tree, link, low) = with_a_joinable_leaf(&forest);
    let shared = &forest.shared;
    assert_eq!(sealed(&forest, &tree, &low), link);
    assert_eq!(tree.get(&low).unwrap().unwrap(), b"old", "what is sealed can be read");
    // Some reader is at the root, at the leaf before, and at the leaf.
    let guard = shared.cache.pin();
    let at_root = || shared.read(&guard, tree.root).unwrap().unwrap();
    let reader = at_root();
    assert!(tree.descend(&guard, at_root(), Target::At(&low), 0).unwrap().is_some());

    // A scan has taken in what is before the leaf.
    let mut scan = tree.scan(Range::new(..), Direction::Up).map(Result::unwrap).peekable();
    assert!(scan.peek().unwrap().0 < low);

    // The join goes on, up to the last step.
    let mut structure = Structure::default();
    while structure.to_free.is_empty() {
        assert!(matches!(tree.finish_once(&mut structure, link, &low, 0).unwrap(), Step::Again));
    }
    tree.put(&low, b"new").unwrap();
    assert_eq!(tree.get(&low).unwrap().unwrap(), b"new");
    assert!(shared.read(&guard, link).unwrap().unwrap().base.is_sealed(), "it is there, with the old value");
    assert_eq!(scan.find(|(key, _)| *key >= low).unwrap(), (low.clone(), b"new".to_vec()));
    assert!(tree.descend(&guard, reader, Target::At(&low), 0).unwrap().is_none());

    // Who has its link finds nothing when the page is freed, nor when it is another's.
    shared.free_pending(&mut structure).unwrap();
    assert!(shared.read(&guard, link).unwrap().is_none());
    assert_eq!(forest.tree("other").unwrap().root.page, link.page);
    assert!(shared.read(&guard, link).unwrap().is_none());
}

#[test]
fn a_node_that_was_joined_is_not_posted_by_who_comes_late() {
    let forest = in_memory();
    let (tree, link, low) = with_a_joinable_leaf(&forest);
    let post = || Post { level: 0, low: low.clone(), link };
    sealed(&forest, &tree, &low);
    let mut structure = Structure::default();
    assert!(matches!(tree.finish_once(&mut structure, link, &low, 0).unwrap(), Step::Again));
    tree.post(vec![post()]).unwrap();
    assert_eq!(forest.check().unwrap().unposted, 1, "it is sealed");
    tree.finish_sealed(link, &low, 0).unwrap();
    tree.post(vec![post()]).unwrap();
    tree.post_late(post()).unwrap();
    let report = forest.check().unwrap();
    assert_eq!((report.faults, report.unposted, report.unused), (Vec::new(), 0, 0));
}

#[test]
fn a_sealed_node_that_its_parent_needs_is_unsealed_by_a_write() {
    let forest = in_memory();
    let (tree, _, _) = with_a_joinable_leaf(&forest);
    let guard = forest.shared.cache.pin();
    let first = tree.find(&guard, Target::At(b""), 0).unwrap().unwrap().seat;
    assert!(forest.shared.cache.link(first.page_id(), first.version, Node::seal()).unwrap().is_done());
    drop((first, tree.get(b"a").unwrap().expect("it can be read")));
    assert_eq!(forest.check().unwrap().sealed, 1);
    tree.put(b"a", b"b").unwrap();
    let report = forest.check().unwrap();
    assert_eq!((report.sealed, report.faults, forest.figures().unsealed), (0, Vec::new(), 1));
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
