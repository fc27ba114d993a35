//! A simulated disk: power cuts, errors and rot on demand, decided by one seed.
//!
//! The problem: what a database does after a power cut can't be tested on a real disk, because the interesting
//! moments last microseconds and the interesting losses are rare. Here every write, sync and rename is an *operation*
//! with a number; the power can go at each of them; and what was not synced then is kept, lost, torn or reordered,
//! sector by sector, as a seed decides. The same seed gives the same disk, always.
//!
//! - [`disk`] holds what the process sees and what the platter holds, and the changes between the two.
//! - [`cut`] decides which of those changes a power cut leaves.
//! - [`choices`] is where decisions come from.
//! - [`calls`] counts and logs calls and makes them fail.
//! - [`state`] is one running disk: a `disk`, its calls, its power, its history.
//! - [`handle`] implements [`Storage`](crate::Storage) on it.
//!
//! Why many images per second are possible: disks are copied by reference counts, so [`SimStorage::record_history`]
//! keeps the disk as it was after every operation, and one run of a workload gives images at each of its moments.

mod calls;
mod choices;
mod cut;
mod disk;
mod handle;
mod state;
#[cfg(all(test, not(loom)))]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::storage::locks::LockTable;
use crate::sync::{Mutex, MutexGuard};

pub use calls::{Call, CallKind, Fault, When};
use choices::{Choices, Odometer};
use disk::Disk;
use state::State;

/// A simulated disk for tests: a [`Storage`](crate::Storage) whose power can be cut. Clones share the disk.
///
/// What it simulates:
///
/// - A write is seen by readers at once and is durable after [`StorageFile::sync`](crate::StorageFile::sync), as is
///   the file's length. Its *name* is durable after [`Storage::sync_directory`](crate::Storage::sync_directory).
/// - A **power cut** decides each change that is not durable by itself: a 512-byte sector is old or new; the sectors
///   of one write are torn apart and writes are reordered, but those to one sector happen in their order; creations,
///   renames and removals happen or not, each as a whole.
/// - A **killed process** loses nothing that the system has accepted, nor makes any of it durable.
/// - **Faults**: see [`Fault`]. A full disk: see [`set_capacity`](Self::set_capacity). Rot: see
///   [`flip_bit`](Self::flip_bit).
///
/// It is deterministic as long as its callers are: use it from one thread, or accept any order.
///
/// Ways to use it:
///
/// - One run, many images: [`record_history`](Self::record_history), then [`image_at`](Self::image_at). This is by far
///   the fastest: an image of a small disk takes about a microsecond.
/// - All images of a short run: [`all_images_at`](Self::all_images_at).
/// - A cut during recovery: an image is a disk like any other, so record the history of the recovery on it.
/// - A database that must cope with failing calls: [`fail_at`](Self::fail_at) at each call number of a run, in turn.
/// - What a call costs: [`log_calls`](Self::log_calls) and [`syncs`](Self::syncs).
///
/// # Example: power-cut-test your own database
///
/// Run a workload once and record it. Then, for every moment of the run and some seeds, look at the disk that a power
/// cut at that moment leaves, let your database recover from it, and check what you promise.
///
/// ```
/// use pagelog::sim::SimStorage;
/// use pagelog::{Access, Storage};
///
/// /// The database under test: numbers, 8 bytes each, appended to a file. Zero is not allowed.
/// fn append(storage: &dyn Storage, number: u64) -> std::io::Result<()> {
///     let file = storage.open("numbers", Access::Write)?;
///     file.write_at(&number.to_le_bytes(), file.len()? / 8 * 8)?;
///     file.sync() // Take this line out and the test fails.
/// }
///
/// fn recover(storage: &dyn Storage) -> std::io::Result<Vec<u64>> {
///     let file = storage.open("numbers", Access::Read)?;
///     let mut bytes = vec![0; file.len()? as usize];
///     file.read_at(&mut bytes, 0)?;
///     let numbers = bytes.chunks_exact(8).map(|chunk| u64::from_le_bytes(chunk.try_into().unwrap()));
///     Ok(numbers.take_while(|number| *number != 0).collect())
/// }
///
/// # fn main() -> std::io::Result<()> {
/// let disk = SimStorage::new(1);
/// disk.create_directory()?;
/// disk.create("numbers")?;
/// disk.sync_directory()?;
///
/// disk.record_history();
/// let mut acknowledged = vec![]; // (operations so far, numbers that must be there)
/// for number in 1..=100 {
///     append(&disk, number)?;
///     acknowledged.push((disk.operations(), number));
/// }
///
/// for moment in disk.history().unwrap() {
///     let promised = acknowledged.iter().take_while(|(operations, _)| *operations <= moment).count();
///     for seed in 0..10 {
///         // `moment` operations have returned; the next one is under way.
///         let after = disk.image_at(moment, seed).unwrap();
///         let found = recover(&after)?;
///         assert!(found.len() >= promised, "lost an acknowledged number; moment {moment}, seed {seed}");
///         assert!(found.iter().copied().eq(1..=found.len() as u64), "moment {moment}, seed {seed}");
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct SimStorage {
    state: Arc<Mutex<State>>,
    locks: LockTable,
}

