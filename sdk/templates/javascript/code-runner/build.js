// Builds {{name}}.wasm: `npm install && npm run build`.

import { cp, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { componentize } from "componentize-qjs";

// The tool takes one folder with our world, and the packages it refers to in `deps`.
await rm("build", { recursive: true, force: true });
await mkdir("build/wit/deps", { recursive: true });
await cp("plugin.wit", "build/wit/plugin.wit");
await cp("wit", "build/wit/deps/rlhf-plugin", { recursive: true });

const { component } = await componentize({
  witPath: "build/wit",
  world: "component",
  jsSource: await readFile("plugin.js", "utf8"),
  jsPath: "plugin.js",
  moduleRoot: ".",
  // The other runtime needs the component model's async ABI, which the host doesn't have.
  sync: true,
});
await writeFile("{{name}}.wasm", component);
