//! How many cache lines each verb shares with the same verb on another thread: counted, and compared with
//! what `src/docs/scaling.md` says.
//!
//! Two threads take turns, each with pages of its own, far apart, so what they still share is what the store
//! makes them share. Each operation is recorded at the door of atomics, and the recordings are played to a
//! model of two caches: a line has to be *taken* if it is written and the other thread has touched it since,
//! and *fetched* if it is only read and the other has written it since. Lines that both only read stay in
//! every processor's cache and cost nothing; those that nobody else touches are the thread's own. Of a verb's
//! operations the usual figure of each kind counts, so that what comes once in many operations (a write
//! buffer is full, the collector frees what others have given up) does not make it a matter of luck; but the
//! mean may not be far above.
//!
//! The table in the documentation is what this test expects. When a figure changes, it prints the table as it
//! is now: a higher one is a reason to think again, a lower one is to be written down, else the next rise
//! hides behind it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::Text;
use crate::config::Config;
use crate::ids::{PageId, Version};
use crate::pagecache::Cas;
use crate::pagecache::shared::PageCache;
use crate::storage::MemoryStorage;
use crate::sync::noted::{Access, recorded};

const CACHE_LINE: usize = 64;
/// Pages that both threads have between theirs: more than one range, and more than a line of the page table.
const APART: usize = 2048;
const PAGES: usize = OPERATIONS;
const OPERATIONS: usize = 128;
const DOCUMENT: &str = include_str!("../../docs/scaling.md");

/// Whose a word is, by the file that touches it.
const KINDS: &[(&str, &str)] = &[
    ("src/sync/epoch.rs", "epoch"),
    ("src/stats/", "statistics"),
    ("src/log/gate.rs", "gate"),
    ("src/log/buffer_state.rs", "write buffer"),
    ("src/log/buffer.rs", "write buffer"),
    ("src/log/ring/", "ring"),
    ("src/log/large/", "large values"),
    ("src/log/batch.rs", "batch"),
    ("src/log/durability.rs", "durability"),
    ("src/log/event.rs", "durability"),
    ("src/log/commit", "durability"),
    ("src/log/manifest_file.rs", "supply of segments"),
    ("src/log/supply/", "supply of segments"),
    ("src/log/core/", "log"),
    ("src/segments/", "segment accounts"),
    ("src/pages/budget.rs", "memory account"),
    ("src/pages/free_list.rs", "free list"),
    ("src/pages/changes.rs", "range's mark"),
    ("src/pages/arrivals.rs", "announcements"),
    ("src/pages/evict", "announcements"),
    ("src/pages/spare.rs", "spare memory"),
    ("src/pages/slabs/", "spare memory"),
    ("src/pages/table.rs", "page table"),
    ("src/pages/", "page"),
    ("src/pagecache/gc.rs", "collector"),
    ("src/pagecache/clean.rs", "collector"),
    ("src/pagecache/snapshot.rs", "snapshots"),
    ("src/pagecache/budget.rs", "announcements"),
    ("src/pagecache/allocate.rs", "next page id"),
    ("src/storage/", "storage"),
];

fn kind_of(access: &Access) -> &'static str {
    let file = access.file.replace('\\', "/");
    let found = KINDS.iter().find(|(prefix, _)| file.starts_with(prefix));
    found.unwrap_or_else(|| panic!("{file}:{} has no kind: say in KINDS whose it is", access.line)).1
}

type Pages = Vec<(PageId, Version)>;

/// What is counted, and what is done to both threads' pages before.
struct Verb {
    name: &'static str,
    prepare: fn(&PageCache<Text>, &mut (PageId, Version)),
    run: fn(&PageCache<Text>, &mut (PageId, Version)),
}

const VERBS: &[Verb] = &[
    Verb { name: "`version`", prepare: nothing, run: version },
    Verb { name: "`get`, a hit", prepare: read_often, run: get },
    Verb { name: "`link`", prepare: nothing, run: link },
    Verb { name: "`replace`", prepare: nothing, run: replace },
    Verb { name: "`allocate`, a new id", prepare: nothing, run: allocate },
    Verb { name: "`allocate`, an id again", prepare: free, run: allocate },
    Verb { name: "`free`", prepare: nothing, run: free },
    Verb { name: "`link` and `make_stable`", prepare: nothing, run: commit },
];

fn nothing(_: &PageCache<Text>, _: &mut (PageId, Version)) {}

/// After some reads the evictor knows enough of a page.
fn read_often(cache: &PageCache<Text>, page: &mut (PageId, Version)) {
    (0..8).for_each(|_| get(cache, page));
}

