//! What must hold for every architecture: each is one row of [`language_models`] or [`scorers`].

#[cfg(feature = "cuda")]
mod cuda;
mod lora;

use candle_core::{DType, Device, Result, Tensor};
use serde_json::{Value, json};

use super::scorer::HeadKind;
use super::spec::Spec;
use super::*;
use crate::config::reward_model::HumanLogitsLayer;
use crate::ops::embedding::gather;
use crate::ops::testing::{assert_close, device, values};
use crate::ops::without_fused_kernels;

fn llama(tied: bool) -> Value {
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
    .to_json()
}

fn with(mut config: Value, changes: Value) -> Value {
    for (key, value) in changes.as_object().expect("an object") {
        config[key] = value.clone();
    }
    config
}

fn qwen2() -> Value {
    with(
        llama(false),
        json!({"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}),
    )
}

fn gpt2() -> Value {
    json!({
        "model_type": "gpt2",
        "vocab_size": 50,
        "n_embd": 24,
        "n_layer": 2,
        "n_head": 4,
        "n_inner": 40,
        "n_positions": 64,
    })
}

fn bert() -> Value {
    json!({
        "model_type": "bert",
        "vocab_size": 50,
        "hidden_size": 24,
        "intermediate_size": 40,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 64,
        "type_vocab_size": 2,
    })
}

fn roberta() -> Value {
    let changes = json!({"model_type": "roberta", "pad_token_id": 1, "type_vocab_size": 1, "hidden_act": "gelu_new"});
    with(bert(), changes)
}

fn language_models() -> Vec<(&'static str, LanguageModel)> {
    [
        ("llama", llama(true)),
        ("llama, head of its own", llama(false)),
        ("qwen2", qwen2()),
        ("gpt2", gpt2()),
    ]
    .map(|(name, config)| (name, language_model(config)))
    .into()
}

/// Random weights, biases too: zeros would hide what reads them from the wrong place.
fn language_model(config: Value) -> LanguageModel {
    let mut model = LanguageModel::init(config, 1, &device()).expect("init");
    shake(model.parameters_mut());
    model
}

fn shake(parameters: Vec<&mut Parameter>) {
    for (i, parameter) in parameters.into_iter().enumerate() {
        let noise = crate::ops::testing::random(parameter.value.shape(), 100 + i as u64);
        parameter.value = (&parameter.value + (noise * 0.1).expect("scales")).expect("same shape");
    }
}

fn scorer(config: Value, kind: HeadKind) -> Scorer {
    let spec = Spec::from_json(&config).expect("a configuration");
    let device = device();
    let mut source = backbone::initial_weights(1, spec.layers, &device);
    let backbone = Backbone::build(spec, &device, &mut source).expect("builds");
    let mut model = Scorer::init(config, backbone, kind, 1).expect("init");
    shake(model.parameters_mut());
    model
}

fn scorers() -> Vec<(&'static str, Scorer)> {
    vec![
        ("bert", scorer(bert(), HeadKind::Classifier)),
        ("roberta", scorer(roberta(), HeadKind::Classifier)),
        (
            "roberta, linear head",
            scorer(roberta(), HeadKind::ScoreWithBias),
        ),
        ("gpt2", scorer(gpt2(), HeadKind::ScoreWithBias)),
        ("qwen2", scorer(qwen2(), HeadKind::Score)),
        (
            "roberta with human logits",
            told(roberta(), HeadKind::Classifier, HumanLogitsLayer::Last),
        ),
        (
            "bert with human logits before its last layer",
            told(bert(), HeadKind::Classifier, HumanLogitsLayer::SecondLast),
        ),
        (
            "qwen2 with human logits before its last layer",
            told(qwen2(), HeadKind::Score, HumanLogitsLayer::SecondLast),
        ),
    ]
}

/// A scorer whose gradients are the whole loss's: it is trained jointly with its human logits.
fn told(config: Value, kind: HeadKind, layer: HumanLogitsLayer) -> Scorer {
    let mut model = scorer(config, kind);
    model.add_human_logits(3, layer, 1).expect("room");
    shake(model.parameters_mut());
    model.human_logits_mut().expect("just added").joint = true;
    model
}

/// Human logits of [`sequences`]: shown and learnt, only learnt, neither, only shown.
fn said() -> [Said<'static>; 4] {
    const LOGITS: [&[f32]; 2] = [&[0.5, -1.0, 2.0], &[1.5, 0.0, -0.5]];
    let learnt = |at: usize, weight| Some((LOGITS[at], weight));
    [
        Said {
            shown: Some(LOGITS[0]),
            learnt: learnt(0, 0.7),
        },
        Said {
            shown: None,
            learnt: learnt(1, 0.4),
        },
        Said::default(),
        Said {
            shown: Some(LOGITS[1]),
            learnt: None,
        },
    ]
}

fn gradient(model: &Scorer, name: &str) -> Vec<f64> {
    let parameters = model.parameters();
    let found = parameters.iter().find(|p| p.name == name).expect("there");
    values(found.gradient.as_ref().expect("trained"))
}

// Would catch the ranking loss reaching U, and the cross-entropy the rest of the model, where
// nobody asked for it; and a new layer that changes scores.
#[test]
fn human_logits_keep_the_losses_apart() -> Result<()> {
    let mut plain = scorer(roberta(), HeadKind::Classifier);
    let (batch, rows) = sequences();
    let before = plain.scores(&batch, &rows)?;
    plain.add_human_logits(3, HumanLogitsLayer::Last, 1)?;
    assert_eq!(plain.scores_with(&batch, &rows, &said())?, before);
    const U: &str = "human_logits.prediction.weight";
    let gradients = |joint: bool, weight: f32, ranking: f32| -> Result<(Vec<f64>, Vec<f64>)> {
        let mut model = told(roberta(), HeadKind::Classifier, HumanLogitsLayer::Last);
        model.human_logits_mut().expect("there").joint = joint;
        model.train()?;
        let said = said().map(|said| Said {
            learnt: said.learnt.map(|(logits, _)| (logits, weight)),
            ..said
        });
        model.accumulate_with(&batch, &rows, &said, &mut |_| {
            WEIGHTS.map(|w| w * ranking).to_vec()
        })?;
        let embedding = &model.backbone().parameters()[0].name;
        Ok((gradient(&model, U), gradient(&model, embedding)))
    };
    let nothing = |values: &[f64]| values.iter().all(|x| *x == 0.0);
    assert!(nothing(&gradients(false, 0.0, 1.0)?.0));
    assert!(!nothing(&gradients(true, 0.0, 1.0)?.0));
    let (of_u, of_embedding) = gradients(false, 1.0, 0.0)?;
    assert!(!nothing(&of_u) && nothing(&of_embedding));
    assert!(!nothing(&gradients(true, 1.0, 0.0)?.1));
    Ok(())
}

// Would catch human logits of another length that are taken.
#[test]
fn human_logits_of_another_length_are_refused() {
    let model = told(gpt2(), HeadKind::Score, HumanLogitsLayer::Last);
    let (batch, rows) = sequences();
    let mut said = said();
    said[3].shown = Some(&[1.0]);
    let refused = model
        .scores_with(&batch, &rows, &said)
        .expect_err("refused");
    let message = refused.to_string();
    assert!(
        message.contains("1 human logits for a model of 3"),
        "{message}"
    );
}

/// A model and a loss over its outputs: what the checks below need of both kinds of model.
trait Trainee: Model {
    fn loss(&self) -> Result<f64>;
    fn add_gradients(&mut self) -> Result<()>;
}

/// A prompt with two responses and a sequence.
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

/// Slopes of the entropies of [`batch`]'s targets.
const ENTROPY_SLOPES: [f32; 8] = [-0.3, 0.0, 0.2, 0.1, -0.1, 0.4, -0.2, 0.3];

fn entropic_batch() -> (Packed, Targets) {
    let (batch, mut targets) = batch();
    targets.entropy_slopes = ENTROPY_SLOPES.to_vec();
    (batch, targets)
}

/// `loss = Σ_groups (Σ logprob)² / 10 + Σ slope · entropy`: not separable within a group.
impl Trainee for LanguageModel {
    fn loss(&self) -> Result<f64> {
        let (batch, targets) = entropic_batch();
        let logits = gather(&self.logits(&batch)?, &targets.rows)?;
        let rows = logits.to_dtype(DType::F64)?.to_vec2::<f64>()?;
        let entropies = rows.iter().zip(ENTROPY_SLOPES).map(|(row, slope)| {
            let lse = row.iter().map(|x| x.exp()).sum::<f64>().ln();
            let entropy: f64 = row.iter().map(|x| (x - lse).exp() * (lse - x)).sum();
            f64::from(slope) * entropy
        });
        let entropies: f64 = entropies.sum();
        let logprobs = self.logprobs(&batch, &targets)?;
        let sum = |g: &std::ops::Range<usize>| {
            logprobs[g.clone()]
                .iter()
                .map(|x| f64::from(*x))
                .sum::<f64>()
        };
        let groups = targets.groups.iter().map(|g| sum(g).powi(2) / 10.0);
        Ok(groups.sum::<f64>() + entropies)
    }

    fn add_gradients(&mut self) -> Result<()> {
        let (batch, targets) = entropic_batch();
        self.accumulate(&batch, &targets, &mut |_, logprobs| {
            let sum: f32 = logprobs.iter().sum();
            vec![sum / 5.0; logprobs.len()]
        })
        .map(drop)
    }
}

/// `loss = Σ weight · score` over the first and last tokens of three sequences, and what their
/// human logits add.
impl Trainee for Scorer {
    fn loss(&self) -> Result<f64> {
        let (batch, rows) = sequences();
        let (scores, entropies) = self.judge(&batch, &rows, &said())?;
        let scores = scores.iter().zip(WEIGHTS);
        let ranking: f64 = scores.map(|(s, w)| f64::from(*s) * f64::from(w)).sum();
        let weights = said().map(|said| said.learnt.map_or(0.0, |(_, weight)| f64::from(weight)));
        let entropies = entropies.into_iter().zip(weights);
        let prediction: f64 = entropies.map(|(e, w)| e.unwrap_or(0.0) * w).sum();
        Ok(ranking + prediction)
    }

    fn add_gradients(&mut self) -> Result<()> {
        let (batch, rows) = sequences();
        self.accumulate_with(&batch, &rows, &said(), &mut |_| WEIGHTS.to_vec())
            .map(drop)
    }
}

const WEIGHTS: [f32; 4] = [1.0, -2.0, 0.5, 1.5];

fn sequences() -> (Packed, Vec<u32>) {
    let mut batch = Packed::default();
    for ids in [&[3, 4, 5, 6][..], &[7, 8], &[9, 10, 11]] {
        batch.push(ids);
    }
    (batch, vec![0, 3, 5, 6])
}

fn gradients<M: Trainee>(model: &mut M) -> Result<Vec<(String, Tensor)>> {
    model.freeze();
    model.train()?;
    model.add_gradients()?;
    let trained = model.trainable();
    let one = |p: &&Parameter| (p.name.clone(), p.gradient.clone().expect("trained"));
    Ok(trained.iter().map(one).collect())
}

/// Runs a check on every architecture under every kind of head.
fn for_each(mut check: impl FnMut(&str, &mut dyn FnMut(Step) -> Answer)) {
    for (name, mut model) in language_models() {
        check(name, &mut |step| step.on(&mut model));
    }
    for (name, mut model) in scorers() {
        check(&format!("scorer {name}"), &mut |step| step.on(&mut model));
    }
}

/// What a check asks of a model, so that it need not know its type.
enum Step {
    Gradients,
    Loss,
    Checkpointing(bool),
    Compute(DType),
    /// Adds to parameter `number` of the trainable ones.
    Move(usize, Tensor),
    Adapt(Lora),
    Shake,
    Adapters(bool),
    Merged(bool),
    Values,
    Begin(u64),
}

enum Answer {
    Nothing,
    Number(f64),
    Tensors(Vec<(String, Tensor)>),
}

impl Answer {
    fn number(self) -> f64 {
        match self {
            Answer::Number(x) => x,
            _ => panic!("not a number"),
        }
    }

    fn tensors(self) -> Vec<(String, Tensor)> {
        match self {
            Answer::Tensors(x) => x,
            _ => panic!("no tensors"),
        }
    }
}

impl Step {
    fn on<M: Trainee>(self, model: &mut M) -> Answer {
        match self {
            Step::Gradients => return Answer::Tensors(gradients(model).expect("gradients")),
            Step::Loss => return Answer::Number(model.loss().expect("loss")),
            Step::Values => {
                let one = |p: &&Parameter| (p.name.clone(), p.value.copy().expect("copies"));
                return Answer::Tensors(model.parameters().iter().map(one).collect());
            }
            Step::Checkpointing(on) => model.backbone_mut().set_gradient_checkpointing(on),
            Step::Compute(dtype) => model.backbone_mut().set_compute(dtype),
            Step::Move(number, by) => {
                let parameter = &mut model.trainable_mut()[number].value;
                *parameter = (&*parameter + by).expect("same shape");
            }
            Step::Adapt(config) => {
                model.add_adapters(&config, 7).expect("fits");
            }
            Step::Shake => shake(model.trainable_mut()),
            Step::Adapters(on) => model.backbone_mut().set_adapters_on(on),
            Step::Merged(true) => model.backbone_mut().merge_adapters().expect("merges"),
            Step::Merged(false) => model.backbone_mut().unmerge_adapters().expect("unmerges"),
            Step::Begin(step) => model.backbone_mut().begin_step(step),
        }
        Answer::Nothing
    }
}

/// Whether a parameter changes nothing, in theory: where heads don't turn, the keys' bias adds
/// one number to all scores of a query, and the softmax takes it away.
fn without_effect(parameter: &str) -> bool {
    parameter.ends_with("self.key.bias")
}

// Would catch a parameter that the backward forgets, tied or not.
#[test]
fn every_parameter_gets_a_gradient() {
    for_each(|name, model| {
        for (parameter, gradient) in model(Step::Gradients).tensors() {
            let gradient = values(&gradient).into_iter().map(f64::abs);
            let largest = gradient.fold(0.0, f64::max);
            assert_eq!(
                largest > 1e-6,
                !without_effect(&parameter),
                "{name}: the gradient of {parameter} reaches {largest}"
            );
        }
    });
}

/// The loss along each gradient must change as its square says: a weight's share of the
/// computation cannot be missing. Tolerance: f32 losses over a step of 1e-2.
fn check_slopes(name: &str, model: &mut dyn FnMut(Step) -> Answer) {
    for (i, (parameter, gradient)) in model(Step::Gradients).tensors().into_iter().enumerate() {
        if without_effect(&parameter) {
            continue;
        }
        let norm2 = values(&gradient).iter().map(|x| x * x).sum::<f64>();
        let step = 1e-2 / norm2.sqrt();
        let mut at = |factor: f64| {
            model(Step::Move(i, (&gradient * factor).expect("scales")));
            model(Step::Loss).number()
        };
        let (up, down) = (at(step), at(-2.0 * step));
        at(step);
        let slope = (up - down) / (2.0 * step);
        assert!(
            (slope / norm2 - 1.0).abs() < 3e-2,
            "{name}: {parameter}: slope {slope}, gradient {norm2}"
        );
    }
}

// Would catch a backward that belongs to another forward.
#[test]
fn gradients_are_the_losss() {
    for_each(|name, model| check_slopes(name, model));
}

#[track_caller]
fn all_close(
    name: &str,
    found: &[(String, Tensor)],
    expected: &[(String, Tensor)],
    tolerance: f64,
) {
    assert_eq!(found.len(), expected.len(), "{name}");
    for ((parameter, a), (_, b)) in found.iter().zip(expected) {
        let largest = values(b).into_iter().map(f64::abs).fold(1.0, f64::max);
        for (a, b) in values(a).into_iter().zip(values(b)) {
            assert!(
                (a - b).abs() <= tolerance * largest,
                "{name}: {parameter}: {a} for {b}"
            );
        }
    }
}

// Would catch the device path and the kernels drifting apart, and checkpointing that
// computes something else.
#[test]
fn all_paths_agree() {
    for_each(|name, model| {
        let plain = without_fused_kernels(|| model(Step::Gradients).tensors());
        let fused = model(Step::Gradients).tensors();
        model(Step::Checkpointing(true));
        let recomputed = model(Step::Gradients).tensors();
        all_close(name, &fused, &plain, 2e-5);
        for ((parameter, a), (_, b)) in fused.iter().zip(&recomputed) {
            assert_eq!(values(a), values(b), "{name}: {parameter}");
        }
    });
}

// Would catch a sum or a norm that half precision rounds, and a path that forgets a cast. 3e-2:
// f16 has 11 bits, the gradients pass through two dozen roundings.
#[test]
fn half_precision_stays_near() {
    for_each(|name, model| {
        let full = (model(Step::Loss).number(), model(Step::Gradients).tensors());
        model(Step::Compute(DType::F16));
        let half = without_fused_kernels(|| {
            (model(Step::Loss).number(), model(Step::Gradients).tensors())
        });
        assert!(
            (half.0 - full.0).abs() < 1e-2 * full.0.abs().max(1.0),
            "{name}: {}",
            half.0
        );
        assert!(half.1.iter().all(|(_, g)| g.dtype() == DType::F32));
        all_close(name, &half.1, &full.1, 3e-2);
    });
}

// Would catch a value head that reads other states than it should, or whose slope does not reach
// the backbone. Tolerance as in [`check_slopes`].
#[test]
fn values_on_the_policys_states_have_their_slope() -> Result<()> {
    const WEIGHTS: [f32; 8] = [0.5, -1.0, 0.7, 0.2, -0.4, 1.1, -0.6, 0.3];
    for (name, mut model) in language_models() {
        let width = model.backbone().spec().hidden_size;
        let mut head = ValueHead::new(width, &device())?;
        shake(head.parameters_mut().into());
        model.train()?;
        let (batch, targets) = batch();
        let values =
            |model: &LanguageModel, head: &ValueHead| model.values(head, &batch, &targets.rows);
        let mut seen = Vec::new();
        model.accumulate_with_values(
            &batch,
            &targets,
            &mut |_, logprobs| vec![0.0; logprobs.len()],
            &mut head,
            &mut |values| {
                seen = values.to_vec();
                WEIGHTS.to_vec()
            },
        )?;
        assert_eq!(seen, values(&model, &head)?, "{name}");
        let of = |p: &&Parameter| p.gradient.as_ref().expect("trained").copy();
        let mut gradients: Vec<Tensor> = model.trainable().iter().map(of).collect::<Result<_>>()?;
        gradients.extend(
            head.parameters()
                .iter()
                .map(of)
                .collect::<Result<Vec<_>>>()?,
        );
        for (i, gradient) in gradients.iter().enumerate() {
            let norm2 = values_squared(gradient);
            if norm2 == 0.0 {
                // A vocabulary head of its own has no part in the values.
                continue;
            }
            let step = 1e-2 / norm2.sqrt();
            let mut at = |factor: f64| -> Result<f64> {
                let mut all = model.trainable_mut();
                all.extend(head.parameters_mut());
                let value = &mut all[i].value;
                *value = (&*value + (gradient * factor)?)?;
                let found = values(&model, &head)?.into_iter().zip(WEIGHTS);
                Ok(found.map(|(v, w)| f64::from(v) * f64::from(w)).sum())
            };
            let (up, down) = (at(step)?, at(-2.0 * step)?);
            at(step)?;
            let slope = (up - down) / (2.0 * step);
            assert!(
                (slope / norm2 - 1.0).abs() < 3e-2,
                "{name}: parameter {i}: slope {slope}, gradient {norm2}"
            );
        }
    }
    Ok(())
}

fn values_squared(x: &Tensor) -> f64 {
    values(x).iter().map(|x| x * x).sum()
}

// Would catch gradients that are replaced where they should add up.
#[test]
fn micro_batches_add_up() -> Result<()> {
    for (name, mut model) in language_models() {
        let whole = gradients(&mut model)?;
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
        targets.entropy_slopes = ENTROPY_SLOPES[..5].to_vec();
        run(first, targets)?;
        let (mut second, mut targets) = (Packed::default(), Targets::default());
        second.push(&[9, 10, 11, 12]);
        targets.push(&second, 0, 1..4);
        targets.close_group();
        targets.entropy_slopes = ENTROPY_SLOPES[5..].to_vec();
        run(second, targets)?;
        for (parameter, (_, b)) in model.parameters().iter().zip(&whole) {
            let what = format!("{name}: {}", parameter.name);
            let a = (what.clone(), parameter.gradient.clone().expect("trained"));
            all_close(&what, &[a], &[(what.clone(), b.clone())], 1e-5);
        }
    }
    Ok(())
}

// Would catch a cache that disagrees with the whole sequence.
#[test]
fn decoding_equals_the_forward() -> Result<()> {
    for (_, model) in language_models() {
        let ids = [3, 4, 5, 6, 7, 8];
        let mut batch = Packed::default();
        batch.push(&ids);
        let run = || -> Result<()> {
            let whole = model.logits(&batch)?;
            let mut cache = model.cache(2, 6)?;
            let mut logits = model.prefill(&mut cache, &[(0, &ids[..3])])?;
            cache.copy_row(0, 1)?;
            for at in 3..6 {
                assert_close(&logits, &whole.narrow(0, at - 1, 1)?, 1e-5);
                logits = model.decode(&mut cache, &[1], &ids[at..=at])?;
            }
            assert_close(&logits, &whole.narrow(0, 5, 1)?, 1e-5);
            assert!(model.decode(&mut cache, &[1], &[1]).is_err());
            Ok(())
        };
        run()?;
        without_fused_kernels(run)?;
    }
    Ok(())
}

// Would catch a sequence that is read past the end of its positions, and branches under an
// encoder, whose prompt would have to see them.
#[test]
fn what_a_model_cannot_do_is_refused() {
    let mut long = Packed::default();
    long.push(&[3; 65]);
    let model = language_model(gpt2());
    let refused = model.logits(&long).expect_err("too long").to_string();
    assert!(
        refused.contains("a sequence of 65 tokens for a model of 64"),
        "{refused}"
    );
    // RoBERTa's table has two rows that are never a token's.
    let model = scorer(roberta(), HeadKind::Classifier);
    let mut long = Packed::default();
    long.push(&[3; 63]);
    let refused = model.scores(&long, &[0]).expect_err("too long").to_string();
    assert!(
        refused.contains("a sequence of 63 tokens for a model of 62"),
        "{refused}"
    );
    let mut branched = Packed::default();
    branched.push_branches(&[3], &[&[4], &[5]]);
    assert!(model.scores(&branched, &[0]).is_err());
    assert!(LanguageModel::init(bert(), 1, &Device::Cpu).is_err());
}

// Would catch RoBERTa's positions counted over padding inside a text, or from the wrong row.
#[test]
fn padding_inside_a_text_has_no_position() -> Result<()> {
    let model = scorer(roberta(), HeadKind::Classifier);
    let states = |ids: &[u32]| {
        let mut batch = Packed::default();
        batch.push(ids);
        model.backbone().states(&batch, 0)
    };
    let (whole, gap) = (states(&[5, 6])?, states(&[5, 1, 6])?);
    assert_close(&gap.narrow(0, 2, 1)?, &whole.narrow(0, 1, 1)?, 1e-6);
    Ok(())
}

// Would catch a configuration that is taken for one that it is not.
#[test]
fn configurations_that_ask_for_more_are_refused() {
    #[track_caller]
    fn check(config: Value, message: &str) {
        let error = Spec::from_json(&config).expect_err("refused").to_string();
        assert_eq!(error, message);
    }
    let unsupported =
        |key: &str, found: &str| format!("`{key}` is `{found}`, which is not supported");
    check(
        with(gpt2(), json!({"model_type": "mamba"})),
        &unsupported("model_type", "mamba"),
    );
    check(
        with(gpt2(), json!({"activation_function": "relu"})),
        &unsupported("activation_function", "relu"),
    );
    let scaled = json!({"scale_attn_by_inverse_layer_idx": true});
    check(
        with(gpt2(), scaled),
        &unsupported("scale_attn_by_inverse_layer_idx", "true"),
    );
    check(
        with(qwen2(), json!({"use_sliding_window": true})),
        &unsupported("use_sliding_window", "true"),
    );
    let layers = json!({"layer_types": ["full_attention", "sliding_attention"]});
    check(
        with(qwen2(), layers),
        &unsupported("layer_types", "sliding_attention"),
    );
    check(
        with(llama(true), json!({"attention_bias": true})),
        &unsupported("attention_bias", "true"),
    );
    let scaling = json!({"rope_parameters": null, "rope_scaling": {"rope_type": "llama3"}});
    check(
        with(llama(true), scaling),
        &unsupported("rope_type", "llama3"),
    );
    check(
        with(bert(), json!({"is_decoder": true})),
        &unsupported("is_decoder", "true"),
    );
    let relative = json!({"position_embedding_type": "relative_key"});
    check(
        with(bert(), relative),
        &unsupported("position_embedding_type", "relative_key"),
    );
    check(
        with(gpt2(), json!({"n_head": 5})),
        "key `n_head` is 5 for `n_embd` 24, which makes no sense",
    );
}
