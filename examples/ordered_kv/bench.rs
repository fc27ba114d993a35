//! The core workloads of YCSB ([`ycsb`](crate::ycsb)): keys of 16 bytes, values of 100, the cache ample,
//! writes buffered.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pagelog::Config;

use crate::command::{print, tuning};
use crate::demo::place;
use crate::failure::{Failure, Result};
use crate::options::Options;
use crate::tree::{Direction, Forest, Range, Tree};
use crate::ycsb::{Operation, Random, WORKLOADS, Workload, Zipf, key};

const VALUE: [u8; 100] = [b'v'; 100];

pub fn run(options: &Options) -> Result<()> {
    for threads in &options.threads {
        let (path, _) = place(None, "bench");
        let outcome = measure(options, &path, *threads);
        let removed = std::fs::remove_dir_all(&path);
        outcome?;
        removed.map_err(Failure::io(format!("remove {}", path.display())))?;
    }
    Ok(())
}

fn measure(options: &Options, path: &std::path::Path, threads: usize) -> Result<()> {
    let records = options.records.unwrap_or(1_000_000);
    let config = Config::new(path).cache_capacity(4 << 30).io_buffer_size(1 << 20).io_buffers(8);
    let forest = Forest::open(config, tuning(options))?;
    let tree = forest.tree("ycsb")?;
    print(format!("{records} records, {threads} threads, {:?}\n", tuning(options)).as_bytes())?;

    let sorted = forest.tree("sorted")?;
    let mut keys: Vec<_> = (0..records).map(key).collect();
    keys.sort_unstable();
    let watch = Watch::start();
    sorted.load(keys.into_iter().map(|key| (key.to_vec(), VALUE.to_vec())))?;
    watch.report("sorted load", records)?;

    let watch = Watch::start();
    in_threads(threads, |thread| {
        (thread as u64..records).step_by(threads).try_for_each(|number| Ok(tree.put(&key(number), &VALUE)?))
    })?;
    watch.report("load by puts", records)?;

    let zipf = Zipf::new(records);
    let inserted = AtomicU64::new(records);
    for workload in &WORKLOADS {
        let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
        let limit = Duration::from_secs(options.seconds);
        let (start, watch) = (Instant::now(), Watch::start());
        in_threads(threads, |thread| {
            let mut random = Random::of(thread);
            while !stop.load(Ordering::Relaxed) {
                for _ in 0..1000 {
                    operation(&tree, workload, &zipf, &inserted, &mut random)?;
                }
                done.fetch_add(1000, Ordering::Relaxed);
                stop.fetch_or(start.elapsed() > limit, Ordering::Relaxed);
            }
            Ok(())
        })?;
        watch.report(workload.name, done.into_inner())?;
    }
    let (stats, figures) = (forest.stats(), forest.figures());
    let text = format!(
        "{figures:?}\n{} consolidations, {} relocated bytes, {} misses, write amplification {:.2}, resident {} MiB\n",
        stats.counts.consolidations,
        stats.counts.relocated_bytes,
        stats.counts.misses,
        stats.write_amplification(),
        stats.resident_bytes >> 20,
    );
    print(text.as_bytes())?;
    Ok(forest.close()?)
}

fn operation(
    tree: &Tree,
    workload: &Workload,
    zipf: &Zipf,
    inserted: &AtomicU64,
    random: &mut Random,
) -> Result<()> {
    match workload.draw(zipf, inserted.load(Ordering::Relaxed), random) {
        Operation::Insert => tree.put(&key(inserted.fetch_add(1, Ordering::Relaxed)), &VALUE)?,
        Operation::Read(number) => {
            std::hint::black_box(tree.get_with(&key(number), |value| value.first().copied())?);
        }
        Operation::Update(number) => tree.put(&key(number), &VALUE)?,
        Operation::ReadModifyWrite(number) => {
            let key = key(number);
            let mut value = tree.get(&key)?.unwrap_or_default();
            value.iter_mut().for_each(|byte| *byte = byte.wrapping_add(1));
            tree.put(&key, &value)?;
        }
        Operation::Scan(number, count) => {
            let (key, mut left, mut sum) = (key(number), count, 0u64);
            tree.visit(Range::new(&key[..]..), Direction::Up, |_, value| {
                sum += value.len() as u64;
                left -= 1;
                if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
            std::hint::black_box(sum);
        }
    }
    Ok(())
}

/// A stretch of time, on the clock and on the processors.
struct Watch {
    start: Instant,
    busy: f64,
}

impl Watch {
    fn start() -> Self {
        Self { start: Instant::now(), busy: processor_seconds() }
    }

    /// Says how long each operation took. Of a machine that others use, too, the time on the processors says
    /// more.
    fn report(&self, what: &str, operations: u64) -> Result<()> {
        let (operations, busy) = (operations as f64, processor_seconds() - self.busy);
        let rate = operations / self.start.elapsed().as_secs_f64() / 1000.0;
        let each = busy / operations * 1e6;
        print(
            format!("  {what:12} {rate:8.0} thousand a second, {each:6.2} us of processor each\n").as_bytes(),
        )
    }
}

/// The time that this process has spent on processors, with 10 ms to a tick; 0 where the system does not say.
fn processor_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = text.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2);
    ticks.filter_map(|number| number.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn in_threads(threads: usize, work: impl Fn(usize) -> Result<()> + Sync) -> Result<()> {
    let work = &work;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|thread| scope.spawn(move || work(thread))).collect();
        let panicked = |_| Failure::Verdict("a thread panicked".into());
        threads.into_iter().try_for_each(|thread| thread.join().map_err(panicked)?)
    })
}
