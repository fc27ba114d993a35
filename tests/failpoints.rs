//! Failpoints: each of them is reached, and whatever call fails, the caller hears of it or it did no harm.
//!
//! One workload goes through all parts of a store, on the simulated disk, so that what an error leaves behind
//! is also looked at after a power cut. First it is run with a callback at each point, which counts. Then
//! each call of I/O fails in turn, in several ways, early and late. A call that fails may be refused, or
//! poison the instance, or be passed over, by the table below; and when the store is opened again all that
//! was acknowledged is there, and what is not acknowledged is there up to some moment.
//!
//! The registry of failpoints is one for the process, so each test runs under a `FailScenario`, which is also
//! a lock.
//!
//! `cargo test --features failpoints,compression --test failpoints`. Without compression, dictionaries are
//! left out.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

use common::{Bytes, Dice};
use pagelog::failpoints::fail::{self, FailScenario};
use pagelog::failpoints::{Failpoint, FailpointKind, all};
use pagelog::sim::SimStorage;
use pagelog::{Config, Error, PageCache, PageId, Storage, Version};

type State = BTreeMap<PageId, Vec<u8>>;

const LARGE: usize = 700;

fn config(disk: &SimStorage) -> Config {
    let config = Config::with_storage(Arc::new(disk.clone()) as Arc<dyn Storage>);
    let config = config.segment_size(1024).io_buffer_size(512).io_buffers(2).cache_capacity(4096);
    let config = config.snapshot_interval(4096).inline_limit(400);
    #[cfg(feature = "compression")]
    let config = config.compression(3);
    config
}

/// What is in a store.
fn look(cache: &PageCache<Bytes>) -> State {
    let guard = cache.pin();
    let ids = (1..=cache.stats().page_ids).map(PageId::new);
    let page = |id| guard.get(id).expect("it can be read").map(|page| (id, page.merged().0.clone()));
    ids.filter_map(page).collect()
}

/// A workload under way: what it knows, and what it heard.
struct Run {
    disk: SimStorage,
    dice: Dice,
    /// The state that was acknowledged last, and all behind it that a crash may leave.
    states: Vec<State>,
    /// What is read, also of a batch that was not sealed.
    now: State,
    errors: Vec<Error>,
    /// The steps of an open batch are one.
    in_batch: bool,
    /// A check has found something that can't be read.
    is_unsound: bool,
    /// An opening was refused.
    was_not_opened: bool,
}

impl Run {
    fn new() -> Self {
        Self {
            disk: SimStorage::new(7),
            dice: Dice::new(7),
            states: vec![State::default()],
            now: State::default(),
            errors: Vec::new(),
            in_batch: false,
            is_unsound: false,
            was_not_opened: false,
        }
    }

    fn hear<T>(&mut self, result: pagelog::Result<T>) -> Option<T> {
        result.map_err(|error| self.errors.push(error)).ok()
    }

    fn is_poisoned(&self) -> bool {
        self.errors.iter().any(|error| matches!(error, Error::Poisoned { .. }))
    }

    fn open(&mut self) -> Option<PageCache<Bytes>> {
        let opened = config(&self.disk).open();
        self.was_not_opened |= opened.is_err();
        self.hear(opened)
    }

    fn flush(&mut self, cache: &PageCache<Bytes>) {
        let flushed = cache.flush();
        if self.hear(flushed).is_some() {
            self.states.drain(..self.states.len() - 1);
        }
    }

    fn step(&mut self, state: State) {
        if !self.in_batch {
            self.states.push(state.clone());
        }
        self.now = state;
    }

    fn noise(&mut self, length: usize) -> Vec<u8> {
        // Half of it can be compressed.
        let noise = (0..length).map(|at| if at % 2 == 0 { b'x' } else { self.dice.next() as u8 });
        noise.collect()
    }

    fn allocate(&mut self, cache: &PageCache<Bytes>, length: usize) {
        let bytes = self.noise(length);
        let allocated = cache.allocate(Bytes(bytes.clone()));
        if let Some(page) = self.hear(allocated) {
            let mut state = self.now.clone();
            state.insert(page.page_id, bytes);
            self.step(state);
        }
    }

