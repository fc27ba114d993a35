//! Cutting the power of a simulated disk, and the disks that are left then: now, or at a moment of its
//! history.

use std::ops::RangeInclusive;

use super::SimStorage;
use super::choices::{Choices, Odometer};
use super::state::State;

impl SimStorage {
    /// Cuts the power during operation number `operation`: it fails, having happened or not, and so do all
    /// calls after it, also reads. Then look at [`after_power_cut`](Self::after_power_cut).
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

    /// A new disk, as a power cut now (or the one that happened) leaves it: what was durable, and of what was
    /// not, the part that the seed decides. This disk goes on unchanged.
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

    /// A new disk, as after `kill -9`: all that the system accepted is there, and what was not durable still
    /// isn't.
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

    /// A new disk in the very state of this one, with its counts and its planned faults, for trying several
    /// ways on. Nobody holds a lock on it, and it has no history.
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

    /// Keeps the disk's state after every operation from now on, for [`image_at`](Self::image_at). An
    /// operation adds a few hundred bytes and a copy of each 4 KiB block that it changes. A history that
    /// exists is forgotten.
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

    /// A new disk, as a power cut left it when `operations` operations had returned and the next one was
    /// under way. Like [`after_power_cut`](Self::after_power_cut), but at a recorded moment; `None` if it was
    /// not recorded.
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

    /// A new disk, as after `kill -9` when `operations` operations had returned and the next one had not
    /// begun; `None` if that moment was not recorded.
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
