//! Small multiples as one SVG that can be read on a light and on a dark page.

use std::fmt::Write;

const COLUMNS: usize = 3;
const PANEL: (f64, f64) = (300.0, 190.0);
const LEFT: f64 = 62.0;
const RIGHT: f64 = 18.0;
const TOP: f64 = 62.0;
const BOTTOM: f64 = 52.0;
const HEADING: f64 = 40.0;
/// Distinct for most people, on white and on black.
const COLOURS: [&str; 4] = ["#2a7fd4", "#e07b1f", "#3c9d5d", "#a45fc0"];

/// How the numbers of an axis are spaced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scale {
    Linear,
    Logarithmic,
}

/// A line through points.
#[derive(Clone, Debug)]
pub struct Line {
    pub name: &'static str,
    pub points: Vec<(f64, f64)>,
}

/// One plot.
#[derive(Clone, Debug)]
pub struct Panel {
    pub title: &'static str,
    /// What grows, with its unit.
    pub across: &'static str,
    /// What is measured, with its unit.
    pub up: &'static str,
    pub scale: Scale,
    pub lines: Vec<Line>,
}

/// Where the numbers of an axis lie, from 0 to 1.
struct Axis {
    scale: Scale,
    from: f64,
    to: f64,
}

impl Axis {
    fn across(panel: &Panel) -> Self {
        let all = || panel.lines.iter().flat_map(|line| &line.points).map(|point| point.0);
        let (from, to) = (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
        let to = if to > from { to } else { from + 1.0 };
        Self { scale: panel.scale, from, to }
    }

    /// From zero, so that nothing looks steeper than it is.
    fn up(panel: &Panel) -> Self {
        let all = panel.lines.iter().flat_map(|line| &line.points).map(|point| point.1);
        Self { scale: Scale::Linear, from: 0.0, to: all.fold(1e-9, f64::max) * 1.1 }
    }

    fn at(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear => (value - self.from) / (self.to - self.from),
            Scale::Logarithmic => (value / self.from).ln() / (self.to / self.from).ln(),
        }
    }

    /// Round numbers, some four of them.
    fn ticks(&self) -> Vec<f64> {
        let rough = (self.to - self.from) / 4.0;
        let magnitude = 10_f64.powf(rough.log10().floor());
        let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * magnitude);
        let step = steps.into_iter().find(|step| *step >= rough).unwrap_or(rough);
        let first = (self.from / step).ceil();
        (0..12).map(|count| (first + f64::from(count)) * step).take_while(|at| *at <= self.to).collect()
    }
}

/// 10k rather than 10000, and no more than three digits.
fn short(value: f64) -> String {
    let (value, unit) = match value {
        value if value >= 1e6 => (value / 1e6, "M"),
        value if value >= 1e3 => (value / 1e3, "k"),
        value => (value, ""),
    };
    let grain = match value {
        value if value >= 100.0 => 1.0,
        value if value >= 10.0 => 10.0,
        _ => 100.0,
    };
    format!("{}{unit}", (value * grain).round() / grain)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

fn text(out: &mut String, at: (f64, f64), anchor: &str, class: &str, text: &str) {
    let (x, y) = at;
    let text = escaped(text);
    let _ = writeln!(
        out,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" class=\"{class}\">{text}</text>"
    );
}

/// The picture.
pub fn svg(heading: &str, panels: &[Panel]) -> String {
    let cell = (LEFT + PANEL.0 + RIGHT, TOP + PANEL.1 + BOTTOM);
    let rows = panels.len().div_ceil(COLUMNS);
    let (width, height) = (cell.0 * COLUMNS as f64, HEADING + cell.1 * rows as f64);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<style>\n\
         .ground {{ fill: #ffffff }} text {{ fill: #222222 }} .faint {{ fill: #666666 }} .title {{ font-size: 14px }} \
         .grid {{ stroke: #dddddd }} .frame {{ stroke: #888888; fill: none }}\n\
         @media (prefers-color-scheme: dark) {{ .ground {{ fill: #14171c }} text {{ fill: #e6e6e6 }} .faint {{ fill: #a0a0a0 }} \
         .grid {{ stroke: #343a42 }} .frame {{ stroke: #7a828c }} }}\n</style>\n\
         <rect width=\"{width}\" height=\"{height}\" class=\"ground\"/>\n"
    );
    text(&mut out, (LEFT, 26.0), "start", "title", heading);
    for (index, panel) in panels.iter().enumerate() {
        let (column, row) = (index % COLUMNS, index / COLUMNS);
        draw(&mut out, panel, (cell.0 * column as f64 + LEFT, HEADING + cell.1 * row as f64 + TOP));
    }
    out + "</svg>\n"
}

fn draw(out: &mut String, panel: &Panel, (left, top): (f64, f64)) {
    let (right, bottom) = (left + PANEL.0, top + PANEL.1);
    let (across, up) = (Axis::across(panel), Axis::up(panel));
    let x = |value: f64| left + across.at(value) * PANEL.0;
    let y = |value: f64| bottom - up.at(value) * PANEL.1;
    text(out, (left, top - 38.0), "start", "title", panel.title);
    for at in up.ticks() {
        let y = y(at);
        let _ = writeln!(
            out,
            "<line x1=\"{left:.1}\" y1=\"{y:.1}\" x2=\"{right:.1}\" y2=\"{y:.1}\" class=\"grid\"/>"
        );
        text(out, (left - 6.0, y + 4.0), "end", "faint", &short(at));
    }
    // What was measured is what is written below a logarithmic axis.
    let measured = || panel.lines.first().map(|line| line.points.iter().map(|point| point.0).collect());
    let marks: Vec<f64> =
        if panel.scale == Scale::Linear { across.ticks() } else { measured().unwrap_or_default() };
    for at in marks {
        text(out, (x(at), bottom + 16.0), "middle", "faint", &short(at));
    }
    let _ = writeln!(
        out,
        "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{}\" height=\"{}\" class=\"frame\"/>",
        PANEL.0, PANEL.1
    );
    text(out, (f64::midpoint(left, right), bottom + 36.0), "middle", "faint", panel.across);
    let (beside, middle) = (left - 44.0, f64::midpoint(top, bottom));
    let _ = writeln!(
        out,
        "<text x=\"{beside:.1}\" y=\"{middle:.1}\" text-anchor=\"middle\" class=\"faint\" \
         transform=\"rotate(-90 {beside:.1} {middle:.1})\">{}</text>",
        escaped(panel.up)
    );
    let mut legend = left;
    for (line, colour) in panel.lines.iter().zip(COLOURS.iter().cycle()) {
        let points: String =
            line.points.iter().map(|point| format!("{:.1},{:.1} ", x(point.0), y(point.1))).collect();
        let _ = writeln!(
            out,
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>"
        );
        for point in &line.points {
            let _ = writeln!(
                out,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.6\" fill=\"{colour}\"/>",
                x(point.0),
                y(point.1)
            );
        }
        let _ = writeln!(
            out,
            "<rect x=\"{legend:.1}\" y=\"{:.1}\" width=\"12\" height=\"4\" fill=\"{colour}\"/>",
            top - 19.0
        );
        text(out, (legend + 17.0, top - 13.0), "start", "", line.name);
        legend += 30.0 + 6.6 * line.name.len() as f64;
    }
}
