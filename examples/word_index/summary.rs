//! What a run did, in figures. Those of the store are added up over both openings.

use std::fmt;
use std::time::Duration;

use crate::build::Built;
use crate::failure::{Failure, Result};
use crate::index::Index;
use crate::plan::Plan;
use crate::sources::Sources;
use crate::verify::Verified;

/// With less text than this nothing can be expected to be evicted or reused.
const LITTLE_TEXT: u64 = 128 << 10;
/// How many skipped files are named.
const NAMED: usize = 20;

#[derive(Debug, Default)]
pub struct Summary {
    title: String,
    built: Built,
    verified: Verified,
    build_time: Duration,
    open_time: Duration,
    verify_time: Duration,
    cache: u64,
    segment: u64,
    pages: u64,
    linked_bytes: u64,
    live_bytes: u64,
    log_bytes: u64,
    space_amplification: f64,
    counts: Totals,
}

/// Counters of the store that make sense over several openings.
#[derive(Debug, Default)]
struct Totals {
    links: u64,
    lost_races: u64,
    consolidations: u64,
    written_bytes: u64,
    syncs: u64,
    hits: u64,
    misses: u64,
    evictions: u64,
    segments_reused: u64,
    relocated_bytes: u64,
}

impl Summary {
    pub fn new(sources: &Sources, plan: &Plan) -> Self {
        Self { title: sources.title().to_owned(), cache: plan.cache, ..Self::default() }
    }

    /// Takes over the figures of the opening in which the index was built.
    pub fn built(&mut self, index: &Index, built: &Built, time: Duration) {
        self.built = built.clone();
        self.build_time = time;
        self.add(index);
    }

    /// Takes over the figures of the opening in which it was verified.
    pub fn verified(&mut self, index: &Index, verified: &Verified, opened: Duration, all: Duration) {
        self.verified = verified.clone();
        self.open_time = opened;
        self.verify_time = all - opened;
        self.add(index);
    }

    fn add(&mut self, index: &Index) {
        let stats = index.stats();
        self.pages = stats.page_ids - stats.free_page_ids;
        self.linked_bytes += index.linked_bytes();
        self.live_bytes = stats.live_bytes;
        self.log_bytes = stats.log_file_bytes;
        self.space_amplification = stats.space_amplification();
        self.segment = stats.log_file_bytes.checked_div(stats.segments.into()).unwrap_or(0);
        let (sum, counts) = (&mut self.counts, stats.counts);
        sum.links += counts.links + counts.consolidations;
        sum.lost_races += counts.lost_races;
        sum.consolidations += counts.consolidations;
        sum.written_bytes += counts.written_bytes;
        sum.syncs += counts.syncs;
        sum.hits += counts.hits;
        sum.misses += counts.misses;
        sum.evictions += counts.evictions;
        sum.segments_reused += counts.segments_reused;
        sum.relocated_bytes += counts.relocated_bytes;
    }

    /// Bytes written to the log for each byte that was linked.
    fn write_amplification(&self) -> f64 {
        if self.linked_bytes == 0 { 0.0 } else { self.counts.written_bytes as f64 / self.linked_bytes as f64 }
    }

    /// Fails if a run that had enough to do did not come to do what this program is there to show.
    pub fn check(&self) -> Result<()> {
        if self.built.indexed_bytes < LITTLE_TEXT {
            return Ok(());
        }
        let shown = [
            ("evictions", self.counts.evictions),
            ("page-ins", self.counts.misses),
            ("segments reused", self.counts.segments_reused),
            ("bytes relocated", self.counts.relocated_bytes),
        ];
        let missing: Vec<_> = shown.iter().filter(|(_, count)| *count == 0).map(|(name, _)| *name).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let missing = missing.join(", ");
        let advice = "a smaller --cache or --segment would show it";
        Err(Failure::Verdict(format!("the run met with no {missing}: {advice}")))
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (built, verified, counts) = (&self.built, &self.verified, &self.counts);
        self.name_skipped(formatter)?;
        writeln!(formatter, "indexed {}", self.title)?;
        let mut line = |name: &str, value: String| writeln!(formatter, "  {name:22} {value}");
        line(
            "files",
            format!(
                "{} indexed, {} unchanged, {} forgotten, {} skipped",
                built.indexed,
                built.unchanged,
                built.forgotten,
                built.skipped.len()
            ),
        )?;
        line("words", format!("{}, {} different ones", verified.occurrences, verified.distinct_words))?;
        line("postings", verified.postings.to_string())?;
        let verdict = if verified.is_right() { "the index agrees" } else { "THE INDEX IS WRONG" };
        line("verified", format!("{} files counted again: {verdict}", verified.files))?;
        line(
            "links",
            format!(
                "{}, {} of them wrote the whole page; {} lost races tried again",
                counts.links, counts.consolidations, counts.lost_races
            ),
        )?;
        line("pages", self.pages.to_string())?;
        line("cache, segment size", format!("{}, {} bytes", self.cache, self.segment))?;
        line("log bytes", format!("{} written; {} in the file", counts.written_bytes, self.log_bytes))?;
        line("write amplification", format!("{:.2}, per byte linked", self.write_amplification()))?;
        line(
            "space amplification",
            format!("{:.2}, {} bytes are live", self.space_amplification, self.live_bytes),
        )?;
        line("syncs", counts.syncs.to_string())?;
        line(
            "time",
            format!(
                "{:.3} s to index, {:.3} s to open again, {:.3} s to verify and answer",
                self.build_time.as_secs_f64(),
                self.open_time.as_secs_f64(),
                self.verify_time.as_secs_f64()
            ),
        )?;
        line("cache hits", counts.hits.to_string())?;
        line("evictions", counts.evictions.to_string())?;
        line("page-ins", counts.misses.to_string())?;
        line("segments reused", counts.segments_reused.to_string())?;
        line("bytes relocated", counts.relocated_bytes.to_string())
    }
}

impl Summary {
    fn name_skipped(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let changed = self.verified.changed.iter().map(|name| (name.as_str(), "changed while this ran"));
        let skipped = self.built.skipped.iter().map(|(name, reason)| (name.as_str(), reason.as_str()));
        let all: Vec<_> = skipped.chain(changed).collect();
        for (name, reason) in all.iter().take(NAMED) {
            writeln!(formatter, "skipped {name}: {reason}")?;
        }
        if all.len() > NAMED {
            writeln!(formatter, "skipped {} more", all.len() - NAMED)?;
        }
        Ok(())
    }
}
