//! A lock-free page cache over a log-structured store: the layer below a B-tree, a key-value store, an index
//! or a queue.
//!
//! You say what a page is and how changes merge into it ([`Fragment`]). pagelog keeps pages in memory as far
//! as they fit, logs every change, makes changes durable when asked, gives space back, and finds everything
//! again after a crash.
//!
//! ```text
//!   allocate  link  replace  free            pin ─► get
//!       │       │      │      │                     │
//!  ┌────▼───────▼──────▼──────▼─────────────────────▼────────┐
//!  │ PageCache    page id ─► head ─► link ─► link ─► base    │   versions, a memory budget
//!  └────┬────────────────────────────────────────────▲───────┘
//!       │ records: page id, version, payload         │ read back
//!  ┌────▼────────────────────────────────────────────┴───────┐
//!  │ Log          ring of write buffers ─► segments          │   one sync for all who wait
//!  └────┬────────────────────────────────────────────▲───────┘
//!  ┌────▼────────────────────────────────────────────┴───────┐
//!  │ Storage      MANIFEST   log   snapshot-…   LOCK         │   files, memory, your own
//!  └─────────────────────────────────────────────────────────┘
//! ```
//!
//! # Quick start
//!
#![cfg_attr(feature = "bincode", doc = concat!("```\n", include_str!("../examples/quick_start.rs"), "```"))]
#![cfg_attr(
    not(feature = "bincode"),
    doc = "See `examples/quick_start.rs`, which needs the feature `bincode`."
)]
//!
//! # Where to go from here
//!
//! | | |
//! |---|---|
//! | [`Config`] | options, and [opening](Config::open) a store |
//! | [`PageCache`] | the verbs: [`allocate`](PageCache::allocate), [`link`](PageCache::link), [`replace`](PageCache::replace), [`free`](PageCache::free), [`pin`](PageCache::pin) to read |
//! | [`Guard`], [`Page`] | reading |
//! | [`Cas`] | how a compare-and-swap can end; a lost race is not an error |
//! | [`Fragment`], [`Codec`] | your pages |
//! | [`VerifyReport`], [`BackupReport`] | checking and copying a store that is in use |
//! | [`Damage`] | what is left of a [damaged store](Config::open_tolerantly) |
//! | [`ExportReport`], [`ImportReport`] | a store as a stream, for other versions |
//! | [`make_stable`](PageCache::make_stable), [`flush`](PageCache::flush) | surviving a power cut; a verb that has returned does not yet |
//! | [`cas_root_in_meta`](PageCache::cas_root_in_meta) | names, by which pages are found after the next opening |
//! | [`Batch`] | changes that survive a crash together |
//! | [`Commit`] | waiting for durability without blocking: poll it, or `.await` it |
//! | [`Follower`], [`LogFollower`] | what is done, in order, as it becomes stable |
//! | [`Log`] | the log without pages |
//! | [`Stats`], [`LogStats`] | what an instance does, how long that takes, and what it holds; [`OpenMetrics`] for monitoring |
//! | [`Storage`] | where bytes live |
//! | [`Error`] | what can go wrong |
#![cfg_attr(
    feature = "failpoints",
    doc = "| [`failpoints`] | making I/O fail and holding threads up, in tests |"
)]
#![cfg_attr(
    feature = "cli",
    doc = "| [`inspect`] | looking at the files of a store, also of one that does not open |"
)]
#![cfg_attr(feature = "sim", doc = "| [`sim`] | a disk whose power can be cut, for your tests |")]
//!
//! [A tour](docs::guide): a B-tree on pagelog, piece by piece. [Tuning](docs::tuning): what the options trade
//! for what, measured. [pagelog and others](docs::comparison): when to take something else.
//!
//! In depth: [architecture](docs::architecture), [the log](docs::log), [durability](docs::durability),
//! [the files byte by byte](docs::format), [scaling](docs::scaling), [what was done for speed](docs::speed),
//! [the inspector](docs::inspector), [what stands behind the promises](docs::reliability),
//! [glossary](docs::glossary).
//!
//! # Features
//!
//! * `bincode` (on by default): `Bincode`, a codec for types with serde's traits. Never used for the store's
//!   own files.
//! * `sim`: the simulated disk.
//! * `failpoints`: points at which tests make I/O fail or hold threads up.
//! * `compression`: zstd for pages and links.
//! * `cli`: the program `pagelog`, which looks into stores from the command line, and the module that it
//!   stands on.

