//! Atomics that lose time (`--cfg jitter`, for tests only): before each access the thread may give its
//! processor away, or spin for a while. So operations overlap that otherwise hardly ever would, above all on
//! few processors, and a thread is stopped between any two accesses.
//!
//! Each is std's own behind a reference; to take that reference is to pass a point where time can be lost.

use std::cell::Cell;
use std::ops::Deref;
use std::sync::atomic;
use std::thread;

/// How many points are passed, on average, for one at which time is lost.
const RARITY: u64 = 32;

thread_local! {
    static DICE: Cell<u64> = const { Cell::new(0) };
}

fn roll() -> u64 {
    // A thread that is ending loses no time.
    DICE.try_with(|dice| {
        // Each thread begins elsewhere: with where its own variable lies.
        let before = if dice.get() == 0 { (&raw const *dice).addr() as u64 | 1 } else { dice.get() };
        let mut next = before;
        next ^= next << 13;
        next ^= next >> 7;
        next ^= next << 17;
        dice.set(next);
        next >> 8
    })
    .unwrap_or(1)
}

fn point() {
    let rolled = roll();
    if rolled.is_multiple_of(RARITY) {
        match (rolled / RARITY) % 4 {
            0 | 1 => thread::yield_now(),
            _ => (0..(rolled / RARITY) % 500).for_each(|_| std::hint::spin_loop()),
        }
    }
}

stand_ins!(pointed);
