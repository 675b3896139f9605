//! The program's allocator: mimalloc, whose memory comes and goes on different threads cheaply, as messages do, and goes
//! back to the system.
//!
//! Unsafe: an allocator is, by its nature. The crate of that name is not used, as it asks for every alignment by name:
//! for sizes that are no power of two mimalloc then asks itself for more, and a message took 170 instructions instead of 30.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout};

use libmimalloc_sys::{
    mi_free, mi_malloc, mi_malloc_aligned, mi_realloc, mi_realloc_aligned, mi_zalloc, mi_zalloc_aligned,
};

/// What all memory of mimalloc is aligned to that is at least as large, in bytes.
const ALIGNED_ANYWAY: usize = 8;

/// mimalloc.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allocator;

// SAFETY: mimalloc keeps the contract; it aligns to a word whatever is asked for, and to more where it is told to. What
// it gave is given back to it, whichever way it came.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: any size, and any alignment that a layout has, will do.
        unsafe {
            match layout.align() {
                ..=ALIGNED_ANYWAY => mi_malloc(layout.size()).cast(),
                align => mi_malloc_aligned(layout.size(), align).cast(),
            }
        }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe {
            match layout.align() {
                ..=ALIGNED_ANYWAY => mi_zalloc(layout.size()).cast(),
                align => mi_zalloc_aligned(layout.size(), align).cast(),
            }
        }
    }

    #[inline]
    unsafe fn dealloc(&self, pointer: *mut u8, _layout: Layout) {
        // SAFETY: the caller had it from here.
        unsafe { mi_free(pointer.cast()) }
    }

    #[inline]
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller had it from here, with this alignment.
        unsafe {
            match layout.align() {
                ..=ALIGNED_ANYWAY => mi_realloc(pointer.cast(), size).cast(),
                align => mi_realloc_aligned(pointer.cast(), size, align).cast(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Alignments and sizes around those at which ways part; contents stay while memory grows.
    #[test]
    fn memory_is_aligned_zeroed_and_moved() {
        for align in [1, 2, 4, 8, 16, 32, 64, 4096] {
            for size in [1, 7, 8, 9, 15, 16, 17, 24, 48, 104, 111, 112, 1000, 1025, 70_000] {
                let layout = Layout::from_size_align(size, align).unwrap();
                let allocator = Allocator;
                // SAFETY: used within its size, and given back as it was asked for.
                unsafe {
                    let first = allocator.alloc(layout);
                    let zeroed = allocator.alloc_zeroed(layout);
                    assert_eq!((first.align_offset(align), zeroed.align_offset(align)), (0, 0));
                    assert!((0..size).all(|at| *zeroed.add(at) == 0));
                    first.write_bytes(7, size);
                    let grown = allocator.realloc(first, layout, size * 3);
                    assert_eq!(grown.align_offset(align), 0);
                    assert!((0..size).all(|at| *grown.add(at) == 7));
                    allocator.dealloc(grown, Layout::from_size_align(size * 3, align).unwrap());
                    allocator.dealloc(zeroed, layout);
                }
            }
        }
    }
}
