// Glue between the format and the component's bindings. Parsing doesn't belong here.

import * as tsv from "./tsv.js";

// The open file of this instance, which reads one.
let reader;

/** What crosses to the host of a failure. Anything else is a bug of the plugin, and ends the call. */
function failure(error) {
  if (error instanceof tsv.PluginError) {
    return { code: error.code, message: error.message };
  }
  throw error;
}

function result({ line, row, ...rest }) {
  const origin = { line, row };
  if (rest.message !== undefined) {
    return { tag: "err", val: { origin, field: rest.field, message: rest.message } };
  }
  const { prompt, response } = rest;
  return { tag: "ok", val: { origin, content: { tag: "demonstration", val: { prompt, response } }, extra: [] } };
}

/** The exported interface; its functions are documented in `wit/data-adapter.wit`. */
export const dataAdapter = {
  describe() {
    return {
      name: tsv.NAME,
      version: tsv.VERSION,
      summary: tsv.SUMMARY,
      extensions: tsv.EXTENSIONS,
      extra: [],
    };
  },

  open(source, options) {
    try {
      tsv.checkOptions(options);
    } catch (error) {
      throw failure(error);
    }
    reader = new tsv.Reader((length) => {
      try {
        return source.read(length);
      } catch (error) {
        throw new tsv.PluginError("read-failed", `source: ${error.payload ?? error}`);
      }
    });
  },

  next(max) {
    if (reader === undefined) {
      throw { code: "not-open", message: "`next` was called before `open`" };
    }
    try {
      return reader.batch(max).map(result);
    } catch (error) {
      throw failure(error);
    }
  },
};
