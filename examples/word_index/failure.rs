//! What can end a run, and with which exit code.

use std::fmt;
use std::io;

pub type Result<T> = std::result::Result<T, Failure>;

#[derive(Debug)]
pub enum Failure {
    /// The command line asks for something that does not exist. Exit code 2.
    Usage(String),
    /// The store failed. Exit code 1, or 2 if it was asked for with impossible settings.
    Store(pagelog::Error),
    /// The operating system refused something outside of the store. Exit code 1.
    Io { what: String, source: io::Error },
    /// The store holds something else than this program would have written. Exit code 1.
    Strange(String),
    /// The index is wrong, or the run did not show what it should have. Exit code 1.
    Verdict(String),
}

impl Failure {
    pub fn io(verb: &str, object: impl fmt::Display, source: io::Error) -> Self {
        Self::Io { what: format!("cannot {verb} {object}"), source }
    }

    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Store(pagelog::Error::InvalidConfig { .. }) => 2,
            _ => 1,
        }
    }
}

impl From<pagelog::Error> for Failure {
    fn from(error: pagelog::Error) -> Self {
        Self::Store(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(problem) => write!(formatter, "{problem}; --help shows what there is"),
            Self::Store(error @ pagelog::Error::ValueTooLarge { .. }) => {
                write!(formatter, "{error}; a new store with a larger --segment takes it")
            }
            Self::Store(error) => error.fmt(formatter),
            Self::Io { what, source } => write!(formatter, "{what}: {source}"),
            Self::Strange(problem) | Self::Verdict(problem) => formatter.write_str(problem),
        }
    }
}
