//! Memory of a component, where most pieces are small and live shortly.
//!
//! The C library's allocator, which Rust uses in components, looks for the best place for every
//! piece. That was a third of what a metric does for a short text. Here a small piece comes from
//! a list of free ones of its size and goes back there: some ten steps each. Memory of a size
//! stays with that size, so a component keeps as much of it as it once had at the same time.
//!
//! Sizes go in steps of 16 bytes up to 2 KiB, and from there on in eighths of a power of two: the
//! tables and lists of one sample are of that kind.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ptr;

/// Sizes of small pieces go in steps of this, which is also the alignment of all.
const STEP: usize = 16;

/// The largest small piece.
const SMALL_MAX: usize = 2048;

/// Between two powers of two there are so many sizes.
const PARTS: usize = 8;

/// Larger pieces are the C library's: each would keep too much memory to itself.
const LISTED_MAX: usize = 64 << 10;

/// Lists of small pieces, then of larger ones.
const SMALL_LISTS: usize = SMALL_MAX / STEP;
const LISTS: usize = SMALL_LISTS + PARTS * (LISTED_MAX / SMALL_MAX).ilog2() as usize;

/// What is asked of the C library at once for small pieces.
const CHUNK: usize = 32 << 10;

/// Free pieces by size, and what is left of the last chunk.
struct Lists {
    free: [*mut Piece; LISTS],
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
            free: [ptr::null_mut(); LISTS],
            rest: ptr::null_mut(),
            rest_bytes: 0,
        }))
    }
}

impl Lists {
    /// A new piece of so many bytes, off the rest of a chunk.
    #[cold]
    #[inline(never)]
    fn cut(&mut self, bytes: usize) -> *mut u8 {
        if self.rest_bytes < bytes {
            // A large piece has a chunk of its own, and leaves the rest of the last one alone.
            let alone = bytes > CHUNK / 4;
            let wanted = if alone { bytes } else { CHUNK };
            let Ok(chunk) = Layout::from_size_align(wanted, STEP) else {
                return ptr::null_mut();
            };
            // SAFETY: the size is not 0.
            let rest = unsafe { System.alloc(chunk) };
            if rest.is_null() || alone {
                return rest;
            }
            (self.rest, self.rest_bytes) = (rest, CHUNK);
        }
        let piece = self.rest;
        // SAFETY: the rest has at least so many bytes.
        self.rest = unsafe { piece.add(bytes) };
        self.rest_bytes -= bytes;
        piece
    }
}

/// The list of a piece's size; `None` if it is the C library's.
#[inline(always)]
fn list(layout: Layout) -> Option<usize> {
    let last = layout.size().wrapping_sub(1);
    if layout.align() > STEP || last >= LISTED_MAX {
        return None;
    }
    if last < SMALL_MAX {
        return Some(last / STEP);
    }
    // The power of two below, and the eighth above it that the last byte lies in.
    let power = last.ilog2();
    let part = (last >> (power - PARTS.ilog2())) % PARTS;
    let doublings = (power - SMALL_MAX.ilog2()) as usize;
    Some(SMALL_LISTS + doublings * PARTS + part)
}

/// Size of the pieces of a list.
fn bytes(list: usize) -> usize {
    let Some(larger) = list.checked_sub(SMALL_LISTS) else {
        return (list + 1) * STEP;
    };
    let (doublings, part) = (larger / PARTS, larger % PARTS);
    (SMALL_MAX / PARTS * (PARTS + part + 1)) << doublings
}

// SAFETY: a piece is handed out once until it comes back: it is either taken off its list or cut
// off the rest of a chunk. Chunks are aligned to `STEP` and cut in multiples of it. A layout says
// to which list a piece belongs, and callers give back the layout they asked for.
unsafe impl GlobalAlloc for Allocator {
    // Wherever Rust asks for memory this stands at its place: a component's calls are dear.
    #[inline(always)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(list) = list(layout) else {
            // SAFETY: the caller's promise.
            return unsafe { System.alloc(layout) };
        };
        // SAFETY: one thread, and nothing below calls back into this allocator.
        let lists = unsafe { &mut *self.0.get() };
        let first = lists.free[list];
        if first.is_null() {
            return lists.cut(bytes(list));
        }
        // SAFETY: pieces on a list are ours, and hold a `Piece`.
        lists.free[list] = unsafe { (*first).next };
        first.cast()
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

    /// Would catch a piece that is shorter than what was asked for, or lists with gaps.
    #[test]
    fn sizes_cover_what_is_asked() {
        let mut before = None;
        for size in 1..=LISTED_MAX {
            let layout = Layout::from_size_align(size, 8).expect("a layout");
            let list = list(layout).expect("it is listed");
            assert!(
                bytes(list) >= size && bytes(list) < size + size / 7 + STEP,
                "{size}"
            );
            assert!(
                before.is_none_or(|before| list == before || list == before + 1),
                "{size}"
            );
            before = Some(list);
        }
        assert_eq!(before, Some(LISTS - 1));
        let beyond = Layout::from_size_align(LISTED_MAX + 1, 8).expect("a layout");
        assert_eq!(list(beyond), None);
    }

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
                        let most = [100, 5_000, 80_000][(next(20) / 9).min(2)];
                        let layout = layout(1 + next(most));
                        let piece = allocator.alloc(layout);
                        piece.write_bytes(byte, layout.size());
                        held.push((piece, layout, byte));
                    }
                    2 if !held.is_empty() => {
                        let at = next(held.len());
                        let (piece, layout, byte) = held[at];
                        let most = [3_000, 30_000][next(2)];
                        let size = 1 + next(most);
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
