//! The log store through openraft's traits, with the thread that writes.

#[path = "../../../tests/support/observed.rs"]
mod observed;
mod support;

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use observed::{Observed, Observer};
use openraft::RaftLogReader;
use openraft::storage::{RaftLogStorage, RaftLogStorageExt, RaftStateMachine};
use pagelog::Config;
use pagelog::sim::{CallKind, Fault, SimStorage, When};
use pagelog_raft::{Command, DurablePoint, Entry, Journal, LogStore, Store, StoreConfig, Vote};
use support::{config, log_id, normal, open_journal};

fn put(index: u64) -> Entry {
    normal(log_id(1, index), Command::Put { key: format!("k{index}"), value: "v".repeat(50) })
}

fn open(disk: &SimStorage) -> LogStore {
    LogStore::new(open_journal(disk, DurablePoint::default()).unwrap()).unwrap()
}

// ------------------------------------------------------------------------------------------- a disk whose
// syncs can be held up

#[derive(Debug, Default)]
struct Gate {
    closed: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn close(&self) {
        *self.closed.lock().unwrap() = true;
    }

    fn open(&self) {
        *self.closed.lock().unwrap() = false;
        self.opened.notify_all();
    }

    /// Not for ever: if it is the executor that waits here, nobody is left to open the gate, and the test
    /// should fail instead.
    fn pass(&self) {
        let closed = self.closed.lock().unwrap();
        let waited = self.opened.wait_timeout_while(closed, Duration::from_secs(5), |closed| *closed);
        drop(waited.unwrap());
    }
}

impl Observer for Gate {
    fn before_sync(&self, _name: &str) {
        self.pass();
    }
}

/// A disk whose syncs wait for the gate, what is below it, and the gate.
fn slow_disk() -> (Observed<SimStorage, Gate>, SimStorage, Arc<Gate>) {
    let disk = SimStorage::new(1);
    let slow = Observed::new(disk.clone(), Gate::default());
    let gate = Arc::clone(&slow.observer);
    (slow, disk, gate)
}

// ------------------------------------------------------------------------------------------- tests

/// On an executor of one thread: were it the one that waits for the disk, nothing would go on here.
#[tokio::test(flavor = "current_thread")]
async fn an_append_is_readable_at_once_and_acknowledged_behind_the_sync() {
    let (slow, disk, gate) = slow_disk();
    let journal = Journal::open(Config::with_storage(Arc::new(slow)), DurablePoint::default()).unwrap();
    let mut log = LogStore::new(journal).unwrap();
    log.blocking_append([put(0)]).await.unwrap();
    let mut reader = log.get_log_reader().await;
    gate.close();
    let syncs = disk.syncs();
    let mut appending = Box::pin(log.blocking_append([put(1)]));
    let early = tokio::time::timeout(Duration::from_millis(200), &mut appending).await;
    assert!(early.is_err(), "acknowledged while the disk had not synced");
    assert_eq!(reader.try_get_log_entries(0..9).await.unwrap(), [put(0), put(1)]);
    assert_eq!(disk.syncs(), syncs);
    gate.open();
    appending.await.unwrap();
    assert!(disk.syncs() > syncs);
    gate.close();
    let early = tokio::time::timeout(Duration::from_millis(200), log.save_vote(&Vote::new(2, 1))).await;
    assert!(early.is_err(), "a vote was acknowledged while the disk had not synced");
    gate.open();
}

#[tokio::test(flavor = "current_thread")]
async fn what_comes_while_the_disk_is_busy_shares_a_sync() {
    let (slow, disk, gate) = slow_disk();
    let journal = Journal::open(Config::with_storage(Arc::new(slow)), DurablePoint::default()).unwrap();
    let mut log = LogStore::new(journal).unwrap();
    log.blocking_append([put(0)]).await.unwrap();
    gate.close();
    let syncs = disk.syncs();
    for index in 1..50 {
        // Given up while it waits: what it asked for is on its way all the same.
        let appending = log.blocking_append([put(index)]);
        assert!(tokio::time::timeout(Duration::from_millis(1), appending).await.is_err());
    }
    gate.open();
    log.blocking_append([put(50)]).await.unwrap();
    let syncs = disk.syncs() - syncs;
    assert!(syncs <= 4, "{syncs} syncs for 50 appends");
    let config = Config::with_storage(Arc::new(disk.after_power_cut(5)));
    let after = Journal::open(config, DurablePoint::default()).unwrap();
    assert_eq!(after.read(&..).unwrap().len(), 51);
}

