//! What a response is worth: a weighted sum of parts, each with its own curve.
//!
//! A part is a metric's score, a reward shaper's reward or a reward model's score. One that fails or
//! abstains follows its policy: the response is left out (the default), gets a
//! fixed penalty in the part's place, or the run ends. It is never a silent zero.

pub mod learned;
pub mod watch;

use std::collections::BTreeMap;

pub use learned::LearnedReward;
pub use watch::Watch;

use crate::plugin::reward_shaper::{Context, Reward, Rollout};
use crate::plugin::{OnFailure, RewardShaper};

/// Name of the sum among the parts' curves.
pub const TOTAL: &str = "total";

/// Name of the reward model's part.
pub const REWARD_MODEL: &str = "reward_model";

/// One term of the sum.
pub struct Part<'a> {
    pub name: &'a str,
    pub weight: f64,
    /// Its values are cut to ± this before they are weighed.
    pub clip: Option<f64>,
    pub source: Source<'a>,
}

/// Where a part's values come from.
pub enum Source<'a> {
    /// The rollouts' scores of the metric with the part's name; a loss has its sign turned.
    Metric {
        higher_is_better: bool,
        on_failure: OnFailure,
    },
    Shaper(&'a RewardShaper),
    /// The rollouts' [`Rollout::reward_model_score`].
    RewardModel {
        on_failure: OnFailure,
    },
}

/// The sum of human and automated feedback: `w · human + (1 − w) · automated`, `w` being
/// `feedback_weight` in [0, 1], human the reward model's part and automated the weighted others.
/// Parts that weigh nothing are left out.
pub fn with_reward_model<'a>(
    automated: Vec<Part<'a>>,
    feedback_weight: f64,
    clip: Option<f64>,
) -> Vec<Part<'a>> {
    let human = Part {
        name: REWARD_MODEL,
        weight: feedback_weight,
        clip,
        source: Source::RewardModel {
            on_failure: OnFailure::Abstain,
        },
    };
    let others = automated.into_iter().map(|part| Part {
        weight: (1.0 - feedback_weight) * part.weight,
        ..part
    });
    let all = std::iter::once(human).chain(others);
    all.filter(|part| part.weight != 0.0).collect()
}

/// The rewards of some rollouts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rewards {
    /// In the rollouts' order; `None` for those that are left out.
    pub totals: Vec<Option<f64>>,
    /// What of each total belongs to one of the response's tokens; empty where nothing does.
    pub per_token: Vec<Vec<f64>>,
    pub parts: Vec<PartRewards>,
}

/// What one part made of the rollouts, before its weight.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PartRewards {
    pub name: String,
    /// In the rollouts' order; `None` where it failed or abstained.
    pub values: Vec<Option<f64>>,
    /// What of each value belongs to one of the response's tokens; empty where nothing does.
    pub per_token: Vec<Vec<f64>>,
    /// What a shaper reports of each rollout by name.
    pub named: Vec<Vec<(String, f64)>>,
    /// Why there is no value, where there is none.
    pub reasons: Vec<Option<String>>,
    /// What a shaper took for each, in seconds; empty for what was found out before.
    pub seconds: Vec<f64>,
}

/// A part failed whose policy is to end the run.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("reward part `{part}`, sample `{sample}`: {reason}")]
pub struct Abort {
    pub part: String,
    pub sample: String,
    pub reason: String,
}

/// The rewards of rollouts whose metrics have been computed.
///
/// # Errors
/// A part has no value for a rollout, and its policy is to end the run.
pub fn rewards(parts: &[Part], rollouts: &[Rollout], context: &Context) -> Result<Rewards, Abort> {
    let mut totals = vec![Some(0.0); rollouts.len()];
    let mut per_token = vec![Vec::new(); rollouts.len()];
    let mut all = Vec::with_capacity(parts.len());
    for part in parts {
        let rewards = part.values(rollouts, context);
        for (at, total) in totals.iter_mut().enumerate() {
            let term = match (rewards.values[at], part.on_failure()) {
                (Some(value), _) => Some(part.weight * part.cut(value)),
                (None, OnFailure::Abstain) => None,
                // As it is: a weight must not make a reward of it.
                (None, OnFailure::Penalty(penalty)) => Some(penalty),
                (None, OnFailure::Abort) => {
                    return Err(Abort {
                        part: part.name.to_owned(),
                        sample: rollouts[at].sample.id.clone(),
                        reason: rewards.reasons[at].clone().unwrap_or_default(),
                    });
                }
            };
            *total = total.zip(term).map(|(sum, term)| sum + term);
        }
        let terms = rewards.per_token.iter().zip(&rewards.values);
        for (sums, (terms, value)) in per_token.iter_mut().zip(terms) {
            let factor = value.map_or(0.0, |value| part.weight * part.share(value));
            sums.resize(sums.len().max(terms.len()), 0.0);
            for (sum, term) in sums.iter_mut().zip(terms) {
                *sum += factor * term;
            }
        }
        all.push(rewards);
    }
    Ok(Rewards {
        totals,
        per_token,
        parts: all,
    })
}

