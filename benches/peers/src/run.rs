//! All rounds: in each, group by group, the engines one after the other, and each time another one first.

use std::fs::File;
use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

use crate::catalogue::{GROUPS, Group, Layer};
use crate::child::{Role, Said, listen};
use crate::report::{Report, json};
use crate::settings::Settings;
use crate::system::machine;

/// The directory of all of a run's files, which is removed at its end.
struct Place(std::path::PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub fn run(settings: &Settings) -> ExitCode {
    std::fs::create_dir_all(&settings.results).expect("a directory for the results");
    let place = Place(settings.directory.join(format!("pagelog-peers-{}", std::process::id())));
    let mut lines = File::create(settings.results.join("figures.jsonl")).expect("a file for the results");
    let mut report = Report::new(settings.rounds, commit(), machine());
    for layer in Layer::ALL.into_iter().filter(|layer| settings.wants_layer(*layer)) {
        let start = Instant::now();
        for round in 0..settings.rounds {
            for group in GROUPS.iter().filter(|group| group.layer == layer) {
                run_group(settings, group, round, &place, &mut lines, &mut report);
            }
        }
        report.took(layer, start.elapsed());
    }
    report.ended(machine());
    let text = report.table();
    println!("{text}");
    write(settings, "table.md", &text);
    if let Some(chart) = report.chart() {
        write(settings, "chart.svg", &chart);
    }
    if report.failures() > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn write(settings: &Settings, name: &str, text: &str) {
    let path = settings.results.join(name);
    std::fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    eprintln!("wrote {}", path.display());
}

fn run_group(
    settings: &Settings,
    group: &Group,
    round: usize,
    place: &Place,
    lines: &mut File,
    report: &mut Report,
) {
    if !group.cells.iter().any(|cell| settings.wants_cell(group, cell)) {
        return;
    }
    let count = group.engines.len();
    for engine in (0..count).map(|index| group.engines[(index + round) % count]) {
        if !settings.wants_engine(engine) {
            continue;
        }
        let start = Instant::now();
        let said = measure(settings, group, engine, place);
        eprintln!(
            "round {} {:<8} {engine:<10} {:>6.1} s {}",
            round + 1,
            group.name,
            start.elapsed().as_secs_f64(),
            said.failure.as_deref().unwrap_or("")
        );
        for figure in &said.figures {
            let line = json::line(round, group, engine, figure);
            writeln!(lines, "{line}").expect("a line");
        }
        report.add(group, engine, said);
    }
}

/// Runs one engine's process, in a folder of its own, which is removed afterwards.
fn measure(settings: &Settings, group: &Group, engine: &str, place: &Place) -> Said {
    let folder = place.0.join(format!("{}-{engine}", group.name));
    std::fs::create_dir_all(&folder).expect("a folder");
    let role = Role {
        group: group.name.into(),
        engine: engine.into(),
        step: String::new(),
        place: folder.join("store"),
    };
    let said = listen(role.start(), settings.patience);
    std::fs::remove_dir_all(&folder).expect("the folder is removed");
    said
}

/// What was measured: the commit, and whether there are changes on top of it.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = std::process::Command::new("git").args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let changed =
        git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|text| !text.is_empty());
    let commit = git(&["rev-parse", "--short", "HEAD"]).unwrap_or_else(|| "unknown".into());
    if changed { format!("{commit} with changes") } else { commit }
}
