//! A simulated disk: power cuts, errors and rot on demand, decided by one seed.
//!
//! The problem: what a database does after a power cut can't be tested on a real disk, because the
//! interesting moments last microseconds and the interesting losses are rare. Here every write, sync and
//! rename is an *operation* with a number; the power can go at each of them; and what was not synced then is
//! kept, lost, torn or reordered, sector by sector, as a seed decides. The same seed gives the same disk,
//! always.
//!
//! - [`disk`] holds what the process sees and what the platter holds, and the changes between the two.
//! - [`cut`] decides which of those changes a power cut leaves.
//! - [`choices`] is where decisions come from.
//! - [`calls`] counts and logs calls and makes them fail.
//! - [`state`] is one running disk: a `disk`, its calls, its power, its history.
//! - [`handle`] implements [`Storage`](crate::Storage) on it.
//!
//! What a test asks of [`SimStorage`] beside that: [`counting`] what was done and what is there, [`faults`]
//! that it is to meet, and [`images`], the disks that a power cut leaves.
//!
//! Why many images per second are possible: disks are copied by reference counts, so
//! [`SimStorage::record_history`] keeps the disk as it was after every operation, and one run of a workload
//! gives images at each of its moments.

mod calls;
mod choices;
mod counting;
mod cut;
mod disk;
mod faults;
mod handle;
mod images;
mod state;
#[cfg(all(test, not(loom)))]
mod tests;

use std::sync::Arc;

use crate::storage::locks::LockTable;
use crate::sync::{Mutex, MutexGuard};

pub use calls::{Call, CallKind, Fault, When};
use disk::Disk;
pub use images::Images;
use state::State;

/// A simulated disk for tests: a [`Storage`](crate::Storage) whose power can be cut. Clones share the disk.
///
/// What it simulates:
///
/// - A write is seen by readers at once and is durable after [`StorageFile::sync`](crate::StorageFile::sync),
///   as is the file's length. Its *name* is durable after
///   [`Storage::sync_directory`](crate::Storage::sync_directory).
/// - A **power cut** decides each change that is not durable by itself: a 512-byte sector is old or new; the
///   sectors of one write are torn apart and writes are reordered, but those to one sector happen in their
///   order; creations, renames and removals happen or not, each as a whole.
/// - A **killed process** loses nothing that the system has accepted, nor makes any of it durable.
/// - **Faults**: see [`Fault`]. A full disk: see [`set_capacity`](Self::set_capacity). Rot: see
///   [`flip_bit`](Self::flip_bit).
///
/// It is deterministic as long as its callers are: use it from one thread, or accept any order.
///
/// Ways to use it:
///
/// - One run, many images: [`record_history`](Self::record_history), then [`image_at`](Self::image_at). This
///   is by far the fastest: an image of a small disk takes about a microsecond.
/// - All images of a short run: [`all_images_at`](Self::all_images_at).
/// - A cut during recovery: an image is a disk like any other, so record the history of the recovery on it.
/// - A database that must cope with failing calls: [`fail_at`](Self::fail_at) at each call number of a run,
///   in turn.
/// - What a call costs: [`log_calls`](Self::log_calls) and [`syncs`](Self::syncs).
///
/// # Example: power-cut-test your own database
///
/// Run a workload once and record it. Then, for every moment of the run and some seeds, look at the disk that
/// a power cut at that moment leaves, let your database recover from it, and check what you promise.
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
    /// A new, empty disk without limits. Its one directory exists from the start. The seed decides how much
    /// of a write that fails half-way is done.
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
}