impl Part<'_> {
    fn cut(&self, value: f64) -> f64 {
        self.clip.map_or(value, |limit| value.clamp(-limit, limit))
    }

    /// What the cut leaves of a value.
    fn share(&self, value: f64) -> f64 {
        match self.cut(value) {
            cut if cut == value => 1.0,
            cut => cut / value,
        }
    }

    fn on_failure(&self) -> OnFailure {
        match &self.source {
            Source::Metric { on_failure, .. } | Source::RewardModel { on_failure } => *on_failure,
            Source::Shaper(shaper) => shaper.on_failure(),
        }
    }

    fn values(&self, rollouts: &[Rollout], context: &Context) -> PartRewards {
        let mut rewards = PartRewards {
            name: self.name.to_owned(),
            ..PartRewards::default()
        };
        let mut add = |value: Option<f64>, named: Vec<(String, f64)>, reason: Option<String>| {
            rewards.values.push(value);
            rewards.named.push(named);
            rewards.reasons.push(reason);
        };
        match &self.source {
            Source::Metric {
                higher_is_better, ..
            } => {
                let sign = if *higher_is_better { 1.0 } else { -1.0 };
                for rollout in rollouts {
                    let mut metrics = rollout.metrics.iter();
                    match metrics.find(|(name, _)| name == self.name) {
                        Some((_, value)) => add(Some(sign * value), Vec::new(), None),
                        None => add(None, Vec::new(), Some("the metric has no score".into())),
                    }
                }
            }
            Source::RewardModel { .. } => {
                for rollout in rollouts {
                    // A score that is not finite would poison every sum it is in.
                    match rollout.reward_model_score.filter(|score| score.is_finite()) {
                        Some(score) => add(Some(score), Vec::new(), None),
                        None => add(
                            None,
                            Vec::new(),
                            Some("the reward model has no score".into()),
                        ),
                    }
                }
            }
            Source::Shaper(shaper) => {
                let timed = shaper.shape_timed(rollouts, context);
                let seconds = timed.iter().map(|one| one.seconds).collect();
                let mut per_token = Vec::with_capacity(rollouts.len());
                for reward in timed.into_iter().map(|one| one.result) {
                    let total = reward.as_ref().ok().and_then(Reward::total);
                    let mut terms = Vec::new();
                    match reward {
                        Ok(Reward::Value {
                            parts, per_token, ..
                        }) => {
                            terms = per_token;
                            add(total, parts, None);
                        }
                        Ok(Reward::Abstain(reason)) => add(None, Vec::new(), Some(reason)),
                        Err(failure) => add(None, Vec::new(), Some(failure.to_string())),
                    }
                    per_token.push(terms);
                }
                (rewards.per_token, rewards.seconds) = (per_token, seconds);
            }
        }
        rewards
    }
}

