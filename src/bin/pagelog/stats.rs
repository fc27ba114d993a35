//! `pagelog stats`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::ExitCode;

use pagelog::inspect::{FileInfo, FileKind, Inspection, SnapshotInfo, StoreInfo, Survey};
use pagelog::{Error, Lsn};

use crate::failure::{Result, exit_code_of};
use crate::json::Json;
use crate::options::Options;
use crate::out;
use crate::progress::Bar;
use crate::store::{self, Store};
use crate::text;

/// What is in a store, however it was found out.
struct Figures {
    /// Segments by state.
    states: Vec<(String, u64)>,
    live_bytes: u64,
    log_bytes: u64,
    pages: u64,
    free_page_ids: u64,
    stable: Option<Lsn>,
    tail: Lsn,
    large_values: u64,
    large_value_bytes: u64,
    dead_large_value_bytes: u64,
}

impl Figures {
    fn space_amplification(&self) -> f64 {
        let live = self.live_bytes + self.large_value_bytes;
        let all = self.log_bytes + self.large_value_bytes + self.dead_large_value_bytes;
        if live == 0 { 1.0 } else { all as f64 / live as f64 }
    }

    fn of_store(store: &Store) -> Option<Self> {
        let Store::Pages(cache) = store else { return None };
        let stats = cache.stats();
        let used = stats.segments.saturating_sub(stats.free_segments + stats.emptied_segments);
        let states = [("in use", used), ("emptied", stats.emptied_segments), ("free", stats.free_segments)];
        Some(Self {
            states: states.map(|(name, count)| (name.to_owned(), count.into())).to_vec(),
            live_bytes: stats.live_bytes,
            log_bytes: stats.log_file_bytes,
            pages: stats.page_ids - stats.free_page_ids.min(stats.page_ids),
            free_page_ids: stats.free_page_ids,
            stable: Some(stats.stable_lsn),
            tail: stats.tail_lsn,
            large_values: stats.large_values,
            large_value_bytes: stats.large_value_bytes,
            dead_large_value_bytes: stats.dead_large_value_bytes,
        })
    }

    fn of_survey(survey: &Survey, files: &[FileInfo]) -> Self {
        let mut states = BTreeMap::<_, u64>::new();
        survey.segments.iter().for_each(|segment| *states.entry(segment.state).or_default() += 1);
        Self {
            states: states.into_iter().map(|(state, count)| (state.to_string(), count)).collect(),
            live_bytes: survey.live_bytes,
            log_bytes: bytes_of(files, FileKind::Log),
            pages: survey.pages,
            free_page_ids: survey.free_pages,
            stable: None,
            tail: survey.tail,
            large_values: survey.large_values,
            large_value_bytes: bytes_of(files, FileKind::LargeValue),
            dead_large_value_bytes: 0,
        }
    }
}

fn bytes_of(files: &[FileInfo], kind: FileKind) -> u64 {
    files.iter().filter(|file| file.kind == kind).filter_map(|file| file.bytes).sum()
}

pub fn run(options: &Options) -> Result<ExitCode> {
    let inspection = store::inspect(options)?;
    let info = inspection.store();
    if options.openmetrics {
        return expose(options, info);
    }
    let (mut failure, mut figures) = (None, None);
    if !info.in_use {
        match store::open(&options.directory, info) {
            Ok(store) => figures = Figures::of_store(&store),
            Err(error) => failure = Some(error),
        }
    }
    let figures = match figures {
        Some(figures) => figures,
        None => Figures::of_survey(&survey(options, &inspection)?, inspection.files()),
    };
    let snapshot = inspection.snapshot();
    if options.json {
        out::print(&format!("{}\n", json(&inspection, &figures, &snapshot, failure.as_ref())))?;
    } else {
        out::print(&report(&inspection, &figures, &snapshot, failure.as_ref()))?;
    }
    Ok(failure.as_ref().map_or(ExitCode::SUCCESS, |error| ExitCode::from(code(error, info))))
}

