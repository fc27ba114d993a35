//! The map as an SVG: the log file slot by slot, how full segments are by their age, and how many are how
//! full.

use std::fmt::Write;

use pagelog::inspect::{Lane, SegmentInfo, SegmentState, StoreInfo, Survey};

use crate::map::Summary;
use crate::text;

const WIDTH: f64 = 1100.0;
const MARGIN: f64 = 60.0;
/// Above the grid: headings and the legend.
const HEAD: f64 = 140.0;
/// What the grid may take.
const GRID_WIDTH: f64 = WIDTH - 2.0 * MARGIN;
const GRID_HEIGHT: f64 = 420.0;
const SMALLEST_CELL: f64 = 5.0;
const LARGEST_CELL: f64 = 24.0;
const PLOT_HEIGHT: f64 = 240.0;
/// Between the grid and the plots, for their headings.
const GAP: f64 = 80.0;
const FOOT: f64 = 70.0;
const SCATTER_WIDTH: f64 = 560.0;
const HISTOGRAM_LEFT: f64 = MARGIN + SCATTER_WIDTH + 90.0;
const HISTOGRAM_WIDTH: f64 = WIDTH - MARGIN - HISTOGRAM_LEFT;
const BINS: usize = 10;
/// Letters of the heading, as wide as they are at most: capital ones.
const MOST_OF_PATH: usize = 60;
/// More points than this make no better picture.
const MOST_POINTS: usize = 4000;

/// From young to old.
const AGES: [(f64, f64, f64); 4] =
    [(253.0, 180.0, 47.0), (227.0, 89.0, 81.0), (135.0, 60.0, 130.0), (45.0, 45.0, 100.0)];
const FRESH: &str = "#2b6cb0";
const RELOCATED: &str = "#dd6b20";
const DAMAGED: &str = "#d00000";
const INK: &str = "#222";
const FAINT: &str = "#777";
const UNUSED: &str = "#e9e9ee";
const EDGE: &str = "#b8b8c4";
/// Of what is void.
const SPENT: &str = "#c08a1e";

/// The grid of slots.
struct Grid {
    cell: f64,
    columns: usize,
    rows: usize,
    /// Slots to a cell.
    group: usize,
}

impl Grid {
    /// The largest cells with which all slots fit.
    fn of(slots: usize) -> Self {
        let fits = |cell: f64| (GRID_WIDTH / cell).floor() * (GRID_HEIGHT / cell).floor();
        let most = fits(SMALLEST_CELL) as usize;
        let group = slots.div_ceil(most).max(1);
        let cells = slots.div_ceil(group).max(1);
        let mut cell = LARGEST_CELL;
        while cell > SMALLEST_CELL && fits(cell) < cells as f64 {
            cell -= 1.0;
        }
        let columns = (GRID_WIDTH / cell).floor() as usize;
        Self { cell, columns, rows: cells.div_ceil(columns), group }
    }

    fn height(&self) -> f64 {
        self.rows as f64 * self.cell
    }

    /// Whether a row tells its offset: every fifth one and the last one do, where they do not touch.
    fn is_labelled(&self, row: usize) -> bool {
        let is_last = row + 1 == self.rows;
        self.cell > 9.0 && (row.is_multiple_of(5) || is_last && row % 5 > 1)
    }
}

pub fn draw(info: &StoreInfo, survey: &Survey, summary: &Summary) -> String {
    let grid = Grid::of(survey.segments.len());
    let plots = HEAD + grid.height() + GAP;
    let height = plots + PLOT_HEIGHT + FOOT;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"DejaVu Sans, Helvetica, Arial, sans-serif\" font-size=\"13\" fill=\"{INK}\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"white\"/>\n"
    );
    let heading = format!("Log of {}", shortened(&info.path, MOST_OF_PATH));
    label(&mut out, (MARGIN, 36.0), "font-size=\"19\" font-weight=\"bold\"", &heading);
    label(&mut out, (MARGIN, 60.0), &format!("fill=\"{FAINT}\""), &summary.line());
    legend(&mut out, info, summary, &grid);
    draw_grid(&mut out, info, survey, summary, &grid);
    scatter(&mut out, info, survey, summary, plots);
    histogram(&mut out, info, survey, plots);
    out + "</svg>\n"
}

/// A text without its middle if it is longer than that. A letter beyond Latin's counts as two: it may be as
/// wide.
fn shortened(text: &str, most: usize) -> String {
    let width = |letter: char| if letter < '\u{300}' { 1 } else { 2 };
    let wide: usize = text.chars().map(width).sum();
    if wide <= most {
        return text.to_owned();
    }
    // The end of a path says more than its beginning.
    let from = wide - (most - 1) * 2 / 3;
    let (mut before, mut start, mut end) = (0, String::new(), String::new());
    for letter in text.chars() {
        before += width(letter);
        if before <= (most - 1) / 3 {
            start.push(letter);
        } else if before > from {
            end.push(letter);
        }
    }
    format!("{start}…{end}")
}

