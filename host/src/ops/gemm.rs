//! Matrix products in f32 on the CPU, by packing and register blocking (Goto & van de Geijn 2008).
//!
//! Both operands are packed into panels, whatever their layout: `b` by all threads together, `a`
//! by the task that takes a tile of its rows. A kernel then keeps a block of the result in
//! registers. Every element is summed over `k` in one order that depends on neither
//! tiles nor threads: equal inputs give equal bits on any number of cores.
//!
//! One thread with AVX-512 reaches nine tenths of what its registers allow at the shapes of
//! SmolLM2's layers (140 to 155 of 160 Gflop/s on a Xeon of 2.1 GHz), two and a half times as much
//! as the `gemm` crate 0.19. That crate serves other processors.

use std::cell::{Cell, RefCell};

use rayon::prelude::*;

use super::cpu::Shared;

/// A matrix operand: its first element and the steps to the next row and column.
#[derive(Clone, Copy)]
pub(crate) struct View {
    pub data: *const f32,
    pub row: usize,
    pub column: usize,
}

// SAFETY: views are read only, and `product` asks its caller that they stay valid.
unsafe impl Send for View {}
// SAFETY: as above.
unsafe impl Sync for View {}

impl View {
    /// Rows of `width` elements one after another.
    pub(crate) fn rows(data: &[f32], width: usize) -> Self {
        Self {
            data: data.as_ptr(),
            row: width,
            column: 1,
        }
    }

    /// The transpose.
    pub(crate) fn t(self) -> Self {
        Self {
            data: self.data,
            row: self.column,
            column: self.row,
        }
    }

    unsafe fn at(self, row: usize, column: usize) -> Self {
        // SAFETY: the caller stays inside the matrix.
        Self {
            data: unsafe { self.data.add(row * self.row + column * self.column) },
            ..self
        }
    }
}

/// Elements of `k` a panel holds at most: panels of 32 columns then take 32 KiB, the first-level
/// cache.
const DEPTH: usize = 256;

/// Rows of `a` a task packs at most: 192 KiB, a part of the second-level cache.
const TILE_ROWS: usize = 192;

/// Rows below which a task would load panels of `b` more often than it is worth.
const TILE_ROWS_LEAST: usize = 48;

/// Tasks a thread should find.
const TASKS_PER_THREAD: usize = 4;

/// Columns of `b` packed at once for all tasks.
const CHUNK_COLUMNS: usize = 2048;

/// Elements of `b` packed at once for all tasks: 6 MiB, a part of the third-level cache. As much
/// of `k` as fits: between two chunks all threads wait for each other.
const CHUNK_ELEMENTS: usize = 3 << 19;

/// One product of a sum: `a` `[m, k]`, `b` `[k, n]`.
#[derive(Clone, Copy)]
pub(crate) struct Term {
    pub k: usize,
    pub a: View,
    pub b: View,
}

/// `c = a b` or `c += a b`; `c` is `[m, n]` with rows `c_row` apart, `a` `[m, k]`, `b` `[k, n]`.
///
/// # Safety
/// As [`sum`]'s.
#[allow(clippy::too_many_arguments, reason = "a product has this many numbers")]
pub(crate) unsafe fn product(
    m: usize,
    n: usize,
    k: usize,
    a: View,
    b: View,
    c: *mut f32,
    c_row: usize,
    add: bool,
    parallel: bool,
) {
    // SAFETY: the caller's promise.
    unsafe { sum(m, n, &[Term { k, a, b }], c, c_row, add, parallel) }
}

/// The sum of some products, and of what is in `c` where `add` says so: `c` `[m, n]`, with rows
/// `c_row` apart, is read and written once for all of them.
///
/// # Safety
/// The views and `c` cover the shapes given, and nobody else touches `c`.
pub(crate) unsafe fn sum(
    m: usize,
    n: usize,
    terms: &[Term],
    c: *mut f32,
    c_row: usize,
    add: bool,
    parallel: bool,
) {
    #[cfg(target_arch = "x86_64")]
    {
        use super::simd::{Level, level};
        // SAFETY: the caller's promise, and the instructions are there.
        unsafe {
            match level() {
                Level::Avx512 if n <= x86::Avx512Narrow::COLUMNS => {
                    return tiles::<x86::Avx512Narrow>(m, n, terms, c, c_row, add, parallel);
                }
                Level::Avx512 => {
                    return tiles::<x86::Avx512Wide>(m, n, terms, c, c_row, add, parallel);
                }
                Level::Avx2 => return tiles::<x86::Avx2>(m, n, terms, c, c_row, add, parallel),
                Level::Baseline => {}
            }
        }
    }
    // SAFETY: the caller's promise.
    unsafe { elsewhere(m, n, terms, c, c_row, add, parallel) }
}

