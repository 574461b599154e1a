import assert from "node:assert/strict";
import { test } from "node:test";

import { checkOptions, PARTS, shape } from "./reward.js";

// Catches a wrong sign, a missing clip, and a division by zero.
test("values", () => {
  for (const [tokens, tokensMax, brevity] of [
    [0, 8, 1],
    [2, 8, 0.75],
    [8, 8, 0],
    [9, 8, 0],
    [1, 3, 1 - 1 / 3],
    [1, 0, 0],
  ]) {
    assert.deepEqual(shape("x", tokens, tokensMax), { scalar: brevity, parts: { brevity } });
  }
});

// Catches a part that is logged under a name `describe` doesn't have.
test("parts are the described ones", () => {
  assert.deepEqual(Object.keys(shape("x", 1, 2).parts), PARTS);
});

// Catches the best reward for saying nothing.
test("an empty response", () => {
  for (const response of ["", " \n"]) {
    assert.deepEqual(shape(response, 1, 8), { abstain: "the response is empty" });
  }
});

// Catches an option that passes in silence.
test("options", () => {
  checkOptions("");
  checkOptions("{}");
  for (const [options, message] of [
    ['{"scale": 2}', "option `scale`: unknown; this plugin has no options"],
    ["3", "options: expected one JSON object, found 3"],
  ]) {
    assert.throws(() => checkOptions(options), { code: "bad-option", message });
  }
});
