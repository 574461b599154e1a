//! Reward models: scores, Bradley-Terry losses, gradients and optimizer steps.

use std::sync::atomic::AtomicBool;

use rlhf::config::RewardModel;
use rlhf::config::reward_model::HumanLogitsLayer;
use rlhf::config::training::{Schedule, Training};
use rlhf::models::scorer::HeadKind;
use rlhf::models::{Model, Said, Scorer};
use rlhf::ops::without_fused_kernels;
use rlhf::tracking::Tracker;
use rlhf::trainer::Run;
use rlhf::trainer::reward_model::{self, Example, Text, loss};

use super::*;

const MODELS: [&str; 2] = ["tiny-roberta", "tiny-llama"];

/// The model with the head that the goldens describe.
fn scorer(name: &str) -> Scorer {
    let folder = golden(&format!("models/{name}"));
    let mut model = Scorer::load(&folder, HeadKind::ScoreWithBias, 0, &device()).expect("loads");
    for parameter in model.parameters_mut() {
        let count = parameter.value.elem_count();
        let value: Vec<f32> = match parameter.name.as_str() {
            "score.weight" => (0..count).map(|j| (j % 5) as f32 * 0.1 - 0.2).collect(),
            "score.bias" => vec![0.05],
            _ => continue,
        };
        let shape = parameter.value.shape();
        parameter.value = Tensor::from_vec(value, shape, &device()).expect("same shape");
    }
    model
}

/// The mean of `−ln σ(chosen − rejected)`, and its gradient; the goldens have the chosen
/// responses first.
fn bradley_terry(scores: &[f32]) -> (f64, Vec<f32>) {
    let pairs = scores.len() / 2;
    let mut gradient = vec![0.0; scores.len()];
    let mut loss = 0.0;
    for i in 0..pairs {
        let margin = f64::from(scores[i]) - f64::from(scores[pairs + i]);
        loss += (-margin).exp().ln_1p() / pairs as f64;
        let d = (-1.0 / (1.0 + margin.exp()) / pairs as f64) as f32;
        gradient[i] = d;
        gradient[pairs + i] = -d;
    }
    (loss, gradient)
}

fn check_gradients(name: &str) {
    let expected = json(&format!("training/rm-{name}.json"));
    let (batch, _) = unpadded(&expected);
    let mut model = scorer(name);
    let rows = model.rows(&batch);
    let scores: Vec<f64> = model
        .scores(&batch, &rows)
        .expect("computes")
        .into_iter()
        .map(f64::from)
        .collect();
    let (chosen, rejected) = scores.split_at(scores.len() / 2);
    all_close(
        chosen,
        &floats(&expected["rewards_chosen"]),
        "rewards_chosen",
    );
    all_close(
        rejected,
        &floats(&expected["rewards_rejected"]),
        "rewards_rejected",
    );
    model.train().expect("room");
    let mut loss = 0.0;
    model
        .accumulate(&batch, &rows, &mut |scores| {
            let (value, gradient) = bradley_terry(scores);
            loss = value;
            gradient
        })
        .expect("gradients");
    close(
        loss,
        expected["bt_loss"].as_f64().expect("a number"),
        "loss",
    );
    let norms = expected["grad_norm_per_parameter"]
        .as_object()
        .expect("a map");
    let parameters = model.parameters();
    assert_eq!(parameters.len(), norms.len());
    for parameter in parameters {
        // The goldens are of the bare backbone, and call the head by its place.
        let stem = parameter.name.split_once('.').expect("a path").1;
        let key = match parameter.name.strip_prefix("score.") {
            Some(part) => format!("head.{part}"),
            None => stem.to_owned(),
        };
        let gradient = values(parameter.gradient.as_ref().expect("trained"));
        let norm = gradient.iter().map(|x| x * x).sum::<f64>().sqrt();
        close(norm, norms[&key].as_f64().expect("a number"), &key);
    }
}

// Would catch a wrong token that stands for its sequence, a head or a loss that differ from the
// reference, and a backward that differs from torch's autograd.
#[test]
fn reward_models_match_torch() {
    for name in MODELS {
        check_gradients(name);
        without_fused_kernels(|| check_gradients(name));
    }
}

/// The goldens' pairs, with or without their margins.
fn examples(expected: &Value, margins: bool) -> Vec<Example> {
    let (batch, _) = unpadded(expected);
    let text = |at: usize| Text {
        ids: batch.ids[batch.groups[at].prefix.clone()].to_vec(),
        human_logits: None,
    };
    let margin = floats(&expected["margin"]);
    let pairs = batch.groups.len() / 2;
    (0..pairs)
        .map(|i| Example::Pair {
            chosen: text(i),
            rejected: text(pairs + i),
            margin: if margins { margin[i] } else { 0.0 },
        })
        .collect()
}

