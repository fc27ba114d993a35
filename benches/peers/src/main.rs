mod catalogue;
mod child;
#[path = "../../common/engine.rs"]
mod engine;
mod page;
#[path = "../../cells/plain.rs"]
mod plain;
mod settings;
#[path = "../../cells/subject.rs"]
mod subject;
mod system;
#[path = "../../../examples/ordered_kv/ycsb.rs"]
mod ycsb;
fn main() {
    let settings = settings::Settings::from_environment();
    if let Some(role) = child::Role::of_this_process() {
        page::measure(&role, &settings);
    }
}
