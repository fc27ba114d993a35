//! Nodes talk in frames over TCP: four bytes of length, little-endian, then a [`Call`] or an [`Answer`] in
//! bincode. A connection carries one call at a time. There is no authentication, so this is for loopback.

use std::collections::BTreeMap;
use std::io;

use openraft::error::{
    InstallSnapshotError, NetworkError, RPCError, RaftError, RemoteError, Timeout, Unreachable,
};
use openraft::network::{RPCOption, RPCTypes, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use openraft::{AnyError, BasicNode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::codec::{decode, encode};
use crate::types::{Command, LogId, Outcome, Types};

/// Longer frames are refused: a stranger's first four bytes must not make us allocate gigabytes.
const LONGEST_FRAME: u32 = 64 << 20;

/// What a node can be asked: by other nodes, and by clients.
#[derive(Debug, Serialize, Deserialize)]
pub enum Call {
    /// Replication.
    Append(AppendEntriesRequest<Types>),
    /// An election.
    Vote(VoteRequest<u64>),
    /// A piece of a snapshot.
    Snapshot(InstallSnapshotRequest<Types>),
    /// Makes a cluster of these nodes, by their addresses. Once, of fresh nodes.
    Initialize(BTreeMap<u64, String>),
    /// A command, for the leader.
    Write(Command),
    /// The value of a key, with all that was acknowledged before, for the leader.
    Read(String),
    /// How the node is.
    Status,
    /// All of the map that this node has.
    Contents,
}

/// What is answered.
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    /// To [`Call::Append`].
    Append(Result<AppendEntriesResponse<u64>, RaftError<u64>>),
    /// To [`Call::Vote`].
    Vote(Result<VoteResponse<u64>, RaftError<u64>>),
    /// To [`Call::Snapshot`].
    Snapshot(Result<InstallSnapshotResponse<u64>, RaftError<u64, InstallSnapshotError>>),
    /// To [`Call::Initialize`].
    Initialized,
    /// To [`Call::Write`]: it is durable on a majority, and applied here.
    Written(Outcome),
    /// To [`Call::Read`].
    Value(Option<String>),
    /// To [`Call::Status`].
    Status(Status),
    /// To [`Call::Contents`].
    Contents(BTreeMap<String, String>),
    /// No.
    Refused(Refusal),
}

/// Why a client got nothing.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Refusal {
    /// Ask the leader, if it is known: its address.
    NotLeader(Option<String>),
    /// Something else.
    Failed(String),
}

/// How a node is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// Its number.
    pub id: u64,
    /// The leader, as far as it knows.
    pub leader: Option<u64>,
    /// Its term.
    pub term: u64,
    /// The last entry of its log.
    pub last: Option<LogId>,
    /// The last entry that is in its map.
    pub applied: Option<LogId>,
    /// What its last snapshot covers.
    pub snapshot: Option<LogId>,
    /// How many snapshots it got from others since it was started.
    pub snapshots_received: u64,
    /// What is gone from the front of its log.
    pub purged: Option<LogId>,
    /// The size of its log in bytes.
    pub log_bytes: u64,
}

/// Sends a frame.
pub(crate) async fn send<T: Serialize>(stream: &mut TcpStream, message: &T) -> io::Result<()> {
    let body = encode(message)?;
    let length = u32::try_from(body.len()).ok().filter(|length| *length <= LONGEST_FRAME);
    let length =
        length.ok_or_else(|| io::Error::other(format!("a frame of {} bytes is too long", body.len())))?;
    let mut frame = Vec::with_capacity(4 + body.len());
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(&body);
    stream.write_all(&frame).await
}

/// Receives a frame; `None` if the other side hung up between two.
pub(crate) async fn receive<T: DeserializeOwned>(stream: &mut TcpStream) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    if stream.read(&mut length[..1]).await? == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut length[1..]).await?;
    let length = u32::from_le_bytes(length);
    if length > LONGEST_FRAME {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a frame of {length} bytes is too long"),
        ));
    }
    let mut body = vec![0; length as usize];
    stream.read_exact(&mut body).await?;
    Ok(Some(decode("a frame", &body)?))
}

