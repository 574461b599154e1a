//! Llama (Touvron et al. 2023): RMS norm, rotary positions, grouped-query attention, gated MLP.
//!
//! SmolLM2, TinyLlama and Llama 1 and 2 are of this form. Fields carry the checkpoint's names.

use std::path::Path;

use candle_core::{Device, Result, Tensor, bail};
use serde_json::{Value, json};

use super::{Cache, CausalLm, Objective, Packed, Parameter, Targets, head, weights};
use crate::ops::attention::{Group, Heads, LayerCache, attention, attention_backward};
use crate::ops::embedding::{gather, scatter_add};
use crate::ops::matmul::{linear, linear_add, linear_input_gradient, linear_weight_gradient};
use crate::ops::rms_norm::{rms_norm, rms_norm_apply, rms_norm_backward};
use crate::ops::rope::{Angles, rope, rope_backward};
use crate::ops::silu_mul::{silu_mul, silu_mul_backward};
use crate::random::{Purpose, Stream};

/// Standard deviation of initial weights (Radford et al. 2019; transformers' `initializer_range`).
const INITIAL_DEVIATION: f64 = 0.02;

/// A model's shape, under the names of `config.json`.
#[derive(Clone, Debug, PartialEq)]
pub struct LlamaConfig {
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub num_key_value_heads: usize,
    pub head_dim: usize,
    pub max_position_embeddings: usize,
    pub rms_norm_eps: f64,
    pub rope_theta: f64,
    pub tie_word_embeddings: bool,
    pub bos_token_id: Option<u32>,
    /// Generation ends at any of these.
    pub eos_token_id: Vec<u32>,
    pub pad_token_id: Option<u32>,
}

impl LlamaConfig {
    fn heads(&self) -> Heads {
        Heads {
            query: self.num_attention_heads,
            key_value: self.num_key_value_heads,
            width: self.head_dim,
        }
    }

    /// Number of weights.
    pub fn parameters(&self) -> usize {
        let (h, i) = (self.hidden_size, self.intermediate_size);
        let attention =
            h * self.head_dim * (2 * self.num_attention_heads + 2 * self.num_key_value_heads);
        let embeddings = self.vocab_size * h * if self.tie_word_embeddings { 1 } else { 2 };
        embeddings + self.num_hidden_layers * (attention + 3 * h * i + 2 * h) + h
    }

