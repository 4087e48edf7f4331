"""The chart, rendered by Helm and held against the schemas of everything that it makes."""

import functools
import json
import re
import subprocess
from pathlib import Path

import jsonschema_rs
import pytest
import yaml
from helm_python.chart import lint, package
from kubernetes_validate import utils as kubernetes
from yamllint import linter
from yamllint.config import YamlLintConfig

from chart_cases import CASES, CHART, NAMESPACE, ROOT, S3, SPLIT, TRIAL, custom, find, objects, over, pods, texts
from platform_process import binary

HERE = Path(__file__).resolve().parent
VERSIONS = [version for version in kubernetes.all_versions() if (1, 27) <= tuple(map(int, version.split(".")[:2]))]
# The chart differs between versions before 1.30, 1.30 and later ones; what is rendered for one is held against its schemas.
RENDERED_AS = {version: {"1.27": "1.29", "1.28": "1.29", "1.29": "1.29", "1.30": "1.30"}.get(version[:4], "1.37") for version in VERSIONS}
YAML_RULES = YamlLintConfig(
    "{extends: default, rules: {line-length: {max: 160}, document-start: disable, truthy: {check-keys: false},"
    " comments-indentation: disable, octal-values: disable, braces: {max-spaces-inside: 1}}}"
)


@pytest.mark.parametrize("case", CASES)
def test_lint(case):
    report = lint(CHART, CASES[case], namespace=NAMESPACE, strict=True, kube_version="v1.37.0")
    found = [message for message in report["messages"] if message["severity"] >= 2]
    assert not found and not report["errors"]


def test_lint_without_values():
    """A chart that needs values still lints without any."""
    report = lint(CHART, {}, namespace=NAMESPACE, strict=True)
    assert not [message for message in report["messages"] if message["severity"] >= 2]


def test_versions_of_kubernetes():
    """The schemas at hand reach from the oldest version that the chart takes to that of its tests."""
    assert VERSIONS[0].startswith("1.27") and len(VERSIONS) >= 11
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["kubeVersion"] == ">=1.27.0-0"


@functools.cache
def registry(version):
    text = kubernetes.schema_contents(f"kubernetes-json-schema/v{version}-local-strict/_definitions.json", version)
    return jsonschema_rs.Registry([(text["$id"], text)])


@functools.cache
def validator(version, kind, api_version):
    """What kubernetes_validate.validate makes anew, and slowly, for each object."""
    group, _, number = api_version.rpartition("/")
    name = "-".join([kind.lower(), *([group.split(".")[0]] if group else []), number]) + ".json"
    schema = kubernetes.schema_contents(f"kubernetes-json-schema/v{version}-local-strict/{name}", version)
    return jsonschema_rs.Draft202012Validator(schema, registry=registry(version))


def problems_in(it, version):
    return [f"{error.instance_path}: {error.message}" for error in validator(version, it["kind"], it["apiVersion"]).iter_errors(it)]


def test_objects_are_what_kubernetes_takes():
    """Every object of every case against every version, strictly: a field that does not exist is an error."""
    checked = 0
    different = {rendering: {} for rendering in RENDERED_AS.values()}
    for rendering, some in different.items():
        for case in CASES:
            for it in objects(CASES[case], rendering):
                assert it["metadata"]["namespace"] == NAMESPACE
                if not custom(it):
                    some[json.dumps(it, sort_keys=True)] = case, it
    for version in VERSIONS:
        for case, it in different[RENDERED_AS[version]].values():
            found = problems_in(it, version)
            assert not found, f"{case}: {it['kind']} {it['metadata']['name']} on {version}"
            checked += 1
    assert checked > 1000


def test_strict_means_strict():
    """The validators are those of kubernetes_validate, and they notice a field that does not exist."""
    good = objects(S3)[0]
    bad = {**good, "dat": {}}
    kubernetes.validate(good, VERSIONS[-1], strict=True)
    with pytest.raises(kubernetes.ValidationError, match="dat"):
        kubernetes.validate(bad, VERSIONS[-1], strict=True)
    assert not problems_in(good, VERSIONS[-1]) and "dat" in problems_in(bad, VERSIONS[-1])[0]


