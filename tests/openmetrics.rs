//! The figures as monitoring systems read them: complete, and in a text that a strict reader accepts.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;
#[path = "support/exposition.rs"]
mod exposition;

use std::collections::BTreeSet;
use std::sync::Arc;

use common::{link, open, read, tiny};
use exposition::{Families, parse};
use pagelog::{Config, Error, Log, LogStats, MemoryStorage, Metric, MetricValue, OpenMetrics, Stats};

/// A store that has done some of everything.
fn busy() -> Stats {
    let storage = Arc::new(MemoryStorage::new());
    let cache = open(tiny(&storage));
    let mut pages: Vec<_> =
        (0..40u8).map(|page| cache.allocate(common::Bytes(vec![page; 100])).unwrap()).collect();
    for round in 0..30u8 {
        for page in &mut pages {
            page.version = link(&cache, page.page_id, page.version, &[round; 20]);
        }
        cache.flush().unwrap();
        pages.iter().step_by(7).for_each(|page| assert!(read(&cache, page.page_id).is_some()));
    }
    cache.allocate(common::Bytes(vec![1; 5000])).unwrap();
    cache.snapshot().unwrap();
    cache.stats()
}

fn log() -> Log {
    Log::open(Config::with_storage(Arc::new(MemoryStorage::new()))).unwrap()
}

/// A sample's value, by its name and the value of its label `store`.
fn value(families: &Families, name: &str, store: Option<&str>) -> f64 {
    let samples = families.values().flat_map(|family| &family.samples);
    let mut found = samples
        .filter(|sample| sample.name == name && sample.labels.get("store").map(String::as_str) == store);
    let sample = found.next().unwrap_or_else(|| panic!("there is no {name}"));
    assert!(found.next().is_none(), "more than one {name}");
    sample.value
}

#[test]
fn what_is_exported_is_what_the_figures_are() {
    let stats = busy();
    let families = parse(&stats.to_openmetrics()).unwrap();
    let metrics = stats.metrics();
    assert_eq!(families.len(), metrics.len());
    for metric in &metrics {
        let family = &families[metric.name];
        assert_eq!(family.kind, metric.value.kind());
        assert_eq!(family.help.as_deref(), Some(metric.help));
        assert_eq!(family.unit, metric.unit.map(|unit| unit.to_string()));
        let sample = |ending| value(&families, &format!("{}{ending}", metric.name), None);
        match metric.value {
            MetricValue::Counter(value) => assert_eq!(sample("_total"), value as f64),
            MetricValue::Gauge(value) => assert_eq!(sample(""), value as f64),
            MetricValue::Histogram(durations) => {
                assert_eq!(sample("_count"), durations.count() as f64);
                assert!((sample("_sum") - durations.sum().as_secs_f64()).abs() < 1e-9);
                let mut buckets = family.samples.iter().filter(|sample| sample.name.ends_with("_bucket"));
                let halves = buckets.find(|bucket| bucket.labels["le"] == "0.001048576").unwrap();
                let within = durations.count_up_to(std::time::Duration::from_nanos(1 << 20));
                assert_eq!(halves.value, within as f64);
            }
            other => panic!("{other:?} is not known here"),
        }
    }
}

/// The fields of a struct in its `Debug` form with line breaks, and what is behind each name.
fn fields(debug: &str, depth: usize) -> Vec<(String, String)> {
    let indent = " ".repeat(4 * depth);
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in debug.lines() {
        let own = line
            .strip_prefix(&indent)
            .filter(|rest| rest.starts_with(|first: char| first.is_ascii_lowercase()));
        match own.and_then(|line| line.split_once(": ")) {
            Some((name, rest)) => fields.push((name.into(), rest.into())),
            None => {
                if let Some((_, rest)) = fields.last_mut() {
                    rest.push('\n');
                    rest.push_str(line);
                }
            }
        }
    }
    fields
}

/// The first number in a field's `Debug` form.
fn first_number(debug: &str) -> u64 {
    let digits = |letter: char| letter.is_ascii_digit();
    let begin = debug.find(digits).unwrap();
    let end = debug[begin..].find(|letter| !digits(letter)).map_or(debug.len(), |end| begin + end);
    debug[begin..end].parse().unwrap()
}

/// Every field that `Debug` shows has a metric with its value. Who adds a field elsewhere than in the lists
/// that metrics are made of comes by here.
fn assert_complete(debug: &str, metrics: &[Metric<'_>]) {
    let mut exported: BTreeSet<&str> = metrics.iter().map(|metric| metric.name).collect();
    let mut take = |field: &str, end: &str, expected: Option<u64>| {
        let named = |metric: &&Metric<'_>| {
            let stem = metric.name.trim_start_matches("pagelog_").trim_end_matches(end);
            match metric.value {
                MetricValue::Histogram(_) => {
                    !end.is_empty() && stem != metric.name && field.starts_with(stem)
                }
                _ => metric.name == format!("pagelog_{field}{end}"),
            }
        };
        let Some(metric) = metrics.iter().find(named) else { return false };
        match metric.value {
            MetricValue::Counter(value) | MetricValue::Gauge(value) => {
                assert_eq!(Some(value), expected, "{field}");
            }
            MetricValue::Histogram(durations) => assert_eq!(Some(durations.count()), expected, "{field}"),
            other => panic!("{other:?} is not known here"),
        }
        exported.remove(metric.name)
    };
    for (name, rest) in fields(debug, 1) {
        match name.as_str() {
            "counts" => {
                for (field, value) in fields(&rest, 2) {
                    assert!(take(&field, "", Some(first_number(&value))), "{field} is not exported");
                }
            }
            "latencies" => {
                for (field, value) in fields(&rest, 2) {
                    let count = Some(first_number(&value));
                    assert!(take(&field, "_duration_seconds", count), "{field} is not exported");
                }
            }
            field => {
                let value = Some(first_number(&rest));
                assert!(take(field, "", value) || take(field, "_bytes", value), "{field} is not exported");
            }
        }
    }
    assert!(exported.is_empty(), "no fields: {exported:?}");
}

