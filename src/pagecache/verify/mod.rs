//! `verify`: a full check of a running store. Nothing is changed, and nobody waits for it.
//!
//! | file | what |
//! |---|---|
//! | `report` | what a check is told, and what it tells |
//! | `run` | the steps in order |
//! | `segment` | one segment: its header, its records, and which of them are live |
//! | `table` | the page table against the records, and the accounts against the page table |
//! | `files` | the manifest, the snapshot, the dictionaries |

mod files;
mod report;
mod run;
mod segment;
mod table;

pub use report::{VerifyOptions, VerifyReport};
