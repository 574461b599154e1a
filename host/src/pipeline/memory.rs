//! How much memory a run will take, as far as its plan tells.

use super::human::Human;
use super::{Error, Plan, policy};
use crate::config::ppo::ValueBackbone;
use crate::config::{Method, Origin};
use crate::models::memory::{Need, Trained, pass_tokens};
use crate::models::spec::Spec;
use crate::models::weights;
use crate::rollout::ROWS_MAX;
use crate::tokenizer::Tokenizer;

/// Texts that are tokenised to find the longest: those with the most characters.
const TEXTS: usize = 64;

/// What the process takes before any weight: the engine and the components it has compiled.
/// Measured: what the peaks of runs exceed the rest by, 37 to 52 MB with one metric.
const BASE: usize = 45_000_000;

impl Plan {
    /// The stage that takes the most, and how much it takes.
    pub(super) fn memory(&self) -> Result<(&'static str, Need), Error> {
        let config = &self.config;
        let shape = self.source.config()?;
        let spec = Spec::from_json(&shape).map_err(|error| Error::Input(error.to_string()))?;
        let tokenizer = self.source.tokenizer()?;
        let longest = |texts: &mut dyn Iterator<Item = &str>| longest(&tokenizer, texts);
        let (weights, trained) = self.weights;
        let plain = Trained {
            spec: &spec,
            weights: self.source.whole_weights()?,
            trained: 0,
            frozen_bytes: 4,
            gradient_checkpointing: config.model.gradient_checkpointing,
        };
        let adapted = Trained {
            weights,
            trained,
            frozen_bytes: policy::storage_type(config.model.precision).size_in_bytes(),
            ..plain
        };
        let whole = Trained {
            trained: plain.weights,
            ..plain
        };
        let mut stages = Vec::new();
        let pretrained = Origin::of(&config.model.base_model_name) == Origin::Pretrained;
        let supervised = match pretrained {
            true => adapted,
            false => whole,
        };
        let demonstrations = &self.examples.demonstrations;
        let method = self.method;
        let warms_up = config.warm_up.steps > 0 && !demonstrations.is_empty();
        if warms_up || method == Method::Sft {
            let prompt = longest(&mut demonstrations.iter().map(|d| d.prompt.as_str()))?;
            let response = longest(&mut demonstrations.iter().map(|d| d.response.as_str()))? + 1;
            let tokens = (prompt + response).min(config.training.max_length);
            let rows = match warms_up {
                true => config.warm_up.batch_size,
                false => config.training.batch_size,
            };
            let rows = rows.min(demonstrations.len());
            let pass = pass_tokens(rows, tokens);
            let need = supervised.step(pass, pass.min(rows * response));
            stages.push((
                if method == Method::Sft {
                    "sft"
                } else {
                    "warm-up"
                },
                need,
            ));
        }
        let most = config.generation.max_new_tokens;
        let decoding = |model: &Trained, prompt: usize, rows: usize| {
            let capacity = (prompt + most).min(spec.context);
            let rows = rows.min(config.generation.batch_size).clamp(1, ROWS_MAX);
            model.decoding(rows, capacity, config.generation.weights)
        };
        let tasks = &self.examples.train_tasks;
        match (method, &self.examples.preferences) {
            (Method::Sft, _) => (),
            (Method::Dpo, pairs) => {
                let (prompt, response, pairs) = match pairs {
                    Some((pairs, _)) => {
                        let responses = pairs.iter().flat_map(|p| [&p.chosen, &p.rejected]);
                        (
                            longest(&mut pairs.iter().map(|p| p.prompt.as_str()))?,
                            longest(&mut responses.map(String::as_str))? + 1,
                            pairs.len(),
                        )
                    }
                    None => {
                        let prompt = longest(&mut tasks.iter().map(|t| t.prompt.as_str()))?;
                        (prompt, most + 1, self.sampled_prompts())
                    }
                };
                let (prompt, response) = fitting(prompt, response, config.training.max_length);
                let rows = config.training.batch_size.min(pairs.max(1));
                let pass = pass_tokens(rows, prompt + 2 * response);
                stages.push(("dpo", adapted.step(pass, pass.min(rows * 2 * response))));
            }
            (Method::Ppo | Method::Grpo | Method::Rloo, _) => {
                let prompt = longest(&mut tasks.iter().map(|t| t.prompt.as_str()))?;
                let (prompt, response) = fitting(prompt, most + 1, config.training.max_length);
                let responses = config.rollout.prompts_per_step * config.rollout.samples_per_prompt;
                let rows = config.training.batch_size.min(responses);
                let pass = pass_tokens(rows, prompt + response);
                let step = adapted.step(pass, pass.min(rows * response));
                let sampled = Need {
                    gradients: step.gradients,
                    optimizer: step.optimizer,
                    ..decoding(&adapted, prompt, responses)
                };
                let others = self.others(method, &adapted)?;
                for need in [step, sampled] {
                    stages.push((method.name(), Need { others, ..need }));
                }
            }
        }
        let tasks = &self.examples.eval_tasks;
        let prompt = longest(&mut tasks.iter().map(|task| task.prompt.as_str()))?;
        stages.push(("generation", decoding(&plain, prompt, tasks.len())));
        // Epochs of no steps have no end, and one epoch's is the training's.
        let evaluation = &config.evaluation;
        let by_epoch = config.training.epochs > 1 && evaluation.every(1).is_some();
        if by_epoch || evaluation.every(0).is_some() {
            let model = match method {
                Method::Sft => supervised,
                _ => adapted,
            };
            let step = model.step(1, 1);
            let others = match method.learns_from_rewards() {
                true => self.others(method, &adapted)?,
                false => 0,
            };
            let need = Need {
                gradients: step.gradients,
                optimizer: step.optimizer,
                others,
                ..decoding(&model, prompt, tasks.len())
            };
            stages.push((method.name(), need));
        }
        let largest = stages.into_iter().max_by_key(|(_, need)| need.bytes());
        Ok(largest.expect("there is always generation"))
    }

