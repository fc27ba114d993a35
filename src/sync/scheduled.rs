//! Atomics under a scheduler (`--cfg shuttle`, for tests only): each access is a point at which the scheduler
//! decides who goes on. All threads are tasks on one, so an access is std's own, and nothing happens between
//! the decision and the access: what is explored are orders of accesses, each seen by all at once. What
//! weaker orders allow is for the models in `src/models`.

use std::ops::Deref;
use std::sync::atomic;
use std::time::Duration;

fn point() {
    // The scheduler's threads have no time: to sleep is to let it decide, and not to give way, which some
    // schedulers take for a wish.
    shuttle::thread::sleep(Duration::ZERO);
}

stand_ins!(pointed);
