//! Opening a store of many small pages: after it was closed, and after its process was killed, when all was
//! flushed. The files are in the operating system's cache; beside it the time to read them all.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Instant;

use super::{AMPLE, create, open};
use crate::child::{Role, say, say_with_raw};
use crate::engine::Random;
use crate::settings::Settings;
use crate::system::{read_all, resident};

const LENGTH: usize = 128;
/// After the fill, one page in so many is written once more.
const OVERWRITTEN: usize = 10;

pub fn measure(role: &Role, settings: &Settings) {
    match role.step.as_str() {
        "" => {}
        "fill" => return fill(role, settings.opened),
        step => return time_opening(role, settings.opened, step),
    }
    for (cell, killed) in [("open_close", false), ("open_kill", true)] {
        let place = role.place.join(cell);
        let mut filler = role.step("fill", &place).start();
        let mut line = String::new();
        BufReader::new(filler.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
        assert_eq!(line, "filled\n");
        if killed {
            filler.kill().expect("it is killed");
        } else {
            drop(filler.stdin.take());
        }
        assert_eq!(filler.wait().expect("it ends").success(), !killed);
        read_all(&place);
        let start = Instant::now();
        read_all(&place);
        let raw = start.elapsed().as_secs_f64() * 1e3;
        let opened = role.step("time", &place).run();
        say_with_raw(cell, opened[0], raw);
        if !killed {
            say("open_memory", opened[1]);
        }
    }
}

/// Fills a store, says so, and waits to be killed or to be told to close.
fn fill(role: &Role, pages: usize) {
    let store = create(&role.engine, &role.place, pages, LENGTH);
    let (mut random, count) = (Random::of(0), pages / OVERWRITTEN);
    let again: Vec<usize> = (0..count).map(|_| random.below(pages)).collect();
    store.overwrite(&again, LENGTH);
    store.flush();
    println!("filled");
    let mut word = String::new();
    std::io::stdin().read_line(&mut word).expect("a word");
    store.close();
}

/// Prints how many milliseconds opening takes, and how many MiB. Some of the pages are looked at then.
fn time_opening(role: &Role, pages: usize, _: &str) {
    let (before, directory): (_, &Path) = (resident(), &role.place);
    let start = Instant::now();
    let store = open(&role.engine, directory, pages, AMPLE);
    let taken = start.elapsed().as_secs_f64() * 1e3;
    let more = resident().saturating_sub(before) as f64 / f64::from(1 << 20);
    println!("{taken} {more}");
    for page in (0..pages).step_by(997) {
        assert_eq!(store.whole(page), vec![page as u8; LENGTH], "page {page}");
    }
}