mod compression;
mod config;
mod error;
#[cfg(not(feature = "failpoints"))]
mod failpoints;
#[cfg(feature = "failpoints")]
pub mod failpoints;
mod format;
#[cfg(fuzzing)]
#[doc(hidden)]
#[allow(missing_docs, clippy::expect_used, reason = "for the fuzz targets only")]
pub mod fuzzing;
mod geometry;
mod ids;
#[cfg(feature = "cli")]
pub mod inspect;
mod location;
mod log;
#[cfg(all(test, loom))]
mod models;
mod pagecache;
mod pages;
mod progress;
mod recovery;
mod segments;
mod stats;
mod storage;
mod sync;

pub use config::{Config, VictimPolicy};
pub use error::{Corruption, Error, Result};
pub use ids::{Lsn, PageId, Version};
pub use location::Location;
pub use log::{Batch, Commit, Log, LogEntry, LogEvent, LogFollower, LogIter, LogStats, Reservation};
pub use pagecache::{
    Allocated, Cas, Change, ChangeKind, Event, ExportReport, Follower, Fragments, Guard, ImportReport, Page,
    PageCache, RootCas, Roots, Stats, VerifyOptions, VerifyReport,
};
#[cfg(feature = "bincode")]
pub use pages::Bincode;
pub use pages::{Codec, CodecError, Fragment};
pub use progress::Progress;
pub use recovery::{BackupReport, Condition, Damage, DamagedSegment, Doubtful};
pub use stats::{Counts, Histogram, Latencies, Metric, MetricValue, OpenMetrics, Unit};
pub use storage::{Access, FileStorage, MemoryStorage, Storage, StorageFile, StorageLock};

/// The simulated disk: power cuts and I/O errors on demand.
///
/// ```
/// use std::sync::Arc;
/// use pagelog::sim::SimStorage;
/// use pagelog::{Config, Log};
///
/// # fn main() -> pagelog::Result<()> {
/// let disk = SimStorage::new(1);
/// let log = Log::open(Config::with_storage(Arc::new(disk.clone())))?;
/// log.append(b"stable")?;
/// log.flush()?;
/// log.append(b"in doubt")?;
/// disk.cut_power();
/// // Whatever the power cut has left of it, it opens, and what was stable is there.
/// for seed in 0..10 {
///     let log = Log::open(Config::with_storage(Arc::new(disk.after_power_cut(seed))))?;
///     let entries = log.iter_from(log.first_lsn())?.collect::<pagelog::Result<Vec<_>>>()?;
///     assert_eq!(entries[0].payload, b"stable");
/// }
/// # Ok(())
/// # }
/// ```
#[cfg(feature = "sim")]
pub mod sim {
    pub use crate::storage::sim::{Call, CallKind, Fault, Images, SimStorage, When};
}

/// How it works, for those who want to know. Only in the documentation.
#[cfg(any(doc, doctest))]
pub mod docs {
    #[doc = include_str!("docs/guide.md")]
    pub mod guide {}
    #[doc = include_str!("docs/tuning.md")]
    pub mod tuning {}
    #[doc = include_str!("docs/comparison.md")]
    pub mod comparison {}
    #[doc = include_str!("docs/architecture.md")]
    pub mod architecture {}
    #[doc = include_str!("docs/log.md")]
    pub mod log {}
    #[doc = include_str!("docs/durability.md")]
    pub mod durability {}
    #[doc = include_str!("docs/format.md")]
    pub mod format {}
    #[doc = include_str!("docs/inspector.md")]
    pub mod inspector {}
    #[doc = include_str!("docs/scaling.md")]
    pub mod scaling {}
    #[doc = include_str!("docs/speed.md")]
    pub mod speed {}
    #[doc = include_str!("docs/reliability.md")]
    pub mod reliability {}
    #[doc = include_str!("docs/glossary.md")]
    pub mod glossary {}
}
