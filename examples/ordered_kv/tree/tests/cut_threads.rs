//! Threads that write at the same time, and the power that is cut meanwhile.
//!
//! What is found is, of each thread, all that it had done up to some moment since its last flush, and nothing
//! of what came later. Keys are its own, so that is seen; and counters that all add to hold what was added up
//! to these moments.

use std::sync::Arc;

use pagelog::sim::SimStorage;

use super::super::{Forest, Swap, Tree, Tuning};
use super::{Map, Random, check, config, contents, hesitate_from_now_on, key, open_with};

const NARROW: Tuning = Tuning { leaf_bytes: 220, inner_bytes: 200, unmerged: 2 };
const WRITERS: u64 = 3;
const KEYS: u64 = 30;
const COUNTERS: u64 = 3;
const STEPS: u64 = 250;
const IMAGES: u64 = 100;

#[test]
fn a_power_cut_among_writers_leaves_of_each_what_it_had_done_by_then() {
    let (mut images, mut lost, mut interrupted, mut races) = (0, 0, 0, 0);
    for seed in 1..=6 {
        let disk = SimStorage::new(seed);
        disk.record_history();
        let forest =
            Forest::open(config(&Arc::new(disk.clone())).io_buffer_size(512).io_buffers(2), NARROW).unwrap();
        let tree = forest.tree("t").unwrap();
        forest.flush().unwrap();
        let begin = disk.operations();
        let journals: Vec<Journal> = std::thread::scope(|scope| {
            let writers = (0..WRITERS).map(|writer| {
                let (forest, tree, disk) = (&forest, &tree, &disk);
                scope.spawn(move || work(forest, tree, disk, writer, seed))
            });
            let writers: Vec<_> = writers.collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        races += forest.figures().lost_races;
        let mut random = Random(seed ^ 0xC07);
        for _ in 0..IMAGES {
            let moment = begin + random.below(disk.operations() + 1 - begin);
            let image = Arc::new(disk.image_at(moment, random.below(1 << 40)).unwrap());
            let found = examine(&image, &journals, moment);
            (images, lost) = (images + 1, lost + found.lost);
            interrupted += found.interrupted;
        }
    }
    let figures =
        format!("{images} images, {lost} steps lost, {interrupted} interrupted, {races} races lost");
    // A power cut that never lost anything, or met no change of structure, shows little.
    assert!(lost > images && interrupted > 10 && races > 10, "{figures}");
}

enum Step {
    /// A key of the thread's own, and what it holds now.
    Own(Vec<u8>, Option<Vec<u8>>),
    /// A counter had one more added.
    Add(u64),
}

/// What a thread has done, in its order.
#[derive(Default)]
struct Journal {
    /// With the operations of the disk that there had been when it began.
    steps: Vec<(u64, Step)>,
    /// When a flush had returned: the operations, and the steps before it.
    flushed: Vec<(u64, usize)>,
}

fn counter(number: u64) -> Vec<u8> {
    format!("counter {number}").into_bytes()
}

fn work(forest: &Forest, tree: &Tree, disk: &SimStorage, writer: u64, seed: u64) -> Journal {
    let mut random = Random(seed * 100 + writer + 1);
    hesitate_from_now_on(seed * 10 + writer + 1);
    let mut journal = Journal::default();
    for step in 0..STEPS {
        let began = disk.operations();
        let own = key(random.below(KEYS) * WRITERS + writer);
        // Grows and shrinks, twice.
        let deletes = if step % (STEPS / 2) < STEPS / 4 { 10 } else { 85 };
        let done = if random.below(8) == 0 {
            let number = random.below(COUNTERS);
            add_one(tree, &counter(number));
            Step::Add(number)
        } else if random.below(100) < deletes {
            tree.delete(&own).unwrap();
            Step::Own(own, None)
        } else {
            let mut value = format!("{writer}: {step}").into_bytes();
            value.resize(value.len() + random.below(20) as usize, b'.');
            tree.put(&own, &value).unwrap();
            Step::Own(own, Some(value))
        };
        journal.steps.push((began, done));
        if random.below(25) == 0 {
            let before = journal.steps.len();
            forest.flush().unwrap();
            journal.flushed.push((disk.operations(), before));
        }
    }
    journal
}

fn add_one(tree: &Tree, name: &[u8]) {
    loop {
        let old = tree.get(name).unwrap();
        let count = old.as_deref().map_or(0, count_of);
        let new = (count + 1).to_le_bytes();
        if tree.compare_and_swap(name, old.as_deref(), Some(&new)).unwrap() == Swap::Done {
            return;
        }
    }
}

fn count_of(value: &[u8]) -> u64 {
    u64::from_le_bytes(value.try_into().unwrap())
}

struct Found {
    /// Steps that were begun, and are not there.
    lost: u64,
    /// Changes of structure that were interrupted.
    interrupted: u64,
}

fn examine(image: &Arc<SimStorage>, journals: &[Journal], moment: u64) -> Found {
    let forest = open_with(image, NARROW);
    let tree = forest.existing_tree("t").unwrap().unwrap();
    let mut map = contents(&tree);
    let report = check(&forest, &tree, &map);
    let (mut least, mut most, mut lost) = ([0; COUNTERS as usize], [0; COUNTERS as usize], 0);
    for (writer, journal) in (0..).zip(journals) {
        let own: Vec<_> = (0..KEYS).map(|number| key(number * WRITERS + writer)).collect();
        let found: Map = map.iter().filter(|(key, _)| own.contains(key)).map(clone_of).collect();
        let (first, last) = moments(journal, moment, &found).unwrap_or_else(|| {
            panic!("thread {writer} at {moment}: not what it had done at any time since its flush")
        });
        for (index, (began, step)) in journal.steps.iter().enumerate() {
            let Step::Add(number) = step else { continue };
            least[*number as usize] += u64::from(index < first);
            most[*number as usize] += u64::from(index < last);
            assert!(index >= last || *began <= moment);
        }
        lost += (journal.steps.iter().filter(|(began, _)| *began < moment).count() as u64)
            .saturating_sub(last as u64);
    }
    for number in 0..COUNTERS {
        let value = map.get(&counter(number)).map_or(0, |value| count_of(value));
        let (least, most) = (least[number as usize], most[number as usize]);
        assert!((least..=most).contains(&value), "counter {number} at {moment}: {least} {value} {most}");
    }
    // Goes on from there.
    assert_eq!(forest.sweep().unwrap(), report.unused);
    for key in (0..KEYS * WRITERS).map(key) {
        tree.put(&key, b"again").unwrap();
        map.insert(key, b"again".to_vec());
    }
    check(&forest, &tree, &map);
    Found { lost, interrupted: report.unposted + report.sealed + report.unused }
}

fn clone_of((key, value): (&Vec<u8>, &Vec<u8>)) -> (Vec<u8>, Vec<u8>) {
    (key.clone(), value.clone())
}

/// The first and the last number of steps after which the thread's keys were as they are found, of those that
/// the cut can have left: all that were flushed before, and none that was begun later.
fn moments(journal: &Journal, moment: u64, found: &Map) -> Option<(usize, usize)> {
    let flushed = journal.flushed.iter().rev().find(|(operations, _)| *operations <= moment);
    let flushed = flushed.map_or(0, |(_, steps)| *steps);
    let (mut map, mut first, mut last) = (Map::new(), None, 0);
    for steps in 0..=journal.steps.len() {
        if steps >= flushed && map == *found {
            (first, last) = (first.or(Some(steps)), steps);
        }
        match journal.steps.get(steps) {
            Some((began, _)) if *began > moment => break,
            Some((_, Step::Own(key, Some(value)))) => _ = map.insert(key.clone(), value.clone()),
            Some((_, Step::Own(key, None))) => _ = map.remove(key),
            _ => {}
        }
    }
    first.map(|first| (first, last))
}
