//! The process that has the store open: it looks at what is there, goes on with the lives of its threads, and
//! tells the parent on its standard output, one line for each piece of news:
//!
//! | line | meaning |
//! |---|---|
//! | `opened MS` | it took so many milliseconds |
//! | `found STEPS STEPS …` | what is there is what so many steps of each thread leave |
//! | `at THREAD STEPS` | so many steps of the thread are durable |
//! | `sample PHASE FILE LIVE MEMORY COUNTED ALL STEP FLUSH READ` | bytes of the log file, of live records, of resident memory, of what the store counts of it, of all files; of the steps, flushes and reads since the last sample what 99 of 100 did not exceed and the longest, two numbers each, in microseconds |
//! | `emptied BEFORE FILE LIVE ALL MS` | everything was deleted; then collection had its time, which was so many milliseconds |
//! | `closed STEPS STEPS …` | the store was closed after so many steps |
//! | `fault …` | the store is not what it must be |

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pagelog::{PageCache, PageId, Version};

use crate::common::{Bytes, Random, allocate, link, memory_of, numbers, replace, setting};
use crate::latencies::Latencies;
use crate::life::{Life, Phase, Plan, Step, steps_of};
use crate::settings::Settings;

/// Steps between two flushes of a thread.
const STEPS_PER_FLUSH: u64 = 512;
/// A crash leaves no more steps of a thread than this beyond those that it said were durable.
const MOST_AHEAD: u64 = 8 * STEPS_PER_FLUSH;
const BETWEEN_SAMPLES: Duration = Duration::from_millis(100);

/// What the parent knows.
struct Setup {
    plan: Plan,
    /// What each thread has done at least.
    least: Vec<u64>,
    /// Whether it has done exactly that: the store was closed.
    exactly: bool,
}

/// A thread's pages, by key.
type Pages = BTreeMap<u64, (PageId, Version)>;

/// What the threads share.
struct World<'a> {
    cache: &'a PageCache<Bytes>,
    store: &'a Path,
    plan: Plan,
    /// How far each has come.
    done: Vec<AtomicU64>,
    steps: Latencies,
    flushes: Latencies,
    reads: Latencies,
    /// Held by who reads. A reader who sleeps keeps segments from being used again.
    reading: RwLock<()>,
    /// How many cycles have ended with an empty store that was given time to shrink.
    emptied: AtomicU64,
}

/// Set when the parent wants the store closed.
static STOP: AtomicBool = AtomicBool::new(false);

fn say(line: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{line}");
    let _ = stdout.flush();
}

fn fault(what: &str) -> ! {
    say(&format!("fault {what}"));
    std::process::exit(1)
}

pub fn run(store: &Path, settings: &Settings) {
    let least = numbers("LEAST", &[]).into_iter().map(|steps| steps as u64).collect();
    let setup = Setup { plan: settings.plan(), least, exactly: setting("EXACTLY", false) };
    let start = Instant::now();
    let cache: PageCache<Bytes> = match settings.config(store.into()).open() {
        Ok(cache) => cache,
        Err(error) => fault(&format!("it does not open: {error}")),
    };
    say(&format!("opened {:.1}", start.elapsed().as_secs_f64() * 1e3));
    if settings.verify {
        verify(&cache);
    }
    let mut threads = look(&cache, &setup);
    say(&format!("found{}", steps(&threads)));
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_line(&mut String::new());
        STOP.store(true, Ordering::SeqCst);
    });
    // A thread that is beyond the end of a cycle has seen the store empty.
    let emptied = threads.iter().map(|(life, _)| life.step.saturating_sub(1) / setup.plan.cycle()).max();
    let world = World {
        cache: &cache,
        store,
        plan: setup.plan,
        done: threads.iter().map(|(life, _)| AtomicU64::new(life.step)).collect(),
        steps: Latencies::new(),
        flushes: Latencies::new(),
        reads: Latencies::new(),
        reading: RwLock::new(()),
        emptied: AtomicU64::new(emptied.unwrap_or(0)),
    };
    std::thread::scope(|scope| {
        for (life, pages) in &mut threads {
            let world = &world;
            scope.spawn(move || world.live(life, pages));
        }
        for reader in 0..settings.readers {
            let world = &world;
            scope.spawn(move || world.read(reader));
        }
        world.watch();
    });
    if let Err(error) = cache.close() {
        fault(&format!("it does not close: {error}"));
    }
    say(&format!("closed{}", steps(&threads)));
}

