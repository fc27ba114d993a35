//! What the store costs as its work grows: what should stay as it is, and whether it does.
//!
//! `cargo bench --bench growth` prints tables, in less than two minutes, and draws them as
//! `benches/growth/growth.svg`:
//!
//! 1. *Pages.* Nanoseconds of a link to a random page and of a `get` of one that is in memory, beside those
//!    of a load whose address depends on the load before, over as many slots and bytes: if the ratio stays,
//!    what grows are cache misses. Bytes of memory of a page, its payload of 64 bytes included. Bytes of
//!    snapshots for each byte of log, of random links, with a snapshot every 8 MiB at the most.
//! 2. *Segments.* Microseconds of a step of garbage collection, which cleans one segment, on average and at
//!    most, and milliseconds of opening with a snapshot and a short log behind it (drawn as microseconds for
//!    each segment, of five pages). Segments of 512 bytes, in memory: so there are as many of them as a large
//!    store has, and a step's own work is as little as can be. With segments of the default size, 1 MiB, 65
//!    536 are a file of 64 GiB, and 1 048 576 one of 1 TiB (`SEGMENTS=1048576`: some GiB of memory, and some
//!    minutes).
//! 3. *Chains.* Nanoseconds of a link to a page that has so many, of the first `get` behind it, which has to
//!    merge them, and of the next one.
//! 4. *The free list.* Nanoseconds of `allocate` and `free`.
//! 5. *Threads.* Links per second to random pages, by all threads together. The number of processors is
//!    printed: beyond it, threads take turns.
//! 6. *The fill factor* (`Config::space_target`). Bytes moved by garbage collection for each byte written,
//!    pages being replaced uniformly; beside what cleaning the emptiest segment comes to, in a simulation and
//!    by theory, at the fill that was reached (without the segments that are kept free, and without headers
//!    and marks).
//!
//! Times say something only on a machine that does nothing else. Environment:
//!
//! * `PARTS=pages,segments,chains,free,threads,fill` which parts
//! * `PAGES=10000,100000,1000000` (10000000 takes some GiB and some minutes)
//! * `SEGMENTS=1024,4096,16384,65536`
//! * `SECONDS=2.0` for each number of threads, in turns
//! * `SVG=path` where the picture goes; with only some of the parts it is not drawn unless this is set
//! * `DIRECTORY=path` where the files go (default: the temporary directory)

mod chart;
#[path = "../common/cleaning.rs"]
mod cleaning;
#[path = "../common/mod.rs"]
mod common;
mod greedy;
#[path = "../../tests/support/observed.rs"]
mod observed;
mod pages;
mod segments;
mod verbs;

use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use chart::{Line, Panel, Scale};
use cleaning::{Distribution, Settings};
use common::{Place, Random, child, median, numbers, setting};
use pagelog::VictimPolicy;

const ROLE: &str = "PAGELOG_GROWTH_PAGES";
const PARTS: &str = "pages,segments,chains,free,threads,fill";
/// How often each number of threads has its turn: pages that are linked to evenly are all written as a whole
/// at about the same time.
const TURNS: usize = 20;
const PICTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/growth/growth.svg");

/// What grows, and what was measured of it.
type Row<T> = (f64, T);

/// A line of a panel: one figure of each row.
fn line<T>(name: &'static str, rows: &[Row<T>], figure: impl Fn(&T) -> f64) -> Line {
    Line { name, points: rows.iter().map(|(at, measured)| (*at, figure(measured))).collect() }
}

fn panel(
    title: &'static str,
    across: &'static str,
    up: &'static str,
    scale: Scale,
    lines: Vec<Line>,
) -> Panel {
    Panel { title, across, up, scale, lines }
}

