//! A program for tests that need a process: it writes to a store, says what is acknowledged, and looks what
//! is there.
//!
//! ```text
//! store write DIRECTORY SEED ACKNOWLEDGED STEPS     `ack N` after each flush; 0 steps: until it is stopped
//! store check DIRECTORY SEED ACKNOWLEDGED           `found N`, or fails
//! ```
//!
//! In both, ACKNOWLEDGED is how many steps of the history (`tests/support/history.rs`) must be there at
//! least. With `PAGELOG_BACKGROUND` set the store has a thread of its own; with `PAGELOG_DISK_IS_GONE` set it
//! ends at the first error.
//!
//! When something fails, the writer says so: `refused` if a call has failed and the store goes on, `poisoned`
//! if it writes no more, and then it checks that this is so. It ends with 0 if all went well, 3 if something
//! was refused and then all went well, 4 if it was poisoned, 5 if the store did not open. 1 and 101 mean that
//! a promise was broken.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../support/history.rs"]
mod history;

use std::io::Write;
use std::process::ExitCode;

use common::Bytes;
use history::Player;
use pagelog::{Config, Error, PageCache};

/// A step that is refused is tried again so often.
const TRIES: u32 = 3;

fn open(directory: &str) -> Result<PageCache<Bytes>, Error> {
    let background = std::env::var_os("PAGELOG_BACKGROUND").is_some();
    history::config(Config::new(directory)).background(background).open()
}

fn is_disk_gone() -> bool {
    std::env::var_os("PAGELOG_DISK_IS_GONE").is_some()
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

fn broken(what: &str) -> ExitCode {
    say(&format!("BROKEN: {what}"));
    ExitCode::from(1)
}

/// The rest of a writer's life after an error that is final.
fn end_poisoned(mut player: Player, error: &Error) -> ExitCode {
    say(&format!("poisoned: {error}"));
    if !matches!(player.step(), Err(Error::Poisoned { .. })) {
        return broken("a step after the poison");
    }
    if !matches!(player.cache.flush(), Err(Error::Poisoned { .. })) {
        return broken("a flush after the poison");
    }
    match player.is_intact() {
        _ if is_disk_gone() => ExitCode::from(4),
        Ok(true) => ExitCode::from(4),
        Ok(false) => broken("what is read after the poison is not what was written"),
        Err(error) => broken(&error),
    }
}

/// A step is refused for good. That is as it should be if it needs the directory, whose sync has failed; all
/// others go on.
fn end_refused(player: &Player, error: &Error) -> ExitCode {
    if !error.to_string().ends_with("an earlier sync of the directory has failed") {
        return broken("it goes on refusing");
    }
    match player.cache.flush() {
        Ok(()) => say(&format!("ack {}", player.steps)),
        Err(error) => return broken(&format!("a flush after a failed sync of the directory: {error}")),
    }
    ExitCode::from(3)
}

fn write(mut player: Player, steps: u64) -> ExitCode {
    let last = if steps == 0 { u64::MAX } else { player.steps + steps };
    let mut refused = 0;
    while player.steps < last {
        let done = player.step().and_then(|()| match player.steps % 8 {
            0 => player.cache.flush().map(|_| say(&format!("ack {}", player.steps))),
            _ => Ok(()),
        });
        match done {
            Ok(()) => {}
            Err(error @ Error::Poisoned { .. }) => return end_poisoned(player, &error),
            Err(error) => {
                say(&format!("refused: {error}"));
                refused += 1;
                if is_disk_gone() {
                    return ExitCode::from(4);
                }
                if refused > TRIES {
                    return end_refused(&player, &error);
                }
            }
        }
    }
    match player.cache.close() {
        Ok(()) => say(&format!("ack {}", player.steps)),
        Err(error) => {
            say(&format!("refused: {error}"));
            refused += 1;
        }
    }
    ExitCode::from(if refused > 0 { 3 } else { 0 })
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse::<u64>().expect("a number");
    let (directory, seed, acknowledged, steps) = match arguments[..] {
        ["write", directory, seed, acknowledged, steps] => {
            (directory, number(seed), number(acknowledged), Some(number(steps)))
        }
        ["check", directory, seed, acknowledged] => (directory, number(seed), number(acknowledged), None),
        _ => return broken("see the head of tests/programs/store.rs for how to use this"),
    };
    let cache = match open(directory) {
        Ok(cache) => cache,
        Err(error) => {
            say(&format!("refused: {error}"));
            return ExitCode::from(5);
        }
    };
    match (Player::new(cache, seed, acknowledged), steps) {
        (Err(error), _) => broken(&error),
        (Ok(player), Some(steps)) => write(player, steps),
        (Ok(player), None) => {
            let report = player.cache.verify();
            if !report.as_ref().is_ok_and(pagelog::VerifyReport::is_sound) {
                return broken(&format!("verify: {report:?}"));
            }
            say(&format!("found {}", player.steps));
            ExitCode::SUCCESS
        }
    }
}
