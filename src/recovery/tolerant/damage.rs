//! What a tolerant opening has to report.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::pages::Loss;
use crate::error::{Corruption, Error};
use crate::ids::PageId;

/// So many faults are kept; of more there is only the number.
const FAULTS_KEPT: usize = 1000;
/// So many things of a kind are shown.
const SHOWN: usize = 20;

/// What a [tolerant opening](crate::Config::open_tolerantly) does with pages [in doubt](Condition::InDoubt).
///
/// ```
#[doc = include_str!("../../docs/text_pages.txt")]
#[doc = include_str!("../../docs/damage.txt")]
/// # let config = damaged()?;
/// use pagelog::{Doubtful, Error, PageId};
///
/// // Behind the newest record of page 1 there is a damaged one. Whose it was is not known.
/// let page = PageId::new(1);
/// let (cache, _) = config.clone().open_tolerantly::<Text>(Doubtful::Refuse)?;
/// assert!(matches!(cache.pin().get(page), Err(Error::Corruption(_))));
/// let (cache, _) = config.open_tolerantly::<Text>(Doubtful::Serve)?;
/// assert_eq!(cache.pin().get(page)?.map(|page| page.merged().0.as_str()), Some("first"));
/// # Ok::<(), pagelog::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubtful {
    /// To read one is an [`Error::Corruption`], as with pages that are lost.
    Refuse,
    /// They are read, in the newest state that there is.
    Serve,
}

/// What is known of a page of a damaged store.
///
/// ```
#[doc = include_str!("../../docs/text_pages.txt")]
#[doc = include_str!("../../docs/damage.txt")]
/// # let config = damaged()?;
/// use pagelog::{Condition, Doubtful, PageId};
///
/// // Of page 2 a record is damaged. Page 1 was written before that, and page 3 afterwards.
/// let (_, damage) = config.open_tolerantly::<Text>(Doubtful::Serve)?;
/// let [first, second, third] = [1, 2, 3].map(|id| damage.condition(PageId::new(id)));
/// assert_eq!((first, second, third), (Condition::InDoubt, Condition::Lost, Condition::Certain));
/// # Ok::<(), pagelog::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Condition {
    /// What is read is the newest state that was stable, or that there is no such page.
    Certain,
    /// What is read was the page's state once. A newer one may be lost, in which the page may also have been
    /// freed; or, if nothing is read, allocated.
    InDoubt,
    /// A record of it is known to be missing or damaged that its state needs. Reading it is an error.
    Lost,
}

/// A segment of which something can't be read.
///
/// ```
#[doc = include_str!("../../docs/text_pages.txt")]
#[doc = include_str!("../../docs/damage.txt")]
/// # let config = damaged()?;
/// use pagelog::Doubtful;
///
/// let (_, damage) = config.open_tolerantly::<Text>(Doubtful::Serve)?;
/// let [segment] = damage.segments() else { unreachable!() };
/// // One record is damaged. What lies before and behind it is not.
/// assert!(segment.unreadable_bytes > 0 && segment.readable_records >= 3);
/// println!("{segment}");
/// # Ok::<(), pagelog::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DamagedSegment {
    /// Its id, as the [inspector](crate::docs::inspector) shows it.
    pub segment: u64,
    /// Its place: slot `n` begins at byte `n` × segment size of the log file.
    pub slot: u32,
    /// Bytes that can't be read as records. 0 if only its header is damaged.
    pub unreadable_bytes: u64,
    /// Records in it that can be read. If there are none, the segment was skipped as a whole.
    pub readable_records: u64,
}

/// Faults, up to a number.
#[derive(Debug, Default)]
pub(super) struct Faults {
    kept: Vec<Corruption>,
    count: u64,
}

impl Faults {
    pub(super) fn push(&mut self, fault: Corruption) {
        self.count += 1;
        if self.kept.len() < FAULTS_KEPT {
            self.kept.push(fault);
        }
    }

