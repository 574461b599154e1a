//! Reward models: scores, Bradley-Terry losses, gradients and optimizer steps.

use rlhf::config::training::Training;
use rlhf::models::scorer::HeadKind;
use rlhf::models::{Model, Scorer};
use rlhf::ops::without_fused_kernels;
use rlhf::trainer::optimizer::AdamW;

use super::*;

const MODELS: [&str; 2] = ["tiny-roberta", "tiny-llama"];

/// The model with the head that the goldens describe.
fn scorer(name: &str) -> Scorer {
    let folder = golden(&format!("models/{name}"));
    let mut model = Scorer::load(&folder, HeadKind::ScoreWithBias, 0, &Device::Cpu).expect("loads");
    for parameter in model.parameters_mut() {
        let count = parameter.value.elem_count();
        let value: Vec<f32> = match parameter.name.as_str() {
            "score.weight" => (0..count).map(|j| (j % 5) as f32 * 0.1 - 0.2).collect(),
            "score.bias" => vec![0.05],
            _ => continue,
        };
        let shape = parameter.value.shape();
        parameter.value = Tensor::from_vec(value, shape, &Device::Cpu).expect("same shape");
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

// Would catch a parameter that the optimizer passes by.
#[test]
fn reward_model_steps_match_torch() {
    for name in MODELS {
        let expected = json(&format!("training/rm-{name}.json"));
        let (batch, _) = unpadded(&expected);
        let adamw = &expected["adamw"];
        let training = Training {
            weight_decay: adamw["weight_decay"].as_f64().expect("a number"),
            ..Training::default()
        };
        let mut model = scorer(name);
        let rows = model.rows(&batch);
        model.train().expect("room");
        let mut optimizer = AdamW::new(&model, &training).expect("room");
        for (step, expected) in floats(&adamw["losses"]).into_iter().enumerate() {
            let mut loss = 0.0;
            model
                .accumulate(&batch, &rows, &mut |scores| {
                    let (value, gradient) = bradley_terry(scores);
                    loss = value;
                    gradient
                })
                .expect("gradients");
            close(loss, expected, &format!("{name}: loss {step}"));
            let rate = adamw["lr"].as_f64().expect("a number");
            optimizer.step(&mut model, rate, 0.0, 1.0).expect("steps");
        }
    }
}
