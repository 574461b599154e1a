//! How much memory a run will take, as far as its plan tells.

use super::{Error, Plan, policy};
use crate::config::generation::Weights;
use crate::config::ppo::ValueBackbone;
use crate::config::{Method, Origin};
use crate::models::memory::{Need, Trained};
use crate::models::spec::Spec;
use crate::rollout::ROWS_MAX;
use crate::tokenizer::Tokenizer;

/// Texts that are tokenised to find the longest: those with the most characters.
const TEXTS: usize = 64;

/// What the process takes before any weight: the engine and the components it has compiled.
/// Measured: 60 to 100 MB with the shipped metrics.
const BASE: usize = 80_000_000;

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
            weights: crate::models::count_weights(shape.clone(), None)
                .map_err(|error| Error::Input(error.to_string()))?
                .0,
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
        let demonstrations = &self.examples.demonstrations;
        if config.warm_up.steps > 0 && !demonstrations.is_empty() {
            let prompt = longest(&mut demonstrations.iter().map(|d| d.prompt.as_str()))?;
            let response = longest(&mut demonstrations.iter().map(|d| d.response.as_str()))? + 1;
            let tokens = (prompt + response).min(config.training.max_length);
            let rows = config.warm_up.batch_size.min(demonstrations.len());
            let pretrained = Origin::of(&config.model.base_model_name) == Origin::Pretrained;
            let model = if pretrained { adapted } else { whole };
            stages.push((
                "warm-up",
                model.step(rows * tokens, rows * response.min(tokens)),
            ));
        }
        let most = config.generation.max_new_tokens;
        if self.method.learns_from_rewards() {
            let tasks = self.examples.train_tasks.iter();
            let prompt = longest(&mut tasks.map(|task| task.prompt.as_str()))?;
            let need = self.on_policy_need(&plain, &adapted, prompt);
            stages.push((self.method.name(), need));
        }
        let (prompt, response, pairs) = match &self.examples.preferences {
            Some((pairs, _)) => {
                let responses = pairs.iter().flat_map(|p| [&p.chosen, &p.rejected]);
                (
                    longest(&mut pairs.iter().map(|p| p.prompt.as_str()))?,
                    longest(&mut responses.map(String::as_str))? + 1,
                    pairs.len(),
                )
            }
            None => {
                let tasks = &self.examples.train_tasks;
                let prompt = longest(&mut tasks.iter().map(|t| t.prompt.as_str()))?;
                (prompt, most + 1, self.sampled_prompts())
            }
        };
        let response = response.min(config.training.max_length);
        let prompt = prompt.min(config.training.max_length - response);
        let rows = config.training.batch_size.min(pairs.max(1));
        let (tokens, targets) = (rows * (prompt + 2 * response), rows * 2 * response);
        if self.method == Method::Dpo {
            stages.push(("dpo", adapted.step(tokens, targets)));
        }
        let tasks = self.examples.eval_tasks.iter();
        let prompt = longest(&mut tasks.map(|task| task.prompt.as_str()))?;
        let rows = config.generation.batch_size.min(ROWS_MAX);
        let capacity = (prompt + most).min(spec.context);
        let need = plain.decoding(rows, capacity, config.generation.weights);
        stages.push(("generation", need));
        let largest = stages.into_iter().max_by_key(|(_, need)| need.bytes());
        Ok(largest.expect("there is always generation"))
    }

    /// Of learning from rewards: policy, reference and value model are there at once, and
    /// responses are sampled beside them.
    fn on_policy_need(&self, plain: &Trained, adapted: &Trained, prompt: usize) -> Need {
        let config = &self.config;
        let most = config.generation.max_new_tokens;
        let capacity = (prompt + most).min(plain.spec.context);
        let responses = config.rollout.prompts_per_step * config.rollout.samples_per_prompt;
        let rows = config.training.batch_size.min(responses);
        let step = adapted.step(rows * capacity, rows * most);
        let rows = config.generation.batch_size.min(ROWS_MAX).min(responses);
        let decoding = adapted.decoding(rows, capacity, config.generation.weights);
        let held = match self.method {
            Method::Ppo => config.ppo.kl_coefficient,
            Method::Grpo => config.grpo.kl_coefficient,
            _ => config.rloo.kl_coefficient,
        };
        let mut need = match step.activations + step.logits {
            updating if updating > decoding.activations + decoding.logits + decoding.cache => step,
            _ => Need {
                gradients: step.gradients,
                optimizer: step.optimizer,
                ..decoding
            },
        };
        // With adapters the reference is their absence.
        if held > 0.0 && config.model.lora.rank == 0 {
            need.weights += plain.decoding(0, 0, Weights::F32).weights;
        }
        if self.method == Method::Ppo && config.ppo.value_backbone == ValueBackbone::Own {
            need.weights += step.weights;
            need.gradients += step.gradients;
            need.optimizer += step.optimizer;
        }
        need
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
