//! Memory of a process whose large pieces are tensors of the same sizes again and again.
//!
//! The C library gives a large piece back to the system where it is freed, and the next one is
//! faulted in anew, 4 KB at a time, while every unmapping stops the other threads. In the first
//! training step of 135 M weights that was two fifths of the processor's time. Here large pieces
//! are cut from regions that stay, and come back to a list, joined with their neighbours. Where
//! none of the list fits and the system has to give more, as much of what lies idle goes back to
//! it: the process holds what it uses, and little beside.
//!
//! Memory that is read again and again comes a third faster from huge pages (2 MB), and to touch
//! one first is a tenth of the work of its 512 small ones. But a virtual machine that has given
//! its free memory back to its host waits 2 s for a gigabyte of huge pages, and less for small
//! ones. So none are asked for where memory is touched first: [`put_together`] makes them of what
//! has proved to be worth it.
//!
//! In the same steps jemalloc 5.3 kept up to half as much again as was in use, and mimalloc 2.0
//! was no faster than the C library.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::ptr;
use std::sync::{Mutex, PoisonError};

/// Pieces from here on are ours: those that the C library would map one by one.
const LARGE: usize = 128 << 10;

/// Lengths of pieces are multiples of this, and so is where they begin.
const PAGE: usize = 4 << 10;

/// Regions are aligned to this, and go back to the system in such parts.
const HUGE_PAGE: usize = 2 << 20;

/// Of Linux 6.1; an older one refuses. `libc` has it for some C libraries alone.
const MADV_COLLAPSE: libc::c_int = 25;

/// What is asked of the system at once, where no single piece is larger. Chosen: pages that are
/// not touched cost nothing.
const REGION: usize = 64 << 20;

/// Idle memory that stays where the system has to give more. Chosen: next to nothing beside what
/// a training takes, and enough that small leftovers are not given back one by one.
const IDLE_MAX: usize = 4 << 20;

/// The process's allocator: small pieces are the C library's.
pub struct Allocator(Mutex<Pieces>);

/// Free pieces: where each begins, and its length.
#[derive(Default)]
struct Pieces {
    /// Whose pages the system has given, whatever they hold.
    idle: Free,
    /// Whose pages nobody has touched: they are zero.
    fresh: Free,
}

/// Pieces of one kind, of which no two touch each other.
#[derive(Default)]
struct Free {
    by_place: BTreeMap<usize, usize>,
    /// Length, then place.
    by_length: BTreeSet<(usize, usize)>,
    bytes: usize,
}

impl Free {
    const fn new() -> Self {
        Self {
            by_place: BTreeMap::new(),
            by_length: BTreeSet::new(),
            bytes: 0,
        }
    }

    fn remove(&mut self, place: usize, length: usize) {
        self.by_place.remove(&place);
        self.by_length.remove(&(length, place));
        self.bytes -= length;
    }

    fn insert(&mut self, place: usize, length: usize) {
        self.by_place.insert(place, length);
        self.by_length.insert((length, place));
        self.bytes += length;
    }

    /// Adds a piece to its neighbours.
    fn add(&mut self, mut place: usize, mut length: usize) {
        if length == 0 {
            return;
        }
        let before = self.by_place.range(..place).next_back();
        if let Some((&before, &more)) = before.filter(|(before, more)| *before + **more == place) {
            self.remove(before, more);
            (place, length) = (before, length + more);
        }
        if let Some(&more) = self.by_place.get(&(place + length)) {
            self.remove(place + length, more);
            length += more;
        }
        self.insert(place, length);
    }

    /// Cuts `length` bytes off the beginning of a piece.
    fn cut(&mut self, place: usize, whole: usize, length: usize) {
        self.remove(place, whole);
        if whole > length {
            self.insert(place + length, whole - length);
        }
    }

    /// The smallest piece that is long enough.
    fn take(&mut self, length: usize) -> Option<usize> {
        let &(whole, place) = self.by_length.range((length, 0)..).next()?;
        self.cut(place, whole, length);
        Some(place)
    }

    /// Lengthens a piece that ends at `place` by the `length` bytes behind it.
    fn take_at(&mut self, place: usize, length: usize) -> bool {
        let Some(&whole) = self.by_place.get(&place).filter(|whole| **whole >= length) else {
            return false;
        };
        self.cut(place, whole, length);
        true
    }
}

impl Pieces {
    /// A piece, and whether it is zero.
    fn take(&mut self, length: usize) -> Option<(usize, bool)> {
        if let Some(place) = self.idle.take(length) {
            return Some((place, false));
        }
        self.give_back(length);
        let place = match self.fresh.take(length) {
            Some(place) => place,
            None => {
                let bytes = length.max(REGION).next_multiple_of(HUGE_PAGE);
                let place = map(bytes)?;
                self.fresh.add(place, bytes);
                self.fresh.take(length)?
            }
        };
        Some((place, true))
    }

