//! What is to go wrong on a simulated disk: calls that fail, a disk that is full, rot, and power cuts that
//! are worse than others.

use std::io;

use super::{Fault, SimStorage, When};

impl SimStorage {
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

    /// Limits the disk to `bytes`, or sets it free again. A write that needs more blocks than are left is
    /// done in part and fails with [`ErrorKind::StorageFull`](io::ErrorKind::StorageFull); overwriting needs
    /// none.
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

    /// Makes power cuts worse: a block of `bytes` that was being written may turn into garbage as a whole,
    /// with all that was durable in it. `None`, the default: a cut never damages a byte outside of the writes
    /// under way.
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

    /// Flips a bit of a file at rest, for readers and on the platter. `bit` counts from 0, the lowest; only
    /// its lowest three bits count.
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
}
