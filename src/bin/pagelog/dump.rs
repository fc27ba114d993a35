//! `pagelog dump`: segments and records, straight from the log file.

use std::ops::ControlFlow;
use std::process::ExitCode;

use pagelog::inspect::{Inspection, RecordInfo, RecordState, SegmentInfo, SegmentState, Survey};

use crate::failure::{DAMAGED, Result};
use crate::json::Json;
use crate::options::{Filter, Options};
use crate::out::Out;
use crate::progress::Bar;
use crate::{store, text};

pub fn survey(options: &Options, inspection: &Inspection) -> Result<Survey> {
    let mut bar = Bar::new("reading", options.quiet);
    let survey = inspection.survey(|progress| bar.tell(progress));
    bar.finish();
    Ok(survey?)
}

/// What looks like damage beside a writer is not called so.
pub fn exit_code(inspection: &Inspection, survey: &Survey) -> ExitCode {
    let info = inspection.store();
    let is_damaged = !survey.faults.is_empty() || info.manifest_fault.is_some();
    if is_damaged && !info.in_use { ExitCode::from(DAMAGED) } else { ExitCode::SUCCESS }
}

/// Notes and faults, as text.
fn remarks(out: &mut Out, inspection: &Inspection, survey: &Survey) -> Result<()> {
    for note in store::notes(inspection.store()) {
        out.put(&format!("! {note}\n"))?;
    }
    if !survey.faults.is_empty() {
        out.put(&format!("! {}:\n", text::count(survey.faults.len() as u64, "fault")))?;
        out.put(&text::faults(&survey.faults, 0))?;
    }
    Ok(())
}

/// The end of every JSON document here: what could not be read.
fn tail(inspection: &Inspection, survey: &Survey) -> String {
    let faults = Json::list(survey.faults.iter().map(Json::from));
    let notes = Json::list(store::notes(inspection.store()).into_iter().map(Json::from));
    format!("],\n\"faults\":{faults},\"notes\":{notes}}}\n")
}

fn head(inspection: &Inspection, list: &str) -> String {
    let info = inspection.store();
    let (path, size) = (Json::from(info.path.as_str()), info.segment_size);
    format!("{{\"directory\":{path},\"segment_size\":{size},\"{list}\":[")
}

pub fn segment_json(segment: &SegmentInfo, size: u32) -> Json {
    Json::object([
        ("slot", segment.slot.into()),
        ("state", segment.state.to_string().into()),
        ("segment", (segment.segment > 0).then_some(segment.segment).into()),
        ("lane", segment.lane.map(|lane| lane.to_string()).into()),
        ("base_lsn", (segment.segment > 0).then_some(segment.base).into()),
        ("end", segment.end.into()),
        ("written", segment.written.into()),
        ("records", segment.records.into()),
        ("live_records", segment.live_records.into()),
        ("live_bytes", segment.live_bytes.into()),
        ("utilisation", (segment.live_bytes as f64 / f64::from(size)).into()),
        ("age", segment.age.into()),
        ("faults", segment.faults.into()),
    ])
}

pub fn segments(options: &Options) -> Result<ExitCode> {
    let inspection = store::inspect(options)?;
    let survey = survey(options, &inspection)?;
    let (mut out, size) = (Out::new(), inspection.store().segment_size);
    if options.json {
        out.put(&head(&inspection, "segments"))?;
        for (index, segment) in survey.segments.iter().enumerate() {
            out.put(if index > 0 { ",\n" } else { "\n" })?;
            out.put(&segment_json(segment, size).to_string())?;
        }
        out.put(&tail(&inspection, &survey))?;
    } else {
        remarks(&mut out, &inspection, &survey)?;
        out.put(&format!(
            "{:>6} {:>8} {:9} {:8} {:>14} {:>10} {:>8} {:>8} {:>10} {:>6} {:>6} {:>6}\n",
            "slot",
            "segment",
            "lane",
            "state",
            "base LSN",
            "written",
            "records",
            "live",
            "bytes",
            "util",
            "age",
            "faults"
        ))?;
        for segment in &survey.segments {
            out.put(&segment_line(segment, size))?;
        }
    }
    out.finish()?;
    Ok(exit_code(&inspection, &survey))
}

fn segment_line(segment: &SegmentInfo, size: u32) -> String {
    let SegmentInfo { slot, state, segment: id, written, records, live_records, live_bytes, age, .. } =
        segment;
    if *state == SegmentState::Free {
        return format!("{slot:>6} {:>8} {:9} {state:8}\n", "-", "-");
    }
    let lane = segment.lane.map(|lane| lane.to_string()).unwrap_or_default();
    let (base, used) = (segment.base, text::percent(*live_bytes, size.into()));
    let faults = if segment.faults == 0 { "-".into() } else { segment.faults.to_string() };
    format!(
        "{slot:>6} {id:>8} {lane:9} {state:8} {base:>14} {written:>10} {records:>8} {live_records:>8} {live_bytes:>10} \
         {used:>5.1}% {age:>6} {faults:>6}\n",
        base = base.get()
    )
}

