import assert from "node:assert/strict";
import { test } from "node:test";

import { checkOptions, LINE_BYTES_MAX, PluginError, Reader } from "./tsv.js";

/** All rows of a file that comes in pieces of this many bytes. */
function rows(data, piece = 1 << 20, batch = 2) {
  let at = 0;
  const reader = new Reader(() => data.subarray(at, (at += piece)));
  const found = [];
  for (let part = reader.batch(batch); part.length > 0; part = reader.batch(batch)) {
    found.push(...part);
  }
  return found;
}

// Catches lost last lines, wrong line numbers, and an error that ends the file.
test("rows", () => {
  for (const [text, expected] of [
    ["", []],
    ["a\tb", [{ line: 1, row: 1, prompt: "a", response: "b" }]],
    [
      "\ufeffa\tb\r\n\n \nc\td 100 %41\n",
      [
        { line: 1, row: 1, prompt: "a", response: "b" },
        { line: 4, row: 2, prompt: "c", response: "d 100 %41" },
      ],
    ],
    [
      "x\na\tb\tc\n\tb\na\t \nok\tok\n",
      [
        { line: 1, row: 1, field: "", message: "expected prompt, tab, response; found 0 tabs" },
        { line: 2, row: 2, field: "", message: "expected prompt, tab, response; found 2 tabs" },
        { line: 3, row: 3, field: "prompt", message: "expected text, found nothing" },
        { line: 4, row: 4, field: "response", message: "expected text, found nothing" },
        { line: 5, row: 5, prompt: "ok", response: "ok" },
      ],
    ],
  ]) {
    assert.deepEqual(rows(Buffer.from(text)), expected, text);
  }
});

// Catches bytes that are taken for text: stray, cut off, overlong, half a surrogate pair.
test("bytes that are not UTF-8", () => {
  for (const bytes of [[0xff], [0xc3], [0x80], [0xc0, 0xaf], [0xed, 0xa0, 0x80], [0xf5, 0x80, 0x80, 0x80]]) {
    const data = Buffer.concat([Buffer.from("a\tb"), Buffer.from(bytes), Buffer.from("\nc\td")]);
    assert.deepEqual(rows(data), [
      { line: 1, row: 1, field: "", message: "expected UTF-8, found other bytes" },
      { line: 2, row: 2, prompt: "c", response: "d" },
    ]);
  }
});

// Catches rows that depend on where a piece or a batch happens to end.
test("pieces", () => {
  const data = Buffer.from("frage 🙂\tantwort é\r\n".repeat(5));
  for (let piece = 1; piece < 20; piece++) {
    assert.deepEqual(rows(data, piece, 1 + (piece % 4)), rows(data));
  }
});

// Catches rows that are lost because the file breaks off behind them.
test("a failure waits for the rows before it", () => {
  const pieces = [Buffer.from("a\tb\nc")];
  const reader = new Reader(() => {
    if (pieces.length > 0) {
      return pieces.pop();
    }
    throw new PluginError("read-failed", "source: gone");
  });
  assert.deepEqual(reader.batch(9), [{ line: 1, row: 1, prompt: "a", response: "b" }]);
  assert.throws(() => reader.batch(9), { code: "read-failed" });
  assert.throws(() => reader.batch(9), { code: "read-failed" });
});

// Catches a file without line ends that fills the memory.
test("an endless line", () => {
  const reader = new Reader((length) => Buffer.alloc(length, "x"));
  const message = `line 1: expected at most ${LINE_BYTES_MAX} bytes, found more`;
  assert.throws(() => reader.batch(1), { code: "bad-row", message });
});

// Catches an option that passes in silence.
test("options", () => {
  checkOptions("{}");
  const message = "option `header`: unknown; this plugin has no options";
  assert.throws(() => checkOptions('{"header": true}'), { code: "bad-option", message });
});
