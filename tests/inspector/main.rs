//! The program `pagelog`: what it prints about good, damaged, foreign and locked stores, and that it changes
//! none of them.

#[path = "../common/mod.rs"]
mod common;
#[path = "../support/exposition.rs"]
mod exposition;
mod json;
mod printed;
mod reading;
mod rules;
mod told;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use common::{Bytes, alone, link, read, replace};
use json::{Value, parse};
use pagelog::{Config, Log, PageCache, PageId};
use tempfile::TempDir;

const SEGMENT: u32 = 4096;

/// What came of a run.
#[derive(Debug)]
struct Run {
    code: i32,
    out: String,
    err: String,
}

impl Run {
    fn json(&self) -> Value {
        parse(&self.out)
    }
}

fn pagelog<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Run {
    let output = Command::new(env!("CARGO_BIN_EXE_pagelog")).args(arguments).output().unwrap();
    Run {
        code: output.status.code().expect("it was not killed"),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A line as one would type it; `@` stands for the store.
fn run(line: &str, store: &Path) -> Run {
    let store = store.to_str().unwrap();
    pagelog(line.split_whitespace().map(|word| word.replace('@', store)))
}

/// Every file below a directory, with its bytes and when they were written.
fn state(directory: &Path) -> BTreeMap<PathBuf, (Vec<u8>, SystemTime)> {
    let mut all = BTreeMap::new();
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    for path in entries {
        if path.is_dir() {
            all.extend(state(&path));
        }
        let bytes = if path.is_dir() { Vec::new() } else { fs::read(&path).unwrap() };
        let written = fs::metadata(&path).unwrap().modified().unwrap();
        all.insert(path, (bytes, written));
    }
    all
}

/// A store with pages of all kinds over many segments, in `place/store`.
struct Sample {
    place: TempDir,
    pages: Vec<(PageId, Vec<u8>)>,
    /// One that is in a file of its own.
    large: PageId,
}

impl Sample {
    fn path(&self) -> PathBuf {
        self.place.path().join("store")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }
}

fn config(path: &Path) -> Config {
    Config::new(path).segment_size(SEGMENT).io_buffer_size(1024).snapshots(false).garbage_collection(false)
}

fn sample(with_snapshot: bool) -> Sample {
    let place = tempfile::tempdir().unwrap();
    let cache: PageCache<Bytes> = config(&place.path().join("store")).open().unwrap();
    let mut pages = Vec::new();
    for n in 0..120u8 {
        let page = cache.allocate(Bytes(vec![n; 300])).unwrap();
        let version = link(&cache, page.page_id, page.version, &[n; 10]);
        let version = if n % 2 == 0 { replace(&cache, page.page_id, version, &[n; 200]) } else { version };
        let version = link(&cache, page.page_id, version, b"the last link");
        if n % 10 == 9 {
            assert!(cache.free(page.page_id, version).unwrap().is_done());
        } else {
            pages.push((page.page_id, read(&cache, page.page_id).unwrap()));
        }
    }
    let large = cache.allocate(Bytes(vec![77; 20_000])).unwrap().page_id;
    pages.push((large, vec![77; 20_000]));
    cache.flush().unwrap();
    if with_snapshot {
        cache.snapshot().unwrap();
    }
    cache.close().unwrap();
    drop(cache);
    // Another life, so that a recovery has cut a segment, and all before it is proven.
    let cache: PageCache<Bytes> = config(&place.path().join("store")).open().unwrap();
    let more = cache.allocate(Bytes(b"more".to_vec())).unwrap();
    pages.push((more.page_id, b"more".to_vec()));
    cache.flush().unwrap();
    cache.close().unwrap();
    Sample { place, pages, large }
}

/// All that only reads, without a name for a page.
const READERS: [&str; 6] =
    ["stats @", "verify @", "dump segments @", "dump records @", "dump page @ 1 --hex", "map @"];

#[test]
fn a_good_store_is_read_by_every_command_and_not_changed() {
    let _turn = alone();
    for with_snapshot in [false, true] {
        let sample = sample(with_snapshot);
        let before = state(&sample.path());
        for command in READERS {
            let text = run(command, &sample.path());
            assert_eq!(text.code, 0, "{command}: {text:?}");
            assert!(text.out.lines().count() > 3 && !text.out.starts_with('!'), "{command}: {text:?}");
            let quiet = run(&format!("{command} --json --quiet"), &sample.path());
            assert_eq!((quiet.code, quiet.err.as_str()), (0, ""), "{command}");
            assert!(quiet.json().at("directory").text().ends_with("store"));
        }
        assert_eq!(state(&sample.path()), before);
        // Progress, where it is no terminal, is lines.
        let verified = run("verify @", &sample.path());
        assert!(verified.err.contains("verify: 100 %") && !verified.err.contains('\r'), "{verified:?}");
    }
}

#[test]
fn figures_are_those_of_the_store() {
    let _turn = alone();
    let sample = sample(true);
    let figures = run("stats @ --json", &sample.path()).json();
    let cache: PageCache<Bytes> = Config::new(sample.path()).read_only(true).open().unwrap();
    let (stats, report) = (cache.stats(), cache.verify().unwrap());
    drop(cache);
    assert_eq!(figures.at("format_version").number(), 2);
    assert_eq!(figures.at("store_id").text().len(), 32);
    assert_eq!(figures.at("kind").text(), "pages");
    assert_eq!(figures.at("segment_size").number(), u64::from(SEGMENT));
    assert!(figures.at("opens").is_true());
    assert_eq!(figures.at("live_bytes").number(), stats.live_bytes);
    assert_eq!(figures.at("pages").number(), sample.pages.len() as u64);
    assert_eq!(figures.at("stable_lsn").number(), stats.stable_lsn.get());
    assert_eq!(figures.at("large_values").at("count").number(), 1);
    assert_eq!(figures.at("large_values").at("bytes").number(), stats.large_value_bytes);
    assert!(figures.at("snapshot").at("bytes").number() > 100);
    let age = stats.tail_lsn.get() - figures.at("snapshot").at("begin_lsn").number();
    assert_eq!(figures.at("snapshot").at("age_in_log_bytes").number(), age);
    assert!(age > 0 && figures.at("id_bound").number() > 0);
    let files = figures.at("files").list();
    for file in files {
        let length = fs::metadata(sample.file(file.at("name").text())).unwrap().len();
        assert_eq!(file.at("bytes").number(), length);
    }
    assert_eq!(files.len(), fs::read_dir(sample.path()).unwrap().count());
    let verdict = run("verify @ --json", &sample.path()).json();
    assert!(verdict.at("sound").is_true() && verdict.at("has_snapshot").is_true());
    assert_eq!(verdict.at("live_records").number(), report.live_records);
    let segments = run("dump segments @ --json", &sample.path()).json();
    let live = |segment: &Value| segment.at("live_bytes").number();
    assert_eq!(segments.at("segments").list().iter().map(live).sum::<u64>(), report.live_bytes);
    let state = |name: &str| {
        segments.at("segments").list().iter().filter(|segment| segment.at("state").text() == name).count()
    };
    assert!(state("sealed") > 5 && state("active") == 1, "{segments:?}");
    let records = run("dump records @ --live --json", &sample.path()).json();
    assert_eq!(records.at("records").list().len() as u64, report.live_records);
}

#[test]
fn a_page_that_was_moved_is_still_told_from_its_first_version_to_its_last() {
    let _turn = alone();
    let place = tempfile::tempdir().unwrap();
    let cache: PageCache<Bytes> = config(place.path()).open().unwrap();
    let allocate = |n: u8| cache.allocate(Bytes(vec![n; 100])).unwrap();
    let pages: Vec<_> = (0..150).map(allocate).collect();
    for (index, page) in pages.iter().enumerate() {
        link(&cache, page.page_id, page.version, b"a link");
        if index % 3 > 0 {
            let version = cache.version(page.page_id).unwrap().unwrap();
            assert!(cache.free(page.page_id, version).unwrap().is_done());
        }
    }
    cache.flush().unwrap();
    while cache.attempt_gc().unwrap() {}
    cache.close().unwrap();
    let mut moved = 0;
    for page in pages.iter().step_by(3) {
        let history = run(&format!("dump page @ {} --json", page.page_id), place.path()).json();
        let of = |name: &str| -> Vec<u64> {
            history.at("records").list().iter().map(|record| record.at(name).number()).collect()
        };
        let (versions, lsns) = (of("version"), of("lsn"));
        assert!(versions.len() >= 2 && versions.is_sorted(), "{versions:?}");
        moved += usize::from(!lsns.is_sorted());
    }
    assert!(moved > 0, "in the log the base of no page stands behind its link");
}

#[test]
fn a_page_is_told_by_its_records() {
    let _turn = alone();
    let sample = sample(false);
    let (page_id, contents) = &sample.pages[2];
    let history = run(&format!("dump page @ {page_id} --json --hex"), &sample.path()).json();
    let records = history.at("records").list();
    let told: Vec<(&str, u64, &str)> = records
        .iter()
        .map(|record| (record.at("kind").text(), record.at("version").number(), record.at("state").text()))
        .collect();
    let expected = [("replace", 1, "dead"), ("link", 2, "dead"), ("replace", 3, "live"), ("link", 4, "live")];
    assert_eq!(told, expected);
    assert!(records.iter().all(|record| record.at("checksum_ok").is_true()));
    let live = records.iter().filter(|record| record.at("state").text() == "live");
    let bytes: String = live.map(|record| record.at("payload").text().to_owned()).collect();
    assert_eq!(bytes, contents.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    // As text, and a range of it.
    let text = run(&format!("dump page @ {page_id} --live --hex"), &sample.path()).out;
    assert!(text.contains("the last link") && text.contains("74 68 65 20 6c 61 73 74"), "{text}");
    let lsn = records[1].at("lsn").number();
    let ranged = run(&format!("dump records @ --from {lsn} --to {} --json", lsn + 1), &sample.path()).json();
    assert_eq!(ranged.at("records").list().len(), 1);
    assert_eq!(ranged.at("records").list()[0].at("page_id").number(), page_id.get());
    let segment = records[1].at("segment").number();
    let of_segment = run(&format!("dump records @ --segment {segment} --json"), &sample.path()).json();
    let of_segment = of_segment.at("records").list();
    assert!(of_segment.len() > 3 && of_segment.iter().all(|record| record.at("segment").number() == segment));
    // A large value is named by its file.
    let large = run(&format!("dump page @ {} --json", sample.large), &sample.path()).json();
    let value = large.at("records").list().last().unwrap().at("large_value").clone();
    assert_eq!(value.at("bytes").number(), 20_000);
    assert!(sample.file(value.at("file").text()).exists());
    let nobody = run("dump page @ 99999", &sample.path());
    assert!(nobody.code == 0 && nobody.out.contains("no such record"), "{nobody:?}");
}

fn flip(path: &Path, offset: u64) {
    let mut file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.seek(SeekFrom::Start(offset)).unwrap();
    file.read_exact(&mut byte).unwrap();
    file.seek(SeekFrom::Start(offset)).unwrap();
    file.write_all(&[byte[0] ^ 4]).unwrap();
}

/// A live record of a page, and where it is.
fn a_live_record(sample: &Sample, page_id: PageId) -> (u64, u64) {
    let records = run(&format!("dump page @ {page_id} --live --json"), &sample.path()).json();
    let record = &records.at("records").list()[0];
    (record.at("file_offset").number(), record.at("length").number())
}

#[test]
fn a_flipped_bit_is_named_whether_the_store_opens_or_not() {
    let _turn = alone();
    for with_snapshot in [false, true] {
        let sample = sample(with_snapshot);
        let page_id = sample.pages[5].0;
        let (offset, length) = a_live_record(&sample, page_id);
        flip(&sample.file("log"), offset + length - 1);
        let before = state(&sample.path());
        let verdict = run("verify @ --json", &sample.path());
        assert_eq!(verdict.code, 1, "{verdict:?}");
        let verdict = verdict.json();
        assert!(!verdict.at("sound").is_true());
        // With a snapshot the log is not read on opening.
        assert_eq!(verdict.at("opens").is_true(), with_snapshot);
        let is_it = |fault: &&Value| {
            fault.at("offset") == &Value::Number(offset as f64)
                && fault.at("reason").text().contains("checksum")
        };
        let fault = verdict.at("faults").list().iter().find(is_it).unwrap_or_else(|| panic!("{verdict:?}"));
        assert!(fault.at("file").text().ends_with("log"));
        assert!(
            verdict.at("faults").list().iter().any(|fault| fault.at("page_id").number() == page_id.get())
        );
        let text = run("verify @", &sample.path());
        assert!(text.out.contains("DAMAGED") && text.out.contains(&format!("byte {offset}")), "{text:?}");
        let dumped = run(&format!("dump page @ {page_id} --json"), &sample.path());
        assert_eq!(dumped.code, 1);
        let dumped = dumped.json();
        let damaged = dumped.at("records").list().iter().find(|record| !record.at("checksum_ok").is_true());
        let damaged = damaged.expect("it is listed");
        assert_eq!(damaged.at("file_offset").number(), offset);
        assert_eq!((damaged.at("state").text(), damaged.at("kind").text()), ("damaged", "replace"));
        // The others are there.
        let other = run(&format!("dump page @ {} --live --json", sample.pages[6].0), &sample.path()).json();
        assert!(!other.at("records").list().is_empty());
        let map = run("map @", &sample.path());
        assert!(map.code == 1 && map.out.contains('!'), "{map:?}");
        let stats = run("stats @ --json", &sample.path());
        assert_eq!(stats.code, i32::from(!with_snapshot));
        assert_eq!(stats.json().at("opens").is_true(), with_snapshot);
        assert!(stats.json().at("pages").number() >= sample.pages.len() as u64 - 1);
        assert_eq!(state(&sample.path()), before);
    }
}

#[test]
fn of_a_truncated_log_the_rest_is_read() {
    let _turn = alone();
    let sample = sample(false);
    let log = OpenOptions::new().write(true).open(sample.file("log")).unwrap();
    let all = run("dump records @ --json", &sample.path()).json();
    log.set_len(3 * u64::from(SEGMENT) + 1000).unwrap();
    drop(log);
    let before = state(&sample.path());
    let verdict = run("verify @", &sample.path());
    assert!(verdict.code == 1 && verdict.out.contains("the file ends"), "{verdict:?}");
    let left = run("dump records @ --json", &sample.path());
    assert_eq!(left.code, 1);
    let left = left.json();
    let is_there = |record: &&Value| {
        record.at("file_offset").number() + record.at("length").number() <= 3 * u64::from(SEGMENT) + 1000
    };
    let expected: Vec<u64> =
        all.at("records").list().iter().filter(is_there).map(|record| record.at("lsn").number()).collect();
    let readable = left.at("records").list().iter().filter(|record| record.at("checksum_ok").is_true());
    assert_eq!(readable.map(|record| record.at("lsn").number()).collect::<Vec<_>>(), expected);
    assert!(expected.len() > 30 && !left.at("faults").list().is_empty());
    for command in ["map @", "dump segments @", "stats @"] {
        assert_eq!(run(command, &sample.path()).code, 1, "{command}");
    }
    assert_eq!(state(&sample.path()), before);
    // Without any of it.
    fs::remove_file(sample.file("log")).unwrap();
    let verdict = run("verify @", &sample.path());
    assert!(verdict.code == 1 && verdict.out.contains("the file is missing"), "{verdict:?}");
    assert_eq!(run("dump segments @", &sample.path()).code, 1);
    assert!(!sample.file("log").exists());
}

#[test]
fn without_a_manifest_segments_are_told_by_their_headers() {
    let _turn = alone();
    let sample = sample(false);
    let records = |run: &Run| -> Vec<(u64, String)> {
        let list = run.json().at("records").list().to_vec();
        list.iter().map(|record| (record.at("lsn").number(), record.at("kind").text().to_owned())).collect()
    };
    let before = records(&run("dump records @ --json", &sample.path()));
    let live = run("dump records @ --live --json", &sample.path());
    let garbage: Vec<u8> = (0..5000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    fs::write(sample.file("MANIFEST"), &garbage).unwrap();
    let found = run("dump records @ --json", &sample.path());
    assert_eq!(found.code, 1);
    assert_eq!(records(&found), before);
    assert!(found.json().at("notes").list()[0].text().contains("does not begin like one"));
    // Nothing was given up in this store, so what is live can be told.
    assert_eq!(records(&run("dump records @ --live --json", &sample.path())), records(&live));
    let verdict = run("verify @", &sample.path());
    assert!(
        verdict.code == 1 && verdict.out.contains("MANIFEST: the manifest does not begin"),
        "{verdict:?}"
    );
    assert_eq!(run("verify @ --json", &sample.path()).json().at("faults").list().len(), 1);
    assert_eq!(run("map @", &sample.path()).code, 1);
    let stats = run("stats @ --json", &sample.path());
    assert_eq!((stats.code, stats.json().at("pages").number()), (1, sample.pages.len() as u64));
    assert_eq!(stats.json().at("segment_size").number(), u64::from(SEGMENT));
    // It is missing altogether.
    fs::remove_file(sample.file("MANIFEST")).unwrap();
    assert_eq!(records(&run("dump records @ --json", &sample.path())), before);
    assert_eq!(run("verify @", &sample.path()).code, 1);
    assert!(!sample.file("MANIFEST").exists());
    // Of one segment nothing tells the size.
    let log = fs::read(sample.file("log")).unwrap();
    fs::write(sample.file("log"), &log[..3000]).unwrap();
    let one = run("dump segments @", &sample.path());
    assert!(one.code == 1 && one.out.contains("1048576 is assumed"), "{one:?}");
    let one = run("dump segments @ --json --segment-size 4096", &sample.path()).json();
    assert_eq!(one.at("segments").list()[0].at("base_lsn").number(), u64::from(SEGMENT));
}

#[test]
fn a_manifest_that_is_damaged_further_on_still_tells_the_store() {
    let _turn = alone();
    let sample = sample(false);
    let mut manifest = fs::read(sample.file("MANIFEST")).unwrap();
    for at in [1024 + 100, 1536 + 100] {
        manifest[at] ^= 1;
    }
    fs::write(sample.file("MANIFEST"), manifest).unwrap();
    let stats = run("stats @ --json", &sample.path());
    assert_eq!(stats.code, 1);
    let stats = stats.json();
    assert_eq!(stats.at("format_version").number(), 2);
    assert!(!stats.at("opens").is_true() && stats.at("problem").text().contains("entry 1"));
    assert_eq!(run("verify @", &sample.path()).code, 1);
    // One of two copies is no reason not to open, but is damage.
    let sample = self::sample(false);
    flip(&sample.file("MANIFEST"), 100);
    let verdict = run("verify @", &sample.path());
    assert!(verdict.code == 1 && verdict.out.contains("one of two copies"), "{verdict:?}");
}

#[test]
fn damage_beside_the_log_is_found_when_the_store_does_not_open() {
    let _turn = alone();
    let sample = sample(true);
    let blob = fs::read_dir(sample.path()).unwrap().map(|entry| entry.unwrap().path());
    let mut blob = blob.filter(|path| path.to_str().unwrap().contains("blob-"));
    let (blob, snapshot) = (blob.next().unwrap(), "snapshot-");
    flip(&blob, 10_000);
    let snapshots = fs::read_dir(sample.path()).unwrap().map(|entry| entry.unwrap().path());
    let snapshot = snapshots.into_iter().find(|path| path.to_str().unwrap().contains(snapshot)).unwrap();
    flip(&snapshot, 90);
    let (offset, _) = a_live_record(&sample, sample.pages[0].0);
    flip(&sample.file("log"), offset + 20);
    let before = state(&sample.path());
    let verdict = run("verify @ --json", &sample.path());
    assert_eq!(verdict.code, 1);
    let verdict = verdict.json();
    assert!(!verdict.at("opens").is_true());
    for name in ["blob-", "snapshot-", "log"] {
        let named = |fault: &Value| fault.at("file").text().rsplit('/').next().unwrap().starts_with(name);
        assert!(verdict.at("faults").list().iter().any(named), "{name}: {verdict:?}");
    }
    assert_eq!(state(&sample.path()), before);
}

#[test]
fn what_is_no_store_is_refused_and_not_touched() {
    let _turn = alone();
    let place = tempfile::tempdir().unwrap();
    let empty = place.path().join("empty");
    let foreign = place.path().join("foreign");
    let similar = place.path().join("similar");
    for path in [&empty, &foreign, &similar] {
        fs::create_dir(path).unwrap();
    }
    fs::write(foreign.join("letter.txt"), "dear reader").unwrap();
    fs::write(similar.join("MANIFEST"), vec![b'x'; 3000]).unwrap();
    fs::write(similar.join("log"), vec![b'y'; 30_000]).unwrap();
    let before = state(place.path());
    for path in [empty, foreign, similar, place.path().join("missing")] {
        let copy = place.path().join("copy").display().to_string();
        for command in READERS.into_iter().chain([format!("backup @ {copy}").as_str()]) {
            let refused = run(command, &path);
            assert_eq!((refused.code, refused.out.as_str()), (3, ""), "{command}: {refused:?}");
            assert!(refused.err.contains("is not a pagelog store"), "{command}: {refused:?}");
            let refused = run(&format!("{command} --json"), &path);
            assert_eq!(refused.json().at("exit_code").number(), 3, "{command}");
            assert!(refused.json().at("error").text().contains("is not a pagelog store"));
        }
    }
    assert_eq!(state(place.path()), before);
}

#[test]
fn a_store_in_use_is_read_only_by_force() {
    let _turn = alone();
    let sample = sample(true);
    let writer: PageCache<Bytes> = config(&sample.path()).open().unwrap();
    writer.allocate(Bytes(vec![1; 50])).unwrap();
    writer.flush().unwrap();
    let before = state(&sample.path());
    let copy = sample.place.path().join("copy").display().to_string();
    for command in READERS.into_iter().chain([format!("backup @ {copy}").as_str()]) {
        let refused = run(command, &sample.path());
        assert_eq!(refused.code, 3, "{command}: {refused:?}");
        assert!(refused.err.contains("is open elsewhere"), "{command}: {refused:?}");
    }
    for command in READERS.into_iter().filter(|command| !command.starts_with("verify")) {
        let forced = run(&format!("{command} --force"), &sample.path());
        assert_eq!(forced.code, 0, "{command}: {forced:?}");
        assert!(forced.out.starts_with("! the store is in use"), "{command}: {forced:?}");
        let forced = run(&format!("{command} --force --json"), &sample.path()).json();
        assert!(forced.at("notes").list()[0].text().contains("in use"));
    }
    assert_eq!(state(&sample.path()), before);
    // Nobody was in the writer's way, and readers are not in each other's.
    writer.allocate(Bytes(vec![2; 50])).unwrap();
    writer.flush().unwrap();
    writer.close().unwrap();
    drop(writer);
    let _reader: PageCache<Bytes> = Config::new(sample.path()).read_only(true).open().unwrap();
    assert_eq!(run("verify @", &sample.path()).code, 0);
}

#[test]
fn a_backup_opens_and_holds_the_same() {
    let _turn = alone();
    let sample = sample(true);
    let before = state(&sample.path());
    let copy = sample.place.path().join("copy");
    let done = run(&format!("backup @ {} --json", copy.display()), &sample.path());
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.json().at("records").number() > 100);
    assert!(done.err.contains("backup: 100 %"), "{done:?}");
    assert_eq!(run("verify @", &copy).code, 0);
    let cache: PageCache<Bytes> = Config::new(&copy).read_only(true).open().unwrap();
    for (page_id, bytes) in &sample.pages {
        assert_eq!(read(&cache, *page_id).as_ref(), Some(bytes));
    }
    drop(cache);
    // Not on top of something, and not into itself.
    for to in [copy.clone(), sample.path(), sample.path().join("inside")] {
        let refused = run(&format!("backup @ {}", to.display()), &sample.path());
        assert!(refused.code == 3 && refused.err.contains("nothing can be copied to"), "{refused:?}");
    }
    assert_eq!(state(&sample.path()), before);
    // A damaged record is not copied.
    let (offset, length) = a_live_record(&sample, sample.pages[5].0);
    flip(&sample.file("log"), offset + length - 1);
    let third = sample.place.path().join("third");
    let refused = run(&format!("backup @ {}", third.display()), &sample.path());
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(!third.join("MANIFEST").exists());
}

#[test]
fn a_picture_shows_every_slot_and_goes_nowhere_else() {
    let _turn = alone();
    let sample = sample(false);
    let before = state(&sample.path());
    let file = sample.place.path().join("map.svg");
    let drawn = run(&format!("map @ --svg {}", file.display()), &sample.path());
    assert_eq!(drawn.code, 0, "{drawn:?}");
    let svg = fs::read_to_string(&file).unwrap();
    let slots = fs::metadata(sample.file("log")).unwrap().len().div_ceil(u64::from(SEGMENT));
    let slot_titles = svg.matches("<title>slot ").count() as u64;
    assert_eq!(slot_titles, slots);
    for part in
        ["<svg ", "Log of ", "segments begun since", "live part of the segment", "being filled", "</svg>"]
    {
        assert!(svg.contains(part), "{part}");
    }
    well_formed(&svg);
    let row = drawn.out.lines().find(|line| line.trim_start().starts_with("0 B")).expect("a row");
    assert_eq!(row.trim_start().trim_start_matches("0 B").trim().chars().count() as u64, slots.min(64));
    for inside in ["log", "new.svg"] {
        let refused = run(&format!("map @ --svg @/{inside}"), &sample.path());
        assert!(refused.code == 2 && refused.err.contains("in the directory of the store"), "{refused:?}");
    }
    assert_eq!(state(&sample.path()), before);
    let nowhere = run("map @ --svg @/../no/such/place.svg", &sample.path());
    assert_eq!(nowhere.code, 3, "{nowhere:?}");
}

/// Every element is closed, in order, and no attribute is without quotes.
fn well_formed(xml: &str) {
    let mut open = Vec::new();
    for part in xml.split('<').skip(1) {
        let (tag, text) = part.split_once('>').expect("a tag ends");
        assert!(
            !text.contains('"') || open.last() == Some(&"title") || open.last() == Some(&"text"),
            "{text}"
        );
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name));
        } else if !tag.ends_with('/') {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn a_benchmark_leaves_nothing_behind() {
    let _turn = alone();
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("mine"), "untouched").unwrap();
    let before = state(place.path());
    let refused = run("bench @ --seconds 0 --json --quiet", place.path());
    assert_eq!(refused.code, 2, "{refused:?}");
    let measured = run("bench @ --seconds 0.03 --json --quiet", place.path());
    assert_eq!((measured.code, measured.err.as_str()), (0, ""), "{measured:?}");
    let results = measured.json();
    let results = results.at("results").list();
    for wanted in ["sync_median", "append", "allocate", "link", "replace", "get", "commit_1", "commit_8"] {
        let result = results.iter().find(|result| result.at("name").text() == wanted);
        let Value::Number(value) = result.expect(wanted).at("value") else { panic!("{wanted}") };
        assert!(*value > 0.0, "{wanted}");
    }
    assert_eq!(state(place.path()), before);
    let missing = run("bench @/missing", place.path());
    assert_eq!(missing.code, 3, "{missing:?}");
    fs::write(place.path().join("MANIFEST"), "a store").unwrap();
    let before = state(place.path());
    let refused = run("bench @ --seconds 0.03 --quiet", place.path());
    assert_eq!((refused.code, state(place.path())), (2, before), "{refused:?}");
}

#[test]
fn a_log_without_pages_is_read_too() {
    let _turn = alone();
    let place = tempfile::tempdir().unwrap();
    let log = Log::open(config(place.path())).unwrap();
    for n in 0..200u8 {
        log.append(&[n; 90]).unwrap();
    }
    log.flush().unwrap();
    let middle = pagelog::Lsn::new(log.stable_lsn().get() / 2);
    log.truncate_before(middle).unwrap();
    let expected = log.iter_from(log.first_lsn()).unwrap().count();
    log.close().unwrap();
    drop(log);
    let before = state(place.path());
    let stats = run("stats @ --json", place.path()).json();
    assert_eq!(stats.at("kind").text(), "log");
    assert!(stats.at("opens").is_true() && stats.at("live_bytes").number() > 9000);
    let live = run("dump records @ --live --json", place.path()).json();
    assert_eq!(live.at("records").list().len(), expected);
    assert!(live.at("records").list().iter().all(|record| record.at("kind").text() == "entry"));
    let verdict = run("verify @ --json", place.path());
    assert!(verdict.code == 0 && verdict.json().at("sound").is_true(), "{verdict:?}");
    assert_eq!(verdict.json().at("live_records").number(), expected as u64);
    let record = &live.at("records").list()[10];
    flip(&place.path().join("log"), record.at("file_offset").number() + 30);
    assert_eq!(run("verify @", place.path()).code, 1);
    flip(&place.path().join("log"), record.at("file_offset").number() + 30);
    let copy = tempfile::tempdir().unwrap();
    let copied = run(&format!("backup @ {}/copy", copy.path().display()), place.path());
    assert_eq!(copied.code, 0, "{copied:?}");
    let now: Vec<_> = state(place.path()).into_values().map(|(bytes, _)| bytes).collect();
    assert_eq!(now, before.into_values().map(|(bytes, _)| bytes).collect::<Vec<_>>());
}

#[test]
fn monitoring_systems_get_what_the_library_says() {
    let _turn = alone();
    let sample = sample(true);
    let printed = run("stats @ --openmetrics", &sample.path());
    assert_eq!(printed.code, 0, "{printed:?}");
    let families = exposition::parse(&printed.out).unwrap();
    let cache: PageCache<Bytes> = Config::new(sample.path()).read_only(true).open().unwrap();
    let stats = cache.stats();
    assert_eq!(families.len(), stats.metrics().len());
    assert_eq!(families["pagelog_live_bytes"].samples[0].value, stats.live_bytes as f64);
    drop(cache);
    let writer: PageCache<Bytes> = config(&sample.path()).open().unwrap();
    let refused = run("stats @ --openmetrics", &sample.path());
    assert_eq!((refused.code, refused.out.as_str()), (3, ""), "{refused:?}");
    drop(writer);
    let place = tempfile::tempdir().unwrap();
    Log::open(config(place.path())).unwrap().append(&[1; 90]).unwrap();
    let printed = run("stats @ --openmetrics", place.path());
    assert!(exposition::parse(&printed.out).unwrap().contains_key("pagelog_first_lsn"), "{printed:?}");
    fs::write(place.path().join("MANIFEST"), [0; 5000]).unwrap();
    let refused = run("stats @ --openmetrics", place.path());
    assert_eq!((refused.code, refused.out.as_str()), (1, ""), "{refused:?}");
}

#[test]
fn a_command_line_that_makes_no_sense_is_explained() {
    let place = tempfile::tempdir().unwrap();
    for line in [
        "",
        "fly @",
        "stats",
        "stats @ @",
        "verify @ --force",
        "dump @",
        "dump page @",
        "map @ --svg",
        "--nonsense",
    ] {
        let refused = run(line, place.path());
        assert_eq!((refused.code, refused.out.as_str()), (2, ""), "{line}: {refused:?}");
        assert!(refused.err.contains("--help"), "{line}: {refused:?}");
    }
    let help = run("--help", place.path());
    assert!(help.code == 0 && help.out.contains("Exit codes"), "{help:?}");
    for command in ["stats", "verify", "dump", "map", "backup", "bench"] {
        assert!(help.out.contains(&format!("  {command} ")), "{command}");
        let more = run(&format!("{command} --help"), place.path());
        assert!(more.code == 0 && more.out.starts_with("usage: pagelog "), "{more:?}");
    }
    assert!(run("--version", place.path()).out.starts_with("pagelog 0."));
}
