//! The instance, and what its verbs have in common.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use crate::compression::{Compression, UnpackFault};
use crate::error::{Corruption, Error, Result};
use crate::format::{LARGEST_VALUE, Payload, RecordKind, record};
use crate::ids::{HeadId, Lsn, PageId, Version};
use crate::location::Place;
use crate::log::{Due, LogCore, Privilege};
use crate::pages::budget::Budget;
use crate::pages::chain::Head;
use crate::pages::eviction::Evictor;
use crate::pages::free_list::FreeList;
use crate::pages::node_ref::NodeRef;
use crate::pages::retire::RetiredChain;
use crate::pages::table::PageTable;
use crate::pages::{Codec, Fragment};
use crate::recovery::Damage;
use crate::stats::{Counter, Timed};
use crate::storage::StorageLock;
use crate::sync::atomic::AtomicU64;
use crate::sync::{Mutex, epoch, thread_local};

use super::background::{Backlog, Owner, Share};
use super::consolidation::Consolidation;
use super::gc::Collector;
use super::id::IdGenerator;
use super::large::{LargeLimits, ReadFault};
use super::meta::Meta;
use super::snapshot::Snapshots;

/// A page cache over a log: pages of fragments of type `F`, in memory as far as they fit, durable as far as
/// they were made stable. A cheap handle; clones share one instance, which closes when the last of them is
/// dropped.
///
/// ```
/// use std::sync::Arc;
/// use pagelog::{Cas, Codec, CodecError, Config, Fragment, MemoryStorage, PageCache};
///
/// struct Sum(u64);
/// struct Fixed;
///
/// impl Codec<Sum> for Fixed {
///     fn encode(sum: &Sum, into: &mut Vec<u8>) -> Result<(), CodecError> {
///         into.extend_from_slice(&sum.0.to_le_bytes());
///         Ok(())
///     }
///     fn decode(bytes: &[u8]) -> Result<Sum, CodecError> {
///         let bytes = bytes.try_into().map_err(|_| CodecError::from("not 8 bytes"))?;
///         Ok(Sum(u64::from_le_bytes(bytes)))
///     }
/// }
///
/// impl Fragment for Sum {
///     type Codec = Fixed;
///     fn merge(oldest_to_newest: &[&Self]) -> Self {
///         Sum(oldest_to_newest.iter().map(|sum| sum.0).sum())
///     }
/// }
///
/// # fn main() -> pagelog::Result<()> {
/// let cache: PageCache<Sum> = Config::with_storage(Arc::new(MemoryStorage::new())).open()?;
/// let page = cache.allocate(Sum(1))?;
/// let Cas::Done { lsn, .. } = cache.link(page.page_id, page.version, Sum(2))? else { unreachable!() };
/// cache.make_stable(lsn)?;
/// let guard = cache.pin();
/// let found = guard.get(page.page_id)?.expect("it was allocated");
/// assert_eq!(found.merged().0, 3);
/// # Ok(())
/// # }
/// ```
pub struct PageCache<F: Fragment> {
    pub(super) inner: Arc<Inner<F>>,
    pub(super) owner: Arc<Owner<F>>,
}

impl<F: Fragment> Clone for PageCache<F> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), owner: Arc::clone(&self.owner) }
    }
}

impl<F: Fragment> fmt::Debug for PageCache<F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("PageCache").field("log", &self.inner.core.log_path()).finish_non_exhaustive()
    }
}

/// The instance behind the handles.
pub(crate) struct Inner<F: Fragment> {
    pub(super) core: Arc<LogCore>,
    pub(super) table: PageTable<F>,
    pub(super) free_list: FreeList,
    /// Above all page ids that were ever handed out.
    pub(super) next_page_id: AtomicU64,
    /// Pages that were never allocated start above this version.
    pub(super) version_floor: Version,
    pub(super) budget: Arc<Budget>,
    pub(super) evictor: Evictor,
    pub(super) meta: Mutex<Meta>,
    pub(super) ids: IdGenerator,
    pub(super) collector: Collector,
    pub(super) snapshots: Snapshots,
    /// For the thread that does the housekeeping, if there is one.
    pub(super) backlog: Option<Backlog>,
    pub(super) compression: Compression,
    pub(super) consolidation: Consolidation,
    pub(super) large: LargeLimits,
    pub(super) was_recovered: bool,
    /// What is damaged in a store that was opened all the same.
    pub(super) damage: Option<Damage>,
    pub(super) temporary: bool,
    pub(super) lock: Mutex<Option<Box<dyn StorageLock>>>,
}

