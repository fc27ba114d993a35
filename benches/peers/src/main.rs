//! pagelog beside its peers: see README.md.
//!
//! The process that is started runs others of the same program, one for each group of cells and engine
//! ([`child`]), collects what they say, and reports it ([`report`]).

mod catalogue;
mod child;
mod map;
mod page;
mod report;
mod run;
mod settings;
mod system;

// What is shared with pagelog's own benches and examples.
#[path = "../../../tests/support/bytes.rs"]
mod bytes;
#[path = "../../common/engine.rs"]
mod engine;
#[path = "../../cells/plain.rs"]
mod plain;
#[path = "../../common/random.rs"]
mod random;
#[path = "../../common/rate.rs"]
mod rate;
#[path = "../../cells/subject.rs"]
mod subject;
#[path = "../../../examples/ordered_kv/tree/mod.rs"]
mod tree;
#[path = "../../../examples/ordered_kv/ycsb.rs"]
mod ycsb;

use catalogue::{GROUPS, Layer};
use child::Role;
use settings::Settings;

fn main() -> std::process::ExitCode {
    let settings = Settings::from_environment();
    let Some(role) = Role::of_this_process() else { return run::run(&settings) };
    let group = GROUPS.iter().find(|group| group.name == role.group).expect("a group");
    match group.layer {
        Layer::Page => page::measure(&role, &settings),
        Layer::Map => map::measure(&role, &settings),
    }
    std::process::ExitCode::SUCCESS
}
