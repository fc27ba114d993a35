//! Something done in the middle of an operation: right before records are read from the log file, or copies
//! of records are written to it.
//!
//! Copies only: who writes in the middle of a write of fresh records may have to wait for a buffer until that
//! write is over, and on one thread it never is.
//!
//! On one thread this gives what else takes two that race: while a page is read, somebody else reads it,
//! changes it, or moves its records. It happens at the same place each time.

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

/// Where a segment's header says which head has filled it, and what it says of copies.
const HEAD_AT: usize = 44;
const RELOCATED: u8 = 1;

pub struct Hook {
    disk: SimStorage,
    segment_size: u64,
    planned: Mutex<Option<(Call, u64, Work)>>,
}

impl fmt::Debug for Hook {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Hook")
    }
}

impl Hook {
    pub fn new(disk: &SimStorage, segment_size: u32) -> Self {
        Self { disk: disk.clone(), segment_size: segment_size.into(), planned: Mutex::default() }
    }

    /// Whether these bytes of the log are copies that garbage collection has made.
    fn are_copies(&self, bytes: &[u8], offset: u64) -> bool {
        let start = offset - offset % self.segment_size;
        // The first write of a segment brings its header.
        let head = match offset == start {
            true => bytes.get(HEAD_AT).copied(),
            false => {
                self.disk.contents().get("log").and_then(|log| log.get(start as usize + HEAD_AT).copied())
            }
        };
        head == Some(RELOCATED)
    }

    fn is_planned(&self, call: Call) -> bool {
        self.lock().as_ref().is_some_and(|(wanted, ..)| *wanted == call)
    }

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

    fn before_write(&self, name: &str, bytes: &[u8], offset: u64) -> io::Result<()> {
        if name == "log" && self.is_planned(Call::Write) && self.are_copies(bytes, offset) {
            self.pass(Call::Write);
        }
        Ok(())
    }
}

/// The disk, with the hook before it.
pub fn hooked(disk: &SimStorage, hook: &Arc<Hook>) -> Arc<dyn Storage> {
    Arc::new(Observed::shared(disk.clone(), Arc::clone(hook)))
}
