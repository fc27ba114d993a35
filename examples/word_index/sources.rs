//! The texts to index: files of a directory, or those that are part of this program.

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};

use crate::embedded::EMBEDDED;
use crate::failure::{Failure, Result};

/// A file to index.
#[derive(Debug)]
pub struct Source {
    /// Its path below the directory, with `/` between the parts.
    pub name: String,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Embedded(&'static str),
    File(PathBuf),
}

impl Source {
    /// The text, or why it can't be had.
    pub fn read(&self) -> std::result::Result<Cow<'static, str>, String> {
        match &self.place {
            Place::Embedded(text) => Ok(Cow::Borrowed(text)),
            Place::File(path) => {
                let bytes = fs::read(path).map_err(|error| error.to_string())?;
                String::from_utf8(bytes).map(Cow::Owned).map_err(|_| "not UTF-8".to_owned())
            }
        }
    }
}

/// All files to index, sorted by name.
#[derive(Debug)]
pub struct Sources {
    files: Vec<Source>,
    text_bytes: u64,
    /// What a directory holds that can't be indexed: path and reason.
    skipped: Vec<(String, String)>,
    title: String,
}

impl Sources {
    /// The files below `directory`, except those of the store itself; without a directory, the embedded ones.
    pub fn find(directory: Option<&Path>, store: &Path) -> Result<Self> {
        let Some(directory) = directory else { return Ok(Self::embedded()) };
        let mut sources = Self {
            files: Vec::new(),
            text_bytes: 0,
            skipped: Vec::new(),
            title: directory.display().to_string(),
        };
        // A directory that can't be listed at all is a mistake of the user's, not something to skip.
        fs::read_dir(directory)
            .map_err(|error| Failure::io("read the directory", directory.display(), error))?;
        let store = fs::canonicalize(store).ok();
        sources.walk(directory, "", store.as_deref());
        sources.files.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(sources)
    }

    fn embedded() -> Self {
        let source = |(name, text): &(&'static str, &'static str)| Source {
            name: (*name).to_owned(),
            place: Place::Embedded(text),
        };
        let text_bytes = EMBEDDED.iter().map(|(_, text)| text.len() as u64).sum();
        let files = EMBEDDED.iter().map(source).collect();
        Self { files, text_bytes, skipped: Vec::new(), title: "the sources of pagelog".into() }
    }

    #[cfg(test)]
    pub fn of(texts: &[(&'static str, &'static str)]) -> Self {
        let source = |(name, text): &(&'static str, &'static str)| Source {
            name: (*name).to_owned(),
            place: Place::Embedded(text),
        };
        let files = texts.iter().map(source).collect();
        Self { files, text_bytes: 0, skipped: Vec::new(), title: "texts".into() }
    }

    fn walk(&mut self, directory: &Path, prefix: &str, store: Option<&Path>) {
        if store.is_some() && fs::canonicalize(directory).ok().as_deref() == store {
            return;
        }
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) => return self.skip(directory, &error.to_string()),
        };
        for entry in entries {
            match entry {
                Ok(entry) => self.visit(&entry, prefix, store),
                Err(error) => self.skip(directory, &error.to_string()),
            }
        }
    }

    fn visit(&mut self, entry: &fs::DirEntry, prefix: &str, store: Option<&Path>) {
        let path = entry.path();
        let name = entry.file_name();
        let Some(name) = name.to_str() else { return self.skip(&path, "its name is not UTF-8") };
        if name.starts_with('.') {
            return;
        }
        let name = format!("{prefix}{name}");
        // Links are followed to files only, so that walking ends; pipes and devices are not files, so reading
        // ends.
        let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
        match fs::metadata(&path) {
            Ok(about) if about.is_dir() && is_link => {}
            Ok(about) if about.is_dir() => self.walk(&path, &format!("{name}/"), store),
            Ok(about) if about.is_file() => {
                self.text_bytes += about.len();
                self.files.push(Source { name, place: Place::File(path) });
            }
            Ok(_) => self.skip(&path, "not a regular file"),
            Err(error) => self.skip(&path, &error.to_string()),
        }
    }

    fn skip(&mut self, path: &Path, reason: &str) {
        self.skipped.push((path.display().to_string(), reason.to_owned()));
    }

    pub fn files(&self) -> &[Source] {
        &self.files
    }

    pub fn text_bytes(&self) -> u64 {
        self.text_bytes
    }

    pub fn skipped(&self) -> &[(String, String)] {
        &self.skipped
    }

    pub fn title(&self) -> &str {
        &self.title
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::Sources;

    #[test]
    fn a_directory_is_walked_without_the_store_in_it() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for name in ["b/store", "b/c", ".hidden"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        for name in ["z.txt", "b/a.txt", "b/c/d.txt", "b/store/log", ".hidden/x"] {
            fs::write(root.join(name), "text").unwrap();
        }
        let sources = Sources::find(Some(root), &root.join("b/store")).unwrap();
        let names: Vec<_> = sources.files().iter().map(|source| source.name.as_str()).collect();
        assert_eq!(names, ["b/a.txt", "b/c/d.txt", "z.txt"]);
        assert_eq!(sources.text_bytes(), 12);
    }

    #[test]
    fn bytes_that_are_no_text_have_a_reason() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("picture"), [0xFF, 0xD8]).unwrap();
        let sources = Sources::find(Some(directory.path()), directory.path().join("none").as_path()).unwrap();
        assert_eq!(sources.files()[0].read().unwrap_err(), "not UTF-8");
    }
}
