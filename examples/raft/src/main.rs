//! A replicated key-value map on pagelog: nodes, a client, and a demonstration that kills nodes. See
//! README.md.

mod demo;
mod options;

use std::process::ExitCode;
use std::time::Duration;

use pagelog_raft::client::{self, Client};
use pagelog_raft::node::Node;
use pagelog_raft::{Command, LogId};

use options::{Action, HELP};

/// How long the small commands go on asking.
const DEADLINE: Duration = Duration::from_secs(15);

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let action = match options::parse(std::env::args().skip(1)) {
        Ok(action) => action,
        Err(usage) => {
            eprintln!("pagelog-raft: {usage}; --help tells more");
            return ExitCode::from(2);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = runtime.map_err(Into::into).and_then(|runtime| {
        let outcome = runtime.block_on(run(action));
        // Not by dropping it, which would wait for who reads standard input.
        runtime.shutdown_timeout(Duration::from_secs(1));
        outcome
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pagelog-raft: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(action: Action) -> Outcome {
    match action {
        Action::Help => print!("{HELP}"),
        Action::Demo(options) => demo::run(&options).await?,
        Action::Node { options, until_stdin_closes } => run_node(options, until_stdin_closes).await?,
        Action::Init { members } => {
            client::initialize(members).await?;
            println!("initialised");
        }
        Action::Put { at, key, value } => {
            let outcome = Client::new(at, DEADLINE).write(Command::Put { key, value }).await?;
            println!("{}", was(outcome.previous));
        }
        Action::Delete { at, key } => {
            let outcome = Client::new(at, DEADLINE).write(Command::Delete { key }).await?;
            println!("{}", was(outcome.previous));
        }
        Action::Get { at, key } => match Client::new(at, DEADLINE).read(&key).await? {
            Some(value) => println!("{value}"),
            None => return Err(format!("there is no key {key}").into()),
        },
        Action::Status { at } => return print_status(&at).await,
    }
    Ok(())
}

fn was(previous: Option<String>) -> String {
    previous
        .map_or_else(|| "done; there was no such key".into(), |previous| format!("done; it was {previous}"))
}

/// Runs until it is told to stop, or Raft stops by itself.
async fn run_node(options: pagelog_raft::node::Options, until_stdin_closes: bool) -> Outcome {
    let (id, directory) = (options.id, options.directory.clone());
    let node = Node::start(options).await?;
    println!("node {id} listens at {}, its store is in {}", node.address(), directory.display());
    tokio::select! {
        ended = node.stopped() => return Err(ended.into()),
        _ = tokio::signal::ctrl_c() => println!("node {id} stops"),
        () = stdin_closed(), if until_stdin_closes => println!("node {id} stops, for its parent is gone"),
    }
    node.shutdown().await;
    Ok(())
}

async fn stdin_closed() {
    let mut stdin = tokio::io::stdin();
    let mut bytes = [0; 64];
    while matches!(tokio::io::AsyncReadExt::read(&mut stdin, &mut bytes).await, Ok(1..)) {}
}

async fn print_status(nodes: &[String]) -> Outcome {
    let place =
        |id: Option<LogId>| id.map_or_else(|| "-".into(), |id| format!("{}/{}", id.leader_id.term, id.index));
    println!(
        "{:<22} {:>4} {:>6} {:>5}  {:>10} {:>10} {:>10} {:>10} {:>10}",
        "address", "node", "leader", "term", "last", "applied", "snapshot", "purged", "log bytes"
    );
    let mut silent = 0;
    for node in nodes {
        match client::status(node).await {
            Ok(status) => println!(
                "{node:<22} {:>4} {:>6} {:>5}  {:>10} {:>10} {:>10} {:>10} {:>10}",
                status.id,
                status.leader.map_or_else(|| "-".into(), |leader| leader.to_string()),
                status.term,
                place(status.last),
                place(status.applied),
                place(status.snapshot),
                place(status.purged),
                status.log_bytes,
            ),
            Err(error) => {
                silent += 1;
                println!("{node:<22} {error}");
            }
        }
    }
    if silent == 0 { Ok(()) } else { Err(format!("{silent} of {} nodes did not answer", nodes.len()).into()) }
}
