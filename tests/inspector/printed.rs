//! What a shell or another program sees: exit codes beside a writer, and names with letters that JSON has to
//! escape.

use pagelog::PageCache;

use super::{a_live_record, config, flip, run, sample};
use crate::common::{Bytes, alone};

#[test]
fn what_looks_like_damage_beside_a_writer_is_no_failure() {
    let _turn = alone();
    let sample = sample(false);
    let (offset, length) = a_live_record(&sample, sample.pages[5].0);
    let writer: PageCache<Bytes> = config(&sample.path()).open().unwrap();
    flip(&sample.file("log"), offset + length - 1);
    for command in ["dump records @", "dump segments @", "map @"] {
        let forced = run(&format!("{command} --force"), &sample.path());
        assert_eq!(forced.code, 0, "{command}: {forced:?}");
        let told = run(&format!("{command} --force --json"), &sample.path());
        assert!(told.code == 0 && !told.json().at("faults").list().is_empty(), "{command}: {told:?}");
    }
    writer.close().unwrap();
    drop(writer);
    // Nobody writes any more.
    for command in ["dump records @ --force", "dump segments @ --force", "map @ --force", "verify @"] {
        assert_eq!(run(command, &sample.path()).code, 1, "{command}");
    }
}

#[cfg(unix)]
#[test]
fn names_with_quotes_and_backslashes_are_json_all_the_same() {
    let _turn = alone();
    let sample = sample(false);
    let strange = sample.place.path().join("my\"best\"\\store\u{1}");
    std::fs::rename(sample.path(), &strange).unwrap();
    std::fs::write(strange.join("a \"note\"\\"), "").unwrap();
    for command in ["stats @", "verify @", "dump segments @", "dump records @ --live", "map @"] {
        let told = run(&format!("{command} --json"), &strange).json();
        assert_eq!(told.at("directory").text(), strange.to_str().unwrap(), "{command}");
        if command.starts_with("stats") {
            let mut files = told.at("files").list().iter();
            assert!(files.any(|file| file.at("name").text() == "a \"note\"\\"), "{told:?}");
        }
    }
    let missing = run("stats @/no\"thing --json", &strange);
    assert_eq!((missing.code, missing.json().at("exit_code").number()), (3, 3));
}