fn growth_of_pages(place: &Place) -> Vec<Panel> {
    println!(
        "\n{:>10} {:>8} {:>8} {:>8} {:>11} {:>11} {:>11} {:>15}",
        "pages", "link, ns", "get, ns", "load, ns", "link / load", "get / load", "bytes/page", "snapshot/log"
    );
    let mut rows = Vec::new();
    for pages in numbers("PAGES", &[10_000, 100_000, 1_000_000]) {
        let directory = place.path().join(format!("pages-{pages}"));
        let settings = [(ROLE, pages.to_string()), ("PAGELOG_GROWTH_STORE", directory.display().to_string())];
        let mut child = child(&settings);
        let mut text = String::new();
        child.stdout.take().expect("a pipe").read_to_string(&mut text).expect("what it prints");
        assert!(child.wait().expect("it ends").success(), "{pages} pages failed");
        let row = pages::Measured::parse(&text);
        println!(
            "{pages:>10} {:>8.0} {:>8.0} {:>8.0} {:>11.2} {:>11.2} {:>11.0} {:>15.2}",
            row.link,
            row.get,
            row.load,
            row.link / row.load,
            row.get / row.load,
            row.bytes,
            row.snapshot
        );
        let _ = std::fs::remove_dir_all(directory);
        rows.push((pages as f64, row));
    }
    let of = |title, up, lines| panel(title, "pages", up, Scale::Logarithmic, lines);
    vec![
        of(
            "Links and hits, by pages",
            "nanoseconds",
            vec![
                line("link", &rows, |row| row.link),
                line("get", &rows, |row| row.get),
                line("dependent load", &rows, |row| row.load),
            ],
        ),
        of("Memory, by pages", "bytes for each page", vec![line("memory", &rows, |row| row.bytes)]),
        of(
            "Snapshots, by pages",
            "bytes for each byte of log",
            vec![line("snapshots", &rows, |row| row.snapshot)],
        ),
    ]
}

fn growth_of_segments() -> Vec<Panel> {
    println!(
        "\n{:>10} {:>12} {:>12} {:>10} {:>14}",
        "segments", "GC step, us", "longest, us", "open, ms", "log read, KiB"
    );
    let mut rows = Vec::new();
    for wanted in numbers("SEGMENTS", &[1024, 4096, 16384, 65536]) {
        let row = segments::measure(wanted);
        println!(
            "{:>10} {:>12.1} {:>12.0} {:>10.2} {:>14.0}",
            row.segments,
            row.step,
            row.longest,
            row.open,
            row.log_read as f64 / 1024.0
        );
        rows.push((f64::from(row.segments), row));
    }
    let of = |title, up, lines| panel(title, "segments", up, Scale::Logarithmic, lines);
    vec![
        of("A step of GC, by segments", "microseconds", vec![line("mean step", &rows, |row| row.step)]),
        of(
            "Opening, for each segment",
            "microseconds for each segment",
            vec![line("open", &rows, |row| row.open * 1e3 / f64::from(row.segments))],
        ),
    ]
}

fn growth_of_chains(place: &Place) -> Vec<Panel> {
    println!("\n{:>10} {:>10} {:>16} {:>14}", "links", "link, ns", "first get, ns", "next get, ns");
    let mut rows = Vec::new();
    for links in [1, 2, 4, 8, 16, 32, 64] {
        let row = verbs::chain(&place.path().join("chains"), links);
        println!("{links:>10} {:>10.0} {:>16.0} {:>14.0}", row.link, row.merge, row.get);
        rows.push((links as f64, row));
    }
    let lines = vec![
        line("link", &rows, |row| row.link),
        line("first get", &rows, |row| row.merge),
        line("next get", &rows, |row| row.get),
    ];
    vec![panel("Links and reads, by chain", "links of a page", "nanoseconds", Scale::Logarithmic, lines)]
}

fn growth_of_the_free_list(place: &Place) -> Vec<Panel> {
    println!("\n{:>10} {:>14} {:>10}", "free ids", "allocate, ns", "free, ns");
    let mut rows = Vec::new();
    for ids in [0, 1000, 10_000, 100_000, 1_000_000] {
        let (allocate, free) = verbs::free_list(&place.path().join("free"), ids);
        println!("{ids:>10} {allocate:>14.0} {free:>10.0}");
        // A logarithmic axis has no zero.
        rows.push((ids.max(100) as f64, (allocate, free)));
    }
    let lines = vec![line("allocate", &rows, |row| row.0), line("free", &rows, |row| row.1)];
    vec![panel(
        "Allocating, by free ids",
        "ids on the free list (first: none)",
        "nanoseconds",
        Scale::Logarithmic,
        lines,
    )]
}