    /// The `config.json` that transformers reads.
    pub fn to_json(&self) -> Value {
        let eos = match self.eos_token_id.as_slice() {
            [] => Value::Null,
            [one] => json!(one),
            several => json!(several),
        };
        json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "max_position_embeddings": self.max_position_embeddings,
            "rms_norm_eps": self.rms_norm_eps,
            "rope_theta": self.rope_theta,
            "rope_parameters": {"rope_theta": self.rope_theta, "rope_type": "default"},
            "attention_bias": false,
            "attention_dropout": 0.0,
            "mlp_bias": false,
            "initializer_range": INITIAL_DEVIATION,
            "tie_word_embeddings": self.tie_word_embeddings,
            "use_cache": true,
            "bos_token_id": self.bos_token_id,
            "eos_token_id": eos,
            "pad_token_id": self.pad_token_id,
            "dtype": "float32",
        })
    }

    /// Reads `config.json`.
    ///
    /// # Errors
    /// A key is missing or of the wrong kind, or asks for what this model does not have.
    pub fn from_json(config: &Value) -> std::result::Result<Self, weights::ConfigError> {
        let read = weights::ConfigReader(config);
        read.require("hidden_act", &json!("silu"))?;
        read.require("attention_bias", &json!(false))?;
        read.require("mlp_bias", &json!(false))?;
        let rope = config.get("rope_parameters").filter(|v| v.is_object());
        let scaling = rope.or(config.get("rope_scaling").filter(|v| v.is_object()));
        let kind = scaling
            .and_then(|r| r.get("rope_type").or(r.get("type")))
            .and_then(Value::as_str);
        if let Some(kind) = kind.filter(|kind| *kind != "default") {
            return Err(weights::ConfigError::Unsupported {
                key: "rope_type".into(),
                found: kind.into(),
                supported: "default".into(),
            });
        }
        let theta = rope
            .and_then(|r| r.get("rope_theta"))
            .or(config.get("rope_theta"));
        let rope_theta =
            theta
                .map_or(Some(10_000.0), Value::as_f64)
                .ok_or(weights::ConfigError::Invalid {
                    key: "rope_theta".into(),
                    found: theta.map(Value::to_string).unwrap_or_default(),
                })?;
        let hidden_size = read.size("hidden_size")?;
        let num_attention_heads = read.size("num_attention_heads")?;
        let parsed = Self {
            vocab_size: read.size("vocab_size")?,
            hidden_size,
            intermediate_size: read.size("intermediate_size")?,
            num_hidden_layers: read.size("num_hidden_layers")?,
            num_attention_heads,
            num_key_value_heads: read.size_or("num_key_value_heads", num_attention_heads)?,
            head_dim: read.size_or("head_dim", hidden_size / num_attention_heads)?,
            max_position_embeddings: read.size_or("max_position_embeddings", 2048)?,
            rms_norm_eps: read.number_or("rms_norm_eps", 1e-6)?,
            rope_theta,
            tie_word_embeddings: config
                .get("tie_word_embeddings")
                .and_then(Value::as_bool)
                .unwrap_or(false),
            bos_token_id: read.ids("bos_token_id").first().copied(),
            eos_token_id: read.ids("eos_token_id"),
            pad_token_id: read.ids("pad_token_id").first().copied(),
        };
        if !parsed
            .num_attention_heads
            .is_multiple_of(parsed.num_key_value_heads)
            || !parsed.head_dim.is_multiple_of(2)
        {
            return Err(weights::ConfigError::Invalid {
                key: "num_key_value_heads".into(),
                found: format!(
                    "{} for {} heads of {}",
                    parsed.num_key_value_heads, parsed.num_attention_heads, parsed.head_dim
                ),
            });
        }
        Ok(parsed)
    }
}

/// Gives the weight of a name and shape: from a file, or drawn.
type WeightSource<'a, E> = dyn FnMut(&str, &[usize]) -> std::result::Result<Tensor, E> + 'a;

#[derive(Debug)]
struct Layer {
    input_layernorm: Parameter,
    q_proj: Parameter,
    k_proj: Parameter,
    v_proj: Parameter,
    o_proj: Parameter,
    post_attention_layernorm: Parameter,
    gate_proj: Parameter,
    up_proj: Parameter,
    down_proj: Parameter,
}

/// What a layer's backward needs of its forward. Normed states and the gated product are made
/// again: they cost a pass over memory and would be a third of what is kept.
struct Activations {
    x: Tensor,
    inner: Option<Inner>,
}

struct Inner {
    x_inverse: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attended: Tensor,
    lse: Tensor,
    h: Tensor,
    h_inverse: Tensor,
    gate: Tensor,
    up: Tensor,
}

/// A Llama with its language-model head.
#[derive(Debug)]
pub struct Llama {
    config: LlamaConfig,
    /// `config.json` as it was found, so that saving loses nothing.
    source: Value,
    device: Device,
    embed_tokens: Parameter,
    layers: Vec<Layer>,
    norm: Parameter,
    /// None where the embedding is used for both.
    lm_head: Option<Parameter>,
    gradient_checkpointing: bool,
}

