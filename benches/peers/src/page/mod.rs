//! The page layer: its engines, and what is measured of them.

mod churn;
mod commits;
mod free;
mod marble;
mod memory;
mod misses;
mod opening;
mod pagecache;
pub mod pagelog;
mod plain;
mod reads;
mod vectors;
mod writes;

use std::path::Path;

use crate::child::Role;
use crate::engine::Engine;
use crate::settings::Settings;

/// More than all pages take.
const AMPLE: u64 = 4 << 30;

/// A store of an engine, with its pages, which have numbers from 0.
pub trait Store: Engine {
    /// Adds pages of so many bytes.
    fn fill(&mut self, pages: usize, length: usize);

    /// Frees a page.
    fn free(&self, page: usize);

    /// Replaces pages, one after the other unless the engine wants batches.
    fn overwrite(&self, pages: &[usize], length: usize) {
        pages.iter().for_each(|page| self.replace(*page, vec![*page as u8; length]));
    }

    /// Does what is put off until later, as far as that can be asked for.
    fn settle(&self) {}

    /// What share of gets of pages chosen uniformly miss, when the cache has a twentieth of them.
    fn miss_share(&self) -> f64 {
        0.95
    }

    /// What the engine did beside the measured work.
    fn report(&self) -> String {
        String::new()
    }

    /// Makes everything durable and closes the store.
    fn close(self: Box<Self>);
}

/// Opens a store that has so many pages; 0 for a new one.
fn open(engine: &str, directory: &Path, pages: usize, cache: u64) -> Box<dyn Store> {
    match engine {
        "pagelog" => Box::new(pagelog::open(directory, pages, cache)),
        "pagelog, vectors" => Box::new(vectors::Vectors::open(directory, pages, cache)),
        "pagecache" => Box::new(pagecache::Pages::open(directory, pages, cache)),
        "marble" => Box::new(marble::Objects::open(directory, pages)),
        "plain" => Box::new(plain::create(directory)),
        other => panic!("no such engine: {other}"),
    }
}

/// A new store with pages of so many bytes, durable.
fn create(engine: &str, directory: &Path, pages: usize, length: usize) -> Box<dyn Store> {
    let mut store = open(engine, directory, 0, AMPLE);
    store.fill(pages, length);
    store.flush();
    store
}

/// Measures a group's cells.
pub fn measure(role: &Role, settings: &Settings) {
    match role.group.as_str() {
        "write" => writes::measure(role, settings),
        "get" => reads::measure(role, settings),
        "miss" => misses::measure(role, settings),
        "commit" => commits::measure(role, settings),
        "free" => free::measure(role),
        "open" => opening::measure(role, settings),
        "memory" => memory::measure(role, settings),
        "churn" => churn::measure(role, settings),
        other => panic!("no such group: {other}"),
    }
}
