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
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.lock_state().calls.operations()
    }

    /// The number of all calls so far, also reads.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.lock_state().calls.all()
    }

    /// The number of calls of one kind so far.
    #[must_use]
    pub fn count(&self, kind: CallKind) -> u64 {
        self.lock_state().calls.of_kind(kind)
    }

    /// The number of syncs so far, of files and of the directory.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.count(CallKind::Sync) + self.count(CallKind::SyncDirectory)
    }

    /// Starts to log calls, and forgets what was logged before.
    pub fn log_calls(&self) {
        self.lock_state().calls.start_log();
    }

    /// The calls since [`log_calls`](Self::log_calls) or since they were last taken. Logging goes on.
    #[must_use]
    pub fn take_calls(&self) -> Vec<Call> {
        self.lock_state().calls.take_log()
    }

    /// How many changes of files and names are not durable. 0 means that a power cut now loses nothing.
    #[must_use]
    pub fn unsynced(&self) -> u64 {
        self.lock_state().disk.undecided()
    }

    /// The bytes that files take, in blocks of 4 KiB. Holes take nothing, so growing a file by its length alone
    /// reserves nothing, as on real file systems.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.lock_state().disk.used()
    }

    /// All files as a process sees them, by name: for comparing disks. No call is counted.
    #[must_use]
    pub fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        self.lock_state().contents()
    }

    // ------------------------------------------------------------------------------------------- faults

    /// Makes one call fail.
    pub fn fail_at(&self, when: When, fault: Fault) {
        self.lock_state().calls.plan(when, fault, false);
    }

    /// Makes a call and all that follow fail: all calls, all operations, or all of the kind.
    pub fn fail_from(&self, when: When, fault: Fault) {
        self.lock_state().calls.plan(when, fault, true);
    }

    /// Takes all planned faults back, and a planned power cut too. If the power is off, it stays off.
    pub fn clear_faults(&self) {
        let mut state = self.lock_state();
        state.calls.clear_plan();
        state.cut_at = None;
    }

    /// Limits the disk to `bytes`, or sets it free again. A write that needs more blocks than are left is done in
    /// part and fails with [`ErrorKind::StorageFull`](io::ErrorKind::StorageFull); overwriting needs none.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock_state().capacity = bytes;
    }

    /// Makes power cuts worse: a block of `bytes` that was being written may turn into garbage as a whole, with all
    /// that was durable in it. `None`, the default: a cut never damages a byte outside of the writes under way.
    pub fn set_torn_block(&self, bytes: Option<u64>) {
        self.lock_state().torn_block = bytes.filter(|bytes| *bytes > 0);
    }

    /// Flips a bit of a file at rest, for readers and on the platter. `bit` counts from 0, the lowest; only its
    /// lowest three bits count.
    ///
    /// # Errors
    /// The file is not there, or ends before the offset.
    pub fn flip_bit(&self, file: &str, offset: u64, bit: u8) -> io::Result<()> {
        self.lock_state().damage(file, offset, |byte| byte ^ (1 << (bit & 7)))
    }

    /// Replaces a byte of a file at rest, for readers and on the platter.
    ///
    /// # Errors
    /// The file is not there, or ends before the offset.
    pub fn set_byte(&self, file: &str, offset: u64, byte: u8) -> io::Result<()> {
        self.lock_state().damage(file, offset, |_| byte)
    }

    // ------------------------------------------------------------------------------------------- cuts

    /// Cuts the power during operation number `operation`: it fails, having happened or not, and so do all calls after
    /// it, also reads. Then look at [`after_power_cut`](Self::after_power_cut).
    pub fn cut_power_at(&self, operation: u64) {
        self.lock_state().cut_at = Some(operation);
    }

    /// Cuts the power now: all calls fail from here on.
    pub fn cut_power(&self) {
        self.lock_state().powered = false;
    }

    /// Whether the power has been cut.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        !self.lock_state().powered
    }

    /// A new disk, as a power cut now (or the one that happened) leaves it: what was durable, and of what was not,
    /// the part that the seed decides. This disk goes on unchanged.
    ///
    /// The new disk has the same capacity, no faults planned, no locks taken, and counts from 0.
    #[must_use]
    pub fn after_power_cut(&self, seed: u64) -> Self {
        let state = self.lock_state();
        let image = state.image(&state.disk, &mut Choices::seeded(seed), seed);
        Self::with_state(image)
    }

    /// All disks that a power cut now can leave, one after the other, some of them equal. Their number grows
    /// exponentially with what is not synced; [`take`](Iterator::take) what you need.
    #[must_use]
    pub fn all_after_power_cut(&self) -> Images {
        let state = self.lock_state();
        Images::new(state.successor(state.disk.clone(), 0))
    }

    /// A new disk, as after `kill -9`: all that the system accepted is there, and what was not durable still isn't.
    ///
    /// The new disk has the same capacity, no faults planned, no locks taken, and counts from 0.
    #[must_use]
    pub fn after_kill(&self) -> Self {
        let state = self.lock_state();
        Self::with_state(state.successor(state.disk.clone(), 0))
    }

    /// A new disk in the very state of this one, with its counts and its planned faults, for trying several ways on.
    /// Nobody holds a lock on it, and it has no history.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self::with_state(self.lock_state().fork())
    }

    // ------------------------------------------------------------------------------------------- history

    /// Keeps the disk's state after every operation from now on, for [`image_at`](Self::image_at). An operation adds
    /// a few hundred bytes and a copy of each 4 KiB block that it changes. A history that exists is forgotten.
    pub fn record_history(&self) {
        self.lock_state().start_history();
    }

    /// Stops recording and forgets the history.
    pub fn forget_history(&self) {
        self.lock_state().forget_history();
    }

    /// The moments that are recorded, as numbers of operations that had returned.
    #[must_use]
    pub fn history(&self) -> Option<RangeInclusive<u64>> {
        self.lock_state().history()
    }

    /// A new disk, as a power cut left it when `operations` operations had returned and the next one was under way.
    /// Like [`after_power_cut`](Self::after_power_cut), but at a recorded moment; `None` if it was not recorded.
    #[must_use]
    pub fn image_at(&self, operations: u64, seed: u64) -> Option<Self> {
        let state = self.lock_state();
        let disk = state.disk_during(operations)?;
        Some(Self::with_state(state.image(disk, &mut Choices::seeded(seed), seed)))
    }

    /// All disks that a power cut at a recorded moment can leave, as
    /// [`all_after_power_cut`](Self::all_after_power_cut).
    #[must_use]
    pub fn all_images_at(&self, operations: u64) -> Option<Images> {
        let state = self.lock_state();
        let disk = state.disk_during(operations)?;
        Some(Images::new(state.successor(disk.clone(), 0)))
    }

    /// A new disk, as after `kill -9` when `operations` operations had returned and the next one had not begun; `None`
    /// if that moment was not recorded.
    #[must_use]
    pub fn killed_at(&self, operations: u64) -> Option<Self> {
        let state = self.lock_state();
        let disk = state.disk_after(operations)?;
        Some(Self::with_state(state.successor(disk.clone(), 0)))
    }
}

/// All disks that one power cut can leave: see [`SimStorage::all_after_power_cut`].
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
