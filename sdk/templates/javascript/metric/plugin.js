// Glue between the metric and the component's bindings. Formulas don't belong here.

import * as formula from "./formula.js";

// The metric of this instance. The host asks for a description before it gives options.
let configured = new formula.Metric();

/** What crosses to the host of a failure. Anything else is a bug of the plugin, and ends the call. */
function failure(error) {
  if (error instanceof formula.PluginError) {
    return { code: error.code, message: error.message };
  }
  throw error;
}

/** One item's outcome: its failure is a value and leaves the others alone. */
function attempt(call) {
  try {
    return { tag: "ok", val: call() };
  } catch (error) {
    return { tag: "err", val: failure(error) };
  }
}

/** The exported interface; its functions are documented in `wit/metric.wit`. */
export const metric = {
  describe() {
    return {
      name: formula.NAME,
      version: formula.VERSION,
      summary: formula.SUMMARY,
      minimum: 0,
      maximum: 1,
      higherIsBetter: true,
      unit: "",
      components: [],
      aggregation: "additive",
      headline: "mean",
      statisticsLength: 2,
      needs: ["references"],
      citation: "",
      signature: configured.signature(),
      extra: [],
    };
  },

  configure(options) {
    try {
      configured = formula.Metric.fromOptions(options);
    } catch (error) {
      throw failure(error);
    }
  },

  measure(samples) {
    return samples.map((sample) => attempt(() => configured.measure(sample)));
  },

  // A mean is computed alike for one sample and for a corpus, so the level doesn't matter.
  score(statistics, _level) {
    return statistics.map((numbers) =>
      attempt(() => ({ value: configured.score([...numbers]), components: [], extra: [] })),
    );
  },

  scoreCorpus(_samples) {
    throw { code: "unsupported", message: "this metric adds: call `measure` and `score`" };
  },
};
