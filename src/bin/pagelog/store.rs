//! Opening a store whose pages mean nothing to this program.

use std::path::Path;
use std::result::Result as StdResult;
use std::sync::Arc;

use pagelog::inspect::{InspectOptions, Inspection, StoreInfo, StoreKind};
use pagelog::{Codec, CodecError, Config, FileStorage, Fragment, Log, PageCache};

use crate::failure::Result;
use crate::options::Options;

/// A fragment of a type that is not known here. There is no way to get one, so pages can be checked and
/// copied, but neither read nor merged by mistake: only the program that wrote them knows how.
#[derive(Debug)]
pub struct Opaque(());

pub struct Refusal;

impl Codec<Opaque> for Refusal {
    fn encode(_: &Opaque, _: &mut Vec<u8>) -> StdResult<(), CodecError> {
        Err("the inspector writes no pages".into())
    }

    fn decode(_: &[u8]) -> StdResult<Opaque, CodecError> {
        Err("the inspector does not know what is in pages".into())
    }
}

impl Fragment for Opaque {
    type Codec = Refusal;

    fn merge(_: &[&Self]) -> Self {
        // Never called: nothing can be decoded.
        Self(())
    }
}

/// A store, opened read-only.
pub enum Store {
    Pages(PageCache<Opaque>),
    Log(Log),
}

/// Opens what the manifest says it is.
pub fn open(directory: &Path, info: &StoreInfo) -> StdResult<Store, pagelog::Error> {
    let config = Config::new(directory).read_only(true);
    match info.kind {
        Some(StoreKind::Log) => Log::open(config).map(Store::Log),
        _ => config.open().map(Store::Pages),
    }
}

/// Looks at the files.
pub fn inspect(options: &Options) -> Result<Inspection> {
    let mut how = InspectOptions::new().beside_writer(options.force);
    if let Some(size) = options.segment_size {
        how = how.segment_size(size);
    }
    Ok(Inspection::open(Arc::new(FileStorage::new(&options.directory)), how)?)
}

pub fn kind_name(info: &StoreInfo) -> &'static str {
    match info.kind {
        Some(StoreKind::Pages) => "pages",
        Some(StoreKind::Log) => "log",
        _ => "unknown",
    }
}

/// What to say of a store that could not be read in the regular way.
pub fn notes(info: &StoreInfo) -> Vec<String> {
    let mut notes = Vec::new();
    if info.in_use {
        notes.push(
            "the store is in use: what is read is of many moments, and what looks like damage may be none"
                .into(),
        );
    }
    if let Some(fault) = &info.manifest_fault {
        notes.push(format!("the manifest can't be used ({fault}); segments are told by their headers, and what was given up may look live"));
    }
    if info.segment_size_is_assumed {
        notes.push(format!(
            "nothing tells the segment size; {} is assumed (--segment-size)",
            info.segment_size
        ));
    }
    notes
}