impl Llama {
    /// Random weights from the run's seed: normal with deviation 0.02, the two projections that
    /// write to the residual stream scaled by `1/√(2 layers)` (Radford et al. 2019, section 2.3).
    ///
    /// Each parameter has a stream of its own: one more layer leaves the others as they were.
    ///
    /// # Errors
    /// The device has no room.
    pub fn init(config: LlamaConfig, seed: u64, device: &Device) -> Result<Self> {
        let residual = INITIAL_DEVIATION / (2.0 * config.num_hidden_layers as f64).sqrt();
        let mut number = 0;
        let source = config.to_json();
        Self::build(config, source, device, &mut |name, shape| {
            number += 1;
            let count = shape.iter().product();
            let data = if name.ends_with("norm.weight") {
                vec![1.0; count]
            } else {
                let deviation =
                    if name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight") {
                        residual
                    } else {
                        INITIAL_DEVIATION
                    };
                Stream::new(seed, Purpose::Initialisation, number, 0).normal(count, deviation)
            };
            Tensor::from_vec(data, shape, device)
        })
    }

    /// Loads a Hugging Face folder. See [`super::load`].
    ///
    /// # Errors
    /// See [`weights::Error`].
    pub fn load(folder: &Path, device: &Device) -> std::result::Result<Self, weights::Error> {
        let source = weights::read_config(folder)?;
        weights::require_architecture(folder, &source, "llama", "LlamaForCausalLM")?;
        let config = LlamaConfig::from_json(&source).map_err(|source| weights::Error::Config {
            file: folder.join("config.json"),
            source,
        })?;
        let mut files = weights::Files::open(folder)?;
        let tied = config.tie_word_embeddings;
        let model = Self::build(config, source, device, &mut |name, shape| {
            files.take(name, shape, device)
        })?;
        files.finish(|name| {
            name.ends_with("rotary_emb.inv_freq") || (tied && name == "lm_head.weight")
        })?;
        Ok(model)
    }

    fn build<E>(
        config: LlamaConfig,
        source: Value,
        device: &Device,
        weight: &mut WeightSource<E>,
    ) -> std::result::Result<Self, E> {
        let mut parameter = |name: String, shape: &[usize]| {
            weight(&name, shape).map(|value| Parameter::new(name, value))
        };
        let (h, i) = (config.hidden_size, config.intermediate_size);
        let Heads {
            query,
            key_value,
            width,
        } = config.heads();
        let embed_tokens = parameter("model.embed_tokens.weight".into(), &[config.vocab_size, h])?;
        let mut layers = Vec::with_capacity(config.num_hidden_layers);
        for number in 0..config.num_hidden_layers {
            let mut named = |part: &str, shape: &[usize]| {
                parameter(format!("model.layers.{number}.{part}.weight"), shape)
            };
            layers.push(Layer {
                input_layernorm: named("input_layernorm", &[h])?,
                q_proj: named("self_attn.q_proj", &[query * width, h])?,
                k_proj: named("self_attn.k_proj", &[key_value * width, h])?,
                v_proj: named("self_attn.v_proj", &[key_value * width, h])?,
                o_proj: named("self_attn.o_proj", &[h, query * width])?,
                post_attention_layernorm: named("post_attention_layernorm", &[h])?,
                gate_proj: named("mlp.gate_proj", &[i, h])?,
                up_proj: named("mlp.up_proj", &[i, h])?,
                down_proj: named("mlp.down_proj", &[h, i])?,
            });
        }
        let norm = parameter("model.norm.weight".into(), &[h])?;
        let lm_head = match config.tie_word_embeddings {
            true => None,
            false => Some(parameter("lm_head.weight".into(), &[config.vocab_size, h])?),
        };
        Ok(Self {
            config,
            source,
            device: device.clone(),
            embed_tokens,
            layers,
            norm,
            lm_head,
            gradient_checkpointing: false,
        })
    }

    /// The model's shape.
    pub fn config(&self) -> &LlamaConfig {
        &self.config
    }

    /// Keeps only each layer's input in training and computes the layer again in the backward:
    /// about a third more time for a small part of the memory.
    pub fn set_gradient_checkpointing(&mut self, on: bool) {
        self.gradient_checkpointing = on;
    }

    /// Final states `[T, H]` of all tokens, normed: what the head sees.
    ///
    /// # Errors
    /// A token beyond the vocabulary.
    pub fn hidden(&self, batch: &Packed) -> Result<Tensor> {
        Ok(self.states(batch)?.0)
    }

    /// Logits `[T, V]` of all tokens: for tests and small batches.
    ///
    /// # Errors
    /// As for [`Llama::hidden`].
    pub fn logits(&self, batch: &Packed) -> Result<Tensor> {
        linear(&self.hidden(batch)?, self.head())
    }

    fn head(&self) -> &Tensor {
        &self.lm_head.as_ref().unwrap_or(&self.embed_tokens).value
    }

    fn angles(&self, positions: &[u32]) -> Result<Angles> {
        let dtype = self.embed_tokens.value.dtype();
        Angles::new(
            positions,
            self.config.head_dim,
            self.config.rope_theta,
            dtype,
            &self.device,
        )
    }

    /// Forward without a memory of it.
    fn states(&self, batch: &Packed) -> Result<(Tensor, Tensor)> {
        let angles = self.angles(&batch.positions)?;
        let mut x = gather(&self.embed_tokens.value, &batch.ids)?;
        for layer in &self.layers {
            x = layer.forward(&x, &angles, &batch.groups, &self.config)?.0;
        }
        rms_norm(&x, &self.norm.value, self.config.rms_norm_eps)
    }
}

