//! Bringing the index in line with the files.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use pagelog::Lsn;

use crate::failure::{Failure, Result};
use crate::index::Index;
use crate::progress::Progress;
use crate::sources::{Source, Sources};

/// How many files a thread indexes before it makes them durable. One sync for each would cost more than the
/// indexing.
const FILES_PER_COMMIT: u32 = 8;

/// What was done.
#[derive(Clone, Debug, Default)]
pub struct Built {
    pub indexed: usize,
    pub indexed_bytes: u64,
    pub unchanged: usize,
    pub forgotten: usize,
    /// Files without a text, and why.
    pub skipped: Vec<(String, String)>,
}

/// Indexes what is new or changed, and forgets what is gone. All of it is durable on return.
pub fn bring_up_to_date(index: &Index, sources: &Sources, threads: usize) -> Result<Built> {
    let mut built = index_all(index, sources, threads)?;
    built.skipped.extend_from_slice(sources.skipped());
    built.skipped.sort();
    let mut present: BTreeSet<&str> = sources.files().iter().map(|source| source.name.as_str()).collect();
    for (name, _) in &built.skipped {
        present.remove(name.as_str());
    }
    let mut last = None;
    for name in index.files()?.into_keys().filter(|name| !present.contains(name.as_str())) {
        last = Some(index.forget(&name)?);
        built.forgotten += 1;
    }
    last.map_or(Ok(()), |lsn| index.commit(lsn))?;
    Ok(built)
}

fn index_all(index: &Index, sources: &Sources, threads: usize) -> Result<Built> {
    let work = Work {
        index,
        files: sources.files(),
        next: AtomicUsize::new(0),
        built: Mutex::default(),
        progress: Progress::new("indexing", sources.files().len()),
    };
    let results: Vec<Result<()>> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| work.run())).collect();
        workers.into_iter().map(|worker| worker.join().unwrap_or_else(|_| Err(panicked()))).collect()
    });
    results.into_iter().collect::<Result<Vec<()>>>()?;
    work.built.into_inner().map_err(|_| panicked())
}

fn panicked() -> Failure {
    Failure::Strange("a thread that indexes has panicked".into())
}

/// What the threads share.
struct Work<'a> {
    index: &'a Index,
    files: &'a [Source],
    /// The first file that nobody has taken.
    next: AtomicUsize,
    built: Mutex<Built>,
    progress: Progress,
}

