//! Memory for the nodes of pages and for their contents, cut from regions that the system can map with huge
//! pages.
//!
//! The nodes of a large store lie all over memory, and most of what a lookup or a link costs is waiting for
//! them. A processor remembers where some thousand pages of memory are: enough for a few MiB in pages of 4
//! KiB. Beyond that each look at a node begins with a walk through the system's tables, which are as cold as
//! the node itself, and in a virtual machine each step of that walk is a walk of its own. With pages of 2 MiB
//! the same memory of the processor is enough for gigabytes. Linux gives them to whoever asks for them, for
//! memory that begins at a multiple of their size. The general allocator does not ask, and what it had
//! between its own blocks would never go back.
//!
//! ```text
//!  region (2 MiB): ┌ header ┬─────────┬────────────────┬────────────────┬─── ─ ─ ──┐
//!                  │ spans  │ span 0  │ span 1         │ span 2         │          │
//!                  └────────┴─────────┴────────────────┴────────────────┴─── ─ ─ ──┘
//!  span (64 KiB):                     │ blocks of one size, as many as fit         │
//! ```
//!
//! Where a block belongs follows from its address, so a block needs no word beside it.
//!
//! # Invariants
//!
//! - **(A)** A block is with its user, *or* in its span's list of free blocks, *or* in the part of its span
//!   that was never handed out.
//! - **(B)** A region belongs to one arena for life. Its header and its free blocks are touched under that
//!   arena's lock only.
//! - **(C)** A span that is in use and has room is in the list of its size, a span that is not in use in the
//!   list of unused ones. A full span is in no list.
//! - **(D)** Of the regions that have no block in use an arena keeps one, so that a page that comes and goes
//!   does not map and unmap memory. All others go back to the system.
//! - **(E)** Nobody has to wait for a thread that was stopped inside an arena: to take a block, it goes on to
//!   the next arena; who finds the arena of a block taken may keep the block for now ([`try_free`]).
//!
//! What an arena does is in [`arena`], who goes to which of them is here.
//!
//! An arena is for the process, like the stocks in front of it ([`spare`](super::spare)): a chain can outlive
//! its store in a deferral.

mod arena;

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::NonNull;

use crate::sync::{Mutex, MutexGuard};
use arena::{Arena, MOST_UNITS, UNIT};

/// More than there are threads inside at a time, but for a few that were stopped there.
#[cfg(not(any(loom, shuttle)))]
const ARENAS: usize = 8;

/// What memory is for. Contents go when pages are evicted, and nodes stay: they have regions of their own, so
/// that those of contents can go back as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Nodes,
    Contents,
}

#[cfg(not(any(loom, shuttle)))]
static NODES: [Mutex<Arena>; ARENAS] = [const { Mutex::new(Arena::new()) }; ARENAS];
#[cfg(not(any(loom, shuttle)))]
static CONTENTS: [Mutex<Arena>; ARENAS] = [const { Mutex::new(Arena::new()) }; ARENAS];

/// All arenas for a purpose. A checker's locks can't lie in a static, so it has none.
fn pool(purpose: Purpose) -> &'static [Mutex<Arena>] {
    #[cfg(not(any(loom, shuttle)))]
    return match purpose {
        Purpose::Nodes => &NODES,
        Purpose::Contents => &CONTENTS,
    };
    #[cfg(any(loom, shuttle))]
    return match purpose {
        Purpose::Nodes | Purpose::Contents => &[],
    };
}

/// Whether blocks of a layout come from here, and not from the general allocator.
const fn is_ours(layout: Layout) -> bool {
    layout.size() > 0 && layout.size() <= MOST_UNITS * UNIT && layout.align() <= UNIT
}

/// What a block takes of memory.
pub(super) const fn footprint(layout: Layout) -> u64 {
    if is_ours(layout) { layout.size().next_multiple_of(UNIT) as u64 } else { general_footprint(layout) }
}

/// What an allocation of the general allocator takes of memory: allocators keep a word beside it, and round
/// up to what they align to, which is the same as here.
pub(super) const fn general_footprint(layout: Layout) -> u64 {
    (layout.size() + size_of::<usize>()).next_multiple_of(UNIT) as u64
}