#[test]
fn every_field_of_the_figures_is_exported() {
    let stats = busy();
    assert_complete(&format!("{stats:#?}"), &stats.metrics());
    let log = log();
    log.append(b"entry").unwrap();
    log.flush().unwrap();
    let stats: LogStats = log.stats();
    assert_complete(&format!("{stats:#?}"), &stats.metrics());
}

/// Help is read without the documentation around it.
#[test]
fn help_stands_for_itself() {
    let stats = busy();
    let mut helps = BTreeSet::new();
    for Metric { name, help, .. } in stats.metrics() {
        assert!(help.ends_with('.') && help.len() > 10, "{name}: {help}");
        assert!(!help.contains(['[', '`', '\n']) && !help.contains("  "), "{name}: {help}");
        assert!(helps.insert(help), "{name}: another one has the same help");
    }
}

#[test]
fn instances_share_families_and_differ_in_labels() {
    let (one, other) = (busy(), log());
    let mut text = OpenMetrics::new();
    let odd = "back\\slash, \"quotes\", a\nbreak and {braces} = ü";
    text.add(&[("store", odd), ("area", "x")], &one.metrics()).unwrap();
    text.add(&[("store", "log")], &other.stats().metrics()).unwrap();
    let families = parse(&text.to_string()).unwrap();
    assert_eq!(value(&families, "pagelog_links_total", Some(odd)), one.counts.links as f64);
    assert_eq!(value(&families, "pagelog_links_total", Some("log")), 0.0);
    assert_eq!(value(&families, "pagelog_sync_duration_seconds_count", Some(odd)), one.counts.syncs as f64);
    assert_eq!(families["pagelog_first_lsn"].samples.len(), 1);
    assert!(families.values().all(|family| {
        family.samples.iter().all(|sample| sample.labels["store"] == "log" || sample.labels["area"] == "x")
    }));
}

#[test]
fn labels_that_the_format_does_not_allow_are_refused() {
    let log = log();
    let stats = log.stats();
    let metrics = stats.metrics();
    let mut text = OpenMetrics::new();
    text.add(&[("b", "1"), ("a", "2")], &metrics).unwrap();
    let wrong: [&[(&str, &str)]; 9] = [
        &[("", "x")],
        &[("1a", "x")],
        &[("a-b", "x")],
        &[("ü", "x")],
        &[("le", "x")],
        &[("__a", "x")],
        &[("a", "x"), ("a", "y")],
        &[("a\"", "x")],
        // The same as above in another order.
        &[("a", "2"), ("b", "1")],
    ];
    let before = text.to_string();
    for labels in wrong {
        let refused = text.add(labels, &metrics);
        assert!(matches!(refused, Err(Error::InvalidConfig { option: "labels", .. })), "{labels:?}");
    }
    assert_eq!(text.to_string(), before);
    parse(&before).unwrap();
    assert_eq!(OpenMetrics::new().to_string(), "# EOF\n");
}

/// A reader that accepts anything proves nothing.
#[test]
fn the_reader_of_these_tests_is_strict() {
    let good =
        "# TYPE a_bytes counter\n# UNIT a_bytes bytes\n# HELP a_bytes h\na_bytes_total{l=\"v\"} 1\n# EOF\n";
    assert!(parse(good).is_ok());
    let histogram =
        "# TYPE h histogram\nh_bucket{le=\"1.0\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 1.5\nh_count 2\n# EOF\n";
    assert!(parse(histogram).is_ok());
    let wrong = [
        (good, "# EOF\n", ""),
        (good, "# EOF\n", "# EOF\n\n"),
        (good, "# EOF\n", "\n# EOF\n"),
        (good, "a_bytes_total{", "a_bytes{"),
        (good, "a_bytes_total{", "b_total{"),
        (good, "} 1", "}  1"),
        (good, "} 1", "} -1"),
        (good, "} 1", "} one"),
        (good, "} 1", "} 1\na_bytes_total{l=\"v\"} 1"),
        (good, "l=\"v\"", "l=\"v\",l=\"v\""),
        (good, "l=\"v\"", "l=\"\"v\""),
        (good, "l=\"v\"", "l=\"\\v\""),
        (good, "l=\"v\"", "l=v"),
        (good, "UNIT a_bytes bytes", "UNIT a_bytes seconds"),
        (good, "HELP a_bytes h", "HELP a_bytes \"h\""),
        (good, "HELP a_bytes h", "HELP a_bytes h\n# HELP a_bytes h"),
        (good, "# TYPE a_bytes counter\n", ""),
        (good, "counter", "count"),
        (good, "# EOF\n", "# TYPE a_bytes counter\n# EOF\n"),
        (good, "# EOF\n", "# TYPE a_bytes_total gauge\n# EOF\n"),
        (histogram, "le=\"1.0\"", "le=\"1\""),
        (histogram, "le=\"1.0\"} 1", "le=\"1.0\"} 3"),
        (histogram, "h_bucket{le=\"+Inf\"} 2\n", ""),
        (histogram, "h_count 2", "h_count 1"),
        (histogram, "h_sum 1.5\n", ""),
        (histogram, "h_bucket{le=\"1.0\"} 1\n", "h_bucket{le=\"2.0\"} 1\nh_bucket{le=\"1.0\"} 1\n"),
    ];
    for (text, from, to) in wrong {
        assert!(text.contains(from));
        let broken = text.replacen(from, to, 1);
        assert!(parse(&broken).is_err(), "{broken}");
    }
}
