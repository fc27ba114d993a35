//! What is replicated.

use std::fmt;
use std::io::Cursor;

use serde::{Deserialize, Serialize};

/// A change to the map. What it does depends on nothing but the map, so it does the same on every node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Gives a key a value.
    Put {
        /// The key.
        key: String,
        /// Its new value.
        value: String,
    },
    /// Takes a key away.
    Delete {
        /// The key.
        key: String,
    },
    /// Adds to a number; a value that is none counts as 0. Unlike the others, this must not happen twice.
    Add {
        /// The key.
        key: String,
        /// How much.
        by: i64,
    },
}

impl Command {
    /// The bytes of key and value.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Self::Put { key, value } => key.len() + value.len(),
            Self::Delete { key } | Self::Add { key, .. } => key.len(),
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put { key, value } => write!(formatter, "put {key} {value}"),
            Self::Delete { key } => write!(formatter, "delete {key}"),
            Self::Add { key, by } => write!(formatter, "add {key} {by}"),
        }
    }
}

/// What came of a command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// What the key's value was before.
    pub previous: Option<String>,
}

openraft::declare_raft_types!(
    /// The types that openraft is used with here.
    pub Types:
        D = Command,
        R = Outcome,
        NodeId = u64,
        Node = openraft::BasicNode,
        Entry = openraft::Entry<Types>,
        SnapshotData = Cursor<Vec<u8>>,
        AsyncRuntime = openraft::TokioRuntime,
);

/// An entry of the Raft log.
pub type Entry = openraft::Entry<Types>;
/// A place in the Raft log: the term and its leader, and an index.
pub type LogId = openraft::LogId<u64>;
/// The term that a node is in, and whom it voted for.
pub type Vote = openraft::Vote<u64>;
