import assert from "node:assert/strict";
import { test } from "node:test";

import { checkOptions } from "./options.js";
import { checkLanguage, DEPTH_MAX, OUTPUT_BYTES_MAX, Program } from "./rpn.js";

const SQUARE = ": square dup * ;\n";
// Each word prints twice as much as the one before.
const DOUBLING = Array.from({ length: 29 }, (_, i) => `: w${i + 1} w${i} w${i} ;`);
const FLOOD = `: w0 1${"0".repeat(999)} . ; ${DOUBLING.join(" ")} w29`;

// Catches operands in the wrong order, rounding towards zero, and lost digits.
test("output", () => {
  for (const [source, stdin, stdout] of [
    ["", "", ""],
    ["1 2 + .\n7 2 - .", "", "3\n5\n"],
    ["-7 2 / . -7 2 mod . +7 -2 / .", "", "-4\n1\n-4\n"],
    ["in in swap - .", "3\n10 99", "7\n"],
    ["1 2 over . . . 5 dup . 6 drop .", "", "1\n2\n1\n5\n5\n"],
    [`${SQUARE}: fourth square square ; 10000000000 fourth .`, "", `1${"0".repeat(40)}\n`],
  ]) {
    assert.deepEqual(new Program(source).run(stdin), { kind: "finished", exception: "", detail: "", stdout }, source);
  }
});

// Catches a failure without its name, its line or what was printed before it.
test("exceptions", () => {
  for (const [source, exception, detail] of [
    ["1 .\n2 +", "StackUnderflow", "line 2: `+`: expected 2 on the stack, found 1"],
    ["1 .\n1 0 /", "DivisionByZero", "line 2: `/`: expected a divisor, found 0"],
    ["1 .\nfoo", "UnknownWord", "line 2: `foo`: not defined"],
    ["1 .\nin in", "BadInput", "line 2: `in`: expected a number, found `x`"],
    ["1 .\nin drop drop", "StackUnderflow", "line 2: `drop`: expected 1 on the stack, found 0"],
    [": f f ; 1 .\nf", "RecursionTooDeep", `line 1: \`f\`: more than ${DEPTH_MAX} words deep`],
  ]) {
    assert.deepEqual(new Program(source).run("5 x"), { kind: "exception", exception, detail, stdout: "1\n" });
  }
  assert.equal(new Program("in").run("").exception, "EndOfInput");
});

// Catches a short program that fills the memory with output.
test("flood", () => {
  const { kind, stdout } = new Program(FLOOD).run("");
  assert.deepEqual([kind, stdout.length], ["out-of-output", OUTPUT_BYTES_MAX]);
});

// Catches a result that isn't the word's, and a program that isn't executed first.
test("call", () => {
  assert.deepEqual(new Program(SQUARE).call("square", [-12n]), { result: 144n });
  assert.deepEqual(new Program(": diff - ;").call("diff", [10n, 3n]), { result: 7n });
  assert.equal(new Program(SQUARE).call("cube", [1n]).outcome.exception, "UnknownWord");
  assert.equal(new Program(": gone drop ;").call("gone", [1n]).outcome.exception, "StackUnderflow");
  assert.equal(new Program(`${SQUARE}1 0 /`).call("square", [2n]).outcome.exception, "DivisionByZero");
});

// Catches programs that are refused without a reason, or not refused.
test("errors name the culprit", () => {
  for (const [code, message, call] of [
    ["syntax-error", "line 2: `;` without `:`", () => new Program("1 .\n;")],
    ["syntax-error", "line 1: expected `;` at the end of `f`, found none", () => new Program(": f 1")],
    ["syntax-error", "line 1: expected `;` at the end of `f`, found `:`", () => new Program(": f : g ; ;")],
    ["syntax-error", "line 1: expected a new name behind `:`, found `+`", () => new Program(": + ;")],
    ["unsupported-language", "language: expected `rpn`, found python", () => checkLanguage("python")],
    ["bad-option", "option `x`: unknown; this plugin has no options", () => checkOptions('{"x": 1}')],
  ]) {
    assert.throws(call, { code, message });
  }
});
