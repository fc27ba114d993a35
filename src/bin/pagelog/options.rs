//! The command line.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use pagelog::{Lsn, PageId};

use crate::failure::{Failure, Result};
use crate::help;

/// Which records to list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub page_id: Option<PageId>,
    pub segment: Option<u64>,
    pub from: Option<Lsn>,
    pub to: Option<Lsn>,
    pub live: bool,
    pub hex: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Help(&'static str),
    Version,
    Stats,
    Verify,
    DumpSegments,
    DumpRecords(Filter),
    Map { svg: Option<PathBuf> },
    Backup { to: PathBuf },
    Bench { duration: Duration },
}

#[derive(Clone, Debug)]
pub struct Options {
    pub command: Command,
    pub directory: PathBuf,
    pub json: bool,
    /// As text for monitoring systems.
    pub openmetrics: bool,
    pub quiet: bool,
    pub force: bool,
    pub segment_size: Option<u32>,
}

/// All that was given, before it is known whether it goes together.
#[derive(Default)]
struct Given {
    words: Vec<OsString>,
    json: bool,
    openmetrics: bool,
    quiet: bool,
    force: bool,
    help: bool,
    version: bool,
    segment_size: Option<u32>,
    svg: Option<PathBuf>,
    duration: Option<Duration>,
    filter: Filter,
    /// The names of all options that were given.
    names: Vec<String>,
}

pub fn parse(mut arguments: impl Iterator<Item = OsString>) -> Result<Options> {
    let mut given = Given::default();
    while let Some(argument) = arguments.next() {
        let Some(name) = argument.to_str().filter(|name| name.len() > 1 && name.starts_with('-')) else {
            given.words.push(argument);
            continue;
        };
        if name == "--" {
            given.words.extend(arguments);
            break;
        }
        let mut value = || arguments.next().ok_or_else(|| usage(format!("{name} needs a value")));
        let filter = &mut given.filter;
        match name {
            "--help" | "-h" => given.help = true,
            "--version" | "-V" => given.version = true,
            "--json" => given.json = true,
            "--openmetrics" => given.openmetrics = true,
            "--quiet" => given.quiet = true,
            "--force" => given.force = true,
            "--segment-size" => given.segment_size = Some(segment_size(&value()?)?),
            "--svg" => given.svg = Some(value()?.into()),
            "--seconds" => given.duration = Some(seconds(&value()?)?),
            "--segment" => filter.segment = Some(number(&value()?)?),
            "--from" => filter.from = Some(Lsn::new(number(&value()?)?)),
            "--to" => filter.to = Some(Lsn::new(number(&value()?)?)),
            "--live" => filter.live = true,
            "--hex" => filter.hex = true,
            unknown => return Err(usage(format!("there is no option {unknown}"))),
        }
        given.names.push(name.to_owned());
    }
    understand(&given)
}

const OF_RECORDS: &[&str] =
    &["--segment", "--from", "--to", "--live", "--hex", "--force", "--segment-size", "--json", "--quiet"];
const OF_STATS: &[&str] = &["--force", "--json", "--openmetrics", "--quiet"];
const OF_PAGE: &[&str] = &["--live", "--hex", "--force", "--segment-size", "--json", "--quiet"];
const OF_SEGMENTS: &[&str] = &["--force", "--segment-size", "--json", "--quiet"];

fn understand(given: &Given) -> Result<Options> {
    if given.version {
        return Ok(options(given, Command::Version, PathBuf::new()));
    }
    if given.help {
        let text = help_for(given.words.first().and_then(|word| word.to_str()));
        return Ok(options(given, Command::Help(text), PathBuf::new()));
    }
    let mut words = given.words.iter().map(OsString::as_os_str);
    let mut next = |what: &str| words.next().ok_or_else(|| usage(format!("{what} is missing")));
    let verb = next("a command")?;
    let (command, directory, allowed): (_, _, &[&str]) = match verb.to_str() {
        Some("help") => {
            let text = help_for(words.next().and_then(OsStr::to_str));
            return Ok(options(given, Command::Help(text), PathBuf::new()));
        }
        Some("stats") => (Command::Stats, next("a directory")?, OF_STATS),
        Some("verify") => (Command::Verify, next("a directory")?, &["--segment-size", "--json", "--quiet"]),
        Some("map") => {
            let command = Command::Map { svg: given.svg.clone() };
            (command, next("a directory")?, &["--svg", "--force", "--segment-size", "--json", "--quiet"])
        }
        Some("backup") => {
            let directory = next("a directory")?;
            (
                Command::Backup { to: next("the directory to copy to")?.into() },
                directory,
                &["--json", "--quiet"],
            )
        }
        Some("bench") => {
            let command = Command::Bench { duration: given.duration.unwrap_or(Duration::from_secs(1)) };
            (command, next("a directory")?, &["--seconds", "--json", "--quiet"])
        }
        Some("dump") => {
            let what = next("what to dump")?;
            let directory = next("a directory")?;
            match what.to_str() {
                Some("segments") => (Command::DumpSegments, directory, OF_SEGMENTS),
                Some("records") => (Command::DumpRecords(given.filter), directory, OF_RECORDS),
                Some("page") => {
                    let page_id = Some(PageId::new(number(next("a page id")?)?));
                    (Command::DumpRecords(Filter { page_id, ..given.filter }), directory, OF_PAGE)
                }
                _ => return Err(usage(format!("{} can't be dumped", what.display()))),
            }
        }
        _ => return Err(usage(format!("there is no command {}", verb.display()))),
    };
    if given.openmetrics && (given.json || given.force) {
        return Err(usage("--openmetrics goes with neither --json nor --force".into()));
    }
    let directory = PathBuf::from(directory);
    if let Some(more) = words.next() {
        return Err(usage(format!("{} is one word too many", more.display())));
    }
    if let Some(name) = given.names.iter().find(|name| !allowed.contains(&name.as_str())) {
        return Err(usage(format!("{name} has no meaning for {}", verb.display())));
    }
    Ok(options(given, command, directory))
}

