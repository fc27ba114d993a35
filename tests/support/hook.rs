//! Something done in the middle of an operation: right before records are read from or written to the log file.
//!
//! On one thread this gives what else takes two that race: while a page is read, somebody else reads it, changes it, or moves
//! its records. It happens at the same place each time.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use pagelog::Storage;
use pagelog::sim::SimStorage;

use super::observed::{Observed, Observer};

/// What is interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Read,
    Write,
}

type Work = Box<dyn FnOnce() + Send>;

#[derive(Default)]
pub struct Hook {
    planned: Mutex<Option<(Call, u64, Work)>>,
}

impl fmt::Debug for Hook {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Hook")
    }
}

impl Hook {
    /// Does the work before such a call, when so many others have been let by.
    pub fn plan(&self, call: Call, others: u64, work: impl FnOnce() + Send + 'static) {
        *self.lock() = Some((call, others, Box::new(work)));
    }

    /// Forgets what was planned. Whether it has not been done is the answer.
    pub fn clear(&self) -> bool {
        self.lock().take().is_some()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<(Call, u64, Work)>> {
        self.planned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pass(&self, call: Call) {
        let mut planned = self.lock();
        match &mut *planned {
            Some((wanted, others, _)) if *wanted == call => {
                if *others > 0 {
                    *others -= 1;
                    return;
                }
            }
            _ => return,
        }
        let work = planned.take();
        // It may come by here itself.
        drop(planned);
        if let Some((_, _, work)) = work {
            work();
        }
    }
}

impl Observer for Hook {
    fn before_read(&self, _: usize, _: u64) -> io::Result<()> {
        self.pass(Call::Read);
        Ok(())
    }

    fn before_write(&self, name: &str, bytes: &[u8], _: u64) -> io::Result<()> {
        // A new segment is filled with zeros under the lock of those that want one.
        if name == "log" && bytes.iter().any(|byte| *byte != 0) {
            self.pass(Call::Write);
        }
        Ok(())
    }
}

/// The disk, with the hook before it.
pub fn hooked(disk: &SimStorage, hook: &Arc<Hook>) -> Arc<dyn Storage> {
    Arc::new(Observed::shared(disk.clone(), Arc::clone(hook)))
}
