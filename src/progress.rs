//! How far a long piece of work has come.

/// How far a long piece of work has come: what its callback is told. In bytes, if nothing else is said there.
///
/// The first report has `done` at 0 and the last one has it at `total`. What is written meanwhile by others is not in
/// `total`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// What is behind.
    pub done: u64,
    /// What was to be done when the work began.
    pub total: u64,
}

impl Progress {
    /// The part that is done, 0.0 to 1.0.
    #[must_use]
    pub fn fraction(&self) -> f64 {
        if self.total == 0 { 1.0 } else { self.done as f64 / self.total as f64 }
    }
}
