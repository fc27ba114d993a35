//! The rules of the house that a compiler does not check: which module may use which, and where atomics come
//! from.
//!
//! The crate is built in floors. A module uses floors below its own, and modules of its own floor; so it can
//! be understood, tested and replaced without what stands on it, and there are no cycles.

use std::fs;
use std::path::{Path, PathBuf};

/// From the ground up.
const FLOORS: &[&str] = &[
    "ids",
    "geometry",
    "location",
    "error",
    "failpoints",
    "sync",
    "stats",
    "progress",
    "storage",
    "format",
    "config",
    "compression",
    "pages",
    "segments",
    "log",
    "recovery",
    "pagecache",
    "inspect",
];

/// What stands outside of the floors: the front page, the models and the fuzz targets, which look into all of
/// them, and the program, which is a crate of its own.
const OUTSIDE: &[&str] = &["lib", "models", "fuzzing", "bin"];

/// Who may name std's atomics, and why.
const PLAIN_ATOMICS: &[(&str, &str)] = &[
    ("src/sync.rs", "it is the door to them"),
    ("src/sync/epoch.rs", "is the door to epochs"),
    ("src/sync/jitter.rs", "stands behind the door, in tests only"),
    ("src/sync/scheduled.rs", "stands behind the door, in tests only"),
    ("src/sync/noted.rs", "stands behind the door, in tests only"),
    ("src/sync/stand_in.rs", "stands behind the door, in tests only"),
    ("src/stats/thread_number.rs", "numbers threads; no order depends on it"),
    ("src/log/batch.rs", "numbers threads; no order depends on it"),
];

/// Where the door to the others is, locks and epochs.
const DOOR: &[&str] = &["src/sync.rs", "src/sync/epoch.rs"];

/// Who may look at a clock, and why. What a run does must not depend on it but where that is the point.
const CLOCKS: &[(&str, &str)] = &[
    ("src/sync.rs", "bounds waits, and is the door to the time of figures"),
    ("src/sync/epoch.rs", "bounds a wait"),
    ("src/log/committer.rs", "syncs at an interval"),
    ("src/log/reads.rs", "finds out whether a disk is slow"),
    ("src/log/trail.rs", "bounds a wait"),
    ("src/recovery/open.rs", "names a new store"),
    ("src/recovery/backup.rs", "reports how long it took"),
    ("src/pagecache/export.rs", "reports how long it took"),
    ("src/pagecache/import.rs", "reports how long it took"),
    ("src/pagecache/verify/run.rs", "reports how long it took"),
];

/// Who may read what was timed: nobody but those who hand it to users.
const READERS_OF_TIMES: &[&str] = &["src/log/statistics.rs", "src/pagecache/statistics.rs"];

/// Documentation of the crate may link upwards: it is no code.
const COMMENT: &str = "//";

struct Source {
    path: String,
    /// The first part of the path below `src`, without `.rs`.
    floor: String,
    /// Product code: comments and everything from the first test module on are left out.
    code: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    collect(&root.join("src"), &mut files);
    assert!(files.len() > 50, "only {} files found", files.len());
    files.iter().map(|file| source(root, file)).collect()
}

fn collect(directory: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

fn source(root: &Path, file: &Path) -> Source {
    let path = file.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
    let floor = path.trim_start_matches("src/").split('/').next().unwrap().trim_end_matches(".rs").to_owned();
    let code = if is_test(&path) { String::new() } else { product_code(&fs::read_to_string(file).unwrap()) };
    Source { path, floor, code }
}

/// Files that are test modules as a whole.
fn is_test(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap();
    name.ends_with("tests.rs") || name == "conformance.rs" || path.contains("/tests/")
}

fn product_code(text: &str) -> String {
    let product = text.split("\nmod tests {").next().unwrap();
    let is_module = |(at, _): &(usize, &str)| {
        let behind = product[at + 1..].lines().nth(1);
        behind.is_some_and(|line| line.starts_with("mod ") && line.ends_with('{'))
    };
    let end = product.match_indices("\n#[cfg(all(test").find(is_module).map_or(product.len(), |(at, _)| at);
    let lines = product[..end].lines().filter(|line| !line.trim_start().starts_with(COMMENT));
    lines.map(|line| format!("{line}\n")).collect()
}

/// The floors that a piece of code names by `crate::`, in `use` lines and elsewhere.
fn named_floors(code: &str) -> Vec<String> {
    let mut floors = Vec::new();
    for after in code.split("crate::").skip(1) {
        let after = after.trim_start();
        // `use crate::{one::A, two::B}`
        let names: Vec<&str> = match after.strip_prefix('{') {
            Some(list) => list.split('}').next().unwrap().split(',').collect(),
            None => vec![after],
        };
        for name in names {
            let name = name.trim_start();
            let end = name
                .find(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'))
                .unwrap_or(name.len());
            floors.push(name[..end].to_owned());
        }
    }
    floors
}

fn height(floor: &str) -> Option<usize> {
    FLOORS.iter().position(|name| *name == floor)
}

#[test]
fn modules_use_only_what_lies_below_them() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| !OUTSIDE.contains(&source.floor.as_str())) {
        let Some(own) = height(&source.floor) else {
            wrong.push(format!("{}: {} is no floor; give it a place in FLOORS", source.path, source.floor));
            continue;
        };
        for named in named_floors(&source.code) {
            match height(&named) {
                Some(used) if used <= own => {}
                Some(_) => wrong.push(format!("{}: {} stands on {named}", source.path, source.floor)),
                None => wrong.push(format!("{}: crate::{named} is no floor", source.path)),
            }
        }
    }
    assert!(wrong.is_empty(), "imports that go up:\n{}", wrong.join("\n"));
}