impl Rewards {
    /// Means by name, over the rollouts that have a value: `total`, each part,
    /// and `part/name` for what a shaper reports. Each part's share of rollouts
    /// without a value is `part/abstained`, where there are any.
    pub fn means(&self) -> BTreeMap<String, f64> {
        let mut sums: BTreeMap<String, (f64, usize)> = BTreeMap::new();
        let mut add = |name: String, value: f64| {
            let (sum, count) = sums.entry(name).or_default();
            *sum += value;
            *count += 1;
        };
        for total in self.totals.iter().flatten() {
            add(TOTAL.into(), *total);
        }
        for part in &self.parts {
            for value in part.values.iter().flatten() {
                add(part.name.clone(), *value);
            }
            for (name, value) in part.named.iter().flatten() {
                add(format!("{}/{name}", part.name), *value);
            }
        }
        let mut means: BTreeMap<String, f64> = sums
            .into_iter()
            .map(|(name, (sum, count))| (name, sum / count as f64))
            .collect();
        for part in &self.parts {
            let missing = part.values.iter().filter(|value| value.is_none()).count();
            if missing > 0 {
                let share = missing as f64 / part.values.len() as f64;
                means.insert(format!("{}/abstained", part.name), share);
            }
        }
        means
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rollout(id: &str, metrics: &[(&str, f64)]) -> Rollout {
        let mut rollout = Rollout::default();
        rollout.sample.id = id.to_owned();
        rollout.metrics = metrics
            .iter()
            .map(|(name, value)| ((*name).to_owned(), *value))
            .collect();
        rollout
    }

    fn part(name: &str, weight: f64, higher_is_better: bool, on_failure: OnFailure) -> Part<'_> {
        Part {
            name,
            weight,
            clip: None,
            source: Source::Metric {
                higher_is_better,
                on_failure,
            },
        }
    }

    /// Would catch weights that are lost, a loss that is rewarded, and a failure that counts as zero.
    #[test]
    fn parts_are_weighted_and_failures_follow_their_policy() {
        let rollouts = [
            rollout("a", &[("bleu", 0.5), ("loss", 2.0)]),
            rollout("b", &[("bleu", 0.25)]),
        ];
        let total = |on_failure| {
            let parts = [
                part("bleu", 2.0, true, OnFailure::Abstain),
                part("loss", 0.5, false, on_failure),
            ];
            rewards(&parts, &rollouts, &Context::default()).map(|rewards| rewards.totals)
        };
        assert_eq!(total(OnFailure::Abstain), Ok(vec![Some(0.0), None]));
        assert_eq!(
            total(OnFailure::Penalty(-4.0)),
            Ok(vec![Some(0.0), Some(-3.5)])
        );
        assert_eq!(
            total(OnFailure::Abort).map_err(|abort| abort.to_string()),
            Err("reward part `loss`, sample `b`: the metric has no score".into())
        );
    }

    /// Would catch human feedback that is weighted as automated is, a part of no weight that
    /// leaves samples out, and a score that is not finite.
    #[test]
    fn human_and_automated_feedback_are_mixed() {
        let mut rollouts = vec![rollout("a", &[("bleu", 0.5)]), rollout("b", &[])];
        rollouts[0].reward_model_score = Some(3.0);
        rollouts[1].reward_model_score = Some(1.0);
        let totals = |rollouts: &[Rollout], feedback_weight| {
            let automated = vec![part("bleu", 2.0, true, OnFailure::Abstain)];
            let parts = with_reward_model(automated, feedback_weight, Some(4.0));
            let rewards = rewards(&parts, rollouts, &Context::default());
            rewards.map(|rewards| rewards.totals)
        };
        assert_eq!(totals(&rollouts, 0.25), Ok(vec![Some(1.5), None]));
        assert_eq!(totals(&rollouts, 1.0), Ok(vec![Some(3.0), Some(1.0)]));
        // Cut to 4.
        rollouts[0].reward_model_score = Some(-9.0);
        assert_eq!(totals(&rollouts, 1.0), Ok(vec![Some(-4.0), Some(1.0)]));
        // What a shaper gave tokens of it is cut alike.
        let cut = &with_reward_model(Vec::new(), 1.0, Some(4.0))[0];
        assert_eq!([-9.0, 0.0, 4.0].map(|v| v * cut.share(v)), [-4.0, 0.0, 4.0]);
        rollouts[0].reward_model_score = None;
        rollouts[1].reward_model_score = Some(f64::NAN);
        assert_eq!(totals(&rollouts, 0.0), Ok(vec![Some(1.0), None]));
        assert_eq!(totals(&rollouts, 1.0), Ok(vec![None, None]));
    }

    /// Would catch a mean over rollouts that have no value.
    #[test]
    fn means_leave_out_what_is_missing() {
        let rollouts = [rollout("a", &[("bleu", 0.5)]), rollout("b", &[])];
        let parts = [part("bleu", 1.0, true, OnFailure::Abstain)];
        let means = rewards(&parts, &rollouts, &Context::default()).map(|rewards| rewards.means());
        let expected = [("bleu", 0.5), ("bleu/abstained", 0.5), ("total", 0.5)];
        let expected = expected.map(|(name, value)| (name.to_owned(), value));
        assert_eq!(means, Ok(BTreeMap::from(expected)));
    }
}
