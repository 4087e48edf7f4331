// Custom resources against the schemas of their projects. Standard input: a JSON list of {name, object}; standard output: a JSON list
// of {name, problem}. Two checks, because each sees what the other does not: the schema's validator knows patterns, ranges and what is
// required; the compiler knows which fields there are (a field that is not there would be dropped without a word by the cluster).
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";

const here = dirname(fileURLToPath(import.meta.url));
const packages = {
  "gateway.networking.k8s.io": "gateway-api",
  "networking.istio.io": "istio",
  "security.istio.io": "istio",
  "monitoring.coreos.com": "prometheus-operator",
  "external-secrets.io": "external-secrets",
};
const problems = [];
const files = new Map();

for (const { name, object } of JSON.parse(readFileSync(0, "utf8"))) {
  const group = object.apiVersion.split("/")[0];
  if (!packages[group]) {
    problems.push({ name, problem: `no schema for ${object.apiVersion} ${object.kind}` });
    continue;
  }
  const module = `@kubernetes-models/${packages[group]}/${object.apiVersion}/${object.kind}`;
  try {
    const { [object.kind]: Model } = await import(module);
    new Model(object).validate();
  } catch (error) {
    problems.push({ name, problem: `${object.kind} ${object.metadata?.name}: ${error.message}` });
  }
  const source = `import type { I${object.kind} as Wanted } from "${module}";\nexport const it: Wanted = ${JSON.stringify(object, null, 1)};\n`;
  files.set(join(here, `object-${files.size}.ts`), { name, object, source });
}

const options = { noEmit: true, strict: true, skipLibCheck: true, types: [], target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext };
options.moduleResolution = ts.ModuleResolutionKind.Bundler;
const host = ts.createCompilerHost(options);
const [exists, read, source] = [host.fileExists, host.readFile, host.getSourceFile].map((f) => f.bind(host));
host.fileExists = (path) => files.has(path) || exists(path);
host.readFile = (path) => files.get(path)?.source ?? read(path);
host.getSourceFile = (path, version) =>
  files.has(path) ? ts.createSourceFile(path, files.get(path).source, version) : source(path, version);
const program = ts.createProgram([...files.keys()], options, host);
for (const { file, messageText } of ts.getPreEmitDiagnostics(program)) {
  const { name, object } = files.get(file?.fileName) ?? { name: "compiler" };
  problems.push({ name, problem: `${object?.kind} ${object?.metadata?.name}: ${ts.flattenDiagnosticMessageText(messageText, "; ")}` });
}
console.log(JSON.stringify(problems));
