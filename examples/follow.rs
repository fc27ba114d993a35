//! Follows a store that is in use into a second one, and looks at the end whether both hold the same.
//!
//! ```text
//! cargo run --release --example follow
//! ```
//!
//! Two threads write words to pages: they allocate, link, replace, free, name pages, and do some of it in
//! batches. Meanwhile a third thread follows ([`PageCache::follow`]) and does the same in another store.
//! Pages get other ids there, so it keeps a table of which page is which. What comes as a batch is done as a
//! batch.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use pagelog::{
    Cas, Change, ChangeKind, Codec, CodecError, Config, Error, Event, Fragment, PageCache, PageId, Result,
    RootCas, Version,
};

/// Bytes; merging is concatenation.
struct Text(Vec<u8>);

struct Raw;

impl Codec<Text> for Raw {
    fn encode(text: &Text, into: &mut Vec<u8>) -> std::result::Result<(), CodecError> {
        into.extend_from_slice(&text.0);
        Ok(())
    }

    fn decode(bytes: &[u8]) -> std::result::Result<Text, CodecError> {
        Ok(Text(bytes.to_vec()))
    }
}

impl Fragment for Text {
    type Codec = Raw;

    fn merge(oldest_to_newest: &[&Self]) -> Self {
        Self(oldest_to_newest.iter().flat_map(|text| text.0.iter().copied()).collect())
    }
}

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// The verbs of one writer. It has pages of its own, so no race is lost.
fn write(cache: &PageCache<Text>, writer: u64, verbs: u64) -> Result<()> {
    let (mut dice, mut pages) = (Dice(writer), Vec::<(PageId, Version)>::new());
    for n in 0..verbs {
        let batch = if n % 50 == 0 { Some(cache.pin_log()?) } else { None };
        for _ in 0..if batch.is_some() { 5 } else { 1 } {
            let text = Text(format!("{writer}:{n} ").into_bytes());
            let at = usize::try_from(dice.below(200)).unwrap_or(0);
            let Some((page_id, version)) = pages.get(at).copied() else {
                let page = cache.allocate(text)?;
                pages.push((page.page_id, page.version));
                continue;
            };
            let done = match dice.below(10) {
                0 => {
                    pages.swap_remove(at);
                    let _ = cache.free(page_id, version)?;
                    continue;
                }
                1 => {
                    let name = [b'a' + u8::try_from(writer).unwrap_or(0)];
                    let old = cache.meta_pid_for_name(&name)?;
                    let RootCas::Done { .. } = cache.cas_root_in_meta(&name, old, Some(page_id))? else {
                        continue;
                    };
                    continue;
                }
                2 | 3 => cache.replace(page_id, version, text)?,
                _ => cache.link(page_id, version, text)?,
            };
            if let (Cas::Done { version, .. }, Some(page)) = (done, pages.get_mut(at)) {
                page.1 = version;
            }
        }
        if let Some(batch) = batch {
            batch.seal_batch()?;
        }
    }
    Ok(())
}

/// The second store, and which page is which.
struct Replica {
    cache: PageCache<Text>,
    pages: HashMap<PageId, (PageId, Version)>,
    changes: u64,
}

impl Replica {
    /// Follows until it is over and nothing is left.
    fn follow(&mut self, source: &PageCache<Text>, over: &AtomicBool) -> Result<()> {
        // Everything from the beginning; up to 256 MiB of log wait for us.
        let mut follower = source.follow(pagelog::Lsn::default(), 256 << 20)?;
        loop {
            let was_over = over.load(Ordering::SeqCst);
            match follower.next_within(Duration::from_millis(20))? {
                Some(Event::Change(change)) => self.apply(change)?,
                Some(Event::BatchBegins) => {
                    let cache = self.cache.clone();
                    let batch = cache.pin_log()?;
                    // All of it is stable already.
                    while let Some(Event::Change(change)) = follower.try_next()? {
                        self.apply(change)?;
                    }
                    batch.seal_batch()?;
                }
                None if was_over => return Ok(()),
                _ => {}
            }
        }
    }

