//! Three nodes as processes of their own, clients that write all the time, and a series of misfortunes. In
//! the end every node has to have every write that was acknowledged.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, IsTerminal, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pagelog_raft::client::{self, Client, ClientError};
use pagelog_raft::{Command, Status};
use tokio::process::Child;
use tokio::task::JoinSet;

/// For a node to start, for a leader to be elected, for a write.
const DEADLINE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

pub struct Options {
    pub writes: u64,
    pub clients: u64,
    pub directory: Option<PathBuf>,
    pub snapshot_every: u64,
}

/// What happens when a third of the writes of a part are done.
#[derive(Clone, Copy, Debug)]
enum Misfortune {
    None,
    Follower,
    Leader,
    All,
}

impl fmt::Display for Misfortune {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::None => "all is well",
            Self::Follower => "a follower is killed",
            Self::Leader => "the leader is killed",
            Self::All => "all three are killed",
        })
    }
}

const PARTS: [Misfortune; 4] = [Misfortune::None, Misfortune::Follower, Misfortune::Leader, Misfortune::All];

struct Process {
    id: u64,
    address: String,
    child: Option<Child>,
}

struct Cluster {
    directory: PathBuf,
    snapshot_every: u64,
    nodes: Vec<Process>,
    kills: u32,
}

pub async fn run(options: &Options) -> Outcome<()> {
    let directory = options
        .directory
        .clone()
        .unwrap_or_else(|| std::env::temp_dir().join(format!("pagelog-raft-{}", std::process::id())));
    if directory.exists() {
        return Err(format!("{} exists; the demonstration wants a new directory", directory.display()).into());
    }
    fs::create_dir_all(&directory).map_err(|error| format!("can't make {}: {error}", directory.display()))?;
    match demonstrate(options, &directory).await {
        Ok(()) => {
            if options.directory.is_none() {
                fs::remove_dir_all(&directory)?;
            }
            Ok(())
        }
        Err(error) => {
            eprintln!("what the nodes said, and their stores, are in {}", directory.display());
            Err(error)
        }
    }
}

async fn demonstrate(options: &Options, directory: &Path) -> Outcome<()> {
    let begun = Instant::now();
    let mut cluster = Cluster::new(directory, options.snapshot_every)?;
    println!("three nodes in {}, {} clients", directory.display(), options.clients);
    for index in 0..cluster.nodes.len() {
        cluster.start(index).await?;
    }
    client::initialize(cluster.nodes.iter().map(|node| (node.id, node.address.clone())).collect()).await?;
    let leader = cluster.leader().await?;
    println!("node {leader} leads");

    let parts = PARTS.len() as u64;
    let mut slowest = Duration::ZERO;
    for (part, misfortune) in (0..parts).zip(PARTS) {
        let keys = options.writes * part / parts..options.writes * (part + 1) / parts;
        slowest = cluster.part(keys, options.clients, misfortune).await?.max(slowest);
    }

    let expected: BTreeMap<String, String> =
        (0..options.writes).map(|number| (key(number), value(number))).collect();
    let statuses = cluster.compare(&expected).await?;
    println!();
    println!(
        "{:<6} {:>8} {:>8} {:>8} {:>10} {:>12}",
        "node", "keys", "applied", "purged", "log bytes", "digest"
    );
    for status in &statuses {
        let contents = client::contents(cluster.address(status.id)).await?;
        let index = |id: Option<pagelog_raft::LogId>| id.map_or(0, |id| id.index);
        println!(
            "{:<6} {:>8} {:>8} {:>8} {:>10} {:>12x}",
            status.id,
            contents.len(),
            index(status.applied),
            index(status.purged),
            status.log_bytes,
            digest(&contents)
        );
    }
    println!();
    println!(
        "{} writes acknowledged, {} kills, term {}, the slowest write took {:.1} s, all of it {:.1} s",
        options.writes,
        cluster.kills,
        statuses.iter().map(|status| status.term).max().unwrap_or(0),
        slowest.as_secs_f64(),
        begun.elapsed().as_secs_f64()
    );
    println!("the three maps are equal, and have every write that was acknowledged");
    Ok(())
}

fn key(number: u64) -> String {
    format!("key-{number:06}")
}

fn value(number: u64) -> String {
    format!("value-{}", number.wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

/// FNV-1a over keys and values.
fn digest(contents: &BTreeMap<String, String>) -> u64 {
    let bytes =
        contents.iter().flat_map(|(key, value)| [key.as_bytes(), b"=", value.as_bytes(), b"\n"]).flatten();
    bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    }) >> 16
}