fn get(cache: &PageCache<Text>, page: &mut (PageId, Version)) {
    assert!(cache.pin().get(page.0).unwrap().is_some_and(|found| found.merged().0.len() >= 40));
}

fn version(cache: &PageCache<Text>, page: &mut (PageId, Version)) {
    assert_eq!(cache.version(page.0).unwrap(), Some(page.1));
}

fn link(cache: &PageCache<Text>, page: &mut (PageId, Version)) {
    page.1 = cache.link(page.0, page.1, Text(vec![1; 20])).unwrap().done().unwrap();
}

fn replace(cache: &PageCache<Text>, page: &mut (PageId, Version)) {
    page.1 = cache.replace(page.0, page.1, Text(vec![1; 40])).unwrap().done().unwrap();
}

fn allocate(cache: &PageCache<Text>, page: &mut (PageId, Version)) {
    let allocated = cache.allocate(Text(vec![1; 40])).unwrap();
    *page = (allocated.page_id, allocated.version);
}

fn free(cache: &PageCache<Text>, page: &mut (PageId, Version)) {
    assert!(cache.free(page.0, page.1).unwrap().is_done());
}

fn commit(cache: &PageCache<Text>, page: &mut (PageId, Version)) {
    let Cas::Done { version, lsn } = cache.link(page.0, page.1, Text(vec![1; 20])).unwrap() else {
        panic!("nobody else writes");
    };
    cache.make_stable(lsn).unwrap();
    page.1 = version;
}

/// A store in which both threads have pages.
fn store(verb: &Verb) -> (PageCache<Text>, [Pages; 2]) {
    let config = Config::with_storage(Arc::new(MemoryStorage::new())).cache_capacity(256 << 20);
    let cache: PageCache<Text> = config.open().unwrap();
    let all: Pages = (0..2 * APART)
        .map(|_| cache.allocate(Text(vec![0; 40])).unwrap())
        .map(|page| (page.page_id, page.version))
        .collect();
    // A few links: a page's usual state.
    let few = |page: &(PageId, Version)| {
        let mut page = *page;
        (0..3).for_each(|_| link(&cache, &mut page));
        page
    };
    let own = |first: usize| all[first..first + PAGES].iter().map(few).collect();
    let mut pages = [own(0), own(APART)];
    pages.iter_mut().flatten().for_each(|page| (verb.prepare)(&cache, page));
    // Nothing is to wait for its first sync.
    cache.flush().unwrap();
    (cache, pages)
}

/// The accesses of each operation, of both threads, which took turns.
type Recorded = [Vec<Vec<Access>>; 2];

fn record(verb: &Verb) -> Recorded {
    let (cache, pages) = store(verb);
    let turn = AtomicUsize::new(0);
    let work = |thread: usize, mut pages: Pages| {
        let mut records = Vec::new();
        // Each page once, so that it is as it was prepared.
        for (operation, page) in pages.iter_mut().enumerate() {
            let mine = 2 * operation + thread;
            while turn.load(Ordering::Acquire) != mine {
                thread::yield_now();
            }
            records.push(recorded(|| (verb.run)(&cache, page)));
            turn.store(mine + 1, Ordering::Release);
        }
        records
    };
    let [first, second] = pages;
    thread::scope(|scope| {
        let work = &work;
        let threads = [scope.spawn(move || work(0, first)), scope.spawn(move || work(1, second))];
        threads.map(|thread| thread.join().unwrap())
    })
}

/// Cache lines of one kind that an operation touches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Lines {
    /// Written, and since the last time touched by the other thread.
    taken: usize,
    /// Only read, and since the last time written by the other thread.
    fetched: usize,
    /// Written, and not touched by the other thread since.
    own: usize,
}

/// A cache line, as the model knows it: what the other thread has done since this one was there, for each of
/// the two.
#[derive(Clone, Copy, Default)]
struct Since {
    touched: [bool; 2],
    written: [bool; 2],
}

/// Plays one operation to the model. The lines that it touched, by kind.
fn play(
    lines: &mut BTreeMap<usize, Since>,
    thread: usize,
    accesses: &[Access],
) -> BTreeMap<&'static str, Lines> {
    let mut touched: BTreeMap<usize, (bool, &'static str)> = BTreeMap::new();
    // Which bucket of a histogram a duration falls into is up to the clock.
    for access in accesses.iter().filter(|access| !access.file.ends_with("histogram.rs")) {
        let entry = touched.entry(access.address / CACHE_LINE).or_insert((false, kind_of(access)));
        entry.0 |= access.is_write;
    }
    let mut kinds: BTreeMap<&'static str, Lines> = BTreeMap::new();
    for (line, (is_write, kind)) in touched {
        let (since, counted) = (lines.entry(line).or_default(), kinds.entry(kind).or_default());
        match is_write {
            true if since.touched[thread] => counted.taken += 1,
            true => counted.own += 1,
            false if since.written[thread] => counted.fetched += 1,
            false => {}
        }
        (since.touched[thread], since.written[thread]) = (false, false);
        since.touched[1 - thread] = true;
        since.written[1 - thread] |= is_write;
    }
    kinds
}