fn options(given: &Given, command: Command, directory: PathBuf) -> Options {
    let Given { json, openmetrics, quiet, force, segment_size, .. } = *given;
    Options { command, directory, json, openmetrics, quiet, force, segment_size }
}

fn help_for(word: Option<&str>) -> &'static str {
    match word {
        Some("stats") => help::STATS,
        Some("verify") => help::VERIFY,
        Some("dump") => help::DUMP,
        Some("map") => help::MAP,
        Some("backup") => help::BACKUP,
        Some("bench") => help::BENCH,
        _ => help::GENERAL,
    }
}

fn usage(problem: String) -> Failure {
    Failure::Usage(problem)
}

fn number(text: &OsStr) -> Result<u64> {
    let number = text.to_str().and_then(|text| text.parse().ok());
    number.ok_or_else(|| usage(format!("{} is no number", text.display())))
}

fn seconds(text: &OsStr) -> Result<Duration> {
    let seconds =
        text.to_str().and_then(|text| text.parse().ok()).filter(|seconds| (0.001..=3600.0).contains(seconds));
    let duration = seconds.map(Duration::from_secs_f64);
    duration.ok_or_else(|| usage(format!("{} is no number of seconds from 0.001 to 3600", text.display())))
}

fn segment_size(text: &OsStr) -> Result<u32> {
    let size = number(text)?;
    let fits = u32::try_from(size).ok().filter(|size| (512..=64 << 20).contains(size));
    fits.ok_or_else(|| usage(format!("{size} is no segment size: 512 to 67108864")))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use pagelog::{Lsn, PageId};

    use super::{Command, Filter, Options, Result, parse};

    fn line(line: &str) -> Result<Options> {
        parse(line.split_whitespace().map(Into::into))
    }

    #[test]
    fn commands_are_understood() {
        let options = line("stats d --json").unwrap();
        assert_eq!(
            (options.command, options.directory.as_path(), options.json),
            (Command::Stats, Path::new("d"), true)
        );
        assert!(line("stats d --openmetrics").unwrap().openmetrics);
        let filter = Filter { from: Some(Lsn::new(5)), hex: true, ..Filter::default() };
        assert_eq!(line("dump records d --from 5 --hex").unwrap().command, Command::DumpRecords(filter));
        let filter = Filter { page_id: Some(PageId::new(7)), ..Filter::default() };
        assert_eq!(line("dump page d 7").unwrap().command, Command::DumpRecords(filter));
        assert_eq!(line("map d --svg x").unwrap().command, Command::Map { svg: Some("x".into()) });
        assert_eq!(line("stats -- --json").unwrap().directory, Path::new("--json"));
        for wanted in ["dump --help", "help dump"] {
            let command = line(wanted).unwrap().command;
            assert!(matches!(command, Command::Help(text) if text.contains("--from")), "{wanted}");
        }
        assert_eq!(
            line("bench d --seconds 0.5").unwrap().command,
            Command::Bench { duration: Duration::from_millis(500) }
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let wrong = [
            "",
            "fly d",
            "stats",
            "stats d e",
            "stats d --svg x",
            "verify d --force",
            "dump d",
            "dump page d",
            "dump page d x",
            "dump records d --from",
            "dump segments d --hex",
            "map d --segment-size 12",
            "bench d --seconds 0",
            "bench d --seconds NaN",
            "backup d",
            "stats d --quick",
            "stats d --openmetrics --json",
            "verify d --openmetrics",
        ];
        for wrong in wrong {
            assert_eq!(line(wrong).unwrap_err().exit_code(), 2, "{wrong}");
        }
    }
}
