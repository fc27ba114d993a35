//! Training a compression dictionary on the store's own pages.

use super::shared::{Inner, PageCache};
use crate::error::{Error, Result};
use crate::ids::PageId;
use crate::pages::Fragment;
use crate::sync::atomic::Ordering;
use crate::sync::epoch;

/// The trainer wants a hundred times as many bytes of samples as the dictionary is to have.
const SAMPLED: usize = 100;
/// The most pages that are looked at.
const PAGES: u64 = 100_000;

impl<F: Fragment> PageCache<F> {
    /// Learns from the store's pages what they have in common, and from now on compresses new records with
    /// that: a dictionary of at most `size` bytes (100 KiB is a good start). It is worth most for records
    /// below a few KiB.
    ///
    /// Reads records of pages all over the store, some hundred times `size` bytes, and takes time and memory
    /// in proportion. The dictionary is durable when this returns; a store keeps all that it ever had, up to
    /// 255, since old records need them. False if there was too little to learn from; then nothing has
    /// changed.
    ///
    /// Does not turn compression on: [`Config::compression`](crate::Config::compression) does, also later.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    /// # let cache: PageCache<Text> = config().compression(3).open()?;
    /// let row = |n: u32| Text(format!("{{\"customer\": {n}, \"city\": \"Utrecht\", \"balance\": {}}}", n * n));
    /// for n in 0..2000 {
    ///     cache.allocate(row(n))?;
    /// }
    /// assert!(cache.train_dictionary(1024)?);
    /// // From now on they are compressed, short as they are.
    /// let before = cache.stats().counts.payloads_compressed;
    /// cache.allocate(row(2000))?;
    /// assert_eq!(cache.stats().counts.payloads_compressed, before + 1);
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    ///
    /// # Errors
    /// As for [`flush`](Self::flush) and for reading records, I/O errors in writing the dictionary, and
    /// [`TooManyDictionaries`](crate::Error::TooManyDictionaries).
    pub fn train_dictionary(&self, size: usize) -> Result<bool> {
        // What is sampled is read from the file.
        self.flush()?;
        let inner = &*self.inner;
        let samples = inner.sample_records(size.saturating_mul(SAMPLED))?;
        inner.compression.train(&samples, size)
    }
}

/// A number below `count`, such that those of the first few steps, however many, are spread evenly.
fn spread(step: u64, count: u64) -> u64 {
    // Multiples of the golden ratio, modulo one.
    let fraction = step.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    // Below `count`, so it fits.
    ((u128::from(fraction) * u128::from(count)) >> 64) as u64
}

impl<F: Fragment> Inner<F> {
    /// Payloads of records, of pages that are spread evenly over all ids: each page's newest record, and its
    /// oldest.
    fn sample_records(&self, wanted: usize) -> Result<Vec<Vec<u8>>> {
        let first = PageId::FIRST.0;
        let count = self.next_page_id.load(Ordering::Acquire).saturating_sub(first);
        let (mut samples, mut bytes) = (Vec::new(), 0);
        for page_id in (0..count.min(PAGES)).map(|step| PageId(first + spread(step, count))) {
            let guard = epoch::pin();
            let Some(head) = self.table.head(page_id, &guard).filter(|head| !head.is_freed()) else {
                continue;
            };
            let newest = head.newest();
            let oldest = head.nodes().last().filter(|_| head.depth() > 0);
            for node in [Some(newest), oldest].into_iter().flatten() {
                // Large ones would be most of what is read, and are not what a dictionary is for.
                if node.bulk().is_some() {
                    continue;
                }
                let is_written = node.place().is_some_and(|place| self.core.is_written(place, node.length()));
                if !is_written {
                    continue;
                }
                let payload = match self.read_node(page_id, node, |payload| Ok(payload.to_vec())) {
                    // There is enough else to learn from; whoever reads the page will hear of it.
                    Err(Error::Corruption(_)) => None,
                    other => other?,
                };
                bytes += payload.as_ref().map_or(0, Vec::len);
                samples.extend(payload.filter(|payload| !payload.is_empty()));
            }
            if bytes >= wanted {
                break;
            }
        }
        Ok(samples)
    }
}