/// Prints what the library tells monitoring systems of a store that was just opened.
fn expose(options: &Options, info: &StoreInfo) -> Result<ExitCode> {
    let text = match store::open(&options.directory, info) {
        Ok(Store::Pages(cache)) => cache.stats().to_openmetrics(),
        Ok(Store::Log(log)) => log.stats().to_openmetrics(),
        Err(error) => {
            eprintln!("pagelog: the store does not open: {error}");
            return Ok(ExitCode::from(code(&error, info)));
        }
    };
    out::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// A store that does not open is damaged, unless it is the system that refuses.
fn code(error: &Error, info: &StoreInfo) -> u8 {
    if info.manifest_fault.is_some() { crate::failure::DAMAGED } else { exit_code_of(error) }
}

fn survey(options: &Options, inspection: &Inspection) -> Result<Survey> {
    let mut bar = Bar::new("reading", options.quiet);
    let survey = inspection.survey(|progress| bar.tell(progress));
    bar.finish();
    Ok(survey?)
}

type Snapshot = std::result::Result<Option<SnapshotInfo>, Error>;

fn age(snapshot: &SnapshotInfo, figures: &Figures) -> u64 {
    figures.tail.get().saturating_sub(snapshot.begin.get())
}

fn json(inspection: &Inspection, figures: &Figures, snapshot: &Snapshot, failure: Option<&Error>) -> Json {
    let info = inspection.store();
    let states = figures.states.iter();
    let states = states
        .map(|(state, count)| Json::object([("state", state.as_str().into()), ("count", (*count).into())]));
    let files = inspection.files().iter().map(|file| {
        Json::object([
            ("name", file.name.as_str().into()),
            ("kind", file_kind(file.kind).into()),
            ("bytes", file.bytes.into()),
        ])
    });
    let snapshot = match snapshot {
        Ok(None) => Json::Null,
        Ok(Some(snapshot)) => Json::object([
            ("serial", snapshot.serial.into()),
            ("files", snapshot.files.into()),
            ("bytes", snapshot.bytes.into()),
            ("bytes_in_use", snapshot.bytes_in_use.into()),
            ("begin_lsn", snapshot.begin.into()),
            ("age_in_log_bytes", age(snapshot, figures).into()),
        ]),
        Err(error) => Json::object([("error", error.to_string().into())]),
    };
    let large = Json::object([
        ("count", figures.large_values.into()),
        ("bytes", figures.large_value_bytes.into()),
        ("dead_bytes", figures.dead_large_value_bytes.into()),
    ]);
    Json::object([
        ("directory", info.path.as_str().into()),
        ("format_version", info.format_version.into()),
        ("store_id", info.store_id.clone().into()),
        ("kind", store::kind_name(info).into()),
        ("opens", if info.in_use { Json::Null } else { failure.is_none().into() }),
        ("problem", failure.map(ToString::to_string).into()),
        ("notes", Json::list(store::notes(info).into_iter().map(Json::from))),
        ("segment_size", info.segment_size.into()),
        ("slots", info.slots.into()),
        ("segments", Json::list(states)),
        ("log_bytes", figures.log_bytes.into()),
        ("live_bytes", figures.live_bytes.into()),
        ("space_amplification", figures.space_amplification().into()),
        ("pages", figures.pages.into()),
        ("free_page_ids", figures.free_page_ids.into()),
        ("stable_lsn", figures.stable.into()),
        ("tail_lsn", figures.tail.into()),
        ("next_segment", info.next_segment.into()),
        ("id_bound", info.id_bound.into()),
        ("large_values", large),
        ("snapshot", snapshot),
        ("dictionaries", (count_of(inspection.files(), FileKind::Dictionary)).into()),
        ("files", Json::list(files)),
    ])
}

fn count_of(files: &[FileInfo], kind: FileKind) -> u64 {
    files.iter().filter(|file| file.kind == kind).count() as u64
}

fn report(
    inspection: &Inspection,
    figures: &Figures,
    snapshot: &Snapshot,
    failure: Option<&Error>,
) -> String {
    let (info, files) = (inspection.store(), inspection.files());
    let mut text = String::new();
    for note in
        failure.map(|error| format!("the store does not open: {error}")).into_iter().chain(store::notes(info))
    {
        let _ = writeln!(text, "! {note}");
    }
    let states: Vec<String> =
        figures.states.iter().map(|(state, count)| format!("{count} {state}")).collect();
    let snapshot = match snapshot {
        Ok(None) => "none".into(),
        Ok(Some(found)) => format!(
            "number {}, {} in {}, {} of log behind it",
            found.serial,
            text::bytes(found.bytes),
            text::count(found.files.into(), "file"),
            text::bytes(age(found, figures))
        ),
        Err(error) => error.to_string(),
    };
    let unknown = || "unknown".to_owned();
    let rows = [
        ("store", info.path.clone()),
        ("format version", info.format_version.map_or_else(unknown, |version| version.to_string())),
        ("store id", info.store_id.clone().unwrap_or_else(unknown)),
        ("holds", store::kind_name(info).into()),
        ("segment size", text::bytes(info.segment_size.into())),
        ("segments", format!("{} slots: {}", info.slots, states.join(", "))),
        ("log file", text::bytes(figures.log_bytes)),
        ("live", format!("{} in the log", text::bytes(figures.live_bytes))),
        ("space amplification", format!("{:.2}", figures.space_amplification())),
        (
            "pages",
            format!(
                "{}, and {} free ids",
                text::grouped(figures.pages),
                text::grouped(figures.free_page_ids)
            ),
        ),
        ("stable LSN", figures.stable.map_or_else(unknown, |lsn| text::grouped(lsn.get()))),
        ("tail LSN", text::grouped(figures.tail.get())),
        ("generated ids", format!("below {}", text::grouped(info.id_bound))),
        (
            "large values",
            format!("{}, {}", text::grouped(figures.large_values), text::bytes(figures.large_value_bytes)),
        ),
        ("snapshot", snapshot),
        ("dictionaries", count_of(files, FileKind::Dictionary).to_string()),
    ];
    text += &text::table(&rows);
    text + "\n" + &files_by_kind(files)
}

fn files_by_kind(files: &[FileInfo]) -> String {
    let mut kinds: BTreeMap<FileKind, (u64, u64)> = BTreeMap::new();
    for file in files {
        let (count, bytes) = kinds.entry(file.kind).or_default();
        *count += 1;
        *bytes += file.bytes.unwrap_or(0);
    }
    kinds.into_iter().fold(String::new(), |mut text, (kind, (count, bytes))| {
        let name = file_kind(kind);
        let _ = writeln!(text, "{name:18} {count:>6} {:>12}", text::bytes(bytes));
        text
    })
}

fn file_kind(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Log => "log",
        FileKind::Manifest => "manifest",
        FileKind::NextManifest => "next manifest",
        FileKind::Snapshot => "snapshot",
        FileKind::LargeValue => "large value",
        FileKind::Dictionary => "dictionary",
        FileKind::Lock => "lock",
        FileKind::UnfinishedBackup => "unfinished backup",
        _ => "other",
    }
}
