//! A node: a store, Raft on it, and a port at which both can be asked.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use openraft::error::{CheckIsLeaderError, ClientWriteError, RaftError};
use openraft::{BasicNode, Config, Raft, SnapshotPolicy};
use tokio::net::{TcpListener, TcpStream};

use crate::failure::Failure;
use crate::journal::Journal;
use crate::machine::Machine;
use crate::network::{Answer, Call, Network, Refusal, Status, receive, send};
use crate::store::{LARGEST_COMMAND, Store, StoreConfig};
use crate::types::{Command, Types};

/// What a node needs to know.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its number in the cluster; the same for ever.
    pub id: u64,
    /// Its directory.
    pub directory: PathBuf,
    /// Where it listens; port 0 takes a free one.
    pub listen: String,
    /// After how many entries it makes a snapshot, and gives up the front of its log.
    pub snapshot_every: u64,
}

/// Why a node ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum NodeError {
    /// Its store can't be opened.
    Store(PathBuf, Failure),
    /// It can't listen.
    Listen(String, io::Error),
    /// Raft did not start, or has stopped, because its store failed.
    Raft(String),
}

impl fmt::Display for NodeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(directory, failure) => write!(formatter, "store {}: {failure}", directory.display()),
            Self::Listen(address, error) => write!(formatter, "can't listen at {address}: {error}"),
            Self::Raft(reason) => write!(formatter, "raft: {reason}"),
        }
    }
}

impl std::error::Error for NodeError {}

/// A node that runs.
#[derive(Clone)]
pub struct Node {
    id: u64,
    address: String,
    raft: Raft<Types>,
    machine: Arc<Machine>,
    journal: Arc<Journal>,
}