impl SimStorage {
    /// A new, empty disk without limits. Its one directory exists from the start. The seed decides how much of a
    /// write that fails half-way is done.
    ///
    /// ```
    #[doc = include_str!("../../docs/sim_disk.txt")]
    /// # fn main() -> io::Result<()> {
    /// let done = |seed| -> io::Result<u64> {
    ///     let disk = SimStorage::new(seed);
    ///     assert!(disk.contents().is_empty() && disk.calls() == 0);
    ///     disk.fail_at(When::Kind(CallKind::Write, 1), Fault::ShortWrite);
    ///     let file = disk.create("data")?;
    ///     assert!(file.write_at(&[1; 1000], 0).is_err());
    ///     file.len()
    /// };
    /// assert!(done(1)? < 1000);
    /// assert_eq!(done(1)?, done(1)?);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with_state(State::new(Disk::default(), seed))
    }

    fn with_state(state: State) -> Self {
        Self { state: Arc::new(Mutex::new(state)), locks: LockTable::new() }
    }

    fn lock_state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    // ------------------------------------------------------------------------------------------- counting

    /// The number of calls so far that may change the disk: writes, syncs, changes of length, of names, of the
    /// directory, and locks for writing. Failed ones count too; those after the power cut don't.
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

    /// The bytes that files take, in blocks of 4 KiB. Holes take nothing, so growing a file by its length alone
    /// reserves nothing, as on real file systems.
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

    // ------------------------------------------------------------------------------------------- faults

    /// Makes one call fail.
    ///
    /// ```
    #[doc = include_str!("../../docs/sim_disk.txt")]
    /// # fn main() -> io::Result<()> {
    /// let (disk, file) = disk_with(b"old")?;
    /// disk.fail_at(When::Call(disk.calls() + 2), Fault::NoSpace);
    /// file.write_at(b"new", 0)?;
    /// let refused = file.write_at(b"newer", 0).map_err(|error| error.kind());
    /// assert_eq!(refused, Err(io::ErrorKind::StorageFull));
    /// file.write_at(b"newest", 0)?; // That was the one call.
    /// # Ok(())
    /// # }
    /// ```
    pub fn fail_at(&self, when: When, fault: Fault) {
        self.lock_state().calls.plan(when, fault, false);
    }

    /// Makes a call and all that follow fail: all calls, all operations, or all of the kind.
    ///
    /// ```
    #[doc = include_str!("../../docs/sim_disk.txt")]
    /// # fn main() -> io::Result<()> {
    /// let (disk, file) = disk_with(b"old")?;
    /// disk.fail_from(When::Kind(CallKind::Write, disk.count(CallKind::Write) + 1), Fault::Error);
    /// for _ in 0..10 {
    ///     assert!(file.write_at(b"new", 0).is_err());
    /// }
    /// assert_eq!(disk.contents()["data"], b"old");
    /// # Ok(())
    /// # }
    /// ```
    pub fn fail_from(&self, when: When, fault: Fault) {
        self.lock_state().calls.plan(when, fault, true);
    }

    /// Takes all planned faults back, and a planned power cut too. If the power is off, it stays off.
    ///
    /// ```
    #[doc = include_str!("../../docs/sim_disk.txt")]
    /// # fn main() -> io::Result<()> {
    /// let (disk, file) = disk_with(b"old")?;
    /// disk.fail_from(When::Call(1), Fault::Error);
    /// assert!(file.write_at(b"new", 0).is_err());
    /// disk.clear_faults();
    /// file.write_at(b"new", 0)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn clear_faults(&self) {
        let mut state = self.lock_state();
        state.calls.clear_plan();
        state.cut_at = None;
    }

    /// Limits the disk to `bytes`, or sets it free again. A write that needs more blocks than are left is done in
    /// part and fails with [`ErrorKind::StorageFull`](io::ErrorKind::StorageFull); overwriting needs none.
    ///
    /// ```
    #[doc = include_str!("../../docs/sim_disk.txt")]
    /// # fn main() -> io::Result<()> {
    /// let (disk, file) = disk_with(b"old")?;
    /// disk.set_capacity(Some(4096));
    /// let written = file.write_at(&[1; 5000], 0).map_err(|error| error.kind());
    /// assert_eq!(written, Err(io::ErrorKind::StorageFull));
    /// assert_eq!(file.len()?, 4096);
    /// disk.set_capacity(None);
    /// file.write_at(&[1; 5000], 0)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock_state().capacity = bytes;
    }

    /// Makes power cuts worse: a block of `bytes` that was being written may turn into garbage as a whole, with all
    /// that was durable in it. `None`, the default: a cut never damages a byte outside of the writes under way.
    ///
    /// ```
    #[doc = include_str!("../../docs/sim_disk.txt")]
    /// # fn main() -> io::Result<()> {
    /// let (disk, file) = disk_with(&[7; 4096])?;
    /// file.write_at(b"new", 0)?;
    /// let is_harmed = |seed| disk.after_power_cut(seed).contents()["data"][1000..] != [7; 3096];
    /// assert!(!(0..100).any(is_harmed));
    /// // Now also bytes that nobody was writing.
    /// disk.set_torn_block(Some(4096));
    /// assert!((0..100).any(is_harmed));
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_torn_block(&self, bytes: Option<u64>) {
        self.lock_state().torn_block = bytes.filter(|bytes| *bytes > 0);
    }

    /// Flips a bit of a file at rest, for readers and on the platter. `bit` counts from 0, the lowest; only its
    /// lowest three bits count.
    ///
    /// ```
    #[doc = include_str!("../../docs/sim_disk.txt")]
    /// # fn main() -> io::Result<()> {
    /// let (disk, _) = disk_with(b"old")?;
    /// disk.flip_bit("data", 2, 1)?;
    /// assert_eq!(disk.contents()["data"], b"olf");
    /// assert_eq!(disk.after_power_cut(0).contents()["data"], b"olf");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The file is not there, or ends before the offset.
    pub fn flip_bit(&self, file: &str, offset: u64, bit: u8) -> io::Result<()> {
        self.lock_state().damage(file, offset, |byte| byte ^ (1 << (bit & 7)))
    }

    /// Replaces a byte of a file at rest, for readers and on the platter.
    ///
    /// ```
    #[doc = include_str!("../../docs/sim_disk.txt")]
    /// # fn main() -> io::Result<()> {
    /// let (disk, _) = disk_with(b"old")?;
    /// disk.set_byte("data", 0, b'c')?;
    /// assert_eq!(disk.contents()["data"], b"cld");
    /// assert!(disk.set_byte("data", 3, b'!').is_err()); // The file ends there.
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The file is not there, or ends before the offset.
    pub fn set_byte(&self, file: &str, offset: u64, byte: u8) -> io::Result<()> {
        self.lock_state().damage(file, offset, |_| byte)
    }

    // ------------------------------------------------------------------------------------------- cuts

    /// Cuts the power during operation number `operation`: it fails, having happened or not, and so do all calls after
    /// it, also reads. Then look at [`after_power_cut`](Self::after_power_cut).
    ///
    /// ```
    #[doc = include_str!("../../docs/sim_disk.txt")]
    /// # fn main() -> io::Result<()> {
    /// let (disk, file) = disk_with(b"old")?;
    /// disk.cut_power_at(disk.operations() + 2);
    /// file.write_at(b"new", 0)?;
    /// assert!(file.sync().is_err());
    /// assert!(disk.is_cut() && file.read_at(&mut [0; 3], 0).is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub fn cut_power_at(&self, operation: u64) {
        self.lock_state().cut_at = Some(operation);
    }

    /// Cuts the power now: all calls fail from here on.
    ///
    /// ```
    #[doc = include_str!("../../docs/sim_disk.txt")]
    /// # fn main() -> io::Result<()> {
    /// let (disk, file) = disk_with(b"old")?;
    /// disk.cut_power();
    /// assert!(file.read_at(&mut [0; 3], 0).is_err());
    /// // Who comes back finds what was durable.
    /// assert_eq!(disk.after_power_cut(0).contents()["data"], b"old");
    /// # Ok(())
    /// # }
    /// ```
    pub fn cut_power(&self) {
        self.lock_state().powered = false;
    }

    /// Whether the power has been cut.
    ///
    /// ```
    #[doc = include_str!("../../docs/sim_disk.txt")]
    /// # fn main() -> io::Result<()> {
    /// let (disk, file) = disk_with(b"old")?;
    /// disk.cut_power_at(disk.operations() + 1);
    /// assert!(!disk.is_cut());
    /// assert!(file.sync().is_err());
    /// assert!(disk.is_cut());
    /// assert!(!disk.after_power_cut(0).is_cut()); // another disk
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn is_cut(&self) -> bool {
        !self.lock_state().powered
    }

    /// A new disk, as a power cut now (or the one that happened) leaves it: what was durable, and of what was not,
    /// the part that the seed decides. This disk goes on unchanged.
    ///
    /// The new disk has the same capacity, no faults planned, no locks taken, and counts from 0.
    ///
    /// ```
    #[doc = include_str!("../../docs/sim_disk.txt")]
    /// # fn main() -> io::Result<()> {
    /// let (disk, file) = disk_with(b"old")?;
    /// let is_new = |seed| disk.after_power_cut(seed).contents()["data"] == b"new";
    /// file.write_at(b"new", 0)?;
    /// assert!((0..100).any(is_new) && !(0..100).all(is_new));
    /// file.sync()?;
    /// assert!((0..100).all(is_new));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn after_power_cut(&self, seed: u64) -> Self {
        let state = self.lock_state();
        let image = state.image(&state.disk, &mut Choices::seeded(seed), seed);
        Self::with_state(image)
    }

    /// All disks that a power cut now can leave, one after the other, some of them equal. Their number grows
    /// exponentially with what is not synced; [`take`](Iterator::take) what you need.
    ///
    /// ```
    #[doc = include_str!("../../docs/sim_disk.txt")]
    /// # fn main() -> io::Result<()> {
    /// let (disk, file) = disk_with(&[0; 1024])?;
    /// file.write_at(&[1; 1024], 0)?; // two sectors, each old or new
    /// let images = disk.all_after_power_cut().map(|image| image.contents()["data"].clone());
    /// let sums: Vec<usize> = images.map(|bytes| bytes.iter().filter(|byte| **byte == 1).count()).collect();
    /// assert_eq!(sums.len(), 4);
    /// assert_eq!(sums.iter().filter(|sum| **sum == 512).count(), 2);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn all_after_power_cut(&self) -> Images {
        let state = self.lock_state();
        Images::new(state.successor(state.disk.clone(), 0))
    }

    /// A new disk, as after `kill -9`: all that the system accepted is there, and what was not durable still isn't.
    ///
    /// The new disk has the same capacity, no faults planned, no locks taken, and counts from 0.
    ///
    /// ```
    #[doc = include_str!("../../docs/sim_disk.txt")]
    /// # fn main() -> io::Result<()> {
    /// let (disk, file) = disk_with(b"old")?;
    /// file.write_at(b"new", 0)?;
    /// let after = disk.after_kill();
    /// assert_eq!(after.contents()["data"], b"new");
    /// assert_eq!(after.unsynced(), 1); // A power cut can still take it.
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn after_kill(&self) -> Self {
        let state = self.lock_state();
        Self::with_state(state.successor(state.disk.clone(), 0))
    }

    /// A new disk in the very state of this one, with its counts and its planned faults, for trying several ways on.
    /// Nobody holds a lock on it, and it has no history.
    ///
    /// ```
    #[doc = include_str!("../../docs/sim_disk.txt")]
    /// # fn main() -> io::Result<()> {
    /// let (disk, _) = disk_with(b"old")?;
    /// let fork = disk.fork();
    /// fork.open("data", Access::Write)?.write_at(b"new", 0)?;
    /// assert_eq!(fork.operations(), disk.operations() + 1);
    /// assert_eq!(fork.contents()["data"], b"new");
    /// assert_eq!(disk.contents()["data"], b"old");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn fork(&self) -> Self {
        Self::with_state(self.lock_state().fork())
    }

    // ------------------------------------------------------------------------------------------- history

    /// Keeps the disk's state after every operation from now on, for [`image_at`](Self::image_at). An operation adds
    /// a few hundred bytes and a copy of each 4 KiB block that it changes. A history that exists is forgotten.
    ///
    /// ```
    #[doc = include_str!("../../docs/sim_disk.txt")]
    /// # fn main() -> io::Result<()> {
    /// let (disk, file) = disk_with(b"old")?;
    /// disk.record_history();
    /// file.write_at(b"new", 0)?;
    /// file.sync()?;
    /// // The power could have gone at any moment of this run.
    /// let images = disk.history().into_iter().flatten().filter_map(|moment| disk.image_at(moment, 0));
    /// assert_eq!(images.count(), 3);
    /// # Ok(())
    /// # }
    /// ```
    pub fn record_history(&self) {
        self.lock_state().start_history();
    }

    /// Stops recording and forgets the history.
    ///
    /// ```
    #[doc = include_str!("../../docs/sim_disk.txt")]
    /// # fn main() -> io::Result<()> {
    /// let (disk, file) = disk_with(b"old")?;
    /// disk.record_history();
    /// file.write_at(b"new", 0)?;
    /// disk.forget_history();
    /// assert!(disk.history().is_none());
    /// # Ok(())
    /// # }
    /// ```
    pub fn forget_history(&self) {
        self.lock_state().forget_history();
    }

    /// The moments that are recorded, as numbers of operations that had returned.
    ///
    /// ```
    #[doc = include_str!("../../docs/sim_disk.txt")]
    /// # fn main() -> io::Result<()> {
    /// let (disk, file) = disk_with(b"old")?;
    /// let before = disk.operations();
    /// disk.record_history();
    /// file.write_at(b"new", 0)?;
    /// file.sync()?;
    /// assert_eq!(disk.history(), Some(before..=before + 2));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn history(&self) -> Option<RangeInclusive<u64>> {
        self.lock_state().history()
    }

    /// A new disk, as a power cut left it when `operations` operations had returned and the next one was under way.
    /// Like [`after_power_cut`](Self::after_power_cut), but at a recorded moment; `None` if it was not recorded.
    ///
    /// ```
    #[doc = include_str!("../../docs/sim_disk.txt")]
    /// # fn main() -> io::Result<()> {
    /// let (disk, file) = disk_with(b"old")?;
    /// let moment = disk.operations();
    /// disk.record_history();
    /// file.write_at(b"new", 0)?;
    /// file.sync()?;
    /// let is_new = |moment, seed| disk.image_at(moment, seed).is_some_and(|image| image.contents()["data"] == b"new");
    /// // During the write, and after the sync.
    /// assert!((0..100).any(|seed| is_new(moment, seed)) && (0..100).any(|seed| !is_new(moment, seed)));
    /// assert!((0..100).all(|seed| is_new(moment + 2, seed)));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn image_at(&self, operations: u64, seed: u64) -> Option<Self> {
        let state = self.lock_state();
        let disk = state.disk_during(operations)?;
        Some(Self::with_state(state.image(disk, &mut Choices::seeded(seed), seed)))
    }

    /// All disks that a power cut at a recorded moment can leave, as
    /// [`all_after_power_cut`](Self::all_after_power_cut).
    ///
    /// ```
    #[doc = include_str!("../../docs/sim_disk.txt")]
    /// # fn main() -> io::Result<()> {
    /// let (disk, file) = disk_with(b"old")?;
    /// let moment = disk.operations();
    /// disk.record_history();
    /// file.write_at(b"new", 0)?;
    /// file.sync()?;
    /// let count = |moment| disk.all_images_at(moment).map(Iterator::count);
    /// // During the write, and after the sync.
    /// assert_eq!((count(moment), count(moment + 2)), (Some(2), Some(1)));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn all_images_at(&self, operations: u64) -> Option<Images> {
        let state = self.lock_state();
        let disk = state.disk_during(operations)?;
        Some(Images::new(state.successor(disk.clone(), 0)))
    }

    /// A new disk, as after `kill -9` when `operations` operations had returned and the next one had not begun; `None`
    /// if that moment was not recorded.
    ///
    /// ```
    #[doc = include_str!("../../docs/sim_disk.txt")]
    /// # fn main() -> io::Result<()> {
    /// let (disk, file) = disk_with(b"old")?;
    /// let moment = disk.operations();
    /// disk.record_history();
    /// file.write_at(b"new", 0)?;
    /// let found = |moment| disk.killed_at(moment).map(|image| image.contents()["data"].clone());
    /// assert_eq!(found(moment), Some(b"old".to_vec()));
    /// assert_eq!(found(moment + 1), Some(b"new".to_vec()));
    /// assert_eq!(found(moment + 2), None);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn killed_at(&self, operations: u64) -> Option<Self> {
        let state = self.lock_state();
        let disk = state.disk_after(operations)?;
        Some(Self::with_state(state.successor(disk.clone(), 0)))
    }
}

/// All disks that one power cut can leave: see [`SimStorage::all_after_power_cut`].
///
/// ```
#[doc = include_str!("../../docs/sim_disk.txt")]
/// # fn main() -> io::Result<()> {
/// let (disk, file) = disk_with(b"old")?;
/// file.write_at(b"new", 0)?;
/// let found: Vec<Vec<u8>> = disk.all_after_power_cut().map(|image| image.contents()["data"].clone()).collect();
/// assert_eq!(found, [b"old", b"new"]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Images {
    before: State,
    choices: Option<Choices>,
}

impl Images {
    fn new(before: State) -> Self {
        Self { before, choices: Some(Choices::Listed(Odometer::default())) }
    }
}

impl Iterator for Images {
    type Item = SimStorage;

    fn next(&mut self) -> Option<SimStorage> {
        let choices = self.choices.as_mut()?;
        let image = self.before.image(&self.before.disk, choices, 0);
        let more = match choices {
            Choices::Listed(odometer) => odometer.advance(),
            Choices::Seeded(_) => false,
        };
        if !more {
            self.choices = None;
        }
        Some(SimStorage::with_state(image))
    }
}
