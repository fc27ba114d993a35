//! All figures in one form.
//!
//! Each figure is declared once, in one of three lists: counters, latencies, and the gauges of an instance
//! ([`figures`]). From a list's line come the field, its documentation, the metric and its help; so no figure
//! can be without its metric.

use std::fmt;

use super::histogram::Histogram;

/// The value of a [`Metric`], by its kind.
///
/// ```
#[doc = include_str!("../docs/bare_log.txt")]
/// # use pagelog::MetricValue;
/// # fn main() -> pagelog::Result<()> {
/// # let log = open()?;
/// log.append(b"entry")?;
/// log.flush()?;
/// let stats = log.stats();
/// let metrics = stats.metrics();
/// let value = |name: &str| metrics.iter().find(|metric| metric.name == name).map(|metric| metric.value);
/// assert_eq!(value("pagelog_syncs"), Some(MetricValue::Counter(1)));
/// assert_eq!(value("pagelog_log_file_bytes"), Some(MetricValue::Gauge(stats.log_file_bytes)));
/// let durations = MetricValue::Histogram(&stats.latencies.syncs);
/// assert_eq!(value("pagelog_sync_duration_seconds"), Some(durations));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetricValue<'a> {
    /// Only rises, from 0 when the instance was opened.
    Counter(u64),
    /// Of this moment.
    Gauge(u64),
    /// A distribution of durations, since the instance was opened.
    Histogram(&'a Histogram),
}

impl MetricValue<'_> {
    /// The kind as monitoring systems call it: `"counter"`, `"gauge"` or `"histogram"`.
    ///
    /// ```
    /// use pagelog::{Histogram, MetricValue};
    ///
    /// assert_eq!(MetricValue::Counter(7).kind(), "counter");
    /// assert_eq!(MetricValue::Gauge(7).kind(), "gauge");
    /// assert_eq!(MetricValue::Histogram(&Histogram::default()).kind(), "histogram");
    /// ```
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Counter(_) => "counter",
            Self::Gauge(_) => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

/// In what a [`Metric`] is measured, if it does not just count things.
///
/// ```
#[doc = include_str!("../docs/bare_log.txt")]
/// # use pagelog::Unit;
/// # fn main() -> pagelog::Result<()> {
/// # let log = open()?;
/// let stats = log.stats();
/// let metrics = stats.metrics();
/// let unit = |name: &str| metrics.iter().find(|metric| metric.name == name).map(|metric| metric.unit);
/// assert_eq!(unit("pagelog_written_bytes"), Some(Some(Unit::Bytes)));
/// assert_eq!(unit("pagelog_sync_duration_seconds"), Some(Some(Unit::Seconds)));
/// assert_eq!(unit("pagelog_syncs"), Some(None));
/// assert_eq!(Unit::Bytes.to_string(), "bytes");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Seconds; a [`Histogram`] has its durations in a type of their own.
    Seconds,
}

impl fmt::Display for Unit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Bytes => "bytes",
            Self::Seconds => "seconds",
        })
    }
}

/// One figure, as monitoring systems want it: what [`Stats::metrics`](crate::Stats::metrics) and
/// [`LogStats::metrics`](crate::LogStats::metrics) list.
///
/// ```
/// use std::sync::Arc;
/// use pagelog::{Config, Log, MemoryStorage, MetricValue};
///
/// # fn main() -> pagelog::Result<()> {
/// let log = Log::open(Config::with_storage(Arc::new(MemoryStorage::new())))?;
/// log.append(b"entry")?;
/// log.flush()?;
/// for metric in log.stats().metrics() {
///     match metric.value {
///         MetricValue::Counter(value) | MetricValue::Gauge(value) => println!("{} {value}", metric.name),
///         MetricValue::Histogram(durations) => println!("{} {:?}", metric.name, durations.quantile(0.99)),
///         _ => {}
///     }
/// }
/// # log.close()
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metric<'a> {
    /// Its name: `pagelog_`, lower case, with the unit at the end if there is one. Of a counter, without
    /// `_total`.
    pub name: &'static str,
    /// What it is, in a sentence or two without markup.
    pub help: &'static str,
    /// In what it is measured; `None` for plain numbers.
    pub unit: Option<Unit>,
    /// Its value.
    pub value: MetricValue<'a>,
}