fn escaped(text: &str) -> String {
    // Control letters have no place in XML.
    let text: String = text.chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect();
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn label(out: &mut String, (x, y): (f64, f64), style: &str, text: &str) {
    let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" {style}>{}</text>", escaped(text));
}

fn line(out: &mut String, from: (f64, f64), to: (f64, f64), colour: &str) {
    let _ = writeln!(
        out,
        "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{colour}\"/>",
        from.0, from.1, to.0, to.1
    );
}

/// The colour of an age, 0 for the youngest and 1 for the oldest.
fn colour(age: f64) -> String {
    let at = age.clamp(0.0, 1.0) * (AGES.len() - 1) as f64;
    let index = (at.floor() as usize).min(AGES.len() - 2);
    let part = at - index as f64;
    let [one, other] = [index, index + 1].map(|index| AGES.get(index).copied().unwrap_or_default());
    let mix = |one: f64, other: f64| (one + (other - one) * part).round() as u8;
    format!("#{:02x}{:02x}{:02x}", mix(one.0, other.0), mix(one.1, other.1), mix(one.2, other.2))
}

/// What a cell of the grid looks like.
struct Cell<'a> {
    fill: Option<(f64, &'a str)>,
    background: &'a str,
    border: &'a str,
    thick: bool,
    dashed: bool,
}

fn draw_cell(out: &mut String, (x, y): (f64, f64), side: f64, cell: &Cell<'_>, title: &str) {
    let inner = side - if side > 9.0 { 2.0 } else { 1.0 };
    let _ = write!(out, "<g><title>{}</title>", escaped(title));
    let dash = if cell.dashed { " stroke-dasharray=\"2 2\"" } else { "" };
    let _ = write!(
        out,
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{inner:.1}\" height=\"{inner:.1}\" fill=\"{}\"/>",
        cell.background
    );
    if let Some((part, colour)) = cell.fill {
        let high = inner * part.clamp(0.0, 1.0);
        let top = y + inner - high;
        let _ = write!(
            out,
            "<rect x=\"{x:.1}\" y=\"{top:.2}\" width=\"{inner:.1}\" height=\"{high:.2}\" fill=\"{colour}\"/>"
        );
    }
    let width = if cell.thick { 2.0 } else { 0.5 };
    let _ = writeln!(
        out,
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{inner:.1}\" height=\"{inner:.1}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{width}\"{dash}/></g>",
        cell.border
    );
}

/// The look of a group of slots.
fn look<'a>(slots: &[SegmentInfo], live: f64, colour: &'a str) -> Cell<'a> {
    let plain =
        Cell { fill: Some((live, colour)), background: UNUSED, border: EDGE, thick: false, dashed: false };
    let any = |state| slots.iter().any(|segment| segment.state == state);
    if slots.iter().any(|segment| segment.faults > 0) {
        Cell { border: DAMAGED, thick: true, background: "#ffe3e3", ..plain }
    } else if any(SegmentState::Active) {
        Cell { border: FRESH, thick: true, ..plain }
    } else if any(SegmentState::Claimed) {
        Cell { border: FRESH, dashed: true, ..plain }
    } else if any(SegmentState::Void) {
        Cell { border: SPENT, dashed: true, ..plain }
    } else if slots.iter().all(|segment| segment.state == SegmentState::Free) {
        Cell { fill: None, background: "white", border: "#a8a8b4", dashed: true, ..plain }
    } else {
        plain
    }
}

fn legend(out: &mut String, info: &StoreInfo, summary: &Summary, grid: &Grid) {
    legend_of_cells(out, 82.0);
    if summary.oldest > 0 {
        legend_of_ages(out, HEAD - 26.0, summary.oldest);
    }
    let what = if grid.group > 1 { format!("{} slots", grid.group) } else { "a slot".into() };
    let size = text::bytes(u64::from(info.segment_size) * grid.group as u64);
    let note = match info.slots {
        0 => "Nothing was written yet.".to_owned(),
        _ => format!("A square is {what} of the log file, {size}, filled as far as its bytes are live."),
    };
    label(out, (MARGIN, HEAD - 14.0), "", &note);
}

