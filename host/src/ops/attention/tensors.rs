//! Attention on any device: all parts of all groups at once, padded to one length.
//!
//! A part (a prefix, or a branch) is a row of queries; its keys are those of its prefix and its
//! own. Where tokens stand in these rows, and what each query sees, is the same in every layer
//! and is made once a pass. A token is one query, so queries come back by choosing rows; a
//! prefix's keys stand in several rows, and their gradients are summed.

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;

use candle_core::{D, DType, Device, Result, Tensor};

#[cfg(feature = "cuda")]
use super::super::cuda;
use super::{Group, Heads};

/// Scores held at once, in elements: 128 MiB in f32. Chosen: products of this size keep a device
/// busy, and the backward holds five of them.
const SCORES_MAX: usize = 32 << 20;

/// Added to the score of a key that a query does not see. Finite, so that a row of padding, which
/// sees nothing, has no NaN; beside it every score is lost in rounding.
pub(super) const HIDDEN: f32 = -1e30;

/// The groups of a batch, and where tensors have their tokens.
#[derive(Debug)]
pub struct Groups<'a> {
    all: &'a [Group],
    spread: RefCell<Option<Rc<Spread>>>,
}

impl<'a> Groups<'a> {
    /// The groups of one pass.
    pub fn of(all: &'a [Group]) -> Self {
        Self {
            all,
            spread: RefCell::new(None),
        }
    }

    /// The groups themselves.
    pub fn all(&self) -> &'a [Group] {
        self.all
    }

    /// What was made for the pass' first layer, as long as it fits.
    fn spread(&self, q: &Tensor, heads: Heads) -> Result<Rc<Spread>> {
        let mut slot = self.spread.borrow_mut();
        if let Some(spread) = slot.as_ref().filter(|spread| spread.fits(q, heads)) {
            return Ok(spread.clone());
        }
        let spread = Rc::new(Spread::new(self.all, q, heads)?);
        *slot = Some(spread.clone());
        Ok(spread)
    }
}

/// The type of scores and their sums: a half-precision softmax would lose what is small.
pub(super) fn wide(dtype: DType) -> DType {
    match dtype {
        DType::F16 | DType::BF16 => DType::F32,
        other => other,
    }
}

/// `log Σ eˣ` of each row and `eˣ` over it.
pub(super) fn softmax(scores: &Tensor) -> Result<(Tensor, Tensor)> {
    let lse = scores.log_sum_exp(D::Minus1)?;
    let p = scores.broadcast_sub(&lse.unsqueeze(D::Minus1)?)?.exp()?;
    Ok((p, lse))
}

#[derive(Debug)]
struct Spread {
    tokens: usize,
    heads: Heads,
    dtype: DType,
    device: Device,
    chunks: Vec<Chunk>,
    queries: Places,
    keys: Places,
}

/// Parts that are computed together.
#[derive(Debug)]
struct Chunk {
    parts: usize,
    queries: Slots,
    keys: Slots,
    /// `[parts, 1, queries, keys]`: 0 where a query sees a key.
    mask: Tensor,
}

/// Which tokens stand in the rows of a chunk, `length` for each part.
#[derive(Debug)]
struct Slots {
    length: usize,
    tokens: Which,
}

/// Rows of a tensor.
#[derive(Debug)]
enum Which {
    /// These, one after another: nothing has to be moved.
    Range(Range<usize>),
    /// Those of these numbers, `u32`.
    Index(Tensor),
}

impl Which {
    fn new(rows: Vec<u32>, device: &Device) -> Result<Self> {
        let first = rows.first().copied().unwrap_or(0);
        if rows.iter().zip(first..).all(|(row, at)| *row == at) {
            return Ok(Self::Range(first as usize..first as usize + rows.len()));
        }
        Ok(Self::Index(Tensor::new(rows, device)?))
    }

    fn of(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Range(rows) if rows.len() == x.dim(0)? => Ok(x.clone()),
            Self::Range(rows) => x.narrow(0, rows.start, rows.len()),
            Self::Index(rows) => x.contiguous()?.index_select(rows, 0),
        }
    }
}

/// Where each token stands in the rows of all chunks: its `times` places, one place of all tokens
/// after the other. Tokens that have fewer get a row of zeros behind the others.
#[derive(Debug)]
struct Places {
    times: usize,
    padded: bool,
    rows: Which,
}

impl Places {
    fn new(places: &[Vec<u32>], slots: usize, device: &Device) -> Result<Self> {
        let times = places.iter().map(Vec::len).max().unwrap_or(0).max(1);
        let of = |time: usize| {
            let zeros = slots as u32;
            let one = move |places: &Vec<u32>| places.get(time).copied().unwrap_or(zeros);
            places.iter().map(one)
        };
        Ok(Self {
            times,
            padded: places.iter().any(|p| p.len() < times),
            rows: Which::new((0..times).flat_map(of).collect(), device)?,
        })
    }

