//! A process of its own for each group and engine, and what it says.
//!
//! The child prints a line for each figure, `cell NAME VALUE` or, with the raw control that was measured
//! beside it, `cell NAME VALUE RAW`; and `note TEXT` for what should be known of it. What it checks and does
//! not find ends it by a panic, and its figures do not count.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Which group the process is to measure, `group/engine`.
const ROLE: &str = "PEERS_ROLE";
/// Which step of it, if that takes a process of its own.
const STEP: &str = "PEERS_STEP";
/// Where its files go.
const PLACE: &str = "PEERS_PLACE";

/// What a process is there for.
#[derive(Clone, Debug)]
pub struct Role {
    pub group: String,
    pub engine: String,
    pub step: String,
    pub place: std::path::PathBuf,
}

impl Role {
    /// That of this process, unless it is the one that starts the others.
    pub fn of_this_process() -> Option<Self> {
        let role = std::env::var(ROLE).ok()?;
        let (group, engine) = role.split_once('/')?;
        let step = std::env::var(STEP).unwrap_or_default();
        let place = std::env::var_os(PLACE)?.into();
        Some(Self { group: group.into(), engine: engine.into(), step, place })
    }

    /// Starts a process for it.
    pub fn start(&self) -> Child {
        let this = std::env::current_exe().expect("this program");
        let mut command = Command::new(this);
        command.env(ROLE, format!("{}/{}", self.group, self.engine));
        command.env(STEP, &self.step).env(PLACE, &self.place);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a process")
    }

    /// The same engine and group with another step, in another folder.
    pub fn step(&self, step: &str, place: &Path) -> Self {
        Self { step: step.into(), place: place.into(), ..self.clone() }
    }

    /// Does a step in a process of its own, and returns the numbers that it prints.
    pub fn run(&self) -> Vec<f64> {
        let mut child = self.start();
        let mut text = String::new();
        child.stdout.take().expect("a pipe").read_to_string(&mut text).expect("what it prints");
        assert!(child.wait().expect("it ends").success(), "{} of {} failed", self.step, self.engine);
        text.split_whitespace().map(|word| word.parse().expect("a number")).collect()
    }
}

/// Says a figure.
pub fn say(cell: &str, value: f64) {
    println!("cell {cell} {value}");
}

/// Says a figure, and the raw control's beside it.
pub fn say_with_raw(cell: &str, value: f64, raw: f64) {
    println!("cell {cell} {value} {raw}");
}

/// Says something that should be known of the figures.
pub fn note(text: &str) {
    println!("note {text}");
}

/// One figure as a child said it.
#[derive(Clone, Debug)]
pub struct Figure {
    pub cell: String,
    pub value: f64,
    pub raw: Option<f64>,
}

/// All that a child said, or what was wrong.
#[derive(Clone, Debug, Default)]
pub struct Said {
    pub figures: Vec<Figure>,
    pub notes: Vec<String>,
    pub failure: Option<String>,
}

/// Waits for a child, but not for ever.
pub fn listen(mut child: Child, patience: Duration) -> Said {
    let stdout = child.stdout.take().expect("a pipe");
    let reader = std::thread::spawn(move || {
        let mut said = Said::default();
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            said.hear(&line);
        }
        said
    });
    let start = Instant::now();
    let failure = loop {
        match child.try_wait().expect("a child") {
            Some(status) if status.success() => break None,
            Some(status) => break Some(format!("ended with {status}")),
            None if start.elapsed() > patience => {
                let _ = child.kill();
                let _ = child.wait();
                break Some(format!("given up after {patience:?}"));
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    let mut said = reader.join().unwrap_or_default();
    if failure.is_some() {
        said.figures.clear();
    }
    Said { failure, ..said }
}

impl Said {
    fn hear(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("cell") => {
                let cell = words.next().unwrap_or_default().to_owned();
                let mut numbers = words.filter_map(|word| word.parse().ok());
                if let Some(value) = numbers.next() {
                    self.figures.push(Figure { cell, value, raw: numbers.next() });
                }
            }
            Some("note") => self.notes.push(line["note".len()..].trim().to_owned()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Said;

    #[test]
    fn figures_are_heard_with_and_without_a_control() {
        let mut said = Said::default();
        let lines = ["cell link_1 12.5", "cell miss 3 4", "note all is well", "noise"];
        lines.iter().for_each(|line| said.hear(line));
        assert_eq!(said.figures.len(), 2);
        assert_eq!((said.figures[0].value, said.figures[0].raw), (12.5, None));
        assert_eq!((said.figures[1].value, said.figures[1].raw), (3.0, Some(4.0)));
        assert_eq!(said.notes, ["all is well"]);
    }
}
