// Builds the panel. Without arguments: writes the bundle that the Python package ships. `--check`: compares
// it with a fresh build and exits 1 where they differ. `--tests`: bundles test/*.test.ts(x) for `node --test`.
import { build, transform } from "esbuild";
import { mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const target = join(here, "../src/edchat_widget/static/widget.js");
const LIMIT = 130 * 1024;

const cssAsText = {
  name: "css-as-text",
  setup(pipeline) {
    pipeline.onLoad({ filter: /\.css$/ }, async ({ path }) => {
      const { code } = await transform(await readFile(path, "utf8"), { loader: "css", minify: true });
      return { contents: code.trim(), loader: "text" };
    });
  },
};

// marked makes a whole parser when it is loaded, which keeps bundlers from dropping its renderer. We need
// the lexer alone: keep the module's text up to the end of that class, and export nothing else.
const lexerOnly = {
  name: "lexer-only",
  setup(pipeline) {
    pipeline.onLoad({ filter: /marked\.esm\.js$/ }, async ({ path }) => {
      const text = await readFile(path, "utf8");
      const named = (what) => text.match(new RegExp(`[{,](\\w+) as ${what}[,}]`))?.[1];
      const end = text.indexOf(`var ${named("Renderer")}=class`);
      if (end < 0 || text.indexOf(`var ${named("Lexer")}=class`) > end) {
        throw new Error("marked is laid out in a new way: adapt the plugin lexer-only");
      }
      return { contents: `${text.slice(0, end)}export{${named("Lexer")} as Lexer}`, loader: "js" };
    });
  },
};

const common = {
  absWorkingDir: here,
  bundle: true,
  format: "esm",
  target: "es2022",
  jsx: "automatic",
  jsxImportSource: "preact",
  plugins: [cssAsText, lexerOnly],
  logLevel: "warning",
};

async function bundle() {
  const result = await build({
    ...common,
    entryPoints: ["src/widget.ts"],
    minify: true,
    legalComments: "none",
    banner: {
      js: "/* edchat_widget panel (MIT). Contains Preact (MIT), @preact/signals (MIT), marked (MIT). Built from js/. */",
    },
    write: false,
  });
  return result.outputFiles[0].text;
}

async function tests() {
  await rm(join(here, "dist"), { recursive: true, force: true });
  const files = (await readdir(join(here, "test"))).filter((name) => /\.test\.tsx?$/.test(name));
  await build({
    ...common,
    entryPoints: files.map((name) => `test/${name}`),
    outdir: "dist/test",
    platform: "node",
    sourcemap: "inline",
  });
}

async function main() {
  if (process.argv.includes("--tests")) return tests();
  const text = await bundle();
  const size = Buffer.byteLength(text);
  if (size > LIMIT) {
    console.error(`the bundle has ${size} bytes; the limit is ${LIMIT}`);
    process.exitCode = 1;
    return undefined;
  }
  if (process.argv.includes("--check")) {
    if ((await readFile(target, "utf8").catch(() => "")) !== text) {
      console.error("src/edchat_widget/static/widget.js is out of date; mend with: npm run build (in js/)");
      process.exitCode = 1;
    }
    return undefined;
  }
  await mkdir(dirname(target), { recursive: true });
  await writeFile(target, text);
  console.log(`src/edchat_widget/static/widget.js: ${size} bytes`);
  return undefined;
}

await main();
