//! Pages in memory: what a page is made of, where all pages are found, and how their memory is given back.
//!
//! | File | What it holds |
//! |---|---|
//! | `fragment` | what users tell about their type: merging, encoding, size |
//! | `cell` | where a record lies now, and the race between moving it and its death |
//! | `content` | what is in a page, on its way, or as it hangs at a link |
//! | `base` | the oldest node of a chain, with the page's contents or without |
//! | `node` | the memory layout of a page's chain, and who may touch what |
//! | `bundle` | a page with links as recovery found it |
//! | `table` | page id → head of the chain |
//! | `node_ref` | one node of a chain, whatever it is made of |
//! | `chain` | reading along a chain |
//! | `parts` | a page that is in memory in parts, links on top of a merged page |
//! | `publish` | the two ways of making a new head: a link, and a new base |
//! | `evict` | dropping contents that can be read back |
//! | `exchange` | one copy of a base for another, with the contents or without |
//! | `retire` | freeing what was unlinked, once no reader can see it |
//! | `restore` | chains of pages that were recovered, without contents |
//! | `packed`, `range_bytes` | recovered pages before they are used, and where they lie |
//! | `segment_map` | what is known of each segment that was recovered |
//! | `changes` | which ranges of the table a snapshot has to write down |
//! | `free_list` | ids to use again |
//! | `bulk` | how much of a record lies in a file of its own |
//! | `budget` | how many bytes all that takes |
//! | `arrivals` | which pages have contents, and the news of it |
//! | `eviction` | which page's contents to drop next |
//! | `queues`, `ghosts` | the policy behind that, as plain data |
//! | `region`, `slabs` | memory straight from the system, and in it that of nodes and contents, in huge pages |
//! | `spare` | memory of nodes and contents kept for the next ones |
//! | `prefetch` | telling the processor what will be needed |

mod arrivals;
pub(crate) mod base;
pub(crate) mod budget;
pub(crate) mod bulk;
mod bundle;
pub(crate) mod cell;
pub(crate) mod chain;
mod changes;
pub(crate) mod content;
mod evict;
pub(crate) mod eviction;
mod exchange;
mod fragment;
pub(crate) mod free_list;
mod ghosts;
pub(crate) mod node;
pub(crate) mod node_ref;
pub(crate) mod packed;
pub(crate) mod parts;
mod prefetch;
pub(crate) mod publish;
mod queues;
pub(crate) mod range_bytes;
mod region;
pub(crate) mod restore;
pub(crate) mod retire;
pub(crate) mod segment_map;
mod slabs;
mod spare;
pub(crate) mod table;
#[cfg(test)]
#[cfg(not(loom))]
mod tests;
#[cfg(not(loom))]
mod zeroed;

#[cfg(feature = "bincode")]
pub use fragment::Bincode;
pub use fragment::{Codec, CodecError, Fragment};
