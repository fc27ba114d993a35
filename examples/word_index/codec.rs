//! Numbers and texts in few bytes: varints, differences, shared prefixes, runs.
//!
//! Writing appends to a vector. Reading is total: whatever the bytes, the answer is a value or an error, and
//! no count in the bytes makes it take memory that the bytes do not back.

use pagelog::CodecError;

type Result<T> = std::result::Result<T, CodecError>;

/// The most numbers that runs may stand for.
const MOST_NUMBERS: u64 = 1 << 20;

/// Seven bits to a byte, the lowest first; the top bit says that more follow.
pub fn put(into: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        into.push(number as u8 | 0x80);
        number >>= 7;
    }
    into.push(number as u8);
}

/// A text as what it shares with the one before, and the rest.
pub fn put_text(into: &mut Vec<u8>, before: &str, text: &str) {
    let shared = before.bytes().zip(text.bytes()).take_while(|(one, other)| one == other).count();
    let rest = text.as_bytes().get(shared..).unwrap_or_default();
    put(into, shared as u64);
    put(into, rest.len() as u64);
    into.extend_from_slice(rest);
}

/// Rising numbers as runs: `5 6 7 8 20` is "5 to skip, 4 to take, 11 to skip, 1 to take".
pub fn put_runs(into: &mut Vec<u8>, numbers: &[u64]) {
    let runs: Vec<&[u64]> = numbers.chunk_by(|one, next| one + 1 == *next).collect();
    put(into, runs.len() as u64);
    let mut end = 0;
    for run in runs {
        let first = run.first().copied().unwrap_or(end);
        put(into, first - end);
        put(into, run.len() as u64);
        end = first + run.len() as u64;
    }
}

/// What is left to read.
pub struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub fn number(&mut self) -> Result<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or("cut short")?;
            self.0 = rest;
            let bits = u64::from(byte & 0x7F);
            if (bits << shift) >> shift != bits {
                break;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err("a number above 64 bits".into())
    }

    pub fn small(&mut self) -> Result<u32> {
        u32::try_from(self.number()?).map_err(|_| "a number above 32 bits".into())
    }

    /// A number of things that take at least a byte each.
    pub fn count(&mut self) -> Result<usize> {
        let count = self.number()?;
        let count = usize::try_from(count).ok().filter(|count| *count <= self.0.len());
        count.ok_or_else(|| "a count beyond the end".into())
    }

    pub fn text(&mut self, before: &str) -> Result<Box<str>> {
        let shared = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        let shared = before.as_bytes().get(..shared).ok_or("a prefix beyond the text before")?;
        let length = self.count()?;
        let (rest, left) = self.0.split_at_checked(length).ok_or("cut short")?;
        self.0 = left;
        let text = String::from_utf8([shared, rest].concat());
        text.map(String::into_boxed_str).map_err(|_| "a text that is not UTF-8".into())
    }

    pub fn runs(&mut self) -> Result<Vec<u64>> {
        let mut numbers = Vec::new();
        let mut end = 0u64;
        for _ in 0..self.count()? {
            let first = end.checked_add(self.number()?).ok_or("a run beyond all numbers")?;
            let length = self.number()?;
            end = first.checked_add(length).ok_or("a run beyond all numbers")?;
            if length > MOST_NUMBERS - numbers.len() as u64 {
                return Err("runs too long".into());
            }
            numbers.extend(first..end);
        }
        Ok(numbers)
    }

    pub fn finish(self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err("bytes left over".into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::{Bytes, put, put_runs, put_text};

    #[test]
    fn everything_comes_back() {
        let mut bytes = Vec::new();
        let numbers = [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX];
        numbers.iter().for_each(|number| put(&mut bytes, *number));
        put_text(&mut bytes, "läuft", "lässt");
        put_runs(&mut bytes, &[5, 6, 7, 8, 20]);
        let mut reader = Bytes::new(&bytes);
        numbers.iter().for_each(|number| assert_eq!(reader.number().unwrap(), *number));
        assert_eq!(&*reader.text("läuft").unwrap(), "lässt");
        assert_eq!(reader.runs().unwrap(), [5, 6, 7, 8, 20]);
        reader.finish().unwrap();
    }

    #[test]
    fn what_no_writer_writes_is_an_error() {
        assert!(Bytes::new(&[0xFF; 9]).number().is_err(), "cut short");
        assert!(Bytes::new(&[0xFF; 10]).number().is_err(), "above 64 bits");
        assert!(Bytes::new(&[5, 1, 2]).count().is_err(), "a count beyond the end");
        assert!(Bytes::new(&[3, 1, b'x']).text("ab").is_err(), "a prefix that is not there");
        assert!(Bytes::new(&[0, 1, 0xFF]).text("").is_err(), "not UTF-8");
        assert!(Bytes::new(&[1, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F]).runs().is_err(), "a run of 4 billion");
        assert!(Bytes::new(&[0]).finish().is_err(), "left over");
    }
}
