//! Figures as text, for monitoring systems.
//!
//! The OpenMetrics text format 1.0, which Prometheus reads, and most others too. Rules that a reader may rely
//! on, and the writer keeps:
//!
//! - **(A)** All samples of a family of metrics come together, after its type, unit and help; each family
//!   comes once, whatever number of instances there is. So samples are collected by family before anything is
//!   written.
//! - **(B)** A family's samples differ in their labels: labels that were taken once are refused.
//! - **(C)** Help and the values of labels have backslash, line feed and quotation mark escaped; nothing else
//!   needs it.
//! - **(D)** The buckets of a histogram add up: each counts all that took so long at most, and the last,
//!   without a bound, counts all. The bounds are bounds of the histogram's own buckets, so these counts are
//!   exact. They are always the same ones, else series would come and go.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fmt::Write;
use std::time::Duration;

use super::histogram::Histogram;
use super::metric::{Metric, MetricValue, Unit};
use crate::error::{Error, Result};

/// The powers of two, in nanoseconds, at which the buckets of a histogram end: a microsecond to half a
/// minute, or nearly.
const BOUNDS: std::ops::RangeInclusive<u32> = 10..=35;

/// The figures of one or more instances in the OpenMetrics text format 1.0, which Prometheus and most other
/// monitoring systems read. [`Display`](fmt::Display) writes it. To be served with the content type
/// [`CONTENT_TYPE`](Self::CONTENT_TYPE).
///
/// All names begin with `pagelog_`. Counters end in `_total`. Durations are in seconds, in histograms with a
/// bucket for each doubling from about one microsecond to 34 seconds. What can be computed from others, as
/// `space_amplification` can, is not in it.
///
/// ```
/// use std::sync::Arc;
/// use pagelog::{Config, Log, MemoryStorage, OpenMetrics};
///
/// # fn main() -> pagelog::Result<()> {
/// let open = || Log::open(Config::with_storage(Arc::new(MemoryStorage::new())));
/// let (orders, events) = (open()?, open()?);
/// orders.append(b"an order")?;
/// orders.flush()?;
/// let mut text = OpenMetrics::new();
/// text.add(&[("store", "orders")], &orders.stats().metrics())?;
/// text.add(&[("store", "events")], &events.stats().metrics())?;
/// let text = text.to_string();
/// assert!(text.contains("\npagelog_syncs_total{store=\"orders\"} 1\n"));
/// assert!(text.contains("\npagelog_syncs_total{store=\"events\"} 0\n"));
/// assert!(text.ends_with("# EOF\n"));
/// # orders.close()?;
/// # events.close()
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct OpenMetrics {
    /// By their names.
    families: BTreeMap<&'static str, Family>,
    /// The labels of the instances that are in it, as they are written.
    labels: BTreeSet<String>,
}

/// All samples of one name.
#[derive(Clone, Debug)]
struct Family {
    kind: &'static str,
    unit: Option<Unit>,
    help: &'static str,
    samples: String,
}

impl OpenMetrics {
    /// What an HTTP response that carries it has as its `Content-Type`.
    pub const CONTENT_TYPE: &'static str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

