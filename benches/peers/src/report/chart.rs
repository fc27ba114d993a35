//! The chart: for each cell a line, and on it a dot for each engine where it is beside pagelog, on a
//! logarithmic scale. What is better is to the right; pagelog is the line in the middle.

use std::fmt::Write;

use super::Report;
use crate::catalogue::{Cell, Layer};

const WIDTH: f64 = 1000.0;
const LEFT: f64 = 330.0;
const RIGHT: f64 = 30.0;
const LINE: f64 = 20.0;
const HEAD: f64 = 74.0;
/// Whoever is further from pagelog than this is drawn at the edge.
const FURTHEST: f64 = 32.0;
const COLOURS: [&str; 8] =
    ["#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b", "#17becf", "#7f7f7f"];

impl Report {
    /// The picture, if there is anything to compare.
    pub fn chart(&self) -> Option<String> {
        let (mut body, mut top) = (String::new(), 40.0);
        for layer in Layer::ALL {
            let cells: Vec<Cell> =
                self.cells(layer).into_iter().filter(|cell| self.has_peers(cell)).collect();
            if !cells.is_empty() {
                self.draw(layer, &cells, top, &mut body);
                top += HEAD + cells.len() as f64 * LINE + 40.0;
            }
        }
        let heading = format!("pagelog and its peers: commit {}, rounds: {}", self.commit, self.rounds);
        let head = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{top}\" viewBox=\"0 0 {WIDTH} {top}\" \
             font-family=\"sans-serif\" font-size=\"13\">\n<rect width=\"{WIDTH}\" height=\"{top}\" fill=\"white\"/>\n\
             <text x=\"20\" y=\"28\" font-size=\"17\">{heading}</text>\n"
        );
        (!body.is_empty()).then(|| head + &body + "</svg>\n")
    }

    fn has_peers(&self, cell: &Cell) -> bool {
        self.ratio_to_raw(cell).is_some()
            || self.best_peer(cell).is_some()
            || self.ratio(cell, "plain").is_some()
    }

    fn draw(&self, layer: Layer, cells: &[Cell], top: f64, out: &mut String) {
        let peers: Vec<&str> =
            self.engines(layer).into_iter().filter(|engine| *engine != "pagelog").collect();
        let has_raw = cells.iter().any(|cell| self.ratio_to_raw(cell).is_some());
        legend(layer, &peers, has_raw, top, out);
        let (first, bottom) = (top + HEAD, top + HEAD + cells.len() as f64 * LINE);
        scale(first, bottom, out);
        for (index, cell) in cells.iter().enumerate() {
            let y = first + (index as f64 + 0.5) * LINE;
            let _ = writeln!(
                out,
                "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n<line x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{}\" y2=\"{y:.1}\" stroke=\"#eee\"/>",
                LEFT - 10.0,
                y + 4.0,
                cell.title,
                WIDTH - RIGHT
            );
            if let Some(ratio) = self.ratio_to_raw(cell) {
                let x = place(1.0 / ratio);
                let _ = writeln!(
                    out,
                    "<path d=\"M{x:.1} {:.1} l5 5 l-5 5 l-5 -5 z\" fill=\"none\" stroke=\"black\"><title>raw control: {:.2} times pagelog</title></path>",
                    y - 5.0,
                    1.0 / ratio
                );
            }
            for (engine, colour) in peers.iter().zip(COLOURS) {
                self.dot(cell, engine, colour, y, out);
            }
        }
    }

    /// The engine's dot, and a line from the worst of its rounds to the best, both against pagelog's median.
    fn dot(&self, cell: &Cell, engine: &str, colour: &str, y: f64, out: &mut String) {
        let (Some(ours), Some(theirs)) = (self.spread(cell, "pagelog"), self.spread(cell, engine)) else {
            return;
        };
        let better = |value: f64| if cell.more_is_better { value / ours.middle } else { ours.middle / value };
        let [x, from, to] = [theirs.middle, theirs.least, theirs.greatest].map(|value| place(better(value)));
        let _ = writeln!(
            out,
            "<line x1=\"{from:.1}\" y1=\"{y:.1}\" x2=\"{to:.1}\" y2=\"{y:.1}\" stroke=\"{colour}\"/>\n\
             <circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4.5\" fill=\"{colour}\"><title>{engine}: {:.2} times pagelog</title></circle>",
            better(theirs.middle)
        );
    }
}

/// Where something stands that is so many times as good as pagelog.
fn place(better: f64) -> f64 {
    let (edge, middle) = (FURTHEST.ln(), f64::midpoint(LEFT, WIDTH - RIGHT));
    middle + better.ln().clamp(-edge, edge) / edge * (WIDTH - RIGHT - LEFT) / 2.0
}

fn legend(layer: Layer, peers: &[&str], has_raw: bool, top: f64, out: &mut String) {
    let _ = writeln!(out, "<text x=\"20\" y=\"{}\" font-size=\"15\">{}</text>", top + 20.0, layer.title());
    let (mut x, y) = (LEFT, top + 46.0);
    for (engine, colour) in peers.iter().zip(COLOURS) {
        let _ = writeln!(
            out,
            "<circle cx=\"{x}\" cy=\"{}\" r=\"4.5\" fill=\"{colour}\"/><text x=\"{}\" y=\"{y}\">{engine}</text>",
            y - 4.0,
            x + 10.0
        );
        x += 30.0 + 8.0 * engine.len() as f64;
    }
    if has_raw {
        let _ = writeln!(
            out,
            "<path d=\"M{x} {} l5 5 l-5 5 l-5 -5 z\" fill=\"none\" stroke=\"black\"/><text x=\"{}\" y=\"{y}\">raw control</text>",
            y - 9.0,
            x + 10.0
        );
    }
}

fn scale(top: f64, bottom: f64, out: &mut String) {
    for (times, text) in [
        (1.0 / 32.0, "1/32"),
        (0.1, "1/10"),
        (0.25, "1/4"),
        (0.5, "1/2"),
        (1.0, "pagelog"),
        (2.0, "2"),
        (4.0, "4"),
        (10.0, "10"),
        (32.0, "32"),
    ] {
        let (x, colour) = (place(times), if times == 1.0 { "black" } else { "#ccc" });
        let _ = writeln!(
            out,
            "<line x1=\"{x:.1}\" y1=\"{top}\" x2=\"{x:.1}\" y2=\"{bottom}\" stroke=\"{colour}\"/><text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{text}</text>",
            top - 6.0
        );
    }
    let _ = writeln!(
        out,
        "<text x=\"{LEFT}\" y=\"{0}\" fill=\"#555\">← worse than pagelog</text><text x=\"{1}\" y=\"{0}\" text-anchor=\"end\" fill=\"#555\">better than pagelog →</text>",
        bottom + 18.0,
        WIDTH - RIGHT
    );
}
