//! What can go wrong.

use std::fmt;

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Clone, Debug)]
pub enum Error {
    /// The page cache failed.
    Store(pagelog::Error),
    /// A key is longer than 65 535 bytes.
    KeyTooLong(usize),
    /// The tree was dropped.
    Dropped,
    /// The pages are not what this tree would have written.
    Damaged(String),
}

impl From<pagelog::Error> for Error {
    fn from(error: pagelog::Error) -> Self {
        Self::Store(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(formatter),
            Self::KeyTooLong(length) => {
                write!(formatter, "a key of {length} bytes is above the maximum of 65535")
            }
            Self::Dropped => formatter.write_str("the tree was dropped"),
            Self::Damaged(what) => write!(formatter, "the tree is damaged: {what}"),
        }
    }
}

impl std::error::Error for Error {}
