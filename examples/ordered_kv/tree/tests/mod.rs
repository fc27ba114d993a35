//! The tree under test. Nodes are tiny here, so that structure changes all the time.

mod cut_threads;
mod failures;
mod histories;
mod model;
#[path = "../../../../tests/linearizability/order.rs"]
mod order;
mod power_cuts;
mod removal;
mod steps;
mod threads;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use pagelog::{Config, MemoryStorage, Storage};

use super::{Direction, Forest, Range, Swap, Tree, Tuning};

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
    open_with(storage, TINY)
}

fn open_with<S: Storage>(storage: &Arc<S>, tuning: Tuning) -> Forest {
    Forest::open(config(storage), tuning).unwrap()
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

thread_local! {
    static HESITATION: RefCell<Option<Random>> = const { RefCell::new(None) };
}

/// From now on this thread loses time wherever it has read a node.
fn hesitate_from_now_on(seed: u64) {
    HESITATION.set(Some(Random(seed)));
}

/// Every node that is read comes by here. On few processors hardly anything would overlap otherwise.
pub(super) fn hesitate() {
    HESITATION.with_borrow_mut(|random| {
        let Some(random) = random else { return };
        match random.below(8) {
            0..2 => std::thread::yield_now(),
            2..4 => (0..random.below(300)).for_each(|_| std::hint::spin_loop()),
            _ => {}
        }
    });
}
