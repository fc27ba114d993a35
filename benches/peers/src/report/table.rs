//! The tables, in Markdown.

use std::fmt::Write;

use super::{Report, Spread};
use crate::catalogue::{Cell, Layer, set_up};
use crate::settings::space_target;

impl Report {
    /// All tables, with how the engines were set up and what else there is to know.
    pub fn table(&self) -> String {
        let mut out = format!(
            "Commit {}; median of the rounds, of which there were {} (least – most). {} at the beginning; {} at the end.\n\n\
             The ratios say how much better pagelog is: 2 is twice as fast, or half as much of what there should be little of.\n",
            self.commit, self.rounds, self.machine[0], self.machine[1]
        );
        for layer in Layer::ALL {
            if !self.cells(layer).is_empty() {
                self.print_layer(layer, &mut out);
            }
        }
        for (who, notes) in &self.notes {
            let _ = writeln!(out, "- {who}: {}", notes.join("; "));
        }
        for failure in &self.failures {
            let _ = writeln!(out, "- FAILED: {failure}");
        }
        out
    }

    fn print_layer(&self, layer: Layer, out: &mut String) {
        let engines = self.engines(layer);
        let mut titles: Vec<&str> = vec!["cell", "unit"];
        titles.extend(&engines);
        if layer == Layer::Page {
            titles.push("/ plain");
        }
        titles.extend(["/ raw", "/ best peer"]);
        let _ = writeln!(out, "\n## {}\n\n| {} |", layer.title(), titles.join(" | "));
        let _ = writeln!(out, "|---|---|{}", "--:|".repeat(titles.len() - 2));
        for cell in self.cells(layer) {
            let _ = writeln!(out, "| {} |", self.line(layer, &cell, &engines).join(" | "));
        }
        out.push('\n');
        for engine in &engines {
            let _ = write!(out, "- **{engine}**: {}", set_up(layer, engine));
            if let (&"pagelog", Some(target)) = (engine, space_target()) {
                let _ = write!(out, "; but a space target of {target}");
            }
            out.push('\n');
        }
        for (_, time) in self.times.iter().filter(|(other, _)| *other == layer) {
            let _ = writeln!(out, "\nThis took {:.1} minutes.\n", time.as_secs_f64() / 60.0);
        }
    }

    fn line(&self, layer: Layer, cell: &Cell, engines: &[&str]) -> Vec<String> {
        let mut words = vec![cell.title.to_owned(), cell.unit.to_owned()];
        let spread = |engine: &&str| self.spread(cell, engine).map_or_else(String::new, print);
        words.extend(engines.iter().map(spread));
        let ratio = |ratio: Option<f64>| ratio.map_or_else(String::new, number);
        if layer == Layer::Page {
            words.push(ratio(self.ratio(cell, "plain")));
        }
        words.push(ratio(self.ratio_to_raw(cell)));
        let best = self.best_peer(cell);
        words.push(best.map_or_else(String::new, |(engine, ratio)| format!("{} ({engine})", number(ratio))));
        words
    }
}

fn print(spread: Spread) -> String {
    let Spread { middle, least, greatest } = spread;
    if least < greatest {
        format!("{} ({} – {})", number(middle), number(least), number(greatest))
    } else {
        number(middle)
    }
}

/// Two or three digits that count.
fn number(value: f64) -> String {
    match value.abs() {
        below if below < 0.1 => format!("{value:.4}"),
        below if below < 10.0 => format!("{value:.2}"),
        below if below < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Report;
    use crate::catalogue::GROUPS;
    use crate::child::{Figure, Said};

    fn said(cell: &str, value: f64, raw: Option<f64>) -> Said {
        Said { figures: vec![Figure { cell: cell.into(), value, raw }], ..Said::default() }
    }

    #[test]
    fn ratios_say_how_much_better_pagelog_is_whatever_the_unit() {
        let mut report = Report::new(1, "a commit".into(), "a machine".into());
        let group = |name: &str| GROUPS.iter().find(|group| group.name == name).unwrap();
        for (engine, rate, time) in
            [("pagelog", 400.0, 50.0), ("pagecache", 100.0, 200.0), ("plain", 800.0, 25.0)]
        {
            report.add(group("write"), engine, said("link_1", rate, None));
            report.add(group("get"), engine, said("get_uniform_1", time, None));
            report.add(group("commit"), engine, said("commit_1", rate, Some(rate * 2.0)));
        }
        let table = report.table();
        for line in [
            "| link to a random page, 1 thread | k/s | 400 | 100 | 800 | 0.50 |  | 4.00 (pagecache) |",
            "| get, in memory, uniform, 1 thread | ns | 50.0 | 200 | 25.0 | 0.50 |  | 4.00 (pagecache) |",
            "| durable commits, 1 thread (raw: loop) | /s | 400 | 100 | 800 | 0.50 | 0.50 | 4.00 (pagecache) |",
        ] {
            assert!(table.contains(line), "{table}");
        }
    }

    #[test]
    fn whoever_does_less_is_not_the_one_to_beat() {
        let mut report = Report::new(1, "a commit".into(), "a machine".into());
        let durable = GROUPS.iter().find(|group| group.name == "durable").unwrap();
        for (engine, rate) in [("pagelog", 400.0), ("sled", 800.0), ("redb", 100.0)] {
            report.add(durable, engine, said("durable_8", rate, None));
        }
        assert!(report.table().contains("| 4.00 (redb) |"), "{}", report.table());
    }

    #[test]
    fn medians_are_printed_with_the_least_and_the_most() {
        let mut report = Report::new(3, "a commit".into(), "a machine".into());
        let group = &GROUPS[0];
        for rate in [3.0, 1.0, 20.0] {
            report.add(group, "pagelog", said("link_1", rate, None));
        }
        assert!(report.table().contains("| 3.00 (1.00 – 20.0) |"), "{}", report.table());
    }
}
