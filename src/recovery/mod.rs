//! Opening: from files to a log and the pages in it.
//!
//! | file | what |
//! |---|---|
//! | `identify` | what a directory holds |
//! | `open` | the steps of opening, in order |
//! | `facts`, `headers` | what a store is, also without its manifest |
//! | `walk` | a segment, past what is damaged in it |
//! | `heads` | where the log ends, and what lies below |
//! | `replay` | from records to pages |
//! | `saved_tail` | the end of the log, kept elsewhere while it is written again |
//! | `census` | one pass over all pages: live bytes, free ids |
//! | `snapshot_file` | loading and writing snapshots |
//! | `large` | which files of large values are needed |
//! | `checks` | whether snapshots and dictionaries are sound |
//! | `backup` | from a log that is in use to files that can be opened |
//! | `building` | a store that is to be there as a whole or not at all |
//! | `tolerant` | what can be read of a damaged store |
//! | `open_log` | opening a bare log |

mod backup;
mod building;
mod census;
mod checks;
mod facts;
mod headers;
mod heads;
mod identify;
mod large;
mod open;
mod open_log;
mod replay;
mod saved_tail;
mod snapshot_file;
mod tolerant;
mod walk;

pub use backup::BackupReport;
pub(crate) use backup::back_up;
pub(crate) use building::Building;
pub(crate) use checks::{Checked, check_dictionaries, check_snapshot};
#[cfg(feature = "cli")]
pub(crate) use facts::{Facts, facts};
#[cfg(feature = "cli")]
pub(crate) use headers::LogBytes;
#[cfg(feature = "cli")]
pub(crate) use identify::{LOCK_FILE, UNFINISHED_FILE, read_file};
pub(crate) use open::{Recovered, RecoveredPages, RecoveredSnapshot, recover};
pub(crate) use replay::ReplayedRange;
#[cfg(feature = "cli")]
pub(crate) use snapshot_file::read_index;
pub(crate) use snapshot_file::{PendingSnapshot, SnapshotFile, SnapshotFiles, snapshot_serials, sweep};
pub(crate) use tolerant::rescue;
pub use tolerant::{Condition, Damage, DamagedSegment, Doubtful};
#[cfg(feature = "cli")]
pub(crate) use walk::{Step, Walked, seems_to_be, walk};
