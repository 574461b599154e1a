use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::ops::testing::device;

use super::*;
use crate::config::model::Lora;
use crate::config::ppo::ValueBackbone;
use crate::config::training::Schedule;
use crate::config::{Grpo, Rloo};
use crate::models::LlamaConfig;
use crate::tracking::Tracker;
use crate::trainer::{Checkpoints, checkpoint::latest, grpo, ppo};

fn model() -> LanguageModel {
    let config = LlamaConfig {
        vocab_size: 12,
        hidden_size: 16,
        intermediate_size: 24,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        num_key_value_heads: 1,
        head_dim: 8,
        max_position_embeddings: 32,
        rms_norm_eps: 1e-5,
        rope_theta: 10_000.0,
        tie_word_embeddings: true,
        bos_token_id: None,
        eos_token_id: vec![2],
        pad_token_id: None,
    };
    config.init(5, &device()).expect("init")
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Method {
    Ppo,
    /// With a value head on the policy's states.
    PpoShared,
    Grpo,
    Rloo,
}

const METHODS: [Method; 4] = [Method::Ppo, Method::PpoShared, Method::Grpo, Method::Rloo];

/// Rewards the share of token 7 in a response; NaN in the steps of `bad`.
#[derive(Default)]
struct Sevens {
    bad: Vec<u64>,
    flat: Option<usize>,
    kept: Vec<Value>,
}

impl Environment for Sevens {
    type Error = Error;

    fn score(
        &mut self,
        step: u64,
        tasks: &[usize],
        responses: &[Response],
        _: &[f64],
    ) -> Result<Scores, Error> {
        let share = |r: &Response| {
            if self.flat.is_some_and(|n| tasks[r.prompt].is_multiple_of(n)) {
                return 0.25;
            }
            let sevens = r.ids.iter().filter(|id| **id == 7).count();
            sevens as f64 / r.ids.len() as f64
        };
        let bad = self.bad.contains(&step);
        let score = |r| if bad { f64::NAN } else { share(r) };
        Ok(Scores {
            totals: responses.iter().map(|r| Some(score(r))).collect(),
            per_token: Vec::new(),
            means: vec![("rewards/sevens".into(), 0.5)],
            warnings: Vec::new(),
        })
    }

    fn keep_bad_batch(&mut self, _: u64, batch: &Value) -> Result<(), Error> {
        self.kept.push(batch.clone());
        Ok(())
    }
}

/// Remembers what it hears, and raises the interrupt at a step.
struct Recorder<'a> {
    rows: Vec<Vec<(String, f64)>>,
    interrupt: &'a AtomicBool,
    at: u64,
}

impl Tracker for Recorder<'_> {
    fn stage(&mut self, _name: &str, _total: u64, _unit: &str) {}
    fn progress(&mut self, _done: u64) {}
    fn log(&mut self, step: u64, values: &[(&str, f64)]) {
        let row = values.iter().map(|(tag, x)| ((*tag).to_owned(), *x));
        self.rows.push(row.collect());
        if step == self.at {
            self.interrupt.store(true, Ordering::Relaxed);
        }
    }
    fn warn(&mut self, _message: &str) {}
}

fn training() -> Training {
    Training {
        learning_rate: 1e-2,
        batch_size: 8,
        gradient_accumulation_steps: 1,
        epochs: 100,
        steps: 20,
        warmup_ratio: 0.0,
        schedule: Schedule::Constant,
        ppo_epochs: 2,
        ..Training::default()
    }
}

fn rollout() -> Rollout {
    Rollout {
        prompts_per_step: 4,
        samples_per_prompt: 4,
        missing_eos_penalty: 0.1,
        reward_clip: Some(5.0),
        ..Rollout::default()
    }
}

#[derive(Clone)]
struct Setup<'a> {
    training: Training,
    lora: Option<Lora>,
    rollout: Rollout,
    ppo: Ppo,
    /// Worth the same to every response to a prompt whose number this divides.
    flat: Option<usize>,
    bad: Vec<u64>,
    folder: Option<&'a Path>,
    resume: Option<PathBuf>,
    stop_at: u64,
}

