//! Attention with grouped heads (Ainslie et al. 2023) over packed sequences, causal in decoders
//! and in both directions in encoders.
//!
//! Activations are `[T, heads · D]` over all tokens of a batch. A [`Group`] is a sequence whose
//! end may branch: each branch sees the prefix and itself. Two responses to one prompt are two
//! branches, and the prompt is computed once. There is no padding, and so no mask.
//!
//! Scores are made for a block of queries at a time and never kept: the backward makes them
//! again from the log-sum-exp of each row (as in FlashAttention, Dao et al. 2022).

mod cache;
mod tensors;

use std::ops::Range;

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::cpu::{self, Shared};
use super::gemm::{View, product};
use super::simd::{exp, max, sum_exp};

pub use cache::{LayerCache, Step};
pub use tensors::Groups;

/// Tokens that attend to each other, as ranges over the batch's tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Sees itself, causally where the heads are causal.
    pub prefix: Range<usize>,
    /// Each sees the whole prefix and, as above, itself; not the other branches.
    pub branches: Vec<Range<usize>>,
}

impl Group {
    /// A sequence without branches.
    pub fn sequence(tokens: Range<usize>) -> Self {
        Self {
            prefix: tokens,
            branches: Vec::new(),
        }
    }

    /// The parts with the prefix each sees: `(prefix length before it, its tokens)`.
    fn parts(&self) -> impl Iterator<Item = (usize, Range<usize>)> {
        let seen = self.prefix.len();
        std::iter::once((0, self.prefix.clone()))
            .chain(self.branches.iter().map(move |b| (seen, b.clone())))
    }

    /// Behind its last token.
    pub fn end(&self) -> usize {
        self.branches.last().unwrap_or(&self.prefix).end
    }

    fn longest(&self) -> usize {
        self.prefix.len() + self.branches.iter().map(Range::len).max().unwrap_or(0)
    }
}

/// Heads of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Query heads.
    pub query: usize,
    /// Key and value heads; divides `query`.
    pub key_value: usize,
    /// Width `D` of one head.
    pub width: usize,
    /// Whether a token sees only what comes before it; otherwise its whole sequence.
    pub causal: bool,
}

impl Heads {
    fn scale(self) -> f64 {
        1.0 / (self.width as f64).sqrt()
    }

    /// Of a part's `length` keys, how many its query `row` sees.
    fn visible(self, row: usize, length: usize) -> usize {
        if self.causal { row + 1 } else { length }
    }
}

/// `softmax(q kᵀ / √D) v` for every group. `q` `[T, N·D]`, `k` and `v` `[T, N_kv·D]`.
///
/// Returns the output `[T, N·D]` and each row's log-sum-exp `[T, N]` for the backward.
/// Tokens in no group give zeros.
pub fn attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    groups: &Groups,
    heads: Heads,
) -> Result<(Tensor, Tensor)> {
    let tokens = check(q, k, v, groups.all(), heads)?;
    if !cpu::fused([q, k, v]) {
        return tensors::forward(q, k, v, groups, heads);
    }
    let groups = groups.all();
    let (out, lse) = cpu::read([q, k, v], |[q, k, v]| {
        let (mut out, mut lse) = (cpu::buffer(q.len()), cpu::buffer(tokens * heads.query));
        let (shared_out, shared_lse) = (Shared::new(&mut out), Shared::new(&mut lse));
        tasks(groups, heads)
            .into_par_iter()
            .for_each(|(group, head)| {
                forward_task(q, k, v, group, head, heads, shared_out, shared_lse);
            });
        (out, lse)
    })?;
    Ok((
        cpu::tensor(out, q.shape().clone())?,
        cpu::tensor(lse, (tokens, heads.query))?,
    ))
}

/// Gradients of `q`, `k` and `v`; `out` and `lse` are what the forward returned.
#[allow(
    clippy::too_many_arguments,
    reason = "what the forward took and returned"
)]
pub fn attention_backward(
    d_out: &Tensor,
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    out: &Tensor,
    lse: &Tensor,
    groups: &Groups,
    heads: Heads,
) -> Result<(Tensor, Tensor, Tensor)> {
    check(q, k, v, groups.all(), heads)?;
    if !cpu::fused([d_out, q, k, v, out, lse]) {
        return tensors::backward(d_out, q, k, v, out, lse, groups, heads);
    }
    let groups = groups.all();
    let (dq, dk, dv) = cpu::read([d_out, q, k, v, out, lse], |[d_out, q, k, v, out, lse]| {
        let (mut dq, mut dk, mut dv) = (
            cpu::buffer(q.len()),
            cpu::buffer(k.len()),
            cpu::buffer(v.len()),
        );
        let shared = [
            Shared::new(&mut dq),
            Shared::new(&mut dk),
            Shared::new(&mut dv),
        ];
        tasks(groups, heads)
            .into_par_iter()
            .for_each(|(group, head)| {
                backward_task(d_out, q, k, v, out, lse, group, head, heads, shared);
            });
        (dq, dk, dv)
    })?;
    Ok((
        cpu::tensor(dq, q.shape().clone())?,
        cpu::tensor(dk, k.shape().clone())?,
        cpu::tensor(dv, v.shape().clone())?,
    ))
}

