//! A bar on the terminal, for those who wait. Nothing at all if standard error goes elsewhere.

use std::io::{self, IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

const WIDTH: usize = 30;
const PAUSE: Duration = Duration::from_millis(50);

pub struct Progress {
    title: &'static str,
    total: usize,
    /// How much is done, and when that was last shown. `None` if nobody looks.
    shown: Option<Mutex<(usize, Option<Instant>)>>,
}

impl Progress {
    pub fn new(title: &'static str, total: usize) -> Self {
        let looked_at = io::stderr().is_terminal();
        Self { title, total, shown: looked_at.then(|| Mutex::new((0, None))) }
    }

    /// One more is done. Called by many threads.
    pub fn advance(&self, name: &str) {
        let Some(shown) = &self.shown else { return };
        let Ok(mut shown) = shown.lock() else { return };
        shown.0 += 1;
        if shown.1.is_none_or(|at| at.elapsed() >= PAUSE) {
            shown.1 = Some(Instant::now());
            self.draw(shown.0, name);
        }
    }

    fn draw(&self, done: usize, name: &str) {
        let filled = (WIDTH * done).checked_div(self.total).unwrap_or(WIDTH).min(WIDTH);
        let bar = format!("{}{}", "#".repeat(filled), "-".repeat(WIDTH - filled));
        let name: String = name.chars().filter(|letter| !letter.is_control()).take(36).collect();
        // A terminal that is gone is no reason to stop.
        let _ = write!(io::stderr(), "\r\x1b[K{:10} [{bar}] {done}/{} {name}", self.title, self.total);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown.is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
