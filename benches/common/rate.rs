//! How many operations some threads do in a second.

#![allow(dead_code, reason = "not all who include this need all of it")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::random::Random;

/// Runs `work(thread, random)` on some threads until time is up; returns operations per second.
pub fn rate(threads: usize, time: Duration, work: impl Fn(usize, &mut Random) + Sync) -> f64 {
    rate_from(0, threads, time, work)
}

/// The same, with the random numbers of the threads from `first` on: others than in a run that had those
/// before.
pub fn rate_from(
    first: usize,
    threads: usize,
    time: Duration,
    work: impl Fn(usize, &mut Random) + Sync,
) -> f64 {
    let stop = AtomicBool::new(false);
    let start = Instant::now();
    let total: u64 = std::thread::scope(|scope| {
        let run = |thread: usize| {
            let (stop, work) = (&stop, &work);
            scope.spawn(move || {
                let mut random = Random::of(first + thread);
                let mut done = 0u64;
                while !stop.load(Ordering::Relaxed) {
                    for _ in 0..16 {
                        work(thread, &mut random);
                    }
                    done += 16;
                }
                done
            })
        };
        let threads: Vec<_> = (0..threads).map(run).collect();
        std::thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
        threads.into_iter().map(|thread| thread.join().expect("a thread")).sum()
    });
    total as f64 / start.elapsed().as_secs_f64()
}
