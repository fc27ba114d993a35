//! An ordered key-value store on pagelog, with a small command line.
//!
//! ```text
//! cargo run --release --example ordered_kv                                    # a demonstration in a temporary directory
//! cargo run --release --example ordered_kv -- DIR put apple red
//! cargo run --release --example ordered_kv -- DIR scan a b --reverse
//! cargo run --release --example ordered_kv -- DIR load words.tsv
//! cargo run --release --example ordered_kv -- --help
//! ```
//!
//! The store itself is in [`tree`], which has an essay on how it works, and knows nothing of the rest: to use
//! it in a program of your own, take that directory. [`options`] is the command line, [`command`] does what
//! it asks for, [`demo`] and [`bench`] are the two that do more.

mod bench;
mod command;
mod demo;
mod failure;
mod options;
#[path = "../../benches/common/random.rs"]
mod random;
mod tree;
mod ycsb;

use std::process::ExitCode;

fn main() -> ExitCode {
    let outcome = options::parse(std::env::args_os().skip(1)).and_then(|options| command::run(&options));
    match outcome {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("ordered_kv: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}