/// The sum on processors that no kernel here was written for.
unsafe fn elsewhere(
    m: usize,
    n: usize,
    terms: &[Term],
    c: *mut f32,
    c_row: usize,
    add: bool,
    parallel: bool,
) {
    for (at, Term { k, a, b }) in terms.iter().enumerate() {
        let parallelism = match parallel {
            true => gemm::Parallelism::Rayon(rayon::current_num_threads()),
            false => gemm::Parallelism::None,
        };
        let (a_row, a_column, b_row, b_column) = (
            a.row as isize,
            a.column as isize,
            b.row as isize,
            b.column as isize,
        );
        // SAFETY: the caller's promise.
        unsafe {
            gemm::gemm(
                m,
                n,
                *k,
                c,
                1,
                c_row as isize,
                add || at > 0,
                a.data,
                a_column,
                a_row,
                b.data,
                b_column,
                b_row,
                1.0,
                1.0,
                false,
                false,
                false,
                parallelism,
            );
        }
    }
}

/// A block of the result that stays in registers.
trait Kernel {
    const ROWS: usize;
    const COLUMNS: usize;

    /// `c (+)= a b` for packed panels of `depth` elements of `k`.
    ///
    /// # Safety
    /// The processor has the instructions; `a` holds `depth · ROWS` elements, `b`
    /// `depth · COLUMNS` at a multiple of 64 bytes, `c` `ROWS` rows of `COLUMNS`, `c_row` apart.
    unsafe fn run(depth: usize, a: *const f32, b: *const f32, c: *mut f32, c_row: usize, add: bool);

    /// [`pack`] for panels of `ROWS`.
    unsafe fn pack_rows(count: usize, depth: usize, x: View, to: *mut f32);

    /// [`pack`] for panels of `COLUMNS`.
    unsafe fn pack_columns(count: usize, depth: usize, x: View, to: *mut f32);
}

/// Memory for packed panels, in cache lines so that it is aligned.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(#[expect(dead_code, reason = "it is reached through a pointer")] [f32; 16]);

thread_local! {
    static PACKED_A: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
    static PACKED_B: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
}

fn room(lines: &mut Vec<Line>, elements: usize) -> *mut f32 {
    let count = elements.div_ceil(16);
    if lines.len() < count {
        lines.resize(count, Line([0.0; 16]));
    }
    lines.as_mut_ptr().cast()
}

/// A stretch of `k` whose panels are made at once.
#[derive(Clone, Copy)]
struct Step {
    term: Term,
    first: usize,
    depth: usize,
}

/// The terms, each cut into even steps of at most [`DEPTH`].
fn steps(terms: &[Term]) -> Vec<Step> {
    let of_term = |&term: &Term| {
        let depth = even(term.k, DEPTH, 1).max(1);
        (0..term.k).step_by(depth).map(move |first| Step {
            term,
            first,
            depth: depth.min(term.k - first),
        })
    };
    terms.iter().flat_map(of_term).collect()
}

/// Rows of the result, shared out in whole blocks.
struct Tiles {
    m: usize,
    /// Rows of a block.
    block: usize,
    count: usize,
}

impl Tiles {
    /// Tiles for so many threads.
    fn new(m: usize, block: usize, threads: usize) -> Self {
        // Cores are not equally fast where others work beside: each should find several tiles,
        // and as many as the others.
        let share = (m / (TASKS_PER_THREAD * threads)).clamp(TILE_ROWS_LEAST, TILE_ROWS);
        let count = match m.div_ceil(share) {
            few if few <= threads => few,
            several => several.next_multiple_of(threads),
        };
        let count = count.min(m.div_ceil(block));
        Self { m, block, count }
    }

    /// The first row of a tile, and how many it has: tiles differ by one block at most.
    fn rows(&self, tile: usize) -> (usize, usize) {
        let blocks = self.m.div_ceil(self.block);
        let first = |tile: usize| (tile * blocks / self.count * self.block).min(self.m);
        (first(tile), first(tile + 1) - first(tile))
    }
}