def problems_of(some):
    """What the schemas of custom resources say of (name, object) pairs."""
    given = json.dumps([{"name": name, "object": it} for name, it in some])
    done = subprocess.run(["node", "validate.mjs"], cwd=HERE / "js", input=given, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_custom_resources():
    given = {json.dumps(it, sort_keys=True): (case, it) for case in CASES for it in objects(CASES[case]) if custom(it)}
    for path in sorted(CHART.glob("examples/*/*.yaml")):
        if path.name != "values.yaml":
            given.update({f"{path} {n}": (path.name, it) for n, it in enumerate(yaml.safe_load_all(path.read_text())) if custom(it)})
    # No schema of the VerticalPodAutoscaler is to be had; test_vertical_pod_autoscaler says what is expected.
    given = [(name, it) for name, it in given.values() if it["kind"] != "VerticalPodAutoscaler"]
    kinds = {it["kind"] for _, it in given}
    assert kinds >= {"PeerAuthentication", "AuthorizationPolicy", "DestinationRule", "VirtualService", "GRPCRoute", "HTTPRoute"}
    assert kinds >= {"ServiceMonitor", "PodMonitor", "PrometheusRule", "Gateway", "ExternalSecret", "SecretStore"}
    broken = [
        {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "x"}, "spec": {"http": [{"rout": []}]}},
        {"apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication", "metadata": {"name": "x"}, "spec": {"mtls": {"mode": "ON"}}},
        {"apiVersion": "monitoring.coreos.com/v1", "kind": "ServiceMonitor", "metadata": {"name": "x"}, "spec": {"selector": {}}},
    ]
    found = problems_of([*given, *((f"broken {n}", it) for n, it in enumerate(broken))])
    assert not [problem for problem in found if not problem["name"].startswith("broken")]
    # The checks can fail: an unknown field, a wrong value, a missing one.
    assert {problem["name"] for problem in found} == {"broken 0", "broken 1", "broken 2"}


def test_vertical_pod_autoscaler():
    vpa = find(objects(CASES["fixed size"]), "VerticalPodAutoscaler", "otlp-service-vpa")
    assert vpa["apiVersion"] == "autoscaling.k8s.io/v1"
    assert set(vpa["spec"]) == {"targetRef", "updatePolicy", "resourcePolicy"}
    assert vpa["spec"]["updatePolicy"] == {"updateMode": "Initial"}
    known = {"containerName", "mode", "minAllowed", "maxAllowed", "controlledResources", "controlledValues"}
    assert all(set(policy) <= known for policy in vpa["spec"]["resourcePolicy"]["containerPolicies"])


@pytest.mark.parametrize("case", CASES)
def test_names_are_unique(case):
    keys = [(it["apiVersion"], it["kind"], it["metadata"]["name"]) for it in objects(CASES[case])]
    assert len(set(keys)) == len(keys)
    assert all(len(name) <= 63 for *_, name in keys)


def selected(selector, labels):
    """Whether a label selector takes these labels."""
    def holds(expression):
        there, values = labels.get(expression["key"]), expression.get("values", [])
        operator = expression["operator"]
        return {"In": there in values, "NotIn": there not in values, "Exists": there is not None, "DoesNotExist": there is None}[operator]

    exact = all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
    return exact and all(holds(expression) for expression in selector.get("matchExpressions", []))


@pytest.mark.parametrize("case", CASES)
def test_selectors_select(case):
    """Every selector takes the pods that it is about, and no others."""
    some = objects(CASES[case])
    labels = {owner: metadata["labels"] for owner, metadata, _ in pods(some)}
    platform = {it["metadata"]["name"] for it in find(some, "Deployment")}
    for it in some:
        spec, name, kind = it.get("spec") or {}, it["metadata"]["name"], it["kind"]
        if kind in ("Deployment", "StatefulSet", "PodDisruptionBudget"):
            assert {owner for owner in labels if selected(spec["selector"], labels[owner])} == {name}
        elif kind in ("NetworkPolicy", "PeerAuthentication", "AuthorizationPolicy", "PodMonitor"):
            selector = spec.get("podSelector") or spec["selector"]
            taken = {owner for owner in labels if selected(selector, labels[owner])}
            assert taken == (platform if len(taken & platform) else {name})
        elif kind == "Service":
            taken = {owner for owner in labels if selected({"matchLabels": spec["selector"]}, labels[owner])}
            assert taken == (platform if taken & platform else {name})
        elif kind == "ServiceMonitor":
            services = [service for service in find(some, "Service") if selected(spec["selector"], service["metadata"]["labels"])]
            assert len(services) == 1, "every pod is scraped once"
            assert spec["endpoints"][0]["port"] in {port["name"] for port in services[0]["spec"]["ports"]}
        elif kind in ("HorizontalPodAutoscaler", "VerticalPodAutoscaler"):
            target = spec.get("scaleTargetRef") or spec["targetRef"]
            assert target["name"] in platform
        if kind == "Deployment":
            for constraint in spec["template"]["spec"].get("topologySpreadConstraints", []):
                assert {owner for owner in labels if selected(constraint["labelSelector"], labels[owner])} == {name}