    /// From the rows of all chunks, each `[slots, W]`, to those of the tokens, `[T, W]`.
    fn collect(&self, mut chunks: Vec<Tensor>) -> Result<Tensor> {
        if self.padded {
            let zeros = Tensor::zeros(
                (1, chunks[0].dim(1)?),
                chunks[0].dtype(),
                chunks[0].device(),
            );
            chunks.push(zeros?);
        }
        let all = match chunks.len() {
            1 => chunks.remove(0),
            _ => Tensor::cat(&chunks, 0)?,
        };
        let rows = self.rows.of(&all)?;
        if self.times == 1 {
            return Ok(rows);
        }
        let (slots, width) = rows.dims2()?;
        rows.to_dtype(wide(rows.dtype()))?
            .reshape((self.times, slots / self.times, width))?
            .sum(0)?
            .to_dtype(rows.dtype())
    }
}

/// A part of a group: the tokens before it that it sees, and its own.
struct Part {
    seen: Range<usize>,
    own: Range<usize>,
}

impl Part {
    fn keys(&self) -> usize {
        self.seen.len() + self.own.len()
    }
}

impl Spread {
    fn new(groups: &[Group], q: &Tensor, heads: Heads) -> Result<Self> {
        let (tokens, device, dtype) = (q.dim(0)?, q.device(), q.dtype());
        let of_group = |group: &Group| {
            let prefix = group.prefix.clone();
            let part = move |(seen, own)| Part {
                seen: prefix.start..prefix.start + seen,
                own,
            };
            group.parts().map(part).collect::<Vec<_>>()
        };
        let parts = groups.iter().flat_map(of_group);
        let parts: Vec<Part> = parts.filter(|part| !part.own.is_empty()).collect();
        let mut spread = Self {
            tokens,
            heads,
            dtype,
            device: device.clone(),
            chunks: Vec::new(),
            queries: Places::new(&[], 0, device)?,
            keys: Places::new(&[], 0, device)?,
        };
        let mut query_places = vec![Vec::new(); tokens];
        let mut key_places = vec![Vec::new(); tokens];
        let (mut query_slots, mut key_slots) = (0, 0);
        for parts in chunked(&parts, heads) {
            let chunk = Chunk::new(parts, heads, wide(dtype), device)?;
            for (number, part) in parts.iter().enumerate() {
                let first = query_slots + number * chunk.queries.length;
                for (at, token) in part.own.clone().enumerate() {
                    query_places[token].push((first + at) as u32);
                }
                let first = key_slots + number * chunk.keys.length;
                for (at, token) in part.seen.clone().chain(part.own.clone()).enumerate() {
                    key_places[token].push((first + at) as u32);
                }
            }
            query_slots += parts.len() * chunk.queries.length;
            key_slots += parts.len() * chunk.keys.length;
            spread.chunks.push(chunk);
        }
        spread.queries = Places::new(&query_places, query_slots, device)?;
        spread.keys = Places::new(&key_places, key_slots, device)?;
        Ok(spread)
    }

    fn fits(&self, q: &Tensor, heads: Heads) -> bool {
        self.heads == heads
            && self.dtype == q.dtype()
            && self.device.same_device(q.device())
            && q.dims().first() == Some(&self.tokens)
    }
}

/// Runs of parts whose scores fit into [`SCORES_MAX`], at least one part each.
fn chunked(parts: &[Part], heads: Heads) -> Vec<&[Part]> {
    let mut chunks = Vec::new();
    let mut rest = parts;
    while !rest.is_empty() {
        let (mut count, mut queries, mut keys) = (0, 0, 0);
        for part in rest {
            queries = queries.max(part.own.len());
            keys = keys.max(part.keys());
            if count > 0 && (count + 1) * heads.query * queries * keys > SCORES_MAX {
                break;
            }
            count += 1;
        }
        let (chunk, others) = rest.split_at(count);
        chunks.push(chunk);
        rest = others;
    }
    chunks
}

