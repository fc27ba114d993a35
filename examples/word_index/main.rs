//! An inverted index over text: a small search engine, on four verbs and no I/O of its own.
//!
//! ```text
//! cargo run --release --example word_index                                      # this crate's own sources
//! cargo run --release --example word_index -- ~/notes --query lock,page         # any directory
//! cargo run --release --example word_index -- ~/notes --store ~/notes.index     # keep it, and bring it up to date later
//! ```
//!
//! # The pages
//!
//! ```text
//!  named root "word index" ──► Directory ──┬──► Words    bucket 0      word → file → the lines it stands on
//!                                          ├──► Words    bucket 1 …    one page for each bucket of words
//!                                          ├──► Files    shelf 0       name → id, fingerprint, buckets it has words in
//!                                          └──► Files    shelf 1 …
//! ```
//!
//! A word belongs to the bucket that its hash names. To index a file is to tell each of its buckets what the
//! file has there: one *blind* [`link`](pagelog::PageCache::link) per bucket. The page is not read for that,
//! and may well not be in memory. It is the cache that merges what was linked, when somebody reads the page,
//! or when so much was linked that writing the page as a whole pays (see [`words`]).
//!
//! # Why there is no transaction
//!
//! Whatever a crash leaves is the log up to some point, without holes. So the order in which things are
//! linked is all that is needed:
//!
//! 1. the file's entry on its shelf: "being indexed; has, or had, words in these buckets",
//! 2. a link for each of these buckets: "this is *all* that file 7 has here", perhaps nothing,
//! 3. the entry again: "indexed, this was the text, these are its buckets".
//!
//! Where (3) is, all of (2) is. Where some of (2) is, (1) is, so the next run knows where to say everything
//! again, and to say it twice does no harm: it replaces what was said before. One test cuts the power at
//! every moment of three runs. Only the making of an empty index is a batch, so that half a directory can't
//! exist.
//!
//! Threads index different files and meet in the buckets. Who loses a race gets the fragment back, and links
//! it again on top of what the other one did.
//!
//! # What a run does
//!
//! 1. [`sources`] finds the texts.
//! 2. [`build`] brings the index in line with them, with a commit every few files.
//! 3. The store is closed and opened again.
//! 4. [`verify`] counts all words anew, the plain way in a plain map, and compares it with every page.
//! 5. [`search`] answers the queries.
//! 6. [`summary`] says what it took.
//!
//! The cache is chosen much smaller than the index and the segments small (see [`plan`]), so that a short run
//! shows what otherwise takes a long one: pages are evicted and read again, segments are emptied, cleaned and
//! reused. A run that should have shown that and did not fails.

mod build;
mod codec;
mod embedded;
mod failure;
mod files;
mod index;
mod options;
mod piece;
mod plan;
mod progress;
mod search;
mod sources;
mod store;
mod summary;
mod tokens;
mod verify;
mod words;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Instant;

use failure::{Failure, Result};
use index::Index;
use options::{Command, Options};
use plan::Plan;
use sources::Sources;
use store::StorePlace;
use summary::Summary;

fn main() -> ExitCode {
    let outcome = match options::parse(std::env::args_os().skip(1)) {
        Ok(Command::Help) => print(options::HELP),
        Ok(Command::Run(options)) => run(&options),
        Err(failure) => Err(failure),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("word_index: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let place = StorePlace::choose(options.store.as_deref())?;
    let sources = Sources::find(options.directory.as_deref(), place.path())?;
    let plan = Plan::new(options, &sources, place.is_new());
    let mut summary = Summary::new(&sources, &plan);

    let start = Instant::now();
    let index = Index::open(plan.config(place.path()), &plan)?;
    let built = build::bring_up_to_date(&index, &sources, options.threads)?;
    index.close()?;
    summary.built(&index, &built, start.elapsed());

    let start = Instant::now();
    let index = Index::open(plan.config(place.path()), &plan)?;
    if !index.was_recovered() {
        return Err(Failure::Verdict("the store was not there when it was opened again".into()));
    }
    let opened = start.elapsed();
    let verified = verify::compare(&index, &sources)?;
    for query in &options.queries {
        print(&index.search(query)?.to_string())?;
    }
    index.close()?;
    summary.verified(&index, &verified, opened, start.elapsed());

    print(&summary.to_string())?;
    place.clean_up()?;
    verified.check()?;
    summary.check()
}

/// Prints to standard output. A reader that has seen enough, like `head`, is no failure.
fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::io("write to", "standard output", error))
        }
        _ => Ok(()),
    }
}