fn growth_of_threads(place: &Place) -> Vec<Panel> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    println!("\n{:>10} {:>14}   ({processors} processors)", "threads", "links, M/s");
    let time = Duration::from_secs_f64(setting("SECONDS", 2.0)) / TURNS as u32;
    let (cache, pages) = verbs::store(&place.path().join("threads"), 100_000);
    let numbers = [1, 2, 3, 4, 6, 8];
    let mut rates = numbers.map(|_| Vec::new());
    for _ in 0..TURNS {
        for (rates, threads) in rates.iter_mut().zip(numbers) {
            rates.push(verbs::threads(&cache, &pages, threads, time));
        }
    }
    let rows: Vec<_> =
        numbers.iter().zip(rates).map(|(threads, rates)| (*threads as f64, median(rates))).collect();
    rows.iter().for_each(|(threads, rate)| println!("{threads:>10} {rate:>14.2}"));
    let across = match processors {
        1 => "threads, on 1 processor",
        2 => "threads, on 2 processors",
        4 => "threads, on 4 processors",
        _ => "threads",
    };
    let lines = vec![line("links", &rows, |rate| *rate)];
    vec![panel("Links by all threads", across, "millions per second", Scale::Linear, lines)]
}

fn growth_of_the_fill_factor() -> Vec<Panel> {
    println!(
        "\n{:>10} {:>10} {:>12} {:>12} {:>10}   bytes moved for each byte written",
        "fill", "net fill", "pagelog", "simulation", "theory"
    );
    let settings = Settings { pages: 40_000, warm_up: 5, measured: 2, segment: 8192 };
    let mut rows = Vec::new();
    for fill in [0.5, 0.6, 0.7, 0.8, 0.9, 0.95] {
        let measured =
            cleaning::measure(&settings, Distribution::Uniform, VictimPolicy::MinimumDecliningCost, fill);
        let (simulated, theory) = (greedy::moved(measured.net_fill), cleaning::optimum(measured.net_fill));
        println!(
            "{fill:>10} {:>10.3} {:>12.2} {simulated:>12.2} {theory:>10.2}",
            measured.net_fill, measured.moved
        );
        rows.push((measured.net_fill, [measured.moved, simulated, theory]));
    }
    let lines = vec![
        line("pagelog", &rows, |row| row[0]),
        line("simulation", &rows, |row| row[1]),
        line("theory", &rows, |row| row[2]),
    ];
    vec![panel("Cleaning, by fill", "live / used bytes", "moved / written bytes", Scale::Linear, lines)]
}

fn main() {
    if let Ok(pages) = std::env::var(ROLE) {
        let store: String = setting("PAGELOG_GROWTH_STORE", String::new());
        pages::measure(Path::new(&store), pages.parse().expect("a number")).print();
        return;
    }
    let parts: String = setting("PARTS", PARTS.into());
    let place = Place::new("growth");
    let began = Instant::now();
    let mut panels = Vec::new();
    for part in parts.split(',') {
        panels.extend(match part {
            "pages" => growth_of_pages(&place),
            "segments" => growth_of_segments(),
            "chains" => growth_of_chains(&place),
            "free" => growth_of_the_free_list(&place),
            "threads" => growth_of_threads(&place),
            "fill" => growth_of_the_fill_factor(),
            other => panic!("PARTS: {other} is not known"),
        });
    }
    let picture: String = setting("SVG", if parts == PARTS { PICTURE.into() } else { String::new() });
    if !picture.is_empty() {
        std::fs::write(&picture, chart::svg("What grows, and what it costs", &panels)).expect("a picture");
    }
    println!("\n{:.0} s", began.elapsed().as_secs_f64());
}
