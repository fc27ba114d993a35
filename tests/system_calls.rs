//! What the operating system is asked for, as strace sees it: a flush is one write and one sync, a creation
//! syncs the directory, and a hit asks for nothing.
//!
//! The test runs itself as a child under strace. The child marks the stretch to look at by writing to its
//! standard error. Where strace is not installed, or may not trace, the test says so and passes.

#![cfg(target_os = "linux")]

mod common;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{Bytes, link};
use pagelog::{Config, Log, PageCache};

const CHILD: &str = "PAGELOG_TEST_STRACE_CHILD";

fn mark(word: &str) {
    std::io::stderr().write_all(word.as_bytes()).unwrap();
}

fn between_marks(work: impl FnOnce()) {
    mark("begin\n");
    work();
    mark("end\n");
}

/// No test of its own: what is looked at.
#[test]
fn child_that_is_traced() {
    let Ok(argument) = std::env::var(CHILD) else { return };
    let (what, path) = argument.split_once(':').unwrap();
    let config = Config::new(path);
    match what {
        "create" => between_marks(|| drop(config.open::<Bytes>().unwrap())),
        "log" => {
            let log = Log::open(config).unwrap();
            log.append(&[1; 100]).unwrap();
            log.flush().unwrap();
            log.append(&[2; 100]).unwrap();
            between_marks(|| log.flush().unwrap());
        }
        "idle" => {
            let cache: PageCache<Bytes> = config.open().unwrap();
            cache.allocate(Bytes(vec![1; 100])).unwrap();
            cache.flush().unwrap();
            between_marks(|| (0..100).for_each(|_| cache.flush().unwrap()));
        }
        _ => {
            let cache: PageCache<Bytes> = config.open().unwrap();
            let page = cache.allocate(Bytes(vec![1; 100])).unwrap();
            let mut version = link(&cache, page.page_id, page.version, &[1]);
            cache.flush().unwrap();
            version = link(&cache, page.page_id, version, &[2]);
            let read = || cache.pin().get(page.page_id).unwrap().unwrap().merged().0.len();
            match what {
                "flush" => between_marks(|| cache.flush().unwrap()),
                "hits" => {
                    assert_eq!(read(), 102);
                    between_marks(|| (0..10_000).for_each(|_| assert_eq!(read(), 102)));
                }
                "links" => {
                    (0..50).for_each(|_| version = link(&cache, page.page_id, version, &[3]));
                    between_marks(|| {
                        (0..50).for_each(|_| version = link(&cache, page.page_id, version, &[3]));
                    });
                }
                other => panic!("{other}"),
            }
        }
    }
}

/// The system calls between the marks, each as a line. `None` if there is no strace.
fn trace(what: &str, path: &Path) -> Option<Vec<String>> {
    let place = tempfile::tempdir().unwrap();
    let output = place.path().join("trace");
    let run = Command::new("strace")
        .args(["-f", "-y", "-o"])
        .arg(&output)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_is_traced", "--nocapture"])
        .env(CHILD, format!("{what}:{}", path.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let text = std::fs::read_to_string(&output).unwrap_or_default();
    if run.is_err() || !text.contains("\"begin\\n\"") {
        println!("skipped: there is no strace, or it may not trace here");
        return None;
    }
    assert!(run.unwrap().success(), "{text}");
    let lines = text.lines().map(|line| line.split_once(' ').map_or(line, |(_, call)| call.trim_start()));
    let inside = lines.skip_while(|line| !line.contains("\"begin\\n\"")).skip(1);
    let calls: Vec<String> =
        inside.take_while(|line| !line.contains("\"end\\n\"")).map(str::to_owned).collect();
    println!("{what}:");
    for call in &calls {
        let call: String = call.replace(&path.display().to_string(), "DIR").chars().take(130).collect();
        println!("    {call}");
    }
    Some(calls)
}

fn names(calls: &[String]) -> Vec<&str> {
    calls.iter().map(|call| call.split('(').next().unwrap_or(call)).collect()
}

fn traced(what: &str) -> Option<Vec<String>> {
    let place = tempfile::tempdir().unwrap();
    trace(what, &place.path().join("store"))
}

#[test]
fn a_flush_is_one_write_and_one_sync() {
    for what in ["flush", "log"] {
        let Some(calls) = traced(what) else { return };
        assert_eq!(names(&calls), ["pwrite64", "fdatasync"]);
        assert!(calls.iter().all(|call| call.contains("/log>")), "{calls:?}");
    }
}

#[test]
fn a_flush_of_nothing_is_no_system_call() {
    let Some(calls) = traced("idle") else { return };
    assert_eq!(calls, [""; 0]);
}

#[test]
fn a_hit_is_no_system_call() {
    let Some(calls) = traced("hits") else { return };
    assert_eq!(calls, [""; 0]);
}

#[test]
fn a_link_that_begins_no_buffer_is_no_system_call() {
    let Some(calls) = traced("links") else { return };
    // The allocator's three ways to get memory.
    let of_memory = |name: &&str| ["brk", "mmap", "mprotect"].contains(name);
    let calls: Vec<_> = names(&calls).into_iter().filter(|name| !of_memory(name)).collect();
    assert_eq!(calls, [""; 0]);
}

#[test]
fn creating_a_store_syncs_the_file_and_the_directories() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("outer").join("store");
    let Some(calls) = trace("create", &path) else { return };
    let position = |name: &str, on: &str| {
        let on = format!("{on}>");
        calls.iter().position(|call| call.starts_with(name) && call.contains(&on))
    };
    let shown = |path: &Path| path.display().to_string();
    // Each new directory's entry, the manifest under its temporary name, and the directory after the rename.
    let parent = position("fsync", &shown(place.path())).expect("the entry of the outer directory");
    let outer = position("fsync", &shown(&place.path().join("outer"))).expect("the entry of the store's");
    let written = position("pwrite64", "MANIFEST.new").expect("the manifest");
    let synced = position("fdatasync", "MANIFEST.new").expect("its sync");
    let renamed = calls.iter().position(|call| call.starts_with("rename")).expect("its rename");
    let on = format!("{}>", shown(&path));
    let directory = calls.iter().rposition(|call| call.starts_with("fsync") && call.contains(&on));
    let directory = directory.expect("the directory's sync");
    assert!(parent < outer && outer < written && written < synced && synced < renamed && renamed < directory);
}