/// Why a page can't be changed under a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stale {
    /// It has another version.
    Changed(Version),
    /// It is no more, or the version is of an earlier life.
    Gone,
}

impl Stale {
    pub(super) fn with<F>(self, fragment: F) -> super::Cas<F> {
        match self {
            Self::Changed(current) => super::Cas::Changed { current, fragment },
            Self::Gone => super::Cas::Gone { fragment },
        }
    }
}

/// A record that supersedes earlier ones of its page.
#[derive(Clone, Copy, Debug)]
pub(super) struct Killer {
    /// Where it ends: once the log is stable up to there, what it superseded is not needed any more.
    pub(super) end: Lsn,
}

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The largest scratch buffer that a thread keeps.
const KEPT_SCRATCH: usize = 1 << 20;

/// Lends the thread's scratch buffer, empty. User code that runs meanwhile and gets here again finds a new
/// one.
pub(super) fn with_scratch<R>(work: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    let mut scratch = SCRATCH.try_with(RefCell::take).unwrap_or_default();
    scratch.clear();
    let result = work(&mut scratch);
    if scratch.capacity() <= KEPT_SCRATCH {
        let _ = SCRATCH.try_with(|kept| kept.replace(scratch));
    }
    result
}

/// Encodes a fragment into an empty buffer.
pub(super) fn encode<F: Fragment>(fragment: &F, into: &mut Vec<u8>) -> Result<()> {
    F::Codec::encode(fragment, into).map_err(|error| Error::Encode { reason: error.to_string() })
}

/// What readers of compressed records get from a build that can't read them.
#[cold]
pub(super) fn compression_is_missing(page_id: PageId) -> Error {
    let reason = "it is compressed, and this build lacks the feature `compression`".into();
    Error::Decode { page_id, reason }
}

