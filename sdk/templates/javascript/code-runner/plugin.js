// Glue between the language and the component's bindings. Its rules don't belong here.

import { checkOptions, PluginError } from "./options.js";
import * as rpn from "./rpn.js";

// The program of this instance, which loads one.
let program;

/** What crosses to the host of a failure. Anything else is a bug of the plugin, and ends the call. */
function failure(error) {
  if (error instanceof PluginError) {
    return { code: error.code, message: error.message };
  }
  throw error;
}

/** A function whose failures cross to the host. */
function failing(call) {
  return (...given) => {
    try {
      return call(...given);
    } catch (error) {
      throw failure(error);
    }
  };
}

const bytes = (text) => Uint8Array.from(text, (character) => character.charCodeAt(0));

/** Numbers are ASCII, and so is the blank between them; the engine has no `TextDecoder`. */
const text = (stdin) => Array.from(stdin, (byte) => String.fromCharCode(byte)).join("");

function outcome({ kind, exception, detail, stdout }) {
  return { kind, exception, detail, exitCode: 0, stdout: bytes(stdout), stderr: new Uint8Array(0) };
}

const refusal = (exception, detail) => outcome({ kind: "exception", exception, detail, stdout: "" });

/** The integer that crossed as an arena of nodes; this language has no other values. */
function integer({ nodes, root }) {
  const node = nodes[root];
  if (node?.tag === "integer" && rpn.isNumber(node.val)) {
    return rpn.parseNumber(node.val);
  }
  throw refusal("BadArgument", `expected an integer, found ${node?.tag ?? "nothing"}`);
}

function parse(language, source) {
  rpn.checkLanguage(language);
  return new rpn.Program(source);
}

/** The exported interface; its functions are documented in `wit/code-runner.wit`. */
export const codeRunner = {
  describe() {
    return {
      name: rpn.NAME,
      version: rpn.VERSION,
      summary: rpn.SUMMARY,
      languages: rpn.LANGUAGES,
      extra: [],
    };
  },

  configure: failing(checkOptions),

  check: failing((language, source) => {
    parse(language, source);
  }),

  load: failing((language, source) => {
    program = parse(language, source);
  }),

  run(stdin) {
    if (program === undefined) {
      return refusal("NotLoaded", "`run` was called before `load`");
    }
    return outcome(program.run(text(stdin)));
  },

  call(name, values) {
    if (program === undefined) {
      throw refusal("NotLoaded", "`call` was called before `load`");
    }
    const called = program.call(name, values.map(integer));
    if (called.outcome !== undefined) {
      throw outcome(called.outcome);
    }
    return { nodes: [{ tag: "integer", val: String(called.result) }], root: 0 };
  },

  judge() {
    const detail = "tests that are code can't be judged in `rpn`";
    return outcome({ kind: "cannot-judge", exception: "", detail, stdout: "" });
  },
};
