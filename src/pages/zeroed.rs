//! Large tables that begin as zeros, straight from the allocator: the system maps them lazily, so a sparse
//! table costs only the parts that were touched, and nothing passes over the stack.

use std::alloc::{Layout, alloc_zeroed, handle_alloc_error};

/// A `T` whose bytes are all zero.
///
/// # Safety
/// All zeros must be a valid `T`. That holds for arrays of std's atomic integers, and for atomic pointers
/// (null).
pub(super) unsafe fn zeroed<T>() -> Box<T> {
    let layout = Layout::new::<T>();
    assert!(layout.size() > 0, "a table has entries");
    // SAFETY: the size is not zero. The box frees it with the same layout; the contents are valid by the
    // contract.
    unsafe {
        let memory = alloc_zeroed(layout).cast::<T>();
        if memory.is_null() {
            handle_alloc_error(layout);
        }
        Box::from_raw(memory)
    }
}
