//! How far a long piece of work is: a bar on a terminal, now and then a line elsewhere. On standard error.

use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use pagelog::Progress;

use crate::text;

const WIDTH: usize = 30;
/// Between two pictures of the bar, and between two lines.
const BAR_PAUSE: Duration = Duration::from_millis(50);
const LINE_PAUSE: Duration = Duration::from_secs(2);

pub struct Bar {
    title: &'static str,
    shown: Shown,
    began: Instant,
    last: Option<Instant>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    Bar,
    Lines,
    Nothing,
}

impl Bar {
    pub fn new(title: &'static str, quiet: bool) -> Self {
        let shown = match (quiet, io::stderr().is_terminal()) {
            (true, _) => Shown::Nothing,
            (false, true) => Shown::Bar,
            (false, false) => Shown::Lines,
        };
        Self { title, shown, began: Instant::now(), last: None }
    }

    /// What the library calls.
    pub fn tell(&mut self, progress: Progress) -> ControlFlow<()> {
        let pause = if self.shown == Shown::Bar { BAR_PAUSE } else { LINE_PAUSE };
        let is_last = progress.done >= progress.total;
        if self.shown != Shown::Nothing && (is_last || self.last.unwrap_or(self.began).elapsed() >= pause) {
            self.last = Some(Instant::now());
            self.show(progress);
        }
        ControlFlow::Continue(())
    }

    fn show(&self, progress: Progress) {
        let fraction = progress.fraction().clamp(0.0, 1.0);
        let Self { title, .. } = self;
        let (done, total) = (text::bytes(progress.done), text::bytes(progress.total));
        let mut to = io::stderr().lock();
        // A progress that can't be shown is no failure.
        let _ = if self.shown == Shown::Bar {
            let full = (fraction * WIDTH as f64) as usize;
            let bar = format!("{}{}", "█".repeat(full), "░".repeat(WIDTH - full));
            write!(to, "\r{title} {bar} {:3.0} %  {done} of {total}\x1b[K", 100.0 * fraction)
        } else {
            writeln!(to, "{title}: {:.0} %, {done} of {total}", 100.0 * fraction)
        };
        let _ = to.flush();
    }

    /// Clears the line. To be called before anything else is printed.
    pub fn finish(self) {
        if self.shown == Shown::Bar {
            let mut to = io::stderr().lock();
            let _ = write!(to, "\r\x1b[K");
            let _ = to.flush();
        }
    }
}