    /// A change of a page that is there. What was refused has changed nothing.
    fn change(&mut self, cache: &PageCache<Bytes>) {
        let pages: Vec<PageId> = self.now.keys().copied().collect();
        let page_id = pages[self.dice.below(pages.len() as u64) as usize];
        let version = cache.version(page_id).unwrap().unwrap();
        let mut state = self.now.clone();
        let done = match self.dice.below(10) {
            0..6 => {
                let bytes = self.noise(20);
                state.get_mut(&page_id).unwrap().extend(&bytes);
                cache.link(page_id, version, Bytes(bytes)).map(|cas| assert!(cas.is_done()))
            }
            6 if pages.len() > 20 => {
                state.remove(&page_id);
                cache.free(page_id, version).map(|cas| assert!(cas.is_done()))
            }
            number => {
                let bytes = self.noise(if number == 9 { LARGE } else { 120 });
                state.insert(page_id, bytes.clone());
                cache.replace(page_id, version, Bytes(bytes)).map(|cas| assert!(cas.is_done()))
            }
        };
        match self.hear(done) {
            Some(()) => self.step(state),
            None => {
                if let Ok(found) = look_at(cache, page_id) {
                    assert_eq!(found.as_ref(), self.now.get(&page_id), "it was refused");
                }
            }
        }
    }

    fn batch(&mut self, cache: &PageCache<Bytes>) {
        let begun = cache.pin_log();
        let Some(batch) = self.hear(begun) else { return };
        self.in_batch = true;
        (0..3).for_each(|_| self.change(cache));
        self.in_batch = false;
        let sealed = batch.seal_batch();
        if self.hear(sealed).is_some() {
            // All of it is one step.
            self.states.push(self.now.clone());
        }
    }

    fn read_some(&mut self, cache: &PageCache<Bytes>) {
        for page_id in self.now.keys().copied().collect::<Vec<_>>() {
            if let Some(found) = self.hear(look_at(cache, page_id)) {
                assert_eq!(found.as_ref(), self.now.get(&page_id), "page {page_id}");
            }
        }
    }
}

fn look_at(cache: &PageCache<Bytes>, page_id: PageId) -> pagelog::Result<Option<Vec<u8>>> {
    cache.pin().get(page_id).map(|page| page.map(|page| page.merged().0.clone()))
}

/// Pages come and go, with everything that a store does in between. Ends early when the store writes no more.
fn live(run: &mut Run, cache: &PageCache<Bytes>) {
    for round in 0..60 {
        if run.is_poisoned() {
            return;
        }
        if run.now.len() < 40 {
            run.allocate(cache, if round % 10 == 0 { LARGE } else { 150 });
        }
        if run.now.is_empty() {
            continue;
        }
        for _ in 0..4 {
            run.change(cache);
        }
        match round % 12 {
            3 => run.batch(cache),
            5 => run.read_some(cache),
            7 => {
                let collected = cache.attempt_gc();
                run.hear(collected);
            }
            9 => {
                let taken = cache.snapshot();
                run.hear(taken);
            }
            _ => run.flush(cache),
        }
    }
}

fn train(run: &mut Run, cache: &PageCache<Bytes>) {
    #[cfg(feature = "compression")]
    {
        let trained = cache.train_dictionary(256);
        run.hear(trained);
    }
    let _ = (run, cache);
}

fn back_up(run: &mut Run, cache: &PageCache<Bytes>) {
    let target = SimStorage::new(8);
    let done = cache.backup_to_storage(Arc::new(target.clone()), |_| ControlFlow::Continue(()));
    if run.hear(done).is_some() {
        let opened = config(&target).read_only(true).open();
        let Some(copy): Option<PageCache<Bytes>> = run.hear(opened) else { return };
        let ids = (1..=copy.stats().page_ids).map(PageId::new);
        let read: pagelog::Result<Vec<_>> = ids.map(|id| Ok((id, look_at(&copy, id)?))).collect();
        if let Some(pages) = run.hear(read) {
            let found = pages.into_iter().filter_map(|(id, bytes)| Some((id, bytes?))).collect();
            assert!(run.states.contains(&found), "the copy");
        }
    }
}

/// Frees most pages and has the file cut.
fn empty(run: &mut Run, cache: &PageCache<Bytes>) {
    for page_id in run.now.keys().copied().skip(3).collect::<Vec<_>>() {
        let version = cache.version(page_id).unwrap().unwrap();
        let freed = cache.free(page_id, version);
        if run.hear(freed).is_some() {
            let mut state = run.now.clone();
            state.remove(&page_id);
            run.step(state);
        }
    }
    run.flush(cache);
    for _ in 0..60 {
        let collected = cache.attempt_gc();
        if run.hear(collected) != Some(true) {
            return;
        }
        run.flush(cache);
    }
}

