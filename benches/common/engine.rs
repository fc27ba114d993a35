//! What is done to the engines of the page layer, and how it is measured: the same for all.
//!
//! Pages of 1 KiB grow by fragments of 64 bytes and are cut back to 1 KiB past 4 KiB. All bytes of a page are
//! the lowest byte of its number, so whatever was read can be checked.

#![allow(dead_code, reason = "each bench uses a part of it")]

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub use super::random::Random;
pub use super::rate::{rate, rate_from};

/// A page when it is new or was cut back.
pub const BASE: usize = 1024;
/// What a link adds.
pub const FRAGMENT: usize = 64;
/// Beyond this a page is cut back.
pub const LIMIT: u32 = 4096;

/// What the engines can do.
pub trait Engine: Sync {
    /// Links a fragment to a page on the version found.
    fn link(&self, page: usize, fragment: [u8; FRAGMENT]);
    /// Links a fragment some times, each time on the version of the last.
    fn chain(&self, page: usize, fragment: [u8; FRAGMENT], links: usize);
    /// Replaces a page.
    fn replace(&self, page: usize, content: Vec<u8>);
    /// Reads one byte of the page.
    fn get(&self, page: usize) -> u8;
    /// Makes one link durable.
    fn commit(&self, page: usize, fragment: [u8; FRAGMENT]);
    /// A copy of the page.
    fn whole(&self, page: usize) -> Vec<u8>;
    /// Makes everything durable.
    fn flush(&self);
}

/// Grows new pages, each by as many links as chance says, and returns their lengths: at any later time about
/// as many are cut back as at any other. Pages that all begin short grow in step, and so do the garbage in
/// the log and the work of collecting it.
pub fn grow(engine: &dyn Engine, pages: usize) -> Vec<AtomicU32> {
    let mut random = Random::of(0);
    let mut grow = |page: usize| {
        let links = random.below((LIMIT as usize - BASE) / FRAGMENT + 1);
        (0..links).for_each(|_| engine.link(page, [page as u8; FRAGMENT]));
        AtomicU32::new((BASE + links * FRAGMENT) as u32)
    };
    (0..pages).map(&mut grow).collect()
}

/// Links to a random page, and cuts it back when it has grown too long. True if it did.
pub fn link_or_cut(engine: &dyn Engine, lengths: &[AtomicU32], random: &mut Random) -> bool {
    let page = random.below(lengths.len());
    let length = lengths[page].fetch_add(FRAGMENT as u32, Ordering::Relaxed) + FRAGMENT as u32;
    let cut = length > LIMIT;
    if cut {
        lengths[page].store(BASE as u32, Ordering::Relaxed);
        engine.replace(page, vec![page as u8; BASE]);
    } else {
        engine.link(page, [page as u8; FRAGMENT]);
    }
    cut
}

/// Replaces a random page.
pub fn replace_some(engine: &dyn Engine, pages: usize, random: &mut Random) {
    let page = random.below(pages);
    engine.replace(page, vec![page as u8; BASE]);
}

/// Works with two threads, towards a steady state, until `work` has said so often that a page is as short as
/// a new one, or patience is at its end. Returns how often it said so.
pub fn warm_up(goal: usize, patience: Duration, work: impl Fn(&mut Random) -> bool + Sync) -> usize {
    const THREADS: usize = 2;
    let (start, done) = (Instant::now(), AtomicU64::new(0));
    let mut first = 0;
    while done.load(Ordering::Relaxed) < goal as u64 && start.elapsed() < patience {
        rate_from(first, THREADS, Duration::from_millis(500), |_, random| {
            done.fetch_add(u64::from(work(random)), Ordering::Relaxed);
        });
        first += THREADS;
    }
    done.into_inner() as usize
}

/// Reads a random page.
pub fn read_some(engine: &dyn Engine, pages: usize, random: &mut Random) {
    let page = random.below(pages);
    assert_eq!(engine.get(page), page as u8);
}
