//! How many bytes garbage collection moves for each byte that users write: the real store, in memory, in
//! steady state.
//!
//! `cargo bench --bench gc` prints a table, in a minute or two: moved bytes / user bytes, for each
//! distribution of writes, policy and fill factor, and beside it what a simulation of the same rule found
//! (equal pages, the victims alone, nothing else in the file). Environment:
//!
//! * `FILLS=0.6,0.7,0.8,0.9`: live bytes / bytes of the file. What is reached is printed; and the *net* fill,
//!   without the segments that are kept free, and without headers and marks: that is what a simulation calls
//!   the fill factor. For uniform writes the optimum at that net fill is printed too (cleaning `u` live of
//!   each victim byte moves `u / (1 - u)`, and the fill is `(u - 1) / ln u`).
//! * `DISTRIBUTIONS=uniform,80:20,zipf`
//! * `POLICIES=greedy,cost-benefit,mdc`
//! * `PAGES=60000`, `WARM_UP=6` and `MEASURED=3`: how often all pages are overwritten before and while it is
//!   measured
//! * `SEGMENT=8192`: the segment size
//!
//! Pages of 100 bytes are replaced, one at a time, by one thread; a flush comes every 256 writes.

#[path = "../common/cleaning.rs"]
mod cleaning;
#[path = "../common/random.rs"]
mod random;

use std::time::Instant;

use cleaning::{Distribution, Measured, Settings, measure, optimum};
use pagelog::VictimPolicy;
use random::Random;

/// What a simulation found at fill factors 0.6, 0.7, 0.8, 0.9.
type Reference = (&'static str, [f64; 4]);

fn references(distribution: Distribution) -> &'static [Reference] {
    match distribution {
        Distribution::Uniform => &[("greedy, the optimum", [0.48, 0.89, 1.72, 4.29])],
        Distribution::EightyTwenty => {
            &[("greedy", [0.67, 1.09, 1.96, 4.59]), ("MDC, and sorted by heat", [0.35, 0.63, 1.21, 3.12])]
        }
        Distribution::Zipf => &[
            ("greedy", [0.72, 1.16, 1.97, 4.26]),
            ("cost-benefit", [0.68, 1.01, 1.64, 3.15]),
            ("MDC", [0.44, 0.65, 1.15, 2.72]),
            ("MDC, and sorted by heat", [0.19, 0.34, 0.64, 1.59]),
        ],
    }
}

fn number<T: std::str::FromStr>(variable: &str, otherwise: T) -> T {
    std::env::var(variable)
        .ok()
        .map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

/// Those of the named things that the variable lists.
fn listed<T: Clone>(variable: &str, all: &[(&'static str, T)]) -> Vec<(&'static str, T)> {
    let Ok(list) = std::env::var(variable) else { return all.to_vec() };
    let find = |name: &str| {
        let found = all.iter().find(|(known, _)| *known == name);
        found.unwrap_or_else(|| panic!("{variable}: {name} is not known")).clone()
    };
    list.split(',').map(find).collect()
}

fn main() {
    let settings = Settings {
        pages: number("PAGES", 60_000),
        warm_up: number("WARM_UP", 6),
        measured: number("MEASURED", 3),
        segment: number("SEGMENT", 8192),
    };
    let fills = listed("FILLS", &[("0.6", 0.6), ("0.7", 0.7), ("0.8", 0.8), ("0.9", 0.9)]);
    let distributions = listed(
        "DISTRIBUTIONS",
        &[
            ("uniform", Distribution::Uniform),
            ("80:20", Distribution::EightyTwenty),
            ("zipf", Distribution::Zipf),
        ],
    );
    let policies = listed(
        "POLICIES",
        &[
            ("greedy", VictimPolicy::Greedy),
            ("cost-benefit", VictimPolicy::CostBenefit),
            ("mdc", VictimPolicy::MinimumDecliningCost),
        ],
    );
    let began = Instant::now();
    println!(
        "moved bytes / user bytes (fill reached, net fill), {} pages, segments of {} bytes",
        settings.pages, settings.segment
    );
    for (name, distribution) in distributions {
        print!("\n{:34}", format!("{name}, fill factor"));
        fills.iter().for_each(|(fill, _)| print!(" {fill:>20}"));
        println!();
        let mut most = 0;
        for (policy_name, policy) in &policies {
            print!("  {policy_name:32}");
            let mut optima = Vec::new();
            for (_, fill) in &fills {
                let Measured { moved, fill, net_fill, segments } =
                    measure(&settings, distribution, *policy, *fill);
                most = most.max(segments);
                optima.push(optimum(net_fill));
                print!(" {:>20}", format!("{moved:.2} ({fill:.3}, {net_fill:.3})"));
                std::io::Write::flush(&mut std::io::stdout()).unwrap();
            }
            println!();
            if distribution == Distribution::Uniform {
                print!("  {:32}", "    optimum at that net fill");
                optima.iter().for_each(|optimum| print!(" {:>20}", format!("{optimum:.2}")));
                println!();
            }
        }
        for (what, figures) in references(distribution) {
            print!("  {:32}", format!("simulation: {what}"));
            for (fill, _) in &fills {
                let at = ["0.6", "0.7", "0.8", "0.9"].iter().position(|known| known == fill);
                print!(" {:>20}", at.map_or_else(String::new, |at| format!("{:.2}", figures[at])));
            }
            println!();
        }
        println!("  at most {most} segments");
    }
    println!("\n{:.0} s", began.elapsed().as_secs_f64());
}