/// Two lives of a store.
fn workload(run: &mut Run) {
    for life in 0..2 {
        let Some(cache) = run.open() else { continue };
        live(run, &cache);
        train(run, &cache);
        back_up(run, &cache);
        let checked = cache.verify();
        run.is_unsound |= run.hear(checked).is_some_and(|report| !report.is_sound());
        if life == 1 {
            empty(run, &cache);
        }
        if run.is_poisoned() {
            check_poisoned(run, &cache);
            return;
        }
        run.flush(&cache);
        let closed = cache.close();
        run.hear(closed);
    }
}

/// A store on a disk that damages whole blocks, which loses its power, and once more in the opening after
/// that.
fn worse_disk(run: &mut Run) {
    let disk = SimStorage::new(10);
    let open = |run: &mut Run, disk: &SimStorage| -> Option<PageCache<Bytes>> {
        let opened = config(disk).torn_block_size(512).open();
        run.was_not_opened |= opened.is_err();
        run.hear(opened)
    };
    let Some(cache) = open(run, &disk) else { return };
    let done = cache.allocate(Bytes(vec![1; 50])).and_then(|_| cache.flush());
    run.hear(done);
    let again = disk.fork();
    disk.cut_power();
    drop(cache);
    again.record_history();
    let cache = open(run, &again);
    again.cut_power();
    drop(cache);
    let images = again.history().into_iter().flatten().filter_map(|moment| again.image_at(moment, 1));
    let has_tail = |image: &SimStorage| image.list().unwrap().iter().any(|name| name == "TAIL");
    if let Some(image) = images.into_iter().find(has_tail) {
        drop(open(run, &image));
    }
}

/// What a store's life leaves out: leftovers, a temporary store, and worse disks.
fn odds_and_ends(run: &mut Run) {
    let disk = SimStorage::new(9);
    drop(disk.lock("LOCK", pagelog::Access::Write).unwrap());
    worse_disk(run);
    let opened = config(&disk).temporary(true).open();
    let cache: Option<PageCache<Bytes>> = run.hear(opened);
    if let Some(closed) = cache.map(|cache| cache.close()) {
        run.hear(closed);
    }
}

/// A manifest that can't be written anew, for there is no space, is made longer as it goes.
fn manifest_without_space(run: &mut Run) {
    let Some(cache) = run.open() else { return };
    fail::cfg("pagelog::manifest::write", "return(ENOSPC)").unwrap();
    live(run, &cache);
    fail::remove("pagelog::manifest::write");
    run.flush(&cache);
    let closed = cache.close();
    run.hear(closed);
}

/// Writing has stopped, and says so; reading goes on.
fn check_poisoned(run: &Run, cache: &PageCache<Bytes>) {
    let poison = |result: pagelog::Result<()>| matches!(result, Err(Error::Poisoned { .. }));
    let (page_id, version) = (PageId::new(1), Version::new(1));
    assert!(poison(cache.allocate(Bytes(vec![1])).map(drop)));
    assert!(poison(cache.link(page_id, version, Bytes(vec![1])).map(drop)));
    assert!(poison(cache.replace(page_id, version, Bytes(vec![1])).map(drop)));
    assert!(poison(cache.free(page_id, version).map(drop)));
    assert!(poison(cache.flush().map(drop)));
    assert!(poison(cache.pin_log().map(drop)));
    assert!(poison(cache.generate_id().map(drop)));
    assert!(look(cache) == run.now, "reading goes on");
}

/// All that was acknowledged is there, on the disk as it is, and after a power cut.
fn check_survivors(run: &Run, label: &str) {
    for disk in [run.disk.fork(), run.disk.after_power_cut(11)] {
        let cache: PageCache<Bytes> =
            config(&disk).open().unwrap_or_else(|error| panic!("{label}: it does not open: {error}"));
        let found = look(&cache);
        assert!(run.states.contains(&found), "{label}: {} states, and none is this", run.states.len());
        disk.cut_power();
    }
}

fn is_built(point: &&Failpoint) -> bool {
    cfg!(feature = "compression") || !point.name.starts_with("pagelog::dictionary::")
}

/// How often each point is passed by what is done. The counting is done by callbacks.
fn count_passes(work: impl FnOnce()) -> BTreeMap<&'static str, u64> {
    let counters: Vec<_> = all().iter().map(|point| (point.name, Arc::new(AtomicU64::new(0)))).collect();
    for (name, counter) in &counters {
        let counter = Arc::clone(counter);
        fail::cfg_callback(*name, move || {
            counter.fetch_add(1, Ordering::Relaxed);
        })
        .unwrap();
    }
    work();
    counters.into_iter().map(|(name, counter)| (name, counter.load(Ordering::Relaxed))).collect()
}

