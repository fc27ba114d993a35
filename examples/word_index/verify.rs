//! Is the index right? A second count, made the plain way, and compared with every page of the store.
//!
//! The second count reads the texts again and fills a map in memory; of the index it uses only the names that
//! files have in postings. A file that was changed by somebody since it was indexed is left out on both
//! sides, and reported.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::failure::{Failure, Result};
use crate::files::Fingerprint;
use crate::index::Index;
use crate::progress::Progress;
use crate::sources::Sources;
use crate::tokens;
use crate::words::{Posting, Words};

/// How many differences are described.
const SHOWN: usize = 10;

/// Word → file → lines.
type Recount = BTreeMap<String, BTreeMap<u64, Vec<u32>>>;

/// What was compared.
#[derive(Clone, Debug, Default)]
pub struct Verified {
    pub files: usize,
    pub distinct_words: usize,
    pub occurrences: u64,
    pub postings: usize,
    /// Files that were changed since they were indexed.
    pub changed: Vec<String>,
    differences: Vec<String>,
}

/// Compares the index with the texts.
pub fn compare(index: &Index, sources: &Sources) -> Result<Verified> {
    let mut verified = Verified::default();
    let (mut recount, left_out) = count_again(index, sources, &mut verified)?;
    let progress = Progress::new("verifying", usize::try_from(index.buckets()).unwrap_or(usize::MAX));
    for bucket in 0..index.buckets() {
        index.with_bucket(bucket, |words| {
            compare_bucket(index, bucket, words, &left_out, &mut recount, &mut verified);
        })?;
        progress.advance("");
    }
    for (word, files) in recount {
        verified.differences.push(format!("{word}: not in the index, but in {} files", files.len()));
    }
    Ok(verified)
}

/// Counts the words of all indexed files. Also returns the ids of files that can't be counted.
fn count_again(
    index: &Index,
    sources: &Sources,
    verified: &mut Verified,
) -> Result<(Recount, BTreeSet<u64>)> {
    let mut recount = Recount::new();
    let mut indexed = index.files()?;
    let progress = Progress::new("counting", sources.files().len());
    for source in sources.files() {
        progress.advance(&source.name);
        let Ok(text) = source.read() else { continue };
        let Some(entry) = indexed.get(&source.name) else {
            verified.changed.push(source.name.clone());
            continue;
        };
        if entry.fingerprint != Some(Fingerprint::of(&text)) {
            continue;
        }
        for (line, word) in tokens::words(&text) {
            recount.entry(word).or_default().entry(entry.id).or_default().push(line);
        }
        verified.files += 1;
        indexed.remove(&source.name);
    }
    let left_out = indexed.values().map(|entry| entry.id).collect();
    verified.changed.extend(indexed.into_keys());
    Ok((recount, left_out))
}

/// Compares a bucket with the recount, and strikes out there what is right.
fn compare_bucket(
    index: &Index,
    bucket: u64,
    words: &Words,
    left_out: &BTreeSet<u64>,
    recount: &mut Recount,
    verified: &mut Verified,
) {
    for (word, postings) in words.postings() {
        if index.bucket_of(word) != bucket {
            verified.differences.push(format!("{word}: in bucket {bucket}, where nobody looks for it"));
        }
        let mut expected = recount.remove(&**word).unwrap_or_default();
        for posting in postings.iter().filter(|posting| !left_out.contains(&posting.file)) {
            let lines = expected.remove(&posting.file).unwrap_or_default();
            if *posting != Posting::new(posting.file, &lines) {
                let (file, there) = (posting.file, lines.len());
                verified
                    .differences
                    .push(format!("{word}: not as in file {file}, which has it {there} times"));
            }
            verified.postings += 1;
            verified.occurrences += posting.count();
        }
        for file in expected.into_keys() {
            verified.differences.push(format!("{word}: the index does not know that file {file} has it"));
        }
        verified.distinct_words += 1;
    }
}

impl Verified {
    /// Whether there was no difference.
    pub fn is_right(&self) -> bool {
        self.differences.is_empty()
    }

    /// Fails if there was a difference.
    pub fn check(&self) -> Result<()> {
        if self.is_right() {
            return Ok(());
        }
        let mut verdict = format!("the index is wrong in {} places:", self.differences.len());
        for difference in self.differences.iter().take(SHOWN) {
            let _ = write!(verdict, "\n  {difference}");
        }
        Err(Failure::Verdict(verdict))
    }
}
