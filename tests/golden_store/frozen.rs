//! Files of stores as text, so that they can be kept for ever and be read by people.

use std::fmt::Write;

use super::golden::Files;

/// The bytes of each file in lines of hexadecimal digits behind its name; a run of zeros by its length.
pub fn to_text(files: &Files) -> String {
    let mut text = String::new();
    for (name, bytes) in files {
        writeln!(text, "= {name}").unwrap();
        for line in bytes.chunks(64).collect::<Vec<_>>().chunk_by(|a, b| is_zeros(a) == is_zeros(b)) {
            if is_zeros(line[0]) {
                writeln!(text, "zeros {}", line.iter().map(|line| line.len()).sum::<usize>()).unwrap();
                continue;
            }
            for line in line {
                line.iter().for_each(|byte| write!(text, "{byte:02x}").unwrap());
                text.push('\n');
            }
        }
    }
    text
}

fn is_zeros(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

pub fn from_text(text: &str) -> Files {
    let mut files = Files::new();
    let mut name = "";
    for line in text.lines() {
        if let Some(of_file) = line.strip_prefix("= ") {
            name = of_file;
        }
        let bytes = files.entry(name.to_owned()).or_default();
        match line.split_once(' ') {
            Some(("zeros", length)) => bytes.resize(bytes.len() + length.parse::<usize>().unwrap(), 0),
            Some(_) => {}
            None => {
                let digits = (0..line.len()).step_by(2).map(|at| &line[at..at + 2]);
                bytes.extend(digits.map(|digits| u8::from_str_radix(digits, 16).unwrap()));
            }
        }
    }
    files
}
