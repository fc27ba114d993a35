//! What a simulated disk was asked to do so far, and what is on it.

use std::collections::BTreeMap;

use super::{Call, CallKind, SimStorage};

impl SimStorage {
    /// The number of calls so far that may change the disk: writes, syncs, changes of length, of names, of
    /// the directory, and locks for writing. Failed ones count too; those after the power cut don't.
    ///
    /// ```
    #[doc = include_str!("../../docs/sim_disk.txt")]
    /// # fn main() -> io::Result<()> {
    /// let (disk, file) = disk_with(b"old")?;
    /// let before = disk.operations();
    /// file.write_at(b"new", 0)?;
    /// file.sync()?;
    /// file.read_at(&mut [0; 3], 0)?; // changes nothing
    /// assert_eq!(disk.operations() - before, 2);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.lock_state().calls.operations()
    }

    /// The number of all calls so far, also reads.
    ///
    /// ```
    #[doc = include_str!("../../docs/sim_disk.txt")]
    /// # fn main() -> io::Result<()> {
    /// let (disk, file) = disk_with(b"old")?;
    /// let before = disk.calls();
    /// file.write_at(b"new", 0)?;
    /// file.read_at(&mut [0; 3], 0)?;
    /// assert_eq!(disk.calls() - before, 2);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.lock_state().calls.all()
    }

    /// The number of calls of one kind so far.
    ///
    /// ```
    #[doc = include_str!("../../docs/sim_disk.txt")]
    /// # fn main() -> io::Result<()> {
    /// let (disk, file) = disk_with(b"old")?;
    /// let before = disk.count(CallKind::Write);
    /// file.write_at(b"new", 0)?;
    /// file.sync()?;
    /// assert_eq!(disk.count(CallKind::Write) - before, 1);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn count(&self, kind: CallKind) -> u64 {
        self.lock_state().calls.of_kind(kind)
    }

    /// The number of syncs so far, of files and of the directory.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use pagelog::sim::SimStorage;
    /// # use pagelog::{Config, Log};
    /// # fn main() -> pagelog::Result<()> {
    /// let disk = SimStorage::new(1);
    /// let log = Log::open(Config::with_storage(Arc::new(disk.clone())))?;
    /// # log.append(b"the first one begins a segment")?;
    /// # log.flush()?;
    /// let before = disk.syncs();
    /// for _ in 0..100 {
    ///     log.append(b"entry")?;
    /// }
    /// log.flush()?;
    /// assert_eq!(disk.syncs() - before, 1);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.count(CallKind::Sync) + self.count(CallKind::SyncDirectory)
    }

    /// Starts to log calls, and forgets what was logged before.
    ///
    /// ```
    #[doc = include_str!("../../docs/sim_disk.txt")]
    /// # fn main() -> io::Result<()> {
    /// let (disk, file) = disk_with(b"old")?;
    /// assert!(disk.take_calls().is_empty()); // Nobody has asked for a log.
    /// disk.log_calls();
    /// file.write_at(b"new", 0)?;
    /// assert_eq!(disk.take_calls().len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn log_calls(&self) {
        self.lock_state().calls.start_log();
    }

    /// The calls since [`log_calls`](Self::log_calls) or since they were last taken. Logging goes on.
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
    /// file.read_at(&mut [0; 3], 0)?;
    /// assert_eq!(disk.take_calls().len(), 1); // The others were taken.
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn take_calls(&self) -> Vec<Call> {
        self.lock_state().calls.take_log()
    }

    /// How many changes of files and names are not durable. 0 means that a power cut now loses nothing.
    ///
    /// ```
    #[doc = include_str!("../../docs/sim_disk.txt")]
    /// # fn main() -> io::Result<()> {
    /// let (disk, file) = disk_with(b"old")?;
    /// assert_eq!(disk.unsynced(), 0);
    /// file.write_at(b"new", 0)?;
    /// assert_eq!(disk.unsynced(), 1);
    /// file.sync()?;
    /// assert_eq!(disk.unsynced(), 0);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn unsynced(&self) -> u64 {
        self.lock_state().disk.undecided()
    }

    /// The bytes that files take, in blocks of 4 KiB. Holes take nothing, so growing a file by its length
    /// alone reserves nothing, as on real file systems.
    ///
    /// ```
    #[doc = include_str!("../../docs/sim_disk.txt")]
    /// # fn main() -> io::Result<()> {
    /// let (disk, file) = disk_with(b"old")?;
    /// file.set_len(1 << 30)?;
    /// assert_eq!(disk.used_bytes(), 4096);
    /// file.write_at(b"new", 1 << 20)?;
    /// assert_eq!(disk.used_bytes(), 2 * 4096);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.lock_state().disk.used()
    }

    /// All files as a process sees them, by name: for comparing disks. No call is counted.
    ///
    /// ```
    #[doc = include_str!("../../docs/sim_disk.txt")]
    /// # fn main() -> io::Result<()> {
    /// let (disk, file) = disk_with(b"old")?;
    /// file.write_at(b"new", 0)?;
    /// let contents = disk.contents();
    /// assert_eq!(contents.keys().collect::<Vec<_>>(), ["data"]);
    /// assert_eq!(contents["data"], b"new");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        self.lock_state().contents()
    }
}
