//! What was counted on the way, and what must have been reached.

use std::collections::BTreeMap;

use super::support::session::Session;

/// Counters by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally(BTreeMap<String, u64>);

/// What every run must reach, the long one a hundred times.
const REACHED: [&str; 60] = [
    "cut: in a creation",
    "cut: in a removal",
    "cut: in a rename",
    "cut: in a sync of a snapshot, a dictionary or a large value",
    "cut: in a sync of the directory",
    "cut: in a sync of the log",
    "cut: in a sync of the manifest",
    "cut: in a truncation of the log",
    "cut: in a write of a snapshot, a dictionary or a large value",
    "cut: in a write of the log",
    "cut: in a write of the manifest",
    "cut: shortly after a truncation of the log",
    "cut: with a batch begun",
    "cut: within an opening, again",
    "cut: within what followed an opening, again",
    "cut: twice, in an opening within an opening",
    "done: a change while a page is read",
    "done: a copy of a record that came too late",
    "done: a large value removed",
    "done: a large value written",
    "done: a page evicted",
    "done: a page evicted while records are moved",
    "done: a page id used again",
    "done: a page read back",
    "done: a record moved",
    "done: a record moved again",
    "done: a record moved while its page is read",
    "done: a segment used again",
    "done: a snapshot published",
    "done: the file made shorter",
    "done: two who read back one page",
    "failing: a call is refused, and the store goes on",
    "failing: a call that says that there is no space",
    "failing: a short write, or another call",
    "failing: a sync of the directory",
    "failing: a sync that keeps its pages",
    "failing: a sync that loses its pages",
    "failing: an opening is refused",
    "failing: any call",
    "failing: for ever",
    "failing: poisoned",
    "failing: the disk is full",
    "found: a dictionary",
    "found: an end of the log that was saved elsewhere",
    "found: a large value",
    "found: a snapshot that can be used",
    "found: a snapshot that is damaged",
    "found: less than was done",
    "found: less than was done, twice in a row",
    "found: a large value that belongs to nobody",
    "found: survivors of cleaning in two heads",
    "found: survivors of cleaning in three heads",
    "copy: a store",
    "copy: interrupted",
    "found: a manifest of which a bit has flipped",
    "found: a snapshot that can't be used",
    "rot: a page is damaged, and says so",
    "rot: a write went elsewhere",
    "rot: it does not open, and says why",
    "rot: nothing is missing",
];

const WITH_COMPRESSION: [&str; 1] = ["found: a dictionary"];

impl Tally {
    pub fn one(&mut self, name: &str) {
        self.add(name, 1);
    }

    pub fn add(&mut self, name: &str, count: u64) {
        if count == 0 {
            return;
        }
        match self.0.get_mut(name) {
            Some(sum) => *sum += count,
            None => {
                self.0.insert(name.to_owned(), count);
            }
        }
    }

    pub fn when(&mut self, name: &str, holds: bool) {
        self.add(name, u64::from(holds));
    }

    pub fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    pub fn images(&self) -> u64 {
        self.get("images")
    }

    pub fn merge(&mut self, other: &Self) {
        other.0.iter().for_each(|(name, count)| self.add(name, *count));
    }

    /// What a store that was worked with has counted.
    pub fn session(&mut self, session: &Session) {
        let counts = session.cache.stats().counts;
        let reached = &session.reached;
        for (name, count) in [
            ("done: a segment used again", counts.segments_reused),
            ("done: the file made shorter", counts.shrinks),
            ("done: a record moved", counts.relocated_records),
            ("done: a record moved again", counts.records_moved_again),
            ("done: a copy of a record that came too late", counts.lost_relocations),
            ("done: a page evicted", counts.evictions),
            ("done: a page read back", counts.misses),
            ("done: a snapshot published", counts.snapshots),
            ("done: a large value written", counts.large_values_written),
            ("done: a large value removed", counts.large_values_removed),
            ("done: two who read back one page", reached.races_of_page_in),
            ("done: a change while a page is read", reached.changes_in_page_in),
            ("done: a record moved while its page is read", reached.relocations_in_page_in),
            ("done: a page evicted while records are moved", reached.evictions_in_relocation),
        ] {
            self.add(name, count);
        }
    }

    /// What was to be reached so many times, and was not.
    pub fn missing(&self, times: u64) -> Vec<&'static str> {
        let concerns = |name: &&str| cfg!(feature = "compression") || !WITH_COMPRESSION.contains(name);
        REACHED.into_iter().filter(concerns).filter(|name| self.get(name) < times).collect()
    }

    /// One line for each counter.
    pub fn lines(&self) -> String {
        self.0.iter().map(|(name, count)| format!("= {count:>12} {name}\n")).collect()
    }

    /// Takes in what [`lines`](Self::lines) has given, and lets be what else there is.
    pub fn read(&mut self, text: &str) {
        let counter = |line: &str| {
            let (count, name) = line.strip_prefix('=')?.trim_start().split_once(' ')?;
            Some((name.to_owned(), count.parse::<u64>().ok()?))
        };
        for (name, count) in text.lines().filter_map(counter) {
            self.add(&name, count);
        }
    }
}
