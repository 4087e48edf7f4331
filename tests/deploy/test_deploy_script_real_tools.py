"""deploy.sh and undeploy.sh with the real kubectl, the real Helm 3 and 4 and the real chart, against a stand-in for the API server."""

import os
import shutil
import subprocess

import pytest
import yaml

from conftest import REPOSITORY
from script_runs import PINNED, STAND_INS, TRACE, Run, server  # noqa: F401 (a fixture)
from stand_ins.api_server import ApiServer
from stand_ins.cluster import Cluster

KUBECTL = shutil.which("kubectl", path=f"{REPOSITORY}/.tools/venv/bin:{os.environ['PATH']}")


def definition(group, kind, plural):
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": f"{plural}.{group}"},
        "spec": {"group": group, "scope": "Namespaced", "names": {"kind": kind, "plural": plural}, "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}]},
    }


def workload(name, labels):
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": "x"}]}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "labels": labels}, "spec": {"selector": {"matchLabels": labels}, "template": template}}


def entrance(name):
    ports = [{"name": f"p{port}", "port": port} for port in (15021, 80, 443)]
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"type": "LoadBalancer", "ports": ports}}


# What the charts of others bring, as far as deploy.sh and the platform's chart look at it: definitions and templates.
CHARTS = {
    f"base-{PINNED['istio']}": (
        [definition("networking.istio.io", kind, f"{kind.lower()}s") for kind in ("Gateway", "VirtualService", "DestinationRule")]
        + [definition("security.istio.io", "PeerAuthentication", "peerauthentications"), definition("security.istio.io", "AuthorizationPolicy", "authorizationpolicies")],
        [],
    ),
    f"istiod-{PINNED['istio']}": ([], [workload("istiod", {"app": "istiod", "istio.io/rev": "default"})]),
    f"gateway-{PINNED['istio']}": ([], [workload("istio-ingress", {"app": "istio-ingress"}), entrance("istio-ingress")]),
    f"kube-prometheus-stack-{PINNED['monitoring']}": (
        [
            definition("monitoring.coreos.com", kind, plural)
            for kind, plural in (("Prometheus", "prometheuses"), ("ServiceMonitor", "servicemonitors"), ("PrometheusRule", "prometheusrules"), ("Probe", "probes"))
        ],
        [{"apiVersion": "monitoring.coreos.com/v1", "kind": "Prometheus", "metadata": {"name": "p"}, "spec": {}}, workload("grafana", {"app": "grafana"})],
    ),
    f"prometheus-blackbox-exporter-{PINNED['blackbox']}": ([], [workload("prometheus-blackbox-exporter", {"app": "blackbox"})]),
}


@pytest.fixture(scope="module")
def charts(tmp_path_factory):
    """Packages named as those of the publishers."""
    folder = tmp_path_factory.mktemp("charts")
    for name, (definitions, objects) in CHARTS.items():
        chart, version = name.rsplit("-", 1)
        for part, some in (("crds", definitions), ("templates", objects)):
            (folder / chart / part).mkdir(parents=True)
            if some:
                (folder / chart / part / "all.yaml").write_text(yaml.safe_dump_all(some))
        (folder / chart / "Chart.yaml").write_text(yaml.safe_dump({"apiVersion": "v2", "name": chart, "version": version}))
        subprocess.run([REPOSITORY / ".tools/kubernetes/helm4", "package", folder / chart, "--destination", folder], check=True, capture_output=True)
    return folder


@pytest.fixture
def api():
    running = ApiServer()
    yield running
    running.close()


@pytest.fixture
def environment(api, server, tmp_path, request):  # noqa: F811
    """The real tools on the PATH, and only port-forward led to the real server by the stand-in."""
    forwards = Cluster()
    forwards.ports = {"otlp-system/deployment/otlp-service:8080": server.http_port, "istio-ingress/service/istio-ingress:80": server.otlp_port}
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    (bin_folder / "helm").symlink_to(REPOSITORY / f".tools/kubernetes/helm{request.param}")
    (bin_folder / "kubectl").write_text(f'#!/bin/bash\ncase " $* " in *" port-forward "*) exec {STAND_INS}/kubectl "$@" ;; esac\nexec {KUBECTL} "$@"\n')
    (bin_folder / "kubectl").chmod(0o755)
    yield {
        "PATH": f"{bin_folder}:{os.environ['PATH']}", "HOME": str(tmp_path), "KUBECONFIG": str(api.kubeconfig(tmp_path / "kubeconfig")),
        "STAND_IN_PORT": str(forwards.port), "CHECK_PAUSE": "0.1",
    }
    forwards.close()


