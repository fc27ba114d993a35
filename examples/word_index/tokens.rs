//! From text to words.
//!
//! A word is a run of letters and digits that begins with a letter, in lower case, two to sixty-four bytes
//! long. Underscores separate, so that `page_id` is found by `page`.

/// Longer runs are not words but data: keys, hashes, encoded pictures.
const LONGEST: usize = 64;

/// The words of a text, each with the number of its line, from 1.
pub fn words(text: &str) -> impl Iterator<Item = (u32, String)> + '_ {
    (1..).zip(text.lines()).flat_map(|(number, line)| {
        let runs = line.split(|letter: char| !letter.is_alphanumeric());
        let runs = runs.filter(|run| run.starts_with(char::is_alphabetic));
        let words = runs.map(str::to_lowercase).filter(|word| (2..=LONGEST).contains(&word.len()));
        words.map(move |word| (number, word))
    })
}

/// FNV-1a, 64 bits: the same on every machine and in every version, as what decides where things are stored
/// has to be.
pub fn hash(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3))
}

#[cfg(test)]
mod tests {
    use super::{hash, words};

    #[test]
    fn words_are_runs_of_letters_with_their_lines() {
        let found: Vec<_> = words("The page_id: 12\n\nÄrger, x 4k k4 PageCache").collect();
        let expected = [(1, "the"), (1, "page"), (1, "id"), (3, "ärger"), (3, "k4"), (3, "pagecache")];
        assert_eq!(found, expected.map(|(line, word)| (line, word.to_owned())));
    }

    #[test]
    fn the_hash_is_the_published_one() {
        assert_eq!(hash(b""), 0xCBF2_9CE4_8422_2325);
        assert_eq!(hash(b"foobar"), 0x8594_4171_F739_67E8);
    }
}
