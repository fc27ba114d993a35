//! `pagelog`: looks into stores from the command line. What it can do is said in `docs/inspector.md`, and by
//! `pagelog --help`.
//!
//! It uses the library's public interface only. Nothing is written unless a command's purpose is to write
//! (`backup`, `bench`) or a file is named (`map --svg`).
//!
//! | file | what |
//! |---|---|
//! | `options`, `help` | the command line |
//! | `failure` | errors and exit codes |
//! | `store` | opening a store whose pages mean nothing to this program |
//! | `stats`, `verify`, `dump`, `map`, `backup`, `bench` | the commands |
//! | `picture`, `svg` | what `map` draws |
//! | `json`, `text`, `progress`, `out` | output |

mod backup;
mod bench;
mod dump;
mod failure;
mod help;
mod json;
mod map;
mod options;
mod out;
mod picture;
mod progress;
mod stats;
mod store;
mod svg;
mod text;
mod verify;

use std::process::ExitCode;

use failure::Result;
use json::Json;
use options::{Command, Options};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let as_json = arguments.iter().any(|argument| argument == "--json");
    match options::parse(arguments.into_iter()).and_then(|options| run(&options)) {
        Ok(code) => code,
        Err(failure) => {
            let code = failure.exit_code();
            eprintln!("pagelog: {failure}");
            if as_json {
                let error =
                    [("error", Json::from(failure.to_string())), ("exit_code", Json::from(u64::from(code)))];
                // That the error can't be printed either changes nothing.
                let _ = out::print(&format!("{}\n", Json::object(error)));
            }
            ExitCode::from(code)
        }
    }
}

fn run(options: &Options) -> Result<ExitCode> {
    match &options.command {
        Command::Help(text) => out::print(text)?,
        Command::Version => out::print(concat!("pagelog ", env!("CARGO_PKG_VERSION"), "\n"))?,
        Command::Stats => return stats::run(options),
        Command::Verify => return verify::run(options),
        Command::DumpSegments => return dump::segments(options),
        Command::DumpRecords(filter) => return dump::records(options, filter),
        Command::Map { svg } => return map::run(options, svg.as_deref()),
        Command::Backup { to } => backup::run(options, to)?,
        Command::Bench { duration } => bench::run(options, *duration)?,
    }
    Ok(ExitCode::SUCCESS)
}