impl Layer {
    fn forward(
        &self,
        x: &Tensor,
        angles: &Angles,
        groups: &[Group],
        config: &LlamaConfig,
    ) -> Result<(Tensor, Inner)> {
        let (normed, x_inverse) = rms_norm(x, &self.input_layernorm.value, config.rms_norm_eps)?;
        let q = rope(linear(&normed, &self.q_proj.value)?, angles)?;
        let k = rope(linear(&normed, &self.k_proj.value)?, angles)?;
        let v = linear(&normed, &self.v_proj.value)?;
        drop(normed);
        let (attended, lse) = attention(&q, &k, &v, groups, config.heads())?;
        let h = linear_add(x.copy()?, &attended, &self.o_proj.value)?;
        let (normed, h_inverse) = rms_norm(
            &h,
            &self.post_attention_layernorm.value,
            config.rms_norm_eps,
        )?;
        let gate = linear(&normed, &self.gate_proj.value)?;
        let up = linear(&normed, &self.up_proj.value)?;
        drop(normed);
        let y = linear_add(h.copy()?, &silu_mul(&gate, &up)?, &self.down_proj.value)?;
        Ok((
            y,
            Inner {
                x_inverse,
                q,
                k,
                v,
                attended,
                lse,
                h,
                h_inverse,
                gate,
                up,
            },
        ))
    }

    /// `dy` is the gradient of the layer's output; returns that of its input.
    fn backward(
        &mut self,
        dy: Tensor,
        x: &Tensor,
        inner: Inner,
        angles: &Angles,
        groups: &[Group],
        config: &LlamaConfig,
    ) -> Result<Tensor> {
        let Inner {
            x_inverse,
            q,
            k,
            v,
            attended,
            lse,
            h,
            h_inverse,
            gate,
            up,
        } = inner;
        let gated = silu_mul(&gate, &up)?;
        add_gradient(&mut self.down_proj, &dy, &gated)?;
        drop(gated);
        let d_gated = linear_input_gradient(None, &dy, &self.down_proj.value)?;
        let (d_gate, d_up) = silu_mul_backward(&d_gated, gate, up)?;
        drop(d_gated);
        let normed = rms_norm_apply(&h, &h_inverse, &self.post_attention_layernorm.value)?;
        add_gradient(&mut self.gate_proj, &d_gate, &normed)?;
        add_gradient(&mut self.up_proj, &d_up, &normed)?;
        drop(normed);
        let d_normed = linear_input_gradient(None, &d_gate, &self.gate_proj.value)?;
        let d_normed = linear_input_gradient(Some(d_normed), &d_up, &self.up_proj.value)?;
        drop((d_gate, d_up));
        let norm = &mut self.post_attention_layernorm;
        let dh = rms_norm_backward(
            dy,
            &d_normed,
            &h,
            &h_inverse,
            &norm.value,
            norm.gradient.as_mut(),
        )?;
        drop(h);

        add_gradient(&mut self.o_proj, &dh, &attended)?;
        let d_attended = linear_input_gradient(None, &dh, &self.o_proj.value)?;
        let (dq, dk, dv) = attention_backward(
            &d_attended,
            &q,
            &k,
            &v,
            &attended,
            &lse,
            groups,
            config.heads(),
        )?;
        drop((q, k, v, attended, d_attended));
        let (dq, dk) = (rope_backward(dq, angles)?, rope_backward(dk, angles)?);
        let normed = rms_norm_apply(x, &x_inverse, &self.input_layernorm.value)?;
        add_gradient(&mut self.q_proj, &dq, &normed)?;
        add_gradient(&mut self.k_proj, &dk, &normed)?;
        add_gradient(&mut self.v_proj, &dv, &normed)?;
        drop(normed);
        let d_normed = linear_input_gradient(None, &dq, &self.q_proj.value)?;
        let d_normed = linear_input_gradient(Some(d_normed), &dk, &self.k_proj.value)?;
        let d_normed = linear_input_gradient(Some(d_normed), &dv, &self.v_proj.value)?;
        let norm = &mut self.input_layernorm;
        rms_norm_backward(
            dh,
            &d_normed,
            x,
            &x_inverse,
            &norm.value,
            norm.gradient.as_mut(),
        )
    }