/// A connection that is made when it is needed, and again after it failed.
#[derive(Debug)]
pub struct Connection {
    address: String,
    stream: Option<TcpStream>,
}

impl Connection {
    /// To a node's address. Does not connect yet.
    #[must_use]
    pub fn new(address: impl Into<String>) -> Self {
        Self { address: address.into(), stream: None }
    }

    /// Where to.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    async fn connect(&mut self) -> io::Result<TcpStream> {
        if let Some(stream) = self.stream.take() {
            return Ok(stream);
        }
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Asks, and waits for the answer. Dropping this in the middle drops the connection too, so that no
    /// answer is taken for another's.
    ///
    /// # Errors
    /// What the connection met with; the call may have been heard all the same.
    pub async fn ask(&mut self, call: &Call) -> io::Result<Answer> {
        let mut stream = self.connect().await?;
        send(&mut stream, call).await?;
        let answer = receive(&mut stream).await?;
        let answer = answer.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        self.stream = Some(stream);
        Ok(answer)
    }
}

/// Makes connections from one node to the others.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) own_id: u64,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, node: &BasicNode) -> Peer {
        Peer { own_id: self.own_id, target, connection: Connection::new(node.addr.clone()) }
    }
}

/// The way from one node to another.
#[derive(Debug)]
pub(crate) struct Peer {
    own_id: u64,
    target: u64,
    connection: Connection,
}

type Failed<E> = RPCError<u64, BasicNode, RaftError<u64, E>>;

impl Peer {
    /// Asks, in the time that there is. A node that does not answer in time, or at all, is left alone for a
    /// moment.
    async fn ask<E: std::error::Error>(
        &mut self,
        action: RPCTypes,
        call: &Call,
        option: &RPCOption,
    ) -> Result<Answer, Failed<E>> {
        let time = option.hard_ttl();
        match tokio::time::timeout(time, self.connection.ask(call)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(Unreachable::new(&error).into()),
            Err(_) => Err(Timeout { action, id: self.own_id, target: self.target, timeout: time }.into()),
        }
    }

    fn outcome<T, E: std::error::Error>(&self, said: Result<T, RaftError<u64, E>>) -> Result<T, Failed<E>> {
        said.map_err(|error| RemoteError::new(self.target, error).into())
    }
}

fn nonsense<E: std::error::Error>(answer: &Answer) -> Failed<E> {
    let what = match answer {
        Answer::Refused(refusal) => format!("refused: {refusal:?}"),
        other => format!("the answer belongs to another call: {other:?}"),
    };
    NetworkError::from(AnyError::error(what)).into()
}

impl RaftNetwork<Types> for Peer {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, RPCError<u64, BasicNode, RaftError<u64>>> {
        match self.ask(RPCTypes::AppendEntries, &Call::Append(request), &option).await? {
            Answer::Append(said) => self.outcome(said),
            other => Err(nonsense(&other)),
        }
    }

    async fn install_snapshot(
        &mut self,
        request: InstallSnapshotRequest<Types>,
        option: RPCOption,
    ) -> Result<InstallSnapshotResponse<u64>, RPCError<u64, BasicNode, RaftError<u64, InstallSnapshotError>>>
    {
        match self.ask(RPCTypes::InstallSnapshot, &Call::Snapshot(request), &option).await? {
            Answer::Snapshot(said) => self.outcome(said),
            other => Err(nonsense(&other)),
        }
    }

    async fn vote(
        &mut self,
        request: VoteRequest<u64>,
        option: RPCOption,
    ) -> Result<VoteResponse<u64>, RPCError<u64, BasicNode, RaftError<u64>>> {
        match self.ask(RPCTypes::Vote, &Call::Vote(request), &option).await? {
            Answer::Vote(said) => self.outcome(said),
            other => Err(nonsense(&other)),
        }
    }
}
