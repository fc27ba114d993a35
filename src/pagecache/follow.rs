//! `follow`: what is done to the pages, in order, as it becomes stable. How, and why nothing is missed, is in
//! `log/trail`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::large::ReadFault;
use super::meta::Roots;
use super::shared::{Inner, PageCache, compression_is_missing};
use crate::compression::UnpackFault;
use crate::error::{Corruption, Error, Result};
use crate::format::{LARGEST_VALUE, Payload, RecordKind, decode_roots};
use crate::ids::{Lsn, PageId, Version};
use crate::log::{Step, Trail};
use crate::pages::{Codec, Fragment};
use crate::sync::epoch;

/// What a [`Follower`] comes by.
///
/// ```
#[doc = include_str!("../docs/text_pages.txt")]
/// # let cache = open()?;
/// use pagelog::Event::{BatchBegins, BatchEnds, Change};
///
/// let follower = cache.follow(cache.stable_lsn(), 0)?;
/// let batch = cache.pin_log()?;
/// cache.allocate(Text("half of it".into()))?;
/// cache.allocate(Text("the other half".into()))?;
/// cache.make_stable(batch.seal_batch()?)?;
/// let events = follower.collect::<pagelog::Result<Vec<_>>>()?;
/// assert!(matches!(events[..], [BatchBegins, Change(_), Change(_), BatchEnds]));
/// # Ok::<(), pagelog::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<F> {
    /// A change of a page, or of the named roots.
    Change(Change<F>),
    /// What follows, up to the end, is one [batch](crate::Batch), with what other threads did meanwhile. All
    /// of it is stable, so it comes without a wait; it should be applied as a whole.
    BatchBegins,
    /// The end of the batch that began last.
    BatchEnds,
}

/// A change that has become stable.
///
/// ```
#[doc = include_str!("../docs/text_pages.txt")]
/// # let cache = open()?;
/// use pagelog::Event;
///
/// let mut follower = cache.follow(cache.stable_lsn(), 0)?;
/// let page = cache.allocate(Text("a page".into()))?;
/// cache.make_stable(page.lsn)?;
/// let Some(Event::Change(change)) = follower.try_next()? else { unreachable!() };
/// assert_eq!((change.lsn, change.page_id, change.version), (page.lsn, page.page_id, page.version));
/// # Ok::<(), pagelog::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change<F> {
    /// Its place in the log.
    pub lsn: Lsn,
    /// The page; 0 if the named roots have changed.
    pub page_id: PageId,
    /// The page's version since this change.
    pub version: Version,
    /// What was done.
    pub kind: ChangeKind<F>,
}

/// What was done to a page.
///
/// ```
#[doc = include_str!("../docs/text_pages.txt")]
/// # let cache = open()?;
/// use std::collections::BTreeMap;
/// use pagelog::{ChangeKind, Event};
///
/// let (mut follower, mut copy) = (cache.follow(cache.stable_lsn(), 0)?, BTreeMap::new());
/// let page = cache.allocate(Text("a".into()))?;
/// let _ = cache.link(page.page_id, page.version, Text("b".into()))?;
/// # let freed = cache.allocate(Text("c".into()))?;
/// # let _ = cache.free(freed.page_id, freed.version)?;
/// cache.flush()?;
/// while let Some(event) = follower.try_next()? {
///     let Event::Change(change) = event else { continue };
///     match change.kind {
///         ChangeKind::Allocate(text) | ChangeKind::Replace(text) => _ = copy.insert(change.page_id, text.0),
///         ChangeKind::Link(text) => copy.entry(change.page_id).or_default().push_str(&text.0),
///         ChangeKind::Free => _ = copy.remove(&change.page_id),
///         _ => {}
///     }
/// }
/// assert_eq!(copy, BTreeMap::from([(page.page_id, "ab".into())]));
/// # Ok::<(), pagelog::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChangeKind<F> {
    /// It was made, with this.
    Allocate(F),
    /// It is this now. Also for a link that caused the page to be written as a whole: then this is all of it,
    /// with what was linked.
    Replace(F),
    /// This was put on top of it.
    Link(F),
    /// It is no more.
    Free,
    /// These are the named roots now, all of them.
    Roots(Roots),
    /// It was allocated, replaced or linked to, with a [large value](crate::Config::inline_limit) that was
    /// removed before the follower came to it, since it has been superseded. A later change says what the
    /// page is then, or that it is free; until that comes, links to the page have nothing to stand on and can
    /// be skipped.
    Superseded,
}

