//! What the environment says.

use std::path::PathBuf;
use std::time::Duration;

use crate::catalogue::{Cell, Group, Layer};

/// A number, a path or a word from the environment.
fn setting<T: std::str::FromStr>(name: &str, default: T) -> T {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is not understood")),
        Err(_) => default,
    }
}

/// What pagelog's stores have as their space target if that is not the default. The processes that measure ask
/// for themselves.
pub fn space_target() -> Option<f64> {
    let target: f64 = setting("SPACE_TARGET", 0.0);
    (target > 0.0).then_some(target)
}

/// Words with commas between; empty if there are none.
fn words(name: &str) -> Vec<String> {
    let text: String = setting(name, String::new());
    text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(Into::into).collect()
}

/// The settings of a run; README.md says what each is for.
#[derive(Clone, Debug)]
pub struct Settings {
    pub rounds: usize,
    /// Of each measurement.
    pub time: Duration,
    /// The most that bringing an engine into its steady state may take.
    pub warm_up: Duration,
    /// What a process may take before it is given up.
    pub patience: Duration,
    pub pages: usize,
    /// The pages of the stores that are opened.
    pub opened: usize,
    /// The pages whose memory is measured.
    pub measured: usize,
    pub records: u64,
    pub directory: PathBuf,
    pub results: PathBuf,
    layers: Vec<String>,
    cells: Vec<String>,
    engines: Vec<String>,
}

impl Settings {
    pub fn from_environment() -> Self {
        let seconds = |name, default| Duration::from_secs_f64(setting(name, default));
        Self {
            rounds: setting("ROUNDS", 5),
            time: seconds("SECONDS", 1.0),
            warm_up: seconds("WARM_UP", 25.0),
            patience: seconds("PATIENCE", 240.0),
            pages: setting("PAGES", 100_000),
            opened: setting("OPENED", 1_000_000),
            measured: setting("MEASURED", 200_000),
            records: setting("RECORDS", 1_000_000),
            directory: setting("DIRECTORY", std::env::temp_dir()),
            results: setting("RESULTS", PathBuf::from("results")),
            layers: words("LAYERS"),
            cells: words("CELLS"),
            engines: words("ENGINES"),
        }
    }

    pub fn wants_layer(&self, layer: Layer) -> bool {
        chosen(&self.layers, &[layer.name()])
    }

    pub fn wants_engine(&self, engine: &str) -> bool {
        chosen(&self.engines, &[engine])
    }

    /// A group is named itself, or by one of its cells; then the others are left out.
    pub fn wants_cell(&self, group: &Group, cell: &Cell) -> bool {
        chosen(&self.cells, &[group.name, cell.name])
    }
}

/// Whether one of the names is among those wished for; without wishes all are.
fn chosen(wishes: &[String], names: &[&str]) -> bool {
    wishes.is_empty() || wishes.iter().any(|wish| names.contains(&wish.as_str()))
}
