//! `kill -9` at random moments, over and over on one store: it always opens, and everything that was
//! acknowledged is there.
//!
//! The test runs itself as a child. In the child some threads change pages of their own and a page that all
//! share; what each of them does follows from a seed, so the parent can do the same in a map. Now and then a
//! thread flushes and says how far it has come, on a pipe. The parent kills the child after some of these
//! words, opens the store and asks of each thread: is what is there the state after some number of its steps,
//! and is that number at least what it said last? (One number for all of its pages: there is no hole.) A step
//! that is a batch counts as one. The next child goes on from there. Some pages are so large that they go to
//! files of their own; of those, an opened store has the ones that it needs and no other. In a build with the
//! feature `compression`, records are compressed, too, and dictionaries are trained now and then.
//!
//! `PAGELOG_KILLS=200 cargo test --features compression --test kill -- --nocapture` is the long form.
//!
//! A kill loses nothing that the kernel has; power cuts are the business of the simulated disk.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Instant;

use common::Dice;
use pagelog::{Cas, Codec, CodecError, Config, Fragment, PageCache, PageId, Version};

const THREADS: u64 = 4;
const CHILD: &str = "PAGELOG_TEST_KILL_CHILD";
/// In bytes: longer values go to files of their own.
const LARGE: u32 = 1024;
/// In every eighth round a dictionary of so many bytes is trained, until a store has all that it may have.
#[cfg(feature = "compression")]
const TRAINS: u64 = 5;
#[cfg(feature = "compression")]
const MOST_DICTIONARIES: u64 = 255;
#[cfg(feature = "compression")]
const DICTIONARY: usize = 256;
const TRAINED: &str = "trained\n";
/// The first number of the page that all threads write; other pages begin with their serial number.
const SHARED: u64 = u64::MAX;

/// A page is a list of numbers. The shared one is a sum for each thread.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Numbers(Vec<u64>);

struct LittleEndian;

impl Codec<Numbers> for LittleEndian {
    fn encode(fragment: &Numbers, into: &mut Vec<u8>) -> Result<(), CodecError> {
        fragment.0.iter().for_each(|number| into.extend_from_slice(&number.to_le_bytes()));
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<Numbers, CodecError> {
        let (numbers, rest) = bytes.as_chunks::<8>();
        if !rest.is_empty() {
            return Err(CodecError::from("not a multiple of eight bytes"));
        }
        Ok(Numbers(numbers.iter().map(|number| u64::from_le_bytes(*number)).collect()))
    }
}

impl Fragment for Numbers {
    type Codec = LittleEndian;

    fn merge(oldest_to_newest: &[&Self]) -> Self {
        let mut all = oldest_to_newest[0].0.clone();
        for fragment in &oldest_to_newest[1..] {
            if all[0] == SHARED {
                all.iter_mut().zip(&fragment.0).skip(1).for_each(|(sum, number)| *sum += number);
            } else {
                all.extend(&fragment.0);
            }
        }
        Self(all)
    }
}

/// What one thread has: its pages by their serial numbers, and its links to the shared page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct State {
    pages: BTreeMap<u64, Vec<u64>>,
    shared: u64,
}

#[derive(Clone, Debug)]
enum Change {
    Allocate(u64),
    Link(u64, u64),
    Replace(u64, u64),
    Free(u64),
    Shared,
}

/// The next thing that a thread does; more than one change is a batch.
fn next_step(state: &State, thread: u64, dice: &mut Dice, pages: &mut u64) -> Vec<Change> {
    let changes = if dice.below(12) == 0 { 2 + dice.below(6) } else { 1 };
    let mut ahead = state.clone();
    let mut step = Vec::new();
    for _ in 0..changes {
        let picked = ahead.pages.keys().nth(dice.below(ahead.pages.len().max(1) as u64) as usize).copied();
        let change = match (dice.below(20), picked) {
            (0..2, _) | (_, None) => {
                *pages += 1;
                // The remainder tells whose page it is; no page begins with zero.
                Change::Allocate(*pages * THREADS + thread)
            }
            (2..5, Some(page)) if ahead.pages.len() > 6 => Change::Free(page),
            (5..8, _) => Change::Shared,
            (8..10, Some(page)) => Change::Replace(page, dice.next()),
            (_, Some(page)) => Change::Link(page, dice.next()),
        };
        apply(&mut ahead, &change);
        step.push(change);
    }
    step
}

