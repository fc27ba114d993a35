//! What a page takes in memory beside its payload. Two processes with stores of different sizes, and the
//! difference of their resident memory for each page that one has more: so buffers and all else that every
//! store has do not count.

use super::{create, open};
use crate::child::{Role, say};
use crate::engine::BASE;
use crate::settings::Settings;
use crate::system::resident;

/// The pages of the small store.
const FEW: usize = 20_000;
/// The cache of a store whose pages are not in memory.
const LITTLE: u64 = 1 << 20;

pub fn measure(role: &Role, settings: &Settings) {
    let Some((step, pages)) = role.step.split_once(' ') else { return compare(role, settings.measured) };
    let pages = pages.parse().expect("a number");
    let engine = if role.engine == "pagelog" { "pagelog, vectors" } else { &role.engine };
    let kept: Box<dyn super::Store>;
    match step {
        "resident" => kept = create(engine, &role.place, pages, BASE),
        "fill" => return create(engine, &role.place, pages, BASE).close(),
        "evicted" => {
            kept = open(engine, &role.place, pages, LITTLE);
            (0..pages).for_each(|page| assert_eq!(kept.get(page), page as u8));
        }
        other => panic!("no such step: {other}"),
    }
    println!("{}", resident());
    drop(kept);
}

fn compare(role: &Role, pages: usize) {
    let each = |step: &str, places: [&str; 2]| {
        let run = |pages: usize, place: &str| {
            let place = role.place.join(place);
            if step == "evicted" {
                role.step(&format!("fill {pages}"), &place).run();
            }
            role.step(&format!("{step} {pages}"), &place).run()[0]
        };
        (run(pages, places[0]) - run(FEW, places[1])) / (pages - FEW) as f64
    };
    // marble keeps nothing in memory, and the baseline everything.
    if role.engine != "marble" {
        say("memory_resident", each("resident", ["many", "few"]) - BASE as f64);
    }
    if role.engine != "plain" {
        say("memory_evicted", each("evicted", ["many again", "few again"]));
    }
}