fn legend_of_cells(out: &mut String, y: f64) {
    let cell = |fill, background, border, thick, dashed| Cell { fill, background, border, thick, dashed };
    let samples = [
        ("full, 60 % live", cell(Some((0.6, "#873c82")), UNUSED, EDGE, false, false)),
        ("empty", cell(None, UNUSED, EDGE, false, false)),
        ("being filled", cell(Some((0.4, "#fdb42f")), UNUSED, FRESH, true, false)),
        ("claimed", cell(None, UNUSED, FRESH, false, true)),
        ("free", cell(None, "white", "#a8a8b4", false, true)),
        ("void: behind the end of the log", cell(None, UNUSED, SPENT, false, true)),
        ("damaged or missing", cell(Some((0.5, "#873c82")), "#ffe3e3", DAMAGED, true, false)),
    ];
    let mut x = MARGIN;
    for (name, cell) in samples {
        draw_cell(out, (x, y), 16.0, &cell, name);
        label(out, (x + 21.0, y + 12.0), "", name);
        x += 45.0 + 7.2 * name.len() as f64;
    }
}

/// The colours of segments from old to young.
fn legend_of_ages(out: &mut String, y: f64, oldest: u64) {
    let (right, wide, steps) = (WIDTH - MARGIN - 60.0, 100.0, 25_u32);
    let left = right - wide;
    for step in 0..steps {
        let at = left + wide * f64::from(step) / f64::from(steps);
        let age = 1.0 - f64::from(step) / f64::from(steps - 1);
        let _ = writeln!(
            out,
            "<rect x=\"{at:.1}\" y=\"{y}\" width=\"4.5\" height=\"14\" fill=\"{}\"/>",
            colour(age)
        );
    }
    let before = format!("begun {} ago", text::count(oldest, "segment"));
    label(out, (left - 8.0, y + 12.0), "text-anchor=\"end\"", &before);
    label(out, (right + 7.0, y + 12.0), "", "just now");
}

fn draw_grid(out: &mut String, info: &StoreInfo, survey: &Survey, summary: &Summary, grid: &Grid) {
    let size = u64::from(info.segment_size);
    for (index, slots) in survey.segments.chunks(grid.group).enumerate() {
        let (row, column) = (index / grid.columns, index % grid.columns);
        let (x, y) = (MARGIN + column as f64 * grid.cell, HEAD + row as f64 * grid.cell);
        let live: u64 = slots.iter().map(|segment| segment.live_bytes).sum();
        let part = text::percent(live, size * slots.len() as u64) / 100.0;
        let used = slots.iter().filter(|segment| segment.state != SegmentState::Free);
        let age = used.map(|segment| segment.age).min().unwrap_or(0);
        let colour = colour(age as f64 / summary.oldest.max(1) as f64);
        draw_cell(out, (x, y), grid.cell, &look(slots, part, &colour), &title(slots, part));
        if column == 0 && grid.is_labelled(row) {
            let offset = (index * grid.group) as u64 * size;
            let style = format!("text-anchor=\"end\" font-size=\"10\" fill=\"{FAINT}\"");
            label(
                out,
                (MARGIN - 5.0, y + grid.cell / 2.0 + 3.0),
                &style,
                &text::bytes(offset).replace(".0", ""),
            );
        }
    }
}

fn title(slots: &[SegmentInfo], part: f64) -> String {
    let [segment] = slots else { return format!("{} slots, {:.0} % live", slots.len(), 100.0 * part) };
    let SegmentInfo { slot, state, segment: id, age, records, live_records, .. } = segment;
    match state {
        SegmentState::Free => format!("slot {slot}: free"),
        _ => format!(
            "slot {slot}: segment {id}, {state}, {:.0} % live, {live_records} of {records} records, begun {age} segments ago",
            100.0 * part
        ),
    }
}

/// A round step, so that there are about so many up to `most`.
fn tick(most: f64, ticks: f64) -> f64 {
    let rough = most / ticks;
    let magnitude = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().find(|step| step * magnitude >= rough);
    (step.unwrap_or(10.0) * magnitude).max(1.0)
}

/// The axis of the live part, with lines across, and a frame.
fn frame(out: &mut String, (left, top): (f64, f64), width: f64, heading: &str) {
    label(out, (left, top - 18.0), "font-weight=\"bold\"", heading);
    line(out, (left, top), (left, top + PLOT_HEIGHT), FAINT);
    line(out, (left, top + PLOT_HEIGHT), (left + width, top + PLOT_HEIGHT), FAINT);
}

/// In place of a plot of nothing.
fn none_yet(out: &mut String, (left, top): (f64, f64), width: f64) {
    let style = format!("text-anchor=\"middle\" fill=\"{FAINT}\"");
    label(out, (left + width / 2.0, top + PLOT_HEIGHT / 2.0 + 5.0), &style, "no segment is full yet");
}

