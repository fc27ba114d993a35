//! Gets of pages that are in memory. Each takes a pin of its own and touches one byte, which is checked.

use super::create;
use crate::child::{Role, say};
use crate::engine::{BASE, Random, rate, read_some};
use crate::settings::Settings;
use crate::ycsb::Zipf;

/// How many draws from the distribution a thread chooses from: so few that they stay in the processor's
/// cache.
const DRAWS: usize = 1 << 14;

pub fn measure(role: &Role, settings: &Settings) {
    let store = create(&role.engine, &role.place, settings.pages, BASE);
    let (store, pages, time) = (&*store, settings.pages, settings.time);
    rate(1, time / 4, |_, random| read_some(store, pages, random));
    say("get_uniform_1", 1e9 / rate(1, time, |_, random| read_some(store, pages, random)));
    let draws: Vec<Vec<u32>> = (0..2).map(|thread| zipf(pages, thread)).collect();
    let read = |thread: usize, random: &mut Random| {
        let page = draws[thread][random.below(DRAWS)] as usize;
        assert_eq!(store.get(page), page as u8);
    };
    say("get_zipf_2", 2e9 / rate(2, time, read));
}

/// Pages by Zipf's law; those that are read often lie anywhere.
fn zipf(pages: usize, thread: usize) -> Vec<u32> {
    let (zipf, mut random) = (Zipf::new(pages as u64), Random::of(thread));
    // A prime, so that it maps different ranks to different pages.
    let page = |rank: u64| (rank * 2_147_483_647 % pages as u64) as u32;
    (0..DRAWS).map(|_| page(zipf.draw(&mut random))).collect()
}
