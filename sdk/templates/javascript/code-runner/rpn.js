// The language: plain JavaScript, without generated types, so that tests run without WebAssembly.
//
// A calculator in reverse Polish notation. Words stand between blanks and work on a stack of integers
// of any size; `.` prints the top, `in` reads a number, and `: square dup * ;` defines a word.

import { PluginError } from "./options.js";

export const NAME = "{{name}}";
export const VERSION = "0.1.0";
export const SUMMARY = "runs calculations in reverse Polish notation";
export const LANGUAGES = [["rpn", "1"]];

// Words within words. A word can call itself, and nothing ends that. Chosen.
export const DEPTH_MAX = 100;
// Few words can print without end: each may call another twice. Chosen.
export const OUTPUT_BYTES_MAX = 1024 * 1024;

/** Quotient rounded down, as the remainder has the divisor's sign; BigInt's own rounds towards zero. */
const floorDivide = (a, b) => a / b - (a % b !== 0n && a < 0n !== b < 0n ? 1n : 0n);

/** What a word takes from the stack, the top last, and what it puts there. */
const OPERATIONS = new Map([
  ["+", [2, (a, b) => [a + b]]],
  ["-", [2, (a, b) => [a - b]]],
  ["*", [2, (a, b) => [a * b]]],
  ["/", [2, (a, b) => [floorDivide(a, b)]]],
  ["mod", [2, (a, b) => [a - b * floorDivide(a, b)]]],
  ["dup", [1, (a) => [a, a]]],
  ["drop", [1, () => []]],
  ["swap", [2, (a, b) => [b, a]]],
  ["over", [2, (a, b) => [a, b, a]]],
]);
const RESERVED = new Set([...OPERATIONS.keys(), ".", "in", ":", ";"]);

/** What ended a program: `kind` as in `wit/types.wit`, and the exception's name if it is one. */
class ProgramError extends Error {
  constructor(name, detail, kind = "exception") {
    super(detail);
    [this.name, this.kind] = [name, kind];
  }
}

/** Whether a word is an integer in decimal. */
export const isNumber = (word) => /^[+-]?[0-9]+$/.test(word);

/** The integer of such a word; `BigInt` knows no plus sign. */
export const parseNumber = (word) => BigInt(word.replace(/^\+/, ""));

const words = (text) => text.split(/\s+/).filter((word) => word !== "");

/** Refuses the languages that aren't this one. */
export function checkLanguage(language) {
  if (language !== "rpn") {
    throw new PluginError("unsupported-language", `language: expected \`rpn\`, found ${language || "none"}`);
  }
}

/** A parsed program: its own words in order, and those it defines. */
export class Program {
  #main = [];
  #words = new Map();
  #executed = false;

  constructor(source) {
    const tokens = source.split("\n").flatMap((text, index) => words(text).map((word) => ({ line: index + 1, word })));
    const syntaxError = (line, message) => new PluginError("syntax-error", `line ${line}: ${message}`);
    let definition;
    for (let index = 0; index < tokens.length; index++) {
      const { line, word } = tokens[index];
      if (word === ":") {
        if (definition !== undefined) {
          throw syntaxError(line, `expected \`;\` at the end of \`${definition.name}\`, found \`:\``);
        }
        index += 1;
        const name = tokens[index]?.word ?? ";";
        if (RESERVED.has(name) || isNumber(name) || this.#words.has(name)) {
          throw syntaxError(line, `expected a new name behind \`:\`, found \`${name}\``);
        }
        definition = { line, name, body: [] };
      } else if (word === ";") {
        if (definition === undefined) {
          throw syntaxError(line, "`;` without `:`");
        }
        this.#words.set(definition.name, definition.body);
        definition = undefined;
      } else {
        (definition?.body ?? this.#main).push(tokens[index]);
      }
    }
    if (definition !== undefined) {
      throw syntaxError(definition.line, `expected \`;\` at the end of \`${definition.name}\`, found none`);
    }
  }

  /** Runs the program to its end: `{kind, exception, detail, stdout}`. */
  run(stdin) {
    this.#executed = true;
    const machine = new Machine(this.#words, stdin);
    return machine.outcome(() => machine.execute(this.#main));
  }

  /** Calls a word: `{result}`, the top of the stack, or `{outcome}`. The program runs first, if it didn't yet. */
  call(name, stack) {
    if (!this.#executed) {
      const outcome = this.run("");
      if (outcome.kind !== "finished") {
        return { outcome };
      }
    }
    const machine = new Machine(this.#words, "", [...stack]);
    const outcome = machine.outcome(() => machine.call(name));
    return outcome.kind === "finished" ? { result: machine.stack.at(-1) } : { outcome };
  }
}

/** One execution: a stack, numbers to read, and what was printed. */
class Machine {
  constructor(defined, stdin, stack = []) {
    this.defined = defined;
    this.input = words(stdin)[Symbol.iterator]();
    this.stack = stack;
    // Digits and line ends: as many bytes as characters.
    this.stdout = "";
  }

  outcome(call) {
    try {
      call();
    } catch (error) {
      if (error instanceof ProgramError) {
        return { kind: error.kind, exception: error.name, detail: error.message, stdout: this.stdout };
      }
      throw error;
    }
    return { kind: "finished", exception: "", detail: "", stdout: this.stdout };
  }

  call(name) {
    if (!this.defined.has(name)) {
      throw new ProgramError("UnknownWord", `\`${name}\`: not defined`);
    }
    this.execute(this.defined.get(name));
    if (this.stack.length === 0) {
      throw new ProgramError("StackUnderflow", `\`${name}\`: expected a result on the stack, found none`);
    }
  }

  execute(tokens, depth = 0) {
    for (const { line, word } of tokens) {
      const at = `line ${line}: \`${word}\``;
      if (this.defined.has(word)) {
        if (depth === DEPTH_MAX) {
          throw new ProgramError("RecursionTooDeep", `${at}: more than ${DEPTH_MAX} words deep`);
        }
        this.execute(this.defined.get(word), depth + 1);
      } else if (OPERATIONS.has(word)) {
        const [arity, operation] = OPERATIONS.get(word);
        const taken = this.#take(arity, at);
        if ((word === "/" || word === "mod") && taken[1] === 0n) {
          throw new ProgramError("DivisionByZero", `${at}: expected a divisor, found 0`);
        }
        this.stack.push(...operation(...taken));
      } else if (word === ".") {
        this.stdout += `${this.#take(1, at)[0]}\n`;
        if (this.stdout.length > OUTPUT_BYTES_MAX) {
          this.stdout = this.stdout.slice(0, OUTPUT_BYTES_MAX);
          throw new ProgramError("", `line ${line}: more than ${OUTPUT_BYTES_MAX} bytes`, "out-of-output");
        }
      } else if (word === "in") {
        this.stack.push(this.#read(at));
      } else if (isNumber(word)) {
        this.stack.push(parseNumber(word));
      } else {
        throw new ProgramError("UnknownWord", `${at}: not defined`);
      }
    }
  }

  #take(count, at) {
    const found = this.stack.length;
    if (found < count) {
      throw new ProgramError("StackUnderflow", `${at}: expected ${count} on the stack, found ${found}`);
    }
    return this.stack.splice(found - count);
  }

  #read(at) {
    const { done, value } = this.input.next();
    if (done) {
      throw new ProgramError("EndOfInput", `${at}: expected a number, found the end of the input`);
    }
    if (!isNumber(value)) {
      throw new ProgramError("BadInput", `${at}: expected a number, found \`${value}\``);
    }
    return parseNumber(value);
  }
}
