//! For tests whose figures others would change.

#![allow(dead_code, reason = "not all who include this need it")]

use std::sync::{Mutex, MutexGuard, PoisonError};

/// One test of a file at a time. All stores of a process share one collector, so a thread of another test that is
/// descheduled with a guard keeps memory and segments from being used again: figures would depend on the machine's load.
pub fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
