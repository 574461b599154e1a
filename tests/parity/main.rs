//! Do models, losses and optimizer steps match the reference numbers?
//!
//! Sources, versions and tolerances: `tests/golden/training/README.md`. With `RLHF_GOLDENS` set
//! to the folder of all goldens the comparison covers every logit and every weight; with
//! `RLHF_PEER_PYTHON` set to a Python that has torch and transformers, what we save is loaded
//! there.

mod files;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;

use candle_core::{Device, Tensor};
use rlhf::config::dpo::Dpo;
use rlhf::config::generation::Generation;
use rlhf::config::training::{Schedule, Training};
use rlhf::models::{self, CausalLm, Llama, Packed, Targets};
use rlhf::ops::without_fused_kernels;
use rlhf::rollout::{Stop, generate, logprobs::response_logprobs};
use rlhf::tokenizer::Tokenizer;
use rlhf::tracking::Tracker;
use rlhf::trainer::dpo::loss::{PairLogprobs, sigmoid};
use rlhf::trainer::{Pair, Run, dpo};
use serde_json::Value;

/// Relative above 1, absolute below: the goldens' own tolerance.
const TOLERANCE: f64 = 1e-4;

fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/golden")
        .join(path)
}

fn json(path: &str) -> Value {
    let text = std::fs::read_to_string(golden(path)).expect("golden file");
    serde_json::from_str(&text).expect("golden file is JSON")
}

/// The folder of all goldens, where the machine has one.
fn all_goldens() -> Option<PathBuf> {
    std::env::var_os("RLHF_GOLDENS")
        .map(PathBuf::from)
        .filter(|path| path.is_dir())
}

fn tiny_llama() -> Llama {
    models::load(&golden("models/tiny-llama"), &Device::Cpu).expect("tiny-llama loads")
}

fn floats(value: &Value) -> Vec<f64> {
    value
        .as_array()
        .expect("a list")
        .iter()
        .map(|x| x.as_f64().expect("a number"))
        .collect()
}

fn ids(value: &Value) -> Vec<u32> {
    value
        .as_array()
        .expect("a list")
        .iter()
        .map(|x| x.as_u64().expect("an id") as u32)
        .collect()
}

fn lists(value: &Value) -> Vec<Vec<u32>> {
    value.as_array().expect("a list").iter().map(ids).collect()
}

#[track_caller]
fn close(found: f64, expected: f64, what: &str) {
    assert!(
        (found - expected).abs() <= TOLERANCE * expected.abs().max(1.0),
        "{what}: {found} for {expected}"
    );
}

#[track_caller]
fn all_close(found: &[f64], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        close(*found, *expected, &format!("{what}[{i}]"));
    }
}

fn values(tensor: &Tensor) -> Vec<f64> {
    let values = tensor
        .flatten_all()
        .and_then(|t| t.to_vec1::<f32>())
        .expect("an f32 tensor");
    values.into_iter().map(f64::from).collect()
}

/// Checks the logits of a padded batch at its real tokens.
fn check_forward(model: &Llama, side: &str) {
    let expected = &json("training/forward/tiny-llama.json")[side];
    let mask: Vec<Vec<u8>> = lists(&expected["attention_mask"])
        .iter()
        .map(|row| row.iter().map(|m| *m as u8).collect())
        .collect();
    let (batch, columns) =
        Packed::from_padded(&lists(&expected["input_ids"]), &mask).expect("a batch");
    let logits = model
        .logits(&batch)
        .expect("forward")
        .to_vec2::<f32>()
        .expect("f32");
    let mut token = 0;
    for (row, columns) in columns.iter().enumerate() {
        for (i, column) in columns.iter().enumerate() {
            let found: Vec<f64> = logits[token].iter().map(|x| f64::from(*x)).collect();
            let what = format!("{side} row {row} column {column}");
            let at = |key: &str| &expected[key][row][column];
            all_close(
                &found[..16],
                &floats(at("logits_first16")),
                &format!("{what}: logits"),
            );
            let log_sum_exp = found.iter().map(|x| x.exp()).sum::<f64>().ln();
            close(
                log_sum_exp,
                at("logsumexp").as_f64().expect("a number"),
                &format!("{what}: logsumexp"),
            );
            let mut order: Vec<usize> = (0..found.len()).collect();
            order.sort_by(|a, b| found[*b].total_cmp(&found[*a]));
            let top: Vec<u32> = order[..5].iter().map(|i| *i as u32).collect();
            assert_eq!(top, ids(at("top5_ids")), "{what}");
            if i + 1 < columns.len() {
                let next = batch.ids[token + 1] as usize;
                let logprob = at("next_token_logprobs").as_f64().expect("a number");
                close(
                    found[next] - log_sum_exp,
                    logprob,
                    &format!("{what}: next token"),
                );
            }
            token += 1;
        }
    }
    if let Some(folder) = all_goldens() {
        let file = folder.join("training/forward/tiny-llama.safetensors");
        let all = candle_core::safetensors::load(file, &Device::Cpu).expect("golden file");
        let expected = all[&format!("{side}.logits")]
            .to_vec3::<f32>()
            .expect("f32");
        let real = columns
            .iter()
            .enumerate()
            .flat_map(|(row, columns)| columns.iter().map(move |c| (row, *c)));
        for ((row, column), found) in real.zip(&logits) {
            for (found, expected) in found.iter().zip(&expected[row][column]) {
                close(
                    f64::from(*found),
                    f64::from(*expected),
                    &format!("{side} row {row} column {column}"),
                );
            }
        }
    }
}