/// How many units a block takes; `None` if the general allocator has it. That has all of them for those who
/// look for uses of memory after its end, and under a checker of interleavings.
const fn units(layout: Layout) -> Option<usize> {
    let is_on = !cfg!(any(miri, loom, shuttle, sanitized));
    if is_on && is_ours(layout) { Some(layout.size().div_ceil(UNIT)) } else { None }
}

/// Takes a block, and up to `more` others if they are at hand, which go to `keep` as long as it says that it
/// keeps them.
pub(super) fn allocate(
    layout: Layout,
    purpose: Purpose,
    more: usize,
    mut keep: impl FnMut(NonNull<u8>) -> bool,
) -> NonNull<u8> {
    let Some(units) = units(layout) else {
        // SAFETY: nodes have a size, and so have contents.
        let memory = unsafe { alloc(layout) };
        return NonNull::new(memory).unwrap_or_else(|| handle_alloc_error(layout));
    };
    let pool = pool(purpose);
    let mut found = pool.iter().enumerate().find_map(|(index, arena)| Some((index, arena.try_lock()?)));
    let (index, arena) = found.get_or_insert_with(|| (0, pool[0].lock()));
    let block = arena.take(units, *index);
    for other in (0..more).map_while(|_| arena.take_at_hand(units)) {
        if !keep(other) {
            // SAFETY: taken just now, and nobody keeps it.
            unsafe { arena.give(other) };
            break;
        }
    }
    block
}

/// Gives a block back. False if another thread is in its arena just now: then it is still the caller's.
///
/// # Safety
/// It came from [`allocate`] with the same layout and purpose, and nobody uses it any more.
pub(super) unsafe fn try_free(block: NonNull<u8>, layout: Layout, purpose: Purpose) -> bool {
    // SAFETY: by the contract.
    unsafe { free_with(block, layout, purpose, Mutex::try_lock) }
}

/// Gives a block back.
///
/// # Safety
/// As for [`try_free`].
pub(super) unsafe fn free(block: NonNull<u8>, layout: Layout, purpose: Purpose) {
    // SAFETY: by the contract.
    unsafe { free_with(block, layout, purpose, |arena| Some(arena.lock())) };
}

