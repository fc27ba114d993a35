//! The calls that a disk gets: counted, logged, and made to fail.
//!
//! Two numbers run along. Every call has a *call number*. A call that may change the disk is also an
//! *operation* and has an operation number: power cuts and images go by those. Both begin at 1 on every new
//! disk.

use std::io;

/// Which method was called.
///
/// ```
#[doc = include_str!("../../docs/sim_disk.txt")]
/// # fn main() -> io::Result<()> {
/// let (disk, file) = disk_with(b"old")?;
/// disk.log_calls();
/// file.write_at(b"new", 0)?;
/// file.sync()?;
/// let kinds: Vec<CallKind> = disk.take_calls().iter().map(|call| call.kind).collect();
/// assert_eq!(kinds, [CallKind::Write, CallKind::Sync]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum CallKind {
    /// [`Storage::open`](crate::Storage::open).
    Open,
    /// [`Storage::create`](crate::Storage::create).
    Create,
    /// [`Storage::rename`](crate::Storage::rename).
    Rename,
    /// [`Storage::remove`](crate::Storage::remove).
    Remove,
    /// [`Storage::list`](crate::Storage::list).
    List,
    /// [`Storage::create_directory`](crate::Storage::create_directory).
    CreateDirectory,
    /// [`Storage::remove_directory`](crate::Storage::remove_directory).
    RemoveDirectory,
    /// [`Storage::sync_directory`](crate::Storage::sync_directory).
    SyncDirectory,
    /// [`Storage::lock`](crate::Storage::lock) for reading.
    ReadLock,
    /// [`Storage::lock`](crate::Storage::lock) for writing.
    WriteLock,
    /// [`StorageFile::read_at`](crate::StorageFile::read_at).
    Read,
    /// [`StorageFile::write_at`](crate::StorageFile::write_at).
    Write,
    /// [`StorageFile::sync`](crate::StorageFile::sync).
    Sync,
    /// [`StorageFile::len`](crate::StorageFile::len).
    Length,
    /// [`StorageFile::set_len`](crate::StorageFile::set_len).
    SetLength,
}

impl CallKind {
    const COUNT: usize = Self::SetLength as usize + 1;

    /// Whether such a call may change the disk, or what of it is durable.
    ///
    /// ```
    /// use pagelog::sim::CallKind;
    ///
    /// assert!(CallKind::Write.is_operation() && CallKind::Sync.is_operation());
    /// assert!(!CallKind::Read.is_operation() && !CallKind::List.is_operation());
    /// ```
    #[must_use]
    pub fn is_operation(self) -> bool {
        !matches!(self, Self::Open | Self::List | Self::ReadLock | Self::Read | Self::Length)
    }

    /// Whether such a call makes changes durable.
    pub(super) fn is_barrier(self) -> bool {
        matches!(self, Self::Sync | Self::SyncDirectory)
    }
}

/// One call, as the log keeps it.
///
/// ```
#[doc = include_str!("../../docs/sim_disk.txt")]
/// # fn main() -> io::Result<()> {
/// let (disk, file) = disk_with(b"old")?;
/// disk.log_calls();
/// file.write_at(b"new", 40)?;
/// for call in disk.take_calls() {
///     assert_eq!((call.kind, call.file.as_str()), (CallKind::Write, "data"));
///     assert_eq!((call.offset, call.length), (40, 3));
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub struct Call {
    /// Which method.
    pub kind: CallKind,
    /// The file's name: the one that it was opened by, or the source of a rename. Empty for the directory.
    pub file: String,
    /// The offset of a read or write, else 0.
    pub offset: u64,
    /// The bytes of a read or write, or the new length, else 0.
    pub length: u64,
}

/// When a fault strikes. All numbers begin at 1 and count from the making of the disk.
///
/// ```
#[doc = include_str!("../../docs/sim_disk.txt")]
/// # fn main() -> io::Result<()> {
/// let (disk, file) = disk_with(b"old")?;
/// disk.fail_at(When::Call(disk.calls() + 1), Fault::Error);
/// assert!(file.len().is_err());
/// disk.fail_at(When::Operation(disk.operations() + 1), Fault::Error);
/// file.len()?; // is no operation
/// assert!(file.write_at(b"new", 0).is_err());
/// disk.fail_at(When::Kind(CallKind::Sync, disk.count(CallKind::Sync) + 1), Fault::Error);
/// file.write_at(b"new", 0)?;
/// assert!(file.sync().is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum When {
    /// At this call, whatever it is, also a read.
    Call(u64),
    /// At this operation: a call that may change the disk.
    Operation(u64),
    /// At the call with this number among those of one kind.
    Kind(CallKind, u64),
}

