"""Makes what says again in other words what stands elsewhere, so that nobody has to keep it in step by hand:

    helm/otlp-rust/files/               copies of monitoring/, which a chart cannot reach outside its folder
    helm/otlp-rust/values.schema.json   from values.yaml, chart_schema.py and `otlp-rust config schema`
    helm/otlp-rust/README.md            from README.md.in, the comments of values.yaml and that of templates/_sizing.tpl
    k8s/                                plain manifests, rendered from the chart
    scripts/deploy/values/alertmanager.yaml  monitoring/alertmanager.yaml as values of kube-prometheus-stack

    chart_files.py [--check]            OTLP_RUST_BIN names the binary

With --check nothing is written; what is out of step is named, and the exit code is 1.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import yaml
from helm_python.chart import Chart

from chart_schema import chart_schema

ROOT = Path(__file__).resolve().parents[1]
CHART = ROOT / "helm" / "otlp-rust"

# The values that k8s/ is rendered with.
PLAIN = CHART / "examples" / "plain-manifests.yaml"

MADE = "# Rendered from helm/otlp-rust with examples/plain-manifests.yaml by scripts/render-k8s.sh. Do not edit.\n"
# Helm makes the namespace itself (--create-namespace). The pods keep to the strictest of Kubernetes' standards.
NAMESPACE = """\
---
apiVersion: v1
kind: Namespace
metadata:
  name: otlp-system
  labels:
    pod-security.kubernetes.io/enforce: restricted
    pod-security.kubernetes.io/warn: restricted
