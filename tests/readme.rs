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

/// Without the indentation that all its lines have.
fn dedented(code: &str) -> String {
    let indented = |line: &&str| !line.trim().is_empty();
    let indent = |line: &str| line.len() - line.trim_start().len();
    let least = code.lines().filter(indented).map(indent).min().unwrap_or(0);
    code.lines().map(|line| format!("{}\n", line.get(least..).unwrap_or_default())).collect()
}

#[test]
fn the_guides_code_is_the_examples() {
    let (guide, example) = (read("src/docs/guide.md"), read("examples/btree.rs"));
    let lines: Vec<&str> = example.lines().collect();
    let blocks: Vec<&str> = guide.split("```rust,ignore\n").skip(1).collect();
    assert!(blocks.len() > 10, "{} blocks", blocks.len());
    for block in blocks {
        let code = &block[..block.find("```\n").expect("an end")];
        let found = lines.windows(code.lines().count()).any(|part| dedented(&part.join("\n")) == code);
        assert!(found, "not in examples/btree.rs:\n{code}");
    }
}

#[test]
fn every_file_that_is_named_exists() {
    let readme = read("README.md");
    let words = readme.split(['`', '(', ')', '[', ']']);
    let is_path = |word: &&str| {
        ["src/", "tests/", "examples/", "benches/"].iter().any(|root| word.starts_with(root))
            && !word.contains(' ')
    };
    // Without the place in the file.
    let file = |word: &'_ str| word.split('#').next().unwrap_or_default().to_owned();
    let named: Vec<String> = words.filter(is_path).map(file).collect();
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
