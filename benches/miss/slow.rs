//! Files on a disk that takes its time: each read of the log sleeps first.

use std::io;
use std::path::Path;
use std::time::Duration;

use pagelog::FileStorage;

use crate::observed::{Observed, Observer};

/// How long each read sleeps.
#[derive(Debug)]
pub struct Delay(Duration);

impl Observer for Delay {
    fn before_read(&self, _: usize, _: u64) -> io::Result<()> {
        std::thread::sleep(self.0);
        Ok(())
    }
}

pub fn slow_storage(directory: &Path, delay: Duration) -> Observed<FileStorage, Delay> {
    Observed::new(FileStorage::new(directory), Delay(delay))
}
