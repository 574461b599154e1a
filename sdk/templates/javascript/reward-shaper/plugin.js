// Glue between the reward and the component's bindings. Formulas don't belong here.

import * as reward from "./reward.js";

/** What crosses to the host of a failure. Anything else is a bug of the plugin, and ends the call. */
function failure(error) {
  if (error instanceof reward.PluginError) {
    return { code: error.code, message: error.message };
  }
  throw error;
}

/** One rollout's reward. */
function shapeOne(rollout, context) {
  const shaped = reward.shape(rollout.sample.response, rollout.tokens.length, context.responseTokensMax);
  if (shaped.abstain !== undefined) {
    return { tag: "abstain", val: shaped.abstain };
  }
  const parts = Object.entries(shaped.parts).map(([name, value]) => ({ name, value }));
  return { tag: "value", val: { scalar: shaped.scalar, perToken: [], parts } };
}

/** The exported interface; its functions are documented in `wit/reward-shaper.wit`. */
export const rewardShaper = {
  describe() {
    return {
      name: reward.NAME,
      version: reward.VERSION,
      summary: reward.SUMMARY,
      parts: reward.PARTS,
      needsMetrics: [],
      extra: [],
    };
  },

  configure(options) {
    try {
      reward.checkOptions(options);
    } catch (error) {
      throw failure(error);
    }
  },

  shape(rollouts, context) {
    return rollouts.map((rollout) => {
      // One rollout's failure is a value and leaves the others alone.
      try {
        return { tag: "ok", val: shapeOne(rollout, context) };
      } catch (error) {
        return { tag: "err", val: failure(error) };
      }
    });
  },
};