// Would catch a layer that computes something else than transformers', and padding that leaks.
#[test]
fn forward_matches_transformers() {
    let model = tiny_llama();
    for side in ["right", "left"] {
        check_forward(&model, side);
        without_fused_kernels(|| check_forward(&model, side));
    }
}

// Would catch a tokenizer that splits otherwise, and a decoding that loses bytes.
#[test]
fn tokenizer_matches_transformers() {
    let expected = json("training/forward/tiny-llama.json");
    let tokenizer = Tokenizer::from_folder(&golden("models/tiny-llama")).expect("loads");
    let prompts = expected["prompts"].as_array().expect("a list");
    for (prompt, ids) in prompts.iter().zip(lists(&expected["input_ids_per_prompt"])) {
        let prompt = prompt.as_str().expect("a text");
        assert_eq!(tokenizer.encode(prompt).expect("encodes"), ids);
        assert_eq!(tokenizer.decode(&ids), prompt);
    }
    for (i, ids) in lists(&expected["greedy_single"]).iter().enumerate() {
        assert_eq!(tokenizer.decode(ids), expected["greedy_text"][i]);
    }
    let specials = tokenizer.specials();
    assert_eq!(
        (specials.bos, specials.eos.as_slice(), specials.pad),
        (Some(1), &[2][..], Some(0))
    );
}

fn greedy(tokens: usize, batch_size: usize) -> Generation {
    Generation {
        max_new_tokens: tokens,
        temperature: 0.0,
        top_k: 0,
        top_p: 1.0,
        batch_size,
        ..Generation::default()
    }
}

fn greedy_ids(
    model: &Llama,
    prompts: &[Vec<u32>],
    tokens: usize,
    batch_size: usize,
) -> Vec<Vec<u32>> {
    let config = greedy(tokens, batch_size);
    let responses = generate(
        model,
        prompts,
        1,
        &config,
        &Stop::tokens(&[]),
        0,
        &mut |_| true,
    )
    .expect("generates");
    responses.into_iter().map(|r| r.ids).collect()
}

// Would catch a cache that drifts from the forward, alone or in a batch.
#[test]
fn greedy_text_matches_transformers() {
    let expected = json("training/forward/tiny-llama.json");
    let (model, prompts) = (tiny_llama(), lists(&expected["input_ids_per_prompt"]));
    for batch in [1, 2, 3] {
        assert_eq!(
            greedy_ids(&model, &prompts, 16, batch),
            lists(&expected["greedy_single"]),
            "batch {batch}"
        );
    }
    let plain = without_fused_kernels(|| greedy_ids(&model, &prompts, 16, 3));
    assert_eq!(plain, lists(&expected["greedy_left_padded_batch"]));
}

/// The model of the goldens' `perturbation_rule`.
fn reference_model() -> Llama {
    let mut model = tiny_llama();
    for parameter in model.parameters_mut() {
        let data = parameter
            .value
            .flatten_all()
            .and_then(|t| t.to_vec1::<f32>())
            .expect("f32");
        let moved = data
            .into_iter()
            .enumerate()
            .map(|(j, p)| p * (1.0 + 0.01 * ((j % 7) as f64 - 3.0)) as f32)
            .collect::<Vec<_>>();
        parameter.value =
            Tensor::from_vec(moved, parameter.value.shape(), &Device::Cpu).expect("same shape");
    }
    model
}