impl Default for Setup<'_> {
    fn default() -> Self {
        Self {
            training: training(),
            lora: None,
            rollout: rollout(),
            ppo: Ppo::default(),
            flat: None,
            bad: Vec::new(),
            folder: None,
            resume: None,
            stop_at: u64::MAX,
        }
    }
}

struct Done {
    rows: Vec<Vec<(String, f64)>>,
    weights: Vec<u32>,
    outcome: Result<Outcome, Error>,
    kept: Vec<Value>,
}

impl Done {
    fn curve(&self, tag: &str) -> Vec<f64> {
        let value = |row: &Vec<(String, f64)>| row.iter().find(|(t, _)| t == tag).map(|(_, x)| *x);
        self.rows.iter().filter_map(value).collect()
    }
}

fn run(method: Method, setup: &Setup) -> Done {
    let interrupt = AtomicBool::new(false);
    let mut tracker = Recorder {
        rows: Vec::new(),
        interrupt: &interrupt,
        at: setup.stop_at,
    };
    let mut model = model();
    if let Some(lora) = &setup.lora {
        model.add_adapters(lora, 9).expect("fits");
    }
    let mut environment = Sevens {
        bad: setup.bad.clone(),
        flat: setup.flat,
        kept: Vec::new(),
    };
    let generation = Generation {
        max_new_tokens: 6,
        batch_size: 16,
        ..Generation::default()
    };
    let rollout = setup.rollout.clone();
    let prompts: Vec<Vec<u32>> = (0..8).map(|i| vec![3, i]).collect();
    let job = Job {
        prompts: &prompts,
        eos: &[2],
        training: &setup.training,
        generation: &generation,
        rollout: &rollout,
    };
    let mut training = Run {
        seed: 3,
        interrupt: &interrupt,
        tracker: &mut tracker,
        checkpoints: setup.folder.map(|folder| Checkpoints {
            folder,
            resume: setup.resume.clone(),
            extras: &|_| Ok(()),
            judge: None,
        }),
    };
    let outcome = match method {
        Method::Ppo | Method::PpoShared => {
            let ppo = Ppo {
                kl_target: Some(0.5),
                kl_horizon: 100.0,
                value_backbone: match method {
                    Method::PpoShared => ValueBackbone::Shared,
                    _ => ValueBackbone::Own,
                },
                ..setup.ppo.clone()
            };
            ppo::train(&mut model, &job, &ppo, &mut environment, &mut training)
        }
        Method::Grpo => {
            let grpo = Grpo {
                kl_coefficient: 0.01,
                ..Grpo::default()
            };
            grpo::train(&mut model, &job, &grpo, &mut environment, &mut training)
        }
        Method::Rloo => grpo::train_leave_one_out(
            &mut model,
            &job,
            &Rloo::default(),
            &mut environment,
            &mut training,
        ),
    };
    let values = model.parameters().into_iter().flat_map(|p| {
        let values = p.value.flatten_all().and_then(|t| t.to_vec1::<f32>());
        values.expect("f32")
    });
    let weights = values.map(f32::to_bits).collect();
    Done {
        rows: tracker.rows,
        weights,
        outcome,
        kept: environment.kept,
    }
}

fn mean(curve: &[f64]) -> f64 {
    curve.iter().sum::<f64>() / curve.len() as f64
}

// Would catch a sign, a loss or advantages that teach nothing, and equal runs that differ in a
// bit.
#[test]
fn every_method_learns_and_repeats() {
    for method in METHODS {
        let done = run(method, &Setup::default());
        let outcome = done.outcome.as_ref().expect("trains");
        assert_eq!((outcome.steps, outcome.episodes), (20, 320));
        let reward = done.curve("reward");
        let (start, end) = (mean(&reward[..5]), mean(&reward[15..]));
        assert!(end > start + 0.2, "{method:?}: {reward:?}");
        let again = run(method, &Setup::default());
        assert!(done.weights == again.weights, "{method:?}");
    }
}