#[test]
fn each_point_is_reached() {
    let scenario = FailScenario::setup();
    let mut passed = count_passes(|| {
        let mut run = Run::new();
        workload(&mut run);
        odds_and_ends(&mut run);
        assert!(run.errors.is_empty(), "{:?}", run.errors);
        // The next manifest is too long for its file, and this needs a point of its own.
        manifest_without_space(&mut run);
        fail::cfg("pagelog::log::sync", "1*return").unwrap();
        let cache = run.open().unwrap();
        run.allocate(&cache, 10);
        run.flush(&cache);
        assert!(run.is_poisoned());
    });
    scenario.teardown();
    passed.retain(|_, times| *times == 0);
    passed.retain(|name, _| all().iter().filter(is_built).any(|point| point.name == *name));
    assert!(passed.is_empty(), "not reached: {passed:?}");
}

#[test]
fn the_table_is_in_order() {
    for point in all() {
        assert!(point.name.starts_with("pagelog::"), "{}", point.name);
        assert!(point.meaning.ends_with('.'), "{}", point.name);
        assert_eq!(all().iter().filter(|other| other.name == point.name).count(), 1, "{}", point.name);
    }
}

/// What must come of a call that fails while a store is open. (While it is being opened, the opening fails.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Promise {
    /// Nothing is written any more.
    Poison,
    /// The caller hears of it.
    Heard,
    /// It may be passed over: nobody depends on it, or there is another way.
    PassedOver,
}

fn promise(name: &str, words: &str) -> Promise {
    let is_full = words.contains("ENOSPC");
    match name.trim_start_matches("pagelog::") {
        "log::write" | "log::sync" | "manifest::append" | "manifest::append_sync" => Promise::Poison,
        // Who makes the file longer before there is need has not lost anything; who needs it tries again.
        "log::grow" | "manifest::grow" => Promise::PassedOver,
        // The log may be longer than need be.
        "log::cut" => Promise::PassedOver,
        // Space is kept for the next manifest, if there is any; a manifest without room for more is one too.
        "manifest::create" | "manifest::write" => Promise::PassedOver,
        "manifest::sync" if is_full => Promise::PassedOver,
        "manifest::open" if is_full => Promise::PassedOver,
        // What was not removed is removed by the next opening.
        "large::remove" => Promise::PassedOver,
        // Who takes a snapshot in passing has not asked for it (who has is told: see below); without the
        // newest one, an older one or the whole log says the same.
        name if name.starts_with("snapshot::") => Promise::PassedOver,
        // Who needs the dictionary for a record hears of it.
        "dictionary::open" | "dictionary::read" => Promise::PassedOver,
        _ => Promise::Heard,
    }
}

fn ways(name: &str) -> &'static [&'static str] {
    let writes = ["write", "append", "grow"].iter().any(|call| name.ends_with(call));
    if writes { &["EIO", "ENOSPC", "short", "short ENOSPC"] } else { &["EIO", "ENOSPC", "EACCES"] }
}

/// How often in a row the call has to fail so that nobody gets over it: a record is read alone when it could
/// not be read with its neighbours, a page need not be merged by a writer who can't read it, and space for a
/// large value, or for its name, is looked for once.
fn strikes(name: &str, words: &str) -> &'static str {
    match name.trim_start_matches("pagelog::") {
        "log::read" | "large::read" | "large::open" => "",
        // For the name, for what is removed to make space, and for the name again.
        "directory::sync" if words.contains("ENOSPC") => "3*",
        name if name.starts_with("large::") && words.contains("ENOSPC") => "2*",
        _ => "1*",
    }
}

/// Runs all of it with one failure, and checks what came of it.
fn check_failure(name: &'static str, words: &str, skipped: u64, work: impl Fn(&mut Run)) {
    let label = format!("{name}, {words}, after {skipped}");
    let end = if strikes(name, words).is_empty() { "" } else { "->off" };
    let actions = format!("{skipped}*off->{}return({words}){end}", strikes(name, words));
    fail::cfg(name, &actions).unwrap();
    let mut run = Run::new();
    work(&mut run);
    fail::remove(name);
    // Only errors that say which point they come from; a poisoned instance says it each time.
    let ours = |error: &&Error| format!("{error}").contains(name) || matches!(error, Error::DiskFull { .. });
    let foreign: Vec<_> = run.errors.iter().filter(|error| !ours(error)).collect();
    let foreign: Vec<_> = foreign.into_iter().filter(|error| !is_consequence(error)).collect();
    assert!(foreign.is_empty(), "{label}: {foreign:?}");
    match promise(name, words) {
        Promise::Poison => assert!(run.is_poisoned() || run.was_not_opened, "{label}: {:?}", run.errors),
        Promise::Heard => assert!(!run.errors.is_empty() || run.is_unsound, "{label}: nobody heard of it"),
        Promise::PassedOver => {}
    }
    check_survivors(&run, &label);
}