fn steps(threads: &[(Life, Pages)]) -> String {
    threads.iter().map(|(life, _)| format!(" {}", life.step)).collect()
}

/// Checks all files against all that is in memory.
fn verify(cache: &PageCache<Bytes>) {
    match cache.verify() {
        Ok(report) if report.is_sound() => {}
        Ok(report) => fault(&format!("it is not sound: {:?}", report.faults.first())),
        Err(error) => fault(&format!("it can't be checked: {error}")),
    }
}

/// Reads everything, and finds out after how many steps of each thread it is what is there.
fn look(cache: &PageCache<Bytes>, setup: &Setup) -> Vec<(Life, Pages)> {
    let mut found = vec![(BTreeMap::new(), Pages::new()); setup.least.len()];
    for number in 1..=cache.stats().page_ids {
        let (page_id, guard) = (PageId::new(number), cache.pin());
        let page = guard.get(page_id).unwrap_or_else(|error| fault(&format!("page {number}: {error}")));
        let Some(page) = page else { continue };
        let Some((thread, key, steps)) = steps_of(setup.plan, &page.merged().0) else {
            fault(&format!("page {number} has bytes that nobody wrote"));
        };
        let Some((all, pages)) = found.get_mut(thread) else { fault(&format!("page {number} is nobody's")) };
        pages.insert(key, (page_id, page.version()));
        if all.insert(key, steps).is_some() {
            fault(&format!("key {key} of thread {thread} is there twice"));
        }
    }
    let found = found.into_iter().zip(&setup.least).enumerate();
    found.map(|(thread, ((all, pages), least))| (explain(setup, thread, *least, &all), pages)).collect()
}

/// The life that leaves these pages.
fn explain(setup: &Setup, thread: usize, least: u64, found: &BTreeMap<u64, Vec<u64>>) -> Life {
    let mut life = Life::after(setup.plan, thread, least);
    let is_there =
        |life: &Life, key: u64| found.get(&key).map_or(&[][..], Vec::as_slice) == life.pages[key as usize];
    let mut different = (0..setup.plan.pages).filter(|key| !is_there(&life, *key)).count();
    while different > 0 {
        if setup.exactly || life.step > least + MOST_AHEAD {
            fault(&format!(
                "{different} pages of thread {thread} are not what {least} steps leave, nor a few more"
            ));
        }
        let key = life.next_key();
        different -= usize::from(!is_there(&life, key));
        life.advance();
        different += usize::from(!is_there(&life, key));
    }
    life
}