/// What a page is replaced by: now and then something that goes to a file of its own, also if it is
/// compressed, or something that compression makes short.
fn replacement(serial: u64, number: u64) -> Vec<u64> {
    let mut page = vec![serial];
    match number % 4 {
        0 => {
            let mut dice = Dice::new(number);
            page.extend((0..LARGE / 4).map(|_| dice.next()));
        }
        1 => page.extend([number; LARGE as usize / 16]),
        _ => page.push(number),
    }
    page
}

fn apply(state: &mut State, change: &Change) {
    match *change {
        Change::Allocate(serial) => drop(state.pages.insert(serial, vec![serial])),
        Change::Link(serial, number) => state.pages.get_mut(&serial).unwrap().push(number),
        Change::Replace(serial, number) => drop(state.pages.insert(serial, replacement(serial, number))),
        Change::Free(serial) => drop(state.pages.remove(&serial)),
        Change::Shared => state.shared += 1,
    }
}

/// Every other time, the store's own thread does the housekeeping.
fn open(path: &Path, round: u64) -> PageCache<Numbers> {
    let config = Config::new(path).segment_size(4096).io_buffer_size(1024).io_buffers(2);
    #[cfg(feature = "compression")]
    let config = config.compression(3);
    config
        .background(!round.is_multiple_of(2))
        .cache_capacity(16 << 10)
        .snapshot_interval(16 << 10)
        .inline_limit(LARGE)
        .open()
        .expect("it always opens")
}

/// Where every page is, and what the threads have. Pages of a thread have serial numbers of its remainder.
type Places = BTreeMap<u64, (PageId, Version)>;

fn look(cache: &PageCache<Numbers>) -> (Places, Vec<State>) {
    let (mut places, mut states) = (Places::new(), vec![State::default(); THREADS as usize]);
    let guard = cache.pin();
    for page_id in (1..=cache.stats().page_ids).map(PageId::new) {
        let Some(page) = guard.get(page_id).expect("what is there can be read") else { continue };
        let numbers = &page.merged().0;
        assert!(places.insert(numbers[0], (page_id, page.version())).is_none(), "a page is there twice");
        if numbers[0] == SHARED {
            states.iter_mut().zip(&numbers[1..]).for_each(|(state, sum)| state.shared = *sum);
        } else {
            let state = &mut states[(numbers[0] % THREADS) as usize];
            state.pages.insert(numbers[0], numbers.clone());
        }
    }
    (places, states)
}

/// One thread of the child. It knows its pages and their versions; nobody else writes them.
struct Worker<'a> {
    cache: &'a PageCache<Numbers>,
    thread: u64,
    places: Places,
}

impl Worker<'_> {
    fn change(&mut self, change: &Change) {
        match *change {
            Change::Allocate(serial) => {
                let page = self.cache.allocate(Numbers(vec![serial])).unwrap();
                self.places.insert(serial, (page.page_id, page.version));
            }
            Change::Link(serial, number) => {
                let (page_id, version) = self.places[&serial];
                let done = self.cache.link(page_id, version, Numbers(vec![number])).unwrap().done();
                self.places.insert(serial, (page_id, done.expect("nobody else writes it")));
            }
            Change::Replace(serial, number) => {
                let (page_id, version) = self.places[&serial];
                let contents = Numbers(replacement(serial, number));
                let done = self.cache.replace(page_id, version, contents).unwrap().done();
                self.places.insert(serial, (page_id, done.expect("nobody else writes it")));
            }
            Change::Free(serial) => {
                let (page_id, version) = self.places.remove(&serial).unwrap();
                assert!(self.cache.free(page_id, version).unwrap().is_done());
            }
            Change::Shared => self.share(),
        }
    }

    fn share(&self) {
        let (page_id, _) = self.places[&SHARED];
        let mut version = self.cache.version(page_id).unwrap().unwrap();
        let mut one = Numbers((0..=THREADS).map(|at| u64::from(at == self.thread + 1)).collect());
        loop {
            match self.cache.link(page_id, version, one).unwrap() {
                Cas::Done { .. } => return,
                Cas::Changed { current, fragment } => (version, one) = (current, fragment),
                Cas::Gone { .. } => panic!("nobody frees the shared page"),
            }
        }
    }
}

