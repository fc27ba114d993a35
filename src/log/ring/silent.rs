//! A log without a file, for tests and models of the ring.

use super::{Ring, RingHost, Stretch};
use crate::error::Result;
use crate::ids::{SegmentId, SlotId};
use crate::log::buffer::Buffer;
use crate::log::buffer_state::BufferState;

/// Swallows what is written. It is said how the segment behind one is armed.
pub(crate) struct Silent<A>(pub(crate) A);

impl<A: Fn(&Ring, SegmentId)> RingHost for Silent<A> {
    fn arm(&self, ring: &Ring, after: SegmentId) -> Result<()> {
        (self.0)(ring, after);
        Ok(())
    }

    fn cover(&self, _: SlotId, _: u32) -> Result<()> {
        Ok(())
    }

    fn opened(&self, _: &Ring, _: Stretch) {}

    fn write(&self, _: &Ring, _: &Buffer, _: BufferState) -> Result<()> {
        Ok(())
    }

    fn check(&self) -> Result<()> {
        Ok(())
    }

    fn pressed(&self) -> impl Sized {}
}
