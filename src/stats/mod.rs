//! What an instance counts and times, and how that is handed to users and to monitoring systems.
//!
//! | file | what |
//! |---|---|
//! | `counters` | how often, and how many bytes |
//! | `thread_number` | where a thread counts: cells of its own, as far as they go round |
//! | `timings` | how long what is slow took |
//! | `histogram` | the distribution of durations |
//! | `metric` | all figures in one form, with names, units and help |
//! | `openmetrics` | the text that monitoring systems read |
//!
//! Nothing that is counted or timed here is an input of what the library does, but for the counts that are
//! read by name. A duration is never read but by users: runs differ in how long they take, and in nothing
//! else for that.

mod counters;
mod histogram;
mod metric;
mod openmetrics;
mod thread_number;
mod timings;

pub use counters::Counts;
pub use histogram::Histogram;
pub use metric::{Metric, MetricValue, Unit};
pub use openmetrics::OpenMetrics;
pub use timings::Latencies;

pub(crate) use counters::{Counter, Counters};
pub(crate) use metric::{figures, metric_name};
pub(crate) use thread_number::ThreadNumber;
pub(crate) use timings::Timed;
