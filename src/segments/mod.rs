//! The segments of the log file: which are in use, how many of their bytes are live, and which to clean next.
//!
//! | File | What it holds |
//! |---|---|
//! | `state` | one slot's figures, and its way from free to empty |
//! | `accountant` | all slots; who emptied which |
//! | `victim` | which segment to clean next |

mod accountant;
mod state;
mod victim;

pub(crate) use accountant::{Candidate, SegmentAccountant};
pub(crate) use state::{RestoredSegment, SegmentState};
pub(crate) use victim::Chooser;