/// The goldens' eight pairs; the responses have their EOS already.
fn golden_pairs(expected: &Value) -> Vec<Pair> {
    let sides = ["prompt_ids", "chosen_ids", "rejected_ids"].map(|key| lists(&expected[key]));
    let pair =
        |i: usize| Pair::new(&sides[0][i], &sides[1][i], &sides[2][i], None, 256).expect("fits");
    (0..sides[0].len()).map(pair).collect()
}

fn columns(pairs: &[PairLogprobs]) -> [Vec<f64>; 2] {
    [
        pairs.iter().map(|p| p.chosen).collect(),
        pairs.iter().map(|p| p.rejected).collect(),
    ]
}

// Would catch a wrong sum over a response, a wrong token in it, or a wrong loss.
#[test]
fn dpo_losses_match_trl() {
    let expected = json("training/dpo-tiny-llama.json");
    let (policy, reference, pairs) = (tiny_llama(), reference_model(), golden_pairs(&expected));
    if let Some(folder) = all_goldens() {
        let file = folder.join("../models/tiny-llama-ref");
        let stored = models::load(&file, &Device::Cpu).expect("loads");
        for (a, b) in reference.parameters().iter().zip(stored.parameters()) {
            assert_eq!(values(&a.value), values(&b.value), "{}", a.name);
        }
    }
    let policy_logprobs = dpo::logprobs(&policy, &pairs, &mut |_| true).expect("computes");
    let ref_logprobs = dpo::logprobs(&reference, &pairs, &mut |_| true).expect("computes");
    for (name, found) in [("policy", &policy_logprobs), ("ref", &ref_logprobs)] {
        for (side, found) in ["chosen", "rejected"].iter().zip(columns(found)) {
            let key = format!("{name}_{side}_logps");
            all_close(&found, &floats(&expected[&key]), &key);
            all_close(&found, &floats(&expected["float64"][&key]), &key);
        }
    }
    for (name, model) in [("policy", &policy), ("ref", &reference)] {
        let per_token = expected[format!("{name}_token_logps")]
            .as_array()
            .expect("a list");
        let prompts = lists(&expected["prompt_ids"]);
        for (side, key) in ["chosen_ids", "rejected_ids"].iter().enumerate() {
            for (i, response) in lists(&expected[*key]).iter().enumerate() {
                let found =
                    &response_logprobs(model, &prompts[i], &[response]).expect("computes")[0];
                let row = floats(&per_token[side * prompts.len() + i]);
                // Row position t holds the log-probability of token t + 1.
                let row = &row[prompts[i].len() - 1..][..response.len()];
                all_close(
                    &found.iter().map(|x| f64::from(*x)).collect::<Vec<_>>(),
                    row,
                    key,
                );
            }
        }
    }
    let beta = expected["beta"].as_f64().expect("a number");
    let losses: Vec<_> = policy_logprobs
        .iter()
        .zip(&ref_logprobs)
        .map(|(p, r)| sigmoid(*p, *r, beta))
        .collect();
    let loss: Vec<f64> = losses.iter().map(|l| l.loss).collect();
    all_close(
        &loss,
        &floats(&expected["losses_per_pair"]["sigmoid"]),
        "sigmoid",
    );
    let mean = |f: &dyn Fn(usize) -> f64| (0..pairs.len()).map(f).sum::<f64>() / pairs.len() as f64;
    let trl = |key: &str| expected["trl_metrics"][key].as_f64().expect("a number");
    close(
        mean(&|i| losses[i].chosen_reward),
        trl("rewards/chosen"),
        "rewards/chosen",
    );
    close(
        mean(&|i| losses[i].rejected_reward),
        trl("rewards/rejected"),
        "rewards/rejected",
    );
    close(
        mean(&|i| losses[i].margin()),
        trl("rewards/margins"),
        "rewards/margins",
    );
    close(
        mean(&|i| losses[i].accuracy()),
        trl("rewards/accuracies"),
        "rewards/accuracies",
    );
    let evaluation = dpo::evaluate(&policy, &pairs, &ref_logprobs, beta).expect("computes");
    close(
        evaluation.loss,
        expected["losses"]["sigmoid"].as_f64().expect("a number"),
        "mean loss",
    );
}

