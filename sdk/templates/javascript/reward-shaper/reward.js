// The reward: plain JavaScript, without generated types, so that tests run without WebAssembly.
//
//     scalar = 1 - tokens / response_tokens_max, clipped to 0..1
//
// Short answers are preferred. An empty one gets no reward at all: it would be the shortest.

export const NAME = "{{name}}";
export const VERSION = "0.1.0";
export const SUMMARY = "prefers short answers: 1 - tokens / largest response length";
export const PARTS = ["brevity"];

/** A failure the host reports: `code` is stable and for programs, `message` for people. */
export class PluginError extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

/** This shaper has no options, and a misspelt key must not pass in silence. */
export function checkOptions(text) {
  let given;
  try {
    given = text.trim() ? JSON.parse(text) : {};
  } catch (error) {
    throw new PluginError("bad-option", `options: expected one JSON object: ${error.message}`);
  }
  if (given === null || typeof given !== "object" || Array.isArray(given)) {
    throw new PluginError("bad-option", `options: expected one JSON object, found ${JSON.stringify(given)}`);
  }
  for (const key of Object.keys(given)) {
    throw new PluginError("bad-option", `option \`${key}\`: unknown; this plugin has no options`);
  }
}

/**
 * The reward of a response of this many tokens, which depends on nothing but the arguments: a
 * finite `scalar` and the `parts` that are logged by name, or why there is none (`abstain`).
 */
export function shape(response, tokens, responseTokensMax) {
  if (response.trim() === "") {
    return { abstain: "the response is empty" };
  }
  // A run without a largest length has no scale: every response is as long as it may be.
  const used = responseTokensMax === 0 ? 1 : tokens / responseTokensMax;
  const brevity = Math.min(Math.max(1 - used, 0), 1);
  return { scalar: brevity, parts: { brevity } };
}