    /// Gives idle pages back to the system, at most as many as `length` bytes need.
    fn give_back(&mut self, length: usize) {
        let mut surplus = self.idle.bytes.saturating_sub(IDLE_MAX).min(length);
        while surplus >= HUGE_PAGE {
            let Some(&(whole, place)) = self.idle.by_length.last() else {
                return;
            };
            let end = (place + whole) / HUGE_PAGE * HUGE_PAGE;
            let wanted = end.saturating_sub(surplus).max(place);
            let start = wanted.next_multiple_of(HUGE_PAGE);
            if start >= end || !discard(start, end - start) {
                return;
            }
            self.idle.remove(place, whole);
            self.idle.add(place, start - place);
            self.idle.add(end, place + whole - end);
            self.fresh.add(start, end - start);
            surplus = surplus.saturating_sub(end - start);
        }
    }

    /// Makes a piece at `place` as long as `new`, where that needs no other place.
    fn resize(&mut self, place: usize, old: usize, new: usize) -> bool {
        if new <= old {
            self.idle.add(place + new, old - new);
            return true;
        }
        let (end, more) = (place + old, new - old);
        self.idle.take_at(end, more) || self.fresh.take_at(end, more)
    }
}

/// A new region of zeros, aligned to huge pages.
fn map(bytes: usize) -> Option<usize> {
    // SAFETY: a new private mapping touches nothing that exists.
    let place = unsafe {
        libc::mmap(
            ptr::null_mut(),
            bytes + HUGE_PAGE,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    if place == libc::MAP_FAILED {
        return None;
    }
    Some(place.expose_provenance().next_multiple_of(HUGE_PAGE))
}

/// Touches memory that will be written soon, as far as the system can do that by itself: a tenth
/// to a half less work than a fault for each page. Contents stay as they are.
pub fn touch(ranges: Vec<Range<usize>>) {
    for range in ranges {
        let start = range.start / PAGE * PAGE;
        let place = ptr::with_exposed_provenance_mut(start);
        // SAFETY: no contents change, whoever's the range is by now.
        unsafe { libc::madvise(place, range.end - start, libc::MADV_POPULATE_WRITE) };
    }
}

/// Moves what lies in some ranges of addresses to huge pages, as far as the system can: contents
/// and addresses stay as they are. It takes up to 2 s a gigabyte, while which others can read and
/// write there.
pub fn put_together(mut ranges: Vec<Range<usize>>) {
    ranges.sort_unstable_by_key(|range| range.start);
    let mut joined: Vec<Range<usize>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.start < last.end + HUGE_PAGE => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    for range in joined {
        let start = range.start.next_multiple_of(HUGE_PAGE);
        let end = range.end / HUGE_PAGE * HUGE_PAGE;
        if start < end {
            let place = ptr::with_exposed_provenance_mut(start);
            // SAFETY: no contents change, whoever's the range is by now.
            unsafe { libc::madvise(place, end - start, MADV_COLLAPSE) };
        }
    }
}

/// Gives pages back; they are zero when they are touched again.
fn discard(place: usize, bytes: usize) -> bool {
    // SAFETY: the range is of free pieces, whose contents nobody needs.
    let done = unsafe {
        libc::madvise(
            ptr::with_exposed_provenance_mut(place),
            bytes,
            libc::MADV_DONTNEED,
        )
    };
    done == 0
}

/// The length that a piece of ours has; `None` where it is the C library's.
fn length(size: usize, align: usize) -> Option<usize> {
    let ours = size >= LARGE && align <= PAGE;
    ours.then(|| size.checked_next_multiple_of(PAGE)).flatten()
}

impl Allocator {
    /// Nothing taken yet.
    pub const fn new() -> Self {
        Self(Mutex::new(Pieces {
            idle: Free::new(),
            fresh: Free::new(),
        }))
    }

    /// Nothing below panics, and what it allocates itself is small.
    fn pieces<R>(&self, work: impl FnOnce(&mut Pieces) -> R) -> R {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Default for Allocator {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: a piece is handed out once until it comes back: it is cut off a list of free ones, which
// only regions of ours and pieces that came back are added to. Pieces begin at multiples of a page
// and are as long as asked for. Size and alignment say whose a piece is, and callers give back the
// layout they asked for.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(length) = length(layout.size(), layout.align()) else {
            // SAFETY: the caller's promise.
            return unsafe { System.alloc(layout) };
        };
        match self.pieces(|pieces| pieces.take(length)) {
            Some((place, _)) => ptr::with_exposed_provenance_mut(place),
            None => ptr::null_mut(),
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let Some(length) = length(layout.size(), layout.align()) else {
            // SAFETY: the caller's promise.
            return unsafe { System.alloc_zeroed(layout) };
        };
        let Some((place, zero)) = self.pieces(|pieces| pieces.take(length)) else {
            return ptr::null_mut();
        };
        let piece: *mut u8 = ptr::with_exposed_provenance_mut(place);
        if !zero {
            // SAFETY: the piece is ours and at least so long.
            unsafe { piece.write_bytes(0, layout.size()) };
        }
        piece
    }

    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        match length(layout.size(), layout.align()) {
            Some(length) => {
                self.pieces(|pieces| pieces.idle.add(piece.expose_provenance(), length))
            }
            // SAFETY: the caller's promise; it came from there.
            None => unsafe { System.dealloc(piece, layout) },
        }
    }

    unsafe fn realloc(&self, piece: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let old = length(layout.size(), layout.align());
        let new = length(size, layout.align());
        match (old, new) {
            // SAFETY: the caller's promise; it came from there and stays there.
            (None, None) => return unsafe { System.realloc(piece, layout, size) },
            (Some(old), Some(new)) => {
                let place = piece.expose_provenance();
                if self.pieces(|pieces| pieces.resize(place, old, new)) {
                    return piece;
                }
            }
            _ => {}
        }
        // SAFETY: the caller's promises; both are at least as long as what is copied.
        unsafe {
            let moved = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !moved.is_null() {
                ptr::copy_nonoverlapping(piece, moved, layout.size().min(size));
                self.dealloc(piece, layout);
            }
            moved
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a piece that is handed out twice, is too short, loses its bytes, or is said to
    /// be zero and is not; and memory that is lost between the lists.
    #[test]
    fn pieces_keep_what_is_in_them() {
        let allocator = Allocator::new();
        let mut state = 1u32;
        let mut next = |end: usize| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as usize % end
        };
        let layout = |size| Layout::from_size_align(size, 64).expect("a layout");
        let mut held: Vec<(*mut u8, Layout, u8)> = Vec::new();
        let check = |&(piece, layout, byte): &(*mut u8, Layout, u8)| {
            // SAFETY: the piece is held and was filled.
            let bytes = unsafe { std::slice::from_raw_parts(piece, layout.size()) };
            assert!(bytes.iter().step_by(61).all(|found| *found == byte));
            assert_eq!((bytes[bytes.len() - 1], piece as usize % 64), (byte, 0));
        };
        for round in 0..2_000 {
            let byte = (round % 255) as u8 + 1;
            let layout = layout(match next(4) {
                0 => 1 + next(LARGE),
                1 => LARGE * (1 + next(4)),
                _ => LARGE + next(40 << 20),
            });
            // SAFETY: each piece is filled within its layout and given back once.
            unsafe {
                match next(5) {
                    0 | 1 if held.len() < 12 => {
                        let piece = allocator.alloc_zeroed(layout);
                        check(&(piece, layout, 0));
                        piece.write_bytes(byte, layout.size());
                        held.push((piece, layout, byte));
                    }
                    2 if !held.is_empty() => {
                        let at = next(held.len());
                        let (piece, old, before) = held[at];
                        let piece = allocator.realloc(piece, old, layout.size());
                        let kept = old.size().min(layout.size());
                        let kept = Layout::from_size_align(kept, 64).expect("a layout");
                        check(&(piece, kept, before));
                        piece.write_bytes(byte, layout.size());
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
        }
        held.iter().for_each(check);
        for (piece, layout, _) in held {
            // SAFETY: it is given back once.
            unsafe { allocator.dealloc(piece, layout) };
        }
        let pieces = allocator.0.into_inner().expect("no panic");
        for free in [&pieces.idle, &pieces.fresh] {
            let lengths: usize = free.by_place.values().sum();
            assert_eq!(
                (lengths, free.by_place.len()),
                (free.bytes, free.by_length.len())
            );
        }
        let regions = pieces.idle.bytes + pieces.fresh.bytes;
        assert!(
            regions > 0 && regions.is_multiple_of(HUGE_PAGE),
            "{regions}"
        );
    }

    /// Would catch a process that keeps all that it ever used while it asks for more.
    #[test]
    fn idle_memory_goes_back_where_more_is_needed() {
        let allocator = Allocator::new();
        let layout = |size| Layout::from_size_align(size, 64).expect("a layout");
        let small = layout(8 << 20);
        // SAFETY: each piece is given back once.
        unsafe {
            let pieces: Vec<*mut u8> = (0..32).map(|_| allocator.alloc(small)).collect();
            // Every second one: no two are neighbours.
            for piece in pieces.iter().step_by(2) {
                allocator.dealloc(*piece, small);
            }
            assert_eq!(allocator.pieces(|pieces| pieces.idle.bytes), 128 << 20);
            let large = layout(100 << 20);
            let piece = allocator.alloc_zeroed(large);
            assert_eq!(allocator.pieces(|pieces| pieces.idle.bytes), 28 << 20);
            allocator.dealloc(piece, large);
            for piece in pieces.iter().skip(1).step_by(2) {
                allocator.dealloc(*piece, small);
            }
        }
    }
}
