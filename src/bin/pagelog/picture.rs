//! The map as letters on a terminal.

use std::fmt::Write;
use std::io::{self, IsTerminal};

use pagelog::inspect::{SegmentInfo, SegmentState, StoreInfo, Survey};

use crate::map::Summary;
use crate::text;

const COLUMNS: usize = 64;
/// With more rows than this, a letter stands for several slots.
const ROWS: usize = 32;
const BINS: usize = 10;
const BAR: usize = 40;

/// Colours of a terminal with 256 of them, from old to young.
const BY_AGE: [u8; 6] = [61, 67, 72, 107, 178, 208];

pub fn draw(info: &StoreInfo, survey: &Survey, summary: &Summary) -> String {
    let size = info.segment_size;
    let mut text = format!("{}\n{}\n\n", info.path, summary.line());
    let is_coloured = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let group = survey.segments.len().div_ceil(COLUMNS * ROWS).max(1);
    for (row, slots) in survey.segments.chunks(COLUMNS * group).enumerate() {
        let offset = (row * COLUMNS * group) as u64 * u64::from(size);
        let _ = write!(text, "{:>10}  ", text::bytes(offset));
        for cell in slots.chunks(group) {
            match colour(cell, summary).filter(|_| is_coloured) {
                Some(colour) => {
                    let _ = write!(text, "\x1b[38;5;{colour}m{}\x1b[0m", letter(cell, size));
                }
                None => text.push(letter(cell, size)),
            }
        }
        text.push('\n');
    }
    let _ = writeln!(
        text,
        "\n            live: ░ below 25 %  ▒ 50 %  ▓ 75 %  █ more   · free  - empty  ~ void  + claimed  > filling  ! damaged"
    );
    if group > 1 {
        let _ = writeln!(text, "            a letter is {group} slots of {}", text::bytes(size.into()));
    } else {
        let _ = writeln!(text, "            a letter is a slot of {}", text::bytes(size.into()));
    }
    if is_coloured && summary.oldest > 0 {
        let ages = BY_AGE.iter().map(|colour| format!("\x1b[38;5;{colour}m█\x1b[0m"));
        let _ = writeln!(
            text,
            "            begun: {} segments ago {} just now",
            summary.oldest,
            ages.collect::<String>()
        );
    }
    text + &histogram(survey, size)
}

fn letter(cell: &[SegmentInfo], size: u32) -> char {
    let all = |state| cell.iter().all(|segment| segment.state == state);
    if cell.iter().any(|segment| segment.faults > 0) {
        return '!';
    }
    for (state, letter) in [
        (SegmentState::Free, '·'),
        (SegmentState::Empty, '-'),
        (SegmentState::Void, '~'),
        (SegmentState::Claimed, '+'),
        (SegmentState::Active, '>'),
    ] {
        if all(state) {
            return letter;
        }
    }
    let live: u64 = cell.iter().map(|segment| segment.live_bytes).sum();
    match text::percent(live, cell.len() as u64 * u64::from(size)) {
        part if part < 25.0 => '░',
        part if part < 50.0 => '▒',
        part if part < 75.0 => '▓',
        _ => '█',
    }
}

fn colour(cell: &[SegmentInfo], summary: &Summary) -> Option<u8> {
    let used = cell.iter().filter(|segment| segment.state != SegmentState::Free);
    let youngest = used.map(|segment| segment.age).min()?;
    let youth = 1.0 - youngest as f64 / summary.oldest.max(1) as f64;
    BY_AGE.get((youth * (BY_AGE.len() - 1) as f64).round() as usize).copied()
}

/// How many segments are how full, and how old these are.
fn histogram(survey: &Survey, size: u32) -> String {
    let mut bins = [(0_u64, 0_u64); BINS];
    for segment in survey.segments.iter().filter(|segment| segment.state == SegmentState::Sealed) {
        let bin = (text::percent(segment.live_bytes, size.into()) / 10.0) as usize;
        if let Some((count, age)) = bins.get_mut(bin.min(BINS - 1)) {
            *count += 1;
            *age += segment.age;
        }
    }
    let most = bins.iter().map(|(count, _)| *count).max().unwrap_or(0);
    if most == 0 {
        return String::new();
    }
    let mut text = format!("\n{:>10}  {:>8}  {:>9}\n", "live", "segments", "mean age");
    for (bin, (count, age)) in bins.iter().enumerate() {
        let bar = "█".repeat((*count * BAR as u64).div_ceil(most) as usize);
        let mean = if *count == 0 { "-".into() } else { format!("{:.0}", *age as f64 / *count as f64) };
        let label = format!("{}-{} %", bin * 10, bin * 10 + 10);
        let line = format!("{label:>10}  {count:>8}  {mean:>9}  {bar}");
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}
