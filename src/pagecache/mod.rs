//! The page cache: one file for each verb.
//!
//! | file | what |
//! |---|---|
//! | `open`, `close` | the life of an instance |
//! | `shared` | what the verbs have in common |
//! | `allocate`, `link`, `replace`, `free` | the writing verbs, which need no guard |
//! | `guard`, `get`, `page` | reading |
//! | `fetch` | reading what is not in memory |
//! | `consolidation` | when a link is written as the whole page |
//! | `outcome` | how a compare-and-swap can end |
//! | `batch`, `flush` | crash atomicity, durability |
//! | `meta`, `id` | named roots, generated ids |
//! | `large` | values in files of their own |
//! | `budget` | keeping to the memory budget |
//! | `gc`, `clean` | when to collect garbage, and how: moving live records out of the way |
//! | `shrink` | making the log file shorter |
//! | `background` | a thread of its own for the housekeeping, if wanted |
//! | `snapshot` | writing down the page table, so that opening is quick |
//! | `train` | learning a compression dictionary |
//! | `backup` | a copy of a running store |
//! | `export`, `import` | what a store holds, as a stream, and back |
//! | `follow` | what is done, as it becomes stable |
//! | `verify` | a full check of a running store |
//! | `statistics` | what an instance does and holds |

mod allocate;
mod background;
mod backup;
mod batch;
mod budget;
mod clean;
mod close;
mod consolidation;
mod export;
mod fetch;
mod flush;
mod follow;
mod free;
mod gc;
mod get;
mod guard;
mod id;
mod import;
mod large;
mod link;
mod meta;
mod open;
mod outcome;
mod page;
mod replace;
mod shared;
mod shrink;
mod snapshot;
mod statistics;
mod survivors;
#[cfg(all(test, not(loom)))]
mod tests;
#[cfg(feature = "compression")]
mod train;
mod verify;

pub use export::ExportReport;
pub use follow::{Change, ChangeKind, Event, Follower};
pub use guard::Guard;
pub use import::ImportReport;
pub use meta::{RootCas, Roots};
pub use outcome::{Allocated, Cas};
pub use page::{Fragments, Page};
pub use shared::PageCache;
pub use statistics::Stats;
pub use verify::{VerifyOptions, VerifyReport};