impl Cluster {
    /// Takes three free ports. They are given back before the nodes take them, so somebody else may be
    /// quicker; then a node says so.
    fn new(directory: &Path, snapshot_every: u64) -> io::Result<Self> {
        let listeners: Vec<_> =
            (0..3).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<io::Result<_>>()?;
        let nodes = (1..).zip(&listeners).map(|(id, listener)| {
            Ok(Process { id, address: listener.local_addr()?.to_string(), child: None })
        });
        let nodes = nodes.collect::<io::Result<_>>()?;
        Ok(Self { directory: directory.into(), snapshot_every, nodes, kills: 0 })
    }

    fn address(&self, id: u64) -> &str {
        self.nodes.iter().find(|node| node.id == id).map_or("", |node| &node.address)
    }

    /// Starts a node, and waits until it answers.
    async fn start(&mut self, index: usize) -> Outcome<()> {
        let node = &mut self.nodes[index];
        let said = self.directory.join(format!("node-{}.log", node.id));
        let output = File::options().create(true).append(true).open(&said)?;
        let mut command = tokio::process::Command::new(std::env::current_exe()?);
        command.arg("node").arg("--until-stdin-closes");
        command.arg("--id").arg(node.id.to_string()).arg("--listen").arg(&node.address);
        command.arg("--directory").arg(self.directory.join(format!("node-{}", node.id)));
        command.arg("--snapshot-every").arg(self.snapshot_every.to_string());
        command.stdin(Stdio::piped()).stdout(output.try_clone()?).stderr(output).kill_on_drop(true);
        let mut child = command.spawn()?;
        let begun = Instant::now();
        while client::status(&node.address).await.is_err() {
            if let Some(status) = child.try_wait()? {
                let said = fs::read_to_string(&said).unwrap_or_default();
                let last = said.lines().last().unwrap_or("nothing").to_owned();
                return Err(format!("node {} ended with {status}; the last it said: {last}", node.id).into());
            }
            if begun.elapsed() > DEADLINE {
                return Err(format!("node {} does not answer", node.id).into());
            }
            tokio::time::sleep(POLL).await;
        }
        node.child = Some(child);
        Ok(())
    }

    /// SIGKILL: the node has no chance to flush, to close or to say good-bye.
    async fn kill(&mut self, index: usize) -> Outcome<()> {
        let node = &mut self.nodes[index];
        if let Some(mut child) = node.child.take() {
            child.start_kill()?;
            child.wait().await?;
            self.kills += 1;
        }
        Ok(())
    }

