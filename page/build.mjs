// Builds the page into qianru/serve/page: hashed, minified files, an index that names them, and a manifest that says
// of which sources they were made (tests/serve/test_page_bundle.py holds it to that).
import { createHash } from "node:crypto";
import { mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { dirname, join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const out = process.env.QIANRU_PAGE_OUT ?? join(here, "..", "qianru", "serve", "page");
const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

async function filesUnder(folder) {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name)).sort();
}

/** One digest of all that the build reads: of lines "path SHA-256", paths sorted as bytes. */
async function digestOfSources() {
  const named = ["build.mjs", "package.json", "package-lock.json", "tsconfig.json"].map((name) => join(here, name));
  const files = [...named, ...(await filesUnder(join(here, "src")))].map((file) => [relative(here, file), file]);
  const lines = [];
  for (const [name, file] of files) lines.push(`${name.split(sep).join("/")} ${sha256(await readFile(file))}\n`);
  return sha256(lines.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))).join(""));
}

async function write(result) {
  if (result.errors.length) return;
  await rm(out, { recursive: true, force: true });
  await mkdir(join(out, "assets"), { recursive: true });
  let script, style;
  for (const file of result.outputFiles) {
    const name = relative(out, file.path).split(sep).join("/");
    if (/assets\/main-.*\.js$/.test(name)) script = name;
    if (/assets\/main-.*\.css$/.test(name)) style = name;
    await writeFile(file.path, file.contents);
  }
  // what the first view needs is named in the head, so that it is fetched at once and not one after another
  const eager = Object.entries(result.metafile.outputs)
    .find(([, made]) => made.entryPoint?.endsWith("src/main.ts"))[1]
    .imports.filter((one) => one.kind === "import-statement")
    .map((one) => `<link rel="modulepreload" href="${one.path.slice(one.path.indexOf("assets/"))}">`);
  const page = (await readFile(join(here, "src", "index.html"), "utf8"))
    .replace("<!-- style -->", `<link rel="stylesheet" href="${style}">`)
    .replace("<!-- script -->", [`<script type="module" src="${script}"></script>`, ...eager].join("\n"));
  await writeFile(join(out, "index.html"), page);
  const files = {};
  for (const file of await filesUnder(out)) files[relative(out, file).split(sep).join("/")] = sha256(await readFile(file));
  const manifest = { sources: await digestOfSources(), files };
  await writeFile(join(out, "manifest.json"), JSON.stringify(manifest, null, 1) + "\n");
}

const options = {
  absWorkingDir: here,
  entryPoints: ["src/main.ts"],
  outdir: out,
  bundle: true,
  splitting: true,
  format: "esm",
  target: "es2022",
  minify: true,
  legalComments: "none",
  charset: "utf8",
  metafile: true,
  write: false,
  entryNames: "assets/[name]-[hash]",
  chunkNames: "assets/[name]-[hash]",
  assetNames: "assets/[name]-[hash]",
  logLevel: "warning",
  plugins: [{ name: "write", setup: (build) => build.onEnd(write) }],
};
if (process.argv.includes("--watch")) await (await esbuild.context(options)).watch();
else await esbuild.build(options);
