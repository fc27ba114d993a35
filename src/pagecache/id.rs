//! `generate_id`: numbers that never come twice.
//!
//! The manifest holds a bound that is above all ids ever handed out. It is moved up, and synced, before the
//! first id of a stretch is handed out; after a crash the rest of the stretch is skipped. The log is no place
//! for it: with a batch open nothing in the log can be made durable.

use super::shared::PageCache;
use crate::error::Result;
use crate::format::ManifestEntry;
use crate::log::LogCore;
use crate::pages::Fragment;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};

/// How many ids one sync covers.
const STRETCH: u64 = 1 << 16;

/// The generator.
#[derive(Debug)]
pub(crate) struct IdGenerator {
    next: AtomicU64,
    bound: AtomicU64,
    extension: Mutex<()>,
}

impl IdGenerator {
    pub(super) fn new(bound: u64) -> Self {
        Self { next: AtomicU64::new(bound), bound: AtomicU64::new(bound), extension: Mutex::new(()) }
    }

    /// Above all ids that were handed out.
    pub(super) fn bound(&self) -> u64 {
        self.bound.load(Ordering::Acquire)
    }

    pub(super) fn generate(&self, core: &LogCore) -> Result<u64> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        while id >= self.bound.load(Ordering::Acquire) {
            let _one_at_a_time = self.extension.lock();
            let bound = self.bound.load(Ordering::Acquire);
            if id >= bound {
                let higher = id.saturating_add(STRETCH);
                core.append_manifest(&ManifestEntry::IdBound(higher))?;
                self.bound.store(higher, Ordering::Release);
            }
        }
        Ok(id)
    }
}

impl<F: Fragment> PageCache<F> {
    /// A number that was never returned before by this store, higher than all before it in each thread, over
    /// crashes too. Not contiguous. Mostly one atomic addition; one call in 65 536 syncs.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    /// # fn main() -> pagelog::Result<()> {
    /// # let cache = open()?;
    /// let (first, second) = (cache.generate_id()?, cache.generate_id()?);
    /// assert!(first < second);
    /// # cache.close()
    /// # }
    /// ```
    ///
    /// # Errors
    /// What stops writing; an I/O error poisons the instance.
    pub fn generate_id(&self) -> Result<u64> {
        self.inner.core.gate().admit_flush()?;
        self.inner.ids.generate(&self.inner.core)
    }
}
