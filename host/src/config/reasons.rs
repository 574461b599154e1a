//! Why a preset differs from the defaults: one line for each value, shown by `rlhf config`.

use super::{Mode, Origin};

const OWN_FOLDER: &str = "a folder for each preset";
const TINY: &str = "chosen on two cores: the whole job in minutes; see `rlhf help fast-mode`";
const TINY_SAMPLING: &str = "pairs should show what the model does, not only what it does best";
const TINY_REWARDS: &str =
    "chosen: with 64 responses an update, PPO's gradient is more signal than noise";

/// The reason for a preset's value. `rewards` is whether the policy learns from rewards.
pub fn of(mode: Mode, model: Origin, rewards: bool, key: &str) -> Option<&'static str> {
    let of_mode = match (mode, model, key) {
        (_, _, "output_dir") => Some(OWN_FOLDER),
        (Mode::Research, _, "training.epochs") => {
            Some("chosen: enough passes to see where a curve bends")
        }
        (Mode::Production, _, "training.learning_rate") => {
            Some("Rafailov et al. 2023, appendix B: DPO's 1e-6")
        }
        (Mode::Production, _, "training.batch_size") => {
            Some("the Python project's command for production")
        }
        (Mode::Fast, Origin::Pretrained, "generation.max_new_tokens" | "training.max_length") => {
            Some("chosen: minutes for a model of 100 million parameters on two cores")
        }
        _ => None,
    };
    match (model, key) {
        (Origin::Pretrained, _) => of_mode,
        (Origin::Builtin, "output_dir") => of_mode,
        (Origin::Builtin, "generation.temperature" | "generation.top_k" | "generation.top_p") => {
            Some(TINY_SAMPLING)
        }
        (Origin::Builtin, "ppo.value_learning_rate" | "ppo.value_coefficient") if rewards => {
            Some("the value model's head begins at zero: it has more to learn than the policy")
        }
        (
            Origin::Builtin,
            "training.batch_size"
            | "training.gradient_accumulation_steps"
            | "training.steps"
            | "training.epochs"
            | "training.ppo_epochs"
            | "rollout.prompts_per_step"
            | "rollout.samples_per_prompt"
            | "ppo.kl_coefficient",
        ) if rewards => Some(TINY_REWARDS),
        (Origin::Builtin, _) => Some(TINY),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Method, layers};
    use super::*;

    /// Would catch a number in a preset that nobody gave a reason for.
    #[test]
    fn every_value_of_a_preset_has_one() {
        let leaves = |config: &Config| {
            layers::leaves(&serde_json::to_value(config).expect("a config is plain data"))
        };
        let defaults = leaves(&Config::default());
        for mode in Mode::ALL {
            for model in [Origin::Builtin, Origin::Pretrained] {
                for method in [None, Some(Method::Ppo), Some(Method::Sft)] {
                    let rewards = method.is_some_and(Method::learns_from_rewards);
                    let preset = mode.config(model, method);
                    for (key, value) in leaves(&preset) {
                        let differs = defaults.get(&key) != Some(&value);
                        let reason = of(mode, model, rewards, &key);
                        assert!(
                            !differs || reason.is_some(),
                            "{mode:?}, {model:?}, {method:?}: `{key}` = {value} has no reason"
                        );
                    }
                }
            }
        }
    }
}
