//! Pages of 1 KiB that are overwritten at random until each was five times, on average: how quickly, what
//! that writes, and what the files take then.

use std::time::Instant;

use super::create;
use crate::child::{Role, note, say};
use crate::engine::{BASE, Random};
use crate::settings::Settings;
use crate::system::{on_disk, written};

const TIMES: usize = 5;

pub fn measure(role: &Role, settings: &Settings) {
    let pages = settings.pages;
    let store = create(&role.engine, &role.place, pages, BASE);
    let mut random = Random::of(0);
    let (before, start) = (written(), Instant::now());
    for _ in 0..TIMES {
        let some: Vec<usize> = (0..pages).map(|_| random.below(pages)).collect();
        store.overwrite(&some, BASE);
    }
    store.flush();
    let (operations, seconds) = ((TIMES * pages) as f64, start.elapsed().as_secs_f64());
    say("churn_rate", operations / seconds / 1e3);
    say("churn_written", (written() - before) as f64 / (operations * BASE as f64));
    // The baseline never gives space back, and is not meant to.
    if role.engine != "plain" {
        say("churn_space", on_disk(&role.place) as f64 / (pages * BASE) as f64);
    }
    for page in 0..pages {
        assert_eq!(store.whole(page), vec![page as u8; BASE], "page {page}");
    }
    note(&store.report());
}