fn check(q: &Tensor, k: &Tensor, v: &Tensor, groups: &[Group], heads: Heads) -> Result<usize> {
    let (tokens, q_width) = q.dims2()?;
    let kv = [tokens, heads.key_value * heads.width];
    let ends = groups
        .iter()
        .flat_map(Group::parts)
        .map(|(_, part)| part.end)
        .max()
        .unwrap_or(0);
    if q_width != heads.query * heads.width
        || k.dims() != kv
        || v.dims() != kv
        || !heads.query.is_multiple_of(heads.key_value)
        || ends > tokens
    {
        candle_core::bail!(
            "attention: {:?}, {:?}, {:?} with {heads:?}",
            q.dims(),
            k.dims(),
            v.dims()
        );
    }
    Ok(tokens)
}

/// A task is one key head of one group: what it writes is its own, so nothing is locked and
/// sums have one order.
fn tasks(groups: &[Group], heads: Heads) -> Vec<(&Group, usize)> {
    groups
        .iter()
        .flat_map(|g| (0..heads.key_value).map(move |h| (g, h)))
        .collect()
}

/// Queries whose scores are held at once: with 2048 keys, 512 KiB of scores.
const QUERY_BLOCK: usize = 64;

/// Copies one head's rows `tokens` of `x` to rows from `at` on of a `[_, D]` scratch.
fn copy_head(
    x: &[f32],
    tokens: Range<usize>,
    stride: usize,
    column: usize,
    width: usize,
    to: &mut [f32],
    at: usize,
) {
    for (row, token) in tokens.enumerate() {
        to[(at + row) * width..][..width].copy_from_slice(&x[token * stride + column..][..width]);
    }
}

#[allow(
    clippy::too_many_arguments,
    reason = "a task takes what the operation takes"
)]
fn forward_task(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    group: &Group,
    key_head: usize,
    heads: Heads,
    out: Shared,
    lse: Shared,
) {
    let Heads {
        query,
        key_value,
        width,
        ..
    } = heads;
    let (q_stride, kv_stride) = (query * width, key_value * width);
    let longest = group.longest();
    let mut keys = vec![0.0; longest * width];
    let mut values = vec![0.0; longest * width];
    let mut scores = vec![0.0; QUERY_BLOCK * longest];
    let mut block_out = vec![0.0; QUERY_BLOCK * width];
    for (seen, part) in group.parts() {
        copy_head(
            k,
            part.clone(),
            kv_stride,
            key_head * width,
            width,
            &mut keys,
            seen,
        );
        copy_head(
            v,
            part.clone(),
            kv_stride,
            key_head * width,
            width,
            &mut values,
            seen,
        );
        for first in (0..part.len()).step_by(QUERY_BLOCK) {
            let rows = QUERY_BLOCK.min(part.len() - first);
            let columns = seen + heads.visible(first + rows - 1, part.len());
            for head in key_head * (query / key_value)..(key_head + 1) * (query / key_value) {
                let token = part.start + first;
                let q_rows = View {
                    data: q[token * q_stride + head * width..].as_ptr(),
                    row: q_stride,
                    column: 1,
                };
                // SAFETY: `token + rows <= T`, `columns <= longest`; scratch belongs to the task.
                unsafe {
                    let keys = View::rows(&keys, width).t();
                    product(
                        rows,
                        columns,
                        width,
                        q_rows,
                        keys,
                        scores.as_mut_ptr(),
                        columns,
                        false,
                        false,
                    );
                }
                for row in 0..rows {
                    let visible = seen + heads.visible(first + row, part.len());
                    let scores = &mut scores[row * columns..][..columns];
                    let row_lse = softmax(&mut scores[..visible], heads.scale() as f32);
                    scores[visible..].fill(0.0);
                    // SAFETY: this task alone has these tokens' head.
                    unsafe { lse.slice((token + row) * query + head, 1)[0] = row_lse };
                }
                // SAFETY: as above.
                unsafe {
                    let (scores, values) =
                        (View::rows(&scores, columns), View::rows(&values, width));
                    product(
                        rows,
                        width,
                        columns,
                        scores,
                        values,
                        block_out.as_mut_ptr(),
                        width,
                        false,
                        false,
                    );
                }
                for (row, values) in block_out.chunks_exact(width).take(rows).enumerate() {
                    // SAFETY: this task alone has these tokens' head.
                    unsafe { out.slice((token + row) * q_stride + head * width, width) }
                        .copy_from_slice(values);
                }
            }
        }
    }
}