    /// Waits until all who run agree on a leader who runs.
    async fn leader(&self) -> Outcome<u64> {
        let begun = Instant::now();
        loop {
            let mut leaders = Vec::new();
            let mut running = Vec::new();
            for node in self.nodes.iter().filter(|node| node.child.is_some()) {
                running.push(node.id);
                leaders.push(client::status(&node.address).await.ok().and_then(|status| status.leader));
            }
            if let Some(Some(leader)) = leaders.first()
                && running.contains(leader)
                && leaders.iter().all(|other| *other == Some(*leader))
            {
                return Ok(*leader);
            }
            if begun.elapsed() > DEADLINE {
                return Err(format!("no leader: nodes {running:?} say {leaders:?}").into());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Writes keys, with a misfortune in the middle; then starts again who was killed, and waits until it has
    /// caught up. Returns how long the slowest write took.
    async fn part(
        &mut self,
        keys: std::ops::Range<u64>,
        clients: u64,
        misfortune: Misfortune,
    ) -> Outcome<Duration> {
        let total = keys.end - keys.start;
        let addresses: Vec<String> = self.nodes.iter().map(|node| node.address.clone()).collect();
        let mut writers = Writers::start(keys, clients, &addresses);
        let title = misfortune.to_string();
        writers.wait_for(total / 3, &title).await?;
        let leader = self.leader().await?;
        let victims: Vec<usize> = match misfortune {
            Misfortune::None => vec![],
            Misfortune::Follower => self.indices(|id| id != leader).into_iter().take(1).collect(),
            Misfortune::Leader => self.indices(|id| id == leader),
            Misfortune::All => self.indices(|_| true),
        };
        for victim in &victims {
            self.kill(*victim).await?;
        }
        if matches!(misfortune, Misfortune::All) {
            for victim in &victims {
                self.start(*victim).await?;
            }
        }
        writers.wait_for(total, &title).await?;
        let slowest = writers.finish().await?;
        let mut note = format!("{total} more writes acknowledged");
        if !matches!(misfortune, Misfortune::All) {
            for victim in &victims {
                self.start(*victim).await?;
            }
        }
        if !victims.is_empty() {
            let begun = Instant::now();
            let statuses = self.caught_up().await?;
            note += &format!(", slowest {:.1} s", slowest.as_secs_f64());
            note += &format!("; level after {:.1} s", begun.elapsed().as_secs_f64());
            let ids: Vec<u64> = victims.iter().map(|victim| self.nodes[*victim].id).collect();
            for status in statuses.iter().filter(|status| ids.contains(&status.id)) {
                let how = if status.snapshots_received > 0 { "a snapshot and the log" } else { "the log" };
                note += &format!("; node {} is back by {how}", status.id);
            }
        }
        let leader = self.leader().await?;
        println!("{title}: {note}; node {leader} leads");
        Ok(slowest)
    }

    fn indices(&self, wanted: impl Fn(u64) -> bool) -> Vec<usize> {
        (0..self.nodes.len()).filter(|index| wanted(self.nodes[*index].id)).collect()
    }

    /// Waits until all nodes have applied the same last entry.
    async fn caught_up(&self) -> Outcome<Vec<Status>> {
        let begun = Instant::now();
        loop {
            let mut statuses = Vec::new();
            for node in &self.nodes {
                statuses.extend(client::status(&node.address).await.ok());
            }
            let level =
                |status: &Status| status.applied == statuses[0].applied && status.applied == status.last;
            if statuses.len() == self.nodes.len() && statuses.iter().all(level) {
                return Ok(statuses);
            }
            if begun.elapsed() > DEADLINE {
                return Err(format!("the nodes are not level after a minute: {statuses:?}").into());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// The nodes' maps against what was acknowledged.
    async fn compare(&self, expected: &BTreeMap<String, String>) -> Outcome<Vec<Status>> {
        let statuses = self.caught_up().await?;
        for node in &self.nodes {
            let found = client::contents(&node.address).await?;
            if found != *expected {
                let lost = expected.iter().filter(|(key, value)| found.get(*key) != Some(*value)).count();
                let strange = found.keys().filter(|key| !expected.contains_key(*key)).count();
                return Err(format!(
                    "node {} is wrong: {lost} of {} acknowledged writes are missing or differ, {strange} keys are nobody's",
                    node.id,
                    expected.len()
                )
                .into());
            }
        }
        Ok(statuses)
    }
}

/// Clients at work.
struct Writers {
    tasks: JoinSet<Result<Duration, ClientError>>,
    done: Arc<AtomicU64>,
    total: u64,
    slowest: Duration,
    begun: Instant,
}

impl Writers {
    fn start(keys: std::ops::Range<u64>, clients: u64, nodes: &[String]) -> Self {
        let (done, next) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(keys.start)));
        let total = keys.end - keys.start;
        let mut tasks = JoinSet::new();
        for _ in 0..clients {
            let (done, next, nodes) = (done.clone(), next.clone(), nodes.to_vec());
            tasks.spawn(async move {
                let mut client = Client::new(nodes, DEADLINE);
                let mut slowest = Duration::ZERO;
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= keys.end {
                        return Ok(slowest);
                    }
                    let begun = Instant::now();
                    client.write(Command::Put { key: key(number), value: value(number) }).await?;
                    slowest = slowest.max(begun.elapsed());
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        Self { tasks, done, total, slowest: Duration::ZERO, begun: Instant::now() }
    }

    /// Waits until so many writes are acknowledged, and says how it goes.
    async fn wait_for(&mut self, count: u64, title: &str) -> Outcome<()> {
        let terminal = io::stderr().is_terminal();
        loop {
            while let Some(ended) = self.tasks.try_join_next() {
                self.slowest = ended??.max(self.slowest);
            }
            let done = self.done.load(Ordering::Relaxed);
            if terminal {
                let rate = done as f64 / self.begun.elapsed().as_secs_f64();
                eprint!("\r{title}: {done} of {} writes, {rate:.0} in a second \x1b[K", self.total);
                io::stderr().flush()?;
            }
            if done >= count {
                if terminal {
                    eprint!("\r\x1b[K");
                }
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn finish(mut self) -> Outcome<Duration> {
        while let Some(ended) = self.tasks.join_next().await {
            self.slowest = ended??.max(self.slowest);
        }
        Ok(self.slowest)
    }
}
