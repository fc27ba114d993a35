//! The log: records in order, in write buffers, in segments of a file. See `docs/log.md`.
//!
//! | file | what |
//! |---|---|
//! | `buffer_state` | the packed word of a write buffer |
//! | `buffer`, `ring` | write buffers, and their queue |
//! | `blocks` | keeping what is written apart from what is durable |
//! | `claim` | a reservation inside the library |
//! | `event`, `gate` | waiting, and refusing |
//! | `batch` | what may be called stable while batches are open |
//! | `durability` | the leader that syncs for all |
//! | `commit`, `committer` | waiting without blocking; a thread that syncs for those who do |
//! | `supply` | segments for the heads |
//! | `hold` | keeping segments from being reused |
//! | `large` | values in files of their own |
//! | `copy` | copying what is stable |
//! | `trail` | following what becomes stable |
//! | `manifest_file` | claims and bounds on disk |
//! | `core` | all of these together |
//! | `reads` | reading many records at once |
//! | `scan`, `iter` | reading records in order |
//! | `bare`, `reservation`, `batch_guard`, `follow`, `statistics` | the log as users see it |

mod bare;
pub(crate) mod batch;
mod batch_guard;
pub(crate) mod blocks;
pub(crate) mod buffer;
pub(crate) mod buffer_state;
mod claim;
mod commit;
mod committer;
mod copy;
mod core;
pub(crate) mod durability;
pub(crate) mod event;
mod follow;
pub(crate) mod gate;
mod hold;
mod iter;
mod large;
mod manifest_file;
mod reads;
mod reservation;
pub(crate) mod ring;
mod scan;
mod statistics;
mod supply;
mod trail;

pub use bare::Log;
pub use batch_guard::Batch;
pub use commit::Commit;
pub use follow::{LogEvent, LogFollower};
pub use iter::{LogEntry, LogIter};
pub use reservation::Reservation;
pub use statistics::LogStats;

pub(crate) use committer::Committer;
pub(crate) use copy::StableLog;
pub(crate) use core::{Due, LOG_FILE, LogCore, LogStart};
pub(crate) use gate::Privilege;
pub(crate) use hold::{Hold, SegmentInUse};
pub(crate) use large::{LargeFile, LargeValues, OwnedFile};
pub(crate) use manifest_file::{Adding, MANIFEST_FILE, MANIFEST_TEMPORARY, ManifestFile};
pub(crate) use reads::Wanted;
pub(crate) use scan::{Records, Search};
pub(crate) use supply::{RESERVE, SupplyFigures, SupplyStart, claimed_at_once};
pub(crate) use trail::{Step, Trail};
