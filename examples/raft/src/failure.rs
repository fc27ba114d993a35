//! The one error type.

use std::fmt;
use std::io;
use std::sync::Arc;

/// A result with a [`Failure`].
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// What went wrong.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Failure {
    /// The store below said so.
    Store(pagelog::Error),
    /// Bytes of a store are not what this program writes.
    Damaged(String),
    /// Something has no encoded form.
    Encode(String),
    /// An append that would leave a hole in the Raft log, or write an index twice.
    OutOfOrder {
        /// The index that would have to come.
        expected: u64,
        /// The one that came.
        found: u64,
    },
    /// The system has no thread for the log.
    NoThread(Arc<io::Error>),
    /// The thread that writes the log is gone.
    Stopped,
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(formatter),
            Self::Damaged(what) => write!(formatter, "damaged: {what}"),
            Self::Encode(reason) => write!(formatter, "can't be encoded: {reason}"),
            Self::OutOfOrder { expected, found } => {
                write!(formatter, "entry {found} was to be appended where entry {expected} belongs")
            }
            Self::NoThread(error) => write!(formatter, "no thread for the log: {error}"),
            Self::Stopped => formatter.write_str("the log is closed"),
        }
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Store(error) => Some(error),
            Self::NoThread(error) => Some(error.as_ref()),
            _ => None,
        }
    }
}

impl From<pagelog::Error> for Failure {
    fn from(error: pagelog::Error) -> Self {
        Self::Store(error)
    }
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        Self::other(failure)
    }
}
