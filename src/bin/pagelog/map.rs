//! `pagelog map`: how full the slots of the log file are, and how old.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use pagelog::inspect::{Inspection, SegmentState, Survey};

use crate::backup::is_inside;
use crate::dump;
use crate::failure::{Failure, Result};
use crate::json::Json;
use crate::options::Options;
use crate::{out, picture, store, svg, text};

/// What the whole picture comes to.
pub struct Summary {
    /// Slots by state.
    pub states: Vec<(SegmentState, u64)>,
    pub live_bytes: u64,
    /// Live bytes in full segments, and the bytes of these segments.
    pub full_live: u64,
    pub full_bytes: u64,
    pub oldest: u64,
    pub faults: u64,
}

impl Summary {
    fn of(survey: &Survey, size: u32) -> Self {
        let states = [
            SegmentState::Sealed,
            SegmentState::Active,
            SegmentState::Claimed,
            SegmentState::Empty,
            SegmentState::Void,
            SegmentState::Missing,
            SegmentState::Free,
        ];
        let count = |state| survey.segments.iter().filter(|segment| segment.state == state).count() as u64;
        let full = || survey.segments.iter().filter(|segment| segment.state == SegmentState::Sealed);
        Self {
            states: states.map(|state| (state, count(state))).to_vec(),
            live_bytes: survey.live_bytes,
            full_live: full().map(|segment| segment.live_bytes).sum(),
            full_bytes: full().count() as u64 * u64::from(size),
            oldest: survey.segments.iter().map(|segment| segment.age).max().unwrap_or(0),
            faults: survey.faults.len() as u64,
        }
    }

    /// In one line.
    pub fn line(&self) -> String {
        let present = self.states.iter().filter(|(_, count)| *count > 0);
        let mut parts: Vec<String> = present.map(|(state, count)| format!("{count} {state}")).collect();
        parts.push(format!("{} live", text::bytes(self.live_bytes)));
        if self.full_bytes > 0 {
            parts.push(format!("full segments {:.0} % live", text::percent(self.full_live, self.full_bytes)));
        }
        if self.faults > 0 {
            parts.push(text::count(self.faults, "fault"));
        }
        parts.join(", ")
    }
}

pub fn run(options: &Options, svg: Option<&Path>) -> Result<ExitCode> {
    let inspection = store::inspect(options)?;
    if let Some(file) = svg.filter(|file| is_inside(&options.directory, file)) {
        return Err(Failure::Usage(format!("{} lies in the directory of the store", file.display())));
    }
    let survey = dump::survey(options, &inspection)?;
    let (info, summary) = (inspection.store(), Summary::of(&survey, inspection.store().segment_size));
    if let Some(file) = svg {
        let drawing = svg::draw(info, &survey, &summary);
        fs::write(file, drawing).map_err(Failure::io(format!("write {}", file.display())))?;
    }
    if options.json {
        out::print(&format!("{}\n", json(&inspection, &survey, &summary)))?;
    } else {
        let mut report = String::new();
        for note in store::notes(info) {
            let _ = writeln!(report, "! {note}");
        }
        report += &picture::draw(info, &survey, &summary);
        if !survey.faults.is_empty() {
            report += &text::faults(&survey.faults, 0);
        }
        if let Some(file) = svg {
            let _ = writeln!(report, "drawn to {}", file.display());
        }
        out::print(&report)?;
    }
    Ok(dump::exit_code(&inspection, &survey))
}

fn json(inspection: &Inspection, survey: &Survey, summary: &Summary) -> Json {
    let info = inspection.store();
    let states = summary.states.iter();
    let states = states.map(|(state, count)| {
        Json::object([("state", state.to_string().into()), ("count", (*count).into())])
    });
    let segments = survey.segments.iter().map(|segment| dump::segment_json(segment, info.segment_size));
    Json::object([
        ("directory", info.path.as_str().into()),
        ("segment_size", info.segment_size.into()),
        ("states", Json::list(states)),
        ("live_bytes", summary.live_bytes.into()),
        ("segments", Json::list(segments)),
        ("faults", Json::list(survey.faults.iter().map(Json::from))),
        ("notes", Json::list(store::notes(info).into_iter().map(Json::from))),
    ])
}
