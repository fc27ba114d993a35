//! A lock-free page cache over a log-structured store.

mod config;
mod error;
mod format;
mod geometry;
mod ids;
mod location;
mod log;
#[cfg(all(test, loom))]
mod models;
mod pagecache;
mod pages;
mod recovery;
mod segments;
mod stats;
mod storage;
mod sync;

pub use config::Config;
pub use error::{Corruption, Error, Result};
pub use ids::{Lsn, PageId, Version};
pub use location::Location;
pub use log::{Batch, Log, LogEntry, LogIter, Reservation};
pub use pagecache::{Allocated, Cas, Fragments, Guard, Page, PageCache, RootCas, Roots, Stats};
#[cfg(feature = "bincode")]
pub use pages::Bincode;
pub use pages::{Codec, CodecError, Fragment};
pub use stats::Counts;
pub use storage::{Access, FileStorage, MemoryStorage, Storage, StorageFile, StorageLock};

/// The simulated disk: power cuts and I/O errors on demand.
#[cfg(feature = "sim")]
pub mod sim {
    pub use crate::storage::sim::{Call, CallKind, Fault, Images, SimStorage, When};
}