/// Follows what is done to the pages of a store, in order, as it becomes stable. Got from
/// [`PageCache::follow`].
///
/// It is bound to the instance, and does not keep it open.
///
/// ```
#[doc = include_str!("../docs/text_pages.txt")]
/// # let cache = open()?;
/// let mut follower = cache.follow(cache.stable_lsn(), 64 << 20)?;
/// cache.allocate(Text("first".into()))?;
/// cache.allocate(Text("second".into()))?;
/// cache.flush()?;
/// assert_eq!(follower.by_ref().collect::<pagelog::Result<Vec<_>>>()?.len(), 2);
/// // There was no more. Now there is.
/// cache.allocate(Text("third".into()))?;
/// cache.flush()?;
/// assert_eq!(follower.collect::<pagelog::Result<Vec<_>>>()?.len(), 1);
/// # Ok::<(), pagelog::Error>(())
/// ```
pub struct Follower<F: Fragment> {
    inner: Arc<Inner<F>>,
    trail: Trail,
}

impl<F: Fragment> PageCache<F> {
    /// Follows what is done to the pages from `lsn` on: every change at an LSN not below it, once it is
    /// stable, in order and without a gap. An LSN behind what is stable now means: from there on.
    ///
    /// Only what users do is a change: eviction and garbage collection are not. Nothing is made stable by
    /// following: see [`Config::flush_every`](crate::Config::flush_every). [Generated ids](Self::generate_id)
    /// are not in the log.
    ///
    /// **How far back.** A segment is used again when nothing in it is live; the log reaches back as far as
    /// none was. So a follower that has fallen behind can find a gap, and is told so by
    /// [`Truncated`](Error::Truncated); it then has to begin anew from a copy. `keep` is how many bytes of
    /// log (whole segments) are kept from being used again until the follower has read them; the file is
    /// longer by that much. If more would have to be kept, the follower loses its place, and the store goes
    /// on. With 0 nothing is kept. When a store is opened, segments without live records are given up. A
    /// follower that had come to the end of the log by then can go on from there as long as that opening
    /// lasts. After the next one, if something was written in between, it can be told `Truncated` though it
    /// has missed nothing: when the last segment from before held nothing live, nothing says any more where
    /// it ended.
    ///
    /// **A copy, and all that comes after it**: follow first, then copy, and skip what is in the copy.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    /// # let cache = open()?;
    /// use std::ops::ControlFlow;
    /// use pagelog::{ChangeKind, Event};
    ///
    /// let mut follower = cache.follow(cache.stable_lsn(), 64 << 20)?;
    /// let copied = cache.backup_to_storage(Arc::new(MemoryStorage::new()), |_| ControlFlow::Continue(()))?;
    ///
    /// let page = cache.allocate(Text("hello".into()))?;
    /// cache.flush()?;
    /// while let Some(event) = follower.try_next()? {
    ///     match event {
    ///         Event::Change(change) if change.lsn < copied.stable_lsn => {}
    ///         Event::Change(change) => match change.kind {
    ///             ChangeKind::Allocate(text) => assert_eq!((change.page_id, &text.0[..]), (page.page_id, "hello")),
    ///             _ => unreachable!(),
    ///         },
    ///         _ => {}
    ///     }
    /// }
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Truncated`](Error::Truncated) if the log does not reach back to `lsn`; [`Closed`](Error::Closed);
    /// [`Corruption`](Error::Corruption), [`Io`](Error::Io).
    pub fn follow(&self, lsn: Lsn, keep: u64) -> Result<Follower<F>> {
        let trail = Trail::new(&self.inner.core, lsn, keep)?;
        Ok(Follower { inner: Arc::clone(&self.inner), trail })
    }
}

impl<F: Fragment> Follower<F> {
    /// What comes next, if it is stable. Waits for nothing but the disk.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    /// # let cache = open()?;
    /// use pagelog::Event;
    ///
    /// let mut follower = cache.follow(cache.stable_lsn(), 0)?;
    /// cache.allocate(Text("a page".into()))?;
    /// assert!(follower.try_next()?.is_none(), "it is not stable");
    /// cache.flush()?;
    /// assert!(matches!(follower.try_next()?, Some(Event::Change(_))));
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Truncated`](Error::Truncated) if what comes next was used again; [`Decode`](Error::Decode), after
    /// which the follower is behind that change; [`Closed`](Error::Closed),
    /// [`Corruption`](Error::Corruption), [`Io`](Error::Io).
    pub fn try_next(&mut self) -> Result<Option<Event<F>>> {
        let step = self.trail.try_step()?;
        step.map(|step| self.event(&step)).transpose()
    }

    /// What comes next. Waits for so long at most until something is stable; `None` if nothing was.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    /// # let cache = open()?;
    /// use std::thread;
    /// use std::time::Duration;
    ///
    /// let mut follower = cache.follow(cache.stable_lsn(), 0)?;
    /// assert!(follower.next_within(Duration::from_millis(1))?.is_none());
    /// let writer = cache.clone();
    /// let writing = thread::spawn(move || writer.allocate(Text("a page".into())).and_then(|_| writer.flush()));
    /// // Sleeps until then.
    /// assert!(follower.next_within(Duration::from_secs(60))?.is_some());
    /// # writing.join().unwrap()?;
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`try_next`](Self::try_next), and [`Poisoned`](Error::Poisoned) if nothing is left that is stable
    /// and nothing will be.
    pub fn next_within(&mut self, patience: Duration) -> Result<Option<Event<F>>> {
        let step = self.trail.step(patience)?;
        step.map(|step| self.event(&step)).transpose()
    }

    /// Where to [`follow`](PageCache::follow) on another time, without missing anything and without seeing
    /// anything twice. Inside of a batch that is the batch's begin.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    /// # let cache = open()?;
    /// let mut follower = cache.follow(cache.stable_lsn(), 0)?;
    /// cache.allocate(Text("first".into()))?;
    /// let second = cache.allocate(Text("second".into()))?;
    /// cache.flush()?;
    /// assert!(follower.try_next()?.is_some());
    /// // Another one goes on where that one stopped.
    /// let another = cache.follow(follower.position(), 0)?;
    /// assert_eq!(another.collect::<pagelog::Result<Vec<_>>>()?.len(), 1);
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    #[must_use]
    pub fn position(&self) -> Lsn {
        self.trail.position()
    }

    fn event(&self, step: &Step) -> Result<Event<F>> {
        let payload = self.trail.payload(step);
        let (page_id, version) = match step.kind {
            RecordKind::BatchBegin => return Ok(Event::BatchBegins),
            RecordKind::BatchEnd { .. } => return Ok(Event::BatchEnds),
            RecordKind::Replace { page_id, version, .. }
            | RecordKind::Link { page_id, version }
            | RecordKind::Free { page_id, version, .. } => (page_id, version),
            _ => return Err(self.damage(step, PageId::META, "is none of a page cache")),
        };
        let kind = match step.kind {
            RecordKind::Free { .. } => ChangeKind::Free,
            _ if page_id == PageId::META => {
                let roots = decode_roots(payload.bytes);
                ChangeKind::Roots(
                    roots.ok_or_else(|| self.damage(step, page_id, "of the named roots can't be decoded"))?,
                )
            }
            kind => match self.fragment(step, page_id, version, payload)? {
                None => ChangeKind::Superseded,
                Some(fragment) => match kind {
                    RecordKind::Replace { age: 0, .. } => ChangeKind::Allocate(fragment),
                    RecordKind::Replace { .. } => ChangeKind::Replace(fragment),
                    _ => ChangeKind::Link(fragment),
                },
            },
        };
        Ok(Event::Change(Change { lsn: step.lsn, page_id, version, kind }))
    }

    /// What the record carries, decoded. `None` if it was in a file that has been removed.
    fn fragment(
        &self,
        step: &Step,
        page_id: PageId,
        version: Version,
        payload: Payload<'_>,
    ) -> Result<Option<F>> {
        if !payload.outside {
            return self.decode(step, page_id, payload).map(Some);
        }
        // Nothing is removed meanwhile.
        let hold = self.inner.core.large().hold();
        let read = self.inner.read_outside(page_id, version, payload);
        drop(hold);
        match read {
            Ok(value) => {
                self.decode(step, page_id, Payload { bytes: &value, outside: false, ..payload }).map(Some)
            }
            Err(_) if self.is_superseded(page_id, version) => Ok(None),
            Err(ReadFault::NoPointer) => Err(self.damage(step, page_id, "points to no file")),
            Err(ReadFault::Error(error)) => Err(error),
        }
    }

    fn decode(&self, step: &Step, page_id: PageId, payload: Payload<'_>) -> Result<F> {
        let decode = |plain: &[u8]| {
            F::Codec::decode(plain).map_err(|error| Error::Decode { page_id, reason: error.to_string() })
        };
        match self.inner.compression.unpack(payload, LARGEST_VALUE, decode) {
            Ok(decoded) => decoded,
            Err(UnpackFault::Damaged(reason)) => Err(self.damage(step, page_id, &reason)),
            Err(UnpackFault::Unsupported) => Err(compression_is_missing(page_id)),
        }
    }

    /// Whether the record of that version is not needed any more.
    fn is_superseded(&self, page_id: PageId, version: Version) -> bool {
        let guard = epoch::pin();
        let head = self.inner.table.head(page_id, &guard);
        head.is_none_or(|head| head.is_freed() || head.base_version() > version)
    }

    fn damage(&self, step: &Step, page_id: PageId, reason: &str) -> Error {
        let core = self.trail.core();
        let corruption = Corruption::new(core.log_path(), format!("the record {reason}"));
        let offset = core.geometry().file_offset(step.place.slot, step.place.offset);
        corruption.at_lsn(step.lsn).at_offset(offset).of_page(page_id).into()
    }
}

impl<F: Fragment> Iterator for Follower<F> {
    type Item = Result<Event<F>>;

    /// As [`try_next`](Follower::try_next): ends where nothing more is stable, and can be asked again later.
    fn next(&mut self) -> Option<Self::Item> {
        self.try_next().transpose()
    }
}

impl<F: Fragment> fmt::Debug for Follower<F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Follower").field("position", &self.position()).finish_non_exhaustive()
    }
}
