//! What a check is told, and what it tells.

use std::time::Duration;

use crate::error::Corruption;

/// How to check a store: see [`PageCache::verify_with`](crate::PageCache::verify_with).
///
/// ```
#[doc = include_str!("../../docs/text_pages.txt")]
/// # struct Number(u64);
/// # struct Decimal;
/// # impl Codec<Number> for Decimal {
/// #     fn encode(number: &Number, into: &mut Vec<u8>) -> Result<(), CodecError> {
/// #         into.extend_from_slice(number.0.to_string().as_bytes());
/// #         Ok(())
/// #     }
/// #     fn decode(bytes: &[u8]) -> Result<Number, CodecError> {
/// #         let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
/// #         Ok(Number(text.parse::<u64>().map_err(|error| error.to_string())?))
/// #     }
/// # }
/// # impl Fragment for Number {
/// #     type Codec = Decimal;
/// #     fn merge(oldest_to_newest: &[&Self]) -> Self {
/// #         Number(oldest_to_newest.iter().map(|number| number.0).sum())
/// #     }
/// # }
/// # let storage = Arc::new(MemoryStorage::new());
/// # let cache: PageCache<Text> = Config::with_storage(storage.clone()).open()?;
/// # let page = cache.allocate(Text("seven".into()))?;
/// # cache.close()?;
/// # let cache: PageCache<Number> = Config::with_storage(storage).open()?;
/// use std::ops::ControlFlow;
/// use pagelog::VerifyOptions;
///
/// let verify = |options| cache.verify_with(options, |_| ControlFlow::Continue(()));
/// // Its bytes are what was written. But they are no number.
/// assert!(verify(VerifyOptions::new())?.is_sound());
/// let report = verify(VerifyOptions::new().decode(true))?;
/// assert_eq!(report.faults[0].page_id, Some(page.page_id));
/// # Ok::<(), pagelog::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerifyOptions {
    pub(super) decode: bool,
}

impl VerifyOptions {
    /// Every checksum, and the page table against the log. No user code runs.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether to decode the payload of each live record with the fragments' codec, too. Default false.
    #[must_use]
    pub fn decode(mut self, on: bool) -> Self {
        self.decode = on;
        self
    }
}

/// What a check of a store has found.
///
/// While others write, each segment is looked at at a moment of its own, so the counts are not those of one
/// moment.
///
/// ```
#[doc = include_str!("../../docs/text_pages.txt")]
#[doc = include_str!("../../docs/damage.txt")]
/// # let storage = Arc::new(MemoryStorage::new());
/// # let cache: PageCache<Text> = Config::with_storage(storage.clone()).open()?;
/// let page = cache.allocate(Text("a page".into()))?;
/// cache.flush()?;
/// # rot(&storage, "a page");
/// // Meanwhile a bit of the log has flipped.
/// let report = cache.verify()?;
/// assert!(!report.is_sound());
/// let pages: Vec<_> = report.faults.iter().map(|fault| fault.page_id).collect();
/// assert_eq!(pages, [Some(page.page_id)]);
/// # Ok::<(), pagelog::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Segments of the log that were read.
    pub segments: u32,
    /// Records that match their checksums. The one that ends a segment is checked and not counted.
    pub records: u64,
    /// Those of them that the page table needs.
    pub live_records: u64,
    /// Those that it does not: superseded or cancelled ones, and the log's own (marks, batch boundaries).
    pub dead_records: u64,
    /// Bytes of live records.
    pub live_bytes: u64,
    /// Bytes that were read, of all files.
    pub bytes_read: u64,
    /// Segments whose account of live bytes was compared with the page table. Segments that are being filled
    /// are left out, and those that others change all the time.
    pub accounts_checked: u32,
    /// Large values that live records point to.
    pub large_values: u64,
    /// Bytes of their files.
    pub large_value_bytes: u64,
    /// Files of large values that no record needs. They do no harm; the next opening removes them.
    pub orphaned_files: u64,
    /// Whether there is a snapshot; then it was checked.
    pub has_snapshot: bool,
    /// How long it took.
    pub duration: Duration,
    /// All damage that was found, each with its place: at most 65 536 of them.
    pub faults: Vec<Corruption>,
    /// Damage that was found beyond that.
    pub more_faults: u64,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.faults.is_empty() && self.more_faults == 0
    }
}