    /// Whatever can't be read is damaged.
    pub(super) fn push_error(&mut self, error: Error, path: &str) {
        self.push(match error {
            Error::Corruption(fault) => *fault,
            Error::NotAStore { path, reason } => Corruption::new(path, reason),
            Error::Io { path, source, .. } => Corruption::new(path, format!("it can't be read: {source}")),
            error => Corruption::new(path, error.to_string()),
        });
    }
}

/// All that was found out.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) faults: Faults,
    pub(super) segments: Vec<DamagedSegment>,
    pub(super) manifest_is_lost: bool,
    pub(super) lost: BTreeMap<PageId, Loss>,
    /// Of pages of which something was found. They rise.
    pub(super) in_doubt: Vec<PageId>,
    /// Of others.
    pub(super) others_in_doubt: bool,
    /// Pages of which something was found, whatever it is. They rise.
    pub(super) certain: Vec<PageId>,
}

/// What is damaged in a store that was [opened tolerantly](crate::Config::open_tolerantly), and what that
/// means for its pages. Shown ([`Display`](fmt::Display)) it is a text for people, of bounded length.
///
/// ```
#[doc = include_str!("../../docs/text_pages.txt")]
#[doc = include_str!("../../docs/damage.txt")]
/// # let config = damaged()?;
/// use pagelog::{Doubtful, PageId};
///
/// // Of page 2 a record is damaged. Page 1 was written before that, and page 3 afterwards.
/// let (_, damage) = config.open_tolerantly::<Text>(Doubtful::Serve)?;
/// assert!(!damage.is_none() && !damage.manifest_is_lost());
/// assert_eq!((damage.fault_count(), damage.faults().len(), damage.segments().len()), (1, 1, 1));
/// assert!(damage.lost_pages().map(|(page_id, _)| page_id).eq([PageId::new(2)]));
/// assert_eq!(damage.pages_in_doubt(), [PageId::new(1)]);
/// // For all that is known, what is damaged may have been all there was of a page.
/// assert!(damage.others_in_doubt());
/// println!("{damage}");
/// # Ok::<(), pagelog::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Damage {
    findings: Arc<Findings>,
    doubtful: Doubtful,
    log_path: Arc<str>,
}

impl Damage {
    pub(super) fn new(findings: Findings, doubtful: Doubtful, log_path: &str) -> Self {
        Self { findings: Arc::new(findings), doubtful, log_path: log_path.into() }
    }

    /// Nothing is damaged, as far as that can be told.
    #[must_use]
    pub fn is_none(&self) -> bool {
        let findings = &*self.findings;
        findings.faults.count == 0 && findings.lost.is_empty() && !findings.others_in_doubt
    }

    /// Where the files are damaged, the first thousand places: in the manifest, the log (with LSN and, as far
    /// as that can be told, the page), snapshots that are not usable, files of large values, dictionaries.
    #[must_use]
    pub fn faults(&self) -> &[Corruption] {
        &self.findings.faults.kept
    }

    /// How many such places there are.
    #[must_use]
    pub fn fault_count(&self) -> u64 {
        self.findings.faults.count
    }

    /// The manifest can't be read, so that all pages are in doubt: they may also be in a state that was never
    /// acknowledged, and ids that were [generated](crate::PageCache::generate_id) may be generated again in a
    /// copy.
    #[must_use]
    pub fn manifest_is_lost(&self) -> bool {
        self.findings.manifest_is_lost
    }

    /// Segments of which something can't be read, by their places in the log file.
    #[must_use]
    pub fn segments(&self) -> &[DamagedSegment] {
        &self.findings.segments
    }

    /// The pages that are known to be lost, by rising ids, and why. Page 0 stands for the named roots.
    pub fn lost_pages(&self) -> impl ExactSizeIterator<Item = (PageId, &'static str)> {
        self.findings.lost.iter().map(|(page_id, loss)| (*page_id, loss.reason()))
    }

    /// The pages of which something was found and which are in doubt, by rising ids. Page 0 stands for the
    /// named roots.
    #[must_use]
    pub fn pages_in_doubt(&self) -> &[PageId] {
        &self.findings.in_doubt
    }