    fn apply(&mut self, change: Change<Text>) -> Result<()> {
        self.changes += 1;
        let known = self.pages.get(&change.page_id).copied();
        let done = match (change.kind, known) {
            (ChangeKind::Link(text), Some((page_id, version))) => {
                self.cache.link(page_id, version, text)?.done()
            }
            (ChangeKind::Replace(text), Some((page_id, version))) => {
                self.cache.replace(page_id, version, text)?.done()
            }
            (ChangeKind::Free, Some((page_id, version))) => {
                self.pages.remove(&change.page_id);
                return self.cache.free(page_id, version).map(drop);
            }
            (ChangeKind::Allocate(text) | ChangeKind::Replace(text), None) => {
                let page = self.cache.allocate(text)?;
                self.pages.insert(change.page_id, (page.page_id, page.version));
                None
            }
            (ChangeKind::Roots(roots), _) => {
                for (name, theirs) in roots {
                    let ours = self.pages.get(&theirs).map(|(page_id, _)| *page_id);
                    let old = self.cache.meta_pid_for_name(&name)?;
                    let _ = self.cache.cas_root_in_meta(&name, old, ours)?;
                }
                None
            }
            // A link to a page whose large value was superseded; what it is now is still to come.
            _ => None,
        };
        if let (Some(version), Some(page)) = (done, self.pages.get_mut(&change.page_id)) {
            page.1 = version;
        }
        Ok(())
    }

    /// How many pages there are; an error if any is not what it is in the source.
    fn compare(&self, source: &PageCache<Text>) -> Result<u64> {
        let differs = |what: String| Error::Encode { reason: what };
        let stats = source.stats();
        let mut found = 0;
        for theirs in (1..=stats.page_ids).map(PageId::new) {
            let (guard, ours) = (source.pin(), self.cache.pin());
            let page = guard.get(theirs)?;
            let copy = match self.pages.get(&theirs) {
                Some((page_id, _)) => ours.get(*page_id)?,
                None => None,
            };
            let (page, copy) = (page.as_ref(), copy.as_ref());
            if page.map(|page| &page.merged().0) != copy.map(|page| &page.merged().0) {
                return Err(differs(format!("page {theirs} is not the same in both stores")));
            }
            found += u64::from(page.is_some());
        }
        for (name, theirs) in source.meta()?.iter() {
            let ours = self.cache.meta_pid_for_name(name)?;
            if self.pages.contains_key(theirs) && ours != self.pages.get(theirs).map(|(page_id, _)| *page_id)
            {
                return Err(differs(format!("the root {name:?} is not the same in both stores")));
            }
        }
        Ok(found)
    }
}

fn run(place: &Path) -> Result<()> {
    // The source syncs by itself, every few milliseconds: only what is stable can be followed.
    let interval = Duration::from_millis(5);
    let source =
        Config::new(place.join("source")).temporary(true).segment_size(64 << 10).flush_every(interval);
    let source: PageCache<Text> = source.background(true).open()?;
    let cache: PageCache<Text> = Config::new(place.join("replica")).temporary(true).open()?;
    let (mut replica, over) = (Replica { cache, pages: HashMap::new(), changes: 0 }, AtomicBool::new(false));
    let followed = thread::scope(|scope| {
        let follower = scope.spawn(|| replica.follow(&source, &over));
        let source = &source;
        let writers: Vec<_> =
            (1..=2).map(|writer| scope.spawn(move || write(source, writer, 20_000))).collect();
        let written: Result<Vec<()>> =
            writers.into_iter().map(|writer| writer.join().unwrap_or(Err(Error::Cancelled))).collect();
        let written = written.and_then(|_| source.flush());
        over.store(true, Ordering::SeqCst);
        written.and(follower.join().unwrap_or(Err(Error::Cancelled)))
    });
    followed?;
    let pages = replica.compare(&source)?;
    let counts = source.stats().counts;
    println!("{} changes were followed, in the order in which they were logged", replica.changes);
    println!(
        "{} records were moved meanwhile by garbage collection, and are not among them",
        counts.relocated_records
    );
    println!("{pages} pages are the same in both stores");
    source.close()?;
    replica.cache.close()
}

fn main() -> Result<()> {
    let place = std::env::temp_dir().join(format!("pagelog-follow-{}", std::process::id()));
    let outcome = run(&place);
    // The stores are temporary; what is left is the directory around them.
    let _ = std::fs::remove_dir_all(&place);
    outcome
}
