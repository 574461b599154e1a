//! Formulas of PPO and GRPO against TRL's (1.10 and 1.16, running moments 0.11.4).

use rlhf::config::grpo::{AdvantageScale, Aggregation};
use rlhf::config::ppo::KlEstimator;
use rlhf::config::rollout::RewardNormalisation;
use rlhf::ops::cross_entropy::{target_logprobs, target_logprobs_entropy_backward};
use rlhf::rollout::kl::token_rewards;
use rlhf::trainer::grpo::loss::{group_advantages, token};
use rlhf::trainer::on_policy::moments::RunningMoments;
use rlhf::trainer::ppo::gae::{Discount, Mean, gae, whiten};
use rlhf::trainer::ppo::loss::{Clipped, policy, value};

use super::*;

/// f32 in the reference, f64 here.
const CLOSE: f64 = 2e-5;

fn rows(value: &Value) -> Vec<Vec<f64>> {
    value.as_array().expect("rows").iter().map(floats).collect()
}

fn singles(row: &[f64]) -> Vec<f32> {
    row.iter().map(|x| *x as f32).collect()
}

#[track_caller]
fn near(found: f64, expected: f64, what: &str) {
    let bound = CLOSE * expected.abs().max(1.0);
    assert!(
        (found - expected).abs() < bound,
        "{what}: {found} for {expected}"
    );
}

#[track_caller]
fn all_near(found: &[f64], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (f, e) in found.iter().zip(expected) {
        near(*f, *e, what);
    }
}

/// PPO's golden: rows cut to their response, and to one position more where there is room; TRL
/// puts the score there.
struct Golden {
    value: Value,
    lengths: Vec<usize>,
    ends: Vec<usize>,
}

impl Golden {
    fn read() -> Self {
        let value = json("training/rl-ppo.json");
        let last = floats(&value["inputs"]["last_token_index"]);
        let score = floats(&value["masks"]["score_position"]);
        Self {
            lengths: last.iter().map(|i| *i as usize + 1).collect(),
            ends: score.iter().map(|i| *i as usize + 1).collect(),
            value,
        }
    }

    fn cut(&self, part: &str, key: &str, to: &[usize]) -> Vec<Vec<f64>> {
        let rows = rows(&self.value[part][key]);
        let cut = rows
            .into_iter()
            .zip(to)
            .map(|(row, to)| row[..*to].to_vec());
        cut.collect()
    }

    fn output(&self, key: &str) -> f64 {
        self.value["outputs"][key].as_f64().expect("a number")
    }
}

// Would catch another estimator, a penalty of another sign, a score on the wrong token, a wrong
// recursion, or whitening over padding.
#[test]
fn advantages_match_trl() {
    let golden = Golden::read();
    let (lengths, ends) = (&golden.lengths, &golden.ends);
    let out = |key: &str, to: &[usize]| golden.cut("outputs", key, to);
    let (old, reference) = (out("old_logprobs", ends), out("ref_logprobs", ends));
    let scores = floats(&golden.value["inputs"]["scores"]);
    let config = |key: &str| golden.value["config"][key].as_f64().expect("a number");
    let mut advantages = Vec::new();
    for i in 0..old.len() {
        for (estimator, key) in [(KlEstimator::K1, "kl_k1"), (KlEstimator::K3, "kl_k3")] {
            let pairs = old[i].iter().zip(&reference[i]);
            let found: Vec<f64> = pairs.map(|(l, r)| estimator.estimate(*l, *r)).collect();
            let expected = &out(key, ends)[i];
            for (f, e) in found.iter().zip(expected) {
                // Large divergences are exponentials of f32.
                assert!(
                    (f - e).abs() < 1e-4 * e.abs().max(1.0),
                    "{key}: {f} for {e}"
                );
            }
        }
        let rewards = token_rewards(
            &singles(&old[i]),
            &singles(&reference[i]),
            KlEstimator::K1,
            config("kl_coef"),
            scores[i],
        );
        all_near(&rewards, &out("rewards", ends)[i], "rewards");
        let values = &out("values_masked", ends)[i];
        let discount = Discount {
            gamma: config("gamma"),
            lambda: config("lam"),
        };
        let found = gae(&rewards, &singles(values), discount);
        all_near(&found, &out("advantages_raw", ends)[i], "advantages");
        let returns: Vec<f64> = found.iter().zip(values).map(|(a, v)| a + v).collect();
        all_near(&returns, &out("returns", ends)[i], "returns");
        advantages.push(found[..lengths[i]].to_vec());
    }
    whiten(advantages.iter_mut().map(Vec::as_mut_slice), Mean::Shift);
    for (found, expected) in advantages.iter().zip(out("advantages_whitened", lengths)) {
        all_near(found, &expected, "whitened");
    }
}

fn mean(parts: &[Clipped], of: impl Fn(&Clipped) -> f64) -> f64 {
    parts.iter().map(of).sum::<f64>() / parts.len() as f64
}