    fn parameters(&self) -> [&Parameter; 9] {
        [
            &self.input_layernorm,
            &self.q_proj,
            &self.k_proj,
            &self.v_proj,
            &self.o_proj,
            &self.post_attention_layernorm,
            &self.gate_proj,
            &self.up_proj,
            &self.down_proj,
        ]
    }

    fn parameters_mut(&mut self) -> [&mut Parameter; 9] {
        [
            &mut self.input_layernorm,
            &mut self.q_proj,
            &mut self.k_proj,
            &mut self.v_proj,
            &mut self.o_proj,
            &mut self.post_attention_layernorm,
            &mut self.gate_proj,
            &mut self.up_proj,
            &mut self.down_proj,
        ]
    }
}

/// Adds a weight's gradient where it is trained.
fn add_gradient(parameter: &mut Parameter, dy: &Tensor, x: &Tensor) -> Result<()> {
    match &mut parameter.gradient {
        Some(gradient) => linear_weight_gradient(gradient, dy, x),
        None => Ok(()),
    }
}

impl CausalLm for Llama {
    fn parameters(&self) -> Vec<&Parameter> {
        let layers = self.layers.iter().flat_map(Layer::parameters);
        std::iter::once(&self.embed_tokens)
            .chain(layers)
            .chain([&self.norm])
            .chain(&self.lm_head)
            .collect()
    }

    fn parameters_mut(&mut self) -> Vec<&mut Parameter> {
        let layers = self.layers.iter_mut().flat_map(Layer::parameters_mut);
        std::iter::once(&mut self.embed_tokens)
            .chain(layers)
            .chain([&mut self.norm])
            .chain(&mut self.lm_head)
            .collect()
    }

    fn vocabulary(&self) -> usize {
        self.config.vocab_size
    }

    fn context(&self) -> usize {
        self.config.max_position_embeddings
    }

    fn device(&self) -> &Device {
        &self.device
    }

    fn logprobs(&self, batch: &Packed, targets: &Targets) -> Result<Vec<f32>> {
        head::logprobs(&self.hidden(batch)?, self.head(), targets)
    }

    fn accumulate(
        &mut self,
        batch: &Packed,
        targets: &Targets,
        objective: &mut Objective,
    ) -> Result<()> {
        if self.parameters().iter().any(|p| p.gradient.is_none()) {
            bail!("a frozen model cannot accumulate gradients");
        }
        let angles = self.angles(&batch.positions)?;
        let mut kept = Vec::with_capacity(self.layers.len());
        let mut x = gather(&self.embed_tokens.value, &batch.ids)?;
        for layer in &self.layers {
            let (y, inner) = layer.forward(&x, &angles, &batch.groups, &self.config)?;
            let inner = (!self.gradient_checkpointing).then_some(inner);
            kept.push(Activations {
                x: std::mem::replace(&mut x, y),
                inner,
            });
        }
        let (hidden, inverse) = rms_norm(&x, &self.norm.value, self.config.rms_norm_eps)?;
        let head = self.lm_head.as_mut().unwrap_or(&mut self.embed_tokens);
        let gradient = head.gradient.as_mut().expect("checked above");
        let d_hidden = head::backward(&hidden, &head.value, gradient, targets, objective)?;
        drop(hidden);
        let base = x.zeros_like()?;
        let mut dx = rms_norm_backward(
            base,
            &d_hidden,
            &x,
            &inverse,
            &self.norm.value,
            self.norm.gradient.as_mut(),
        )?;
        drop((x, d_hidden));
        for layer in self.layers.iter_mut().rev() {
            let Activations { x, inner } = kept.pop().expect("one for each layer");
            let inner = match inner {
                Some(inner) => inner,
                None => layer.forward(&x, &angles, &batch.groups, &self.config)?.1,
            };
            dx = layer.backward(dx, &x, inner, &angles, &batch.groups, &self.config)?;
        }
        scatter_add(
            self.embed_tokens.gradient.as_mut().expect("checked above"),
            &batch.ids,
            &dx,
        )
    }