#[tokio::test]
async fn what_is_acknowledged_is_there_after_a_power_cut_at_that_moment() {
    let disk = SimStorage::new(1);
    let mut log = open(&disk);
    for index in 0..40 {
        log.blocking_append([put(index)]).await.unwrap();
        let mut after = open(&disk.after_power_cut(index));
        assert_eq!(after.get_log_state().await.unwrap().last_log_id, Some(log_id(1, index)));
        let vote = Vote::new(index, 1);
        log.save_vote(&vote).await.unwrap();
        let mut after = open(&disk.after_power_cut(index));
        assert_eq!(after.read_vote().await.unwrap(), Some(vote));
    }
    log.truncate(log_id(1, 30)).await.unwrap();
    let mut after = open(&disk.after_power_cut(99));
    assert_eq!(after.get_log_state().await.unwrap().last_log_id, Some(log_id(1, 29)));
    log.save_committed(Some(log_id(1, 20))).await.unwrap();
    log.blocking_append([put(30)]).await.unwrap();
    let mut after = open(&disk.after_power_cut(100));
    assert_eq!(after.read_committed().await.unwrap(), Some(log_id(1, 20)));
}

#[tokio::test]
async fn a_sync_that_fails_is_heard_of_and_nothing_is_acknowledged_after_it() {
    let disk = SimStorage::new(1);
    let mut log = open(&disk);
    log.blocking_append([put(0)]).await.unwrap();
    disk.fail_at(When::Kind(CallKind::Sync, disk.count(CallKind::Sync) + 1), Fault::SyncDropsPages);
    let error = log.blocking_append([put(1)]).await.unwrap_err();
    assert!(error.to_string().contains("sync"), "{error}");
    assert!(log.blocking_append([put(2)]).await.is_err());
    assert!(log.save_vote(&Vote::new(3, 1)).await.is_err());
    assert!(log.truncate(log_id(1, 1)).await.is_err());
    let mut after = open(&disk.after_power_cut(1));
    assert_eq!(after.try_get_log_entries(0..1).await.unwrap(), [put(0)]);
    assert_eq!(after.read_vote().await.unwrap(), None);
}

#[tokio::test]
async fn entries_that_are_no_longer_in_memory_are_read_from_the_disk() {
    let disk = SimStorage::new(1);
    let mut log =
        LogStore::new(Journal::open(config(&disk).segment_size(64 << 10), DurablePoint::default()).unwrap())
            .unwrap();
    for first in (0..3000).step_by(100) {
        log.blocking_append((first..first + 100).map(put)).await.unwrap();
    }
    assert!(!log.journal().find(&(0..10)).is_in_memory());
    assert!(log.journal().find(&(2900..3000)).is_in_memory());
    let expected: Vec<Entry> = (0..3000).map(put).collect();
    assert_eq!(log.try_get_log_entries(..).await.unwrap(), expected);
    assert_eq!(log.try_get_log_entries(7..=9).await.unwrap(), expected[7..10]);
    assert_eq!(log.limited_get_log_entries(2999, 4000).await.unwrap(), expected[2999..]);
    assert_eq!(log.try_get_log_entries(3000..).await.unwrap(), []);
}

#[tokio::test]
async fn a_hole_is_refused() {
    let mut log = open(&SimStorage::new(1));
    log.blocking_append([put(0), put(1)]).await.unwrap();
    assert!(log.blocking_append([put(3)]).await.is_err());
    assert!(log.blocking_append([put(1)]).await.is_err());
    assert!(log.blocking_append([put(2), put(4)]).await.is_err());
    assert_eq!(log.get_log_state().await.unwrap().last_log_id, Some(log_id(1, 1)));
    log.blocking_append([put(2)]).await.unwrap();
}

#[tokio::test]
async fn files_that_are_closed_and_opened_have_everything() {
    let directory = tempfile::tempdir().unwrap();
    let config = StoreConfig::new(directory.path());
    let vote = Vote::new(5, 2);
    {
        let mut store = Store::open(config.clone()).unwrap();
        store.log.save_vote(&vote).await.unwrap();
        store.log.blocking_append((0..20).map(put)).await.unwrap();
        store.machine.apply((0..10).map(put)).await.unwrap();
        store.log.save_committed(Some(log_id(1, 9))).await.unwrap();
        store.machine.machine().build_snapshot().unwrap();
        store.log.purge(log_id(1, 4)).await.unwrap();
        store.log.close().unwrap();
    }
    let mut store = Store::open(config).unwrap();
    let state = store.log.get_log_state().await.unwrap();
    assert_eq!((state.last_purged_log_id, state.last_log_id), (Some(log_id(1, 4)), Some(log_id(1, 19))));
    assert_eq!(store.log.read_vote().await.unwrap(), Some(vote));
    assert_eq!(store.log.read_committed().await.unwrap(), Some(log_id(1, 9)));
    assert_eq!(store.machine.applied_state().await.unwrap().0, Some(log_id(1, 9)));
    assert_eq!(store.machine.machine().contents().unwrap().0.len(), 10);
    let snapshot = store.machine.get_current_snapshot().await.unwrap().unwrap();
    assert_eq!(snapshot.meta.last_log_id, Some(log_id(1, 9)));
}
