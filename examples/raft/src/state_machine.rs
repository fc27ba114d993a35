//! The [`Machine`] as openraft wants it: each call in the executor's pool for blocking ones.

use std::io::Cursor;
use std::sync::Arc;

use openraft::storage::RaftStateMachine;
use openraft::{
    BasicNode, OptionalSend, RaftSnapshotBuilder, Snapshot, SnapshotMeta, StorageError, StorageIOError,
    StoredMembership,
};

use crate::failure::{Failure, Result};
use crate::machine::Machine;
use crate::types::{Entry, LogId, Outcome, Types};

type Stored<T> = Result<T, StorageError<u64>>;

/// openraft's state machine.
#[derive(Clone, Debug)]
pub struct StateMachine {
    machine: Arc<Machine>,
}

impl StateMachine {
    /// For a machine that others may read.
    #[must_use]
    pub fn new(machine: Arc<Machine>) -> Self {
        Self { machine }
    }

    /// The machine below.
    #[must_use]
    pub fn machine(&self) -> &Arc<Machine> {
        &self.machine
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Machine) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let machine = self.machine.clone();
        let outcome = tokio::task::spawn_blocking(move || work(&machine)).await;
        outcome.unwrap_or(Err(Failure::Stopped))
    }
}

/// Builds snapshots while entries are applied.
#[derive(Clone, Debug)]
pub struct SnapshotBuilder(StateMachine);

impl RaftSnapshotBuilder<Types> for SnapshotBuilder {
    async fn build_snapshot(&mut self) -> Stored<Snapshot<Types>> {
        let built = self.0.blocking(Machine::build_snapshot).await;
        let (meta, data) = built.map_err(|failure| StorageIOError::write_snapshot(None, &failure))?;
        Ok(Snapshot { meta, snapshot: Box::new(Cursor::new(data)) })
    }
}

impl RaftStateMachine<Types> for StateMachine {
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Stored<(Option<LogId>, StoredMembership<u64, BasicNode>)> {
        let applied = self.blocking(Machine::applied).await;
        let applied = applied.map_err(|failure| StorageIOError::read_state_machine(&failure))?;
        Ok((applied.last, applied.membership))
    }

    async fn apply<I>(&mut self, entries: I) -> Stored<Vec<Outcome>>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        let applied = self.blocking(move |machine| machine.apply(&entries)).await;
        Ok(applied.map_err(|failure| StorageIOError::write_state_machine(&failure))?)
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        SnapshotBuilder(self.clone())
    }

    async fn begin_receiving_snapshot(&mut self) -> Stored<Box<Cursor<Vec<u8>>>> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta<u64, BasicNode>,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Stored<()> {
        let (own, data) = (meta.clone(), snapshot.into_inner());
        let installed = self.blocking(move |machine| machine.install_snapshot(&own, data)).await;
        Ok(installed.map_err(|failure| StorageIOError::write_snapshot(Some(meta.signature()), &failure))?)
    }

    async fn get_current_snapshot(&mut self) -> Stored<Option<Snapshot<Types>>> {
        let kept = self.blocking(Machine::snapshot).await;
        let kept = kept.map_err(|failure| StorageIOError::read_snapshot(None, &failure))?;
        Ok(kept.map(|(meta, data)| Snapshot { meta, snapshot: Box::new(Cursor::new(data)) }))
    }
}