// Would catch a reference that moves with the policy, a first ratio that is not 1, and tags that
// dashboards do not know.
#[test]
fn the_curves_begin_where_they_must() {
    for method in METHODS {
        let done = run(method, &Setup::default());
        let kl = done.curve("objective/kl");
        assert!(kl[0].abs() < 1e-5 && kl[19] > 0.1, "{method:?}: {kl:?}");
        let known = [
            "reward",
            "reward_std",
            "frac_reward_zero_std",
            "objective/entropy",
            "policy/approxkl_avg",
            "policy/clipfrac_avg",
            "loss/policy_avg",
            "val/ratio",
            "completions/mean_length",
            "rewards/sevens",
        ];
        for tag in known {
            assert_eq!(done.curve(tag).len(), 20, "{tag}");
        }
        assert_eq!(
            done.curve("loss/value_avg").len(),
            match method {
                Method::Ppo | Method::PpoShared => 20,
                _ => 0,
            }
        );
        // One pass in one update: the ratio is exactly that of the policy to itself.
        let single = Setup {
            training: Training {
                batch_size: 16,
                ppo_epochs: 1,
                ..training()
            },
            ..Setup::default()
        };
        let ratio = run(method, &single).curve("val/ratio");
        assert!(ratio.iter().all(|r| (r - 1.0).abs() < 1e-5), "{ratio:?}");
    }
}

// Would catch a loss that is a mean per micro-batch. f32 sums in another order: the first steps
// agree, until a token is sampled otherwise.
#[test]
fn accumulation_equals_the_large_batch() {
    for method in METHODS {
        let small = Setup {
            training: Training {
                batch_size: 4,
                gradient_accumulation_steps: 2,
                ..training()
            },
            ..Setup::default()
        };
        let (large, small) = (run(method, &Setup::default()), run(method, &small));
        for tag in ["loss/policy_avg", "grad_norm", "reward", "val/ratio"] {
            let (a, b) = (large.curve(tag), small.curve(tag));
            for step in 0..3 {
                let close = (a[step] - b[step]).abs() < 1e-4 * a[step].abs().max(1.0);
                assert!(close, "{method:?} {tag}: {a:?} {b:?}");
            }
        }
    }
}

// Would catch any state that a checkpoint forgets: the continued run must give the same bits.
#[test]
fn a_resumed_run_is_the_same() {
    let lora = Lora {
        rank: 4,
        dropout: 0.1,
        ..Lora::default()
    };
    for (method, lora) in [
        (Method::Ppo, None),
        (Method::PpoShared, None),
        (Method::Grpo, None),
        (Method::Rloo, None),
        (Method::Ppo, Some(lora.clone())),
        (Method::PpoShared, Some(lora)),
    ] {
        let root = tempfile::tempdir().expect("temporary folder");
        let setup = Setup {
            lora,
            ..Setup::default()
        };
        let whole = run(method, &setup);
        let first = Setup {
            folder: Some(root.path()),
            stop_at: 7,
            ..setup.clone()
        };
        let first = run(method, &first);
        let outcome = first.outcome.as_ref().expect("trains");
        assert_eq!((outcome.steps, outcome.interrupted), (7, true));
        let second = Setup {
            folder: Some(root.path()),
            resume: latest(root.path()),
            ..setup
        };
        let second = run(method, &second);
        assert_eq!(second.outcome.as_ref().expect("trains").steps, 20);
        let rows = [first.rows, second.rows].concat();
        let differs = rows.iter().zip(&whole.rows).position(|(a, b)| a != b);
        assert_eq!((rows.len(), differs), (20, None), "{method:?}");
        assert!(second.weights == whole.weights, "{method:?}");
        let other = Setup {
            training: Training {
                ppo_epochs: 5,
                ..training()
            },
            folder: Some(root.path()),
            resume: latest(root.path()),
            ..Setup::default()
        };
        let refused = run(method, &other).outcome.expect_err("refused");
        assert!(refused.to_string().contains("is "), "{refused}");
    }
}