#[allow(
    clippy::too_many_arguments,
    reason = "a task takes what the operation takes"
)]
fn backward_task(
    d_out: &[f32],
    q: &[f32],
    k: &[f32],
    v: &[f32],
    out: &[f32],
    lse: &[f32],
    group: &Group,
    key_head: usize,
    heads: Heads,
    [dq, dk, dv]: [Shared; 3],
) {
    let Heads {
        query,
        key_value,
        width,
        ..
    } = heads;
    let (q_stride, kv_stride) = (query * width, key_value * width);
    let scale = heads.scale() as f32;
    let longest = group.longest();
    let scratch = || vec![0.0; longest * width];
    let (mut keys, mut values, mut d_keys, mut d_values) =
        (scratch(), scratch(), scratch(), scratch());
    let mut scores = vec![0.0; QUERY_BLOCK * longest];
    let mut d_scores = vec![0.0; QUERY_BLOCK * longest];
    let mut block = vec![0.0; QUERY_BLOCK * width];
    for (seen, part) in group.parts() {
        copy_head(
            k,
            part.clone(),
            kv_stride,
            key_head * width,
            width,
            &mut keys,
            seen,
        );
        copy_head(
            v,
            part.clone(),
            kv_stride,
            key_head * width,
            width,
            &mut values,
            seen,
        );
        d_keys[seen * width..].fill(0.0);
        d_values[seen * width..].fill(0.0);
        for first in (0..part.len()).step_by(QUERY_BLOCK) {
            let rows = QUERY_BLOCK.min(part.len() - first);
            let columns = seen + heads.visible(first + rows - 1, part.len());
            let token = part.start + first;
            for head in key_head * (query / key_value)..(key_head + 1) * (query / key_value) {
                let view = |x: &[f32]| View {
                    data: x[token * q_stride + head * width..].as_ptr(),
                    row: q_stride,
                    column: 1,
                };
                let (q_rows, d_rows) = (view(q), view(d_out));
                let (key_rows, value_rows) = (View::rows(&keys, width), View::rows(&values, width));
                // SAFETY: `token + rows <= T`, `columns <= longest`; scratch belongs to the task.
                unsafe {
                    product(
                        rows,
                        columns,
                        width,
                        q_rows,
                        key_rows.t(),
                        scores.as_mut_ptr(),
                        columns,
                        false,
                        false,
                    );
                    product(
                        rows,
                        columns,
                        width,
                        d_rows,
                        value_rows.t(),
                        d_scores.as_mut_ptr(),
                        columns,
                        false,
                        false,
                    );
                }
                for row in 0..rows {
                    let visible = seen + heads.visible(first + row, part.len());
                    let at = (token + row) * q_stride + head * width;
                    let scores = &mut scores[row * columns..][..columns];
                    let d_scores = &mut d_scores[row * columns..][..columns];
                    scores[visible..].fill(0.0);
                    d_scores[visible..].fill(0.0);
                    softmax_backward(
                        &mut scores[..visible],
                        &mut d_scores[..visible],
                        &out[at..at + width],
                        &d_out[at..at + width],
                        lse[(token + row) * query + head],
                        scale,
                    );
                }
                let (p, ds) = (View::rows(&scores, columns), View::rows(&d_scores, columns));
                // SAFETY: as above.
                unsafe {
                    product(
                        columns,
                        width,
                        rows,
                        p.t(),
                        d_rows,
                        d_values.as_mut_ptr(),
                        width,
                        true,
                        false,
                    );
                    product(
                        columns,
                        width,
                        rows,
                        ds.t(),
                        q_rows,
                        d_keys.as_mut_ptr(),
                        width,
                        true,
                        false,
                    );
                    product(
                        rows,
                        width,
                        columns,
                        ds,
                        key_rows,
                        block.as_mut_ptr(),
                        width,
                        false,
                        false,
                    );
                }
                for (row, values) in block.chunks_exact(width).take(rows).enumerate() {
                    // SAFETY: this task alone has these tokens' head.
                    unsafe { dq.slice((token + row) * q_stride + head * width, width) }
                        .copy_from_slice(values);
                }
            }
        }
        // The prefix's rows keep summing over the branches and leave at the end.
        if seen > 0 {
            store_head(
                &d_keys,
                seen,
                part.clone(),
                kv_stride,
                key_head * width,
                width,
                dk,
            );
            store_head(
                &d_values,
                seen,
                part,
                kv_stride,
                key_head * width,
                width,
                dv,
            );
        }
    }
    store_head(
        &d_keys,
        0,
        group.prefix.clone(),
        kv_stride,
        key_head * width,
        width,
        dk,
    );
    store_head(
        &d_values,
        0,
        group.prefix.clone(),
        kv_stride,
        key_head * width,
        width,
        dv,
    );
}

