//! Memory of a component, where most pieces are small and live shortly.
//!
//! The C library's allocator, which Rust uses in components, looks for the best place for every
//! piece. That was a third of what a metric does for a short text. Here a small piece comes from
//! a list of free ones of its size and goes back there: some ten steps each. Memory of a size
//! stays with that size, so a component keeps as much of it as it once had at the same time.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ptr;

/// Sizes go in steps of this, which is also their alignment.
const STEP: usize = 16;

/// Larger pieces are the C library's. Chosen: strings and lists of a sample are smaller.
const SMALL_MAX: usize = 2048;

/// What is asked of the C library at once.
const CHUNK: usize = 32 << 10;

/// Free pieces by size, and what is left of the last chunk.
struct Lists {
    free: [*mut Piece; SMALL_MAX / STEP],
    rest: *mut u8,
    rest_bytes: usize,
}

/// A free piece, which holds the place of the next one.
struct Piece {
    next: *mut Piece,
}

/// See the module.
pub(crate) struct Allocator(UnsafeCell<Lists>);

// SAFETY: components have one thread; the static that holds this exists only there.
unsafe impl Sync for Allocator {}

impl Allocator {
    /// Nothing taken yet.
    pub(crate) const fn new() -> Self {
        Self(UnsafeCell::new(Lists {
            free: [ptr::null_mut(); SMALL_MAX / STEP],
            rest: ptr::null_mut(),
            rest_bytes: 0,
        }))
    }
}

/// The list of a piece's size; `None` if it is the C library's.
fn list(layout: Layout) -> Option<usize> {
    let small = layout.size().wrapping_sub(1) < SMALL_MAX && layout.align() <= STEP;
    small.then(|| (layout.size() - 1) / STEP)
}

// SAFETY: a piece is handed out once until it comes back: it is either taken off its list or cut
// off the rest of a chunk. Chunks are aligned to `STEP` and cut in multiples of it. A layout says
// to which list a piece belongs, and callers give back the layout they asked for.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(list) = list(layout) else {
            // SAFETY: the caller's promise.
            return unsafe { System.alloc(layout) };
        };
        // SAFETY: one thread, and nothing below calls back into this allocator.
        let lists = unsafe { &mut *self.0.get() };
        let first = lists.free[list];
        if !first.is_null() {
            // SAFETY: pieces on a list are ours, and hold a `Piece`.
            lists.free[list] = unsafe { (*first).next };
            return first.cast();
        }
        let bytes = (list + 1) * STEP;
        if lists.rest_bytes < bytes {
            let Ok(chunk) = Layout::from_size_align(CHUNK, STEP) else {
                return ptr::null_mut();
            };
            // SAFETY: the size is not 0.
            let rest = unsafe { System.alloc(chunk) };
            if rest.is_null() {
                return rest;
            }
            (lists.rest, lists.rest_bytes) = (rest, CHUNK);
        }
        let piece = lists.rest;
        // SAFETY: the rest has at least so many bytes.
        lists.rest = unsafe { piece.add(bytes) };
        lists.rest_bytes -= bytes;
        piece
    }

    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        let Some(list) = list(layout) else {
            // SAFETY: the caller's promise; it came from there.
            return unsafe { System.dealloc(piece, layout) };
        };
        // SAFETY: one thread; the piece is ours again, and large and aligned enough.
        unsafe {
            let lists = &mut *self.0.get();
            let piece: *mut Piece = piece.cast();
            (*piece).next = lists.free[list];
            lists.free[list] = piece;
        }
    }

    unsafe fn realloc(&self, piece: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (list(layout), list(wanted)) {
            // SAFETY: the caller's promise; it came from there and stays there.
            (None, None) => unsafe { System.realloc(piece, layout, size) },
            (before, after) if before == after => piece,
            _ => {
                // SAFETY: the caller's promise; both are at least as long as what is copied.
                unsafe {
                    let moved = self.alloc(wanted);
                    if !moved.is_null() {
                        let bytes = layout.size().min(size);
                        ptr::copy_nonoverlapping(piece, moved, bytes);
                        self.dealloc(piece, layout);
                    }
                    moved
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a piece that is handed out twice, is too short, or loses its bytes.
    #[test]
    fn pieces_keep_what_is_in_them() {
        let allocator = Allocator::new();
        let mut state = 1u32;
        let mut next = |end: usize| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) as usize % end
        };
        let layout = |size| Layout::from_size_align(size, [1, 8, 16][size % 3]).expect("small");
        let mut held: Vec<(*mut u8, Layout, u8)> = Vec::new();
        // SAFETY: every piece is filled within its layout and given back once.
        unsafe {
            let check = |&(piece, layout, byte): &(*mut u8, Layout, u8)| {
                let bytes = std::slice::from_raw_parts(piece, layout.size());
                assert!(bytes.iter().all(|found| *found == byte));
                assert_eq!(piece as usize % layout.align(), 0);
            };
            for round in 0..20_000 {
                let byte = round as u8;
                match next(5) {
                    0 | 1 => {
                        let most = if next(10) == 0 { 5_000 } else { 100 };
                        let layout = layout(1 + next(most));
                        let piece = allocator.alloc(layout);
                        piece.write_bytes(byte, layout.size());
                        held.push((piece, layout, byte));
                    }
                    2 if !held.is_empty() => {
                        let at = next(held.len());
                        let (piece, layout, byte) = held[at];
                        let size = 1 + next(3_000);
                        let piece = allocator.realloc(piece, layout, size);
                        let kept = layout.size().min(size);
                        let bytes = std::slice::from_raw_parts(piece, kept);
                        assert!(bytes.iter().all(|found| *found == byte));
                        let layout = Layout::from_size_align(size, layout.align()).expect("small");
                        piece.write_bytes(byte, size);
                        held[at] = (piece, layout, byte);
                    }
                    _ if !held.is_empty() => {
                        let one = held.swap_remove(next(held.len()));
                        check(&one);
                        allocator.dealloc(one.0, one.1);
                    }
                    _ => {}
                }
            }
            held.iter().for_each(check);
            for (piece, layout, _) in held {
                allocator.dealloc(piece, layout);
            }
        }
    }
}