impl<F: Fragment> Inner<F> {
    /// Encodes a fragment, and hands it on with the length of its encoded form and with what is to be logged.
    pub(super) fn with_encoded<R>(
        &self,
        fragment: F,
        then: impl FnOnce(F, usize, Payload<'_>) -> Result<R>,
    ) -> Result<R> {
        with_scratch(|encoded| {
            encode(&fragment, encoded)?;
            let (length, maximum) = (encoded.len(), self.large.most);
            if length > maximum {
                return Err(Error::ValueTooLarge { length, maximum });
            }
            self.compression.pack(encoded, maximum, |payload| {
                if payload.compressed {
                    let saved = length.saturating_sub(payload.bytes.len());
                    self.core.counters().one(Counter::Compressed);
                    self.core.counters().add(Counter::CompressionSaved, saved as u64);
                }
                then(fragment, length, payload)
            })
        })
    }

    /// That there is no page of that id, unless this can't be said of it.
    #[cold]
    pub(super) fn check_absent(&self, page_id: PageId) -> Result<()> {
        self.damage.as_ref().and_then(|damage| damage.refusal(page_id)).map_or(Ok(()), Err)
    }

    /// Whether a verb may write, and the page is a user's.
    #[inline]
    pub(super) fn admit(&self, page_id: PageId, privilege: Privilege) -> Result<()> {
        if page_id == PageId::META {
            return Err(Error::ReservedPageId);
        }
        match self.core.admit(privilege) {
            Err(Error::DiskFull { .. }) => self.admit_after_relief(privilege),
            other => other,
        }
    }

    /// The disk is full: perhaps collection can make space.
    #[cold]
    fn admit_after_relief(&self, privilege: Privilege) -> Result<()> {
        self.housekeeping(Due::Segment);
        self.core.large().settle();
        self.core.admit(privilege)
    }

    /// The page's head, if it has that version.
    #[inline]
    pub(super) fn at_version<'g>(
        &'g self,
        page_id: PageId,
        version: Version,
        guard: &'g epoch::Guard,
    ) -> Result<Head<'g, F>, Stale> {
        let head = self.table.head(page_id, guard).filter(|head| !head.is_freed()).ok_or(Stale::Gone)?;
        if head.version() == version {
            return Ok(head);
        }
        self.core.counters().one(Counter::LostRace);
        if version < head.birth() { Err(Stale::Gone) } else { Err(Stale::Changed(head.version())) }
    }

    /// What a compare-and-swap that lost its race has lost it to.
    #[cold]
    pub(super) fn lost_to(&self, page_id: PageId, version: Version, guard: &epoch::Guard) -> Stale {
        match self.at_version(page_id, version, guard) {
            Err(stale) => stale,
            // Versions only rise, so this can't be; the honest answer to a caller who would try again is to
            // let it.
            Ok(head) => Stale::Changed(head.version()),
        }
    }

    /// Declares the records of a chain dead that a record of the fresh head has superseded.
    pub(super) fn bury(&self, chain: RetiredChain<'_, F>, killer: Killer) {
        let accountant = self.core.accountant();
        chain.retire(|node, place, length| {
            accountant.kill(place.slot, length, HeadId::FRESH, killer.end);
            if node.bulk().is_some() {
                self.core.large().kill(node.page_id(), node.version(), killer.end);
            }
        });
    }

    /// Reads the record of a node and hands its payload to `use_it`. `None` if the record is dead by now:
    /// then the page has changed since its head was looked up.
    ///
    /// The bytes at a place stay what they are while the thread is pinned, also if the record is moved or
    /// dies meanwhile.
    pub(super) fn read_node<R>(
        &self,
        page_id: PageId,
        node: NodeRef<'_, F>,
        use_it: impl FnOnce(&[u8]) -> Result<R>,
    ) -> Result<Option<R>> {
        self.core.counters().one(Counter::RecordRead);
        self.core.counters().one(Counter::Read);
        self.core.counters().add(Counter::ReadBytes, node.length().into());
        self.read_record(page_id, node, use_it)
    }

    /// As [`read_node`](Self::read_node), uncounted.
    pub(super) fn read_record<R>(
        &self,
        page_id: PageId,
        node: NodeRef<'_, F>,
        use_it: impl FnOnce(&[u8]) -> Result<R>,
    ) -> Result<Option<R>> {
        self.with_record(page_id, node, |place, payload| {
            self.use_payload(page_id, node, place, payload, use_it)
        })
    }

    /// Reads the record of a node and hands on what it carries. `None` if the record is dead by now.
    pub(super) fn with_record<R>(
        &self,
        page_id: PageId,
        node: NodeRef<'_, F>,
        then: impl FnOnce(Place, Payload<'_>) -> Result<R>,
    ) -> Result<Option<R>> {
        let Some(place) = node.place() else { return Ok(None) };
        with_scratch(|bytes| {
            bytes.resize(node.length() as usize, 0);
            self.core.read_slot(place, bytes)?;
            self.check_record(page_id, node, place, bytes).and_then(|payload| then(place, payload)).map(Some)
        })
    }

    /// Checks the bytes that were read at a node's place, and hands what the record says to `use_it`.
    pub(super) fn use_record<R>(
        &self,
        page_id: PageId,
        node: NodeRef<'_, F>,
        place: Place,
        bytes: &[u8],
        use_it: impl FnOnce(&[u8]) -> Result<R>,
    ) -> Result<R> {
        let payload = self.check_record(page_id, node, place, bytes)?;
        self.use_payload(page_id, node, place, payload, use_it)
    }

    /// What the record carries that was read at a node's place.
    fn check_record<'b>(
        &self,
        page_id: PageId,
        node: NodeRef<'_, F>,
        place: Place,
        bytes: &'b [u8],
    ) -> Result<Payload<'b>> {
        let segment = self.core.accountant().segment(place.slot);
        let seed = self.core.seed().at(segment, place.offset);
        let record =
            record::decode(bytes, seed).map_err(|fault| self.damage(page_id, place, fault.reason()))?;
        let named = match record.kind {
            RecordKind::Replace { page_id, version, .. }
            | RecordKind::Link { page_id, version }
            | RecordKind::Free { page_id, version, .. } => Some((page_id, version)),
            _ => None,
        };
        if named != Some((page_id, node.version())) {
            return Err(self.damage(page_id, place, "is of another page or version"));
        }
        if record.length != bytes.len() {
            return Err(self.damage(page_id, place, "has another length than was noted"));
        }
        Ok(record.payload)
    }

    /// Hands a record's value to `use_it`, from wherever it is.
    fn use_payload<R>(
        &self,
        page_id: PageId,
        node: NodeRef<'_, F>,
        place: Place,
        payload: Payload<'_>,
        use_it: impl FnOnce(&[u8]) -> Result<R>,
    ) -> Result<R> {
        if !payload.outside {
            return self.unpack(page_id, place, payload, use_it);
        }
        let value = self.read_outside(page_id, node.version(), payload).map_err(|fault| match fault {
            ReadFault::NoPointer => self.damage(page_id, place, "points to no file"),
            ReadFault::Error(error) => error,
        })?;
        self.unpack(page_id, place, Payload { bytes: &value, outside: false, ..payload }, use_it)
    }

    fn unpack<R>(
        &self,
        page_id: PageId,
        place: Place,
        payload: Payload<'_>,
        use_it: impl FnOnce(&[u8]) -> Result<R>,
    ) -> Result<R> {
        let used = self.compression.unpack(payload, LARGEST_VALUE, use_it);
        used.map_err(|fault| self.cannot_unpack(page_id, place, fault))?
    }

    /// Why a payload can't be decoded, if it can't.
    pub(super) fn cannot_decode(&self, payload: Payload<'_>) -> Option<String> {
        let decode = |plain: &[u8]| F::Codec::decode(plain).err();
        match self.compression.unpack(payload, LARGEST_VALUE, decode) {
            Ok(error) => error.map(|error| format!("the record's payload can't be decoded: {error}")),
            Err(UnpackFault::Damaged(reason)) => Some(format!("the record {reason}")),
            // This build can't say.
            Err(UnpackFault::Unsupported) => None,
        }
    }

    #[cold]
    fn cannot_unpack(&self, page_id: PageId, place: Place, fault: UnpackFault) -> Error {
        match fault {
            UnpackFault::Damaged(reason) => self.damage(page_id, place, &reason),
            UnpackFault::Unsupported => compression_is_missing(page_id),
        }
    }

    fn damage(&self, page_id: PageId, place: Place, reason: &str) -> Error {
        let offset = self.core.geometry().file_offset(place.slot, place.offset);
        let corruption = Corruption::new(self.core.log_path(), format!("the record {reason}"));
        corruption.at_offset(offset).at_lsn(self.core.lsn_of(place)).of_page(page_id).into()
    }

    /// What every writing verb does last, without a guard or a reservation: keep the budget, and do a share
    /// of the housekeeping if it is due.
    #[inline]
    pub(super) fn after_write(&self) {
        self.keep_budget();
        if self.core.large().is_due(&self.core) {
            self.reap_in_passing();
        }
        let due = self.core.take_due();
        if due != Due::Nothing {
            self.share_housekeeping(due);
        }
    }

    /// Leaves the housekeeping to the thread that is there for it, unless there is none or it is behind.
    #[cold]
    fn share_housekeeping(&self, due: Due) {
        let Some(backlog) = &self.backlog else { return self.housekeeping(due) };
        match backlog.add(due) {
            Share::Nothing => {}
            Share::Step if self.collector.try_hold().is_none() => backlog.add_undone(due),
            Share::Step => self.housekeeping(due),
            Share::StepInTurn => {
                drop(self.collector.hold());
                self.housekeeping(due);
            }
        }
    }

    #[cold]
    pub(super) fn housekeeping(&self, due: Due) {
        let _timed = self.core.counters().time(Timed::Housekeeping);
        self.core.claim_in_background();
        self.reap_in_passing();
        let work = self.pace_collection(due).and_then(|()| self.pace_snapshots());
        if let Err(error) = work {
            // The verb that happened to come here has done its own work; what stops writing stops the next
            // one.
            ::log::warn!("housekeeping of {}: {error}", self.core.log_path());
        }
    }
}
