//! A bucket of words, and what a file changes in one.
//!
//! Both are the same type. A page is words of many files; a change is the words of *one* file, and says so:
//! whatever the page had of that file before is void. So a change can be repeated, and a newer one takes the
//! place of an older one, by merging alone.
//!
//! On disk the words are sorted, and each is written as what it does not share with the one before it; ids of
//! files and numbers of lines are written as differences. A line that has a word twice takes hardly more than
//! one that has it once, so a dump full of `ff` stays small. A posting of a file that mentions a word on two
//! lines takes about four bytes.

use std::collections::BTreeMap;

use pagelog::CodecError;

use crate::codec::{Bytes, put, put_text};

/// Where a file mentions a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posting {
    pub file: u64,
    /// By rising line.
    mentions: Box<[Mention]>,
}

/// How often a line mentions a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mention {
    line: u32,
    times: u32,
}

impl Posting {
    /// Takes the line of each occurrence, in order.
    pub fn new(file: u64, lines: &[u32]) -> Self {
        let mention =
            |of_line: &[u32]| Some(Mention { line: *of_line.first()?, times: of_line.len() as u32 });
        Self { file, mentions: lines.chunk_by(u32::eq).filter_map(mention).collect() }
    }

    /// How often the file mentions the word.
    pub fn count(&self) -> u64 {
        self.mentions.iter().map(|mention| u64::from(mention.times)).sum()
    }

    /// The line of the first occurrence.
    pub fn first_line(&self) -> u32 {
        self.mentions.first().map_or(0, |mention| mention.line)
    }
}

/// For each word the files that mention it, by rising id.
pub type Postings = BTreeMap<Box<str>, Vec<Posting>>;

#[derive(Debug, PartialEq, Eq)]
pub struct Words {
    /// The file that this is a change of.
    file: Option<u64>,
    postings: Postings,
    /// Counted once, since the cache asks more than once.
    heap_size: usize,
}

impl Words {
    /// An empty bucket.
    pub fn new() -> Self {
        Self::from_parts(None, Postings::new())
    }

    /// What a file has in a bucket, by word; all that it has.
    pub fn change(file: u64, words: BTreeMap<Box<str>, Vec<u32>>) -> Self {
        let postings =
            words.into_iter().map(|(word, lines)| (word, vec![Posting::new(file, &lines)])).collect();
        Self::from_parts(Some(file), postings)
    }

    fn from_parts(file: Option<u64>, postings: Postings) -> Self {
        let heap_size = postings.iter().map(|(word, postings)| heap_size_of(word, postings)).sum();
        Self { file, postings, heap_size }
    }

    pub fn postings(&self) -> &Postings {
        &self.postings
    }

    pub fn heap_size(&self) -> usize {
        self.heap_size
    }

    /// One bucket out of a bucket and the changes since.
    pub fn merge<'a>(oldest_to_newest: impl Iterator<Item = &'a Self>) -> Self {
        let mut merged = Postings::new();
        for words in oldest_to_newest {
            if let Some(file) = words.file {
                forget(&mut merged, file);
            }
            for (word, postings) in &words.postings {
                match merged.get_mut(word) {
                    Some(known) => add(known, postings),
                    None => drop(merged.insert(word.clone(), postings.clone())),
                }
            }
        }
        Self::from_parts(None, merged)
    }

    pub fn encode(&self, into: &mut Vec<u8>) {
        put(into, self.file.map_or(0, |file| file + 1));
        put(into, self.postings.len() as u64);
        let mut before = "";
        for (word, postings) in &self.postings {
            put_text(into, before, word);
            before = word;
            put(into, postings.len() as u64);
            let mut file = 0;
            for posting in postings {
                put(into, posting.file - file);
                file = posting.file;
                encode_mentions(&posting.mentions, into);
            }
        }
    }

    pub fn decode(bytes: &mut Bytes<'_>) -> Result<Self, CodecError> {
        let file = bytes.number()?.checked_sub(1);
        let mut postings = Postings::new();
        let mut before: Box<str> = "".into();
        for _ in 0..bytes.count()? {
            let word = bytes.text(&before)?;
            postings.insert(word.clone(), decode_postings(bytes)?);
            before = word;
        }
        Ok(Self::from_parts(file, postings))
    }
}

