"""What deploy.sh and undeploy.sh pass to kubectl and helm, told to the real kubectl and to the real Helm 3 and 4."""

import json
import os
import re
import shutil
import subprocess

import pytest
import yaml

from conftest import REPOSITORY
from script_runs import Run, environment_of
from stand_ins.cluster import Cluster

HELMS = {major: REPOSITORY / f".tools/kubernetes/helm{major}" for major in (3, 4)}
SCENARIOS = {
    "istio": ["--host", "otlp.example.com", "--grpc-host", "grpc.example.com", "--api-host", "api.example.com", "--tls-secret", "tls", "--istio-cni", "--profile", "small", "--alert-secret", "tls", "--runbook-url", "https://handbook.example.com/runbooks.html"],
    "nginx": ["--mesh", "none", "--host", "otlp.example.com", "--grpc-host", "grpc.example.com", "--api-host", "api.example.com", "--tls-secret", "tls", "--image", "ghcr.io/acme/otlp-rust", "--tag", "1.2.3"],
    "kong": ["--mesh", "none", "--ingress", "kong", "--host", "otlp.example.com", "--grpc-host", "grpc.example.com", "--context", "prod"],
    "envoy": ["--mesh", "none", "--ingress", "envoy-gateway", "--host", "otlp.example.com", "--api-host", "api.example.com", "--tls-secret", "tls", "--profile", "large"],
    "linkerd": ["--mesh", "linkerd", "--profile", "medium"],
}


@pytest.fixture(scope="module")
def calls():
    """The calls of a run and of undeploy.sh in each scenario, with a failure at the end that rolls back."""
    made = {}
    for name, options in SCENARIOS.items():
        cluster = Cluster()
        # Someone else's Prometheus, in one of them, and Linkerd, which is always somebody else's.
        cluster.put("namespaces", "linkerd", "linkerd", annotations={})
        cluster.put("deployments", "linkerd", "linkerd-destination")
        if name == "envoy":
            cluster.put("customresourcedefinitions", "", "prometheuses.monitoring.coreos.com")
            cluster.put("prometheuses.monitoring.coreos.com", "linkerd", "theirs")
        for namespace in ("istio-ingress", "otlp-system", "envoy-gateway-system", "monitoring"):
            cluster.put("namespaces", namespace, namespace, annotations={})
            cluster.put("secrets", namespace, "tls")
        cluster.denied = [r"^\*"]
        deploy = [REPOSITORY / "scripts/deploy.sh", "--yes", "--trial", "--without-check", *options]
        Run(deploy, environment_of(cluster), 0)
        cluster.faults = [{"call": "kubectl .*rollout status"}]
        Run([*deploy, "--rollback-on-failure"], environment_of(cluster), 3)
        Run([REPOSITORY / "scripts/undeploy.sh", "--yes", "--delete-data", *(["--context", "prod"] if name == "kong" else [])], environment_of(cluster), 0)
        made[name] = cluster.calls
        cluster.close()
    return made


def shape(call):
    """What one call has in common with others: its verb and options, not what they are about."""
    words = [word for word in call[1:] if word not in ("--context", "--kube-context", "prod")]
    verbs = words[:3] if words[0] == "create" else words[:1]
    return (call[0], *verbs, *sorted({re.split("=", word)[0] for word in words if word.startswith("-")}))


def test_the_real_tools_know_every_option(calls):
    """`--help` at the end makes them parse what stands before it and do nothing."""
    kubectl = shutil.which("kubectl", path=f"{REPOSITORY}/.tools/venv/bin:{os.environ['PATH']}")
    different = {shape(call): call for some in calls.values() for call in some}
    assert len(different) > 25
    for call in different.values():
        for tool in [kubectl] if call[0] == "kubectl" else HELMS.values():
            done = subprocess.run([tool, *call[1:], "--help"], capture_output=True, text=True)
            assert done.returncode == 0 and "Usage:" in done.stdout, f"{tool} {call[1:]}: {done.stderr}"