    /// Without any figures.
    ///
    /// ```
    /// use pagelog::OpenMetrics;
    ///
    /// assert_eq!(OpenMetrics::new().to_string(), "# EOF\n");
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Those of one instance, without labels.
    pub(crate) fn of(metrics: &[Metric<'_>]) -> Self {
        let mut text = Self::default();
        text.labels.insert(String::new());
        metrics.iter().for_each(|metric| text.put("", metric));
        text
    }

    /// Adds the figures of an instance, under labels that tell it from others. The value of a label may be
    /// any text.
    ///
    /// ```
    #[doc = include_str!("../docs/bare_log.txt")]
    /// # use pagelog::OpenMetrics;
    /// # fn main() -> pagelog::Result<()> {
    /// # let log = open()?;
    /// let mut text = OpenMetrics::new();
    /// text.add(&[("store", "the \"old\" one"), ("disk", "1")], &log.stats().metrics())?;
    /// assert!(text.to_string().contains(r#"pagelog_syncs_total{disk="1",store="the \"old\" one"} 0"#));
    /// // The same labels in another order are the same ones.
    /// let again = text.add(&[("disk", "1"), ("store", "the \"old\" one")], &log.stats().metrics());
    /// assert!(matches!(again, Err(Error::InvalidConfig { option: "labels", .. })));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`InvalidConfig`](Error::InvalidConfig), and nothing was added, if a label's name is not of letters,
    /// digits and underscores with no digit at the beginning, is `le`, begins with two underscores or comes
    /// twice, or if these labels were added before.
    pub fn add(&mut self, labels: &[(&str, &str)], metrics: &[Metric<'_>]) -> Result<()> {
        let labels = written(labels)?;
        if !self.labels.insert(labels.clone()) {
            return Err(refused(format!("{{{labels}}} were added before")));
        }
        metrics.iter().for_each(|metric| self.put(&labels, metric));
        Ok(())
    }

    fn put(&mut self, labels: &str, metric: &Metric<'_>) {
        let Metric { name, help, unit, value } = *metric;
        let new = || Family { kind: value.kind(), unit, help, samples: String::new() };
        let family = self.families.entry(name).or_insert_with(new);
        family.add(name, labels, value);
    }
}

fn refused(reason: String) -> Error {
    Error::InvalidConfig { option: "labels", reason }
}

/// Labels as they stand between braces, in the order of their names: the same ones are the same text.
fn written(labels: &[(&str, &str)]) -> Result<String> {
    let mut labels = labels.to_vec();
    labels.sort_unstable();
    let mut text = String::new();
    let mut before = None;
    for (name, value) in labels {
        if !is_label_name(name) {
            return Err(refused(format!("can't have {name:?}")));
        }
        if before.replace(name) == Some(name) {
            return Err(refused(format!("have {name} twice")));
        }
        let comma = if text.is_empty() { "" } else { "," };
        let _ = write!(text, "{comma}{name}=\"{}\"", Escaped(value));
    }
    Ok(text)
}

/// Whether a label may be called so; `le` is for the bounds of buckets.
fn is_label_name(name: &str) -> bool {
    let of_letters = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let begins_well = name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
    of_letters && begins_well && name != "le" && !name.starts_with("__")
}

impl Family {
    /// Adds the samples of one instance. Writing to a string can't fail.
    fn add(&mut self, name: &str, labels: &str, value: MetricValue<'_>) {
        let samples = &mut self.samples;
        let braced = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        match value {
            MetricValue::Counter(value) => {
                let _ = writeln!(samples, "{name}_total{braced} {value}");
            }
            MetricValue::Gauge(value) => {
                let _ = writeln!(samples, "{name}{braced} {value}");
            }
            MetricValue::Histogram(histogram) => {
                add_buckets(samples, name, labels, histogram);
                let _ = writeln!(samples, "{name}_sum{braced} {}", Seconds(histogram.sum()));
                let _ = writeln!(samples, "{name}_count{braced} {}", histogram.count());
            }
        }
    }
}

/// Adds the buckets of a histogram (D).
fn add_buckets(samples: &mut String, name: &str, labels: &str, histogram: &Histogram) {
    let comma = if labels.is_empty() { "" } else { "," };
    for bound in BOUNDS.map(|bits| Duration::from_nanos(1 << bits)) {
        let count = histogram.count_up_to(bound);
        let _ = writeln!(samples, "{name}_bucket{{{labels}{comma}le=\"{}\"}} {count}", Seconds(bound));
    }
    let _ = writeln!(samples, "{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {}", histogram.count());
}

impl fmt::Display for OpenMetrics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, Family { kind, unit, help, samples }) in &self.families {
            writeln!(formatter, "# TYPE {name} {kind}")?;
            if let Some(unit) = unit {
                writeln!(formatter, "# UNIT {name} {unit}")?;
            }
            writeln!(formatter, "# HELP {name} {}", Escaped(help))?;
            formatter.write_str(samples)?;
        }
        formatter.write_str("# EOF\n")
    }
}

/// Text as it stands in help and between quotation marks (C).
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|letter| match letter {
            '\\' => formatter.write_str("\\\\"),
            '\n' => formatter.write_str("\\n"),
            '"' => formatter.write_str("\\\""),
            other => formatter.write_char(other),
        })
    }
}

/// A duration as seconds, with all its nanoseconds and a point.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fraction = format!("{:09}", self.0.subsec_nanos());
        let digits = fraction.trim_end_matches('0');
        write!(formatter, "{}.{}", self.0.as_secs(), if digits.is_empty() { "0" } else { digits })
    }
}