/// The size of even parts of at most `most`, in whole blocks.
fn even(size: usize, most: usize, block: usize) -> usize {
    size.div_ceil(size.div_ceil(most).max(1))
        .next_multiple_of(block)
}

unsafe fn tiles<K: Kernel>(
    m: usize,
    n: usize,
    terms: &[Term],
    c: *mut f32,
    c_row: usize,
    add: bool,
    parallel: bool,
) {
    let steps = steps(terms);
    if m == 0 || n == 0 || steps.is_empty() {
        if !add {
            for row in 0..m {
                // SAFETY: inside `c`.
                unsafe { std::slice::from_raw_parts_mut(c.add(row * c_row), n) }.fill(0.0);
            }
        }
        return;
    }
    let k: usize = terms.iter().map(|term| term.k).sum();
    // Below some 50 µs of work a thread is not worth waking.
    let threads = if parallel && m * n * k > 1 << 21 {
        rayon::current_num_threads()
    } else {
        1
    };
    let depth_max = steps.iter().map(|step| step.depth).max().unwrap_or(1);
    let column_step = even(n, CHUNK_COLUMNS, K::COLUMNS);
    // The panels of a step lie behind those of the steps before.
    let step_room = column_step * depth_max;
    let steps_at_once = (CHUNK_ELEMENTS / step_room).clamp(1, steps.len());
    let tiles = Tiles::new(m, K::ROWS, threads);
    // SAFETY: tasks write disjoint blocks of `c`, which the caller lends.
    let out = unsafe { Shared::from_raw(c) };
    let run = |count: usize, task: &(dyn Fn(usize) + Sync)| {
        if threads > 1 && count > 1 {
            (0..count).into_par_iter().with_max_len(1).for_each(task);
        } else {
            (0..count).for_each(task);
        }
    };
    // The caller's scratch is taken, not borrowed: while it waits for tasks, this thread may be
    // given another product to begin.
    let mut packed_b = PACKED_B.take();
    let b_panels = room(&mut packed_b, steps_at_once * step_room);
    // SAFETY: tasks pack disjoint panels.
    let panels = unsafe { Shared::from_raw(b_panels) };
    // SAFETY: inside the room made.
    let panel_of = |at: usize, panel: usize, depth: usize| unsafe {
        panels
            .pointer()
            .add(at * step_room + panel * K::COLUMNS * depth)
    };
    for first_column in (0..n).step_by(column_step) {
        let columns = column_step.min(n - first_column);
        let panel_count = columns.div_ceil(K::COLUMNS);
        for (chunk, now) in steps.chunks(steps_at_once).enumerate() {
            let per_task = panel_count.div_ceil(TASKS_PER_THREAD * threads);
            let groups = panel_count.div_ceil(per_task);
            run(now.len() * groups, &|task| {
                let (at, panel) = (task / groups, task % groups * per_task);
                let Step { term, first, depth } = now[at];
                let count = (per_task * K::COLUMNS).min(columns - panel * K::COLUMNS);
                // SAFETY: the panels fit into the room made, and lie inside the operand.
                unsafe {
                    let b = term.b.at(first, first_column + panel * K::COLUMNS).t();
                    K::pack_columns(count, depth, b, panel_of(at, panel, depth));
                }
            });
            // Where there are fewer tiles of rows than tasks wanted, columns are shared out, too.
            let across = (TASKS_PER_THREAD * threads)
                .div_ceil(tiles.count)
                .min(panel_count);
            let per_task = panel_count.div_ceil(across);
            let across = panel_count.div_ceil(per_task);
            run(tiles.count * across, &|task| {
                let (row, rows) = tiles.rows(task / across);
                let panel = task % across * per_task;
                let columns = (per_task * K::COLUMNS).min(columns - panel * K::COLUMNS);
                PACKED_A.with_borrow_mut(|packed_a| {
                    let packed_a = room(packed_a, rows.next_multiple_of(K::ROWS) * depth_max);
                    // All of `k` before the next tile: the tile of `c` stays in the cache.
                    for (at, &Step { term, first, depth }) in now.iter().enumerate() {
                        // SAFETY: the block lies inside the matrices, and this task alone has it.
                        unsafe {
                            K::pack_rows(rows, depth, term.a.at(row, first), packed_a);
                            let b = panel_of(at, panel, depth);
                            let c = out
                                .pointer()
                                .add(row * c_row + first_column + panel * K::COLUMNS);
                            let add = add || chunk > 0 || at > 0;
                            block::<K>(rows, columns, depth, packed_a, b, c, c_row, add);
                        }
                    }
                });
            });
        }
    }
    PACKED_B.set(packed_b);
}

