//! Any bytes are done with in two seconds, and take no more memory than twice their length and 16 MiB, beside
//! a disk that is in memory.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const SLOWEST: Duration = Duration::from_secs(2);
const SPARE: usize = 16 << 20;

struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn grow(bytes: usize) {
    let now = NOW.fetch_add(bytes, Ordering::Relaxed) + bytes;
    PEAK.fetch_max(now, Ordering::Relaxed);
}

// SAFETY: all is done by the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        // SAFETY: the caller's contract.
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        // SAFETY: the caller's contract.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's contract.
        unsafe { System.dealloc(pointer, layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        grow(size);
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's contract.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// Runs something on so many bytes of input. Panics if it takes too long or too much memory.
pub fn limited(bytes: usize, work: impl Fn()) {
    limited_beside_disk(bytes, || {
        work();
        0
    });
}

/// The same for what works with a disk in memory, and says how long that has become.
///
/// Story: a store whose segments were damaged into ones of 2.6 MB, with a checksum made right, was opened and
/// written to. Seven of them, filled with zeros, were counted as memory that 38 KB of input had taken.
pub fn limited_beside_disk(bytes: usize, work: impl Fn() -> usize) {
    let before = NOW.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let began = Instant::now();
    let disk = work();
    let used = PEAK.load(Ordering::Relaxed).saturating_sub(before);
    let bound = 2 * bytes + SPARE + disk;
    assert!(used <= bound, "{used} bytes were allocated for an input of {bytes}, beside a disk of {disk}");
    if began.elapsed() > SLOWEST {
        // Perhaps others had the processor: once more, by this thread's own time.
        let before = own_time();
        work();
        let took = own_time().saturating_sub(before);
        assert!(took <= SLOWEST, "it took {took:?}");
    }
}

/// The processor's time that this thread has had.
fn own_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split(' ').next().and_then(|number| number.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or_default())
}