impl World<'_> {
    /// Goes on with a thread's life.
    fn live(&self, life: &mut Life, pages: &mut Pages) {
        let thread = life.thread;
        let done = &self.done[thread];
        while !STOP.load(Ordering::Relaxed) {
            if life.step.is_multiple_of(self.plan.cycle())
                && self.emptied.load(Ordering::SeqCst) < life.step / self.plan.cycle()
            {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
            self.steps.time(|| self.step(life, pages));
            done.store(life.step, Ordering::SeqCst);
            if life.step.is_multiple_of(STEPS_PER_FLUSH) || life.step.is_multiple_of(self.plan.cycle()) {
                let flush = || self.cache.flush().unwrap_or_else(|error| fault(&format!("a flush: {error}")));
                self.flushes.time(flush);
                say(&format!("at {thread} {}", life.step));
            }
        }
    }

    /// Reads pages of all threads while these change them: whatever is there, somebody wrote.
    fn read(&self, reader: usize) {
        let mut random = Random::new(self.plan.seed ^ ((reader as u64 + 1) << 32));
        let most = self.plan.pages * self.done.len() as u64;
        while !STOP.load(Ordering::Relaxed) {
            let number = 1 + random.below(most as usize) as u64;
            let _turn = self.reading.read();
            let guard = self.cache.pin();
            let page = self.reads.time(|| guard.get(PageId::new(number)));
            let page = page.unwrap_or_else(|error| fault(&format!("page {number}: {error}")));
            if page.is_some_and(|page| steps_of(self.plan, &page.merged().0).is_none()) {
                fault(&format!("page {number} has bytes that nobody wrote"));
            }
        }
    }

    fn step(&self, life: &mut Life, pages: &mut Pages) {
        let number = life.step;
        match life.advance() {
            Step::Allocate(key) => {
                pages.insert(key, allocate(self.cache, life.fragment(key, number, false)));
            }
            Step::Replace(key) => {
                if let Some(page) = pages.get_mut(&key) {
                    replace(self.cache, page, life.fragment(key, number, false));
                }
            }
            Step::Link(key) => {
                if let Some(page) = pages.get_mut(&key) {
                    link(self.cache, page, life.fragment(key, number, true));
                }
            }
            Step::Free(key) => {
                if let Some((page_id, version)) = pages.remove(&key) {
                    let freed =
                        self.cache.free(page_id, version).unwrap_or_else(|error| fault(&format!("{error}")));
                    assert!(freed.is_done(), "nobody else writes");
                }
            }
        }
    }

    /// Takes samples, and lets the store shrink each time that all is deleted.
    fn watch(&self) {
        while !STOP.load(Ordering::SeqCst) {
            let done: Vec<u64> = self.done.iter().map(|done| done.load(Ordering::SeqCst)).collect();
            // Who has deleted all waits there for the others.
            let phases = done.iter().map(|step| self.plan.phase(step.saturating_sub(1)));
            // While threads are in different phases, it is the one that is no steady state.
            let phase = phases.min_by_key(|phase| *phase == Phase::Overwrite).unwrap_or(Phase::Fill);
            self.sample(phase);
            let cycles = self.emptied.load(Ordering::SeqCst) + 1;
            if done.iter().all(|step| *step == cycles * self.plan.cycle()) {
                self.empty();
                self.sample(Phase::Empty);
                self.emptied.store(cycles, Ordering::SeqCst);
            }
            std::thread::sleep(BETWEEN_SAMPLES);
        }
    }

    fn sample(&self, phase: Phase) {
        let stats = self.cache.stats();
        let (memory, all) = (memory_of("self", "VmRSS"), self.all_files());
        let counted = stats.resident_bytes + stats.node_bytes + stats.dead_bytes + stats.buffer_bytes;
        let latencies = [&self.steps, &self.flushes, &self.reads].map(Latencies::take);
        let latencies: String = latencies.as_flattened().iter().map(|us| format!(" {us:.1}")).collect();
        let (phase, file, live) = (phase.name(), stats.log_file_bytes, stats.live_bytes);
        say(&format!("sample {phase} {file} {live} {memory} {counted} {all}{latencies}"));
    }

    fn empty(&self) {
        let _alone = self.reading.write();
        let (start, before) = (Instant::now(), self.cache.stats().log_file_bytes);
        let collect = || -> pagelog::Result<()> {
            while self.cache.attempt_gc()? {
                self.cache.flush()?;
            }
            Ok(())
        };
        collect().unwrap_or_else(|error| fault(&format!("collection: {error}")));
        let (stats, taken) = (self.cache.stats(), start.elapsed().as_secs_f64() * 1e3);
        let all = self.all_files();
        say(&format!("emptied {before} {} {} {all} {taken:.1}", stats.log_file_bytes, stats.live_bytes));
    }

    fn all_files(&self) -> u64 {
        let Ok(entries) = std::fs::read_dir(self.store) else { return 0 };
        entries.flatten().filter_map(|entry| entry.metadata().ok()).map(|file| file.len()).sum()
    }
}
