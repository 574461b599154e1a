// Options of the plugin, and the failure that it reports.

/** A failure the host reports: `code` is stable and for programs, `message` for people. */
export class PluginError extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

/** This runner has no options, and a misspelt key must not pass in silence. */
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