/// A tile's share of the result from packed panels.
#[allow(clippy::too_many_arguments, reason = "a product has this many numbers")]
unsafe fn block<K: Kernel>(
    m: usize,
    n: usize,
    depth: usize,
    a: *const f32,
    b: *const f32,
    c: *mut f32,
    c_row: usize,
    add: bool,
) {
    const { assert!(K::ROWS * K::COLUMNS <= 32 * 16) };
    let mut edge = [Line([0.0; 16]); 32];
    let edge = edge.as_mut_ptr().cast::<f32>();
    for column in (0..n).step_by(K::COLUMNS) {
        for row in (0..m).step_by(K::ROWS) {
            let (rows, columns) = (K::ROWS.min(m - row), K::COLUMNS.min(n - column));
            // SAFETY: panels are `depth` long and follow each other; a block at the edge is
            // computed aside and only its inner part is written.
            unsafe {
                let (a, b) = (a.add(row * depth), b.add(column * depth));
                let c = c.add(row * c_row + column);
                if rows == K::ROWS && columns == K::COLUMNS {
                    K::run(depth, a, b, c, c_row, add);
                    continue;
                }
                K::run(depth, a, b, edge, K::COLUMNS, false);
                for row in 0..rows {
                    for column in 0..columns {
                        let (to, from) = (
                            c.add(row * c_row + column),
                            *edge.add(row * K::COLUMNS + column),
                        );
                        *to = if add { *to + from } else { from };
                    }
                }
            }
        }
    }
}

/// Packs `count` rows of `x`, `depth` long, into panels of `W` rows: in a panel, the rows'
/// elements of one column lie together. Rows that fill the last panel are zero.
///
/// # Safety
/// `x` covers `[count, depth]`, and `to` the panels.
#[inline(always)]
unsafe fn pack<const W: usize>(count: usize, depth: usize, x: View, to: *mut f32) {
    for first in (0..count).step_by(W) {
        let rows = W.min(count - first);
        // SAFETY: the caller's promise.
        unsafe {
            let panel = to.add(first * depth);
            let x = x.at(first, 0);
            if rows < W {
                std::slice::from_raw_parts_mut(panel, W * depth).fill(0.0);
            }
            match x.row {
                1 if rows == W => {
                    for column in 0..depth {
                        let from = x.data.add(column * x.column).cast::<[f32; W]>();
                        fetch::<W>(x.data.wrapping_add((column + AHEAD) * x.column));
                        panel
                            .add(column * W)
                            .cast::<[f32; W]>()
                            .write(from.read_unaligned());
                    }
                }
                1 => {
                    for column in 0..depth {
                        let from = x.data.add(column * x.column);
                        std::ptr::copy_nonoverlapping(from, panel.add(column * W), rows);
                    }
                }
                _ => pack_transposed::<W>(rows, depth, x, panel),
            }
        }
    }
}

/// Rows of a panel that are asked for ahead. A weight comes from memory, and its rows lie too far
/// apart, and are read in too short pieces, for the processor to guess the next.
const AHEAD: usize = 16;

/// Asks for the `W` elements at an address that is read soon; any address will do.
#[inline(always)]
fn fetch<const W: usize>(from: *const f32) {
    #[cfg(target_arch = "x86_64")]
    for at in (0..W).step_by(16) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint reads nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(at).cast()) }
    }
}

