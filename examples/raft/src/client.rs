//! Asking a cluster: goes from node to node until the leader answers.

use std::fmt;
use std::time::{Duration, Instant};

use crate::network::{Answer, Call, Connection, Refusal, Status};
use crate::types::{Command, Outcome};

/// How long one node may take for one answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Why a client gave up.
#[derive(Clone, Debug)]
pub struct ClientError {
    /// What it wanted.
    what: String,
    /// What it heard last, and from whom.
    last: String,
}

impl fmt::Display for ClientError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.what, self.last)
    }
}

impl std::error::Error for ClientError {}

/// A client of a cluster.
#[derive(Debug)]
pub struct Client {
    nodes: Vec<String>,
    next: usize,
    connection: Option<Connection>,
    deadline: Duration,
}

impl Client {
    /// Of a cluster with nodes at these addresses. Each call gives up after `deadline`.
    #[must_use]
    pub fn new(nodes: Vec<String>, deadline: Duration) -> Self {
        Self { nodes, next: 0, connection: None, deadline }
    }

    /// Returns when the command is durable on a majority. If the connection is lost in between, it is tried
    /// again, and may happen twice: harmless for a put or a delete, not for an addition.
    ///
    /// # Errors
    /// Nobody did it before the deadline.
    pub async fn write(&mut self, command: Command) -> Result<Outcome, ClientError> {
        let what = command.to_string();
        match self.ask_leader(what, Call::Write(command)).await? {
            Answer::Written(outcome) => Ok(outcome),
            other => Err(unexpected(&other)),
        }
    }

    /// The key's value, with all writes that were acknowledged before this call.
    ///
    /// # Errors
    /// Nobody answered before the deadline.
    pub async fn read(&mut self, key: &str) -> Result<Option<String>, ClientError> {
        match self.ask_leader(format!("get {key}"), Call::Read(key.into())).await? {
            Answer::Value(value) => Ok(value),
            other => Err(unexpected(&other)),
        }
    }

    async fn ask_leader(&mut self, what: String, call: Call) -> Result<Answer, ClientError> {
        let begun = Instant::now();
        loop {
            let mut connection = self.connection.take().unwrap_or_else(|| self.next_node());
            let last = match tokio::time::timeout(PATIENCE, connection.ask(&call)).await {
                Ok(Ok(Answer::Refused(Refusal::NotLeader(leader)))) => {
                    let last = format!("{} is not the leader", connection.address());
                    self.connection =
                        leader.filter(|leader| leader != connection.address()).map(Connection::new);
                    last
                }
                Ok(Ok(Answer::Refused(Refusal::Failed(reason)))) => {
                    format!("{} says: {reason}", connection.address())
                }
                Ok(Ok(answer)) => {
                    self.connection = Some(connection);
                    return Ok(answer);
                }
                Ok(Err(error)) => format!("{}: {error}", connection.address()),
                Err(_) => format!("{} does not answer", connection.address()),
            };
            if begun.elapsed() > self.deadline {
                return Err(ClientError { what, last });
            }
            if self.connection.is_none() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    fn next_node(&mut self) -> Connection {
        self.next += 1;
        let node = self.nodes.get(self.next % self.nodes.len().max(1));
        Connection::new(node.cloned().unwrap_or_default())
    }
}

async fn ask(address: &str, what: &str, call: Call) -> Result<Answer, ClientError> {
    let error = |last: String| ClientError { what: format!("{what} at {address}"), last };
    match tokio::time::timeout(PATIENCE, Connection::new(address).ask(&call)).await {
        Ok(Ok(Answer::Refused(Refusal::Failed(reason)))) => Err(error(reason)),
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(failed)) => Err(error(failed.to_string())),
        Err(_) => Err(error("no answer".into())),
    }
}

/// How the node at this address is.
///
/// # Errors
/// It did not answer.
pub async fn status(address: &str) -> Result<Status, ClientError> {
    match ask(address, "status", Call::Status).await? {
        Answer::Status(status) => Ok(status),
        other => Err(unexpected(&other)),
    }
}

/// All of the map that the node at this address has.
///
/// # Errors
/// It did not answer.
pub async fn contents(address: &str) -> Result<std::collections::BTreeMap<String, String>, ClientError> {
    match ask(address, "contents", Call::Contents).await? {
        Answer::Contents(contents) => Ok(contents),
        other => Err(unexpected(&other)),
    }
}

/// Makes a cluster of fresh nodes.
///
/// # Errors
/// The first of them refused, or did not answer.
pub async fn initialize(members: std::collections::BTreeMap<u64, String>) -> Result<(), ClientError> {
    let Some(first) = members.values().next().cloned() else {
        return Err(ClientError { what: "initialize".into(), last: "a cluster needs a node".into() });
    };
    match ask(&first, "initialize", Call::Initialize(members)).await? {
        Answer::Initialized => Ok(()),
        other => Err(unexpected(&other)),
    }
}

fn unexpected(answer: &Answer) -> ClientError {
    ClientError { what: "an answer".into(), last: format!("belongs to another call: {answer:?}") }
}
