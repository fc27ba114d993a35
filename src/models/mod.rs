//! The crate's own modules under a model checker, which runs every interleaving of a few threads and every
//! value that the memory model lets a load return.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test --profile models --lib models -- --nocapture
//! ```
//!
//! A model that can't fail proves nothing. So product code has weakened twins of single orderings or
//! statements, chosen by a cfg, each of which one model must catch:
//!
//! ```text
//! RUSTFLAGS='--cfg loom --cfg weakened="kill_order"' cargo test --profile models --lib models
//! ```
//!
//! | Weakened | Caught by |
//! |---|---|
//! | `kill_order`: subtract before raising the kill LSN | `reuse` |
//! | `subtract_order`: subtracting is not a release | `reuse` |
//! | `own_order`: whoever yields zero does not acquire | `reuse` |
//! | `kill_in_two_steps`: load and store for the tombstone's swap | `location` |
//! | `move_blindly`: load and store for a move's compare-exchange | `location` |
//! | `move_order`: a move is not a release | `location` |
//! | `read_order`: reading a place is not an acquire | `location` |
//! | `publish_order`: a new head is not published by a release | `page` |
//! | `leave_order`: a writer does not leave its buffer by a release | `buffer` |
//! | `seal_blindly`: a store for the seal's compare-exchange | `buffer` |
//! | `event_fence`: no fence between a change and the look for waiters | `buffer` |
//! | `settle_without_waiting`: a snapshot does not wait for reservations | `snapshot` |
//! | `begin_released_first`: a batch's begin is registered too late | `batch` |
//! | `stretch_believed`: who finds what follows a full buffer does not look whether that is still current | `arming` |
//! | `cleared_after_the_look`: the evictor looks at a page before it clears its bit | `eviction` |
//! | `link_read_late`: the evictor reads a stride's link after it has taken the announcements | `eviction` |
//! | `push_order`: a stride is not pushed by a release | `eviction` |
//! | `free_list_no_second_look`: a cleared bit's word is not looked at again | `free_list` |
//! | `mark_before_publishing`: a range is marked before its page is changed | `changes` |
//! | `marks_taken_before_begin`: a snapshot takes the marks before it settles its begin | `changes` |
//! | `mark_fence`: no order between publishing a change and looking at the mark | `changes` |
//! | `range_taken_first`: a range's packed bytes are taken away before its words are stored | `packed` |
//! | `commit_looks_first`: a commit looks whether it has to wait before it takes the lock under which it leaves its waker | `commit` |
//! | `flag_before_cause`: writing is stopped before it is noted why | `stop` |
//! | `wake_past_the_lock`: those who wait are woken without the lock under which they look | `stop` |
//! | `no_second_look`: who finds a word null and its range unpacked does not look again | `packed` |
//!
//! Whole stores are too large for this. Their schedules are explored by chance: by a scheduler for which all
//! threads are tasks on one, and which may go on with another at each access to an atomic
//! (`tests/schedules`), and on real threads that lose time there (`tests/linearizability` with
//! `--cfg jitter`). Garbage collection, snapshots and eviction run meanwhile, and each history is checked for
//! an order. The scheduler knows no weaker order than the strongest; for those there are the models above.

mod arming;
mod batch;
mod buffer;
mod changes;
mod commit;
mod eviction;
mod free_list;
mod location;
mod packed;
mod page;
mod reuse;
mod ring;
mod snapshot;
mod stop;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Wake;
use std::time::Instant;

/// Runs a model to its end and says how many executions that took. Without a bound, all of them.
fn explore(name: &str, preemptions: Option<usize>, model: impl Fn() + Send + Sync + 'static) {
    let executions = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&executions);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.max_branches = 20_000;
    let start = Instant::now();
    builder.check(move || {
        // A plain std atomic, so that counting is no part of the model.
        counter.fetch_add(1, Ordering::Relaxed);
        model();
    });
    let executions = executions.load(Ordering::Relaxed);
    let bound = preemptions.map_or_else(|| "all".to_owned(), |bound| format!("at most {bound} preemptions"));
    println!("model {name}: {executions} executions ({bound}) in {:.1} s", start.elapsed().as_secs_f64());
}

/// Whether it was called. A plain std atomic: it is read when all threads have ended.
#[derive(Default)]
struct Bell(AtomicBool);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A fragment for models: a number, in a cell whose accesses the checker sees.
#[derive(Debug)]
struct Number(crate::sync::SharedCell<u64>);

impl Number {
    fn new(number: u64) -> Self {
        Self(crate::sync::SharedCell::new(number))
    }

    fn get(&self) -> u64 {
        // SAFETY: a number is never written after it was made; the checker objects if it is read before.
        self.0.with(|number| unsafe { *number })
    }
}

// SAFETY: a number is only read once it is shared; in a model, the checker watches that.
unsafe impl Sync for Number {}

impl crate::pages::Fragment for Number {
    type Codec = NoCodec;

    fn merge(oldest_to_newest: &[&Self]) -> Self {
        Self::new(oldest_to_newest.iter().fold(0, |sum, number| sum * 10 + number.get()))
    }

    fn heap_size(&self) -> Option<usize> {
        Some(0)
    }
}

/// Models have no bytes.
struct NoCodec;

impl crate::pages::Codec<Number> for NoCodec {
    fn encode(_: &Number, _: &mut Vec<u8>) -> Result<(), crate::pages::CodecError> {
        Err("no bytes in a model".into())
    }

    fn decode(_: &[u8]) -> Result<Number, crate::pages::CodecError> {
        Err("no bytes in a model".into())
    }
}
