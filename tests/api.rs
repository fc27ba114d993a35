//! What the types of the interface promise by their traits. Most of it is checked by the compiler.

// The model checker's types differ.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::error;
use std::fmt::Debug;
use std::future::Future;
use std::hash::Hash;
use std::io;
use std::sync::Arc;

use common::Bytes;
use pagelog::sim::{Call, CallKind, Fault, Images, SimStorage, When};
use pagelog::{
    Access, Allocated, BackupReport, Batch, Cas, Change, ChangeKind, CodecError, Commit, Config, Corruption,
    Counts, Error, Event, ExportReport, FileStorage, Follower, Guard, Histogram, ImportReport, Latencies,
    Location, Log, LogEntry, LogEvent, LogFollower, LogIter, LogStats, Lsn, MemoryStorage, Metric,
    MetricValue, OpenMetrics, Page, PageCache, PageId, Progress, Reservation, RootCas, Roots, Stats, Storage,
    StorageFile, StorageLock, Unit, VerifyOptions, VerifyReport, Version, VictimPolicy,
};

/// Asserts that each type has these traits.
macro_rules! have {
    ($traits:path: $($type:ty),* $(,)?) => { const _: () = { const fn has<T: ?Sized + $traits>() {} $(has::<$type>();)* }; };
}

/// Asserts that none of these types may be sent to another thread: of the two ways to name the function, only
/// one may be there.
macro_rules! stay {
    ($($type:ty),* $(,)?) => {$(const _: fn() = || {
        trait Ambiguous<A> { fn name() {} }
        struct Sent;
        impl<T: ?Sized> Ambiguous<()> for T {}
        impl<T: ?Sized + Send> Ambiguous<Sent> for T {}
        let _ = <$type as Ambiguous<_>>::name;
    };)*};
}

/// All that is not bound to a thread can be sent to another, shared, and kept as long as one likes.
trait Shared: Debug + Send + Sync + 'static {}
impl<T: ?Sized + Debug + Send + Sync + 'static> Shared for T {}