    fn cache(&self, rows: usize, capacity: usize) -> Result<Cache> {
        let dtype = self.embed_tokens.value.dtype();
        let layer = || LayerCache::new(rows, capacity, self.config.heads(), dtype, &self.device);
        let layers = (0..self.layers.len())
            .map(|_| layer())
            .collect::<Result<_>>()?;
        Ok(Cache {
            layers,
            lengths: vec![0; rows],
            capacity,
        })
    }

    fn prefill(&self, cache: &mut Cache, row: usize, ids: &[u32]) -> Result<Tensor> {
        if ids.is_empty() || ids.len() > cache.capacity {
            bail!(
                "a prompt of {} tokens for a cache of {}",
                ids.len(),
                cache.capacity
            );
        }
        let mut batch = Packed::default();
        batch.push(ids);
        let angles = self.angles(&batch.positions)?;
        let mut x = gather(&self.embed_tokens.value, ids)?;
        for (layer, cache) in self.layers.iter().zip(&cache.layers) {
            let (y, inner) = layer.forward(&x, &angles, &batch.groups, &self.config)?;
            cache.put(row, 0, &inner.k, &inner.v, self.config.heads())?;
            x = y;
        }
        cache.lengths[row] = ids.len();
        let last = gather(&x, &[ids.len() as u32 - 1])?;
        let (last, _) = rms_norm(&last, &self.norm.value, self.config.rms_norm_eps)?;
        linear(&last, self.head())?.squeeze(0)
    }

    fn decode(&self, cache: &mut Cache, rows: &[usize], ids: &[u32]) -> Result<Tensor> {
        let positions: Vec<u32> = rows.iter().map(|row| cache.lengths[*row] as u32).collect();
        let lengths: Vec<usize> = rows.iter().map(|row| cache.lengths[*row] + 1).collect();
        if rows.len() != ids.len() || lengths.iter().any(|len| *len > cache.capacity) {
            bail!(
                "{} tokens for {} rows of a cache of {}",
                ids.len(),
                rows.len(),
                cache.capacity
            );
        }
        let (angles, heads, epsilon) = (
            self.angles(&positions)?,
            self.config.heads(),
            self.config.rms_norm_eps,
        );
        let mut x = gather(&self.embed_tokens.value, ids)?;
        for (layer, cache) in self.layers.iter().zip(&cache.layers) {
            let (normed, _) = rms_norm(&x, &layer.input_layernorm.value, epsilon)?;
            let q = rope(linear(&normed, &layer.q_proj.value)?, &angles)?;
            let k = rope(linear(&normed, &layer.k_proj.value)?, &angles)?;
            let v = linear(&normed, &layer.v_proj.value)?;
            for (i, (row, position)) in rows.iter().zip(&positions).enumerate() {
                cache.put(
                    *row,
                    *position as usize,
                    &k.narrow(0, i, 1)?,
                    &v.narrow(0, i, 1)?,
                    heads,
                )?;
            }
            let attended = cache.attend(&q, rows, &lengths, heads)?;
            let h = linear_add(x, &attended, &layer.o_proj.value)?;
            let (normed, _) = rms_norm(&h, &layer.post_attention_layernorm.value, epsilon)?;
            let gated = silu_mul(
                &linear(&normed, &layer.gate_proj.value)?,
                &linear(&normed, &layer.up_proj.value)?,
            )?;
            x = linear_add(h, &gated, &layer.down_proj.value)?;
        }
        for (row, length) in rows.iter().zip(lengths) {
            cache.lengths[*row] = length;
        }
        let (x, _) = rms_norm(&x, &self.norm.value, epsilon)?;
        linear(&x, self.head())
    }

