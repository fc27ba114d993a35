//! The program itself: three processes, some of which are killed.

use std::process::Command;

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_pagelog-raft")).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn three_nodes_agree_whoever_is_killed() {
    let (code, said, complained) = run(&["demo", "--writes", "600", "--snapshot-every", "60"]);
    assert_eq!(code, Some(0), "{said}\n{complained}");
    assert!(said.contains("the three maps are equal"), "{said}");
    assert!(said.contains("5 kills"), "{said}");
}

#[test]
fn a_wrong_command_line_is_told_what_is_wrong() {
    for (arguments, expected) in [
        (&["dance"][..], "dance is no command"),
        (&["demo", "--writes", "many"], "--writes needs a number above 0, and not many"),
        (&["demo", "--speed", "9"], "--speed does not belong here"),
        (&["node", "--id", "1"], "--directory is missing"),
        (&["node", "--id"], "--id needs a value"),
        (&["init", "127.0.0.1:1"], "N=ADDRESS expected"),
        (&["put", "--at", "127.0.0.1:1", "key"], "KEY and VALUE expected, 1 words found"),
        (&["status"], "ADDRESS expected"),
    ] {
        let (code, _, complained) = run(arguments);
        assert_eq!(code, Some(2), "{arguments:?}");
        assert!(complained.contains(expected), "{arguments:?}: {complained}");
    }
    let (code, said, _) = run(&["--help"]);
    assert_eq!(code, Some(0));
    assert!(said.contains("usage"));
}

#[test]
fn what_can_not_be_done_is_said_with_its_reason() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "no directory").unwrap();
    let file = file.to_str().unwrap();
    let (code, _, complained) = run(&["node", "--id", "1", "--listen", "127.0.0.1:0", "--directory", file]);
    assert_eq!((code, complained.contains(file)), (Some(1), true), "{complained}");
    let (code, _, complained) = run(&["demo", "--directory", file]);
    assert_eq!((code, complained.contains("exists")), (Some(1), true), "{complained}");
    // Nobody listens there.
    let (code, said, complained) = run(&["status", "127.0.0.1:1"]);
    assert_eq!(
        (code, complained.contains("1 of 1 nodes did not answer")),
        (Some(1), true),
        "{said}{complained}"
    );
}