/// The steps of a thread in a round, each following from the state before it.
fn steps(from: &State, round: u64, thread: u64) -> impl FnMut(&State) -> Vec<Change> + use<> {
    let mut dice = Dice::new(round * THREADS + thread + 1);
    let mut pages = from.pages.keys().max().map_or(0, |serial| serial / THREADS);
    move |state| next_step(state, thread, &mut dice, &mut pages)
}

fn work(cache: &PageCache<Numbers>, places: Places, mut state: State, round: u64, thread: u64) {
    let mut next = steps(&state, round, thread);
    let mut worker = Worker { cache, thread, places };
    for number in 1.. {
        let step = next(&state);
        let batch = (step.len() > 1).then(|| cache.pin_log().unwrap());
        for change in &step {
            worker.change(change);
            apply(&mut state, change);
        }
        if let Some(batch) = batch {
            batch.seal_batch().unwrap();
        }
        if number % 16 == thread {
            let id = cache.generate_id().unwrap();
            cache.flush().unwrap();
            let compressed = cache.stats().counts.payloads_compressed;
            let line = format!("ack {thread} {number} {id} {compressed}\n");
            std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
            std::io::stdout().flush().unwrap();
        }
    }
}

/// No test of its own: what the child does.
#[test]
fn child_that_is_killed() {
    let Ok(argument) = std::env::var(CHILD) else { return };
    let (round, path) = argument.split_once(':').unwrap();
    let round: u64 = round.parse().unwrap();
    let cache = open(Path::new(path), round);
    let (mut places, states) = look(&cache);
    places.entry(SHARED).or_insert_with(|| {
        let fragment = Numbers([vec![SHARED], vec![0; THREADS as usize]].concat());
        let page = cache.allocate(fragment).unwrap();
        (page.page_id, page.version)
    });
    std::io::stdout().lock().write_all(b"\nready\n").unwrap();
    thread::scope(|scope| {
        #[cfg(feature = "compression")]
        if round % 8 == TRAINS && round < MOST_DICTIONARIES * 8 {
            scope.spawn(|| {
                if cache.train_dictionary(DICTIONARY).unwrap() {
                    std::io::stdout().lock().write_all(TRAINED.as_bytes()).unwrap();
                }
            });
        }
        for (thread, state) in (0..THREADS).zip(states) {
            let (cache, places) = (&cache, places.clone());
            scope.spawn(move || work(cache, places, state, round, thread));
        }
    });
}

fn start(round: u64, path: &Path) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_is_killed", "--nocapture"])
        .env(CHILD, format!("{round}:{}", path.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap());
    (child, lines)
}

#[derive(Default)]
struct Acknowledged {
    steps: [u64; THREADS as usize],
    ids: BTreeSet<u64>,
    compressed: u64,
    trained: u64,
}

impl Acknowledged {
    /// Takes a line; false for what the test harness says. A line cut off by the kill is not said.
    fn hear(&mut self, line: &str) -> bool {
        self.trained += u64::from(line == TRAINED);
        let Some(rest) = line.strip_prefix("ack ").and_then(|rest| rest.strip_suffix('\n')) else {
            return false;
        };
        let numbers: Vec<u64> = rest.split(' ').map(|word| word.parse().unwrap()).collect();
        self.steps[numbers[0] as usize] = numbers[1];
        assert!(self.ids.insert(numbers[2]), "an id was generated twice");
        self.compressed = self.compressed.max(numbers[3]);
        true
    }
}