impl Chunk {
    fn new(parts: &[Part], heads: Heads, dtype: DType, device: &Device) -> Result<Self> {
        let queries = parts.iter().map(|p| p.own.len()).max().unwrap_or(0);
        let keys = parts.iter().map(Part::keys).max().unwrap_or(0);
        let mut query_tokens = Vec::with_capacity(parts.len() * queries);
        let mut key_tokens = Vec::with_capacity(parts.len() * keys);
        let mut mask = vec![HIDDEN; parts.len() * queries * keys];
        for (part, mask) in parts.iter().zip(mask.chunks_exact_mut(queries * keys)) {
            // Padding has the tokens of the part's start, which nobody sees.
            let own = part.own.clone().map(|token| token as u32);
            let filler = part.own.start as u32;
            query_tokens.extend(own.clone());
            query_tokens.resize(query_tokens.len() + queries - part.own.len(), filler);
            key_tokens.extend(part.seen.clone().map(|token| token as u32).chain(own));
            key_tokens.resize(key_tokens.len() + keys - part.keys(), filler);
            for (row, mask) in mask.chunks_exact_mut(keys).take(part.own.len()).enumerate() {
                let visible = part.seen.len() + heads.visible(row, part.own.len());
                mask[..visible].fill(0.0);
            }
        }
        let slots = |length, tokens| -> Result<Slots> {
            let tokens = Which::new(tokens, device)?;
            Ok(Slots { length, tokens })
        };
        Ok(Self {
            parts: parts.len(),
            queries: slots(queries, query_tokens)?,
            keys: slots(keys, key_tokens)?,
            mask: Tensor::from_vec(mask, (parts.len(), 1, queries, keys), device)?
                .to_dtype(dtype)?,
        })
    }

    /// Of rows `[T, N·D]`: `[parts · N_kv, N / N_kv · queries, D]`, so that heads which share a
    /// key head are one matrix.
    fn queries(&self, x: &Tensor, heads: Heads) -> Result<Tensor> {
        let (shared, length) = (heads.query / heads.key_value, self.queries.length);
        self.queries
            .tokens
            .of(x)?
            .reshape((self.parts, length, heads.key_value, shared, heads.width))?
            .permute((0, 2, 3, 1, 4))?
            .contiguous()?
            .reshape((self.parts * heads.key_value, shared * length, heads.width))
    }

    /// The way back: `[parts · queries, N·D]`.
    fn query_rows(&self, x: Tensor, heads: Heads) -> Result<Tensor> {
        let (shared, length) = (heads.query / heads.key_value, self.queries.length);
        x.reshape((self.parts, heads.key_value, shared, length, heads.width))?
            .permute((0, 3, 1, 2, 4))?
            .contiguous()?
            .reshape((self.parts * length, heads.query * heads.width))
    }

    /// Of rows `[T, N_kv·D]`: `[parts · N_kv, keys, D]`.
    fn keys(&self, x: &Tensor, heads: Heads) -> Result<Tensor> {
        let length = self.keys.length;
        self.keys
            .tokens
            .of(x)?
            .reshape((self.parts, length, heads.key_value, heads.width))?
            .transpose(1, 2)?
            .contiguous()?
            .reshape((self.parts * heads.key_value, length, heads.width))
    }

    /// The way back: `[parts · keys, N_kv·D]`.
    fn key_rows(&self, x: Tensor, heads: Heads) -> Result<Tensor> {
        let length = self.keys.length;
        x.reshape((self.parts, heads.key_value, length, heads.width))?
            .transpose(1, 2)?
            .contiguous()?
            .reshape((self.parts * length, heads.key_value * heads.width))
    }

    /// A number of each query and head, `[T, N]`: `[parts, N, queries, 1]`.
    fn numbers(&self, x: &Tensor, heads: Heads) -> Result<Tensor> {
        self.queries
            .tokens
            .of(x)?
            .reshape((self.parts, self.queries.length, heads.query))?
            .transpose(1, 2)?
            .contiguous()?
            .unsqueeze(3)
    }

    /// The way back: `[parts · queries, N]`.
    fn number_rows(&self, x: &Tensor, heads: Heads) -> Result<Tensor> {
        x.transpose(1, 2)?
            .contiguous()?
            .reshape((self.parts * self.queries.length, heads.query))
    }

    /// `[parts, N, queries, keys]` from a product of [`Chunk::queries`] and [`Chunk::keys`], in
    /// the [`wide`] type.
    fn per_head(&self, x: &Tensor, heads: Heads) -> Result<Tensor> {
        let (queries, keys) = (self.queries.length, self.keys.length);
        x.to_dtype(wide(x.dtype()))?
            .reshape((self.parts, heads.query, queries, keys))
    }

    /// From [`Chunk::per_head`] back to the operand of a product, in `dtype`.
    fn operand(&self, x: &Tensor, heads: Heads, dtype: DType) -> Result<Tensor> {
        let (queries, keys) = (self.queries.length, self.keys.length);
        let shared = heads.query / heads.key_value;
        x.to_dtype(dtype)?
            .reshape((self.parts * heads.key_value, shared * queries, keys))
    }

    /// Products of queries and keys, scaled, with the mask.
    fn scores(&self, products: &Tensor, heads: Heads) -> Result<Tensor> {
        (self.per_head(products, heads)? * heads.scale())?.broadcast_add(&self.mask)
    }

