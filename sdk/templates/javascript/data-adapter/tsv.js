// The format: plain JavaScript, without generated types, so that tests run without WebAssembly.
//
// A line is a demonstration: prompt, tab, response, in UTF-8. Lines without text are left out. The
// file is read in pieces, so that one larger than memory is no trouble.

export const NAME = "{{name}}";
export const VERSION = "0.1.0";
export const SUMMARY = "demonstrations from tab-separated lines: prompt, response";
export const EXTENSIONS = ["tsv"];

// Bytes asked for at once: calls of the host don't count, and memory isn't filled. Chosen.
const READ_BYTES = 256 * 1024;
// A longer line is taken for a file of another format. Chosen.
export const LINE_BYTES_MAX = 16 * 1024 * 1024;
// A batch ends early at this size: the host limits results, and rows may be large. Chosen.
const BATCH_CHARACTERS = 1024 * 1024;

/** A failure the host reports: `code` is stable and for programs, `message` for people. */
export class PluginError extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

/** This format has no options, and a misspelt key must not pass in silence. */
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

/** An open file. `read(max)` gives up to `max` further bytes, and none at the end. */
export class Reader {
  #rows;
  #failure;

  constructor(read) {
    this.#rows = rows(lines(read));
  }

  /** Up to `rowsMax` further rows, and none at the end. A failure waits for the rows before it. */
  batch(rowsMax) {
    const found = [];
    let size = 0;
    while (this.#failure === undefined && found.length < rowsMax && size < BATCH_CHARACTERS) {
      try {
        const { done, value } = this.#rows.next();
        if (done) {
          return found;
        }
        found.push(value);
        size += value.message === undefined ? value.prompt.length + value.response.length : value.message.length;
      } catch (error) {
        this.#failure = error;
      }
    }
    if (found.length === 0 && this.#failure !== undefined) {
      throw this.#failure;
    }
    return found;
  }
}

/** Lines without their ends, as bytes; the last one needs none. */
function* lines(read) {
  let rest = new Uint8Array(0);
  let line = 1;
  for (let piece = read(READ_BYTES); piece.length > 0; piece = read(READ_BYTES)) {
    const bytes = new Uint8Array(rest.length + piece.length);
    bytes.set(rest);
    bytes.set(piece, rest.length);
    let start = 0;
    // What was left over has no line end.
    for (let end = bytes.indexOf(10, rest.length); end !== -1; end = bytes.indexOf(10, start)) {
      yield bytes.subarray(start, end);
      start = end + 1;
      line += 1;
    }
    rest = bytes.subarray(start);
    if (rest.length > LINE_BYTES_MAX) {
      throw new PluginError("bad-row", `line ${line}: expected at most ${LINE_BYTES_MAX} bytes, found more`);
    }
  }
  if (rest.length > 0) {
    yield rest;
  }
}

/** `{line, row, prompt, response}`, or `{line, row, field, message}` of a row that can't be read. */
function* rows(lines) {
  let [line, row] = [0, 0];
  for (const bytes of lines) {
    line += 1;
    const text = decode(bytes);
    if (text === undefined) {
      row += 1;
      yield { line, row, field: "", message: "expected UTF-8, found other bytes" };
      continue;
    }
    // Some editors begin a file with a byte order mark.
    const content = (line === 1 ? text.replace(/^\ufeff/, "") : text).replace(/\r$/, "");
    if (content.trim() !== "") {
      row += 1;
      yield { line, row, ...parse(content) };
    }
  }
}

function parse(content) {
  const fields = content.split("\t");
  if (fields.length !== 2) {
    return { field: "", message: `expected prompt, tab, response; found ${fields.length - 1} tabs` };
  }
  const [prompt, response] = fields;
  for (const [field, text] of Object.entries({ prompt, response })) {
    if (text.trim() === "") {
      return { field, message: "expected text, found nothing" };
    }
  }
  return { prompt, response };
}

/** Text of UTF-8, or undefined. Written out, since the component's engine has no `TextDecoder`. */
function decode(bytes) {
  let binary = "";
  // A call takes a limited number of arguments.
  for (let start = 0; start < bytes.length; start += 4096) {
    binary += String.fromCharCode(...bytes.subarray(start, start + 4096));
  }
  try {
    return decodeURIComponent(binary.replace(/[%\x80-\xff]/g, (byte) => `%${byte.charCodeAt(0).toString(16)}`));
  } catch {
    return undefined;
  }
}
