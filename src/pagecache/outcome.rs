//! How a verb can end. A lost race is an outcome, not an error.

use crate::ids::{Lsn, PageId, Version};

/// The outcome of a compare-and-swap on a page. Who lost a race gets the fragment back, to try again or to
/// give up.
///
/// ```
#[doc = include_str!("../docs/text_pages.txt")]
/// # fn main() -> pagelog::Result<()> {
/// # let cache = open()?;
/// use pagelog::Cas;
///
/// let page = cache.allocate(Text("a".into()))?;
/// // Somebody else was quicker.
/// let _ = cache.link(page.page_id, page.version, Text("b".into()))?;
/// let (mut version, mut fragment) = (page.version, Text("c".into()));
/// let version = loop {
///     match cache.link(page.page_id, version, fragment)? {
///         Cas::Done { version, .. } => break Some(version),
///         Cas::Changed { current, fragment: mine } => (version, fragment) = (current, mine),
///         Cas::Gone { .. } => break None,
///     }
/// };
/// assert_eq!(version, cache.version(page.page_id)?);
/// assert_eq!(cache.pin().get(page.page_id)?.map(|page| page.merged().0.as_str()), Some("abc"));
/// # cache.close()
/// # }
/// ```
#[must_use = "a compare-and-swap may not have happened"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cas<F> {
    /// It happened.
    Done {
        /// The page's version now: the next compare-and-swap builds on it.
        version: Version,
        /// The change's place in the log, to be made stable.
        lsn: Lsn,
    },
    /// The page has another version. Nothing was changed.
    Changed {
        /// The version found.
        current: Version,
        /// What was to be written, handed back.
        fragment: F,
    },
    /// There is no such page, or the version belongs to an earlier life of its id. Nothing was changed.
    Gone {
        /// What was to be written, handed back.
        fragment: F,
    },
}

impl<F> Cas<F> {
    /// The new version, if it happened.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    /// # let cache = open()?;
    /// let page = cache.allocate(Text("a".into()))?;
    /// let version = cache.link(page.page_id, page.version, Text("b".into()))?.done();
    /// assert_eq!(version, cache.version(page.page_id)?);
    /// // Nothing is done to a version that has passed.
    /// assert_eq!(cache.link(page.page_id, page.version, Text("c".into()))?.done(), None);
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    pub fn done(self) -> Option<Version> {
        match self {
            Self::Done { version, .. } => Some(version),
            Self::Changed { .. } | Self::Gone { .. } => None,
        }
    }

    /// Whether it happened.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    /// # let cache = open()?;
    /// let page = cache.allocate(Text("a page".into()))?;
    /// assert!(cache.free(page.page_id, page.version)?.is_done());
    /// // There is nothing left to be freed.
    /// assert!(!cache.free(page.page_id, page.version)?.is_done());
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done { .. })
    }
}

/// A page that was allocated.
///
/// ```
#[doc = include_str!("../docs/text_pages.txt")]
/// # let cache = open()?;
/// let page = cache.allocate(Text("a".into()))?;
/// // What it takes to change the page, and to make it stable.
/// assert!(cache.link(page.page_id, page.version, Text("b".into()))?.is_done());
/// cache.make_stable(page.lsn)?;
/// assert!(cache.stable_lsn() > page.lsn);
/// # Ok::<(), pagelog::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Allocated {
    /// Its name.
    pub page_id: PageId,
    /// Its first version.
    pub version: Version,
    /// The allocation's place in the log, to be made stable.
    pub lsn: Lsn,
}