fn decode_postings(bytes: &mut Bytes<'_>) -> Result<Vec<Posting>, CodecError> {
    let mut postings = Vec::new();
    let mut file = 0u64;
    for _ in 0..bytes.count()? {
        file = file.checked_add(bytes.number()?).ok_or("an id above 64 bits")?;
        postings.push(Posting { file, mentions: decode_mentions(bytes)? });
    }
    Ok(postings)
}

/// For each line the difference to the one before, doubled; odd if a number of times follows.
fn encode_mentions(mentions: &[Mention], into: &mut Vec<u8>) {
    put(into, mentions.len() as u64);
    let mut before = 0;
    for Mention { line, times } in mentions {
        put(into, u64::from(line - before) << 1 | u64::from(*times > 1));
        if *times > 1 {
            put(into, u64::from(*times));
        }
        before = *line;
    }
}

fn decode_mentions(bytes: &mut Bytes<'_>) -> Result<Box<[Mention]>, CodecError> {
    let mut mentions = Vec::new();
    let mut line = 0u32;
    for _ in 0..bytes.count()? {
        let number = bytes.number()?;
        let difference = u32::try_from(number >> 1).ok();
        line = difference.and_then(|it| line.checked_add(it)).ok_or("a line above 32 bits")?;
        let times = if number & 1 == 1 { bytes.small()? } else { 1 };
        mentions.push(Mention { line, times });
    }
    Ok(mentions.into())
}

fn forget(postings: &mut Postings, file: u64) {
    postings.retain(|_, of_word| {
        if let Ok(at) = of_word.binary_search_by_key(&file, |posting| posting.file) {
            of_word.remove(at);
        }
        !of_word.is_empty()
    });
}

fn add(known: &mut Vec<Posting>, more: &[Posting]) {
    for posting in more {
        let at = known.partition_point(|other| other.file < posting.file);
        known.insert(at, posting.clone());
    }
}

/// An entry of the map, and all that it points to.
fn heap_size_of(word: &str, postings: &[Posting]) -> usize {
    let mentions: usize = postings.iter().map(|posting| size_of_val(&*posting.mentions)).sum();
    size_of::<(Box<str>, Vec<Posting>)>() + word.len() + size_of_val(postings) + mentions
}

#[cfg(test)]
mod tests {
    use super::{Bytes, Posting, Words};

    fn change(file: u64, words: &[(&str, &[u32])]) -> Words {
        Words::change(file, words.iter().map(|(word, lines)| ((*word).into(), lines.to_vec())).collect())
    }

    #[test]
    fn a_change_takes_the_place_of_all_that_its_file_had() {
        let old = change(7, &[("lock", &[1, 1]), ("log", &[2])]);
        let other = change(3, &[("lock", &[9])]);
        let new = change(7, &[("lock", &[4])]);
        let page = Words::merge([&Words::new(), &old, &other, &new].into_iter());
        assert_eq!(page.postings().len(), 1, "7 does not mention the log any more");
        assert_eq!(page.postings()["lock"], [Posting::new(3, &[9]), Posting::new(7, &[4])]);
    }

    #[test]
    fn an_older_part_can_be_merged_first() {
        let changes = [change(1, &[("ab", &[1])]), change(2, &[("ab", &[2])]), change(1, &[("abc", &[3])])];
        let whole = Words::merge(changes.iter());
        let part = Words::merge(changes.iter().take(2));
        assert_eq!(Words::merge([&part, &changes[2]].into_iter()), whole);
    }

    #[test]
    fn what_was_written_is_read_and_nothing_less() {
        let change = change(300, &[("lock", &[1, 1, 500]), ("locks", &[70_000]), ("ärger", &[2])]);
        for words in [Words::merge([&change].into_iter()), change] {
            let mut bytes = Vec::new();
            words.encode(&mut bytes);
            assert_eq!(Words::decode(&mut Bytes::new(&bytes)).unwrap(), words);
            for length in 0..bytes.len() {
                assert!(Words::decode(&mut Bytes::new(&bytes[..length])).is_err(), "{length}");
            }
        }
    }
}