/// The usual figures of a verb, by kind, and the mean of all lines that have to be taken.
struct Counted {
    usual: BTreeMap<&'static str, Lines>,
    mean: f64,
}

fn count(recorded: &Recorded) -> Counted {
    let mut lines = BTreeMap::new();
    let mut seen: BTreeMap<&'static str, BTreeMap<Lines, usize>> = BTreeMap::new();
    let (mut operations, mut taken) = (0, 0);
    for turn in 0..OPERATIONS {
        for (thread, records) in recorded.iter().enumerate() {
            let kinds = play(&mut lines, thread, &records[turn]);
            // The first ones meet what is new to their thread.
            if turn >= OPERATIONS / 8 {
                operations += 1;
                taken += kinds.values().map(|lines| lines.taken).sum::<usize>();
                kinds.into_iter().for_each(|(kind, lines)| {
                    *seen.entry(kind).or_default().entry(lines).or_default() += 1;
                });
            }
        }
    }
    let usual = seen.into_iter().filter_map(|(kind, counts)| {
        let absent = operations - counts.values().sum::<usize>();
        let most = *counts.values().max()?;
        // Of two that are about as frequent, the lower one: every second block of 48 bytes lies on two lines.
        let (lines, times) = counts.into_iter().find(|(_, times)| times * 4 >= most * 3)?;
        (times > absent && lines != Lines::default()).then_some((kind, lines))
    });
    Counted { usual: usual.collect(), mean: taken as f64 / operations as f64 }
}

/// The table of the document, as it is now.
fn table() -> String {
    let mut table = String::new();
    for verb in VERBS {
        let Counted { usual, mean } = count(&record(verb));
        let of = |figure: fn(&Lines) -> usize| {
            let kinds = usual.iter().filter(|(_, lines)| figure(lines) > 0);
            let texts: Vec<_> = kinds.map(|(kind, lines)| format!("{} {kind}", figure(lines))).collect();
            let total = usual.values().map(figure).sum::<usize>();
            if total == 0 { "0".into() } else { format!("**{total}**: {}", texts.join(", ")) }
        };
        let (taken, fetched, own) =
            (of(|lines| lines.taken), of(|lines| lines.fetched), of(|lines| lines.own));
        writeln!(table, "| {} | {taken} | {fetched} | {own} |", verb.name).unwrap();
        let usually = usual.values().map(|lines| lines.taken).sum::<usize>();
        assert!(mean < usually as f64 + 1.0, "{}: {mean} lines on average, {usually} usually", verb.name);
    }
    table
}

const ROLE: &str = "PAGELOG_CONTENTION";

/// In a process of its own: there the threads' shards are their own, and memory lies where it lay the last
/// time. Elsewhere allocators and cache lines are different ones, and a storage with failpoints is one more
/// thing to share.
#[test]
#[cfg_attr(
    any(sanitized, miri, feature = "failpoints", not(all(target_os = "linux", target_arch = "x86_64"))),
    ignore = "the figures are those of 64-byte lines and glibc, without failpoints"
)]
fn each_verb_shares_the_cache_lines_that_the_documentation_says() {
    let this = std::env::current_exe().unwrap();
    let output = Command::new(this)
        .args([
            "--exact",
            "pagecache::tests::contention::prints_the_table",
            "--nocapture",
            "--include-ignored",
        ])
        .env(ROLE, "child")
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    let rows = |text: &str| -> Vec<String> {
        let is_row = |line: &&str| VERBS.iter().any(|verb| line.starts_with(&format!("| {} |", verb.name)));
        text.lines().filter(is_row).map(str::to_owned).collect()
    };
    let (now, said) = (rows(&printed), rows(DOCUMENT));
    assert_eq!(now.len(), VERBS.len(), "{printed}");
    assert!(now == said, "src/docs/scaling.md says\n{}\nand it is\n{}", said.join("\n"), now.join("\n"));
}

#[test]
#[ignore = "a part of the other test, which runs it in a process of its own"]
fn prints_the_table() {
    if std::env::var(ROLE).is_ok() {
        println!("\n{}", table());
    }
}
