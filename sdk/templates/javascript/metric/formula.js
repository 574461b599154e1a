// The metric: plain JavaScript, without generated types, so that tests run without WebAssembly.
//
//     value = max over references of 1 - d(response, reference) / max(|response|, |reference|)
//
// d is the Levenshtein distance, lengths count Unicode code points, and two empty texts are equal.

export const NAME = "{{name}}";
export const VERSION = "0.1.0";
export const SUMMARY = "1 - edit distance / length of the longer text, to the nearest reference";

/** A failure the host reports: `code` is stable and for programs, `message` for people. */
export class PluginError extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

/** The configured metric. */
export class Metric {
  constructor({ case_sensitive = true } = {}) {
    this.caseSensitive = case_sensitive;
  }

  /** The metric that the options ask for: one JSON object, or nothing. */
  static fromOptions(text) {
    let given;
    try {
      given = text.trim() ? JSON.parse(text) : {};
    } catch (error) {
      throw new PluginError("bad-option", `options: expected one JSON object: ${error.message}`);
    }
    if (given === null || typeof given !== "object" || Array.isArray(given)) {
      throw new PluginError("bad-option", `options: expected one JSON object, found ${JSON.stringify(given)}`);
    }
    // A misspelt key must not pass in silence: the numbers would be others than asked for.
    for (const [key, value] of Object.entries(given)) {
      if (key !== "case_sensitive") {
        throw new PluginError("bad-option", `option \`${key}\`: unknown; expected \`case_sensitive\``);
      }
      if (typeof value !== "boolean") {
        const found = JSON.stringify(value);
        throw new PluginError("bad-option", `option \`${key}\`: expected true or false, found ${found}`);
      }
    }
    return new Metric(given);
  }

  /** Options that change the numbers, in the manner of sacrebleu. */
  signature() {
    return this.caseSensitive ? "case:mixed" : "case:lc";
  }

  /** Statistics of one sample, which add over samples: the sum of the values and their count. */
  measure(sample) {
    if (sample.references.length === 0) {
      throw new PluginError("missing-field", `sample \`${sample.id}\`: expected at least one reference, found none`);
    }
    const values = sample.references.map((reference) => this.similarity(sample.response, reference));
    return [values.reduce((best, value) => Math.max(best, value)), 1];
  }

  /** The value that follows from one sample's statistics, or from their sum. */
  score(statistics) {
    if (statistics.length !== 2) {
      throw new PluginError("bad-result", `statistics: expected 2 numbers, found ${statistics.length}`);
    }
    const [total, count] = statistics;
    if (count === 0) {
      throw new PluginError("no-samples", "a mean of no samples is not defined");
    }
    return total / count;
  }

  /** From 0, nothing in common, to 1, equal. */
  similarity(response, reference) {
    if (!this.caseSensitive) {
      [response, reference] = [response.toLowerCase(), reference.toLowerCase()];
    }
    // Equal texts, empty ones too, are worth no table.
    if (response === reference) {
      return 1;
    }
    // Iterating gives code points; `length` and indices count UTF-16 units.
    const [a, b] = [[...response], [...reference]];
    const longer = Math.max(a.length, b.length);
    return 1 - editDistance(a, b) / longer;
  }
}

/**
 * Levenshtein distance of two arrays of characters.
 *
 * Bit-parallel (Myers 1999, https://doi.org/10.1145/316542.316550, as Hyyrö 2003 has it): a column
 * of the table is two integers, whose bits say where it rises and where it falls. A cell at a time
 * would be many times slower, and two texts of some thousand characters would run out of fuel.
 */
export function editDistance(pattern, text) {
  if (pattern.length === 0) {
    return text.length;
  }
  const places = new Map();
  pattern.forEach((character, index) => {
    places.set(character, (places.get(character) ?? 0n) | (1n << BigInt(index)));
  });
  const allBits = (1n << BigInt(pattern.length)) - 1n;
  const lastBit = 1n << BigInt(pattern.length - 1);
  let [rises, falls, distance] = [allBits, 0n, pattern.length];
  for (const character of text) {
    const equal = places.get(character) ?? 0n;
    const vertical = equal | falls;
    const horizontal = (((equal & rises) + rises) ^ rises) | equal;
    let up = falls | (allBits & ~(horizontal | rises));
    const down = rises & horizontal;
    if (up & lastBit) {
      distance += 1;
    } else if (down & lastBit) {
      distance -= 1;
    }
    up = (up << 1n) | 1n;
    rises = allBits & ((down << 1n) | ~(vertical | up));
    falls = allBits & up & vertical;
  }
  return distance;
}