def status(environment, release, namespace):
    done = subprocess.run(["helm", "status", release, "--namespace", namespace], env=environment, capture_output=True, text=True)
    return [line for line in done.stdout.splitlines() if line.startswith(("STATUS:", "REVISION:"))]


# One of them with each Helm: both take long, and longer where others work beside them.
@pytest.mark.timeout(900)
@pytest.mark.parametrize("environment", [4], indirect=True, ids=["helm4"])
def test_install_upgrade_and_remove(api, environment, charts):
    deploy = [REPOSITORY / "scripts/deploy.sh", "--yes", "--trial", "--local-charts", charts, "--host", "otlp.example.com", "--api-host", "api.example.com", "--timeout", "60s"]
    before = set(api.objects)
    run = Run(deploy, environment, 0)
    assert TRACE.search(run.out) and "http://otlp.example.com: acknowledged" in run.out and "and read back" in run.out
    assert "203.0.113.7" in run.out and run.error.count("warning:") == 4
    assert all(said in run.error for said in ("there is no default storage class", "without a registry", "install metrics-server", "whoever reaches api.example.com"))
    for release, namespace in (("istio-base", "istio-system"), ("istiod", "istio-system"), ("kube-prometheus-stack", "monitoring"), ("prometheus-blackbox-exporter", "monitoring"), ("istio-ingress", "istio-ingress"), ("otlp-rust", "otlp-system")):
        assert status(environment, release, namespace) == ["STATUS: deployed", "REVISION: 1"]
    assert api.names("deployments", "otlp-system") == ["otlp-service"] and "otlp-service" in api.names("servicemonitors", "otlp-system")
    assert api.names("probes", "otlp-system") == ["otlp-service-front-door"]
    assert api.names("gateways") == ["otlp"] and api.names("virtualservices", "otlp-system") == ["otlp-service"]
    labels = api.objects["v1", "namespaces", "", "otlp-system"]["metadata"]["labels"]
    assert labels["istio-injection"] == "enabled" and labels["pod-security.kubernetes.io/enforce"] == "privileged"
    record = api.objects["v1", "configmaps", "otlp-system", "otlp-deploy-record"]["data"]
    assert record["platform"] == "otlp-system/otlp-rust" and record["gateway"] == "gateways.networking.istio.io/istio-ingress/otlp"

    # A dry run changes nothing, and a failed upgrade says what the cluster says.
    Run([*deploy, "--dry-run"], environment, 0)
    assert status(environment, "otlp-rust", "otlp-system") == ["STATUS: deployed", "REVISION: 1"]
    api.refusals = {"HorizontalPodAutoscaler": ["admission webhook denied the request: not today"]}
    run = Run([*deploy, "--from", "platform", "--set", "autoscaling.maxReplicas=7"], environment, 1)
    assert "FAILED at step 6 of 9: platform" in run.error and "not today" in run.error
    assert status(environment, "otlp-rust", "otlp-system")[0] == "STATUS: failed"

    # And again, with what was wrong put right.
    run = Run([*run.go_on(), "--without-check"], environment, 0)
    assert "is 'failed' since an earlier run: trying again" in run.out
    assert api.objects["autoscaling/v2", "horizontalpodautoscalers", "otlp-system", "otlp-service-hpa"]["spec"]["maxReplicas"] == 7

    Run([REPOSITORY / "scripts/undeploy.sh", "--yes", "--delete-data", "--timeout", "60s"], environment, 0)
    assert {key for key in api.objects if key[1] != "customresourcedefinitions"} == before


@pytest.mark.timeout(900)
@pytest.mark.parametrize("environment", [3], indirect=True, ids=["helm3"])
def test_a_roll_back_by_helm(api, environment):
    deploy = [REPOSITORY / "scripts/deploy.sh", "--yes", "--trial", "--mesh", "none", "--without-monitoring", "--without-check", "--timeout", "60s"]
    before = set(api.objects)
    api.refusals = {"HorizontalPodAutoscaler": ["not today"]}
    run = Run([*deploy, "--rollback-on-failure"], environment, 3)
    assert "helm uninstall otlp-rust" in run.out and set(api.objects) == before

    Run(deploy, environment, 0)
    api.refusals = {"HorizontalPodAutoscaler": ["not today"]}
    run = Run([*deploy, "--rollback-on-failure", "--set", "autoscaling.maxReplicas=7,replicaCount=5"], environment, 3)
    assert "not today" in run.error and "helm rollback otlp-rust 1" in run.out
    assert status(environment, "otlp-rust", "otlp-system") == ["STATUS: deployed", "REVISION: 3"]
    assert api.objects["autoscaling/v2", "horizontalpodautoscalers", "otlp-system", "otlp-service-hpa"]["spec"]["maxReplicas"] == 10
