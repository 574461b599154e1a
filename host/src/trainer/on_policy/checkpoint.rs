//! Checkpoints of a policy-gradient training: besides what every checkpoint has, the value model
//! with its optimizer, and where β stands. The reference is not in it: it is the model that the
//! training was begun with, which whoever resumes must load first.

use std::path::Path;

use serde_json::{Value, json};

use super::critic::Critic;
use super::moments::RunningMoments;
use super::spikes::Spikes;
use super::{Job, Learner, LossScale, Recipe, State};
use crate::models::{LanguageModel, Model};
use crate::trainer::checkpoint::{self, Fingerprint, Keeper, OPTIMIZER, STATE};
use crate::trainer::{Error, Plan, Run};

/// Folder of the value model in a checkpoint.
const VALUE: &str = "value";

/// File of a value head on the policy's states.
const VALUE_HEAD: &str = "value_head.safetensors";

/// What must be equal for a training to be continued.
pub(super) fn fingerprint(
    recipe: &Recipe,
    job: &Job,
    plan: &Plan,
    model: &dyn Model,
) -> Fingerprint {
    let common = Fingerprint::new(
        recipe.name,
        job.prompts.len(),
        plan.steps,
        plan.seed,
        job.training,
        model,
    );
    common.with(json!({
        "method": recipe.settings,
        "rollout": job.rollout,
        "max_new_tokens": job.generation.max_new_tokens,
    }))
}

/// Numbers by their bits: a score is not always a JSON number.
fn bits(x: f64) -> String {
    x.to_bits().to_string()
}

/// Writes a checkpoint where there is none of this step yet.
pub(super) fn save(
    run: &mut Run,
    keeper: &mut Keeper,
    learner: &Learner,
    environment: &Value,
    fingerprint: &Fingerprint,
) -> Result<(), Error> {
    let state = &learner.state;
    if !keeper.is_unsaved(state.step) {
        return Ok(());
    }
    let Some(checkpoints) = &run.checkpoints else {
        return Ok(());
    };
    let RunningMoments {
        count,
        mean,
        variance,
    } = state.rewards;
    let rewards = [count, mean, variance].map(bits);
    let value = json!({
        "global_step": state.step,
        "num_input_tokens_seen": state.tokens,
        "episodes": state.episodes,
        "updates": learner.optimizer.number(),
        "value_updates": match &learner.critic {
            Some(Critic::Own(critic)) => Some(critic.optimizer.number()),
            _ => None,
        },
        "bad_batches": [state.bad_batches, state.bad_in_a_row],
        "kl_coefficient_bits": bits(state.kl_coefficient),
        "rewards_bits": rewards,
        "divergence": [state.divergence.batches.to_string(), bits(state.divergence.mean)],
        "environment": environment,
        "score_bits": bits(state.score),
        "kl_bits": bits(state.kl),
        "loss_scale": state.loss_scale.map(|s| json!([s.scale, s.steps, s.skipped])),
        "run": fingerprint.value(),
    });
    let more = |partial: &Path| {
        let mut trained = learner.model.trainable();
        trained.extend(learner.critic.iter().flat_map(Critic::beside_policy));
        learner
            .optimizer
            .write(&partial.join(OPTIMIZER), &trained)?;
        match &learner.critic {
            Some(Critic::Own(critic)) => {
                let inside = partial.join(VALUE);
                let written = critic.model.save(&inside, &|folder| {
                    critic
                        .optimizer
                        .save(&folder.join(OPTIMIZER), &critic.model)
                });
                written.map_err(std::io::Error::other)
            }
            Some(Critic::Shared(critic)) => critic.head.save(&partial.join(VALUE_HEAD)),
            None => Ok(()),
        }
    };
    let model: &LanguageModel = learner.model;
    let told = checkpoint::write(checkpoints, keeper, state.step, model, value, &more)?;
    told.iter().for_each(|message| run.tracker.warn(message));
    Ok(())
}

/// Takes a checkpoint's state; what the environment had said is returned.
pub(super) fn load(
    folder: &Path,
    learner: &mut Learner,
    fingerprint: &Fingerprint,
) -> Result<Value, Error> {
    let broken = |message: String| Error::BrokenCheckpoint {
        folder: folder.into(),
        message,
    };
    let value = checkpoint::read_state(folder)?;
    fingerprint.check(folder, &value)?;
    checkpoint::check(folder)?;
    let missing = |key: &str| broken(format!("`{STATE}` has no `{key}`"));
    let number = |key: &str| value[key].as_u64().ok_or_else(|| missing(key));
    let of_bits = |bits: &Value, key: &str| {
        let bits = bits.as_str().and_then(|bits| bits.parse().ok());
        bits.map(f64::from_bits).ok_or_else(|| missing(key))
    };
    let float = |key: &str| of_bits(&value[key], key);
    let rewards = |at: usize| of_bits(&value["rewards_bits"][at], "rewards_bits");
    let divergence = &value["divergence"];
    let bad = |at: usize| value["bad_batches"][at].as_u64();
    learner.state = State {
        step: number("global_step")?,
        episodes: number("episodes")?,
        tokens: number("num_input_tokens_seen")?,
        bad_batches: bad(0).ok_or_else(|| missing("bad_batches"))?,
        bad_in_a_row: bad(1).ok_or_else(|| missing("bad_batches"))?,
        kl_coefficient: float("kl_coefficient_bits")?,
        rewards: RunningMoments {
            count: rewards(0)?,
            mean: rewards(1)?,
            variance: rewards(2)?,
        },
        divergence: Spikes {
            batches: divergence[0]
                .as_str()
                .and_then(|batches| batches.parse().ok())
                .ok_or_else(|| missing("divergence"))?,
            mean: of_bits(&divergence[1], "divergence")?,
        },
        loss_scale: loss_scale(&value),
        score: float("score_bits")?,
        kl: float("kl_bits")?,
    };
    learner.model.restore(folder)?;
    let updates = number("updates")?;
    let optimizer = folder.join(OPTIMIZER);
    if let Some(Critic::Shared(critic)) = &mut learner.critic {
        critic.head.restore(&folder.join(VALUE_HEAD))?;
    }
    let mut trained = learner.model.trainable();
    trained.extend(learner.critic.iter().flat_map(Critic::beside_policy));
    learner.optimizer.read(&optimizer, &trained, updates)?;
    if let Some(Critic::Own(critic)) = &mut learner.critic {
        let inside = folder.join(VALUE);
        critic.model.restore(&inside)?;
        let updates = number("value_updates")?;
        let optimizer = inside.join(OPTIMIZER);
        critic.optimizer.load(&optimizer, &critic.model, updates)?;
    }
    Ok(value)
}

fn loss_scale(value: &Value) -> Option<LossScale> {
    let scale = value.get("loss_scale")?;
    Some(LossScale {
        scale: scale.get(0)?.as_f64()?,
        steps: scale.get(1)?.as_u64()?,
        skipped: scale.get(2)?.as_u64()?,
    })
}