// Would catch a NaN that reaches the weights, one that nobody hears of, and a run that goes on
// for ever without learning.
#[test]
fn bad_batches_are_left_out_and_end_the_run() {
    for method in METHODS {
        let some = Setup {
            bad: vec![2, 5, 6],
            ..Setup::default()
        };
        let done = run(method, &some);
        let outcome = done.outcome.expect("goes on");
        assert_eq!((outcome.bad_batches, outcome.steps), (3, 20));
        assert_eq!(done.kept.len(), 3);
        assert_eq!(done.kept[0]["step"], 3);
        let reason = done.kept[0]["reason"].as_str().expect("a reason");
        assert!(reason.contains("not finite"), "{reason}");
        assert!(
            done.weights
                .iter()
                .all(|bits| f32::from_bits(*bits).is_finite())
        );
        let many = Setup {
            bad: vec![1, 2, 3],
            ..Setup::default()
        };
        let done = run(method, &many);
        let error = done.outcome.expect_err("ends").to_string();
        assert!(
            error.contains("3 batches in a row") && error.contains("step 4"),
            "{error}"
        );
    }
}

// Would catch equal rewards that are learned from although others can be had, curves that are
// those of the chosen prompts, and a method that gets what it did not ask for.
#[test]
fn prompts_that_teach_nothing_are_replaced() {
    let of = |method, rounds| {
        let setup = Setup {
            rollout: Rollout {
                resample_rounds: rounds,
                missing_eos_penalty: 0.0,
                ..rollout()
            },
            flat: Some(2),
            ..Setup::default()
        };
        run(method, &setup)
    };
    for method in [Method::Grpo, Method::Rloo] {
        let (plain, replaced) = (of(method, 0), of(method, 3));
        let before = mean(&plain.curve("frac_reward_zero_std"));
        let after = mean(&replaced.curve("frac_reward_zero_std"));
        assert!(before > 0.4 && after < 0.5 * before, "{before} {after}");
        assert!(!replaced.curve("resampled_prompts").is_empty());
        assert!(plain.curve("resampled_prompts").is_empty());
        assert!(replaced.weights == of(method, 3).weights, "{method:?}");
    }
    assert!(of(Method::Ppo, 3).weights == of(Method::Ppo, 0).weights);
}

// Would catch a bonus that drives the policy to certainty, or does nothing.
#[test]
fn an_entropy_bonus_keeps_the_policy_open() {
    let entropy = |entropy_coefficient| {
        let setup = Setup {
            ppo: Ppo {
                entropy_coefficient,
                ..Ppo::default()
            },
            ..Setup::default()
        };
        run(Method::Ppo, &setup).curve("policy/entropy_avg")
    };
    let (without, with) = (entropy(0.0), entropy(1.0));
    // ln 12 is all there is.
    assert!(with[0] < 12f64.ln() && (with[0] - without[0]).abs() < 0.1);
    assert!(with[19] > without[19] + 0.1, "{without:?} {with:?}");
}

// Would catch updates that go on although the policy has left the one that sampled.
#[test]
fn passes_end_where_the_policy_has_gone_far() {
    let updates = |kl_stop| {
        let setup = Setup {
            ppo: Ppo {
                kl_stop,
                ..Ppo::default()
            },
            ..Setup::default()
        };
        run(Method::Ppo, &setup).curve("updates")
    };
    assert!(updates(None).iter().all(|n| *n == 4.0));
    assert!(updates(Some(1e-9)).iter().all(|n| *n <= 2.0));
}

// Would catch moments that a checkpoint forgets, and rewards that keep their scale.
#[test]
fn normalised_rewards_go_on_where_they_were() {
    use crate::config::rollout::RewardNormalisation::Standardise;
    let root = tempfile::tempdir().expect("temporary folder");
    let setup = Setup {
        rollout: Rollout {
            reward_normalisation: Standardise,
            ..rollout()
        },
        ..Setup::default()
    };
    let whole = run(Method::Ppo, &setup);
    // All rewards lie in [0, 1], and fewer than one token in twelve is a seven at first.
    let deviations = whole.curve("reward_std");
    assert!((0.5..2.0).contains(&deviations[0]), "{deviations:?}");
    let cut = |resume, stop_at| {
        let setup = Setup {
            folder: Some(root.path()),
            resume,
            stop_at,
            ..setup.clone()
        };
        run(Method::Ppo, &setup)
    };
    cut(None, 7);
    let second = cut(latest(root.path()), u64::MAX);
    assert!(second.weights == whole.weights);
}