"""


# Where the Secret of `deploy.sh --alert-secret` is mounted. Not below /etc/alertmanager/secrets, which is the operator's.
ALERT_SECRETS = "/etc/alertmanager/otlp-rust"
ALERTMANAGER_HEAD = """\
# monitoring/alertmanager.yaml as values of kube-prometheus-stack, made by scripts/chart_files.py. Do not edit.
#
# deploy.sh --alert-secret NAME installs them. Only the platform's alerts are routed: what the stack's own rules say about the cluster
# goes to nobody, as it is the stack's default. --monitoring-values comes after them and may say otherwise.
"""


class Value:
    """A value of the chart: its path, its default and what its comment says. A group, which only holds other values, has `intro`."""

    def __init__(self, path, default, comment):
        self.path, self.default = path, default
        self.doc = comment.removeprefix("--").strip() if comment.startswith("--") else None
        self.intro = comment if self.doc is None else None


def read_values(text):
    """The values of values.yaml in order. What a documented value holds is part of it; a value without a comment is an error."""
    defaults, values, path, comment, covered = yaml.safe_load(text), [], [], [], None
    for line in text.splitlines():
        if line.strip().startswith("#"):
            comment.append(line.strip().lstrip("#").strip())
            continue
        match = re.match(r"( *)([A-Za-z0-9_-]+):( |$)", line)
        if match:
            path = [*path[: len(match[1]) // 2], match[2]]
            if covered is None or path[: len(covered)] != covered:
                default = defaults
                for key in path:
                    default = default[key]
                value = Value(tuple(path), default, " ".join(comment))
                if value.doc is None and not (isinstance(default, dict) and default):
                    raise SystemExit(f"values.yaml: {'.'.join(path)} has no comment that begins with `# --`")
                covered = list(path) if value.doc is not None else None
                values.append(value)
        comment = []
    return values


def tables(values):
    """The values as Markdown: first those that stand alone, then each group."""
    def rows(some):
        yield "| Value | Default | Meaning |"
        yield "| --- | --- | --- |"
        for value in some:
            default = json.dumps(value.default, ensure_ascii=False)
            default = f"`{default}`" if len(default) <= 60 else "see values.yaml"
            yield f"| `{'.'.join(value.path)}` | {default} | {value.doc} |".replace("||", "\\|\\|")

    groups = {}
    for value in values:
        single = len(value.path) == 1 and value.doc is not None
        groups.setdefault("" if single else value.path[0], []).append(value)
    for name, group in sorted(groups.items(), key=lambda item: item[0] != ""):
        yield f"### {f'`{name}`' if name else 'General'}"
        yield ""
        if name and group[0].intro:
            yield group[0].intro
            yield ""
        yield from rows([value for value in group if value.doc is not None])
        yield ""


def readme(values):
    text = (CHART / "README.md.in").read_text()
    head = "<!-- Made from README.md.in and values.yaml by scripts/chart_files.py. Do not edit. -->\n\n"
    # The comment at the top of the template is what it computes.
    comment = (CHART / "templates" / "_sizing.tpl").read_text().split("*/}}")[0].removeprefix("{{/*").strip()
    prose, formulas = comment.split("\n\n", 1)
    text = text.replace("@FORMULAS@", f"{prose}\n\n```text\n{formulas}\n```")
    return head + text.replace("@VALUES@", "\n".join(tables(values)).strip())


def config_schema():
    target = os.environ.get("CARGO_TARGET_DIR", ROOT / "target")
    binary = os.environ.get("OTLP_RUST_BIN") or f"{target}/debug/otlp-rust"
    if not Path(binary).exists():
        raise SystemExit(f"{binary} is missing: build it (cargo build) or set OTLP_RUST_BIN")
    return json.loads(subprocess.run([binary, "config", "schema"], check=True, capture_output=True, text=True).stdout)


def copies():
    monitoring = ROOT / "monitoring"
    for path in [monitoring / "otlp-rules.yml", *sorted(monitoring.glob("dashboards/*.json"))]:
        yield CHART / "files" / path.relative_to(monitoring), path.read_text()
    yield CHART / "files" / "datasources.yaml", (monitoring / "grafana/provisioning/datasources/otlp-rust.yaml").read_text()


def manifests():
    """The chart as files for kubectl, which knows no hooks and whose objects Helm does not manage."""
    values = yaml.safe_load(PLAIN.read_text())
    with Chart.load(CHART) as chart:
        chart.validate_schema(values)
        rendered = chart.render(values, name="otlp-rust", namespace="otlp-system")
    yield ROOT / "k8s" / "00-namespace.yaml", MADE + NAMESPACE
    for template, text in sorted(rendered.items()):
        if not template.endswith(".yaml"):
            continue
        documents = [part.strip() for part in re.split(r"^---$", text, flags=re.MULTILINE)]
        documents = [part for part in documents if part and yaml.safe_load(part) and "helm.sh/hook" not in part]
        documents = [re.sub(r"\n *(helm\.sh/chart|app\.kubernetes\.io/managed-by): .*", "", part) for part in documents]
        if documents:
            name = template.removeprefix("otlp-rust/templates/").replace("/", "-")
            yield ROOT / "k8s" / name, MADE + "".join(f"---\n{part}\n" for part in documents)


class Readable(yaml.SafeDumper):
    """Lists indented, texts of several lines as they are."""

    def increase_indent(self, flow=False, indentless=False):
        return super().increase_indent(flow, False)


Readable.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, "|" if "\n" in text else None))


def alertmanager_values():
    text = (ROOT / "monitoring" / "alertmanager.yaml").read_text().replace("/etc/alertmanager/secrets/", f"{ALERT_SECRETS}/")
    config = yaml.safe_load(text)
    platform = {"matchers": ['alertname =~ "Otlp.+"'], **config["route"]}
    config["route"] = {"receiver": "null", "routes": [platform]}
    config["receivers"].insert(0, {"name": "null"})
    # Lists take the place of the stack's own, which belong to its routes.
    values = {"alertmanager": {"config": config, "alertmanagerSpec": {"volumeMounts": [{"name": "otlp-alerts", "mountPath": ALERT_SECRETS, "readOnly": True}]}}}
    return ALERTMANAGER_HEAD + yaml.dump(values, Dumper=Readable, sort_keys=False, width=140)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; say what is out of step")
    check = parser.parse_args().check
    stale = []

    def put(path, text):
        if not path.exists() or path.read_text() != text:
            stale.append(path)
            if not check:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
        return path

    def only(folder, pattern, kept):
        for path in folder.glob(pattern):
            if path not in kept:
                stale.append(path)
                if not check:
                    path.unlink()

    copied = [put(path, text) for path, text in copies()]
    only(CHART / "files" / "dashboards", "*", copied)
    put(ROOT / "scripts" / "deploy" / "values" / "alertmanager.yaml", alertmanager_values())
    values = read_values((CHART / "values.yaml").read_text())
    put(CHART / "values.schema.json", json.dumps(chart_schema(values, config_schema()), indent=1) + "\n")
    put(CHART / "README.md", readme(values))
    # Last, because the chart is rendered with what stands above.
    rendered = [put(path, text) for path, text in manifests()]
    only(ROOT / "k8s", "*.yaml", rendered)

    for path in stale:
        print(f"{'out of step' if check else 'written'}: {path.relative_to(ROOT)}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
