//! The segments of the log file: which are in use, how many of their bytes are live, and which to clean next.
//!
//! | File | What it holds |
//! |---|---|
//! | `state` | one slot's figures, and its way from free to empty |
//! | `accountant` | all slots; who emptied which |
//! | `victim` | which segment to clean next |

pub(crate) mod accountant;
pub(crate) mod state;
pub(crate) mod victim;
