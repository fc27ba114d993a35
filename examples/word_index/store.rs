//! Where the store is: in a directory that the user wants to keep, or in a temporary one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Result};

pub struct StorePlace {
    path: PathBuf,
    is_new: bool,
    is_temporary: bool,
}

impl StorePlace {
    pub fn choose(kept: Option<&Path>) -> Result<Self> {
        match kept {
            Some(path) => {
                let is_new = !path.join("MANIFEST").exists();
                Ok(Self { path: path.to_owned(), is_new, is_temporary: false })
            }
            None => Ok(Self { path: make_temporary()?, is_new: true, is_temporary: true }),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// Removes a temporary store, and says so if that fails.
    pub fn clean_up(mut self) -> Result<()> {
        self.remove()
    }

    fn remove(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.is_temporary) {
            return Ok(());
        }
        fs::remove_dir_all(&self.path).map_err(|error| Failure::io("remove", self.path.display(), error))
    }
}

impl Drop for StorePlace {
    fn drop(&mut self) {
        // Only left to do if the run has failed; then that failure is what the user should hear of.
        let _ = self.remove();
    }
}

/// A directory that did not exist before.
fn make_temporary() -> Result<PathBuf> {
    let process = std::process::id();
    for attempt in 0.. {
        let path = std::env::temp_dir().join(format!("pagelog-word-index-{process}-{attempt}"));
        match fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Failure::io("create", path.display(), error)),
        }
    }
    Err(Failure::Strange("no name is left for a temporary directory".into()))
}