def test_the_real_kubectl_reads_every_template(calls):
    kubectl = shutil.which("kubectl", path=f"{REPOSITORY}/.tools/venv/bin:{os.environ['PATH']}")
    templates = {word for some in calls.values() for call in some for word in call if word.startswith(("jsonpath=", "go-template="))}
    assert len(templates) > 10
    for template in templates:
        # Without a cluster there is one object it makes up itself; a mistake in the template is one all the same.
        done = subprocess.run([kubectl, "create", "configmap", "x", "--dry-run=client", "-o", template], capture_output=True, text=True)
        assert done.returncode == 0, f"{template}: {done.stderr}"


@pytest.mark.parametrize("major", HELMS)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_chart_renders_with_what_it_is_told(calls, scenario, major):
    call = next(call for call in calls[scenario] if call[0] == "helm" and "template" in call)
    done = subprocess.run([HELMS[major], *call[1:]], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    objects = [one for one in yaml.safe_load_all(done.stdout) if one]

    def find(kind, name):
        return next(one for one in objects if (one["kind"], one["metadata"]["name"]) == (kind, name))

    assert {one["metadata"]["namespace"] for one in objects} == {"otlp-system"}
    kinds = {one["kind"] for one in objects}
    assert {"ServiceMonitor", "StatefulSet"} <= kinds
    assert ("VirtualService" in kinds) == (scenario == "istio")
    # What check.sh looks for, and what it waits for.
    service = find("Service", "otlp-service")
    assert service["metadata"]["labels"]["otlp-rust/scrape"] == "true" and {4317, 4318, 8080} <= {port["port"] for port in service["spec"]["ports"]}
    deployments = [one for one in objects if one["kind"] == "Deployment"]
    assert deployments and all(one["metadata"]["labels"]["app.kubernetes.io/instance"] == "otlp-rust" for one in deployments)
    if scenario == "istio":
        assert "https://handbook.example.com/runbooks.html#otlpcatalogdown" in json.dumps(find("PrometheusRule", "otlp-service"))
        assert find("VirtualService", "otlp-service")["spec"]["hosts"][1:] == ["otlp.example.com", "grpc.example.com", "api.example.com"]
        assert "istio-ingress/otlp" in find("VirtualService", "otlp-service")["spec"]["gateways"]
    probes = [one["spec"]["targets"]["staticConfig"]["static"] for one in objects if one["kind"] == "Probe"]
    assert probes == {"istio": [["https://otlp.example.com/readyz"]], "nginx": [["https://otlp.example.com/readyz"]], "kong": [["http://otlp.example.com/readyz"]]}.get(scenario, [])
    if scenario == "nginx":
        assert deployments[0]["spec"]["template"]["spec"]["containers"][0]["image"] == "ghcr.io/acme/otlp-rust:1.2.3"
        assert find("Ingress", "otlp-service-grpc")["spec"]["tls"] == [{"secretName": "tls", "hosts": ["grpc.example.com"]}]
        assert find("Ingress", "otlp-service-grpc")["metadata"]["annotations"]["nginx.org/grpc-services"]
    if scenario == "kong":
        assert find("Ingress", "otlp-service-grpc")["metadata"]["annotations"]["konghq.com/protocols"] == "grpc,grpcs"
        assert find("Service", "otlp-service-grpc")["metadata"]["annotations"] == {"konghq.com/protocol": "grpc"}
        assert "tls" not in find("Ingress", "otlp-service-http")["spec"]
    if scenario == "envoy":
        route = find("HTTPRoute", "otlp-service-http")["spec"]
        assert route["parentRefs"] == [{"name": "otlp", "namespace": "envoy-gateway-system"}] and route["hostnames"] == ["otlp.example.com"]
        assert '"linkerd"' in json.dumps(find("NetworkPolicy", "otlp-network-policy"))


def test_the_values_for_the_charts_of_others_are_yaml():
    for path in (REPOSITORY / "scripts/deploy/values").glob("*.yaml"):
        assert yaml.safe_load(path.read_text())