fn scatter(out: &mut String, info: &StoreInfo, survey: &Survey, summary: &Summary, top: f64) {
    frame(out, (MARGIN, top), SCATTER_WIDTH, "Live part of full segments, by age");
    let full: Vec<&SegmentInfo> =
        survey.segments.iter().filter(|segment| segment.state == SegmentState::Sealed).collect();
    if full.is_empty() {
        return none_yet(out, (MARGIN, top), SCATTER_WIDTH);
    }
    let bottom = top + PLOT_HEIGHT;
    for part in 0..=4_u32 {
        let y = bottom - PLOT_HEIGHT * f64::from(part) / 4.0;
        if part > 0 {
            line(out, (MARGIN, y), (MARGIN + SCATTER_WIDTH, y), "#e4e4ea");
        }
        label(out, (MARGIN - 8.0, y + 4.0), "text-anchor=\"end\"", &format!("{} %", part * 25));
    }
    let most = summary.oldest.max(1) as f64;
    let x = |age: f64| MARGIN + SCATTER_WIDTH * age / most;
    let (step, mut age) = (tick(most, 6.0), 0.0);
    while age <= most {
        line(out, (x(age), bottom), (x(age), bottom + 5.0), FAINT);
        label(out, (x(age), bottom + 20.0), "text-anchor=\"middle\"", &text::grouped(age as u64));
        age += step;
    }
    label(
        out,
        (MARGIN + SCATTER_WIDTH / 2.0, bottom + 42.0),
        "text-anchor=\"middle\"",
        "segments begun since",
    );
    for segment in full.iter().step_by(full.len().div_ceil(MOST_POINTS).max(1)) {
        let part = segment.live_bytes as f64 / f64::from(info.segment_size);
        let _ = writeln!(
            out,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.5\" fill=\"{}\" fill-opacity=\"0.6\"/>",
            x(segment.age as f64),
            bottom - PLOT_HEIGHT * part.min(1.0),
            if segment.lane == Some(Lane::Relocated) { RELOCATED } else { FRESH }
        );
    }
    let legend = [(FRESH, "fresh", 170.0), (RELOCATED, "relocated", 90.0)];
    for (colour, name, before) in legend {
        let at = MARGIN + SCATTER_WIDTH - before;
        let _ = writeln!(out, "<circle cx=\"{at:.1}\" cy=\"{:.1}\" r=\"5\" fill=\"{colour}\"/>", top - 22.0);
        label(out, (at + 10.0, top - 18.0), "", name);
    }
}

fn histogram(out: &mut String, info: &StoreInfo, survey: &Survey, top: f64) {
    frame(out, (HISTOGRAM_LEFT, top), HISTOGRAM_WIDTH, "Full segments, by live part");
    let mut bins = [[0_u64; 2]; BINS];
    for segment in survey.segments.iter().filter(|segment| segment.state == SegmentState::Sealed) {
        let bin = (text::percent(segment.live_bytes, info.segment_size.into()) / 10.0) as usize;
        let lane = usize::from(segment.lane == Some(Lane::Relocated));
        bins.get_mut(bin.min(BINS - 1))
            .and_then(|bin| bin.get_mut(lane))
            .into_iter()
            .for_each(|count| *count += 1);
    }
    let most: u64 = bins.iter().map(|bin| bin.iter().sum()).max().unwrap_or(0);
    if most == 0 {
        return none_yet(out, (HISTOGRAM_LEFT, top), HISTOGRAM_WIDTH);
    }
    let (bottom, most) = (top + PLOT_HEIGHT, most as f64);
    let y = |count: f64| bottom - PLOT_HEIGHT * 0.95 * count / most;
    let (step, mut count) = (tick(most, 5.0), 0.0);
    while count <= most {
        if count > 0.0 {
            line(out, (HISTOGRAM_LEFT, y(count)), (HISTOGRAM_LEFT + HISTOGRAM_WIDTH, y(count)), "#e4e4ea");
        }
        label(
            out,
            (HISTOGRAM_LEFT - 8.0, y(count) + 4.0),
            "text-anchor=\"end\"",
            &text::grouped(count as u64),
        );
        count += step;
    }
    let width = HISTOGRAM_WIDTH / BINS as f64;
    for (index, bin) in bins.iter().enumerate() {
        let (x, mut below) = (HISTOGRAM_LEFT + index as f64 * width, 0.0);
        for (count, colour) in bin.iter().zip([FRESH, RELOCATED]) {
            let (from, to) = (y(below), y(below + *count as f64));
            let _ = writeln!(
                out,
                "<rect x=\"{:.1}\" y=\"{to:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{colour}\" fill-opacity=\"0.85\"/>",
                x + 2.0,
                width - 4.0,
                from - to
            );
            below += *count as f64;
        }
        if index % 2 == 0 {
            label(out, (x, bottom + 20.0), "text-anchor=\"middle\"", &format!("{} %", index * 10));
        }
    }
    label(out, (HISTOGRAM_LEFT + HISTOGRAM_WIDTH, bottom + 20.0), "text-anchor=\"middle\"", "100 %");
    label(
        out,
        (HISTOGRAM_LEFT + HISTOGRAM_WIDTH / 2.0, bottom + 42.0),
        "text-anchor=\"middle\"",
        "live part of the segment",
    );
}
