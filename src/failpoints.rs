//! Points at which a test can make I/O fail, hold a thread up, or run code of its own.
//!
//! Only in a build with the feature `failpoints`, which is for tests; without it the points are nothing at
//! all, and neither is the dependency. They are armed through the crate [`fail`], by name:
//!
#![cfg_attr(feature = "failpoints", doc = "```")]
#![cfg_attr(not(feature = "failpoints"), doc = "```text")]
//! use std::sync::Arc;
//!
//! use pagelog::failpoints::fail::{self, FailScenario};
//! use pagelog::{Config, Error, Log, MemoryStorage};
//!
//! # fn main() -> pagelog::Result<()> {
//! let scenario = FailScenario::setup();
//! let log = Log::open(Config::with_storage(Arc::new(MemoryStorage::new())))?;
//! log.append(b"an entry")?;
//! fail::cfg("pagelog::log::sync", "1*return(EIO)").unwrap();
//! assert!(matches!(log.flush(), Err(Error::Poisoned { .. })));
//! scenario.teardown();
//! # Ok(())
//! # }
//! ```
//!
//! # Points of I/O
//!
//! There is one for each kind of call on each kind of file, and whatever the store asks of its
//! [`Storage`](crate::Storage) passes one; the storage below is not asked if the call is to fail. `return`
//! with one of these words makes a call fail:
//!
//! | word | the call |
//! |---|---|
//! | `EIO`, or none | fails |
//! | `ENOSPC` | fails, for the disk is full |
//! | `EACCES` | fails, for it is not permitted |
//! | `short` | of a write: the first half of the bytes is written, then it fails as with `EIO`; of other calls: as `EIO` |
//! | `short ENOSPC` | the same, and then the disk is full |
//!
//! `1*return(EIO)` fails once, `3*off->return(EIO)` from the fourth time on; `delay`, `yield`, `pause` and
//! `fail::cfg_callback` work as well.
//!
//! # Points of state
//!
//! The others are where the state of something changes. There a thread can be held up (`delay`, `yield`,
//! `pause`), code can be run by `fail::cfg_callback`, or the process brought to an end from it. `return` does
//! nothing there. Some of these places are under a lock, so a callback must not call the store; and a `panic`
//! unwinds from the middle of a change: it is for instances that are not used any more.
//!
//! # Whose they are
//!
//! All names begin with `pagelog::`, so nobody who uses [`fail`] for purposes of their own arms one by
//! accident. Nor by the environment variable that [`fail`] reads: without this feature there is nothing to be
//! armed, also if another crate of the same build turns on the failpoints of [`fail`]. The other way round,
//! this feature turns on those of all crates in the build that use it.
//!
//! The registry of [`fail`] is one for the process: run tests that use it one at a time, under a
//! `FailScenario`.

#[cfg(feature = "failpoints")]
pub use self::armed::{Failpoint, FailpointKind, all};
#[cfg(feature = "failpoints")]
pub(crate) use self::armed::{Strike, pass, strike};
#[cfg(feature = "failpoints")]
pub use fail;

/// A point of state, by its name without `pagelog::`.
#[cfg(feature = "failpoints")]
macro_rules! failpoint {
    ($name:literal) => {
        $crate::failpoints::pass(concat!("pagelog::", $name))
    };
}

/// Nothing.
#[cfg(not(feature = "failpoints"))]
macro_rules! failpoint {
    ($name:literal) => {};
}

pub(crate) use failpoint;

#[cfg(feature = "failpoints")]
mod armed {
    use std::io;

    /// What can be done at a point.
    ///
    /// ```
    /// use pagelog::failpoints::fail::{self, FailScenario};
    /// use pagelog::failpoints::{self, FailpointKind};
    ///
    /// # fn main() -> Result<(), String> {
    /// let scenario = FailScenario::setup();
    /// // Whoever changes the state of something is held up for a moment.
    /// for point in failpoints::all().iter().filter(|point| point.kind == FailpointKind::State) {
    ///     fail::cfg(point.name, "delay(1)")?;
    /// }
    /// let armed = fail::list();
    /// assert!(armed.iter().any(|(name, _)| name == "pagelog::page::published"));
    /// assert!(armed.iter().all(|(name, _)| name != "pagelog::log::write"));
    /// scenario.teardown();
    /// # Ok(())
    /// # }
    /// ```
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[non_exhaustive]
    pub enum FailpointKind {
        /// A call of the storage: it can be made to fail.
        Io,
        /// A change of state: a thread can be held up there.
        State,
    }

