//! The ring's other end: writing what is drained, and waiting for it.

use super::super::buffer_state::BufferState;
use super::words::{BufferRef, Link};
use super::{Ring, RingHost};
use crate::error::Result;
use crate::failpoints::failpoint;
use crate::format::record::MIN_LENGTH;
use crate::ids::Lsn;
use crate::sync::MutexGuard;
use crate::sync::atomic::Ordering;

impl Ring {
    /// Seals the current buffer if it holds records that begin below `bound`. Needs no segment and no buffer.
    pub(crate) fn seal_below(&self, bound: Lsn) {
        let current = self.current();
        let Some(buffer) = self.registry.get(current.index) else { return };
        let last = |offset| buffer.is_last(self.geometry, self.blocks, offset, MIN_LENGTH as u32);
        buffer.state.seal(current.incarnation, last, |state| {
            let stretch = buffer.stretch();
            !buffer.is_empty_at(state.offset) && self.geometry.lsn(stretch.segment, stretch.start) < bound
        });
    }

    /// Seals the current buffer, and lets its segment end with it, unless nothing was ever put in that
    /// segment.
    pub(crate) fn end_segment(&self) {
        let current = self.current();
        let Some(buffer) = self.registry.get(current.index) else { return };
        let begun = |state: BufferState| buffer.end_in_segment(state.offset) > 0;
        buffer.state.seal(current.incarnation, |_| true, begun);
    }

    /// Writes what is drained, without waiting for anyone. False if another thread is at it.
    pub(crate) fn try_drain(&self, host: &impl RingHost) -> Result<bool> {
        let Some(guard) = self.drain.try_lock() else { return Ok(false) };
        self.drain_under(guard, host, Lsn(0)).map(|()| true)
    }

    /// Writes what can be written now, without waiting for anyone. Of a ring that has nothing to write,
    /// nothing is touched but to look.
    pub(crate) fn write_out(&self, host: &impl RingHost) -> Result<()> {
        if !self.is_written_out() {
            self.seal_below(Lsn(u64::MAX));
            self.try_drain(host)?;
        }
        Ok(())
    }

    /// Whether all is in the file, and there is no end of a segment to be written either.
    fn is_written_out(&self) -> bool {
        let written = self.written();
        self.look_at_current(|buffer, state| {
            (!state.sealed || buffer.is_written()) && buffer.end(self.geometry, state.offset) <= written
        })
    }

    /// Writes everything below `bound`, which must be sealed, waiting for its writers to leave; and what else
    /// is drained.
    pub(crate) fn drain_below(&self, host: &impl RingHost, bound: Lsn) -> Result<()> {
        self.drain_under(self.drain.lock(), host, bound)
    }

    fn drain_under(&self, guard: MutexGuard<'_, ()>, host: &impl RingHost, bound: Lsn) -> Result<()> {
        self.draining.store(true, Ordering::Release);
        let result = self.drain_locked(host, bound);
        self.draining.store(false, Ordering::Release);
        drop(guard);
        self.freed.notify();
        result
    }

    fn drain_locked(&self, host: &impl RingHost, bound: Lsn) -> Result<()> {
        loop {
            let oldest = BufferRef::unpack(self.oldest.load(Ordering::Acquire));
            let Some(buffer) = self.registry.get(oldest.index) else { return Ok(()) };
            if buffer.is_written() {
                let Some(next) = Link::unpack(buffer.successor.load(Ordering::Acquire)).next else {
                    return Ok(());
                };
                // `current` may still name the buffer if the one who linked sleeps; nobody must find it
                // recycled there.
                self.move_current(oldest, next);
                self.oldest.store(next.pack(), Ordering::Release);
                self.recycle(oldest.index);
                self.freed.notify();
                continue;
            }
            let state = buffer.state.load();
            if !state.sealed {
                return Ok(());
            }
            if state.writers > 0 {
                if self.written() >= bound {
                    return Ok(());
                }
                self.drained.wait_while(|| !buffer.state.load().is_drained() && host.check().is_ok());
                host.check()?;
                continue;
            }
            host.check()?;
            failpoint!("buffer::drained");
            host.write(self, buffer, state)?;
            self.written.store(buffer.end(self.geometry, state.offset).0, Ordering::Release);
            buffer.set_written();
        }
    }

    /// Waits until every reservation made before this call has been completed or aborted. Returns where the
    /// log ended then: whatever lies below has had its effect on memory.
    pub(crate) fn settle(&self, host: &impl RingHost) -> Result<Lsn> {
        let end = self.tail();
        self.seal_below(Lsn(u64::MAX));
        if !cfg!(weakened = "settle_without_waiting") {
            self.wait_written(host, end)?;
        }
        Ok(end)
    }

    /// Waits until every reservation below `bound`, which must be sealed, has been completed or aborted.
    pub(crate) fn wait_written(&self, host: &impl RingHost, bound: Lsn) -> Result<()> {
        while self.written() < bound {
            self.drain_below(host, bound)?;
        }
        Ok(())
    }

    /// Whether the current buffer takes nobody any more.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn is_sealed(&self) -> bool {
        self.look_at_current(|_, state| state.sealed)
    }

    /// Waits for who is writing now.
    pub(crate) fn pass_drain(&self) {
        drop(self.drain.lock());
    }

    /// Lets all waiters look again, after writing has stopped.
    pub(crate) fn wake(&self) {
        self.freed.notify();
        self.drained.notify();
    }
}
