//! Page operations are linearizable: histories of threads that use the same few pages are recorded, and for
//! each an order is looked for in which the answers make sense.
//!
//! Only histories count in which operations overlap. Those of threads that just run hardly do, so the threads
//! lose time in the middle of their operations: wherever the store calls the fragment's code or reads from
//! the storage. Built with `--cfg jitter` they do so at every access to an atomic as well:
//!
//! ```text
//! RUSTFLAGS="--cfg jitter" PAGELOG_HISTORIES=1000000 cargo test --release --test linearizability -- --nocapture
//! ```

mod checker;
#[path = "../common/mod.rs"]
mod common;
mod faults;
mod history;
mod judge;
#[path = "../support/observed.rs"]
mod observed;
mod order;
mod worker;
mod workload;

use faults::Fault;
use workload::{Case, run};

const CASES: &[Case] = &[
    Case {
        name: "all in memory",
        config: |config| config.cache_capacity(1 << 20),
        reached: |counts| counts.relocated_records > 0 && counts.segments_reused > 0,
    },
    Case {
        name: "nothing stays in memory",
        config: |config| config.cache_capacity(0),
        reached: |counts| counts.misses > 0 && counts.evictions > 0 && counts.relocated_records > 0,
    },
    Case {
        name: "merged all the time",
        config: |config| config.cache_capacity(256).max_chain_length(2),
        reached: |counts| counts.consolidations > 0 && counts.misses > 0,
    },
    Case {
        name: "a thread of its own",
        config: |config| config.cache_capacity(512).background(true),
        reached: |counts| counts.snapshots > 0 && counts.segments_reused > 0,
    },
    Case {
        name: "blocks kept apart",
        config: |config| config.cache_capacity(512).segment_size(4096).torn_block_size(512),
        reached: |counts| counts.relocated_records > 0 && counts.segments_reused > 0,
    },
    Case {
        name: "large values",
        config: |config| config.cache_capacity(0).inline_limit(32).max_chain_length(3),
        reached: |counts| counts.consolidations > 0 && counts.misses > 0,
    },
];

/// How many overlapping histories to look at in all.
fn goal() -> u64 {
    let text = std::env::var("PAGELOG_HISTORIES").unwrap_or_default();
    text.parse().unwrap_or(10_000)
}

fn seed() -> u64 {
    std::env::var("PAGELOG_SEED").unwrap_or_default().parse().unwrap_or(1)
}

#[test]
fn every_history_of_a_page_has_an_order() {
    let mut overlapping = 0;
    let all = goal();
    for case in CASES {
        match run(case, seed(), all.div_ceil(CASES.len() as u64), None) {
            Ok(summary) => overlapping += summary.overlapping,
            Err(rejection) => panic!("{rejection}"),
        }
    }
    println!("{overlapping} overlapping histories");
    assert!(overlapping >= all);
}

#[test]
fn a_store_that_lies_is_found_out() {
    for fault in Fault::ALL {
        let Err(rejection) = run(&CASES[0], seed(), 5000, Some(fault)) else {
            panic!("{fault:?} was not found")
        };
        println!("{fault:?}: {}", rejection.lines().next().unwrap_or_default());
    }
}
