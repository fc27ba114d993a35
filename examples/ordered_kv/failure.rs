//! What can end a run, and with which exit code.

use std::fmt;
use std::io;

use crate::tree;

pub type Result<T> = std::result::Result<T, Failure>;

#[derive(Debug)]
pub enum Failure {
    /// The command line asks for something that does not exist. Exit code 2.
    Usage(String),
    /// The store failed. Exit code 3.
    Store(tree::Error),
    /// The operating system refused something outside of the store. Exit code 3.
    Io { what: String, source: io::Error },
    /// A check has failed, or there is no such thing. Exit code 1.
    Verdict(String),
}

impl Failure {
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Verdict(_) => 1,
            Self::Usage(_) => 2,
            Self::Store(_) | Self::Io { .. } => 3,
        }
    }

    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what: what.into(), source }
    }
}

impl From<tree::Error> for Failure {
    fn from(error: tree::Error) -> Self {
        Self::Store(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(problem) => write!(formatter, "{problem}; --help shows what there is"),
            Self::Store(error) => error.fmt(formatter),
            Self::Io { what, source } => write!(formatter, "cannot {what}: {source}"),
            Self::Verdict(problem) => formatter.write_str(problem),
        }
    }
}
