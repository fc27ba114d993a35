//! Standard output.

use std::io::{self, BufWriter, StdoutLock, Write};

use crate::failure::{Failure, Result};

/// Prints a text that is small.
pub fn print(text: &str) -> Result<()> {
    let mut out = Out::new();
    out.put(text)?;
    out.finish()
}

/// For much output. A reader that has seen enough, like `head`, is no failure: what follows is dropped.
pub struct Out {
    /// `None` if nobody reads any more.
    to: Option<BufWriter<StdoutLock<'static>>>,
}

impl Out {
    pub fn new() -> Self {
        Self { to: Some(BufWriter::new(io::stdout().lock())) }
    }

    pub fn put(&mut self, text: &str) -> Result<()> {
        let written = self.to.as_mut().map_or(Ok(()), |to| to.write_all(text.as_bytes()));
        self.judge(written)
    }

    /// Whether anybody reads.
    pub fn is_read(&self) -> bool {
        self.to.is_some()
    }

    pub fn finish(mut self) -> Result<()> {
        let written = self.to.as_mut().map_or(Ok(()), Write::flush);
        self.judge(written)
    }

    fn judge(&mut self, written: io::Result<()>) -> Result<()> {
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.to = None;
                Ok(())
            }
            other => other.map_err(Failure::io("write the output")),
        }
    }
}
