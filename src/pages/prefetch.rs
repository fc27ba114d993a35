//! Asking the processor to load memory before it is needed.
//!
//! Pages lie all over memory, and a load that misses all caches takes longer than everything else that a link
//! does. Who knows the next address early says so here, and does something else meanwhile.

use std::mem::size_of;

/// What is loaded at once.
const LINE: usize = 64;
/// Of something larger, only so many lines: the rest is found by the processor's own guess, or is not worth
/// it.
const LINES: usize = 3;

/// Asks for the memory behind a pointer. A hint without any other effect, also if nothing lies there.
#[inline]
pub(super) fn prefetch<T>(at: *const T) {
    let (first, size) = (at.cast::<u8>(), size_of::<T>());
    for line in 0..size.div_ceil(LINE).min(LINES) {
        hint(first.wrapping_add(line * LINE));
    }
    if size.div_ceil(LINE) <= LINES {
        // What does not begin with a line may end in one more.
        hint(first.wrapping_add(size.saturating_sub(1)));
    }
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline]
fn hint(at: *const u8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: the instruction reads nothing and faults on no address.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
}

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
#[inline]
fn hint(_: *const u8) {}
