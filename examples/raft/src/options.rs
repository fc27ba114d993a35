//! The command line.

use std::collections::BTreeMap;
use std::path::PathBuf;

use pagelog_raft::node;

use crate::demo;

pub const HELP: &str = "\
A replicated key-value map on pagelog.

usage: pagelog-raft [demo] [options]      three nodes on this machine; kills them in turn, and compares their maps
       pagelog-raft node --id N --directory DIR --listen ADDRESS [--snapshot-every N]
       pagelog-raft init N=ADDRESS ...    makes a cluster of fresh nodes, once
       pagelog-raft put --at ADDRESS[,ADDRESS ...] KEY VALUE
       pagelog-raft delete --at ADDRESS[,ADDRESS ...] KEY
       pagelog-raft get --at ADDRESS[,ADDRESS ...] KEY
       pagelog-raft status ADDRESS ...

demo
  --writes N          how many keys are written (2000)
  --clients N         by so many at the same time (8)
  --directory DIR     where the nodes keep their stores and write what they say; must not exist
                      (one in the system's temporary directory, removed if all went well)
  --snapshot-every N  after so many entries a node makes a snapshot and gives up the front of its log (200)

node
  --id N              its number, from 1
  --directory DIR     its store; made if need be
  --listen ADDRESS    for instance 127.0.0.1:7001; there is no authentication, so keep to loopback
  --until-stdin-closes    end with whoever holds the other end of its standard input

Exit code: 0 if all went well (demo: the three maps are equal and have all that was acknowledged), 1 if not, 2 for a wrong command line.
";

pub enum Action {
    Help,
    Demo(demo::Options),
    Node { options: node::Options, until_stdin_closes: bool },
    Init { members: BTreeMap<u64, String> },
    Put { at: Vec<String>, key: String, value: String },
    Delete { at: Vec<String>, key: String },
    Get { at: Vec<String>, key: String },
    Status { at: Vec<String> },
}

/// Words, and options with values, as they came.
#[derive(Default)]
struct Line {
    words: Vec<String>,
    options: BTreeMap<String, String>,
}

const FLAGS: [&str; 1] = ["--until-stdin-closes"];

impl Line {
    fn split(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut line = Self::default();
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            if !argument.starts_with("--") {
                line.words.push(argument);
                continue;
            }
            let value = if FLAGS.contains(&argument.as_str()) {
                String::new()
            } else {
                arguments.next().ok_or_else(|| format!("{argument} needs a value"))?
            };
            if line.options.insert(argument.clone(), value).is_some() {
                return Err(format!("{argument} is there twice"));
            }
        }
        Ok(line)
    }

    fn take(&mut self, option: &str) -> Option<String> {
        self.options.remove(option)
    }

    fn required(&mut self, option: &str) -> Result<String, String> {
        self.take(option).ok_or_else(|| format!("{option} is missing"))
    }

    fn number(&mut self, option: &str, default: u64) -> Result<u64, String> {
        match self.take(option) {
            None => Ok(default),
            Some(text) => match text.parse() {
                Ok(number) if number > 0 => Ok(number),
                _ => Err(format!("{option} needs a number above 0, and not {text}")),
            },
        }
    }

    fn addresses(&mut self) -> Result<Vec<String>, String> {
        Ok(self.required("--at")?.split(',').map(str::to_owned).collect())
    }

    /// All words, which have to be so many.
    fn words<const N: usize>(&mut self, names: &str) -> Result<[String; N], String> {
        let found = self.words.len();
        let words = std::mem::take(&mut self.words).try_into();
        words.map_err(|_| format!("{names} expected, {found} words found"))
    }

    /// Nothing may be left.
    fn end(self, action: Action) -> Result<Action, String> {
        match (self.options.keys().next(), self.words.first()) {
            (Some(option), _) => Err(format!("{option} does not belong here")),
            (None, Some(word)) => Err(format!("{word} does not belong here")),
            (None, None) => Ok(action),
        }
    }
}

pub fn parse(arguments: impl Iterator<Item = String>) -> Result<Action, String> {
    let arguments: Vec<String> = arguments.collect();
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h" || argument == "help") {
        return Ok(Action::Help);
    }
    let mut line = Line::split(arguments.into_iter())?;
    let verb = if line.words.is_empty() { "demo".into() } else { line.words.remove(0) };
    let action = match verb.as_str() {
        "demo" => Action::Demo(demo::Options {
            writes: line.number("--writes", 2000)?,
            clients: line.number("--clients", 8)?,
            directory: line.take("--directory").map(PathBuf::from),
            snapshot_every: line.number("--snapshot-every", 200)?,
        }),
        "node" => Action::Node {
            options: node::Options {
                id: line.required("--id").and_then(|id| parse_id(&id))?,
                directory: line.required("--directory")?.into(),
                listen: line.required("--listen")?,
                snapshot_every: line.number("--snapshot-every", 200)?,
            },
            until_stdin_closes: line.take("--until-stdin-closes").is_some(),
        },
        "init" => Action::Init { members: parse_members(&std::mem::take(&mut line.words))? },
        "put" => {
            let (at, [key, value]) = (line.addresses()?, line.words("KEY and VALUE")?);
            Action::Put { at, key, value }
        }
        "delete" => {
            let (at, [key]) = (line.addresses()?, line.words("KEY")?);
            Action::Delete { at, key }
        }
        "get" => {
            let (at, [key]) = (line.addresses()?, line.words("KEY")?);
            Action::Get { at, key }
        }
        "status" if line.words.is_empty() => return Err("ADDRESS expected".into()),
        "status" => Action::Status { at: std::mem::take(&mut line.words) },
        other => return Err(format!("{other} is no command")),
    };
    line.end(action)
}

fn parse_id(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(id) if id > 0 => Ok(id),
        _ => Err(format!("{text} is no number of a node: 1, 2, 3 ...")),
    }
}

fn parse_members(words: &[String]) -> Result<BTreeMap<u64, String>, String> {
    let mut members = BTreeMap::new();
    for word in words {
        let (id, address) =
            word.split_once('=').ok_or_else(|| format!("N=ADDRESS expected, {word} found"))?;
        if members.insert(parse_id(id)?, address.to_owned()).is_some() {
            return Err(format!("node {id} is there twice"));
        }
    }
    if members.is_empty() { Err("N=ADDRESS expected".into()) } else { Ok(members) }
}
