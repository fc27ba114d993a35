//! What can end a run, and with which exit code.

use std::fmt;
use std::io;

use pagelog::Error;

pub type Result<T> = std::result::Result<T, Failure>;

/// Something is damaged.
pub const DAMAGED: u8 = 1;
/// The command line asks for something that does not exist.
const USAGE: u8 = 2;
/// The directory holds no store, or it can't be opened or read, or is in use.
const NO_ACCESS: u8 = 3;

#[derive(Debug)]
pub enum Failure {
    Usage(String),
    Store(Error),
    /// The operating system refused something outside of the store.
    Io {
        what: String,
        source: io::Error,
    },
}

impl Failure {
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => USAGE,
            Self::Store(error) => exit_code_of(error),
            Self::Io { .. } => NO_ACCESS,
        }
    }

    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what: what.into(), source }
    }
}

pub fn exit_code_of(error: &Error) -> u8 {
    if matches!(error, Error::Corruption(_)) { DAMAGED } else { NO_ACCESS }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(problem) => write!(formatter, "{problem}; --help shows what there is"),
            Self::Store(error) => error.fmt(formatter),
            Self::Io { what, source } => write!(formatter, "cannot {what}: {source}"),
        }
    }
}
