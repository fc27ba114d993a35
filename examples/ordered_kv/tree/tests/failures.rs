//! Calls to the disk that fail, once or for ever, at each place of random workloads.

use std::sync::Arc;

use pagelog::sim::{Fault, SimStorage, When};

use super::super::{Direction, Error, Figures, Forest, Range, Result, Tree};
use super::{Map, Random, TINY, check, config, contents, open};

const STEPS: u64 = 240;
const KEYS: u64 = 60;
/// A run with more than this is over: nothing works any more.
const MOST_ERRORS: u64 = 40;

/// What is known while calls fail.
struct Run {
    /// What the tree is, or, if a change was answered by an error, what else it may be.
    possible: Vec<Map>,
    /// What it was, or may have been, at and since the last flush that returned well.
    since_flush: Vec<Map>,
    /// A change that may have happened or not, for reading failed as well. It is tried again until that is
    /// known: so there are never more than two possible states.
    undecided: Option<(Vec<u8>, Option<Vec<u8>>)>,
    /// The calls to the disk at that flush.
    flushed: u64,
    errors: u64,
    /// Errors after which a change came out well again.
    overcome: u64,
    /// The trees' figures, and whether the store could be checked and was found sound while it was still
    /// open.
    figures: Figures,
    checked: u64,
}

impl Run {
    fn new() -> Self {
        let (possible, since_flush) = (vec![Map::new()], vec![Map::new()]);
        let figures = Figures::default();
        Self {
            possible,
            since_flush,
            undecided: None,
            flushed: 0,
            errors: 0,
            overcome: 0,
            figures,
            checked: 0,
        }
    }

    /// A change of one key. If it fails it has happened, or it has not.
    fn change(&mut self, tree: &Tree, key: Vec<u8>, value: Option<Vec<u8>>) {
        let (key, value) = self.undecided.take().unwrap_or((key, value));
        let done = match &value {
            Some(value) => tree.put(&key, value),
            None => tree.delete(&key).map(drop),
        };
        let mut changed = self.possible.clone();
        for map in &mut changed {
            match value.clone() {
                Some(value) => drop(map.insert(key.clone(), value)),
                None => drop(map.remove(&key)),
            }
        }
        self.overcome += u64::from(done.is_ok() && self.errors > 0);
        if let Err(error) = done {
            self.note(&error);
            changed.extend(self.possible.iter().cloned());
            match tree.get(&key) {
                Ok(found) => changed.retain(|map| map.get(&key) == found.as_ref()),
                Err(_) => self.undecided = Some((key, value)),
            }
        }
        assert!(!changed.is_empty(), "neither done nor undone");
        changed.sort();
        changed.dedup();
        self.since_flush.extend(changed.iter().cloned());
        self.possible = changed;
    }

    fn read(&mut self, tree: &Tree, key: &[u8]) {
        match tree.get(key) {
            Ok(found) => {
                let fits = |map: &Map| map.get(key) == found.as_ref();
                assert!(self.possible.iter().any(fits), "{key:?} is {found:?}");
            }
            Err(error) => self.note(&error),
        }
    }

    /// It is the disk that fails, and never the tree that is taken for damaged.
    fn note(&mut self, error: &Error) {
        assert!(matches!(error, Error::Store(_)), "{error}");
        self.errors += 1;
    }

    fn flush(&mut self, forest: &Forest, disk: &SimStorage) {
        match forest.flush() {
            Ok(()) => {
                self.since_flush.clone_from(&self.possible);
                self.flushed = disk.calls();
            }
            Err(error) => self.note(&error),
        }
    }

    fn workload(&mut self, disk: &SimStorage, seed: u64) -> Result<()> {
        let storage = Arc::new(disk.clone());
        // With the small cache most reads come from the disk.
        let capacity = if seed.is_multiple_of(2) { 2 << 10 } else { 1 << 20 };
        let config = config(&storage).io_buffer_size(512).io_buffers(2).cache_capacity(capacity);
        let forest = Forest::open(config, TINY)?;
        let tree = forest.tree("t")?;
        let mut random = Random(seed);
        for step in 0..STEPS {
            let (key, value) = (random.key(KEYS), random.value());
            let deletes = if step < STEPS / 2 { 10 } else { 97 };
            let value = (random.below(100) >= deletes).then_some(value);
            self.change(&tree, key, value);
            self.read(&tree, &random.key(KEYS));
            if random.below(20) == 0 {
                self.flush(&forest, disk);
            }
            if self.errors > MOST_ERRORS {
                break;
            }
        }
        self.figures = forest.figures();
        let contents = tree.scan(Range::all(), Direction::Up).collect::<Result<Map>>();
        if let (Ok(found), Ok(report)) = (contents, forest.check()) {
            assert_eq!(report.faults, Vec::<String>::new());
            assert!(self.possible.contains(&found));
            self.checked += 1;
        }
        forest.close()
    }

    /// The store is opened again when calls succeed once more.
    fn examine(&self, disk: &SimStorage) {
        let forest = open(&Arc::new(disk.clone()));
        let tree = forest.tree("t").unwrap();
        let found = contents(&tree);
        assert!(self.since_flush.contains(&found), "not what it may have been since the flush");
        let report = check(&forest, &tree, &found);
        assert_eq!(forest.sweep().unwrap(), report.unused);
        let mut map = found;
        for number in 0..KEYS {
            tree.put(&super::key(number), b"again").unwrap();
            map.insert(super::key(number), b"again".to_vec());
        }
        let report = check(&forest, &tree, &map);
        assert_eq!((report.unused, report.sealed), (0, 0), "{report:?}");
    }
}

/// Which of a run's calls to try: all, if the environment says so.
fn stride() -> usize {
    std::env::var("PAGELOG_STRIDE").ok().and_then(|text| text.parse().ok()).unwrap_or(61)
}

#[test]
fn a_call_that_fails_costs_nothing_that_was_acknowledged() {
    let (mut runs, mut overcome, mut checked) = (0, 0, 0);
    let mut figures = Figures::default();
    for seed in 1..=4u64 {
        let disk = SimStorage::new(seed);
        let mut healthy = Run::new();
        healthy.workload(&disk, seed).unwrap();
        assert_eq!((healthy.errors, healthy.checked), (0, 1));
        figures += healthy.figures;
        let faults = [Fault::Error, Fault::NoSpace, Fault::ShortWrite, Fault::SyncDropsPages];
        for (call, fault) in
            (1..=disk.calls()).zip(faults.into_iter().cycle()).skip(seed as usize).step_by(stride())
        {
            for for_ever in [false, true] {
                let disk = SimStorage::new(seed);
                let fail = if for_ever { SimStorage::fail_from } else { SimStorage::fail_at };
                fail(&disk, When::Call(call), fault);
                let mut run = Run::new();
                let outcome = run.workload(&disk, seed);
                let is_told = run.errors > 0 || outcome.is_err();
                assert!(is_told || !for_ever || call > healthy.flushed, "call {call}, {fault:?}");
                runs += 1;
                overcome += u64::from(run.overcome > 0);
                checked += run.checked;
                for image in [disk.after_kill(), disk.after_power_cut(call)] {
                    run.examine(&image);
                }
            }
        }
    }
    assert!(runs > 80 && overcome > runs / 10 && checked > runs / 4, "{runs} {overcome} {checked}");
    assert!(figures.inner_splits > 0 && figures.inner_joins > 0 && figures.collapses > 0, "{figures:?}");
}
