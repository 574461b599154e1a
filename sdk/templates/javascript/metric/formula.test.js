import assert from "node:assert/strict";
import { test } from "node:test";

import { editDistance, Metric } from "./formula.js";

const sample = (response, ...references) => ({ id: "7", response, references });

/** The textbook's table, a row at a time. */
function tableDistance(a, b) {
  const row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 0; i < a.length; i++) {
    let diagonal = row[0];
    row[0] = i + 1;
    for (let j = 0; j < b.length; j++) {
      const best = Math.min(diagonal + Number(a[i] !== b[j]), row[j] + 1, row[j + 1] + 1);
      [diagonal, row[j + 1]] = [row[j + 1], best];
    }
  }
  return row[b.length];
}

// Catches a wrong norm, lengths in bytes or UTF-16 units, and a mean in place of the best reference.
test("values", () => {
  for (const [response, references, expected] of [
    ["", [""], 1],
    ["", ["ab"], 0],
    ["return a + b", ["return b + a"], 1 - 2 / 12],
    ["kitten", ["sitting", "mitten"], 1 - 1 / 6],
    ["naïve 🙂", ["naive 🙂"], 1 - 1 / 7],
    ["\ufeffab", ["ab"], 1 - 1 / 3],
    ["ABC", ["abc"], 0],
  ]) {
    assert.deepEqual(new Metric().measure(sample(response, ...references)), [expected, 1], response);
  }
});

// Catches an option that is read and not obeyed.
test("case", () => {
  const metric = Metric.fromOptions('{"case_sensitive": false}');
  assert.deepEqual(metric.measure(sample("ABC", "abc")), [1, 1]);
  assert.notEqual(metric.signature(), new Metric().signature());
});

// Catches a lost carry in the bit-parallel distance, whatever the lengths.
test("the distance is the textbook's", () => {
  let state = 1;
  const draw = (below) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return (state >>> 16) % below;
  };
  const text = () => Array.from({ length: draw(80) }, () => ["a", "b", "🙂"][draw(3)]);
  for (let round = 0; round < 300; round++) {
    const [a, b] = [text(), text()];
    assert.equal(editDistance(a, b), tableDistance(a, b), `${a.join("")} and ${b.join("")}`);
  }
});

// Catches a corpus score that isn't sum / count, and a NaN.
test("the score is the mean", () => {
  assert.equal(new Metric().score([1.5, 2]), 0.75);
  assert.throws(() => new Metric().score([0, 0]), {
    code: "no-samples",
    message: "a mean of no samples is not defined",
  });
});

// Catches a bad option that passes in silence, and messages that don't help.
test("errors name the culprit", () => {
  assert.throws(() => new Metric().measure(sample("a")), {
    code: "missing-field",
    message: "sample `7`: expected at least one reference, found none",
  });
  for (const [options, message] of [
    ['{"case": true}', "option `case`: unknown; expected `case_sensitive`"],
    ['{"case_sensitive": 1}', "option `case_sensitive`: expected true or false, found 1"],
    ["[]", "options: expected one JSON object, found []"],
  ]) {
    assert.throws(() => Metric.fromOptions(options), { code: "bad-option", message });
  }
  assert.equal(Metric.fromOptions("").caseSensitive, true);
});
