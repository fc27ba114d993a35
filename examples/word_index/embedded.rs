//! The default input: the sources of pagelog and their documents, as they were when this program was compiled.

/// Files of the package, each with its name from the package's root on.
macro_rules! embed {
    ($($name:literal,)*) => {
        /// Name and text of each, sorted by name.
        pub const EMBEDDED: &[(&str, &str)] =
            &[$(($name, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $name)))),*];
    };
}

embed! {
    "README.md",
    "src/compression/absent.rs",
    "src/compression/dictionaries.rs",
    "src/compression/mod.rs",
    "src/compression/zstd.rs",
    "src/config.rs",
    "src/docs/architecture.md",
    "src/docs/durability.md",
    "src/docs/format.md",
    "src/docs/glossary.md",
    "src/docs/log.md",
    "src/error.rs",
    "src/failpoints.rs",
    "src/format/checksum.rs",
    "src/format/dictionary.rs",
    "src/format/fields.rs",
    "src/format/large.rs",
    "src/format/manifest.rs",
    "src/format/manifest_entry.rs",
    "src/format/manifest_reader.rs",
    "src/format/mod.rs",
    "src/format/record.rs",
    "src/format/roots.rs",
    "src/format/segment_header.rs",
    "src/format/snapshot.rs",
    "src/format/snapshot_directory.rs",
    "src/format/snapshot_range.rs",
    "src/format/snapshot_reader.rs",
    "src/format/snapshot_writer.rs",
    "src/format/store_id.rs",
    "src/format/varint.rs",
    "src/geometry.rs",
    "src/ids.rs",
    "src/lib.rs",
    "src/location.rs",
    "src/log/bare.rs",
    "src/log/batch.rs",
    "src/log/batch_guard.rs",
    "src/log/buffer.rs",
    "src/log/buffer_state.rs",
    "src/log/claim.rs",
    "src/log/copy.rs",
    "src/log/core/host.rs",
    "src/log/core/mod.rs",
    "src/log/durability.rs",
    "src/log/event.rs",
    "src/log/gate.rs",
    "src/log/hold.rs",
    "src/log/iter.rs",
    "src/log/large/mod.rs",
    "src/log/large/registry.rs",
    "src/log/manifest_file.rs",
    "src/log/mod.rs",
    "src/log/reads.rs",
    "src/log/reservation.rs",
    "src/log/ring/drain.rs",
    "src/log/ring/mod.rs",
    "src/log/ring/registry.rs",
    "src/log/ring/words.rs",
    "src/log/scan.rs",
    "src/log/supply/length.rs",
    "src/log/supply/mod.rs",
    "src/models/batch.rs",
    "src/models/buffer.rs",
    "src/models/changes.rs",
    "src/models/eviction.rs",
    "src/models/free_list.rs",
    "src/models/location.rs",
    "src/models/mod.rs",
    "src/models/packed.rs",
    "src/models/page.rs",
    "src/models/reuse.rs",
    "src/models/ring.rs",
    "src/models/snapshot.rs",
    "src/pagecache/allocate.rs",
    "src/pagecache/background.rs",
    "src/pagecache/backup.rs",
    "src/pagecache/batch.rs",
    "src/pagecache/budget.rs",
    "src/pagecache/clean.rs",
    "src/pagecache/close.rs",
    "src/pagecache/consolidation.rs",
    "src/pagecache/fetch.rs",
    "src/pagecache/flush.rs",
    "src/pagecache/free.rs",
    "src/pagecache/gc.rs",
    "src/pagecache/get.rs",
    "src/pagecache/guard.rs",
    "src/pagecache/id.rs",
    "src/pagecache/large.rs",
    "src/pagecache/link.rs",
    "src/pagecache/meta.rs",
    "src/pagecache/mod.rs",
    "src/pagecache/open.rs",
    "src/pagecache/outcome.rs",
    "src/pagecache/page.rs",
    "src/pagecache/replace.rs",
    "src/pagecache/shared.rs",
    "src/pagecache/shrink.rs",
    "src/pagecache/snapshot.rs",
    "src/pagecache/statistics.rs",
    "src/pagecache/tests/accounts.rs",
    "src/pagecache/tests/frozen.rs",
    "src/pagecache/tests/increments.rs",
    "src/pagecache/tests/mod.rs",
    "src/pagecache/tests/verify.rs",
    "src/pagecache/train.rs",
    "src/pagecache/verify/files.rs",
    "src/pagecache/verify/mod.rs",
    "src/pagecache/verify/report.rs",
    "src/pagecache/verify/run.rs",
    "src/pagecache/verify/segment.rs",
    "src/pagecache/verify/table.rs",
    "src/pages/arrivals.rs",
    "src/pages/budget.rs",
    "src/pages/bulk.rs",
    "src/pages/cell.rs",
    "src/pages/chain.rs",
    "src/pages/changes.rs",
    "src/pages/evict.rs",
    "src/pages/eviction.rs",
    "src/pages/fragment.rs",
    "src/pages/free_list.rs",
    "src/pages/ghosts.rs",
    "src/pages/mod.rs",
    "src/pages/node.rs",
    "src/pages/packed.rs",
    "src/pages/prefetch.rs",
    "src/pages/publish.rs",
    "src/pages/queues.rs",
    "src/pages/restore.rs",
    "src/pages/retire.rs",
    "src/pages/segment_map.rs",
    "src/pages/spare.rs",
    "src/pages/table.rs",
    "src/pages/tests.rs",
    "src/pages/zeroed.rs",
    "src/progress.rs",
    "src/recovery/backup.rs",
    "src/recovery/census.rs",
    "src/recovery/heads.rs",
    "src/recovery/identify.rs",
    "src/recovery/large.rs",
    "src/recovery/mod.rs",
    "src/recovery/open.rs",
    "src/recovery/open_log.rs",
    "src/recovery/replay.rs",
    "src/recovery/snapshot_file.rs",
    "src/segments/accountant.rs",
    "src/segments/mod.rs",
    "src/segments/state.rs",
    "src/segments/victim.rs",
    "src/stats.rs",
    "src/storage/bytes.rs",
    "src/storage/conformance.rs",
    "src/storage/failing.rs",
    "src/storage/file.rs",
    "src/storage/final_sync.rs",
    "src/storage/locks.rs",
    "src/storage/memory.rs",
    "src/storage/mod.rs",
    "src/storage/sim/calls.rs",
    "src/storage/sim/choices.rs",
    "src/storage/sim/cut.rs",
    "src/storage/sim/disk.rs",
    "src/storage/sim/handle.rs",
    "src/storage/sim/mod.rs",
    "src/storage/sim/state.rs",
    "src/storage/sim/tests/cuts.rs",
    "src/storage/sim/tests/faults.rs",
    "src/storage/sim/tests/images.rs",
    "src/storage/sim/tests/mod.rs",
    "src/sync.rs",
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::EMBEDDED;

    fn collect(directory: &Path, prefix: &str, into: &mut Vec<String>) {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
            if entry.path().is_dir() {
                collect(&entry.path(), &format!("{name}/"), into);
            } else if name.ends_with(".rs") || name.ends_with(".md") {
                into.push(name);
            }
        }
    }

    #[test]
    fn all_sources_and_documents_are_embedded() {
        let mut found = vec!["README.md".to_owned()];
        collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "src/", &mut found);
        found.sort();
        let embedded: Vec<_> = EMBEDDED.iter().map(|(name, _)| *name).collect();
        let lines: String = found.iter().map(|name| format!("    \"{name}\",\n")).collect();
        assert!(embedded == found, "the list should be\n{lines}");
    }
}