    /// There may have been pages of which no trace is left.
    #[must_use]
    pub fn others_in_doubt(&self) -> bool {
        self.findings.others_in_doubt
    }

    /// What is known of a page, or, for page 0, of the named roots.
    ///
    /// ```
    #[doc = include_str!("../../docs/text_pages.txt")]
    #[doc = include_str!("../../docs/damage.txt")]
    /// # let config = damaged()?;
    /// use pagelog::{Condition, Doubtful, PageId};
    ///
    /// let (cache, damage) = config.open_tolerantly::<Text>(Doubtful::Serve)?;
    /// let guard = cache.pin();
    /// // What can be relied upon, without exceptions.
    /// let mut kept = Vec::new();
    /// for page_id in (1..=3).map(PageId::new).filter(|page_id| damage.condition(*page_id) == Condition::Certain) {
    ///     kept.extend(guard.get(page_id)?.map(|page| page.merged().0.as_str()));
    /// }
    /// assert_eq!(kept, ["third"]);
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    #[must_use]
    pub fn condition(&self, page_id: PageId) -> Condition {
        let Findings { lost, in_doubt, others_in_doubt, certain, .. } = &*self.findings;
        if lost.contains_key(&page_id) {
            Condition::Lost
        } else if in_doubt.binary_search(&page_id).is_ok()
            || (*others_in_doubt && certain.binary_search(&page_id).is_err())
        {
            Condition::InDoubt
        } else {
            Condition::Certain
        }
    }

    /// Why reading that page is an error, if it is.
    pub(crate) fn refusal(&self, page_id: PageId) -> Option<Error> {
        let reason = match (self.condition(page_id), self.doubtful) {
            (Condition::Lost, _) => {
                let reason = self.findings.lost.get(&page_id).map_or("it is lost", |loss| loss.reason());
                format!("the page is lost: {reason}")
            }
            (Condition::InDoubt, Doubtful::Refuse) => {
                "the page is in doubt: its newest record may be in a part of the log that is lost".to_owned()
            }
            _ => return None,
        };
        Some(Corruption::new(&*self.log_path, reason).of_page(page_id).into())
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let findings = &*self.findings;
        if self.is_none() {
            return formatter.write_str("no damage was found");
        }
        if findings.manifest_is_lost {
            writeln!(formatter, "the manifest can't be read: all pages are in doubt")?;
        }
        list(formatter, "damaged places", findings.faults.count as usize, &findings.faults.kept)?;
        list(formatter, "damaged segments", findings.segments.len(), &findings.segments)?;
        let lost = self.lost_pages().map(|(page_id, reason)| format!("{page_id}: {reason}"));
        list(formatter, "pages lost", findings.lost.len(), lost)?;
        list(formatter, "pages in doubt", findings.in_doubt.len(), &findings.in_doubt)?;
        if findings.others_in_doubt {
            writeln!(formatter, "there may have been pages of which no trace is left")?;
        }
        Ok(())
    }
}

fn list<T: fmt::Display>(
    formatter: &mut fmt::Formatter<'_>,
    what: &str,
    count: usize,
    items: impl IntoIterator<Item = T>,
) -> fmt::Result {
    if count == 0 {
        return Ok(());
    }
    writeln!(formatter, "{what}: {count}")?;
    for item in items.into_iter().take(SHOWN) {
        writeln!(formatter, "  {item}")?;
    }
    if count > SHOWN {
        writeln!(formatter, "  and {} more", count - SHOWN)?;
    }
    Ok(())
}

impl fmt::Display for DamagedSegment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { segment, slot, unreadable_bytes, readable_records } = self;
        write!(formatter, "segment {segment} in slot {slot}: ")?;
        match (unreadable_bytes, readable_records) {
            (0, _) => write!(formatter, "its header only"),
            (_, 0) => write!(formatter, "all of it"),
            _ => write!(formatter, "{unreadable_bytes} bytes; {readable_records} records can be read"),
        }
    }
}