/// # Safety
/// As for [`try_free`].
unsafe fn free_with(
    block: NonNull<u8>,
    layout: Layout,
    purpose: Purpose,
    enter: fn(&'static Mutex<Arena>) -> Option<MutexGuard<'static, Arena>>,
) -> bool {
    if units(layout).is_none() {
        // SAFETY: then it is the general allocator's.
        unsafe { dealloc(block.as_ptr(), layout) };
        return true;
    }
    // SAFETY: by the contract, it came from an arena.
    let number = unsafe { arena::number(block) };
    let Some(mut arena) = pool(purpose).get(number).and_then(enter) else { return false };
    // SAFETY: by the contract, it is a block of that arena that nobody uses.
    unsafe { arena.give(block) };
    true
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use std::alloc::Layout;

    use super::{MOST_UNITS, Purpose, UNIT};

    #[test]
    fn other_layouts_are_the_general_allocators() {
        let of = |size, align| Layout::from_size_align(size, align).expect("a layout");
        let largest = MOST_UNITS * UNIT;
        let ours = [of(1, 1), of(40, 8), of(largest, 16)];
        assert_eq!(ours.map(|layout| super::units(layout).is_some()), [!cfg!(any(miri, sanitized)); 3]);
        for layout in [of(largest + 1, 16), of(64, 64)] {
            assert_eq!(super::units(layout), None);
            let block = super::allocate(layout, Purpose::Nodes, 3, |_| panic!("there are no others"));
            // SAFETY: from above.
            assert!(unsafe { super::try_free(block, layout, Purpose::Nodes) });
        }
    }

    /// These look at the arenas of the process.
    #[cfg(not(any(miri, sanitized)))]
    mod of_the_process {
        use std::ptr::NonNull;
        use std::thread;

        use super::super::{NODES, allocate, arena, free, try_free};
        use super::*;
        use crate::pages::region::REGION;

        const LAYOUT: Layout = Layout::new::<[u64; 61]>();

        fn arena_of(block: NonNull<u8>) -> usize {
            // SAFETY: a block of the process's arenas.
            unsafe { arena::number(block) }
        }

        #[test]
        fn nobody_waits_for_who_was_stopped_in_an_arena() {
            let block = allocate(LAYOUT, Purpose::Nodes, 0, |_| false);
            let stopped = NODES[arena_of(block)].lock();
            let sent = &Sent(block);
            // On a thread of its own, which has not locked the arena.
            thread::scope(|scope| {
                let worker = scope.spawn(move || {
                    let other = allocate(LAYOUT, Purpose::Nodes, 0, |_| false);
                    assert_ne!(arena_of(other), arena_of(sent.0));
                    // SAFETY: both are of this layout, and nobody uses them.
                    unsafe {
                        assert!(!try_free(sent.0, LAYOUT, Purpose::Nodes), "its arena is taken");
                        free(other, LAYOUT, Purpose::Nodes);
                    }
                });
                worker.join().expect("no panic");
            });
            drop(stopped);
            // SAFETY: still ours.
            unsafe { free(block, LAYOUT, Purpose::Nodes) };
        }

        struct Sent(NonNull<u8>);

        // SAFETY: a block without contents, that one thread at a time works with.
        unsafe impl Send for Sent {}
        // SAFETY: as above.
        unsafe impl Sync for Sent {}

        #[test]
        fn blocks_wander_between_threads() {
            let rounds = 20_000;
            let (sender, receiver) = std::sync::mpsc::sync_channel::<Sent>(64);
            let free_all = thread::spawn(move || {
                for Sent(block) in receiver {
                    // SAFETY: the sender filled it and uses it no more.
                    unsafe {
                        assert_eq!(block.add(1).read(), block.read());
                        free(block, LAYOUT, Purpose::Nodes);
                    }
                }
            });
            for round in 0..rounds {
                let mut others = Vec::new();
                let first = allocate(LAYOUT, Purpose::Nodes, round % 3, |block| {
                    others.push(block);
                    others.len() < 2
                });
                // The last one was not kept.
                others.truncate(1);
                for block in others.into_iter().chain([first]) {
                    // SAFETY: ours, and long enough.
                    unsafe { block.write_bytes(round as u8, LAYOUT.size()) };
                    sender.send(Sent(block)).expect("a receiver");
                }
            }
            drop(sender);
            free_all.join().expect("no panic");
        }

        #[test]
        fn contents_and_nodes_lie_in_regions_of_their_own() {
            // All are taken before one is freed, so no region becomes another's meanwhile.
            let take = |purpose| [(); 100].map(|()| allocate(LAYOUT, purpose, 0, |_| false));
            let (nodes, contents) = (take(Purpose::Nodes), take(Purpose::Contents));
            let region_of = |block: NonNull<u8>| block.addr().get() & !(REGION - 1);
            let of_nodes = nodes.map(region_of);
            assert!(contents.iter().all(|block| !of_nodes.contains(&region_of(*block))));
            // SAFETY: from above.
            unsafe {
                nodes.into_iter().for_each(|block| free(block, LAYOUT, Purpose::Nodes));
                contents.into_iter().for_each(|block| free(block, LAYOUT, Purpose::Contents));
            }
        }

        /// Unless the system has no huge pages at all.
        #[test]
        #[cfg(target_os = "linux")]
        fn the_system_is_asked_for_huge_pages() {
            let Ok(maps) = std::fs::read_to_string("/proc/self/smaps") else { return };
            if !maps.contains("AnonHugePages:") {
                return;
            }
            let block = allocate(LAYOUT, Purpose::Nodes, 0, |_| false);
            let region = block.addr().get() & !(REGION - 1);
            let maps = std::fs::read_to_string("/proc/self/smaps").expect("maps");
            let hex = |text: &str| usize::from_str_radix(text, 16).ok();
            let mut is_in = false;
            let flags = maps.lines().find_map(|line| {
                let range = line.split(' ').next().and_then(|range| range.split_once('-'));
                if let Some((from, to)) = range.and_then(|(from, to)| hex(from).zip(hex(to))) {
                    is_in = (from..to).contains(&region);
                }
                line.strip_prefix("VmFlags:").filter(|_| is_in)
            });
            let flags = flags.expect("flags of the memory");
            assert!(flags.split(' ').any(|flag| flag == "hg"), "{flags}");
            // SAFETY: from above.
            unsafe { free(block, LAYOUT, Purpose::Nodes) };
        }
    }
}