/// Records, or those of one page.
pub fn records(options: &Options, filter: &Filter) -> Result<ExitCode> {
    let inspection = store::inspect(options)?;
    let survey = survey(options, &inspection)?;
    let size = u64::from(inspection.store().segment_size);
    let mut out = Out::new();
    if options.json {
        out.put(&head(&inspection, "records"))?;
    } else {
        remarks(&mut out, &inspection, &survey)?;
        out.put(&format!(
            "{:>14} {:>8} {:>13} {:11} {:>10} {:>10} {:>8} {:8} {:8}\n",
            "LSN", "segment", "file offset", "kind", "page", "version", "length", "checksum", "state"
        ))?;
    }
    let (mut listed, mut of_page) = (0_u64, Vec::new());
    for segment in in_order(&survey, filter, size) {
        let mut printed = Ok(());
        let visited = inspection.records(&survey, segment, |record, payload| {
            if matches(filter, record) {
                if filter.page_id.is_some() {
                    of_page.push((record.clone(), if filter.hex { payload.to_vec() } else { Vec::new() }));
                } else {
                    printed = print(&mut out, options, filter, listed == 0, record, payload);
                    listed += 1;
                }
            }
            if printed.is_ok() && out.is_read() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        printed?;
        // What can't be read was named before.
        if matches!(visited, Ok(ControlFlow::Break(()))) {
            break;
        }
    }
    // A page's history is told by its versions. In the log a copy stands where it was moved to.
    of_page.sort_by_key(|(record, _)| (record.version, record.lsn));
    for (record, payload) in &of_page {
        print(&mut out, options, filter, listed == 0, record, payload)?;
        listed += 1;
    }
    if options.json {
        out.put(&tail(&inspection, &survey))?;
    } else if listed == 0 {
        out.put("no such record\n")?;
    }
    out.finish()?;
    Ok(exit_code(&inspection, &survey))
}

/// The segments that can have such records, by LSN.
fn in_order<'a>(survey: &'a Survey, filter: &Filter, size: u64) -> Vec<&'a SegmentInfo> {
    let wanted = |segment: &&SegmentInfo| {
        let (base, state) = (segment.base.get(), segment.state);
        state != SegmentState::Free
            && filter.segment.is_none_or(|id| id == segment.segment)
            && filter.from.is_none_or(|from| base.saturating_add(size) > from.get())
            && filter.to.is_none_or(|to| base < to.get())
    };
    let mut segments: Vec<&SegmentInfo> = survey.segments.iter().filter(wanted).collect();
    segments.sort_unstable_by_key(|segment| segment.segment);
    segments
}

fn matches(filter: &Filter, record: &RecordInfo) -> bool {
    filter.page_id.is_none_or(|page_id| record.page_id == Some(page_id))
        && filter.from.is_none_or(|from| record.lsn >= from)
        && filter.to.is_none_or(|to| record.lsn < to)
        && (!filter.live || record.state == RecordState::Live)
}

fn print(
    out: &mut Out,
    options: &Options,
    filter: &Filter,
    is_first: bool,
    record: &RecordInfo,
    payload: &[u8],
) -> Result<()> {
    if options.json {
        out.put(if is_first { "\n" } else { ",\n" })?;
        return out.put(&record_json(record, filter.hex.then_some(payload)).to_string());
    }
    out.put(&record_line(record))?;
    if filter.hex { out.put(&text::hex(payload, "    ")) } else { Ok(()) }
}

fn record_json(record: &RecordInfo, payload: Option<&[u8]>) -> Json {
    let large = record.large_value.as_ref();
    let large = large
        .map(|value| Json::object([("file", value.file.as_str().into()), ("bytes", value.bytes.into())]));
    let mut fields = vec![
        ("lsn", record.lsn.into()),
        ("segment", record.segment.into()),
        ("file_offset", record.file_offset.into()),
        ("kind", record.kind.to_string().into()),
        ("page_id", record.page_id.into()),
        ("version", record.version.into()),
        ("length", record.length.into()),
        ("checksum_ok", record.intact.into()),
        ("reason", record.reason.into()),
        ("state", record.state.to_string().into()),
        ("compressed", record.compressed.into()),
        ("large_value", large.into()),
        ("payload_length", record.payload_length.into()),
    ];
    fields.extend(payload.map(|payload| ("payload", text::digits(payload).into())));
    Json::Object(fields)
}

fn record_line(record: &RecordInfo) -> String {
    let or_dash = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    let (page, version) = (or_dash(record.page_id.map(Into::into)), or_dash(record.version.map(Into::into)));
    let checksum = if record.intact { "ok" } else { "BAD" };
    let mut extra = String::new();
    if record.compressed {
        extra += "  compressed";
    }
    if let Some(value) = &record.large_value {
        extra += &format!("  {} in {}", text::bytes(value.bytes), value.file);
    }
    if let Some(reason) = record.reason {
        extra += &format!("  it {reason}");
    }
    let line = format!(
        "{:>14} {:>8} {:>13} {:11} {page:>10} {version:>10} {:>8} {checksum:8} {:8}{extra}",
        record.lsn.get(),
        record.segment,
        record.file_offset,
        record.kind,
        record.length,
        record.state
    );
    format!("{}\n", line.trim_end())
}