impl<'a> Metric<'a> {
    /// The unit is what the name ends in.
    pub(crate) fn new(name: &'static str, help: &'static str, value: MetricValue<'a>) -> Self {
        let unit = match name.rsplit('_').next() {
            Some("bytes") => Some(Unit::Bytes),
            Some("seconds") => Some(Unit::Seconds),
            _ => None,
        };
        Self { name, help, unit, value }
    }
}

/// The name of a figure's metric: that of the field, unless it is given another one.
macro_rules! metric_name {
    ($field:ident) => {
        concat!("pagelog_", stringify!($field))
    };
    ($field:ident, $end:literal) => {
        concat!("pagelog_", stringify!($field), $end)
    };
}

/// Declares the figures of a kind of instance: its counts, its latencies, and the gauges that are listed,
/// each a number. What a gauge's name lacks for a metric is said behind its type.
macro_rules! figures {
    (
        $(#[$outer:meta])*
        pub struct $name:ident {
            $($(#[doc = $help:literal])+ $field:ident: $type:ty $(, and $end:literal)?;)+
        }
    ) => {
        $(#[$outer])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct $name {
            /// What was done.
            pub counts: $crate::stats::Counts,
            /// How long it took.
            pub latencies: $crate::stats::Latencies,
            $($(#[doc = $help])+ pub $field: $type,)+
        }

        impl $name {
            /// Every figure, with its name, its unit and what it is: counters, gauges, and histograms.
            ///
            /// ```
            #[doc = include_str!("../docs/bare_log.txt")]
            /// # use pagelog::MetricValue;
            /// # fn main() -> pagelog::Result<()> {
            /// # let log = open()?;
            /// # log.append(b"entry")?;
            /// # log.flush()?;
            /// # let stats = log.stats();
            /// // `stats` are those of an instance that has synced once.
            /// let metrics = stats.metrics();
            /// let syncs = metrics.iter().find(|metric| metric.name == "pagelog_syncs");
            /// assert_eq!(syncs.map(|syncs| syncs.value), Some(MetricValue::Counter(1)));
            /// assert_eq!(syncs.map(|syncs| syncs.help), Some("Syncs of the log file."));
            /// # Ok(())
            /// # }
            /// ```
            #[must_use]
            pub fn metrics(&self) -> Vec<$crate::stats::Metric<'_>> {
                // A field that is not listed here does not compile.
                let Self { counts, latencies, $($field),+ } = self;
                let gauges = vec![$($crate::stats::Metric::new(
                    $crate::stats::metric_name!($field $(, $end)?),
                    concat!($($help),+).trim_ascii(),
                    $crate::stats::MetricValue::Gauge(u64::from(*$field)),
                )),+];
                [counts.metrics(), gauges, latencies.metrics()].concat()
            }

            /// Every figure in the OpenMetrics text format, to be served to a monitoring system; for labels,
            /// or more than one instance, see [`OpenMetrics`](crate::OpenMetrics).
            ///
            /// ```
            #[doc = include_str!("../docs/bare_log.txt")]
            /// # fn main() -> pagelog::Result<()> {
            /// # let log = open()?;
            /// # log.append(b"entry")?;
            /// # log.flush()?;
            /// # let stats = log.stats();
            /// // `stats` are those of an instance that has synced once.
            /// let text = stats.to_openmetrics();
            /// assert!(text.contains("# TYPE pagelog_syncs counter\n"));
            /// assert!(text.contains("pagelog_syncs_total 1\n"));
            /// # Ok(())
            /// # }
            /// ```
            #[must_use]
            pub fn to_openmetrics(&self) -> String {
                $crate::stats::OpenMetrics::of(&self.metrics()).to_string()
            }
        }
    };
}

pub(crate) use {figures, metric_name};
