//! For tests whose figures others would change.

#![allow(dead_code, reason = "not all who include this need it")]

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// One test of a file at a time. All stores of a process share one collector, so a thread of another test
/// that is descheduled with a guard keeps memory and segments from being used again: figures would depend on
/// the machine's load.
pub fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    // A thread that ends takes a guard once more, and whoever had the turn before may still be about to.
    let own = own_task();
    let limit = Instant::now() + Duration::from_secs(2);
    while !all_sleep(|id, _| Some(id) != own.as_deref()) && Instant::now() < limit {
        std::thread::yield_now();
    }
    turn
}

/// Whether all threads of this process sleep of which the closure, told the number and the name, says that
/// they count. Where that can't be found out, they do.
pub fn all_sleep(counts: impl Fn(&str, &str) -> bool) -> bool {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return true };
    tasks.flatten().all(|task| {
        let read = |file| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
        if !counts(&task.file_name().to_string_lossy(), read("comm").trim()) {
            return true;
        }
        // The state follows the name, which is in brackets. A thread that has ended meanwhile has none.
        read("stat").rsplit(") ").next().is_none_or(|rest| rest.is_empty() || rest.starts_with('S'))
    })
}

/// The number of the thread that asks.
fn own_task() -> Option<String> {
    let link = std::fs::read_link("/proc/thread-self").ok()?;
    Some(link.file_name()?.to_str()?.to_owned())
}
