//! The README says what is so.

use std::fs;
use std::path::Path;

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(path).unwrap().replace("\r\n", "\n")
}

#[test]
fn the_quick_start_is_the_example() {
    let example = read("examples/quick_start.rs");
    let code = &example[example.find("use std::collections").unwrap()..];
    assert!(
        read("README.md").contains(&format!("```rust\n{code}```\n")),
        "copy examples/quick_start.rs to README.md"
    );
}

#[test]
fn every_file_that_is_named_exists() {
    let readme = read("README.md");
    let words = readme.split(['`', '(', ')', '[', ']']);
    let is_path = |word: &&str| {
        ["src/", "tests/", "examples/", "benches/"].iter().any(|root| word.starts_with(root))
            && !word.contains(' ')
    };
    let named: Vec<&str> = words.filter(is_path).collect();
    assert!(named.len() > 5, "{named:?}");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let missing: Vec<_> = named.iter().filter(|name| !root.join(name).exists()).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn the_minimum_rust_version_is_the_manifests() {
    let manifest = read("Cargo.toml");
    let version =
        manifest.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap().trim_matches('"');
    assert!(read("README.md").contains(&format!("minimum supported Rust version is {version}.")));
}
