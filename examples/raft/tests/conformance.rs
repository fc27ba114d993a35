//! openraft's own conformance suite, on files.

use openraft::StorageError;
use openraft::testing::{StoreBuilder, Suite};
use pagelog_raft::{LogStore, StateMachine, Store, StoreConfig, Types};
use tempfile::TempDir;

struct Builder;

impl StoreBuilder<Types, LogStore, StateMachine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, StateMachine), StorageError<u64>> {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(StoreConfig::new(directory.path())).unwrap();
        Ok((directory, store.log, store.machine))
    }
}

#[test]
fn the_store_passes_the_suite_of_openraft() {
    Suite::test_all(Builder).unwrap();
}
