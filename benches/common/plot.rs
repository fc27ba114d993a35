//! Line plots as SVG, one above the other, with a common time axis.

use std::fmt::Write;

const WIDTH: f64 = 1100.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 60.0;
const BOTTOM: f64 = 50.0;
/// With more marks than this, they are only so high.
const MOST_HIGH_MARKS: usize = 60;
const LOW_MARK: f64 = 8.0;

/// A line through points, the first number in units of the horizontal axis.
#[derive(Clone, Debug)]
pub struct Line {
    pub name: String,
    pub colour: &'static str,
    pub points: Vec<(f64, f64)>,
}

/// Moments that are marked by vertical lines.
#[derive(Clone, Debug)]
pub struct Marks {
    pub name: String,
    pub colour: &'static str,
    pub at: Vec<f64>,
}

/// One plot.
#[derive(Clone, Debug)]
pub struct Panel {
    pub title: String,
    pub unit: String,
    pub height: f64,
    pub lines: Vec<Line>,
    pub marks: Vec<Marks>,
}

/// A round step between ticks, so that there are about so many up to `most`.
fn tick(most: f64, ticks: f64) -> f64 {
    let rough = most / ticks;
    let magnitude = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().find(|step| step * magnitude >= rough);
    step.unwrap_or(10.0) * magnitude
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// The picture.
pub fn svg(heading: &str, horizontal: &str, panels: &[Panel]) -> String {
    let height: f64 = panels.iter().map(|panel| TOP + panel.height + BOTTOM).sum::<f64>() + 30.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"24\" font-size=\"17\">{}</text>\n",
        escaped(heading)
    );
    let points = || panels.iter().flat_map(|panel| &panel.lines).flat_map(|line| &line.points);
    let last = points().map(|point| point.0).fold(1e-9, f64::max);
    let mut top = 30.0;
    for panel in panels {
        draw(&mut out, panel, top + TOP, last, horizontal);
        top += TOP + panel.height + BOTTOM;
    }
    out + "</svg>\n"
}

/// Of many points that fall on the same spot of the horizontal axis, the highest and the lowest one. So a
/// picture has a size whatever was measured, and nothing that sticks out is lost.
fn extremes_of_each_column(points: &[(f64, f64)], x: impl Fn(f64) -> f64) -> Vec<(f64, f64)> {
    let mut thinned = Vec::new();
    for column in points.chunk_by(|one, other| x(one.0).floor() == x(other.0).floor()) {
        let by_value = |one: &&(f64, f64), other: &&(f64, f64)| one.1.total_cmp(&other.1);
        let ends = [column.iter().min_by(by_value), column.iter().max_by(by_value)];
        let mut ends: Vec<(f64, f64)> = ends.into_iter().flatten().copied().collect();
        ends.sort_by(|one, other| one.0.total_cmp(&other.0));
        ends.dedup();
        thinned.extend(ends);
    }
    thinned
}

fn draw(out: &mut String, panel: &Panel, top: f64, last: f64, horizontal: &str) {
    let most =
        panel.lines.iter().flat_map(|line| &line.points).map(|point| point.1).fold(1e-9, f64::max) * 1.05;
    let (right, bottom) = (WIDTH - RIGHT, top + panel.height);
    let x = |time: f64| LEFT + time / last * (right - LEFT);
    let y = |value: f64| bottom - value / most * panel.height;
    let mut put = |text: String| out.push_str(&text);
    put(format!(
        "<text x=\"{LEFT}\" y=\"{}\" font-size=\"15\">{}</text>\n",
        top - 32.0,
        escaped(&panel.title)
    ));
    let step = tick(most, 6.0);
    for at in (0..).map(|count| f64::from(count) * step).take_while(|at| *at <= most) {
        let y = y(at);
        put(format!("<line x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{right}\" y2=\"{y:.1}\" stroke=\"#ddd\"/>\n"));
        put(format!("<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{at}</text>\n", LEFT - 6.0, y + 4.0));
    }
    let step = tick(last, 10.0);
    for at in (0..).map(|count| f64::from(count) * step).take_while(|at| *at <= last) {
        let x = x(at);
        put(format!(
            "<line x1=\"{x:.1}\" y1=\"{bottom}\" x2=\"{x:.1}\" y2=\"{}\" stroke=\"#555\"/>\n",
            bottom + 5.0
        ));
        put(format!("<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{at}</text>\n", bottom + 19.0));
    }
    put(format!(
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n",
        (LEFT + right) / 2.0,
        bottom + 37.0,
        escaped(horizontal)
    ));
    let middle = top + panel.height / 2.0;
    put(format!(
        "<text x=\"22\" y=\"{middle}\" text-anchor=\"middle\" transform=\"rotate(-90 22 {middle})\">{}</text>\n",
        escaped(&panel.unit)
    ));
    for marks in &panel.marks {
        // Many would hide what they stand among; then they stand at its foot.
        let top = if marks.at.len() > MOST_HIGH_MARKS { bottom - LOW_MARK } else { top };
        for at in &marks.at {
            let (x, colour) = (x(*at), marks.colour);
            put(format!(
                "<line x1=\"{x:.1}\" y1=\"{top}\" x2=\"{x:.1}\" y2=\"{bottom}\" stroke=\"{colour}\" stroke-width=\"0.6\" stroke-dasharray=\"2 3\"/>\n"
            ));
        }
    }
    for line in &panel.lines {
        let mut path = String::new();
        for (time, value) in extremes_of_each_column(&line.points, x) {
            let _ = write!(path, "{:.1},{:.1} ", x(time), y(value));
        }
        put(format!(
            "<polyline points=\"{path}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.3\"/>\n",
            line.colour
        ));
    }
    put(format!(
        "<rect x=\"{LEFT}\" y=\"{top}\" width=\"{}\" height=\"{}\" fill=\"none\" stroke=\"#555\"/>\n",
        right - LEFT,
        panel.height
    ));
    let lines = panel.lines.iter().map(|line| (&line.name, line.colour, ""));
    let marks = panel.marks.iter().map(|marks| (&marks.name, marks.colour, " stroke-dasharray=\"2 3\""));
    let mut at = LEFT;
    for (name, colour, dash) in lines.chain(marks) {
        let y = top - 13.0;
        put(format!(
            "<line x1=\"{at}\" y1=\"{y}\" x2=\"{}\" y2=\"{y}\" stroke=\"{colour}\" stroke-width=\"2\"{dash}/>\n",
            at + 24.0
        ));
        put(format!("<text x=\"{}\" y=\"{}\">{}</text>\n", at + 30.0, y + 4.0, escaped(name)));
        at += 52.0 + 7.4 * name.len() as f64;
    }
}
