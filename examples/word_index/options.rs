//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::failure::{Failure, Result};
use crate::tokens;

pub const HELP: &str = "\
Indexes text files by their words, checks the index, and answers queries.

usage: word_index [DIRECTORY] [options]

  DIRECTORY         the files to index, in all sub-directories; names that begin
                    with a dot are left out. Default: the sources of pagelog
                    itself, which are part of this program.
  --query A,B       which files contain all of these words; can be repeated
  --store PATH      keep the store there. If it is there already, only files
                    that are new, changed or gone are worked on. Default: a
                    temporary directory, removed at the end.
  --cache BYTES     memory for the page cache. Default: a sixth of the text,
                    which is much less than the index takes.
  --segment BYTES   size of a segment of a new store. Default: about a 32nd of
                    the text, at least 16384.
  --threads N       threads that index files, 1 to 256. Default 2.
  --help            this text

exit code: 0 if the index was verified; 1 if something failed, or if the cache
and the segments were so large that nothing was evicted or reused; 2 if the
command line is wrong. Files that can't be read or are not UTF-8 are reported
and skipped.
";

pub enum Command {
    Help,
    Run(Options),
}

#[derive(Debug)]
pub struct Options {
    pub directory: Option<PathBuf>,
    /// The words of each query, as the index spells them.
    pub queries: Vec<Vec<String>>,
    pub store: Option<PathBuf>,
    pub cache: Option<u64>,
    pub segment: Option<u32>,
    pub threads: usize,
}

pub fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Command> {
    let mut options =
        Options { directory: None, queries: Vec::new(), store: None, cache: None, segment: None, threads: 2 };
    let mut arguments = arguments.peekable();
    while let Some(argument) = arguments.next() {
        let mut value = || {
            let missing = || Failure::Usage(format!("{} needs a value", argument.display()));
            arguments.next().ok_or_else(missing)
        };
        match argument.to_str() {
            Some("--help" | "-h") => return Ok(Command::Help),
            Some("--query") => options.queries.push(query(&value()?)?),
            Some("--store") => options.store = Some(value()?.into()),
            Some("--cache") => options.cache = Some(number("--cache", &value()?)?),
            Some("--segment") => options.segment = Some(number("--segment", &value()?)?),
            Some("--threads") => options.threads = number("--threads", &value()?)?,
            Some(unknown) if unknown.starts_with('-') => {
                return Err(Failure::Usage(format!("there is no option {unknown}")));
            }
            _ if options.directory.is_none() => options.directory = Some(argument.into()),
            _ => return Err(Failure::Usage("there can be only one directory".into())),
        }
    }
    if !(1..=256).contains(&options.threads) {
        return Err(Failure::Usage("--threads must be 1 to 256".into()));
    }
    if options.queries.is_empty() && options.directory.is_none() {
        options.queries.push(vec!["lock".into(), "page".into()]);
    }
    Ok(Command::Run(options))
}

fn number<T: TryFrom<u64>>(option: &str, value: &OsString) -> Result<T> {
    let parsed = value.to_str().and_then(|text| text.parse::<u64>().ok());
    parsed
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| Failure::Usage(format!("{option} takes a number, not {}", value.display())))
}

fn query(value: &OsString) -> Result<Vec<String>> {
    let text = value.to_str().ok_or_else(|| Failure::Usage("--query takes UTF-8".into()))?;
    let mut words: Vec<String> = tokens::words(text).map(|(_, word)| word).collect();
    words.sort();
    words.dedup();
    if words.is_empty() {
        return Err(Failure::Usage(format!("--query {text} has no word of two letters or more")));
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::{Command, Options, parse};
    use crate::failure::Failure;

    fn run(arguments: &[&str]) -> Result<Options, Failure> {
        match parse(arguments.iter().map(Into::into))? {
            Command::Run(options) => Ok(options),
            Command::Help => panic!("help"),
        }
    }

    #[test]
    fn queries_are_spelled_as_the_index_spells_words() {
        let options = run(&["dir", "--query", "Page,LOCK,page", "--query", "log"]).unwrap();
        assert_eq!(options.queries, [vec!["lock", "page"], vec!["log"]]);
        assert_eq!(options.directory.unwrap().to_str(), Some("dir"));
    }

    #[test]
    fn mistakes_are_told_and_have_their_own_exit_code() {
        for wrong in [
            &["--quarry", "x"][..],
            &["--query"],
            &["--query", "."],
            &["--threads", "0"],
            &["--threads", "many"],
            &["--cache", "-1"],
            &["--segment", "99999999999"],
            &["one", "two"],
        ] {
            assert_eq!(run(wrong).unwrap_err().exit_code(), 2, "{wrong:?}");
        }
    }
}