impl Work<'_> {
    /// One thread's work: takes files until there are no more, or until something fails.
    fn run(&self) -> Result<()> {
        let mut uncommitted = 0;
        let mut last = None;
        while let Some(source) = self.files.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            last = self.index(source).inspect_err(|_| self.stop())?.or(last);
            uncommitted += 1;
            if uncommitted >= FILES_PER_COMMIT {
                self.commit(last.take())?;
                uncommitted = 0;
            }
            self.progress.advance(&source.name);
        }
        self.commit(last)
    }

    /// Indexes a file; says where the log has to be stable for it.
    fn index(&self, source: &Source) -> Result<Option<Lsn>> {
        let text = match source.read() {
            Ok(text) => text,
            Err(reason) => {
                self.note(|built| built.skipped.push((source.name.clone(), reason)));
                return Ok(None);
            }
        };
        let lsn = self.index.add(&source.name, &text)?;
        self.note(|built| match lsn {
            Some(_) => {
                built.indexed += 1;
                built.indexed_bytes += text.len() as u64;
            }
            None => built.unchanged += 1,
        });
        Ok(lsn)
    }

    fn commit(&self, lsn: Option<Lsn>) -> Result<()> {
        lsn.map_or(Ok(()), |lsn| self.index.commit(lsn)).inspect_err(|_| self.stop())
    }

    /// Leaves nothing to the other threads.
    fn stop(&self) {
        self.next.store(self.files.len(), Ordering::Relaxed);
    }

    fn note(&self, what: impl FnOnce(&mut Built)) {
        if let Ok(mut built) = self.built.lock() {
            what(&mut built);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::sync::Arc;

    use pagelog::Config;
    use pagelog::sim::SimStorage;

    use super::{Built, bring_up_to_date};
    use crate::index::Index;
    use crate::plan::Plan;
    use crate::sources::Sources;
    use crate::verify;

    const PLAN: Plan = Plan { buckets: 4, shelves: 2, cache: 4 << 10, segment: Some(4 << 10) };

    /// One run of the program, without its output; also returns the answer to a query.
    fn run(texts: &Path, store: &Path, query: &[&str]) -> (Built, String) {
        let sources = Sources::find(Some(texts), store).unwrap();
        let open = || {
            let config = Config::new(store).cache_capacity(PLAN.cache).segment_size(4 << 10);
            Index::open(config, &PLAN).unwrap()
        };
        let index = open();
        let built = bring_up_to_date(&index, &sources, 3).unwrap();
        index.close().unwrap();
        let index = open();
        let verified = verify::compare(&index, &sources).unwrap();
        verified.check().unwrap();
        assert!(verified.changed.is_empty());
        let query: Vec<String> = query.iter().map(|word| (*word).to_owned()).collect();
        (built, index.search(&query).unwrap().to_string())
    }

    #[test]
    fn an_index_follows_its_files() {
        let (texts, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let write = |name: &str, text: &[u8]| fs::write(texts.path().join(name), text).unwrap();
        for number in 0..20 {
            write(&format!("{number}"), format!("lock page\nnumber n{number} of the page").as_bytes());
        }
        write("picture", &[0xFF, 0xD8, 0xFF]);
        let (built, answer) = run(texts.path(), store.path(), &["lock", "n7"]);
        assert_eq!((built.indexed, built.unchanged, built.forgotten), (20, 0, 0));
        assert_eq!(built.skipped, [("picture".to_owned(), "not UTF-8".to_owned())]);
        assert!(answer.starts_with("query lock,n7: 1 files\n  7 "), "{answer}");

        write("7", b"other words");
        write("picture", b"a page in words");
        fs::remove_file(texts.path().join("8")).unwrap();
        let (built, answer) = run(texts.path(), store.path(), &["lock", "n7"]);
        assert_eq!((built.indexed, built.unchanged, built.forgotten), (2, 18, 1));
        assert!(answer.starts_with("query lock,n7: 0 files"), "{answer}");
        let (_, answer) = run(texts.path(), store.path(), &["words"]);
        assert!(answer.starts_with("query words: 2 files"), "{answer}");
    }

    #[test]
    fn a_file_that_became_unreadable_is_forgotten() {
        let (texts, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(texts.path().join("a"), "words").unwrap();
        run(texts.path(), store.path(), &["words"]);
        fs::write(texts.path().join("a"), [0xFF]).unwrap();
        let (built, answer) = run(texts.path(), store.path(), &["words"]);
        assert_eq!(built.forgotten, 1);
        assert!(answer.starts_with("query words: 0 files"), "{answer}");
    }

    /// Opens the index on a simulated disk and brings it in line with the texts, in one thread.
    fn run_on(disk: &SimStorage, texts: &[(&'static str, &'static str)], check: bool) {
        let sources = Sources::of(texts);
        let config =
            Config::with_storage(Arc::new(disk.clone())).cache_capacity(2 << 10).segment_size(2 << 10);
        let index = Index::open(config.io_buffer_size(512), &PLAN).unwrap();
        bring_up_to_date(&index, &sources, 1).unwrap();
        if check {
            verify::compare(&index, &sources).unwrap().check().unwrap();
        }
        index.close().unwrap();
    }

    /// Three runs over texts that change. The power goes at every moment of them; what is left is brought in
    /// line with texts that are different again, and has to agree with them.
    #[test]
    fn after_a_power_cut_at_any_moment_the_next_run_makes_the_index_right() {
        let texts: [&[(&str, &str)]; 4] = [
            &[("a", "one two three"), ("b", "two words"), ("c", "words of c")],
            &[("a", "four five\nfive six"), ("c", "words of c, more of them")],
            &[("a", "one"), ("b", "is back with other words")],
            &[("a", "six seven"), ("b", "words"), ("c", "other words of c")],
        ];
        let disk = SimStorage::new(1);
        disk.record_history();
        texts.iter().take(3).for_each(|texts| run_on(&disk, texts, false));
        let mut images = 0;
        for moment in disk.history().unwrap() {
            for seed in 0..4 {
                let image = disk.image_at(moment, seed).unwrap();
                run_on(&image, texts[3], true);
                images += 1;
            }
        }
        assert!(images > 200, "{images}");
    }
}
