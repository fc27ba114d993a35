//! A reservation: a filled record in a write buffer that is not yet part of the log.

use super::buffer::Buffer;
use super::core::LogCore;
use crate::format::record;
use crate::ids::{HeadId, Lsn};
use crate::location::Place;

/// The right to finish one record. Dropping it unfinished aborts: the record stays in the log, marked as
/// cancelled.
#[must_use = "dropping a claim aborts it"]
#[derive(Debug)]
pub(crate) struct Claim<'a> {
    pub(super) core: &'a LogCore,
    pub(super) buffer: &'a Buffer,
    pub(super) head: HeadId,
    pub(super) offset: u32,
    pub(super) length: u32,
    pub(super) lsn: Lsn,
    pub(super) place: Place,
    pub(super) seed: u32,
}

impl Claim<'_> {
    /// Where the record begins.
    #[inline]
    pub(crate) const fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// Where the record ends.
    #[inline]
    pub(crate) const fn end(&self) -> Lsn {
        Lsn(self.lsn.0 + self.length as u64)
    }

    #[inline]
    pub(crate) const fn place(&self) -> Place {
        self.place
    }

    /// The whole record's length.
    #[inline]
    pub(crate) const fn length(&self) -> u32 {
        self.length
    }

    /// Makes the record part of the log.
    #[inline]
    pub(crate) fn complete(self) {
        self.core.ring(self.head).leave(self.buffer);
        std::mem::forget(self);
    }

    /// Makes the record part of the log, as one that is dead already: batch boundaries and the like.
    pub(crate) fn complete_dead(self) {
        self.core.accountant().abort(self.place.slot, self.length);
        self.complete();
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        // SAFETY: the range was handed out to this claim, which has not left the buffer's word.
        let bytes = unsafe { self.buffer.bytes(self.offset, self.length) };
        record::cancel(bytes, self.seed);
        self.core.accountant().abort(self.place.slot, self.length);
        self.core.ring(self.head).leave(self.buffer);
    }
}
