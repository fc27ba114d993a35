//! A store that is open in another process is refused.
//!
//! In a file of its own: between a fork and what is executed then, the child has all locks of its parent. So
//! a store that another thread closed at that moment could not be opened again; as a test of another file
//! found out, once in hundreds of runs.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use common::{Bytes, read};
use pagelog::{Config, Error, PageCache};

const CHILD: &str = "PAGELOG_TEST_LOCK_CHILD";

fn open_at(path: &Path) -> PageCache<Bytes> {
    Config::new(path).open().unwrap()
}

/// No test of its own: what the other process does in the next test.
#[test]
fn child_that_holds_the_lock() {
    let Ok(path) = std::env::var(CHILD) else { return };
    let _cache = open_at(Path::new(&path));
    let mut out = std::io::stdout();
    out.write_all(b"\nlocked\n").unwrap();
    out.flush().unwrap();
    // Until the parent closes the pipe, or kills.
    let _ = std::io::stdin().read_line(&mut String::new());
}

#[test]
fn a_store_that_is_open_is_locked_in_another_process_until_that_dies() {
    let place = tempfile::tempdir().unwrap();
    let cache = open_at(place.path());
    let page_id = cache.allocate(Bytes(vec![7; 60])).unwrap().page_id;
    cache.close().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_holds_the_lock", "--nocapture"])
        .env(CHILD, place.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line == "locked"));
    for read_only in [false, true] {
        let error = Config::new(place.path()).read_only(read_only).open::<Bytes>().unwrap_err();
        assert!(matches!(error, Error::Locked { .. }), "{error:?}");
        assert!(error.to_string().contains(&place.path().display().to_string()), "{error}");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(read(&open_at(place.path()), page_id).unwrap(), [7; 60]);
}
