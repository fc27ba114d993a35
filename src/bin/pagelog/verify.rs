//! `pagelog verify`.

use std::fmt::Write;
use std::process::ExitCode;

use pagelog::inspect::Inspection;
use pagelog::{Corruption, Error, VerifyOptions, VerifyReport};

use crate::dump;
use crate::failure::{DAMAGED, Failure, Result, exit_code_of};
use crate::json::Json;
use crate::options::Options;
use crate::progress::Bar;
use crate::store::{self, Store};
use crate::{out, text};

/// What a check has found, however it was made.
struct Verdict {
    /// Whether the store opens, and if not, why.
    failure: Option<Error>,
    segments: u64,
    records: u64,
    live_records: u64,
    live_bytes: u64,
    bytes_read: u64,
    large_values: u64,
    has_snapshot: bool,
    faults: Vec<Corruption>,
    more_faults: u64,
}

pub fn run(options: &Options) -> Result<ExitCode> {
    let inspection = store::inspect(options)?;
    let verdict = match store::open(&options.directory, inspection.store()) {
        Ok(Store::Pages(cache)) => {
            let mut bar = Bar::new("verify", options.quiet);
            let report = cache.verify_with(VerifyOptions::new(), |progress| bar.tell(progress));
            bar.finish();
            let mut report = report?;
            add_what_the_map_says(options, &inspection, &mut report)?;
            Verdict {
                failure: None,
                segments: report.segments.into(),
                records: report.records,
                live_records: report.live_records,
                live_bytes: report.live_bytes,
                bytes_read: report.bytes_read,
                large_values: report.large_values,
                has_snapshot: report.has_snapshot,
                faults: report.faults,
                more_faults: report.more_faults,
            }
        }
        Ok(Store::Log(_)) => by_files(options, &inspection, None)?,
        Err(error) => by_files(options, &inspection, Some(error))?,
    };
    let is_sound = verdict.faults.is_empty() && verdict.more_faults == 0;
    if options.json {
        out::print(&format!("{}\n", json(&inspection, &verdict)))?;
    } else {
        out::print(&report(&inspection, &verdict))?;
    }
    Ok(if is_sound { ExitCode::SUCCESS } else { ExitCode::from(DAMAGED) })
}

/// What only the log by itself tells of damage, as `map` and `dump` do: whose a dead record seems to be, and
/// which pages can't be put together any more. The check of an opened store names damaged places, and pages
/// where its page table knows them.
fn add_what_the_map_says(
    options: &Options,
    inspection: &Inspection,
    report: &mut VerifyReport,
) -> Result<()> {
    if report.is_sound() || report.more_faults > 0 {
        return Ok(());
    }
    let survey = dump::survey(options, inspection)?;
    report.bytes_read += survey.bytes_read;
    for fault in survey.faults {
        let is_same = |known: &&mut Corruption| {
            known.file == fault.file && known.offset == fault.offset && known.lsn == fault.lsn
        };
        match report.faults.iter_mut().find(is_same) {
            Some(known) => known.page_id = known.page_id.or(fault.page_id),
            None => report.faults.push(fault),
        }
    }
    Ok(())
}

/// Checks the files. If they prove to be sound and the store does not open all the same, that error is what
/// there is to say.
fn by_files(options: &Options, inspection: &Inspection, failure: Option<Error>) -> Result<Verdict> {
    let mut bar = Bar::new("verify", options.quiet);
    let report = inspection.check(|progress| bar.tell(progress));
    bar.finish();
    let (report, mut failure) = (report?, failure);
    let mut faults = report.faults;
    if let Some(error) = failure.take_if(|_| faults.is_empty()) {
        match error {
            Error::Corruption(fault) => {
                faults.push((*fault).clone());
                failure = Some(Error::Corruption(fault));
            }
            error => return Err(Failure::Store(error)),
        }
    }
    debug_assert!(failure.as_ref().is_none_or(|error| exit_code_of(error) == DAMAGED || !faults.is_empty()));
    Ok(Verdict {
        failure,
        segments: inspection.store().segments.into(),
        records: report.survey.records,
        live_records: report.survey.live_records,
        live_bytes: report.survey.live_bytes,
        bytes_read: report.bytes_read,
        large_values: report.survey.large_values,
        has_snapshot: report.has_snapshot,
        faults,
        more_faults: 0,
    })
}

fn json(inspection: &Inspection, verdict: &Verdict) -> Json {
    let info = inspection.store();
    Json::object([
        ("directory", info.path.as_str().into()),
        ("sound", (verdict.faults.is_empty() && verdict.more_faults == 0).into()),
        ("opens", verdict.failure.is_none().into()),
        ("problem", verdict.failure.as_ref().map(ToString::to_string).into()),
        ("notes", Json::list(store::notes(info).into_iter().map(Json::from))),
        ("segments", verdict.segments.into()),
        ("records", verdict.records.into()),
        ("live_records", verdict.live_records.into()),
        ("live_bytes", verdict.live_bytes.into()),
        ("large_values", verdict.large_values.into()),
        ("has_snapshot", verdict.has_snapshot.into()),
        ("bytes_read", verdict.bytes_read.into()),
        ("faults", Json::list(verdict.faults.iter().map(Json::from))),
        ("more_faults", verdict.more_faults.into()),
    ])
}

fn report(inspection: &Inspection, verdict: &Verdict) -> String {
    let mut report = String::new();
    let Verdict { failure, faults, .. } = verdict;
    for note in store::notes(inspection.store()) {
        let _ = writeln!(report, "! {note}");
    }
    if let Some(error) = failure {
        let _ = writeln!(report, "! the store does not open: {error}");
    }
    let snapshot = if verdict.has_snapshot { "checked" } else { "none" };
    report += &text::table(&[
        ("store", inspection.store().path.clone()),
        ("segments", text::grouped(verdict.segments)),
        ("records", text::grouped(verdict.records)),
        (
            "live records",
            format!("{}, {}", text::grouped(verdict.live_records), text::bytes(verdict.live_bytes)),
        ),
        ("large values", text::grouped(verdict.large_values)),
        ("snapshot", snapshot.into()),
        ("read", text::bytes(verdict.bytes_read)),
    ]);
    let found = faults.len() as u64 + verdict.more_faults;
    if found == 0 {
        return report + "sound: no damage\n";
    }
    let _ = writeln!(report, "DAMAGED: {}", text::count(found, "fault"));
    report + &text::faults(faults, verdict.more_faults)
}
