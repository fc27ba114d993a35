//! A ring for models: small, on a log that swallows what is written to it.

use crate::error::Result;
use crate::geometry::Geometry;
use crate::ids::{HeadId, Lsn, SegmentId, SlotId};
use crate::log::buffer::{Buffer, Stretch};
use crate::log::buffer_state::BufferState;
use crate::log::ring::{Armed, Ring, RingHost};

/// The length of each record.
pub(super) const LENGTH: u32 = 100;

/// A log without a file.
pub(super) struct Host;

impl RingHost for Host {
    fn arm(&self, ring: &Ring, after: SegmentId) -> Result<()> {
        ring.set_armed(Armed { slot: SlotId(0), segment: SegmentId(after.0 + 1) });
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

    fn pressed(&self) {}
}

pub(super) fn geometry() -> Geometry {
    Geometry::new(512)
}

/// A ring whose first buffer is open already, with room for three records.
pub(super) fn ring() -> Ring {
    let ring = Ring::new(HeadId::FRESH, geometry(), 512, 2, Lsn(0), SegmentId(0));
    append(&ring, |_| {});
    ring
}

/// Appends a record; `install` runs between its reservation and its completion. Returns where it begins.
pub(super) fn append(ring: &Ring, install: impl FnOnce(Lsn)) -> Lsn {
    let (buffer, offset) = ring.reserve(&Host, LENGTH).unwrap();
    let lsn = geometry().lsn(buffer.segment(), buffer.place(offset).offset);
    install(lsn);
    ring.leave(buffer);
    lsn
}
