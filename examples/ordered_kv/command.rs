//! What the command line asks for.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;

use pagelog::{Config, Stats};

use crate::failure::{Failure, Result};
use crate::options::{Command, HELP, Options};
use crate::tree::{Direction, Forest, Range, Tree, Tuning};
use crate::{bench, demo};

const NOT_THERE: ExitCode = ExitCode::FAILURE;

pub fn run(options: &Options) -> Result<ExitCode> {
    match (&options.command, &options.directory) {
        (Command::Help, _) => print(HELP.as_bytes())?,
        (Command::Bench, _) => bench::run(options)?,
        (Command::Demo, directory) => demo::run(options, directory.as_deref())?,
        (command, Some(directory)) => return on_store(options, command, directory),
        (_, None) => return Err(Failure::Usage("a directory is missing".into())),
    }
    Ok(ExitCode::SUCCESS)
}

pub fn tuning(options: &Options) -> Tuning {
    let default = Tuning::default();
    Tuning {
        leaf_bytes: options.leaf.unwrap_or(default.leaf_bytes),
        inner_bytes: options.inner.unwrap_or(default.inner_bytes),
        unmerged: options.unmerged.unwrap_or(default.unmerged),
    }
}

fn on_store(options: &Options, command: &Command, directory: &Path) -> Result<ExitCode> {
    let makes_one = matches!(command, Command::Put(..) | Command::Load(_));
    if !makes_one && is_empty(directory) {
        return Err(Failure::Verdict(format!("there is no store in {}", directory.display())));
    }
    let forest = Forest::open(Config::new(directory), tuning(options))?;
    let code = on_forest(options, command, &forest)?;
    forest.flush()?;
    forest.close()?;
    Ok(code)
}

/// What a store holds. What is counted begins with each opening, so it says nothing here.
fn figures(stats: &Stats, names: &[String]) -> String {
    let dead = stats.log_file_bytes.saturating_sub(stats.live_bytes);
    format!(
        "trees       {}\n\
         pages       {}, and {} ids that are free\n\
         log file    {} bytes: {} live, {dead} dead, free or reserved\n\
         values      {} in files of their own, {} bytes\n",
        names.join(", "),
        stats.page_ids.saturating_sub(stats.free_page_ids),
        stats.free_page_ids,
        stats.log_file_bytes,
        stats.live_bytes,
        stats.large_values,
        stats.large_value_bytes,
    )
}

/// Whether nothing is there, so that opening would make a store.
fn is_empty(directory: &Path) -> bool {
    directory.read_dir().map_or(true, |mut entries| entries.next().is_none())
}

fn on_forest(options: &Options, command: &Command, forest: &Forest) -> Result<ExitCode> {
    let no_tree = || Failure::Verdict(format!("there is no tree called {:?}", options.tree));
    let tree = || forest.existing_tree(&options.tree)?.ok_or_else(no_tree);
    match command {
        Command::Put(key, value) => forest.tree(&options.tree)?.put(key, value)?,
        Command::Get(key) => match tree()?.get(key)? {
            Some(value) => print(&[&value, &b"\n"[..]].concat())?,
            None => return Ok(NOT_THERE),
        },
        Command::Delete(key) => {
            if !tree()?.delete(key)? {
                return Ok(NOT_THERE);
            }
        }
        Command::Scan(from, to) => scan(&tree()?, options, from.as_deref(), to.as_deref())?,
        Command::Load(file) => load(&forest.tree(&options.tree)?, file)?,
        Command::Stats => {
            print(figures(&forest.stats(), &forest.names()?).as_bytes())?;
        }
        Command::Check => {
            let report = forest.check()?;
            print(format!("{report:#?}\n").as_bytes())?;
            if !report.faults.is_empty() {
                return Ok(ExitCode::FAILURE);
            }
        }
        Command::Drop => {
            if !forest.drop_tree(&options.tree)? {
                return Ok(NOT_THERE);
            }
        }
        Command::Sweep => print(format!("{} pages freed\n", forest.sweep()?).as_bytes())?,
        Command::Help | Command::Demo | Command::Bench => {}
    }
    Ok(ExitCode::SUCCESS)
}

fn scan(tree: &Tree, options: &Options, from: Option<&[u8]>, to: Option<&[u8]>) -> Result<()> {
    let range = match (from, to) {
        (Some(from), Some(to)) => Range::new(from..to),
        (Some(from), None) => Range::new(from..),
        (None, _) => Range::all(),
    };
    let direction = if options.reverse { Direction::Down } else { Direction::Up };
    let mut out = BufWriter::new(io::stdout().lock());
    let mut written = Ok(());
    tree.visit(range.and(Range::prefix(&options.prefix)), direction, |key, value| {
        written = [key, b"\t", value, b"\n"].iter().try_for_each(|part| out.write_all(part));
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    forgive_a_closed_pipe(written.and_then(|()| out.flush()))
}

fn load(tree: &Tree, file: &Path) -> Result<()> {
    let what = || format!("read {}", file.display());
    let lines = BufReader::new(File::open(file).map_err(Failure::io(what()))?).split(b'\n');
    let mut failure = Ok(());
    let entries = lines.map_while(|line| match line {
        Ok(line) => Some(line),
        Err(error) => {
            failure = Err(error);
            None
        }
    });
    let pairs = entries.filter(|line| !line.is_empty()).map(|line| {
        let mut parts = line.splitn(2, |byte| *byte == b'\t');
        let mut next = || parts.next().unwrap_or_default().to_vec();
        (next(), next())
    });
    let total = tree.load(pairs)?;
    failure.map_err(Failure::io(what()))?;
    print(format!("{total} loaded\n").as_bytes())
}

pub fn print(text: &[u8]) -> Result<()> {
    let mut out = io::stdout().lock();
    forgive_a_closed_pipe(out.write_all(text).and_then(|()| out.flush()))
}

/// A reader that has seen enough, like `head`, is no failure.
fn forgive_a_closed_pipe(written: io::Result<()>) -> Result<()> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::io("write the output")(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::run;
    use crate::options::parse;

    #[test]
    fn to_look_for_something_does_not_make_it() {
        let place = tempfile::tempdir().expect("a directory");
        let store = place.path().join("store");
        let ordered_kv = |line: &str| {
            let words = line.split_whitespace().map(Into::into);
            run(&parse([store.clone().into_os_string()].into_iter().chain(words)).expect("a command"))
        };
        for command in ["get a", "del a", "scan", "stats", "check", "drop", "sweep"] {
            assert_eq!(ordered_kv(command).expect_err("no store").exit_code(), 1, "{command}");
        }
        assert!(!store.exists());
        ordered_kv("put a b").expect("a store is made");
        for command in ["get a", "del a", "scan"] {
            let failure = ordered_kv(&format!("{command} --tree other")).expect_err("no tree");
            assert_eq!(failure.to_string(), "there is no tree called \"other\"");
        }
        ordered_kv("get a").expect("it is there");
    }
}
