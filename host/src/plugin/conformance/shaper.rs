//! Checks of reward shapers.

use super::{
    About, Check, Checking, Material, description, is_trouble, odd_texts, options_are_checked,
};
use crate::plugin::reward_shaper::{Context, Execution, Reward, Rollout};
use crate::plugin::{Component, Error, Failure, RewardShaper, Sample, Services, Spec};

pub(super) fn checks(
    component: Component,
    spec: &Spec,
    services: &Services,
    material: &Material,
) -> Result<(String, Vec<Check>), Error> {
    let shaper = RewardShaper::of(component.clone(), spec, services)?;
    let about = shaper.descriptor();
    let again = shaper
        .describe_unconfigured()
        .map(|about| (about.name, about.version));
    let mut rollouts = odd_rollouts(&about.needs_metrics);
    if let Some(only) = &material.only {
        rollouts.retain(|rollout| rollout.sample.id == *only);
    }
    let context = context();
    let one_by_one = |shaper: &RewardShaper| -> Rewards {
        rollouts
            .iter()
            .flat_map(|rollout| shaper.shape(std::slice::from_ref(rollout), &context))
            .collect()
    };
    let rewards = one_by_one(&shaper);
    let second = RewardShaper::of(component.clone(), spec, services)?;
    let mut repeated = Checking::new("a second run gives the same rewards");
    compare(&mut repeated, &rollouts, &rewards, one_by_one(&second));
    let mut batches = Checking::new("batches of any size and order give the same rewards");
    let together = shaper.shape(&rollouts, &context);
    compare(&mut batches, &rollouts, &rewards, together);
    let backwards: Vec<Rollout> = rollouts.iter().rev().cloned().collect();
    let mut reversed = shaper.shape(&backwards, &context);
    reversed.reverse();
    compare(&mut batches, &rollouts, &rewards, reversed);
    let checks = vec![
        description(
            &About {
                name: &about.name,
                version: &about.version,
                summary: &about.summary,
            },
            again,
        ),
        options_are_checked(
            |spec| RewardShaper::of(component.clone(), spec, services),
            spec,
        ),
        odd(&rollouts, &rewards),
        repeated.done(),
        batches.done(),
    ];
    Ok((shaper.name().to_owned(), checks))
}

type Rewards = Vec<Result<Reward, Failure>>;

/// The seed's metrics and targets, half of the way through a run.
fn context() -> Context {
    let targets = ["bertscore", "codebleu", "bleu", "rouge", "ruby"];
    Context {
        step: 50,
        steps_total: 100,
        response_tokens_max: 128,
        targets: targets.map(|name| (name.to_owned(), 0.6)).into(),
    }
}

fn odd_rollouts(needs_metrics: &[String]) -> Vec<Rollout> {
    let mut rollouts = Vec::new();
    for (name, text) in odd_texts() {
        let tokens: Vec<String> = text
            .split_inclusive(char::is_whitespace)
            .map(str::to_owned)
            .collect();
        let plain = Rollout {
            sample: Sample {
                id: name.to_owned(),
                prompt: "Write a function.".into(),
                response: text.clone(),
                references: vec!["return 1".into()],
                language: "python".into(),
                tests: Vec::new(),
            },
            tokens,
            metrics: needs_metrics
                .iter()
                .map(|name| (name.clone(), 0.5))
                .collect(),
            finish_reason: "stop".into(),
            ..Rollout::default()
        };
        let mut full = plain.clone();
        full.sample.id = format!("{name}, with everything");
        full.reward_model_score = Some(-1.25);
        full.metrics = context()
            .targets
            .iter()
            .map(|(name, _)| (name.clone(), 0.3))
            .collect();
        full.metrics.extend(plain.metrics.iter().cloned());
        full.execution = Some(Execution {
            total: 3,
            passed: 1,
        });
        full.kl = Some(0.75);
        full.finish_reason = "length".into();
        rollouts.extend([plain, full]);
    }
    rollouts
}

fn odd(rollouts: &[Rollout], rewards: &Rewards) -> Check {
    let mut check = Checking::new("odd rollouts have a reward, an abstention or a reason");
    let (mut values, mut abstained) = (0, 0);
    check.cases = rollouts
        .iter()
        .map(|rollout| rollout.sample.id.clone())
        .collect();
    for (rollout, reward) in rollouts.iter().zip(rewards) {
        match reward {
            Ok(Reward::Value { .. }) => values += 1,
            Ok(Reward::Abstain(reason)) if reason.trim().is_empty() => check.problem(
                &rollout.sample.id,
                &rollout.sample.response,
                "expected a reason for the abstention, found none",
            ),
            Ok(Reward::Abstain(_)) => abstained += 1,
            Err(failure) if is_trouble(failure) => {
                check.problem(
                    &rollout.sample.id,
                    &rollout.sample.response,
                    failure.to_string(),
                );
            }
            Err(_) => {}
        }
    }
    check.note = format!(
        "{} rollouts, {values} rewards, {abstained} abstentions",
        rollouts.len()
    );
    if values == 0 && !rollouts.is_empty() {
        let first = match &rewards[0] {
            Ok(Reward::Abstain(reason)) => reason.clone(),
            Err(failure) => failure.to_string(),
            Ok(Reward::Value { .. }) => String::new(),
        };
        check.problem(
            &rollouts[0].sample.id,
            "",
            format!("expected a reward for at least one rollout, found none: {first}"),
        );
    }
    check.done()
}

fn compare(check: &mut Checking, rollouts: &[Rollout], first: &Rewards, second: Rewards) {
    for ((rollout, first), second) in rollouts.iter().zip(first).zip(second) {
        let same = match (first, &second) {
            (Err(a), Err(b)) => a.kind() == b.kind(),
            (a, b) => format!("{a:?}") == format!("{b:?}"),
        };
        if !same {
            check.problem(
                &rollout.sample.id,
                &rollout.sample.response,
                format!("expected {first:?} again, found {second:?}"),
            );
        }
    }
}
