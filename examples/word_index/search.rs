//! Queries: which files contain all of some words.
//!
//! A file is as good as its count of the word that it has least of, so one that is about all of the words
//! comes before one that is about one of them and mentions the others; then the sum of the counts decides,
//! then the name.

use std::collections::BTreeMap;
use std::fmt;

use crate::failure::Result;
use crate::index::Index;
use crate::words::Posting;

/// How many files of an answer are printed.
const SHOWN: usize = 20;

/// The answer to a query.
pub struct Answer {
    words: Vec<String>,
    /// The best first.
    hits: Vec<Hit>,
}

struct Hit {
    name: String,
    /// For each word of the query.
    mentions: Vec<Mentions>,
}

/// How often a file mentions a word, and where first.
#[derive(Clone, Copy)]
struct Mentions {
    count: u64,
    first_line: u32,
}

impl Hit {
    fn rank(&self) -> (u64, u64) {
        let counts = || self.mentions.iter().map(|mentions| mentions.count);
        (counts().min().unwrap_or(0), counts().sum())
    }
}

impl Index {
    /// The files that contain all of the words.
    pub fn search(&self, words: &[String]) -> Result<Answer> {
        let mut by_file: BTreeMap<u64, Vec<Mentions>> = BTreeMap::new();
        for word in words {
            for posting in self.postings(word)? {
                let mentions = Mentions { count: posting.count(), first_line: posting.first_line() };
                by_file.entry(posting.file).or_default().push(mentions);
            }
        }
        // The words are different ones, so a file with as many entries as there are words has them all.
        by_file.retain(|_, mentions| mentions.len() == words.len());
        let mut hits = Vec::new();
        for (name, entry) in self.files()? {
            if let Some(mentions) = by_file.remove(&entry.id) {
                hits.push(Hit { name, mentions });
            }
        }
        hits.sort_by(|one, other| other.rank().cmp(&one.rank()).then_with(|| one.name.cmp(&other.name)));
        Ok(Answer { words: words.to_vec(), hits })
    }

    fn postings(&self, word: &str) -> Result<Vec<Posting>> {
        let postings = self.with_bucket(self.bucket_of(word), |words| words.postings().get(word).cloned())?;
        Ok(postings.unwrap_or_default())
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "query {}: {} files", self.words.join(","), self.hits.len())?;
        for hit in self.hits.iter().take(SHOWN) {
            let mentions = self.words.iter().zip(&hit.mentions);
            let mentions = mentions
                .map(|(word, Mentions { count, first_line })| format!("{word} {count} (line {first_line})"));
            writeln!(formatter, "  {:40} {}", hit.name, mentions.collect::<Vec<_>>().join(", "))?;
        }
        if self.hits.len() > SHOWN {
            writeln!(formatter, "  and {} more", self.hits.len() - SHOWN)?;
        }
        writeln!(formatter)
    }
}
