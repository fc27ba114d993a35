//! Raft on pagelog: what turns a store for one machine into a replicated one.
//!
//! | file | what |
//! |---|---|
//! | `types` | what is replicated: commands, and what comes of them |
//! | `map` | a key-value map on pages; knows nothing of Raft |
//! | `machine` | the map as a state machine: commands, how far they are applied, snapshots |
//! | `journal` | the Raft log, the vote and the other marks on a [`pagelog::Log`] |
//! | `log_store` | the journal as openraft wants it, with a thread that writes |
//! | `state_machine` | the machine as openraft wants it |
//! | `store` | both of them in one directory |
//! | `network`, `node`, `client` | frames over TCP, a node, who asks one |
//! | `codec`, `failure` | bytes, and errors |

pub mod client;
mod codec;
mod failure;
mod journal;
mod log_store;
mod machine;
mod map;
mod network;
pub mod node;
mod state_machine;
mod store;
mod types;

pub use failure::{Failure, Result};
pub use journal::{Journal, Marks, Work};
pub use log_store::{LogReader, LogStore};
pub use machine::{Applied, DurablePoint, Machine};
pub use map::{Map, Transaction};
pub use network::{Answer, Call, Refusal, Status};
pub use state_machine::{SnapshotBuilder, StateMachine};
pub use store::{Store, StoreConfig};
pub use types::{Command, Entry, LogId, Outcome, Types, Vote};
