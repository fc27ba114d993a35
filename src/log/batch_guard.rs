//! A user's batch.

use std::fmt;
use std::marker::PhantomData;

use super::core::LogCore;
use super::gate::Privilege;
use crate::error::{Error, Result};
use crate::failpoints::failpoint;
use crate::format::{Payload, RecordKind};
use crate::ids::{HeadId, Lsn};
use crate::stats::Counter;

/// An open batch: what is logged until [`seal_batch`](Self::seal_batch) survives a crash as a whole, or not
/// at all.
///
/// A batch is about crashes only. It isolates nothing (other threads see each change at once, and what they
/// log meanwhile stands or falls with the batch), and it rolls nothing back. One batch is open at a time.
/// Until it is sealed nothing behind its begin becomes stable, so keep it short.
///
/// Dropping it unsealed is harmless if its thread logged nothing in it. Otherwise the instance is
/// [poisoned](crate::Error::Poisoned): memory is ahead of what recovery may keep. Opening the store again
/// brings back what was stable: nothing of the batch, and of what came before it at least what was flushed.
/// An error that logs nothing, as [`DiskFull`](crate::Error::DiskFull) does, leaves the batch open: a `?` is
/// what drops it.
///
/// ```
#[doc = include_str!("../docs/text_pages.txt")]
/// # fn main() -> pagelog::Result<()> {
/// # let cache = open()?;
/// let batch = cache.pin_log()?;
/// let child = cache.allocate(Text("the right half".into()))?;
/// let parent = cache.allocate(Text(format!("points to {}", child.page_id)))?;
/// let end = batch.seal_batch()?;
/// cache.make_stable(end)?;
/// // After a crash there are both pages, or none.
/// assert!(cache.version(parent.page_id)?.is_some());
/// # cache.close()
/// # }
/// ```
#[must_use = "dropping an unsealed batch poisons the instance"]
pub struct Batch<'a> {
    core: &'a LogCore,
    begin: Lsn,
    open: bool,
    /// A batch belongs to the thread that opened it.
    not_send: PhantomData<*const ()>,
}

impl fmt::Debug for Batch<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Batch").field("begin", &self.begin).field("open", &self.open).finish()
    }
}

impl<'a> Batch<'a> {
    pub(crate) fn begin(core: &'a LogCore) -> Result<Self> {
        core.admit(Privilege::Ordinary)?;
        core.batches().take(|| core.gate().check_poison())?;
        let claim = core.reserve(HeadId::FRESH, Privilege::Ordinary, &RecordKind::BatchBegin, Payload::NONE);
        let claim = claim.inspect_err(|_| core.batches().abandoned())?;
        let begin = claim.lsn();
        core.batches().begun(begin, || claim.complete_dead());
        failpoint!("batch::begun");
        Ok(Self { core, begin, open: true, not_send: PhantomData })
    }

    /// Ends the batch. Once the log is stable beyond the returned LSN, all of the batch survives a crash;
    /// until then, either all or nothing does.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    /// # let cache = open()?;
    /// let batch = cache.pin_log()?;
    /// let page = cache.allocate(Text("a page".into()))?;
    /// let end = batch.seal_batch()?;
    /// cache.make_stable(end)?;
    /// assert!(page.lsn < end && end < cache.stable_lsn());
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the end could not be logged. The instance is poisoned then, as if the batch had been dropped.
    pub fn seal_batch(mut self) -> Result<Lsn> {
        self.finish()
    }

    fn finish(&mut self) -> Result<Lsn> {
        self.open = false;
        let kind = RecordKind::BatchEnd { begin: self.begin };
        // An end that can't be made durable is none: whoever seals must hear of it.
        let admitted = self.core.gate().check_poison();
        let claim = admitted
            .and_then(|()| self.core.reserve(HeadId::FRESH, Privilege::Reserve, &kind, Payload::NONE));
        let claim = match claim {
            Ok(claim) => claim,
            Err(error) => {
                let error = self.core.poison(error);
                self.core.batches().abandoned();
                self.core.durability().batch_ended();
                return Err(error);
            }
        };
        let (lsn, end) = (claim.lsn(), claim.end());
        self.core.batches().ended(end, || claim.complete_dead());
        self.core.durability().batch_ended();
        failpoint!("batch::sealed");
        self.core.counters().one(Counter::Batch);
        Ok(lsn)
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        if self.core.batches().is_dirty() {
            self.core.poison(Error::UnsealedBatch);
            self.core.batches().abandoned();
            self.core.durability().batch_ended();
        } else if let Err(error) = self.finish() {
            ::log::error!("an empty batch could not be ended: {error}");
        }
    }
}