impl fmt::Debug for Node {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Node")
            .field("id", &self.id)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// Generous times: three nodes on a busy machine should not elect a leader for every hiccup.
fn raft_config(options: &Options) -> Result<Arc<Config>, NodeError> {
    let config = Config {
        cluster_name: "pagelog-raft".into(),
        heartbeat_interval: 250,
        election_timeout_min: 1000,
        election_timeout_max: 2000,
        install_snapshot_timeout: 10_000,
        snapshot_max_chunk_size: 1 << 20,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(options.snapshot_every),
        replication_lag_threshold: options.snapshot_every * 2,
        max_in_snapshot_log_to_keep: options.snapshot_every / 4,
        ..Config::default()
    };
    config.validate().map(Arc::new).map_err(|error| NodeError::Raft(error.to_string()))
}

impl Node {
    /// Opens the store, starts Raft, and answers calls from then on.
    ///
    /// # Errors
    /// See [`NodeError`].
    pub async fn start(options: Options) -> Result<Self, NodeError> {
        let config = raft_config(&options)?;
        let directory = options.directory.clone();
        let opening = tokio::task::spawn_blocking(move || Store::open(StoreConfig::new(&directory))).await;
        let store = opening.unwrap_or(Err(Failure::Stopped));
        let store = store.map_err(|failure| NodeError::Store(options.directory.clone(), failure))?;
        let listening = TcpListener::bind(&options.listen).await;
        let listener = listening.map_err(|error| NodeError::Listen(options.listen.clone(), error))?;
        let address = listener.local_addr().map_or(options.listen, |address| address.to_string());
        let (machine, journal) = (store.machine.machine().clone(), store.log.journal().clone());
        let network = Network { own_id: options.id };
        let raft = Raft::new(options.id, config, network, store.log, store.machine).await;
        let raft = raft.map_err(|error| NodeError::Raft(error.to_string()))?;
        let node = Self { id: options.id, address, raft, machine, journal };
        tokio::spawn(node.clone().accept(listener));
        Ok(node)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Returns when Raft has stopped, which it does when its store fails.
    pub async fn stopped(&self) -> NodeError {
        let mut metrics = self.raft.metrics();
        let ended = metrics.wait_for(|metrics| metrics.running_state.is_err()).await;
        match ended.map(|metrics| metrics.running_state.clone()) {
            Ok(Err(fatal)) => NodeError::Raft(fatal.to_string()),
            _ => NodeError::Raft("stopped".into()),
        }
    }

    /// Stops Raft.
    pub async fn shutdown(&self) {
        if let Err(error) = self.raft.shutdown().await {
            eprintln!("node {}: {error}", self.id);
        }
    }

    async fn accept(self, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(self.clone().serve(stream))),
                // No descriptor left, say; others will be closed.
                Err(error) => {
                    eprintln!("node {}: accepting: {error}", self.id);
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn serve(self, mut stream: TcpStream) {
        if let Err(error) = self.serve_calls(&mut stream).await
            && !matches!(
                error.kind(),
                io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe
            )
        {
            eprintln!("node {}: a connection ended: {error}", self.id);
        }
    }

    async fn serve_calls(&self, stream: &mut TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        while let Some(call) = receive(stream).await? {
            let answer = self.answer(call).await;
            send(stream, &answer).await?;
        }
        Ok(())
    }

    async fn answer(&self, call: Call) -> Answer {
        match call {
            Call::Append(request) => Answer::Append(self.raft.append_entries(request).await),
            Call::Vote(request) => Answer::Vote(self.raft.vote(request).await),
            Call::Snapshot(request) => Answer::Snapshot(self.raft.install_snapshot(request).await),
            Call::Initialize(members) => {
                let members: std::collections::BTreeMap<u64, BasicNode> =
                    members.into_iter().map(|(id, address)| (id, BasicNode::new(address))).collect();
                match self.raft.initialize(members).await {
                    Ok(()) => Answer::Initialized,
                    Err(error) => failed(error),
                }
            }
            Call::Write(command) => self.write(command).await,
            Call::Read(key) => self.read(key).await,
            Call::Status => Answer::Status(self.status()),
            Call::Contents => self.blocking(|machine| Ok(Answer::Contents(machine.contents()?.0))).await,
        }
    }

    async fn write(&self, command: Command) -> Answer {
        if command.size() > LARGEST_COMMAND {
            return failed(format!(
                "key and value have {} bytes; {LARGEST_COMMAND} is the most",
                command.size()
            ));
        }
        match self.raft.client_write(command).await {
            Ok(written) => Answer::Written(written.data),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(to))) => not_leader(to.leader_node),
            Err(error) => failed(error),
        }
    }

    async fn read(&self, key: String) -> Answer {
        match self.raft.ensure_linearizable().await {
            Ok(_) => self.blocking(move |machine| Ok(Answer::Value(machine.get(&key)?))).await,
            Err(RaftError::APIError(CheckIsLeaderError::ForwardToLeader(to))) => not_leader(to.leader_node),
            Err(error) => failed(error),
        }
    }

    async fn blocking(
        &self,
        work: impl FnOnce(&Machine) -> crate::Result<Answer> + Send + 'static,
    ) -> Answer {
        let machine = self.machine.clone();
        let outcome = tokio::task::spawn_blocking(move || work(&machine)).await;
        outcome.unwrap_or(Err(Failure::Stopped)).unwrap_or_else(failed)
    }

    fn status(&self) -> Status {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        Status {
            id: self.id,
            leader: metrics.current_leader,
            term: metrics.current_term,
            last: self.journal.last(),
            applied: metrics.last_applied,
            snapshot: metrics.snapshot,
            snapshots_received: self.machine.snapshots_received(),
            purged: self.journal.marks().purged,
            log_bytes: self.journal.size_on_disk(),
        }
    }
}

fn failed(reason: impl fmt::Display) -> Answer {
    Answer::Refused(Refusal::Failed(reason.to_string()))
}

fn not_leader(leader: Option<BasicNode>) -> Answer {
    Answer::Refused(Refusal::NotLeader(leader.map(|node| node.addr)))
}
