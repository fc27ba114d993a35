//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::failure::{Failure, Result};

pub const HELP: &str = "\
An ordered key-value store.

usage: ordered_kv                             the demonstration
       ordered_kv DIR COMMAND [options]
       ordered_kv bench [options]             in a temporary directory

  put KEY VALUE         gives a key a value
  get KEY               prints a key's value; exit code 1 if it is not there
  del KEY               removes a key; exit code 1 if it was not there
  scan [FROM] [TO]      prints the keys from FROM to below TO, with a tab and the value
    --reverse           the last one first
    --prefix P          only keys that begin so
  load FILE             puts what is in a file: lines of a key, a tab and a value. Quick if it is sorted
  stats                 what the store holds
  check                 walks through all of the store; exit code 1 if it is not sound,
                        3 if it can't be read
  drop                  removes the whole tree; exit code 1 if there is none
  sweep                 frees pages that a crash has left over
  demo                  the demonstration, in that directory, which must be new

  --tree NAME           another tree than the one called \"main\"
  --records N           demo and bench: how many. Default 200000 and 1000000
  --seconds N           bench: for each workload. Default 3
  --threads A,B         bench: with how many. Default 1,2
  --leaf BYTES, --inner BYTES, --unmerged N
                        tuning: when a leaf and an inner node are split; how many
                        changes a reader looks through
  --help                this text

Exit code 2 if the command line is wrong, 3 if something fails.
";

#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    Help,
    Put(Vec<u8>, Vec<u8>),
    Get(Vec<u8>),
    Delete(Vec<u8>),
    Scan(Option<Vec<u8>>, Option<Vec<u8>>),
    Load(PathBuf),
    Stats,
    Check,
    Drop,
    Sweep,
    Demo,
    Bench,
}

#[derive(Debug)]
pub struct Options {
    pub directory: Option<PathBuf>,
    pub command: Command,
    pub tree: String,
    pub reverse: bool,
    pub prefix: Vec<u8>,
    pub records: Option<u64>,
    pub seconds: u64,
    pub threads: Vec<usize>,
    pub leaf: Option<usize>,
    pub inner: Option<usize>,
    pub unmerged: Option<usize>,
}

pub fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Options> {
    let mut options = Options {
        directory: None,
        command: Command::Demo,
        tree: "main".into(),
        reverse: false,
        prefix: Vec::new(),
        records: None,
        seconds: 3,
        threads: vec![1, 2],
        leaf: None,
        inner: None,
        unmerged: None,
    };
    let mut words = Vec::new();
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        let mut value =
            || arguments.next().ok_or_else(|| usage(format!("{} needs a value", argument.display())));
        match argument.to_str() {
            Some("--help" | "-h") => return Ok(Options { command: Command::Help, ..options }),
            Some("--reverse") => options.reverse = true,
            Some("--prefix") => options.prefix = bytes(&value()?),
            Some("--tree") => options.tree = value()?.to_string_lossy().into_owned(),
            Some("--records") => options.records = Some(number(&value()?)?),
            Some("--seconds") => options.seconds = number(&value()?)?,
            Some("--leaf") => options.leaf = Some(number(&value()?)?),
            Some("--inner") => options.inner = Some(number(&value()?)?),
            Some("--unmerged") => options.unmerged = Some(number(&value()?)?),
            Some("--threads") => {
                let list = value()?;
                let list = list.to_string_lossy();
                options.threads =
                    list.split(',').map(|one| number(&OsString::from(one))).collect::<Result<_>>()?;
            }
            Some(unknown) if unknown.starts_with("--") => {
                return Err(usage(format!("there is no option {unknown}")));
            }
            _ => words.push(argument),
        }
    }
    if words.iter().eq(["bench"]) {
        return Ok(Options { command: Command::Bench, ..options });
    }
    let mut words = words.into_iter();
    let Some(directory) = words.next() else { return Ok(options) };
    let command = command(&words.collect::<Vec<_>>())?;
    Ok(Options { directory: Some(directory.into()), command, ..options })
}

fn command(words: &[OsString]) -> Result<Command> {
    let words: Vec<_> = words.iter().map(bytes).collect();
    let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
    Ok(match &words[..] {
        [b"put", key, value] => Command::Put(key.to_vec(), value.to_vec()),
        [b"get", key] => Command::Get(key.to_vec()),
        [b"del", key] => Command::Delete(key.to_vec()),
        [b"scan"] => Command::Scan(None, None),
        [b"scan", from] => Command::Scan(Some(from.to_vec()), None),
        [b"scan", from, to] => Command::Scan(Some(from.to_vec()), Some(to.to_vec())),
        [b"load", file] => Command::Load(PathBuf::from(String::from_utf8_lossy(file).into_owned())),
        [b"stats"] => Command::Stats,
        [b"check"] => Command::Check,
        [b"drop"] => Command::Drop,
        [b"sweep"] => Command::Sweep,
        [b"demo"] => Command::Demo,
        [] => return Err(usage("a command is missing".into())),
        [first, ..] => return Err(usage(format!("{} is not understood", String::from_utf8_lossy(first)))),
    })
}

fn usage(problem: String) -> Failure {
    Failure::Usage(problem)
}

fn bytes(argument: &OsString) -> Vec<u8> {
    argument.as_encoded_bytes().to_vec()
}

fn number<T: TryFrom<u64>>(text: &OsString) -> Result<T> {
    let number = text.to_str().and_then(|text| text.parse::<u64>().ok()).filter(|number| *number > 0);
    let number = number.and_then(|number| T::try_from(number).ok());
    number.ok_or_else(|| usage(format!("{} is no number above 0", text.display())))
}

#[cfg(test)]
mod tests {
    use super::{Command, parse};

    #[test]
    fn commands_are_understood_and_others_refused() {
        let parse = |line: &str| parse(line.split_whitespace().map(Into::into));
        assert_eq!(parse("").unwrap().command, Command::Demo);
        assert_eq!(parse("bench --threads 1,4").unwrap().threads, [1, 4]);
        assert_eq!(parse("d put k v").unwrap().command, Command::Put(b"k".into(), b"v".into()));
        assert_eq!(parse("d drop --tree t").unwrap().command, Command::Drop);
        let scan = parse("d scan a --reverse --prefix ab").unwrap();
        assert_eq!(scan.command, Command::Scan(Some(b"a".into()), None));
        assert!(scan.reverse && scan.prefix == b"ab");
        for wrong in ["d", "d put k", "d fly", "d scan --prefix", "d get k --quick", "bench --threads 0"] {
            assert_eq!(parse(wrong).unwrap_err().exit_code(), 2, "{wrong}");
        }
    }
}