    /// Bytes of the models that stand beside a policy that learns from its own responses.
    fn others(&self, method: Method, policy: &Trained) -> Result<usize, Error> {
        let config = &self.config;
        let critic = match method {
            // Its own copy of the policy, computed in f32.
            Method::Ppo if config.ppo.value_backbone == ValueBackbone::Own => {
                let critic = Trained {
                    frozen_bytes: 4,
                    ..*policy
                };
                // Gradients lie where the policy's do.
                let kept = critic.kept();
                kept.bytes() - kept.gradients
            }
            _ => 0,
        };
        let held = match method {
            Method::Ppo => config.ppo.kl_coefficient,
            Method::Rloo => config.rloo.kl_coefficient,
            _ => config.grpo.kl_coefficient,
        };
        let reference = match held != 0.0 && config.model.lora.rank == 0 {
            true => 4 * policy.weights,
            false => 0,
        };
        let reward_model = match &self.human {
            Human::Nothing => 0,
            Human::Trained(folder) => 4 * weights::count(folder)?,
            Human::Feedback => 4 * self.reward_model_weights,
        };
        Ok(critic + reference + reward_model)
    }

    /// One line of the plan.
    pub(super) fn describe_memory(&self) -> String {
        let (stage, need) = match self.memory() {
            Ok(largest) => largest,
            Err(error) => return format!("unknown: {error}"),
        };
        let parts = [
            ("weights", need.weights),
            ("gradients", need.gradients),
            ("optimizer", need.optimizer),
            ("activations", need.activations),
            ("logits", need.logits),
            ("keys and values", need.cache),
            ("other models", need.others),
            ("program", BASE),
        ];
        let parts: Vec<String> = parts
            .iter()
            .filter(|(_, bytes)| *bytes > 0)
            .map(|(name, bytes)| format!("{name} {}", megabytes(*bytes)))
            .collect();
        format!(
            "at most {} MB, in {stage}: {}",
            megabytes(need.bytes() + BASE),
            parts.join(", ")
        )
    }
}

/// Tokens of a prompt and a response that are trained on: the prompt makes room.
fn fitting(prompt: usize, response: usize, max_length: usize) -> (usize, usize) {
    let response = response.min(max_length);
    (prompt.min(max_length - response), response)
}

fn megabytes(bytes: usize) -> String {
    match bytes as f64 / 1e6 {
        small if small < 10.0 => format!("{small:.1}"),
        large => format!("{large:.0}"),
    }
}

/// Tokens of the longest text.
fn longest(tokenizer: &Tokenizer, texts: &mut dyn Iterator<Item = &str>) -> Result<usize, Error> {
    let mut texts: Vec<&str> = texts.collect();
    texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
    let mut most = 0;
    for text in texts.iter().take(TEXTS) {
        most = most.max(tokenizer.encode(text)?.len());
    }
    Ok(most)
}