    /// A point, by its name.
    ///
    /// ```
    /// use pagelog::failpoints::{self, FailpointKind};
    ///
    /// let named = |name: &str| failpoints::all().iter().find(|point| point.name == name);
    /// let sync = named("pagelog::log::sync");
    /// assert_eq!(sync.map(|point| point.kind), Some(FailpointKind::Io));
    /// assert_eq!(sync.map(|point| point.meaning), Some("The log is synced."));
    /// ```
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[non_exhaustive]
    pub struct Failpoint {
        /// The name for [`fail`].
        pub name: &'static str,
        /// What happens there.
        pub meaning: &'static str,
        /// What can be done there.
        pub kind: FailpointKind,
    }

    /// All points, each with a sentence.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use pagelog::failpoints::fail::{self, FailScenario};
    /// # use pagelog::failpoints::{self, FailpointKind};
    /// # use pagelog::{Config, Log, MemoryStorage};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let scenario = FailScenario::setup();
    /// for point in failpoints::all().iter().filter(|point| point.kind == FailpointKind::Io) {
    ///     let storage = Arc::new(MemoryStorage::new());
    ///     let log = Log::open(Config::with_storage(storage.clone()))?;
    ///     log.append(b"stable")?;
    ///     log.flush()?;
    ///     fail::cfg(point.name, "return(EIO)")?;
    ///     let _ = log.append(b"in doubt").and_then(|_| log.flush());
    ///     drop(log);
    ///     fail::remove(point.name);
    ///     // Whatever has failed, it is found again.
    ///     let log = Log::open(Config::with_storage(storage))?;
    ///     assert!(log.iter_from(log.first_lsn())?.next().is_some_and(|entry| entry.is_ok()));
    /// }
    /// # scenario.teardown();
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn all() -> &'static [Failpoint] {
        ALL
    }

    macro_rules! table {
        ($($kind:ident $name:literal $meaning:literal)*) => {
            &[$(Failpoint {
                name: concat!("pagelog::", $name),
                meaning: $meaning,
                kind: FailpointKind::$kind,
            }),*]
        };
    }

    const ALL: &[Failpoint] = table! {
        Io "log::create" "The log file of a new store is created."
        Io "log::open" "The log file is opened, or its length asked for."
        Io "log::read" "Records are read."
        Io "log::write" "A write buffer is written, or recovery writes the tail again."
        Io "log::grow" "The log file is made longer, by zeros."
        Io "log::sync" "The log is synced."
        Io "log::cut" "The log file is cut, for it is longer than need be."
        Io "manifest::create" "The file that a manifest is written to is created."
        Io "manifest::open" "A manifest is opened, to be read or to be written over, or its length asked for."
        Io "manifest::read" "The manifest is read."
        Io "manifest::write" "A manifest is written anew, or space kept for that."
        Io "manifest::sync" "A manifest that was written anew is synced."
        Io "manifest::rename" "A manifest that was written anew is put in force."
        Io "manifest::append" "An entry is appended to the manifest."
        Io "manifest::append_sync" "An entry of the manifest is synced."
        Io "manifest::grow" "The manifest is made longer."
        Io "snapshot::create" "The file of a snapshot is created."
        Io "snapshot::open" "The file of a snapshot is opened, or its length asked for."
        Io "snapshot::read" "A snapshot is read."
        Io "snapshot::write" "A part of a snapshot is written."
        Io "snapshot::sync" "A snapshot is synced."
        Io "snapshot::rename" "A snapshot is put in force."
        Io "snapshot::remove" "A file of a snapshot that is not needed is removed."
        Io "large::create" "The file of a large value is created."
        Io "large::open" "The file of a large value is opened, or its length asked for."
        Io "large::read" "A large value is read."
        Io "large::write" "A large value is written."
        Io "large::sync" "A large value is synced."
        Io "large::remove" "The file of a large value that nothing needs is removed."
        Io "dictionary::create" "The file of a dictionary is created."
        Io "dictionary::open" "A dictionary is opened, or its length asked for."
        Io "dictionary::read" "A dictionary is read."
        Io "dictionary::write" "A dictionary is written."
        Io "dictionary::sync" "A dictionary is synced."
        Io "dictionary::rename" "A dictionary gets its name."
        Io "tail::create" "The file that the log's end is saved in is created."
        Io "tail::open" "A saved end of the log is opened, or its length asked for."
        Io "tail::read" "A saved end of the log is read."
        Io "tail::write" "The log's end is saved."
        Io "tail::sync" "The file that the log's end was saved in is synced."
        Io "tail::remove" "A saved end of the log is removed."
        Io "directory::create" "The directory of the store is created, if there is none."
        Io "directory::list" "The names in the directory are read."
        Io "directory::sync" "The directory is synced."
        Io "directory::remove" "A temporary store is removed, or the note of a backup that is a store by now."
        Io "lock::open" "The lock file that was left in an otherwise empty directory is looked at."
        Io "lock::take" "The lock is taken."
        Io "backup::create_directory" "The directory of a backup is created, if there is none."
        Io "backup::list" "The names in the directory of a backup are read."
        Io "backup::lock" "The lock of a backup is taken."
        Io "backup::create" "A file of a backup is created."
        Io "backup::open" "A file in the directory of a backup is looked for, or its length asked for."
        Io "backup::write" "A file of a backup is written."
        Io "backup::sync" "A file of a backup is synced."
        Io "backup::rename" "The manifest of a backup is put in force."
        Io "backup::remove" "The note that a backup is unfinished is removed, or what an unfinished one has written."
        Io "backup::sync_directory" "The directory of a backup is synced."
        State "segment::claimed" "The claim of a segment is durable."
        State "segment::reused" "A slot that was used before begins a new life."
        State "segment::sealed" "The last bytes of a segment are written and accounted for."
        State "segment::emptied" "Nothing in a segment is live any more."
        State "segment::freed" "A slot can be claimed again."
        State "buffer::sealed" "A write buffer is closed to writers: by a flush, or since it is full."
        State "buffer::drained" "A write buffer was left by its last writer, and is about to be written."
        State "log::stable" "A sync has returned, and the stable LSNs are about to move."
        State "relocation::copied" "A record was copied to another segment."
        State "relocation::told" "A page was told where its record lies now, or the copy came too late."
        State "page::published" "The head of a page was exchanged."
        State "page::frozen" "The base of a page is about to be exchanged for its copy, with contents or without."
        State "page::evicted" "Contents of a page were dropped from memory."
        State "page::paged_in" "A page was read, and is about to be installed."
        State "batch::begun" "The begin of a batch is logged."
        State "batch::sealed" "The end of a batch is logged."
        State "snapshot::begun" "It is settled where a snapshot begins, and its file was created."
        State "snapshot::published" "A snapshot is in force."
        State "poison::set" "Writing has stopped for good, and those who wait are about to be woken."
        State "recovery::identified" "It is known what the directory holds, and the lock is ours."
        State "recovery::surveyed" "Snapshot and log were read; nothing was changed yet."
        State "recovery::tail_saved" "The tail of the log is safe elsewhere, and is about to be written again."
        State "recovery::tail_written" "The tail of the log was written again and synced."
        State "recovery::cut" "The manifest with the cut is in force; nothing was removed yet."
        State "recovery::swept" "Files that nothing needs were removed."
    };

    /// How a call is to fail.
    pub(crate) struct Strike {
        pub(crate) error: io::Error,
        /// Of a write: half of it is done first.
        pub(crate) is_short: bool,
    }

    impl Strike {
        fn new(name: &str, words: Option<&str>) -> Self {
            let words = words.unwrap_or_default();
            let says = |word| words.split_whitespace().any(|said| said == word);
            let kind = match () {
                () if says("ENOSPC") => io::ErrorKind::StorageFull,
                () if says("EACCES") => io::ErrorKind::PermissionDenied,
                () => io::ErrorKind::Other,
            };
            Self { error: io::Error::new(kind, format!("failpoint {name}")), is_short: says("short") }
        }
    }

    /// Whether a call at a point of I/O is to fail, and how.
    pub(crate) fn strike(name: &str) -> Option<Strike> {
        debug_assert!(is_listed(name, FailpointKind::Io), "{name} is not in the table");
        fail::fail_point!(name, |words: Option<String>| Some(Strike::new(name, words.as_deref())));
        None
    }

    /// Passes a point of state.
    pub(crate) fn pass(name: &'static str) {
        debug_assert!(is_listed(name, FailpointKind::State), "{name} is not in the table");
        fail::fail_point!(name, |_| ());
    }

    fn is_listed(name: &str, kind: FailpointKind) -> bool {
        ALL.iter().any(|point| point.name == name && point.kind == kind)
    }
}
