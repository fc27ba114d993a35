//! What is run, and on what. The parent hands all of it on to the process that has the store.

use std::path::PathBuf;

use pagelog::Config;

use crate::common::setting;
use crate::life::Plan;

#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub seed: u64,
    /// Threads that live a life each.
    pub threads: usize,
    /// Threads that read all pages, whoever writes them.
    pub readers: usize,
    /// Keys of each thread; no multiple of 7919.
    pub pages: u64,
    /// How often a key is overwritten between filling and deleting, on average.
    pub overwrites: u64,
    /// Bytes.
    pub segment: u32,
    pub target: f64,
    /// Of the cache, in bytes.
    pub capacity: u64,
    /// Longer fragments are large values.
    pub inline: u32,
    /// The store is checked after each opening.
    pub verify: bool,
    /// What the process may take in memory beside the budget of the cache, or what the store counts if that
    /// is more, in bytes. 0: that is not looked at.
    pub memory_beside: u64,
    /// What a process lives at least and at most, in milliseconds.
    pub lifetime: (usize, usize),
}

const MIB: f64 = (1 << 20) as f64;

impl Settings {
    /// These, but for what the environment says.
    pub fn or_environment(self) -> Self {
        let settings = Self {
            seed: setting("SEED", self.seed),
            threads: setting("THREADS", self.threads),
            readers: setting("READERS", self.readers),
            pages: setting("PAGES", self.pages),
            overwrites: setting("OVERWRITES", self.overwrites),
            segment: setting("SEGMENT", self.segment),
            target: setting("TARGET", self.target),
            capacity: (setting("CAPACITY", self.capacity as f64 / MIB) * MIB) as u64,
            inline: setting("INLINE", self.inline),
            verify: setting("VERIFY", self.verify),
            memory_beside: (setting("MEMORY_BESIDE", self.memory_beside as f64 / MIB) * MIB) as u64,
            ..self
        };
        assert!(!settings.pages.is_multiple_of(7919), "PAGES must be no multiple of 7919");
        settings
    }

    pub fn to_environment(self) -> Vec<(&'static str, String)> {
        vec![
            ("SEED", self.seed.to_string()),
            ("THREADS", self.threads.to_string()),
            ("READERS", self.readers.to_string()),
            ("PAGES", self.pages.to_string()),
            ("OVERWRITES", self.overwrites.to_string()),
            ("SEGMENT", self.segment.to_string()),
            ("TARGET", self.target.to_string()),
            ("CAPACITY", (self.capacity as f64 / MIB).to_string()),
            ("INLINE", self.inline.to_string()),
            ("VERIFY", self.verify.to_string()),
        ]
    }

    pub fn plan(&self) -> Plan {
        Plan { seed: self.seed, pages: self.pages, overwrites: self.overwrites }
    }

    pub fn config(&self, store: PathBuf) -> Config {
        let config = Config::new(store).segment_size(self.segment).inline_limit(self.inline);
        config.space_target(self.target).cache_capacity(self.capacity)
    }

    /// The most resident memory that a process may have which has counted so much at most, in bytes. What is
    /// dead and waits for a reader who sleeps counts, and may exceed the budget: nobody waits for it.
    pub fn memory_bound(&self, counted: f64) -> f64 {
        let within = counted.max(self.capacity as f64);
        if self.memory_beside == 0 { f64::INFINITY } else { within + self.memory_beside as f64 }
    }
}