/// Lets the child come so far, kills it, and hears what else it said.
fn run_and_kill(round: u64, path: &Path, lines_to_hear: u64, spins: u64) -> Acknowledged {
    let (mut child, mut lines) = start(round, path);
    let mut acknowledged = Acknowledged::default();
    let (mut heard, mut line) = (0, String::new());
    while heard < lines_to_hear {
        line.clear();
        assert!(lines.read_line(&mut line).unwrap() > 0, "the child died by itself in round {round}");
        heard += u64::from(acknowledged.hear(&line) || line == "ready\n");
    }
    (0..spins).for_each(|_| std::hint::spin_loop());
    child.kill().unwrap();
    child.wait().unwrap();
    loop {
        line.clear();
        if lines.read_line(&mut line).unwrap() == 0 {
            return acknowledged;
        }
        acknowledged.hear(&line);
    }
}

/// After how many steps a thread's state is this one, at least so many.
fn find(from: &State, found: &State, round: u64, thread: u64, acknowledged: u64) -> Option<u64> {
    let (mut state, mut next) = (from.clone(), steps(from, round, thread));
    // A thread does not get that far between two words.
    for number in 0..acknowledged + 20_000 {
        if number >= acknowledged && state == *found {
            return Some(number);
        }
        let step = next(&state);
        step.iter().for_each(|change| apply(&mut state, change));
    }
    None
}

/// There is a file for each large value that is needed, and no other. Returns how many there are.
fn check_files(cache: &PageCache<Numbers>, path: &Path) -> u64 {
    let names = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name());
    let files = names.filter(|name| name.to_string_lossy().starts_with("blob-")).count() as u64;
    let stats = cache.stats();
    assert_eq!((files, stats.dead_large_values), (stats.large_values, 0), "{stats:?}");
    files
}

#[test]
fn whenever_it_is_killed_it_opens_again_with_all_that_was_acknowledged() {
    let kills: u64 = std::env::var("PAGELOG_KILLS").map_or(25, |kills| kills.parse().unwrap());
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("store");
    let (mut dice, began) = (Dice::new(2026), Instant::now());
    let mut states = vec![State::default(); THREADS as usize];
    let mut highest_id = 0;
    let (mut steps, mut words, mut opened, mut large) = (0, 0, 0, 0);
    let (mut compressed, mut trained) = (0, 0);
    for round in 0..kills {
        // Some are killed while they open, some at their first steps, some later.
        let lines = if dice.below(5) == 0 { 0 } else { 1 + dice.below(60) };
        let spins = dice.below(4_000_000);
        let acknowledged = run_and_kill(round, &path, lines, spins);
        let cache = open(&path, round);
        large += check_files(&cache, &path);
        let (_, found) = look(&cache);
        for thread in 0..THREADS {
            let at = thread as usize;
            let (said, from) = (acknowledged.steps[at], &states[at]);
            let number = find(from, &found[at], round, thread, said);
            let Some(number) = number else {
                panic!(
                    "round {round}: thread {thread} said {said} steps; found {:?}, from {from:?}",
                    found[at]
                )
            };
            steps += number;
        }
        words += acknowledged.ids.len();
        compressed += acknowledged.compressed;
        trained += acknowledged.trained;
        assert!(
            acknowledged.ids.first().is_none_or(|first| *first >= highest_id),
            "an id was generated twice"
        );
        highest_id = acknowledged.ids.last().map_or(highest_id, |last| last + 1);
        opened += u64::from(cache.was_recovered());
        states = found;
        // Now and then a clean end, with a snapshot; else what recovery made is what the next child finds.
        if dice.below(4) == 0 {
            cache.close().unwrap();
        }
    }
    println!(
        "{kills} kills in {:?}: opened {opened} times, {words} acknowledgements, {steps} steps survived, {} pages, {large} files of large values found, \
         {compressed} payloads compressed, {trained} dictionaries",
        began.elapsed(),
        states.iter().map(|state| state.pages.len()).sum::<usize>()
    );
    assert!(words > 0 && steps > 0 && large > 0);
    assert_eq!(compressed > 0, cfg!(feature = "compression"));
}