/// Gradients of the goldens' sigmoid loss, against every number there is about them.
fn check_gradients() {
    let expected = json("training/dpo-tiny-llama.json");
    let beta = expected["beta"].as_f64().expect("a number");
    let pairs = golden_pairs(&expected);
    let reference = dpo::logprobs(&reference_model(), &pairs, &mut |_| true).expect("computes");
    let sides = ["prompt_ids", "chosen_ids", "rejected_ids"].map(|key| lists(&expected[key]));
    let (mut batch, mut targets) = (Packed::default(), Targets::default());
    let [prompts, chosen, rejected] = &sides;
    for ((prompt, chosen), rejected) in prompts.iter().zip(chosen).zip(rejected) {
        let (prefix, branches) = batch.push_branches(prompt, &[chosen, rejected]);
        for branch in branches {
            targets.push(&batch, prefix.end - 1, branch);
        }
        targets.close_group();
    }
    let mut model = tiny_llama();
    model.train().expect("room");
    model
        .accumulate(&batch, &targets, &mut |pair, logprobs| {
            let (chosen, rejected) = logprobs.split_at(sides[1][pair].len());
            let sum = |x: &[f32]| x.iter().map(|x| f64::from(*x)).sum::<f64>();
            let policy = PairLogprobs {
                chosen: sum(chosen),
                rejected: sum(rejected),
            };
            let d = (sigmoid(policy, reference[pair], beta).d_chosen / pairs.len() as f64) as f32;
            chosen
                .iter()
                .map(|_| d)
                .chain(rejected.iter().map(|_| -d))
                .collect()
        })
        .expect("gradients");
    let mut squares = 0.0;
    for parameter in model.parameters() {
        let gradient = values(parameter.gradient.as_ref().expect("trained"));
        let norm2 = gradient.iter().map(|x| x * x).sum::<f64>();
        squares += norm2;
        let norm = expected["grad_norm_per_parameter_sigmoid"][&parameter.name]
            .as_f64()
            .expect("a number");
        close(norm2.sqrt(), norm, &parameter.name);
        let probe = &expected["grad_probe_sigmoid"][&parameter.name];
        all_close(&gradient[..8], &floats(&probe["first8"]), &parameter.name);
        close(
            gradient.iter().sum(),
            probe["sum"].as_f64().expect("a number"),
            &parameter.name,
        );
    }
    close(
        squares.sqrt(),
        expected["grad_norms"]["sigmoid"]
            .as_f64()
            .expect("a number"),
        "global norm",
    );
}

// Would catch a backward that differs from torch's autograd, on the kernels and without them.
#[test]
fn dpo_gradients_match_torch() {
    check_gradients();
    without_fused_kernels(check_gradients);
}

/// Keeps the numbers of each step.
#[derive(Default)]
struct Recorder(Vec<(f64, f64, f64)>);

impl Tracker for Recorder {
    fn stage(&mut self, _name: &str, _total: u64, _unit: &str) {}
    fn progress(&mut self, _done: u64) {}
    fn log(&mut self, _step: u64, values: &[(&str, f64)]) {
        let get = |tag: &str| values.iter().find(|(t, _)| *t == tag).expect("logged").1;
        self.0
            .push((get("loss"), get("grad_norm"), get("rewards/margins")));
    }
    fn warn(&mut self, _message: &str) {}
}