def ports_by_pod(some, service):
    """Which pods each port of a Service leads to, as the endpoints' controller decides it: those with a port of the target's name."""
    there = {}
    for port in service["spec"]["ports"]:
        for owner, metadata, spec in pods(some):
            names = {p["name"]: p["containerPort"] for container in spec["containers"] for p in container.get("ports", [])}
            if selected({"matchLabels": service["spec"]["selector"]}, metadata["labels"]) and port["targetPort"] in names:
                assert names[port["targetPort"]] == port["port"]
                there.setdefault(port["port"], set()).add(owner)
    return there


def test_service_with_split_roles():
    some = objects(over(S3, SPLIT, {"postgresWire": {"enabled": True}}))
    ingest, query, compact = "otlp-service-ingest", "otlp-service-query", "otlp-service-compact"
    expected = {4317: {ingest}, 4318: {ingest}, 8080: {query}, 5433: {query}, 9090: {ingest, query, compact}}
    assert ports_by_pod(some, find(some, "Service", "otlp-service")) == expected
    roles = {it["metadata"]["name"]: it["spec"]["template"]["spec"]["containers"][0]["args"][-2:] for it in find(some, "Deployment")}
    assert roles == {ingest: ["--role", "ingest"], query: ["--role", "query"], compact: ["--role", "compact"]}


