//! The simulated disk.

/// A simulated disk for power-cut tests.
#[derive(Debug)]
pub struct SimStorage;