    /// Probabilities as the operand of a product, and the log-sum-exp of each query and head,
    /// `[parts, N, queries]`.
    fn softmax(&self, products: Tensor, heads: Heads) -> Result<(Tensor, Tensor)> {
        #[cfg(feature = "cuda")]
        if cuda::fused([&products]) {
            let lse = cuda::softmax(&products, &self.mask, self.shape(heads))?;
            return Ok((products, lse));
        }
        let (p, lse) = softmax(&self.scores(&products, heads)?)?;
        Ok((self.operand(&p, heads, products.dtype())?, lse))
    }

    /// Probabilities again, and the gradients of the products from those of the probabilities:
    /// `P (dP − Σ P dP) · scale`, where `Σ P dP` is `projection`; both as operands of products.
    fn softmax_backward(
        &self,
        products: Tensor,
        d: Tensor,
        lse: &Tensor,
        projection: &Tensor,
        heads: Heads,
    ) -> Result<(Tensor, Tensor)> {
        #[cfg(feature = "cuda")]
        if cuda::fused([&products, &d]) {
            let numbers = [lse, projection];
            cuda::softmax_backward(&products, &d, &self.mask, numbers, self.shape(heads))?;
            return Ok((products, d));
        }
        let p = self.scores(&products, heads)?.broadcast_sub(lse)?.exp()?;
        let slopes = self.per_head(&d, heads)?.broadcast_sub(projection)?;
        let ds = ((&p * slopes)? * heads.scale())?;
        let dtype = products.dtype();
        Ok((
            self.operand(&p, heads, dtype)?,
            self.operand(&ds, heads, dtype)?,
        ))
    }

    #[cfg(feature = "cuda")]
    fn shape(&self, heads: Heads) -> cuda::Shape {
        cuda::Shape {
            parts: self.parts,
            heads: heads.query,
            queries: self.queries.length,
            keys: self.keys.length,
            scale: heads.scale(),
        }
    }
}

pub(super) fn forward(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    groups: &Groups,
    heads: Heads,
) -> Result<(Tensor, Tensor)> {
    let spread = groups.spread(q, heads)?;
    if spread.chunks.is_empty() {
        let lse = Tensor::zeros((spread.tokens, heads.query), wide(q.dtype()), q.device())?;
        return Ok((q.zeros_like()?, lse));
    }
    let (mut out, mut sums) = (Vec::new(), Vec::new());
    for chunk in &spread.chunks {
        let (k, v) = (chunk.keys(k, heads)?, chunk.keys(v, heads)?);
        let products = chunk.queries(q, heads)?.matmul(&k.transpose(1, 2)?)?;
        let (p, lse) = chunk.softmax(products, heads)?;
        out.push(chunk.query_rows(p.matmul(&v)?, heads)?);
        sums.push(chunk.number_rows(&lse, heads)?);
    }
    Ok((spread.queries.collect(out)?, spread.queries.collect(sums)?))
}

#[allow(
    clippy::too_many_arguments,
    reason = "what the forward took and returned"
)]
pub(super) fn backward(
    d_out: &Tensor,
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    out: &Tensor,
    lse: &Tensor,
    groups: &Groups,
    heads: Heads,
) -> Result<(Tensor, Tensor, Tensor)> {
    let spread = groups.spread(q, heads)?;
    if spread.chunks.is_empty() {
        return Ok((q.zeros_like()?, k.zeros_like()?, v.zeros_like()?));
    }
    // `Σ P dP` of each query and head is `out · d_out`.
    let high = wide(q.dtype());
    let projection = (out.to_dtype(high)? * d_out.to_dtype(high)?)?
        .reshape((spread.tokens, heads.query, heads.width))?
        .sum(2)?;
    let (mut dq, mut dk, mut dv) = (Vec::new(), Vec::new(), Vec::new());
    for chunk in &spread.chunks {
        let (q, d) = (chunk.queries(q, heads)?, chunk.queries(d_out, heads)?);
        let (k, v) = (chunk.keys(k, heads)?, chunk.keys(v, heads)?);
        let lse = chunk.numbers(lse, heads)?;
        let projection = chunk.numbers(&projection, heads)?;
        let products = q.matmul(&k.transpose(1, 2)?)?;
        let dp = d.matmul(&v.transpose(1, 2)?)?;
        let (p, ds) = chunk.softmax_backward(products, dp, &lse, &projection, heads)?;
        dv.push(chunk.key_rows(p.transpose(1, 2)?.matmul(&d)?, heads)?);
        dq.push(chunk.query_rows(ds.matmul(&k)?, heads)?);
        dk.push(chunk.key_rows(ds.transpose(1, 2)?.matmul(&q)?, heads)?);
    }
    Ok((
        spread.queries.collect(dq)?,
        spread.keys.collect(dk)?,
        spread.keys.collect(dv)?,
    ))
}