// Would catch a wrong clip, mean or slope in either loss.
#[test]
fn ppo_losses_match_trl() {
    let golden = Golden::read();
    let (lengths, ends) = (&golden.lengths, &golden.ends);
    let out = |key: &str, to: &[usize]| golden.cut("outputs", key, to).concat();
    let (new, old) = (out("new_logprobs", lengths), out("old_logprobs", lengths));
    let advantages = out("advantages_whitened", lengths);
    let tokens: Vec<Clipped> = (0..new.len())
        .map(|i| policy(new[i], old[i], advantages[i], &(0.8..=1.2)))
        .collect();
    near(
        mean(&tokens, |t| t.loss),
        golden.output("policy_loss"),
        "policy loss",
    );
    let clipped = |t: &Clipped| f64::from(u8::from(t.clipped));
    near(
        mean(&tokens, clipped),
        golden.output("pg_clipfrac"),
        "clip fraction",
    );
    let half_square = new.iter().zip(&old).map(|(n, o)| 0.5 * (n - o).powi(2));
    near(
        half_square.sum::<f64>() / new.len() as f64,
        golden.output("approx_kl_masked_half_sq"),
        "approximate KL",
    );

    let (values, predicted) = (
        out("values_masked", ends),
        golden.cut("inputs", "vpred", ends).concat(),
    );
    let returns = out("returns", ends);
    let losses: Vec<Clipped> = (0..values.len())
        .map(|i| value(predicted[i], values[i], returns[i], 0.2))
        .collect();
    near(
        mean(&losses, |t| t.loss),
        golden.output("value_loss"),
        "value loss",
    );
    near(
        mean(&losses, clipped),
        golden.output("vf_clipfrac"),
        "value clip fraction",
    );
    let slopes: Vec<f64> = losses
        .iter()
        .map(|l| 0.1 * l.slope / losses.len() as f64)
        .collect();
    all_near(&slopes, &out("grad_vpred", ends), "value slope");

    // ∂loss/∂logits = slope · (onehot − softmax): the chosen token's entry has the slope in it.
    let mut at = 0;
    for (i, length) in lengths.iter().enumerate() {
        for t in 0..*length {
            let logits = floats(&golden.value["inputs"]["new_logits"][i][t]);
            let chosen = golden.value["inputs"]["responses"][i][t]
                .as_u64()
                .expect("an id") as usize;
            let sum: f64 = logits.iter().map(|x| x.exp()).sum();
            let slope = tokens[at].slope / tokens.len() as f64;
            let found: Vec<f64> = (0..logits.len())
                .map(|v| slope * (f64::from(u8::from(v == chosen)) - logits[v].exp() / sum))
                .collect();
            let expected = floats(&golden.value["outputs"]["grad_new_logits"][i][t]);
            all_near(&found, &expected, "logit gradients");
            at += 1;
        }
    }
}

// Would catch a bonus of another sign or size, and an entropy of something else than the softmax.
#[test]
fn entropies_match_trl() {
    let (ppo, golden) = (Golden::read(), json("training/rl-entropy.json"));
    let coefficient = golden["coefficient"].as_f64().expect("a number");
    let tokens: usize = ppo.lengths.iter().sum();
    let slope = (-coefficient / tokens as f64) as f32;
    let mut sum = 0.0;
    for (i, length) in ppo.lengths.iter().enumerate() {
        let logits: Vec<f64> = ppo.value["inputs"]["new_logits"][i]
            .as_array()
            .expect("tokens")
            .iter()
            .take(*length)
            .flat_map(floats)
            .collect();
        let width = logits.len() / length;
        let logits = Tensor::from_vec(singles(&logits), (*length, width), &Device::Cpu);
        let logits = logits.expect("a tensor");
        let ids = vec![0; *length];
        let (_, lse) = target_logprobs(&logits, &ids).expect("computes");
        let none = vec![0.0; *length];
        let slopes = vec![slope; *length];
        let (gradient, entropies) =
            target_logprobs_entropy_backward(logits, &lse, &ids, &none, &slopes).expect("computes");
        let entropies: Vec<f64> = entropies.into_iter().map(f64::from).collect();
        let expected = floats(&golden["per_token"][i]);
        all_near(&entropies, &expected[..*length], "entropies");
        sum += entropies.iter().sum::<f64>();
        for (t, row) in gradient.to_vec2::<f32>().expect("f32").iter().enumerate() {
            let expected = floats(&golden["grad_new_logits"][i][t]);
            for (found, expected) in row.iter().zip(expected) {
                let error = (f64::from(*found) - expected).abs();
                assert!(error < 1e-8, "gradient: {found} for {expected}");
            }
        }
    }
    near(
        sum / tokens as f64,
        ppo.output("entropy_masked_mean"),
        "mean entropy",
    );
}

// Would catch a deviation of the batch in place of all so far, and a mean taken away unasked.
#[test]
fn running_moments_match_trl() {
    let golden = json("training/rl-running-moments.json");
    for (how, key) in [
        (RewardNormalisation::Scale, "scaled"),
        (RewardNormalisation::Standardise, "standardised"),
    ] {
        let mut moments = RunningMoments::default();
        for batch in golden["batches"].as_array().expect("batches") {
            let mut rewards = floats(&batch["rewards"]);
            moments.normalise(&mut rewards, how);
            let number = |key: &str| batch[key].as_f64().expect("a number");
            near(moments.mean, number("mean"), "mean");
            near(moments.deviation(), number("std"), "deviation");
            all_near(&rewards, &floats(&batch[key]), key);
        }
    }
}

