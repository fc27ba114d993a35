//! A shelf: what the index knows about some of the files, and what changes in that.

use std::collections::BTreeMap;

use pagelog::CodecError;

use crate::codec::{Bytes, put, put_runs, put_text};
use crate::tokens;

/// An indexed file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEntry {
    /// Its short name in postings.
    pub id: u64,
    /// Its text when it was indexed. `None` while that is under way, or if it was interrupted.
    pub fingerprint: Option<Fingerprint>,
    /// The buckets that it may have words in, rising.
    pub buckets: Vec<u64>,
}

/// By what a text is known again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    length: u64,
    hash: u64,
}

impl Fingerprint {
    pub fn of(text: &str) -> Self {
        Self { length: text.len() as u64, hash: tokens::hash(text.as_bytes()) }
    }
}

/// Files by name. In a change, `None` says that a file is gone.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Files(BTreeMap<Box<str>, Option<FileEntry>>);

impl Files {
    pub fn change(name: &str, entry: Option<FileEntry>) -> Self {
        Self([(name.into(), entry)].into())
    }

    pub fn get(&self, name: &str) -> Option<&FileEntry> {
        self.0.get(name)?.as_ref()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &FileEntry)> {
        self.0.iter().filter_map(|(name, entry)| Some((&**name, entry.as_ref()?)))
    }

    /// The newest news of each file counts. Under all changes there is always a whole page, so who is gone
    /// needs no mention.
    pub fn merge<'a>(oldest_to_newest: impl Iterator<Item = &'a Self>) -> Self {
        let mut merged = BTreeMap::new();
        for (name, entry) in oldest_to_newest.flat_map(|files| &files.0) {
            match entry {
                Some(entry) => merged.insert(name.clone(), Some(entry.clone())),
                None => merged.remove(name),
            };
        }
        Self(merged)
    }

    pub fn heap_size(&self) -> usize {
        let slot = size_of::<(Box<str>, Option<FileEntry>)>();
        let names: usize = self.0.keys().map(|name| slot + name.len()).sum();
        names + self.iter().map(|(_, entry)| size_of_val(&*entry.buckets)).sum::<usize>()
    }

    pub fn encode(&self, into: &mut Vec<u8>) {
        put(into, self.0.len() as u64);
        let mut before = "";
        for (name, entry) in &self.0 {
            put_text(into, before, name);
            before = name;
            put(into, entry.as_ref().map_or(0, |entry| entry.id + 1));
            if let Some(entry) = entry {
                put(into, u64::from(entry.fingerprint.is_some()));
                if let Some(Fingerprint { length, hash }) = entry.fingerprint {
                    put(into, length);
                    put(into, hash);
                }
                put_runs(into, &entry.buckets);
            }
        }
    }

    pub fn decode(bytes: &mut Bytes<'_>) -> Result<Self, CodecError> {
        let mut files = BTreeMap::new();
        let mut before: Box<str> = "".into();
        for _ in 0..bytes.count()? {
            let name = bytes.text(&before)?;
            let entry = match bytes.number()?.checked_sub(1) {
                None => None,
                Some(id) => {
                    let fingerprint = match bytes.number()? {
                        0 => None,
                        _ => Some(Fingerprint { length: bytes.number()?, hash: bytes.number()? }),
                    };
                    Some(FileEntry { id, fingerprint, buckets: bytes.runs()? })
                }
            };
            files.insert(name.clone(), entry);
            before = name;
        }
        Ok(Self(files))
    }
}

#[cfg(test)]
mod tests {
    use super::{Bytes, FileEntry, Files, Fingerprint};

    fn entry(id: u64, text: &str) -> Option<FileEntry> {
        Some(FileEntry { id, fingerprint: Some(Fingerprint::of(text)), buckets: vec![1, 2, 3, id] })
    }

    #[test]
    fn the_newest_news_count() {
        let news = [
            Files::change("a", entry(10, "one")),
            Files::change("b", entry(11, "two")),
            Files::change("a", None),
            Files::change("b", entry(11, "three")),
        ];
        let shelf = Files::merge(news.iter());
        assert_eq!(shelf.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["b"]);
        assert_eq!(shelf.get("b").unwrap().fingerprint, Some(Fingerprint::of("three")));
    }

    #[test]
    fn what_was_written_is_read() {
        let begun = FileEntry { id: 10, fingerprint: None, buckets: Vec::new() };
        for entry in [entry(10, "x"), Some(begun), None] {
            let files = Files::change("src/a.rs", entry);
            let mut bytes = Vec::new();
            files.encode(&mut bytes);
            assert_eq!(Files::decode(&mut Bytes::new(&bytes)).unwrap(), files);
        }
    }
}
