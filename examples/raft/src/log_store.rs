//! The [`Journal`] as openraft wants it.
//!
//! openraft runs on an async executor, whose threads must not wait for a disk. So one thread writes: it takes
//! all that has been asked for since it last looked, commits it with one sync, and tells those who asked.
//! `append` returns at once, with the entries readable; its callback is called behind the sync. What openraft
//! waits for (a vote, a truncation, a purge) goes the same way, so all writes are in one order. Entries that
//! are no longer in memory are read by the executor's pool for blocking calls.

use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{LogState, OptionalSend, RaftLogReader, StorageError, StorageIOError};
use tokio::sync::oneshot;

use crate::failure::{Failure, Result};
use crate::journal::{Journal, Work};
use crate::types::{Entry, LogId, Types, Vote};

type Stored<T> = Result<T, StorageError<u64>>;

/// No more than so many are committed at once, so that the first one does not wait for ever.
const GROUP: usize = 1024;

struct Job {
    work: Work,
    done: Box<dyn FnOnce(Result<()>) + Send>,
}

/// openraft's log storage. Closed by [`close`](Self::close), or when it is dropped, soon after.
#[derive(Debug)]
pub struct LogStore {
    journal: Arc<Journal>,
    jobs: Sender<Job>,
    writer: thread::JoinHandle<Result<()>>,
}

impl LogStore {
    /// Starts the thread that writes.
    ///
    /// # Errors
    /// [`Failure::NoThread`].
    pub fn new(journal: Journal) -> Result<Self> {
        let journal = Arc::new(journal);
        let (jobs, queue) = channel();
        let own = journal.clone();
        let writer = thread::Builder::new().name("raft-log".into()).spawn(move || write_all(&own, &queue));
        let writer = writer.map_err(|error| Failure::NoThread(Arc::new(error)))?;
        Ok(Self { journal, jobs, writer })
    }

    /// The journal below.
    #[must_use]
    pub fn journal(&self) -> &Arc<Journal> {
        &self.journal
    }

    /// Waits until all that was asked for is durable, and closes the log. Blocks.
    ///
    /// # Errors
    /// What stopped writing.
    pub fn close(self) -> Result<()> {
        drop(self.jobs);
        self.writer.join().unwrap_or(Err(Failure::Stopped))
    }

    fn submit(&self, work: Work, done: impl FnOnce(Result<()>) + Send + 'static) {
        if let Err(refused) = self.jobs.send(Job { work, done: Box::new(done) }) {
            (refused.0.done)(Err(Failure::Stopped));
        }
    }

    async fn commit(&self, work: Work) -> Result<()> {
        let (sender, receiver) = oneshot::channel();
        self.submit(work, |outcome| _ = sender.send(outcome));
        receiver.await.unwrap_or(Err(Failure::Stopped))
    }
}

/// The thread that writes. It ends, and closes the log, when nobody can ask any more.
fn write_all(journal: &Journal, queue: &Receiver<Job>) -> Result<()> {
    while let Ok(first) = queue.recv() {
        let jobs = std::iter::once(first).chain(queue.try_iter()).take(GROUP);
        let (group, waiting): (Vec<_>, Vec<_>) = jobs.map(|job| (job.work, job.done)).unzip();
        let outcome = journal.commit(&group);
        for done in waiting {
            done(outcome.clone());
        }
    }
    journal.close()
}

/// Reads the log while others write it.
#[derive(Clone, Debug)]
pub struct LogReader {
    journal: Arc<Journal>,
}

impl RaftLogReader<Types> for LogReader {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Stored<Vec<Entry>> {
        let found = self.journal.find(&range);
        let entries = if found.is_in_memory() {
            self.journal.load(found)
        } else {
            let journal = self.journal.clone();
            let reading = tokio::task::spawn_blocking(move || journal.load(found));
            reading.await.map_err(|error| StorageIOError::read_logs(&error))?
        };
        Ok(entries.map_err(|failure| StorageIOError::read_logs(&failure))?)
    }
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Stored<Vec<Entry>> {
        self.get_log_reader().await.try_get_log_entries(range).await
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = LogReader;

    async fn get_log_state(&mut self) -> Stored<LogState<Types>> {
        let (last_purged_log_id, last_log_id) = (self.journal.marks().purged, self.journal.last());
        Ok(LogState { last_purged_log_id, last_log_id })
    }

    async fn get_log_reader(&mut self) -> LogReader {
        LogReader { journal: self.journal.clone() }
    }

    async fn save_vote(&mut self, vote: &Vote) -> Stored<()> {
        let saved = self.commit(self.journal.vote(*vote)).await;
        Ok(saved.map_err(|failure| StorageIOError::write_vote(&failure))?)
    }

    async fn read_vote(&mut self) -> Stored<Option<Vote>> {
        Ok(self.journal.marks().vote)
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Stored<()> {
        // Nobody waits for it; a failure will be heard of by the next one who does.
        self.submit(self.journal.committed(committed), drop);
        Ok(())
    }

    async fn read_committed(&mut self) -> Stored<Option<LogId>> {
        Ok(self.journal.marks().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Types>) -> Stored<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let work = self.journal.append(entries).map_err(|failure| StorageIOError::write_logs(&failure))?;
        self.submit(work, |outcome| callback.log_io_completed(outcome.map_err(io::Error::from)));
        Ok(())
    }

    async fn truncate(&mut self, since: LogId) -> Stored<()> {
        let truncated = self.commit(self.journal.truncate_from(since.index)).await;
        Ok(truncated.map_err(|failure| StorageIOError::write_logs(&failure))?)
    }

    async fn purge(&mut self, upto: LogId) -> Stored<()> {
        let purged = self.commit(self.journal.purge(upto)).await;
        Ok(purged.map_err(|failure| StorageIOError::write_logs(&failure))?)
    }
}