fn store_head(
    from: &[f32],
    at: usize,
    tokens: Range<usize>,
    stride: usize,
    column: usize,
    width: usize,
    to: Shared,
) {
    for (row, token) in tokens.enumerate() {
        // SAFETY: the calling task alone has these tokens' key head.
        let to = unsafe { to.slice(token * stride + column, width) };
        to.copy_from_slice(&from[(at + row) * width..][..width]);
    }
}

simd! {
    /// Softmax of `scale · scores` in place; returns the log-sum-exp.
    pub(crate) fn softmax(scores: &mut [f32], scale: f32) -> f32 {
        for x in scores.iter_mut() {
            *x *= scale;
        }
        let shift = max(scores);
        let lse = shift + sum_exp(scores, shift).ln();
        for x in scores {
            *x = exp(*x - lse);
        }
        lse
    }
}

simd! {
    /// Scores become probabilities `P`; their gradients `dP` become `P (dP − Σ P dP) · scale`.
    ///
    /// `Σ P dP` is `out · d_out`, so that no second pass over the row is needed.
    fn softmax_backward(scores: &mut [f32], d_scores: &mut [f32], out: &[f32], d_out: &[f32], lse: f32, scale: f32) {
        let projection = super::simd::dot(out, d_out);
        for (s, d) in scores.iter_mut().zip(d_scores) {
            let p = exp(*s * scale - lse);
            *s = p;
            *d = p * (*d - projection) * scale;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{
        assert_close, check_gradient, random, random64, values, weighted_sum,
    };
    use super::*;
    use crate::ops::without_fused_kernels;

    fn both_directions(heads: Heads) -> [Heads; 2] {
        [true, false].map(|causal| Heads { causal, ..heads })
    }

    fn branched(scale: usize) -> Vec<Group> {
        let at = |x: usize| x * scale;
        vec![
            Group {
                prefix: 0..at(2),
                branches: vec![at(2)..at(4), at(4)..at(5)],
            },
            Group::sequence(at(5)..at(8)),
        ]
    }

    // Would catch a wrong term of the backward, a key head's gradient lost in the sum over its
    // queries, or a prefix's over its branches.
    #[test]
    fn backward_is_the_gradient() -> Result<()> {
        let heads = Heads {
            query: 4,
            key_value: 2,
            width: 3,
            causal: true,
        };
        let groups = branched(1);
        let (q, k, v) = (
            random64((8, 12), 1),
            random64((8, 6), 2),
            random64((8, 6), 3),
        );
        let d = random64((8, 12), 4);
        for heads in both_directions(heads) {
            let groups = Groups::of(&groups);
            let (out, lse) = attention(&q, &k, &v, &groups, heads)?;
            let (dq, dk, dv) = attention_backward(&d, &q, &k, &v, &out, &lse, &groups, heads)?;
            let loss = |q: &Tensor, k: &Tensor, v: &Tensor| {
                weighted_sum(&attention(q, k, v, &groups, heads)?.0, &d)
            };
            check_gradient(&q, &dq, |q| loss(q, &k, &v));
            check_gradient(&k, &dk, |k| loss(&q, k, &v));
            check_gradient(&v, &dv, |v| loss(&q, &k, v));
        }
        Ok(())
    }

    // Would catch a wrong block edge: parts are longer than one block of queries.
    #[test]
    fn kernels_agree_with_tensors() -> Result<()> {
        for (scale, heads) in [
            (
                1,
                Heads {
                    query: 2,
                    key_value: 1,
                    width: 8,
                    causal: true,
                },
            ),
            (
                50,
                Heads {
                    query: 6,
                    key_value: 2,
                    width: 16,
                    causal: true,
                },
            ),
            (
                70,
                Heads {
                    query: 3,
                    key_value: 3,
                    width: 64,
                    causal: true,
                },
            ),
        ] {
            let groups = branched(scale);
            let (tokens, q_width, kv_width) = (
                8 * scale,
                heads.query * heads.width,
                heads.key_value * heads.width,
            );
            let (q, k, v) = (
                random((tokens, q_width), 1),
                random((tokens, kv_width), 2),
                random((tokens, kv_width), 3),
            );
            let d = random((tokens, q_width), 4);
            for heads in both_directions(heads) {
                let groups = Groups::of(&groups);
                let run = || -> Result<[Tensor; 5]> {
                    let (out, lse) = attention(&q, &k, &v, &groups, heads)?;
                    let (dq, dk, dv) =
                        attention_backward(&d, &q, &k, &v, &out, &lse, &groups, heads)?;
                    Ok([out, lse, dq, dk, dv])
                };
                for (a, b) in run()?.iter().zip(&without_fused_kernels(run)?) {
                    assert_close(a, b, 3e-5);
                }
            }
        }
        Ok(())
    }

    // Would catch a mask that stays causal: the first token's output depends on the last.
    #[test]
    fn encoders_see_their_whole_sequence() -> Result<()> {
        let heads = Heads {
            query: 2,
            key_value: 2,
            width: 4,
            causal: false,
        };
        let (q, k, v) = (random((4, 8), 1), random((4, 8), 2), random((4, 8), 3));
        let groups = [Group::sequence(0..3), Group::sequence(3..4)];
        let first = |v: &Tensor, heads| -> Result<Vec<f64>> {
            Ok(values(
                &attention(&q, &k, v, &Groups::of(&groups), heads)?
                    .0
                    .narrow(0, 0, 1)?,
            ))
        };
        let changed = |row: usize| -> Result<Tensor> {
            let mut data = v.to_vec2::<f32>()?;
            data[row].iter_mut().for_each(|x| *x += 1.0);
            Tensor::new(data, v.device())
        };
        let causal = Heads {
            causal: true,
            ..heads
        };
        assert_ne!(first(&changed(2)?, heads)?, first(&v, heads)?);
        assert_eq!(first(&changed(3)?, heads)?, first(&v, heads)?);
        assert_eq!(first(&changed(2)?, causal)?, first(&v, causal)?);
        Ok(())
    }

    // Would catch a branch that sees its sibling or misses its prefix.
    #[test]
    fn branches_equal_whole_sequences() -> Result<()> {
        let heads = Heads {
            query: 4,
            key_value: 2,
            width: 8,
            causal: true,
        };
        let (q, k, v) = (random((5, 32), 1), random((5, 16), 2), random((5, 16), 3));
        let groups = [Group {
            prefix: 0..2,
            branches: vec![2..4, 4..5],
        }];
        let (out, _) = attention(&q, &k, &v, &Groups::of(&groups), heads)?;
        let rows = |x: &Tensor| x.index_select(&Tensor::new(&[0u32, 1, 4], x.device())?, 0);
        let alone = [Group::sequence(0..3)];
        let (second, _) = attention(
            &rows(&q)?,
            &rows(&k)?,
            &rows(&v)?,
            &Groups::of(&alone),
            heads,
        )?;
        assert_close(&rows(&out)?, &second, 1e-6);
        Ok(())
    }

    // Would catch a cache that decodes from the wrong place, on both paths.
    #[test]
    fn decoding_equals_the_whole_sequence() -> Result<()> {
        let heads = Heads {
            query: 4,
            key_value: 2,
            width: 8,
            causal: true,
        };
        let (q, k, v) = (random((6, 32), 1), random((6, 16), 2), random((6, 16), 3));
        let run = || -> Result<()> {
            let (whole, _) = attention(&q, &k, &v, &Groups::of(&[Group::sequence(0..6)]), heads)?;
            let cache = LayerCache::new(3, 8, heads, q.dtype(), q.device())?;
            cache.put(
                0,
                0,
                &k.narrow(0, 0, 4)?.contiguous()?,
                &v.narrow(0, 0, 4)?.contiguous()?,
                heads,
            )?;
            cache.copy_row(0, 2, 4)?;
            for at in 4..6 {
                let one = |x: &Tensor| x.narrow(0, at, 1)?.contiguous();
                let positions = [at as u32];
                let step = Step::new(&[2], &positions);
                cache.put_step(&step, &one(&k)?, &one(&v)?, heads)?;
                let out = cache.attend(&one(&q)?, &step, heads)?;
                assert_close(&out, &whole.narrow(0, at, 1)?, 1e-5);
            }
            Ok(())
        };
        run()?;
        without_fused_kernels(run)
    }
}