#[test]
fn clocks_are_looked_at_only_where_that_is_the_point() {
    let looks = |source: &Source| ["Instant", "SystemTime"].iter().any(|clock| source.code.contains(clock));
    let is_product = |source: &&Source| !OUTSIDE.contains(&source.floor.as_str());
    let sources = sources();
    let found: Vec<&str> = sources
        .iter()
        .filter(is_product)
        .filter(|source| looks(source))
        .map(|source| source.path.as_str())
        .collect();
    let listed: Vec<&str> = CLOCKS.iter().map(|(path, _)| *path).collect();
    let more: Vec<_> = found.iter().filter(|path| !listed.contains(path)).collect();
    let gone: Vec<_> = listed.iter().filter(|path| !found.contains(path)).collect();
    assert!(more.is_empty() && gone.is_empty(), "look at a clock: {more:?}; do not any more: {gone:?}");
    for source in sources.iter().filter(|source| source.floor != "stats") {
        let reads = source.code.contains(".latencies()");
        assert!(!reads || READERS_OF_TIMES.contains(&source.path.as_str()), "{} reads times", source.path);
    }
}

#[test]
fn imports_name_what_they_take() {
    let glob = |line: &&str| {
        let line = line.trim_start();
        (line.starts_with("use ") || line.starts_with("pub use ") || line.starts_with("pub(crate) use "))
            && (line.contains("::*;") || line.contains("::*}") || line.contains("::*,"))
    };
    let mut wrong = Vec::new();
    for source in sources() {
        let found = source.code.lines().filter(glob);
        wrong.extend(found.map(|line| format!("{}: {}", source.path, line.trim())));
    }
    assert!(wrong.is_empty(), "glob imports:\n{}", wrong.join("\n"));
}

#[test]
fn atomics_locks_and_epochs_come_through_one_door() {
    let forbidden = [
        "std::sync::atomic",
        "std::sync::Mutex",
        "std::sync::RwLock",
        "std::sync::Condvar",
        "parking_lot",
        "crossbeam_epoch",
    ];
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| source.floor != "models") {
        for name in forbidden.iter().filter(|name| source.code.contains(**name)) {
            let allowed = PLAIN_ATOMICS.iter().any(|(path, _)| source.path == *path);
            if !allowed || (!DOOR.contains(&source.path.as_str()) && *name != "std::sync::atomic") {
                wrong.push(format!("{}: {name}", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "use crate::sync instead:\n{}", wrong.join("\n"));
}

#[test]
fn the_exceptions_are_still_needed() {
    let sources = sources();
    for (path, reason) in PLAIN_ATOMICS {
        let source = sources.iter().find(|source| source.path == *path);
        let used = source.is_some_and(|source| source.code.contains("std::sync::atomic"));
        assert!(used, "{path} no longer needs its exception ({reason})");
    }
}

#[test]
fn the_readers_of_code_are_not_blind() {
    let code = product_code(
        "//! crate::pagecache\nuse crate::{ids::PageId, pages::Head};\nfn f() -> crate::log::X {}\n\n#[cfg(test)]\nmod tests { use crate::pagecache; }",
    );
    assert_eq!(named_floors(&code), ["ids", "pages", "log"]);
}