/// A sync of the directory that has failed is remembered.
fn is_consequence(error: &Error) -> bool {
    format!("{error}").contains("an earlier sync of the directory has failed")
}

#[test]
fn whatever_call_fails_is_heard_of_or_harmless() {
    let scenario = FailScenario::setup();
    let ordinary: fn(&mut Run) = |run| {
        workload(run);
        odds_and_ends(run);
    };
    let passed = count_passes(|| ordinary(&mut Run::new()));
    scenario.teardown();
    let scenario = FailScenario::setup();
    let mut failures = 0;
    let mut wrong = Vec::new();
    for point in all().iter().filter(|point| point.kind == FailpointKind::Io).filter(is_built) {
        let (times, work) = match passed[point.name] {
            // Reached only without space for another manifest.
            0 => (1, manifest_without_space as fn(&mut Run)),
            times => (times, ordinary),
        };
        let mut moments = match point.name {
            // The last ones of each backup keep space for its next manifest, and for more in this one: it can
            // do without.
            "pagelog::backup::create" | "pagelog::backup::write" => vec![0, 1, times / 4],
            _ => vec![0, times / 2, times - 1],
        };
        moments.dedup();
        for words in ways(point.name) {
            for skipped in &moments {
                let checked = std::panic::catch_unwind(|| check_failure(point.name, words, *skipped, work));
                if let Err(panic) = checked {
                    wrong.push(format!(
                        "{} {words} {skipped}: {:?}",
                        point.name,
                        panic.downcast_ref::<String>()
                    ));
                }
                failures += 1;
            }
        }
    }
    scenario.teardown();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("{failures} failures of {} points", passed.len());
}

#[test]
fn who_asks_for_a_snapshot_hears_of_its_failure_and_can_ask_again() {
    let scenario = FailScenario::setup();
    let cache: PageCache<Bytes> = config(&SimStorage::new(3)).open().unwrap();
    for call in ["create", "write", "sync", "rename", "remove"] {
        let name = format!("pagelog::snapshot::{call}");
        cache.allocate(Bytes(vec![1; 50])).unwrap();
        cache.snapshot().unwrap();
        cache.allocate(Bytes(vec![1; 50])).unwrap();
        fail::cfg(&name, "1*return(EIO)").unwrap();
        let refused = cache.snapshot();
        // There may be nothing to be removed.
        assert!(call == "remove" || format!("{refused:?}").contains(&name), "{call}: {refused:?}");
        fail::remove(&name);
        cache.snapshot().unwrap();
        cache.flush().unwrap();
    }
    scenario.teardown();
}

#[test]
fn a_thread_is_held_up_where_it_is_told_and_stops_no_other() {
    let scenario = FailScenario::setup();
    let cache: PageCache<Bytes> = config(&SimStorage::new(1)).open().unwrap();
    let (arrived, arrival) = mpsc::channel();
    let (go_on, gate) = mpsc::channel::<()>();
    let first = std::sync::Mutex::new(Some((arrived, gate)));
    fail::cfg_callback("pagelog::page::published", move || {
        let first = first.lock().unwrap().take();
        if let Some((arrived, gate)) = first {
            arrived.send(()).unwrap();
            gate.recv().unwrap();
        }
    })
    .unwrap();
    std::thread::scope(|scope| {
        let held = scope.spawn(|| cache.allocate(Bytes(vec![1])).unwrap());
        arrival.recv().unwrap();
        // It is between its compare-and-swap and the end of its reservation. Others write and read.
        let page = cache.allocate(Bytes(vec![2])).unwrap();
        assert_eq!(look_at(&cache, page.page_id).unwrap(), Some(vec![2]));
        go_on.send(()).unwrap();
        assert_eq!(look_at(&cache, held.join().unwrap().page_id).unwrap(), Some(vec![1]));
    });
    cache.flush().unwrap();
    scenario.teardown();
}

#[test]
fn a_name_without_our_prefix_arms_nothing() {
    let scenario = FailScenario::setup();
    for name in ["log::sync", "log::write", "manifest::append"] {
        fail::cfg(name, "return(EIO)").unwrap();
    }
    let cache: PageCache<Bytes> = config(&SimStorage::new(2)).open().unwrap();
    cache.allocate(Bytes(vec![1])).unwrap();
    cache.flush().unwrap();
    scenario.teardown();
}
