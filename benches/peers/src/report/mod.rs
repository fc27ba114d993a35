//! What all rounds came to: a table, a chart, and a line of JSON for each figure.

mod chart;
pub mod json;
mod table;

use std::time::Duration;

use crate::catalogue::{Cell, GROUPS, Group, Layer, does_the_same_work};
use crate::child::Said;

/// The figures of one cell and engine, one for each round.
#[derive(Clone, Debug)]
struct Row {
    cell: String,
    engine: String,
    values: Vec<f64>,
    /// The raw control's beside them, if there is one.
    raws: Vec<f64>,
}

/// What was measured so far.
#[derive(Debug)]
pub struct Report {
    rounds: usize,
    commit: String,
    machine: [String; 2],
    rows: Vec<Row>,
    /// The last one of each group and engine.
    notes: Vec<(String, Vec<String>)>,
    failures: Vec<String>,
    times: Vec<(Layer, Duration)>,
}

/// The middle one, and the least and the greatest.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Spread {
    middle: f64,
    least: f64,
    greatest: f64,
}

impl Spread {
    fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (least, greatest) = (*sorted.first()?, *sorted.last()?);
        Some(Self { middle: sorted[sorted.len() / 2], least, greatest })
    }
}

impl Report {
    pub fn new(rounds: usize, commit: String, machine: String) -> Self {
        Self {
            rounds,
            commit,
            machine: [machine, String::new()],
            rows: Vec::new(),
            notes: Vec::new(),
            failures: Vec::new(),
            times: Vec::new(),
        }
    }

    /// Takes in what a process said.
    pub fn add(&mut self, group: &Group, engine: &str, said: Said) {
        for figure in said.figures {
            let known = |row: &Row| row.cell == figure.cell && row.engine == engine;
            let index = self.rows.iter().position(known).unwrap_or_else(|| {
                let (cell, engine) = (figure.cell.clone(), engine.to_owned());
                self.rows.push(Row { cell, engine, values: Vec::new(), raws: Vec::new() });
                self.rows.len() - 1
            });
            self.rows[index].values.push(figure.value);
            self.rows[index].raws.extend(figure.raw);
        }
        let who = format!("{}, {engine}", group.name);
        if let Some(failure) = said.failure {
            self.failures.push(format!("{who}: {failure}"));
        }
        let notes: Vec<String> = said.notes.into_iter().filter(|note| !note.is_empty()).collect();
        self.notes.retain(|(other, _)| *other != who);
        if !notes.is_empty() {
            self.notes.push((who, notes));
        }
    }

    /// How long a layer took.
    pub fn took(&mut self, layer: Layer, time: Duration) {
        self.times.push((layer, time));
    }

    /// What the machine is like at the end.
    pub fn ended(&mut self, machine: String) {
        self.machine[1] = machine;
    }

    pub fn failures(&self) -> usize {
        self.failures.len()
    }

    fn row(&self, cell: &Cell, engine: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.cell == cell.name && row.engine == engine)
    }

    fn spread(&self, cell: &Cell, engine: &str) -> Option<Spread> {
        Spread::of(&self.row(cell, engine)?.values)
    }

    /// How much better pagelog is than an engine: 2 is twice as fast, or half as much.
    fn ratio(&self, cell: &Cell, engine: &str) -> Option<f64> {
        let (ours, theirs) = (self.spread(cell, "pagelog")?.middle, self.spread(cell, engine)?.middle);
        Some(if cell.more_is_better { ours / theirs } else { theirs / ours })
    }

    /// How much better pagelog is than the raw control beside it.
    fn ratio_to_raw(&self, cell: &Cell) -> Option<f64> {
        let row = self.row(cell, "pagelog")?;
        let ratios = row
            .values
            .iter()
            .zip(&row.raws)
            .map(|(value, raw)| if cell.more_is_better { value / raw } else { raw / value });
        Some(Spread::of(&ratios.collect::<Vec<_>>())?.middle)
    }

    /// The peer that is hardest to beat, and how much better pagelog is.
    fn best_peer(&self, cell: &Cell) -> Option<(String, f64)> {
        let is_peer = |engine: &&str| *engine != "pagelog" && does_the_same_work(cell, engine);
        let engines = engines_of(cell).filter(is_peer);
        let ratios = engines.filter_map(|engine| Some((engine.to_owned(), self.ratio(cell, engine)?)));
        ratios.min_by(|one, other| one.1.total_cmp(&other.1))
    }

    /// The cells of a layer of which there are figures.
    fn cells(&self, layer: Layer) -> Vec<Cell> {
        let cells = GROUPS.iter().filter(|group| group.layer == layer).flat_map(|group| group.cells);
        cells.filter(|cell| self.rows.iter().any(|row| row.cell == cell.name)).copied().collect()
    }

    /// The engines of a layer of which there are figures.
    fn engines(&self, layer: Layer) -> Vec<&'static str> {
        let mut engines = Vec::new();
        for engine in GROUPS.iter().filter(|group| group.layer == layer).flat_map(|group| group.engines) {
            let has_figures = || self.cells(layer).iter().any(|cell| self.row(cell, engine).is_some());
            if !engines.contains(engine) && has_figures() {
                engines.push(*engine);
            }
        }
        engines
    }
}

fn engines_of(cell: &Cell) -> impl Iterator<Item = &'static str> {
    let group = GROUPS.iter().find(|group| group.cells.iter().any(|other| other.name == cell.name));
    group.map_or(&[][..], |group| group.engines).iter().copied()
}
