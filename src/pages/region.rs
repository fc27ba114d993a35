//! Memory straight from the system: 2 MiB each, aligned to their size, of which the system can make huge
//! pages.
//!
//! That is three calls of the system's library on 64-bit Linux. Elsewhere, and in the interpreter that checks
//! our pointers, the general allocator does it.

use std::ptr::NonNull;

/// The size of a region, and what it is aligned to. The interpreter would take too long to go through larger
/// ones.
pub(super) const REGION: usize = if cfg!(miri) { 256 << 10 } else { 2 << 20 };

pub(super) use system::{map, map_huge, unmap};

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"), not(miri)))]
mod system {
    use std::alloc::{Layout, handle_alloc_error};
    use std::ffi::{c_int, c_void};
    use std::ptr;

    use super::{NonNull, REGION};

    // As Linux has them on these processors.
    const PROT_READ_AND_WRITE: c_int = 1 | 2;
    const MAP_PRIVATE_AND_ANONYMOUS: c_int = 2 | 0x20;
    const MADV_HUGEPAGE: c_int = 14;

    unsafe extern "C" {
        fn mmap(
            at: *mut c_void,
            length: usize,
            protection: c_int,
            flags: c_int,
            file: c_int,
            offset: i64,
        ) -> *mut c_void;
        fn munmap(at: *mut c_void, length: usize) -> c_int;
        fn madvise(at: *mut c_void, length: usize, advice: c_int) -> c_int;
    }

    /// Takes a region. It holds zeros.
    pub(in super::super) fn map() -> NonNull<u8> {
        // Twice as much as is wanted has a region in it, wherever it begins.
        // SAFETY: fresh memory wherever the system likes, which touches nothing else.
        let all = unsafe {
            mmap(ptr::null_mut(), 2 * REGION, PROT_READ_AND_WRITE, MAP_PRIVATE_AND_ANONYMOUS, -1, 0)
        };
        // What says that it failed is the last address there is, and no multiple of anything.
        let Some(all) = NonNull::new(all.cast::<u8>()).filter(|all| all.addr().get() != usize::MAX) else {
            handle_alloc_error(Layout::new::<[u8; REGION]>())
        };
        let before = all.addr().get().next_multiple_of(REGION) - all.addr().get();
        // SAFETY: the region is inside of what was mapped, and so is what lies before and behind it, which
        // nobody knows of. Memory is mapped in pages of which a region is a multiple. Should the rest not go
        // back, it is never touched, and costs addresses.
        unsafe {
            let region = all.add(before);
            if before > 0 {
                munmap(all.as_ptr().cast(), before);
            }
            munmap(region.add(REGION).as_ptr().cast(), REGION - before);
            region
        }
    }

    /// The same, in one huge page if the system has one: for what is read all over. It is all there at the
    /// first touch.
    pub(in super::super) fn map_huge() -> NonNull<u8> {
        let region = map();
        // SAFETY: the region is ours. The advice changes nothing of what is there; without huge pages all is
        // slower.
        let _ = unsafe { madvise(region.as_ptr().cast(), REGION, MADV_HUGEPAGE) };
        region
    }

    /// Gives a region back.
    ///
    /// # Safety
    /// It came from [`map`], and nobody uses it any more.
    pub(in super::super) unsafe fn unmap(region: NonNull<u8>) {
        // SAFETY: by the contract.
        let _ = unsafe { munmap(region.as_ptr().cast(), REGION) };
    }
}

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"), not(miri))))]
mod system {
    use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};

    use super::{NonNull, REGION};

    const LAYOUT: Layout = match Layout::from_size_align(REGION, REGION) {
        Ok(layout) => layout,
        Err(_) => panic!("no such layout"),
    };

    /// Takes a region.
    pub(in super::super) fn map() -> NonNull<u8> {
        // SAFETY: the size is not zero.
        let memory = unsafe { alloc(LAYOUT) };
        NonNull::new(memory).unwrap_or_else(|| handle_alloc_error(LAYOUT))
    }

    /// The same.
    pub(in super::super) fn map_huge() -> NonNull<u8> {
        map()
    }

    /// Gives a region back.
    ///
    /// # Safety
    /// It came from [`map`], and nobody uses it any more.
    pub(in super::super) unsafe fn unmap(region: NonNull<u8>) {
        // SAFETY: by the contract.
        unsafe { dealloc(region.as_ptr(), LAYOUT) };
    }
}

#[cfg(test)]
mod tests {
    use super::{REGION, map, unmap};

    #[test]
    fn regions_are_aligned_apart_and_ours() {
        let regions = [(); 5].map(|()| map());
        for (number, region) in regions.iter().enumerate() {
            assert!(region.addr().get().is_multiple_of(REGION));
            for other in &regions[..number] {
                assert!(region.addr().get().abs_diff(other.addr().get()) >= REGION);
            }
            // SAFETY: ours, as long as that.
            unsafe {
                region.write(number as u8);
                region.add(REGION - 1).write(number as u8);
            }
        }
        for (number, region) in regions.into_iter().enumerate() {
            // SAFETY: ours, as long as that, and not used any more.
            unsafe {
                assert_eq!([region.read(), region.add(REGION - 1).read()], [number as u8; 2]);
                unmap(region);
            }
        }
    }
}