have!(Shared: PageCache<Bytes>, Log, Config, Commit, Follower<Bytes>, LogFollower<'static>, LogIter<'static>);
have!(Shared: Arc<dyn Storage>, Arc<dyn StorageFile>, Box<dyn StorageLock>, FileStorage, MemoryStorage, SimStorage, Images);
have!(Shared: Error, Corruption, CodecError, Cas<Bytes>, RootCas, Allocated, Event<Bytes>, Change<Bytes>, ChangeKind<Bytes>);
have!(Shared: LogEntry, LogEvent, Location, Progress, VerifyOptions, VerifyReport, BackupReport, ExportReport, ImportReport);
have!(Shared: Stats, LogStats, Counts, Latencies, Histogram, Metric<'static>, MetricValue<'static>, Unit, OpenMetrics);
have!(Shared: PageId, Version, Lsn, Roots, Access, VictimPolicy, Call, CallKind, Fault, When);
have!(Debug: Guard<'static, Bytes>, Page<'static, Bytes>, Batch<'static>, Reservation<'static>);
// What belongs to the thread that made it.
stay!(Guard<'static, Bytes>, Batch<'static>, Reservation<'static>);

have!(Clone: PageCache<Bytes>, Config, FileStorage, MemoryStorage, SimStorage, OpenMetrics, Error, CodecError);
have!(Future<Output = pagelog::Result<()>>: Commit);
have!(Unpin: Commit);
have!(Iterator<Item = pagelog::Result<LogEntry>>: LogIter<'static>);

/// A plain value: to be copied, compared, and printed.
trait Value: Clone + PartialEq + Eq + Debug {}
impl<T: Clone + PartialEq + Eq + Debug> Value for T {}

have!(Value: PageId, Version, Lsn, Location, Access, VictimPolicy, Unit, Progress, Allocated, RootCas, Cas<()>, Corruption, CodecError);
have!(Value: LogEntry, LogEvent, Event<Bytes>, Change<Bytes>, ChangeKind<Bytes>, Metric<'static>, MetricValue<'static>);
have!(Value: VerifyOptions, VerifyReport, BackupReport, ExportReport, ImportReport);
have!(Value: Stats, LogStats, Counts, Latencies, Histogram);
have!(Default: Stats, LogStats, Counts, Latencies, Histogram, OpenMetrics, VerifyOptions, VerifyReport, VictimPolicy, MemoryStorage);

/// A number of the store.
trait Number: Copy + Ord + Hash + Default + std::fmt::Display + Into<u64> {}
impl<T: Copy + Ord + Hash + Default + std::fmt::Display + Into<u64>> Number for T {}
have!(Number: PageId, Version, Lsn);

have!(error::Error: Error, Corruption, CodecError);

#[cfg(feature = "cli")]
mod inspector {
    use pagelog::inspect::{
        CheckReport, FileInfo, FileKind, InspectOptions, Inspection, Lane, LargeValueInfo, RecordInfo,
        RecordState, RecordType, SegmentInfo, SegmentState, SnapshotInfo, Source, StoreInfo, StoreKind,
        Survey,
    };

    use super::{Shared, Value};

    have!(Shared: Inspection, InspectOptions, StoreInfo, Survey, CheckReport, RecordInfo, SegmentInfo, SnapshotInfo, FileInfo);
    have!(Value: InspectOptions, FileInfo, FileKind, StoreKind, Source, Lane, SegmentState, SegmentInfo, SnapshotInfo);
    have!(Value: RecordInfo, RecordState, RecordType, LargeValueInfo);
}

fn errors() -> Vec<Error> {
    let text = || String::from("it");
    let lost = Arc::new(io::Error::other("lost"));
    vec![
        Error::Io { operation: "read", path: text(), source: lost },
        Error::Corruption(Box::default()),
        Error::Locked { path: text() },
        Error::NotAStore { path: text(), reason: text() },
        Error::UnsupportedFormat { path: text(), found: 9, supported: 2 },
        Error::InvalidConfig { option: "io_buffers", reason: text() },
        Error::Poisoned { cause: Arc::new(Error::Closed) },
        Error::Closed,
        Error::ReadOnly,
        Error::Encode { reason: text() },
        Error::Decode { page_id: PageId::new(1), reason: text() },
        Error::ValueTooLarge { length: 2, maximum: 1 },
        Error::DiskFull { path: text() },
        Error::ReservedPageId,
        Error::TooManyPages,
        Error::TooManyDictionaries,
        Error::BatchOpen,
        Error::UnsealedBatch,
        Error::ReservationOpen { lsn: Lsn::new(1) },
        Error::TooManyReservations,
        Error::BackupTarget { path: text(), reason: text() },
        Error::Truncated { first: Lsn::new(1) },
        Error::Cancelled,
    ]
}

/// Others put them into sentences of their own.
#[test]
fn what_errors_say_begins_small_and_ends_without_a_full_stop() {
    for error in errors() {
        let text = error.to_string();
        assert!(text.len() > 5 && !text.ends_with('.') && !text.contains('\n'), "{text}");
        assert!(text.starts_with(|first: char| first.is_lowercase()), "{text}");
    }
}

/// A program may look for the system's own word behind any number of causes.
#[test]
fn the_first_cause_can_be_found() {
    let lost = Arc::new(io::Error::other("lost"));
    let io = Error::Io { operation: "sync", path: "log".into(), source: lost };
    let poisoned: Box<dyn error::Error + Send + Sync> = Error::Poisoned { cause: Arc::new(io) }.into();
    let mut causes = std::iter::successors(poisoned.source(), |error| error.source());
    assert!(
        causes
            .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|error| error.to_string() == "lost"))
    );
}

/// Pages point to pages, and are written by serde: an id is the plain number there.
#[cfg(feature = "bincode")]
#[test]
fn numbers_are_kept_in_pages_as_what_they_are() {
    let children = vec![PageId::new(7), PageId::new(u64::MAX)];
    let bytes = bincode::serialize(&children).unwrap();
    assert_eq!(bytes, bincode::serialize(&[7, u64::MAX].to_vec()).unwrap());
    assert_eq!(bincode::deserialize::<Vec<PageId>>(&bytes).unwrap(), children);
    let (version, lsn) = (Version::new(3), Lsn::new(5));
    let bytes = bincode::serialize(&(version, lsn)).unwrap();
    assert_eq!(bincode::deserialize::<(Version, Lsn)>(&bytes).unwrap(), (version, lsn));
}
