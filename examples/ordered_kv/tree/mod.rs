//! An ordered key-value store on pagelog: a tree of pages, in which every change is one compare-and-swap.
//!
//! ```text
//!   named root ──►  root  ""→A  "m"→B                    inner nodes: separator → child
//!                     │           │
//!             ┌───────▼──┐   ┌────▼─────┐
//!             │ A  ""…m  ├──►│ B  m…    │                 each node knows its bounds and its right sibling
//!             └─▲──────▲─┘   └──────────┘
//!            put(c)  delete(f)                           what was linked to a leaf and not merged yet
//! ```
//!
//! It is a B-link tree (Lehman and Yao, "Efficient Locking for Concurrent Operations on B-Trees", 1981) whose
//! pages collect changes before they are merged, as in a Bw-tree (Levandoski, Lomet and Sengupta, "The
//! Bw-Tree: A B-tree for New Hardware Platforms", 2013).
//!
//! # Nodes
//!
//! A page is a *node*: sorted entries in one buffer of bytes ([`block`]), with a level (0: a leaf), a low
//! bound, a high bound, and a link to the right sibling. A put or a delete *links* a small change; the cache
//! merges changes when it writes the page as a whole, and readers merge when they would have to look through
//! many. An inner node's entries map the low bound of each child to the child, and change in the same way.
//!
//! Page ids are used again, so a *link* from node to node is a page id **and** the serial number that the
//! node was made with. Serial numbers never come twice ([`generate_id`](pagelog::PageCache::generate_id)).
//! Who follows a link to a page with another serial number, or to none, has been overtaken and begins again
//! at the root.
//!
//! # Invariants
//!
//! - **(A) One chain a level.** From the leftmost node of each level the right links lead through adjoining
//!   ranges, from the empty key to the end. What is on that chain is all of the level.
//! - **(B) Parents are hints.** An inner node's entry `k → c` means: `c` is on the chain and its low bound is
//!   `k`. Its first entry's key is its own low bound. Some nodes have no entry; they are found through their
//!   left sibling.
//! - **(C) The root stays.** A tree's root is one page for ever. It grows by moving its contents into new
//!   nodes below it, and shrinks by taking over those of its only child.
//! - **(D) A sealed node does not change**, but to be unsealed. It may be on the chain still, or may just
//!   have left it.
//! - **(E) Structure has an order.** A node leaves the chain in the order: sealed; no entry in a parent; its
//!   contents in its left sibling; freed.
//!
//! # Writes
//!
//! A writer finds the leaf, sees that it is not sealed and covers the key, and links on top of *that
//! version*. If it succeeds, the leaf was what it has seen, so by (D) and (E) it is on the chain: no update
//! is lost. If not, it begins again. Compare-and-swap of a key's value is the same, with a look at the value
//! in between.
//!
//! # Splits ([`split`])
//!
//! Allocate the right half, whose right link is the node's; then replace the node by its left half, whose
//! right link is the new one. The second step puts the right half on the chain and cuts the left one in a
//! single compare-and-swap. The entry in the parent is posted afterwards; until then, and if it never is
//! because of a crash, (B) holds. A writer that had to take a right link posts what is missing, at any level,
//! and so does a join beside it. A root that splits gets two new children, and becomes their parent in one
//! replacement.
//!
//! # Joins ([`join`])
//!
//! A node that has become small is joined to its left sibling in the order of (E). After a crash each step's
//! state is a correct tree, so no batch is needed:
//!
//! | after | what readers find | what finishes it |
//! |---|---|---|
//! | sealed | all of it | a write to it: goes on, or unseals it if it has become its parent's first child; or a join beside or below it |
//! | entry removed | all of it, through the left sibling | a write to it, or a join beside or below it |
//! | contents moved | the left sibling; the node is on no chain | [`sweep`](Forest::sweep) |
//!
//! Posting and joining take one lock, the [`Structure`](forest::Structure): else an entry could be posted for
//! a node that has just been joined, or two threads could finish the same join differently. Reads, writes and
//! the chain's half of a split take no lock.
//!
//! # Why a reader may believe a sealed node
//!
//! It may have left the chain, and newer values may be in its left sibling.
//!
//! - *Reached by a right link*: when that link was read it was on the chain. If it was sealed by then, its
//!   contents were valid at that moment, which is part of the read. If it was sealed later, they were valid
//!   when that happened, which is, too.
//! - *Reached from a parent*: the reader looks whether the parent still has the version in which it found the
//!   entry. If so, the entry was not removed yet, and by (E) the contents had not moved. If not, it begins
//!   again.
//!
//! # Dropping ([`remove`])
//!
//! A tree is dropped in the order: its name, its root, then each level from the left to the right. Each step
//! is one compare-and-swap, and under the lock on structure. As soon as the name is gone nobody finds the
//! tree, and what was there is freed by one thread. As soon as the root is gone, which is freed at the
//! version at which the first node of each level was looked up, levels do not become more, and whoever still
//! has a handle of the tree begins again there and gets an error, not an empty map. A writer who is past the
//! root may go on for a moment: it links to a leaf, so that freeing that loses its race and looks again; or
//! splits it, and then the new node is to the right of one that is still on the chain.
//!
//! # What is left over
//!
//! A crash between two steps can leave pages that no chain has: right halves that were not attached, nodes
//! that were not freed, of trees that were being dropped, too. The log is a prefix, so a tree that lost a
//! page lost its name before. They cost space only. [`check`](Forest::check) counts them,
//! [`sweep`](Forest::sweep) frees them.
//!
//! # What a scan sees
//!
//! Each leaf at one moment, but not all of them at the same moment. Keys that are there all the time are
//! found exactly once.

#![allow(dead_code, unused_imports, reason = "each program that uses it uses a part of it")]

pub mod block;
mod check;
mod error;
mod find;
mod forest;
mod join;
mod load;
mod node;
mod remove;
mod scan;
mod split;
#[cfg(test)]
mod tests;
mod write;

pub use check::Report;
pub use error::{Error, Result};
pub use forest::{Figures, Forest, Tree, Tuning};
pub use node::Node;
pub use scan::{Direction, Range, Scan};
pub use write::Swap;