// Would catch a margin or a centring that differs from TRL's, responses that change places in a
// batch, and a prompt shared by two responses that changes their scores.
#[test]
fn reward_losses_match_trl() {
    for name in MODELS {
        let expected = json(&format!("training/rm-{name}.json"));
        let number = |value: &Value| value.as_f64().expect("a number");
        let model = scorer(name);
        let loss = |margins: bool, center_rewards_coefficient: f64| {
            let settings = RewardModel {
                center_rewards_coefficient,
                ..RewardModel::default()
            };
            let examples = examples(&expected, margins);
            reward_model::evaluate(&model, &examples, &settings, false).expect("computes")
        };
        let plain = loss(false, 0.0);
        close(plain.loss, number(&expected["bt_loss"]), name);
        let metrics = &expected["trl_metrics"];
        let accuracy = plain.accuracy().expect("pairs");
        close(accuracy, number(&metrics["accuracy"]), name);
        close(plain.margin, number(&metrics["margin"]), name);
        let with_margin = number(&expected["bt_loss_with_margin"]);
        close(loss(true, 0.0).loss, with_margin, name);
        let centred = number(&expected["bt_loss_center_0.01"]);
        close(loss(false, 0.01).loss, centred, name);
    }
}

// Would catch a formula or a slope of scores alone that differs from the reference.
#[test]
fn bradley_terry_matches_torch() {
    let expected = json("training/rl-bradley-terry.json");
    let column = |key: &str| floats(&expected[key]);
    let (chosen, rejected, margin) = (column("chosen"), column("rejected"), column("margin"));
    let count = chosen.len() as f64;
    let mean = |f: &dyn Fn(usize) -> f64| (0..chosen.len()).map(f).sum::<f64>() / count;
    let plain = |i: usize| loss::bradley_terry(chosen[i], rejected[i], 0.0);
    let number = |key: &str| expected[key].as_f64().expect("a number");
    close(mean(&|i| plain(i).loss), number("loss"), "loss");
    let with_margin = mean(&|i| loss::bradley_terry(chosen[i], rejected[i], margin[i]).loss);
    close(with_margin, number("loss_margin"), "loss_margin");
    let centred = mean(&|i| (plain(i) + loss::centring(chosen[i], rejected[i], 0.01)).loss);
    close(centred, number("loss_center_0.01"), "loss_center_0.01");
    let slopes: Vec<f64> = (0..chosen.len()).map(|i| plain(i).d / count).collect();
    all_close(&slopes, &column("grad_chosen"), "grad_chosen");
    let slopes: Vec<f64> = (0..chosen.len())
        .map(|i| plain(i).d_rejected / count)
        .collect();
    all_close(&slopes, &column("grad_rejected"), "grad_rejected");
}

/// Keeps the loss of each step.
#[derive(Default)]
struct Losses(Vec<f64>);

impl Tracker for Losses {
    fn stage(&mut self, _name: &str, _total: u64, _unit: &str) {}
    fn progress(&mut self, _done: u64) {}
    fn log(&mut self, _step: u64, values: &[(&str, f64)]) {
        let loss = values.iter().find(|(tag, _)| *tag == "loss");
        self.0.push(loss.expect("logged").1);
    }
    fn warn(&mut self, _message: &str) {}
}

// Would catch a parameter that the optimizer passes by, and micro-batches that do not add up to
// the batch.
#[test]
fn reward_model_steps_match_torch() {
    for (name, batch_size) in [("tiny-roberta", 8), ("tiny-llama", 8), ("tiny-llama", 2)] {
        let expected = json(&format!("training/rm-{name}.json"));
        let adamw = &expected["adamw"];
        let number = |key: &str| adamw[key].as_f64().expect("a number");
        let losses = floats(&adamw["losses"]);
        let training = Training {
            learning_rate: number("lr"),
            weight_decay: number("weight_decay"),
            adam_epsilon: number("eps"),
            batch_size,
            gradient_accumulation_steps: 8 / batch_size,
            epochs: losses.len(),
            warmup_ratio: 0.0,
            schedule: Schedule::Constant,
            max_grad_norm: 0.0,
            ..Training::default()
        };
        let (interrupt, mut tracker) = (AtomicBool::new(false), Losses::default());
        let mut run = Run {
            seed: 0,
            interrupt: &interrupt,
            tracker: &mut tracker,
            checkpoints: None,
        };
        let mut model = scorer(name);
        let (examples, settings) = (examples(&expected, false), RewardModel::default());
        reward_model::train(&mut model, &examples, &settings, &training, &mut run).expect("trains");
        all_close(&tracker.0, &losses, name);
    }
}

