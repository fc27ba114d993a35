//! Numbers as people read them.

use std::fmt::Write;

use pagelog::Corruption;

/// So many faults are listed.
const MOST_FAULTS: usize = 50;

/// `12.3 MiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let (mut value, mut unit) = (count as f64 / 1024.0, UNITS.iter());
    let mut name = unit.next();
    while value >= 1023.95 {
        let Some(next) = unit.next() else { break };
        (value, name) = (value / 1024.0, Some(next));
    }
    format!("{value:.1} {}", name.unwrap_or(&""))
}

/// `1234567` as `1 234 567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// `1 file`, `2 files`.
pub fn count(number: u64, what: &str) -> String {
    format!("{} {what}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// The part of the whole in per cent; 0 of nothing.
pub fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 }
}

/// Lines of a name and a value.
pub fn table(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    rows.iter().fold(String::new(), |mut text, (name, value)| {
        let _ = writeln!(text, "{name:width$}  {value}");
        text
    })
}

/// A list of faults, which ends somewhere.
pub fn faults(faults: &[Corruption], more: u64) -> String {
    let mut text = String::new();
    for fault in faults.iter().take(MOST_FAULTS) {
        let _ = writeln!(text, "  {fault}");
    }
    let more = more + faults.len().saturating_sub(MOST_FAULTS) as u64;
    if more > 0 {
        let _ = writeln!(text, "  and {more} more (--json lists all that are known)");
    }
    text
}

/// Bytes in rows of sixteen: offset, hexadecimal digits, letters.
pub fn hex(bytes: &[u8], indent: &str) -> String {
    let mut text = String::new();
    for (row, bytes) in bytes.chunks(16).enumerate() {
        let digits = bytes.iter().fold(String::new(), |mut digits, byte| {
            let _ = write!(digits, "{byte:02x} ");
            digits
        });
        let letter = |byte: &u8| if (0x20..0x7f).contains(byte) { char::from(*byte) } else { '.' };
        let letters: String = bytes.iter().map(letter).collect();
        let _ = writeln!(text, "{indent}{:06x}  {digits:48} {letters}", row * 16);
    }
    text
}

/// The digits alone.
pub fn digits(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut digits, byte| {
        let _ = write!(digits, "{byte:02x}");
        digits
    })
}

#[cfg(test)]
mod tests {
    use super::{bytes, count, grouped, hex, percent};

    #[test]
    fn numbers_are_readable() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1024), "1.0 KiB");
        assert_eq!(bytes((1 << 20) - 1), "1.0 MiB");
        assert_eq!(bytes(3 << 29), "1.5 GiB");
        assert_eq!(bytes(u64::MAX), "16384.0 PiB");
        assert_eq!([1, 1234, 123_456, 1_234_567].map(grouped), ["1", "1 234", "123 456", "1 234 567"]);
        assert_eq!([1, 1234].map(|number| count(number, "file")), ["1 file", "1 234 files"]);
        assert_eq!((percent(1, 4), percent(1, 0)), (25.0, 0.0));
        assert_eq!(hex(b"ab\n", ""), format!("000000  {:48} ab.\n", "61 62 0a"));
    }
}