fn check_steps(clip: f64, key: &str, batch_size: usize, accumulation: usize) -> Llama {
    let expected = json("training/dpo-tiny-llama.json");
    let adamw = &expected["adamw"];
    let number = |key: &str| adamw[key].as_f64().expect("a number");
    let training = Training {
        learning_rate: number("lr"),
        batch_size,
        gradient_accumulation_steps: accumulation,
        epochs: 3,
        steps: 3,
        warmup_ratio: 0.0,
        schedule: Schedule::Constant,
        max_grad_norm: clip,
        weight_decay: number("weight_decay"),
        adam_epsilon: number("eps"),
        ..Training::default()
    };
    let pairs = golden_pairs(&expected);
    let reference = dpo::logprobs(&reference_model(), &pairs, &mut |_| true).expect("computes");
    let mut model = tiny_llama();
    let (interrupt, mut tracker) = (AtomicBool::new(false), Recorder::default());
    let mut run = Run {
        seed: 0,
        interrupt: &interrupt,
        tracker: &mut tracker,
        checkpoints: None,
    };
    let dpo_config = Dpo {
        beta: expected["beta"].as_f64().expect("a number"),
    };
    dpo::train_against(
        &mut model,
        &pairs,
        &reference,
        &training,
        &dpo_config,
        &mut run,
    )
    .expect("trains");
    let (losses, norms) = (
        floats(&adamw[key]["losses"]),
        floats(&adamw[key]["grad_norms_before_clip"]),
    );
    let margins = floats(&adamw[key]["reward_margins"]);
    assert_eq!(tracker.0.len(), 3);
    for (step, (loss, norm, margin)) in tracker.0.iter().enumerate() {
        // Late losses are tiny, so they are compared in relation to themselves. A relative 1e-3
        // there is an error of 1e-4 in the margin of 12 that they follow from.
        let relative = |found: f64, expected: f64, what: &str| {
            let tolerance = if step == 0 { TOLERANCE } else { 1e-3 };
            assert!(
                (found / expected - 1.0).abs() < tolerance,
                "{what} {step}: {found} for {expected}"
            );
        };
        relative(*loss, losses[step], "loss");
        relative(*norm, norms[step], "norm");
        close(*margin, margins[step], "margin");
    }
    let after = dpo::evaluate(&model, &pairs, &reference, dpo_config.beta).expect("computes");
    assert!(
        (after.loss / losses[3] - 1.0).abs() < 1e-3,
        "loss after: {} for {}",
        after.loss,
        losses[3]
    );
    for parameter in model.parameters() {
        let norm = values(&parameter.value)
            .iter()
            .map(|x| x * x)
            .sum::<f64>()
            .sqrt();
        let expected = adamw[key]["param_l2_after"][&parameter.name]
            .as_f64()
            .expect("a number");
        close(norm, expected, &parameter.name);
    }
    model
}

// Would catch an optimizer that differs from torch's AdamW or clip_grad_norm_, and micro-batches
// that do not add up to the batch.
#[test]
fn three_optimizer_steps_match_torch() {
    check_steps(1.0, "clip1.0", 8, 1);
    check_steps(0.0, "noclip", 2, 4);
    let model = check_steps(0.0, "noclip", 8, 1);
    if let Some(folder) = all_goldens() {
        let stored =
            models::load(&folder.join("../models/tiny-llama-adamw3"), &Device::Cpu).expect("loads");
        for (found, expected) in model.parameters().iter().zip(stored.parameters()) {
            all_close(&values(&found.value), &values(&expected.value), &found.name);
        }
    }
}

const PEER: &str = r#"
import json, sys, torch, transformers
torch.set_num_threads(1)
folder = sys.argv[1]
model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
out = []
for prompt in json.load(sys.stdin):
    ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
    new = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=24, do_sample=False, eos_token_id=None)
    out.append({"prompt": ids[0].tolist(), "new": new[0, ids.shape[1]:].tolist(),
                "text": tokenizer.decode(new[0, ids.shape[1]:], skip_special_tokens=True)})
print(json.dumps(out))
"#;

// Would catch a saved folder that transformers reads otherwise than we do. Runs only where
// `RLHF_PEER_PYTHON` is set.
#[test]
fn a_saved_folder_loads_in_transformers() {
    let Some(python) = std::env::var_os("RLHF_PEER_PYTHON") else {
        return;
    };
    let expected = json("training/forward/tiny-llama.json");
    let root = tempfile::tempdir().expect("temporary folder");
    let folder = root.path().join("saved");
    let tokenizer = Tokenizer::from_folder(&golden("models/tiny-llama")).expect("loads");
    // Trained weights, so that the test does not pass on the folder it started from.
    let model = check_steps(1.0, "clip1.0", 8, 1);
    model
        .save(&folder, &|folder| tokenizer.save(folder))
        .expect("saves");
    let mut child = Command::new(python)
        .args(["-c", PEER])
        .arg(&folder)
        .env("HF_HUB_OFFLINE", "1")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("the peer's Python starts");
    serde_json::to_writer(child.stdin.take().expect("piped"), &expected["prompts"])
        .expect("writes");
    let output = child.wait_with_output().expect("ends");
    assert!(output.status.success(), "the peer failed");
    let peer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    for answer in peer.as_array().expect("a list") {
        let ours = greedy_ids(&model, &[ids(&answer["prompt"])], 24, 1);
        assert_eq!(ours[0], ids(&answer["new"]));
        assert_eq!(tokenizer.decode(&ours[0]), answer["text"]);
    }
}