/// A reward model whose every weight outside of the backbone says something.
fn told(name: &str, layer: HumanLogitsLayer) -> Scorer {
    let folder = golden(&format!("models/{name}"));
    let mut model = Scorer::load_usual(&folder, 3, &device()).expect("loads");
    model.add_human_logits(3, layer, 3).expect("room");
    for parameter in model.parameters_mut() {
        let is_head = ["score.", "classifier.", "human_logits."];
        if is_head.iter().any(|head| parameter.name.starts_with(head)) {
            let count = parameter.value.elem_count();
            let noise: Vec<f32> = (0..count).map(|j| (j % 7) as f32 * 0.1 - 0.25).collect();
            let shape = parameter.value.shape();
            parameter.value = Tensor::from_vec(noise, shape, &device()).expect("same shape");
        }
    }
    model
}

// Would catch weights of the layer for human logits, or its place, that a saved folder loses.
#[test]
fn a_saved_reward_model_scores_the_same() {
    for name in MODELS {
        let (batch, _) = unpadded(&json(&format!("training/rm-{name}.json")));
        for layer in [HumanLogitsLayer::Last, HumanLogitsLayer::SecondLast] {
            let model = told(name, layer);
            let root = tempfile::tempdir().expect("temporary folder");
            let folder = root.path().join("saved");
            model.save(&folder, &|_| Ok(())).expect("saves");
            let loaded = Scorer::load_trained(&folder, &device()).expect("loads");
            let rows = model.rows(&batch);
            let said: Vec<Said> = (0..rows.len())
                .map(|at| Said {
                    shown: (at % 2 == 0).then_some([1.0, -1.0, 0.5].as_slice()),
                    learnt: None,
                })
                .collect();
            let scores = |model: &Scorer, said: &[Said]| {
                model.scores_with(&batch, &rows, said).expect("computes")
            };
            let nothing = vec![Said::default(); rows.len()];
            assert_eq!(scores(&loaded, &said), scores(&model, &said));
            assert_eq!(scores(&loaded, &nothing), scores(&model, &nothing));
            assert_ne!(scores(&model, &said), scores(&model, &nothing));
        }
    }
}

/// Prints transformers' scores of a folder's texts, one after another.
const PEER: &str = r#"
import json, sys, torch, transformers
torch.set_num_threads(1)
model = transformers.AutoModelForSequenceClassification.from_pretrained(sys.argv[1], dtype=torch.float32).eval()
assert model.config.num_labels == 1
with torch.no_grad():
    print(json.dumps([model(torch.tensor([ids])).logits[0, 0].item() for ids in json.load(sys.stdin)]))
"#;

// Would catch a folder that transformers reads otherwise than we do. Runs only where
// `RLHF_PEER_PYTHON` is set.
#[test]
fn a_saved_reward_model_loads_in_transformers() {
    let Some(python) = std::env::var_os("RLHF_PEER_PYTHON") else {
        return;
    };
    for name in MODELS {
        let (batch, _) = unpadded(&json(&format!("training/rm-{name}.json")));
        let mut model =
            Scorer::load_usual(&golden(&format!("models/{name}")), 3, &device()).expect("loads");
        for parameter in model.parameters_mut() {
            if parameter.name.contains("score.") || parameter.name.contains("out_proj") {
                parameter.value = (&parameter.value + 0.1).expect("adds");
            }
        }
        let root = tempfile::tempdir().expect("temporary folder");
        let folder = root.path().join("saved");
        model.save(&folder, &|_| Ok(())).expect("saves");
        let texts: Vec<&[u32]> = batch
            .groups
            .iter()
            .map(|group| &batch.ids[group.prefix.clone()])
            .collect();
        let mut child = std::process::Command::new(&python)
            .args(["-c", PEER])
            .arg(&folder)
            .env("HF_HUB_OFFLINE", "1")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("the peer's Python starts");
        serde_json::to_writer(child.stdin.take().expect("piped"), &texts).expect("writes");
        let output = child.wait_with_output().expect("ends");
        assert!(output.status.success(), "the peer failed");
        let peer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let scores = model.scores(&batch, &model.rows(&batch)).expect("computes");
        let scores: Vec<f64> = scores.into_iter().map(f64::from).collect();
        all_close(&scores, &floats(&peer), name);
    }
}