/// The case where a row's elements lie together: a few rows at a time over all columns, so that
/// the source is read in order; the panel stays in the first-level cache.
#[inline(always)]
unsafe fn pack_transposed<const W: usize>(rows: usize, depth: usize, x: View, panel: *mut f32) {
    let mut row = 0;
    // SAFETY: the caller's promise.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        if x.column == 1 && super::simd::level() == super::simd::Level::Avx512 {
            let whole = depth / 16 * 16;
            while row + 4 <= rows {
                let from = x.data.add(row * x.row);
                for column in (0..whole).step_by(16) {
                    for i in 4..8 {
                        fetch::<16>(from.wrapping_add(i * x.row + column));
                    }
                    x86::transpose_4x16(from.add(column), x.row, panel.add(column * W + row), W);
                }
                for column in whole..depth {
                    for i in 0..4 {
                        *panel.add(column * W + row + i) = *from.add(i * x.row + column);
                    }
                }
                row += 4;
            }
        }
        for row in row..rows {
            for column in 0..depth {
                *panel.add(column * W + row) = *x.data.add(row * x.row + column * x.column);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Kernel, View, pack};

    /// `ROWS` × `COLUMNS`, which are `REGISTERS` of AVX-512 a row: 24 of the 32 hold sums.
    pub(super) struct Avx512<const ROWS: usize, const COLUMNS: usize, const REGISTERS: usize>;

    /// For most results.
    pub(super) type Avx512Wide = Avx512<12, 32, 2>;

    /// For results of few columns, such as those of low-rank factors.
    pub(super) type Avx512Narrow = Avx512<24, 16, 1>;

    impl<const ROWS: usize, const COLUMNS: usize, const REGISTERS: usize> Kernel
        for Avx512<ROWS, COLUMNS, REGISTERS>
    {
        const ROWS: usize = ROWS;
        const COLUMNS: usize = COLUMNS;

        #[target_feature(enable = "avx512f")]
        unsafe fn pack_rows(count: usize, depth: usize, x: View, to: *mut f32) {
            // SAFETY: the caller's promise.
            unsafe { pack::<ROWS>(count, depth, x, to) }
        }

        #[target_feature(enable = "avx512f")]
        unsafe fn pack_columns(count: usize, depth: usize, x: View, to: *mut f32) {
            // SAFETY: the caller's promise.
            unsafe { pack::<COLUMNS>(count, depth, x, to) }
        }

        #[target_feature(enable = "avx512f")]
        unsafe fn run(
            depth: usize,
            mut a: *const f32,
            mut b: *const f32,
            c: *mut f32,
            c_row: usize,
            add: bool,
        ) {
            const { assert!(COLUMNS == 16 * REGISTERS) };
            let mut sums = [[_mm512_setzero_ps(); REGISTERS]; ROWS];
            // SAFETY: the caller's promise about the operands' lengths.
            unsafe {
                for row in 0..ROWS {
                    for at in 0..REGISTERS {
                        _mm_prefetch::<_MM_HINT_T0>(c.add(row * c_row + at * 16).cast());
                    }
                }
                for _ in 0..depth {
                    let mut columns = [_mm512_setzero_ps(); REGISTERS];
                    for (at, columns) in columns.iter_mut().enumerate() {
                        *columns = _mm512_load_ps(b.add(at * 16));
                    }
                    for (row, sums) in sums.iter_mut().enumerate() {
                        let x = _mm512_set1_ps(*a.add(row));
                        for (sum, columns) in sums.iter_mut().zip(columns) {
                            *sum = _mm512_fmadd_ps(x, columns, *sum);
                        }
                    }
                    a = a.add(ROWS);
                    b = b.add(COLUMNS);
                }
                for (row, sums) in sums.iter().enumerate() {
                    for (at, sum) in sums.iter().enumerate() {
                        let c = c.add(row * c_row + at * 16);
                        let sum = if add {
                            _mm512_add_ps(_mm512_loadu_ps(c), *sum)
                        } else {
                            *sum
                        };
                        _mm512_storeu_ps(c, sum);
                    }
                }
            }
        }
    }

    /// 6 × 16: 12 of the 16 registers hold sums.
    pub(super) struct Avx2;

    impl Kernel for Avx2 {
        const ROWS: usize = 6;
        const COLUMNS: usize = 16;

        #[target_feature(enable = "avx2")]
        unsafe fn pack_rows(count: usize, depth: usize, x: View, to: *mut f32) {
            // SAFETY: the caller's promise.
            unsafe { pack::<6>(count, depth, x, to) }
        }

        #[target_feature(enable = "avx2")]
        unsafe fn pack_columns(count: usize, depth: usize, x: View, to: *mut f32) {
            // SAFETY: the caller's promise.
            unsafe { pack::<16>(count, depth, x, to) }
        }

        #[target_feature(enable = "avx2,fma")]
        unsafe fn run(
            depth: usize,
            mut a: *const f32,
            mut b: *const f32,
            c: *mut f32,
            c_row: usize,
            add: bool,
        ) {
            let mut sums = [[_mm256_setzero_ps(); 2]; 6];
            // SAFETY: the caller's promise about the operands' lengths.
            unsafe {
                for _ in 0..depth {
                    let (b0, b1) = (_mm256_load_ps(b), _mm256_load_ps(b.add(8)));
                    for (row, sums) in sums.iter_mut().enumerate() {
                        let x = _mm256_set1_ps(*a.add(row));
                        sums[0] = _mm256_fmadd_ps(x, b0, sums[0]);
                        sums[1] = _mm256_fmadd_ps(x, b1, sums[1]);
                    }
                    a = a.add(6);
                    b = b.add(16);
                }
                for (row, sums) in sums.iter().enumerate() {
                    for (half, sum) in sums.iter().enumerate() {
                        let c = c.add(row * c_row + half * 8);
                        let sum = if add {
                            _mm256_add_ps(_mm256_loadu_ps(c), *sum)
                        } else {
                            *sum
                        };
                        _mm256_storeu_ps(c, sum);
                    }
                }
            }
        }
    }

    /// Four rows of sixteen become sixteen rows of four, `to_row` apart.
    ///
    /// # Safety
    /// AVX-512 is there; the rows lie `from_row` apart inside their memory, as do the results.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn transpose_4x16(
        from: *const f32,
        from_row: usize,
        to: *mut f32,
        to_row: usize,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            let row = |i: usize| _mm512_loadu_ps(from.add(i * from_row));
            let (a, b, c, d) = (row(0), row(1), row(2), row(3));
            // Within each quarter of a register: pairs of a and b, of c and d, then all four.
            let (ab0, ab1) = (_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
            let (cd0, cd1) = (_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
            let join = |low: __m512, high: __m512| {
                let (low, high) = (_mm512_castps_pd(low), _mm512_castps_pd(high));
                [
                    _mm512_castpd_ps(_mm512_unpacklo_pd(low, high)),
                    _mm512_castpd_ps(_mm512_unpackhi_pd(low, high)),
                ]
            };
            let [[q0, q1], [q2, q3]] = [join(ab0, cd0), join(ab1, cd1)];
            for (i, q) in [q0, q1, q2, q3].into_iter().enumerate() {
                // Quarter `j` of `q` holds column `4 j + i`.
                _mm_storeu_ps(to.add(i * to_row), _mm512_extractf32x4_ps::<0>(q));
                _mm_storeu_ps(to.add((4 + i) * to_row), _mm512_extractf32x4_ps::<1>(q));
                _mm_storeu_ps(to.add((8 + i) * to_row), _mm512_extractf32x4_ps::<2>(q));
                _mm_storeu_ps(to.add((12 + i) * to_row), _mm512_extractf32x4_ps::<3>(q));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Stream};

    /// All kernels this processor has, as one function each.
    type Sum = unsafe fn(usize, usize, &[Term], *mut f32, usize, bool, bool);

    fn kernels() -> Vec<(&'static str, Sum)> {
        let mut all: Vec<(&'static str, Sum)> = vec![("best", sum), ("gemm", elsewhere)];
        #[cfg(target_arch = "x86_64")]
        {
            use crate::ops::simd::{Level, level};
            if level() != Level::Baseline {
                all.push(("avx2", tiles::<x86::Avx2>));
            }
        }
        all
    }

    fn numbers(n: usize, seed: u64) -> Vec<f32> {
        Stream::new(seed, Purpose::Initialisation, 1, 1).normal(n, 1.0)
    }

    #[track_caller]
    fn check(m: usize, n: usize, k: usize) {
        let (a, b, base) = (numbers(m * k, 1), numbers(k * n, 2), numbers(m * n, 3));
        for (name, sum) in kernels() {
            for (a_view, a_at) in [(View::rows(&a, k), [k, 1]), (View::rows(&a, m).t(), [1, m])] {
                for (b_view, b_at) in [(View::rows(&b, n), [n, 1]), (View::rows(&b, k).t(), [1, k])]
                {
                    for add in [false, true] {
                        let run = |parallel| {
                            let mut c = base.clone();
                            let (a, b) = (a_view, b_view);
                            let terms = [Term { k, a, b }];
                            // SAFETY: views of whole matrices.
                            unsafe { sum(m, n, &terms, c.as_mut_ptr(), n, add, parallel) };
                            c
                        };
                        let c = run(false);
                        assert_eq!(c, run(true), "{name}: threads change {m} {n} {k}");
                        for (i, found) in c.iter().enumerate() {
                            let (row, column) = (i / n, i % n);
                            let term = |p: usize| {
                                f64::from(a[row * a_at[0] + p * a_at[1]])
                                    * f64::from(b[p * b_at[0] + column * b_at[1]])
                            };
                            let exact = (0..k).map(term).sum::<f64>()
                                + if add { f64::from(base[i]) } else { 0.0 };
                            // Rounding grows with the length of the sum.
                            let tolerance = 1e-4 * (k as f64 / 300.0).max(1.0);
                            assert!(
                                (f64::from(*found) - exact).abs() < tolerance,
                                "{name} {m} {n} {k} at {i}: {found} {exact}"
                            );
                        }
                    }
                }
            }
        }
    }

    // Would catch rows that no tile has, or that two have, and tiles that leave a thread waiting.
    #[test]
    fn tiles_share_out_all_rows_evenly() {
        for threads in [1, 2, 3, 16] {
            for m in (1..700).chain([1024, 4097]) {
                let tiles = Tiles::new(m, 12, threads);
                let mut next = 0;
                let (mut least, mut most) = (usize::MAX, 0);
                for tile in 0..tiles.count {
                    let (first, rows) = tiles.rows(tile);
                    assert_eq!(first, next, "{threads} {m} {tile}");
                    next += rows;
                    (least, most) = (least.min(rows.div_ceil(12)), most.max(rows.div_ceil(12)));
                }
                assert_eq!(next, m, "{threads} {m}");
                assert!(
                    least > 0 && most <= least + 1,
                    "{threads} {m}: {least} {most}"
                );
                assert!(most * 12 <= TILE_ROWS + 12, "{threads} {m}: {most}");
            }
        }
    }

    // Would catch a wrong edge of a block, a tile or a panel, in any layout.
    #[test]
    fn products_are_exact_at_every_edge() {
        for (m, n, k) in [
            (1, 1, 1),
            (12, 32, 16),
            (13, 33, 17),
            (11, 31, 40),
            (25, 70, 300),
            (200, 40, 20),
            (7, 530, 5),
            (25, 16, 300),
            (600, 15, 40),
        ] {
            check(m, n, k);
        }
        check(193, 65, 257);
        // More than one chunk of columns, and of steps.
        check(3, 2100, 3);
        check(2, 40, 40_000);
    }

    // Would catch a term that is left out, that overwrites another, or is read at another's place.
    #[test]
    fn a_sum_is_that_of_its_products() {
        let (m, n, ks) = (50, 70, [300, 16, 0, 257]);
        let operands = ks.map(|k| (numbers(m * k, 1 + k as u64), numbers(k * n, 2 + k as u64)));
        let terms: Vec<Term> = ks
            .iter()
            .zip(&operands)
            .map(|(&k, (a, b))| Term {
                k,
                a: View::rows(a, k),
                b: View::rows(b, n),
            })
            .collect();
        for (name, sum) in kernels() {
            let (mut c, mut expected) = (numbers(m * n, 3), numbers(m * n, 3));
            // SAFETY: views of whole matrices.
            unsafe {
                sum(m, n, &terms, c.as_mut_ptr(), n, true, true);
                for term in &terms {
                    sum(m, n, &[*term], expected.as_mut_ptr(), n, true, false);
                }
            }
            for (found, expected) in c.iter().zip(expected) {
                assert!(
                    (found - expected).abs() < 1e-4,
                    "{name}: {found} {expected}"
                );
            }
        }
    }

    // Would catch a product over nothing that leaves what was there.
    #[test]
    fn an_empty_sum_is_zero() {
        let mut c = [1.0, 2.0];
        // SAFETY: nothing is read.
        unsafe {
            product(
                1,
                2,
                0,
                View::rows(&[], 0),
                View::rows(&[], 2),
                c.as_mut_ptr(),
                2,
                false,
                false,
            )
        };
        assert_eq!(c, [0.0, 0.0]);
    }
}
