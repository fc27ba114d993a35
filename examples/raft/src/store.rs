//! All that a node keeps on disk: two stores of pagelog, side by side in one directory.
//!
//! Two, because they live differently: the log is written in order, synced all the time and given up from the
//! front; the machine is written in place, so to speak, and hardly synced. The only thing that has to be
//! right between them is the [`DurablePoint`](crate::DurablePoint).

use std::path::Path;
use std::sync::Arc;

use pagelog::Config;

use crate::failure::Result;
use crate::journal::Journal;
use crate::log_store::LogStore;
use crate::machine::Machine;
use crate::state_machine::StateMachine;

/// The longest key and value that are taken, together. A bare log has no large values: a record must fit in a
/// segment, of 1 MiB. An entry that does not would stop every node that it is sent to, so it is refused
/// before Raft hears of it.
pub const LARGEST_COMMAND: usize = 256 << 10;

/// How to open the two stores of a node.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// Of the log.
    pub log: Config,
    /// Of the state machine.
    pub machine: Config,
}

impl StoreConfig {
    /// In `directory`, in folders of their own.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        Self { log: Config::new(directory.join("log")), machine: Config::new(directory.join("machine")) }
    }
}

/// The log and the state machine of a node.
#[derive(Debug)]
pub struct Store {
    /// For openraft.
    pub log: LogStore,
    /// For openraft, and for those who read.
    pub machine: StateMachine,
}

impl Store {
    /// Opens both, or makes them.
    ///
    /// # Errors
    /// As [`Machine::open`], [`Journal::open`] and [`LogStore::new`].
    pub fn open(config: StoreConfig) -> Result<Self> {
        let machine = Machine::open(config.machine)?;
        let journal = Journal::open(config.log, machine.durable())?;
        let log = LogStore::new(journal)?;
        Ok(Self { log, machine: StateMachine::new(Arc::new(machine)) })
    }
}