    fn save(
        &self,
        folder: &Path,
        extras: &dyn Fn(&Path) -> std::io::Result<()>,
    ) -> std::result::Result<(), weights::Error> {
        let mut generation = serde_json::Map::new();
        for key in ["bos_token_id", "eos_token_id", "pad_token_id"] {
            if let Some(id) = self.source.get(key).filter(|id| !id.is_null()) {
                generation.insert(key.into(), id.clone());
            }
        }
        weights::save(
            folder,
            &self.source,
            &Value::Object(generation),
            &self.parameters(),
            extras,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{assert_close, values};
    use crate::ops::without_fused_kernels;

    fn tiny(tied: bool) -> LlamaConfig {
        LlamaConfig {
            vocab_size: 50,
            hidden_size: 24,
            intermediate_size: 40,
            num_hidden_layers: 2,
            num_attention_heads: 4,
            num_key_value_heads: 2,
            head_dim: 6,
            max_position_embeddings: 64,
            rms_norm_eps: 1e-5,
            rope_theta: 10_000.0,
            tie_word_embeddings: tied,
            bos_token_id: Some(1),
            eos_token_id: vec![2],
            pad_token_id: Some(0),
        }
    }

    /// A prompt with two responses and a sequence, and a loss over them.
    fn batch() -> (Packed, Targets) {
        let (mut batch, mut targets) = (Packed::default(), Targets::default());
        let (prompt, responses) = batch.push_branches(&[3, 4, 5], &[&[6, 7, 2], &[8, 2]]);
        for response in responses {
            targets.push(&batch, prompt.end - 1, response);
        }
        targets.close_group();
        let all = batch.push(&[9, 10, 11, 12]);
        targets.push(&batch, all.start, all.start + 1..all.end);
        targets.close_group();
        (batch, targets)
    }

    /// `loss = Σ_groups (Σ logprob)² / 10`: not separable within a group.
    fn loss(model: &Llama, batch: &Packed, targets: &Targets) -> Result<f64> {
        let logprobs = model.logprobs(batch, targets)?;
        let sum = |g: &std::ops::Range<usize>| {
            logprobs[g.clone()]
                .iter()
                .map(|x| f64::from(*x))
                .sum::<f64>()
        };
        Ok(targets.groups.iter().map(|g| sum(g).powi(2) / 10.0).sum())
    }

    fn gradients(model: &mut Llama, batch: &Packed, targets: &Targets) -> Result<Vec<Tensor>> {
        model.freeze();
        model.train()?;
        model.accumulate(batch, targets, &mut |_, logprobs| {
            let sum: f32 = logprobs.iter().sum();
            vec![sum / 5.0; logprobs.len()]
        })?;
        Ok(model
            .parameters()
            .iter()
            .map(|p| p.gradient.clone().expect("trained"))
            .collect())
    }

    // Would catch a parameter that the backward forgets, tied or not.
    #[test]
    fn every_parameter_gets_a_gradient() -> Result<()> {
        for tied in [true, false] {
            let mut model = Llama::init(tiny(tied), 1, &Device::Cpu)?;
            let (batch, targets) = batch();
            let gradients = gradients(&mut model, &batch, &targets)?;
            for (parameter, gradient) in model.parameters().iter().zip(gradients) {
                let largest = values(&gradient)
                    .into_iter()
                    .fold(0.0, |a: f64, x| a.max(x.abs()));
                assert!(largest > 1e-6, "{}: {largest}", parameter.name);
            }
            assert_eq!(
                model
                    .parameters()
                    .iter()
                    .map(|p| p.value.elem_count())
                    .sum::<usize>(),
                tiny(tied).parameters()
            );
        }
        Ok(())
    }

    // Would catch a wrong composition of right operations. f32: along each parameter's own
    // gradient the loss moves a hundred times more than it rounds; tolerance 3 %. (Each
    // operation's own test is in f64.)
    #[test]
    fn gradients_predict_the_loss() -> Result<()> {
        let (batch, targets) = batch();
        let mut model = Llama::init(tiny(false), 1, &Device::Cpu)?;
        let gradients = gradients(&mut model, &batch, &targets)?;
        for (i, gradient) in gradients.iter().enumerate() {
            let norm2 = values(gradient).iter().map(|x| x * x).sum::<f64>();
            let step = 1e-2 / norm2.sqrt();
            let mut at = |sign: f64| -> Result<f64> {
                let old = model.parameters()[i].value.clone();
                model.parameters_mut()[i].value = (&old + (gradient * (sign * step))?)?;
                let loss = loss(&model, &batch, &targets);
                model.parameters_mut()[i].value = old;
                loss
            };
            let slope = (at(1.0)? - at(-1.0)?) / (2.0 * step);
            let name = &model.parameters()[i].name;
            assert!(
                (slope / norm2 - 1.0).abs() < 3e-2,
                "{name}: slope {slope}, gradient {norm2}"
            );
        }
        Ok(())
    }

    // Would catch the device path and the kernels drifting apart, and checkpointing that
    // computes something else.
    #[test]
    fn all_paths_agree() -> Result<()> {
        let (batch, targets) = batch();
        let mut model = Llama::init(tiny(true), 1, &Device::Cpu)?;
        let plain = without_fused_kernels(|| gradients(&mut model, &batch, &targets))?;
        let fused = gradients(&mut model, &batch, &targets)?;
        model.set_gradient_checkpointing(true);
        let recomputed = gradients(&mut model, &batch, &targets)?;
        for ((plain, fused), recomputed) in plain.iter().zip(&fused).zip(&recomputed) {
            assert_close(fused, plain, 2e-5);
            assert_eq!(values(fused), values(recomputed));
        }
        Ok(())
    }

    // Would catch gradients that are replaced where they should add up.
    #[test]
    fn micro_batches_add_up() -> Result<()> {
        let mut model = Llama::init(tiny(true), 1, &Device::Cpu)?;
        let whole = {
            let (batch, targets) = batch();
            gradients(&mut model, &batch, &targets)?
        };
        model.freeze();
        model.train()?;
        let mut run = |batch: Packed, targets: Targets| {
            model.accumulate(&batch, &targets, &mut |_, logprobs| {
                let sum: f32 = logprobs.iter().sum();
                vec![sum / 5.0; logprobs.len()]
            })
        };
        let (mut first, mut targets) = (Packed::default(), Targets::default());
        let (prompt, responses) = first.push_branches(&[3, 4, 5], &[&[6, 7, 2], &[8, 2]]);
        for response in responses {
            targets.push(&first, prompt.end - 1, response);
        }
        targets.close_group();
        run(first, targets)?;
        let (mut second, mut targets) = (Packed::default(), Targets::default());
        second.push(&[9, 10, 11, 12]);
        targets.push(&second, 0, 1..4);
        targets.close_group();
        run(second, targets)?;
        for (a, b) in model.parameters().iter().zip(&whole) {
            assert_close(a.gradient.as_ref().expect("trained"), b, 1e-6);
        }
        Ok(())
    }

    // Would catch a cache that disagrees with the whole sequence.
    #[test]
    fn decoding_equals_the_forward() -> Result<()> {
        let model = Llama::init(tiny(false), 3, &Device::Cpu)?;
        let ids = [3, 4, 5, 6, 7, 8];
        let mut batch = Packed::default();
        batch.push(&ids);
        let whole = model.logits(&batch)?;
        let mut cache = model.cache(2, 6)?;
        let mut logits = model.prefill(&mut cache, 0, &ids[..3])?.unsqueeze(0)?;
        cache.copy_row(0, 1)?;
        for at in 3..6 {
            assert_close(&logits, &whole.narrow(0, at - 1, 1)?, 1e-5);
            logits = model.decode(&mut cache, &[1], &ids[at..=at])?;
        }
        assert_close(&logits, &whole.narrow(0, 5, 1)?, 1e-5);
        assert!(model.decode(&mut cache, &[1], &[1]).is_err());
        Ok(())
    }

    // Would catch a config that is written otherwise than it is read.
    #[test]
    fn configs_survive_their_file() {
        for tied in [true, false] {
            assert_eq!(
                LlamaConfig::from_json(&tiny(tied).to_json()).expect("reads"),
                tiny(tied)
            );
        }
    }
}
