//! Looking at the files of a store without opening it: also of one that does not open any more.
//!
//! [`Inspection`] reads what is there and says what it can't read, and why. It is what the program `pagelog`
//! stands on. To get at pages, open the store ([`Config::read_only`](crate::Config::read_only)).
//!
//! ```text
//!  Inspection ──► StoreInfo, files, snapshot      from the manifest, or from segment headers if that is unreadable
//!      │
//!      ├─ survey ──► Survey: every segment, what is live in it, all damage of the log
//!      │                │
//!      ├─ records ◄─────┘   one segment, record by record
//!      └─ check             the survey, and all other files
//! ```
//!
//! ```
//! use std::ops::ControlFlow;
//! use std::sync::Arc;
//! use pagelog::inspect::{InspectOptions, Inspection};
//! use pagelog::{Config, Log, MemoryStorage};
//!
//! # fn main() -> pagelog::Result<()> {
//! # let storage = Arc::new(MemoryStorage::new());
//! # let log = Log::open(Config::with_storage(storage.clone()))?;
//! # log.append(b"entry")?;
//! # log.close()?;
//! let inspection = Inspection::open(storage, InspectOptions::new())?;
//! let report = inspection.check(|_| ControlFlow::Continue(()))?;
//! assert!(report.faults.is_empty());
//! assert_eq!(report.survey.live_records, 1);
//! # Ok(())
//! # }
//! ```
//!
//! # What can be relied upon
//!
//! - **(A) Nothing is written**, not even a lock file. A store that is open for writing is refused, unless
//!   the caller wants to look all the same ([`InspectOptions::beside_writer`]); that harms nobody, but what
//!   is read is then of many moments, so that damage is not certain.
//! - **(B) The rules are those of recovery.** Which life a slot is in, the manifest says. What lies below the
//!   proven point of a head must verify, or is damage; above it the first record that does not verify is
//!   where the head ends, and what is found behind is void. A batch without its end is void.
//! - **(C) Damage does not hide what is behind it.** Behind a record that does not verify, the next one that
//!   does is searched for; where recovery gives up, this goes on.
//! - **(D) Live is what nothing readable supersedes.** The record that has superseded another one may be the
//!   damaged one. So in a damaged store an old state of a page can look live; a page of which versions are
//!   missing is reported.
//! - **(E) Without a manifest** segments are told by their headers, which are there twice over for this
//!   purpose. What was given up cannot be told from what is in use then, so more looks live than is.
//! - **(F) Nothing is believed.** No count or length in a file leads to more memory than the file is long,
//!   but for the table of live records, which has a few words for each.

mod check;
mod inspection;
mod pages;
mod records;
mod survey;
mod types;

pub use check::CheckReport;
pub use inspection::{InspectOptions, Inspection};
pub use survey::Survey;
pub use types::{
    FileInfo, FileKind, Lane, LargeValueInfo, RecordInfo, RecordState, RecordType, SegmentInfo, SegmentState,
    SnapshotInfo, Source, StoreInfo, StoreKind,
};