// Would catch a value beyond the end that is not 0, and a mean that is not given back.
#[test]
fn gae_and_whitening_match_torch() {
    let golden = json("training/rl-gae-whiten.json");
    let (rewards, values) = (rows(&golden["rewards"]), rows(&golden["values"]));
    let lengths = floats(&golden["lengths"]);
    for case in golden["cases"].as_array().expect("cases") {
        let discount = Discount {
            gamma: case["gamma"].as_f64().expect("a number"),
            lambda: case["lam"].as_f64().expect("a number"),
        };
        let mut masked = Vec::new();
        for i in 0..rewards.len() {
            let whole = gae(&rewards[i], &singles(&values[i]), discount);
            all_near(&whole, &floats(&case["advantages"][i]), "advantages");
            let length = lengths[i] as usize;
            let cut = gae(
                &rewards[i][..length],
                &singles(&values[i][..length]),
                discount,
            );
            let expected = floats(&case["advantages_masked"][i]);
            all_near(&cut, &expected[..length], "masked advantages");
            masked.push(cut);
        }
        whiten(masked.iter_mut().map(Vec::as_mut_slice), Mean::Shift);
        for (i, row) in masked.iter().enumerate() {
            let expected = floats(&case["whitened_masked"][i]);
            all_near(row, &expected[..row.len()], "whitened advantages");
        }
    }
    let whitening = &golden["whitening"];
    for (mean, key) in [
        (Mean::Shift, "shift_mean_true"),
        (Mean::Keep, "shift_mean_false"),
    ] {
        let mut found: Vec<Vec<f64>> = rows(&whitening["input"])
            .iter()
            .zip(&lengths)
            .map(|(row, length)| row[..*length as usize].to_vec())
            .collect();
        whiten(found.iter_mut().map(Vec::as_mut_slice), mean);
        for (row, expected) in found.iter().zip(rows(&whitening[key])) {
            all_near(row, &expected[..row.len()], key);
        }
    }
}

// Would catch a wrong deviation, a wrong weight of a token, or a wrong slope, in each variant.
#[test]
fn grpo_matches_trl() {
    let golden = json("training/rl-grpo.json");
    let inputs = &golden["inputs"];
    let rewards = floats(&inputs["rewards"]);
    let size = inputs["num_generations"].as_u64().expect("a number") as usize;
    let groups: Vec<&[f64]> = rewards.chunks(size).collect();
    for (scale, key) in [
        (AdvantageScale::Group, "group"),
        (AdvantageScale::Batch, "batch"),
        (AdvantageScale::None, "none"),
    ] {
        let found = group_advantages(&groups, scale).concat();
        all_near(&found, &floats(&golden["advantages"][key]), key);
    }
    let advantages = group_advantages(&groups, AdvantageScale::Group).concat();
    let lengths: Vec<usize> = floats(&inputs["lengths"])
        .iter()
        .map(|l| *l as usize)
        .collect();
    let [new, old, reference] = ["new_logps", "old_logps", "ref_logps"].map(|k| rows(&inputs[k]));
    let tokens: usize = lengths.iter().sum();
    for case in golden["cases"].as_array().expect("cases") {
        let number = |key: &str| case[key].as_f64().expect("a number");
        let aggregation = match case["loss_type"].as_str() {
            Some("grpo") => Aggregation::Grpo,
            Some("bnpo" | "dapo") => Aggregation::Dapo,
            Some("dr_grpo") => Aggregation::DrGrpo,
            other => panic!("{other:?}"),
        };
        let range = 1.0 - number("epsilon_low")..=1.0 + number("epsilon_high");
        let (beta, longest) = (number("beta"), number("max_completion_length") as usize);
        let (mut loss, mut kl, mut low, mut high) = (0.0, 0.0, 0.0, 0.0);
        for i in 0..new.len() {
            let weight = aggregation.weight(lengths[i], new.len(), tokens, longest);
            let expected = floats(&case["grad_new_logps"][i]);
            for t in 0..lengths[i] {
                let reference = (beta > 0.0).then_some((reference[i][t], beta));
                let token = token(new[i][t], old[i][t], reference, advantages[i], &range);
                loss += token.loss * weight;
                near(token.slope * weight, expected[t], "slope");
                let clipped = f64::from(u8::from(token.clipped)) / tokens as f64;
                *(if advantages[i] < 0.0 {
                    &mut low
                } else {
                    &mut high
                }) += clipped;
            }
        }
        for i in 0..new.len() {
            for t in 0..lengths[i] {
                kl += KlEstimator::K3.estimate(new[i][t], reference[i][t]) / tokens as f64;
            }
        }
        near(loss, number("loss"), "loss");
        near(kl, number("kl"), "kl");
        near(low, number("clip_ratio/low_mean"), "clipped below");
        near(high, number("clip_ratio/high_mean"), "clipped above");
    }
}
