//! `pagelog backup`.

use std::path::Path;
use std::sync::Arc;

use pagelog::{Error, FileStorage};

use crate::failure::Result;
use crate::json::Json;
use crate::options::Options;
use crate::progress::Bar;
use crate::store::{self, Store};
use crate::{out, text};

pub fn run(options: &Options, to: &Path) -> Result<()> {
    let info = store::inspect(options)?.store().clone();
    let opened = store::open(&options.directory, &info)?;
    refuse_inside(&options.directory, to)?;
    let target = Arc::new(FileStorage::new(to));
    let mut bar = Bar::new("backup", options.quiet);
    let report = match &opened {
        Store::Pages(cache) => cache.backup_to_storage(target, |progress| bar.tell(progress)),
        Store::Log(log) => log.backup_to_storage(target, |progress| bar.tell(progress)),
    };
    bar.finish();
    let report = report?;
    if options.json {
        let fields = [
            ("directory", info.path.into()),
            ("to", to.display().to_string().into()),
            ("stable_lsn", report.stable_lsn.into()),
            ("segments", report.segments.into()),
            ("records", report.records.into()),
            ("bytes", report.bytes.into()),
            ("seconds", report.duration.as_secs_f64().into()),
        ];
        return out::print(&format!("{}\n", Json::object(fields)));
    }
    out::print(&format!(
        "copied to {}: {} records in {} segments, {}, everything below LSN {}\n",
        to.display(),
        text::grouped(report.records),
        report.segments,
        text::bytes(report.bytes),
        report.stable_lsn
    ))
}

/// The store's directory is not written to, so the copy is not put there.
fn refuse_inside(directory: &Path, to: &Path) -> Result<()> {
    if is_inside(directory, to) {
        let reason = "it lies in the directory of the store itself".into();
        return Err(Error::BackupTarget { path: to.display().to_string(), reason }.into());
    }
    Ok(())
}

/// Whether a path leads into a directory, as far as it exists.
pub fn is_inside(directory: &Path, path: &Path) -> bool {
    let (Ok(directory), Ok(path)) = (directory.canonicalize(), std::path::absolute(path)) else {
        return false;
    };
    let there = path.ancestors().find_map(|path| path.canonicalize().ok());
    there.is_some_and(|there| there.starts_with(&directory))
}
