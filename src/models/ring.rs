//! A ring for models: small, on a log that swallows what is written to it.

use crate::geometry::Geometry;
use crate::ids::{HeadId, Lsn, SegmentId, SlotId};
use crate::log::ring::silent::Silent;
use crate::log::ring::{Armed, Ring};

/// The length of each record.
pub(super) const LENGTH: u32 = 100;

/// Arms a segment as soon as one is asked for.
pub(super) const HOST: Silent<fn(&Ring, SegmentId)> =
    Silent(|ring, after| ring.set_armed(Armed { slot: SlotId(0), segment: SegmentId(after.0 + 1) }));

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
    let (buffer, offset) = ring.reserve(&HOST, LENGTH).unwrap();
    let lsn = geometry().lsn(buffer.segment(), buffer.place(offset).offset);
    install(lsn);
    ring.leave(buffer);
    lsn
}
