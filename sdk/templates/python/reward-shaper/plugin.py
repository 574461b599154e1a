"""Glue between the reward and the bindings that `build.sh` generates from `wit/`. Formulas don't belong here."""

from componentize_py_types import Err, Ok, Result
from wit_world import exports
from wit_world.exports.reward_shaper import Context, Descriptor, Reward, Reward_Abstain, Reward_Value, Rollout, Value
from wit_world.imports.types import Error, NamedValue

import reward


def _shape(rollout: Rollout, context: Context) -> Result[Reward, Error]:
    """One rollout's outcome: its failure is a value and leaves the others alone."""
    try:
        shaped = reward.shape(rollout.sample.response, len(rollout.tokens), context.response_tokens_max)
    except reward.PluginError as error:
        return Err(Error(error.code, error.message))
    if isinstance(shaped, reward.Abstention):
        return Ok(Reward_Abstain(shaped.reason))
    parts = [NamedValue(name, value) for name, value in shaped.parts.items()]
    return Ok(Reward_Value(Value(scalar=shaped.scalar, per_token=[], parts=parts)))


class RewardShaper(exports.RewardShaper):
    """The exported interface; its functions are documented in `wit/reward-shaper.wit`."""

    def describe(self) -> Descriptor:
        return Descriptor(
            name=reward.NAME,
            version=reward.VERSION,
            summary=reward.SUMMARY,
            parts=reward.PARTS,
            needs_metrics=[],
            extra=[],
        )

    def configure(self, options: str) -> None:
        try:
            reward.check_options(options)
        except reward.PluginError as error:
            raise Err(Error(error.code, error.message)) from None

    def shape(self, rollouts: list[Rollout], context: Context) -> list[Result[Reward, Error]]:
        return [_shape(rollout, context) for rollout in rollouts]