@pytest.mark.parametrize("case", CASES)
def test_routes_lead_somewhere(case):
    """What an Ingress, a route or a VirtualService points to is a port of a Service that leads to pods."""
    some = objects(CASES[case])
    ends = {it["metadata"]["name"]: ports_by_pod(some, it) for it in find(some, "Service") if "clusterIP" not in it["spec"]}
    names = {it["metadata"]["name"]: {port["name"]: port["port"] for port in it["spec"]["ports"]} for it in find(some, "Service")}
    for it in find(some, "Ingress"):
        for rule in it["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                service = path["backend"]["service"]
                assert ends[service["name"]][names[service["name"]][service["port"]["name"]]]
    for it in [*find(some, "GRPCRoute"), *find(some, "HTTPRoute")]:
        for rule in it["spec"]["rules"]:
            assert all(ends[backend["name"]][backend["port"]] for backend in rule["backendRefs"])
    for it in find(some, "VirtualService"):
        for rule in it["spec"]["http"]:
            for route in rule["route"]:
                name = route["destination"]["host"].split(".")[0]
                assert ends[name][route["destination"]["port"]["number"]]


@pytest.mark.parametrize("case", ["trial", "everything, split", "istio with a gateway", "linkerd", "values-large.yaml", "least"])
def test_yaml(case):
    """What is rendered reads well: nothing stands twice, no line ends in blanks but those of templates."""
    for name, text in texts(CASES[case]).items():
        if name.endswith(".yaml"):
            found = [str(problem) for problem in linter.run(text.strip() + "\n", YAML_RULES) if problem.rule not in LOOSE]
            assert not found, f"{name}:\n{text}"


# Templates leave blank lines and put lists of values as Helm prints them; neither is ours to say.
LOOSE = {"empty-lines", "indentation", "trailing-spaces", "line-length", "comments"}


@pytest.mark.parametrize("folder", ["helm/otlp-rust", "k8s"])
def test_yaml_files(folder):
    paths = [path for path in (ROOT / folder).rglob("*.yaml") if "templates" not in path.parts]
    assert paths
    for path in paths:
        found = [str(problem) for problem in linter.run(path.read_text(), YAML_RULES) if folder != "k8s" or problem.rule not in LOOSE]
        assert not found, path


def test_package(folder):
    """What a package holds: the copies of monitoring, but not what is for readers of the repository."""
    archive = package(CHART, destination=folder)
    listed = subprocess.run(["tar", "tzf", archive], check=True, capture_output=True, text=True).stdout.split()
    assert "otlp-rust/values.schema.json" in listed and "otlp-rust/values-large.yaml" in listed
    assert not [name for name in listed if "/examples/" in name]


def test_what_is_made_is_in_step():
    """README.md, values.schema.json, files/ and k8s/ are what scripts/render-k8s.sh makes of the chart, of monitoring/ and of the binary."""
    done = subprocess.run(["scripts/render-k8s.sh", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr + "run scripts/render-k8s.sh"


def test_monitoring_is_that_of_the_repository():
    """Rules and dashboards of monitoring/ as they are, and targets with the labels that they go by."""
    some = objects(CASES["everything"])
    rules = yaml.safe_load((ROOT / "monitoring" / "otlp-rules.yml").read_text())
    assert find(some, "PrometheusRule", "otlp-service")["spec"] == rules
    for path in (ROOT / "monitoring" / "dashboards").glob("*.json"):
        configmap = find(some, "ConfigMap", f"otlp-service-dashboard-{path.stem}")
        assert json.loads(configmap["data"][path.name]) == json.loads(path.read_text())
        assert configmap["metadata"]["labels"]["grafana_dashboard"] == "1"
    sources = find(some, "ConfigMap", "otlp-service-datasource")
    assert sources["metadata"]["labels"]["grafana_datasource"] == "1"
    provisioned = yaml.safe_load((ROOT / "monitoring/grafana/provisioning/datasources/otlp-rust.yaml").read_text())["datasources"]
    traces = next(source for source in provisioned if source["type"] == "tempo")
    address = f"http://otlp-service.{NAMESPACE}.svc.cluster.local:8080/tempo"
    assert yaml.safe_load(sources["data"]["otlp-rust.yaml"]) == {"apiVersion": 1, "datasources": [{**traces, "url": address}]}
    without = objects(over(S3, {"dashboards": {"enabled": True, "datasource": False}}))
    assert not [it for it in find(without, "ConfigMap") if it["metadata"]["name"].endswith("-datasource")]
    job = find(some, "ServiceMonitor", "otlp-service")["spec"]["jobLabel"]
    assert find(some, "Service", "otlp-service")["metadata"]["labels"][job] == "otlp-rust"
    monitor = find(objects(CASES["pod monitor"]), "PodMonitor", "otlp-service")["spec"]
    assert all(metadata["labels"][monitor["jobLabel"]] == "otlp-rust" for owner, metadata, _ in pods(some) if owner == "otlp-service")
    # The links of alerts lead to where the handbook is published.
    published = objects(over(S3, {"prometheusRule": {"enabled": True, "runbookUrl": "https://handbook.example.com/runbooks.html"}}))
    text = json.dumps(find(published, "PrometheusRule", "otlp-service"))
    assert "https://handbook.example.com/runbooks.html#" in text and "docs/operations" not in text


def test_alerts_and_dashboards_follow_another_name():
    """kube-state-metrics knows pods, Deployments and autoscalers by name only."""
    values = over(S3, {"fullnameOverride": "telemetry", "prometheusRule": {"enabled": True}, "dashboards": {"enabled": True}})
    some = objects(values)
    ours = [it["metadata"]["name"] for kind in ("Deployment", "HorizontalPodAutoscaler") for it in find(some, kind)]
    board = find(some, "ConfigMap", "telemetry-dashboard-kubernetes")["data"]["kubernetes.json"]
    json.loads(board)
    text = board.replace('\\"', '"') + json.dumps(find(some, "PrometheusRule", "telemetry")).replace('\\"', '"')
    selectors = set(re.findall(r'(?:deployment|pod|horizontalpodautoscaler)=~"([a-z][^"]*)"', text))
    assert selectors and all(re.fullmatch(selector, name) for selector in selectors for name in [*ours, "telemetry-5d8f-x2v9q"])
    assert not [selector for selector in selectors if re.fullmatch(selector, "otlp-service")]


def test_notes_name_commands_that_exist():
    """The next steps that Helm prints are those that the binary has."""
    notes = texts(TRIAL)["otlp-rust/templates/NOTES.txt"]
    steps = re.findall(r"^ +otlp-rust (\w+)((?: --\w+)*)", notes, re.MULTILINE)
    assert [command for command, _ in steps] == ["demo", "sql"]
    for command, flags in steps:
        described = subprocess.run([binary("otlp-rust", "OTLP_RUST_BIN"), command, "--help"], check=True, capture_output=True, text=True).stdout
        assert all(flag in described for flag in flags.split())


@pytest.mark.parametrize("case", ["trial", "split", "values-large.yaml", "another name"])
def test_notes_forward_ports_that_pods_have(case):
    """kubectl forwards to one pod: each command names a Deployment whose pods listen on all of its ports, and together they lead to OTLP and the API."""
    some = objects(CASES[case])
    listening = {owner: {port["containerPort"] for container in spec["containers"] for port in container.get("ports", [])} for owner, _, spec in pods(some)}
    deployments = {it["metadata"]["name"] for it in find(some, "Deployment")}
    forwarded = re.findall(r"port-forward deployment/(\S+)((?: \d+)+)$", texts(CASES[case])["otlp-rust/templates/NOTES.txt"], re.MULTILINE)
    reached = set()
    for owner, ports in forwarded:
        assert owner in deployments
        assert {int(port) for port in ports.split()} <= listening[owner]
        reached |= set(ports.split())
    assert reached == {"4317", "4318", "8080"}


def test_notes_say_that_an_image_without_a_registry_is_not_found():
    warning = "nodes look for otlp-rust:0.1.0 in their default registry"
    assert warning in texts(TRIAL)["otlp-rust/templates/NOTES.txt"]
    assert "image.registry is empty" not in texts(over(TRIAL, {"image": {"registry": "ghcr.io/acme"}}))["otlp-rust/templates/NOTES.txt"]