/// What goes wrong.
///
/// ```
#[doc = include_str!("../../docs/sim_disk.txt")]
/// # fn main() -> io::Result<()> {
/// let (disk, file) = disk_with(b"old")?;
/// disk.fail_at(When::Kind(CallKind::Sync, disk.count(CallKind::Sync) + 1), Fault::SyncDropsPages);
/// file.write_at(b"new", 0)?;
/// assert!(file.sync().is_err());
/// // Who tries again is told that all is well, and readers see it so. But the disk never got the bytes.
/// file.sync()?;
/// assert_eq!(disk.contents()["data"], b"new");
/// assert_eq!(disk.after_power_cut(0).contents()["data"], b"old");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Fault {
    /// The call fails and does nothing. A failed sync leaves everything waiting for the next one.
    Error,
    /// The call fails with [`ErrorKind::StorageFull`](io::ErrorKind::StorageFull). A write is done in part.
    NoSpace,
    /// A write is done in part, then fails. Like [`Error`](Self::Error) for other calls.
    ShortWrite,
    /// A sync fails, and what it should have written counts as written: readers go on seeing it, the disk
    /// never gets it, later syncs succeed. Many kernels do this. Like [`Error`](Self::Error) for other calls.
    SyncDropsPages,
    /// A write succeeds and is seen by readers, but a sync sends it to another place of the file. No fault
    /// for other calls.
    Misdirected,
}

impl Fault {
    pub(super) fn error(self) -> io::Error {
        match self {
            Self::NoSpace => storage_full(),
            _ => io::Error::other("simulated input/output error"),
        }
    }
}

pub(super) fn storage_full() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "the simulated disk is full")
}

pub(super) fn power_is_off() -> io::Error {
    io::Error::other("the simulated power is off")
}

#[derive(Clone, Debug)]
struct Planned {
    when: When,
    fault: Fault,
    for_ever: bool,
}

/// The counters, the log and the plan of faults.
#[derive(Clone, Debug, Default)]
pub(super) struct Calls {
    all: u64,
    operations: u64,
    by_kind: [u64; CallKind::COUNT],
    log: Option<Vec<Call>>,
    plan: Vec<Planned>,
}

impl Calls {
    pub(super) fn all(&self) -> u64 {
        self.all
    }

    pub(super) fn operations(&self) -> u64 {
        self.operations
    }

    pub(super) fn of_kind(&self, kind: CallKind) -> u64 {
        self.by_kind.get(kind as usize).copied().unwrap_or(0)
    }

    pub(super) fn start_log(&mut self) {
        self.log = Some(Vec::new());
    }

    pub(super) fn take_log(&mut self) -> Vec<Call> {
        self.log.as_mut().map(std::mem::take).unwrap_or_default()
    }

    pub(super) fn plan(&mut self, when: When, fault: Fault, for_ever: bool) {
        self.plan.push(Planned { when, fault, for_ever });
    }

    pub(super) fn clear_plan(&mut self) {
        self.plan.clear();
    }

    /// Counts and logs a call and says what goes wrong with it. The fault that was planned first wins.
    pub(super) fn enter(&mut self, kind: CallKind, file: &str, offset: u64, length: u64) -> Option<Fault> {
        self.all += 1;
        self.operations += u64::from(kind.is_operation());
        if let Some(count) = self.by_kind.get_mut(kind as usize) {
            *count += 1;
        }
        if let Some(log) = &mut self.log {
            log.push(Call { kind, file: file.to_owned(), offset, length });
        }
        self.plan.iter().find(|planned| self.strikes(planned, kind)).map(|planned| planned.fault)
    }

    fn strikes(&self, planned: &Planned, kind: CallKind) -> bool {
        let (concerned, at, now) = match planned.when {
            When::Call(at) => (true, at, self.all),
            When::Operation(at) => (kind.is_operation(), at, self.operations),
            When::Kind(of, at) => (kind == of, at, self.of_kind(kind)),
        };
        concerned && (now == at || (planned.for_ever && now > at))
    }
}
