"""What scripts/deploy.sh does to a cluster: stand-ins for kubectl and helm (stand_ins/README.md), a real otlp-rust server."""

import copy
import json
import os
import re
import ssl
import subprocess

import pytest

from conftest import REPOSITORY
from script_runs import ALL, PINNED, TRACE, Run, changes, labels, platform_call, record, releases, stack_call, values_of, without_definitions
from script_runs import cluster, deploy, deployed, environment, installation, server, undeploy  # noqa: F401 (fixtures)


def test_it_installs_everything_in_order_and_reads_a_trace_back(cluster, deploy, server):
    run = deploy(*ALL)
    installed = [(call[3], call[4]) for call in cluster.calls if call[:2] == ["helm", "upgrade"]]
    assert installed == [
        ("istio-base", "base"), ("istiod", "istiod"), ("kube-prometheus-stack", "kube-prometheus-stack"),
        ("prometheus-blackbox-exporter", "prometheus-blackbox-exporter"), ("istio-ingress", "gateway"),
        ("otlp-rust", str(REPOSITORY / "helm/otlp-rust")),
    ]
    # Definitions come before what needs them, and the namespace joins the mesh before it has pods.
    lines = [" ".join(call) for call in cluster.calls]
    joined = lines.index("kubectl label namespace otlp-system istio-injection=enabled --overwrite")
    assert joined < lines.index(" ".join(platform_call(cluster)))
    assert run.out.index("[9/9] addresses") > run.out.index("[8/9] check") > run.out.index("[7/9] rollout") > 0
    assert all(re.search(rf"\[{number}/9\] \w+: .*", run.out) for number in range(1, 10)) and "done in" in run.out

    trace = TRACE.search(run.out)[1]
    assert server.sql(f"SELECT name FROM spans WHERE name = 'deploy check {trace}'", tenant="deploy-check") == [{"name": f"deploy check {trace}"}]
    assert "and read back" in run.out and "http://otlp.example.com: acknowledged" in run.out
    forwarded = [line for line in lines if "port-forward" in line]
    assert "service/istio-ingress :80" in forwarded[0] and "deployment/otlp-service :8080" in forwarded[1]
    assert "203.0.113.7" in run.out and "otlp-service.otlp-system.svc:4317" in run.out and "it tells nobody yet" in run.out


def test_what_the_chart_is_told(cluster, deploy, tmp_path):
    values = tmp_path / "my values.yaml"
    values.write_text("{}")
    deploy("--values", str(values), "--profile", "medium", "--image", "ghcr.io/acme/otlp-rust", "--tag=1.2.3", *ALL, "--grpc-host", "grpc.example.com", "--set", "replicaCount=5")
    call = platform_call(cluster)
    assert values_of(call, "--values") == [str(REPOSITORY / "helm/otlp-rust/values-medium.yaml"), str(values)]
    assert values_of(call, "--set-string") == ["image.registry=,image.repository=ghcr.io/acme/otlp-rust", "image.tag=1.2.3", "probe.proberUrl=prometheus-blackbox-exporter.monitoring.svc:9115"]
    assert values_of(call, "--set") == [
        "trial.enabled=true", "istio.enabled=true", "serviceMonitor.enabled=true,prometheusRule.enabled=true,dashboards.enabled=true", "probe.enabled=true", "replicaCount=5",
    ]
    assert values_of(call, "--set-json") == ['probe.targets=["http://otlp.example.com/readyz"]', 'istio.gateways=["istio-ingress/otlp"]', 'istio.hosts=["otlp.example.com","grpc.example.com"]', 'istio.apiHosts=[]']
    assert values_of(call, "--namespace") == ["otlp-system"] and values_of(call, "--timeout") == ["10m"]


@pytest.mark.parametrize(
    "ingress, meant", [("istio", "istio.apiUnauthenticated=true"), ("nginx", "ingress.api.unauthenticated=true"), ("envoy-gateway", "gatewayApi.apiUnauthenticated=true")]
)
def test_an_open_api_is_meant_and_said(cluster, deploy, ingress, meant):
    """The chart, which the stand-in for helm renders, refuses a host of the API otherwise."""
    options = ("--trial", "--without-monitoring", "--without-check", "--mesh", "istio" if ingress == "istio" else "none", "--ingress", ingress, "--host", "otlp.example.com")
    run = deploy(*options)
    assert meant not in platform_call(cluster) and "reads all telemetry" not in run.error
    run = deploy(*options, "--api-host", "api.example.com")
    assert meant in values_of(platform_call(cluster), "--set") and "whoever reaches api.example.com reads all telemetry" in run.error


def test_the_front_door_is_watched_where_there_is_one(cluster, deploy):
    run = deploy("--trial", "--without-istio", "--without-check")
    assert "monitoring/prometheus-blackbox-exporter" not in cluster.releases and "probe." not in " ".join(platform_call(cluster))
    cluster.put("secrets", "otlp-system", "tls")
    deploy("--trial", "--without-istio", "--without-check", "--host", "otlp.example.com", "--tls-secret", "tls", "--blackbox-values", os.devnull)
    assert "monitoring/prometheus-blackbox-exporter" in cluster.releases and record(cluster)["blackbox"] == "monitoring/prometheus-blackbox-exporter"
    assert 'probe.targets=["https://otlp.example.com/readyz"]' in values_of(platform_call(cluster), "--set-json")
    installed = next(call for call in cluster.calls if call[:4] == ["helm", "upgrade", "--install", "prometheus-blackbox-exporter"])
    assert values_of(installed, "--values") == [os.devnull]
    # Someone else's Prometheus: what watches it is theirs, too.
    cluster.releases.clear()
    record(cluster).clear()
    run = deploy("--trial", "--without-istio", "--without-check", "--host", "otlp.example.com")
    assert "does not watch the front door yet" in run.out and "monitoring/prometheus-blackbox-exporter" not in cluster.releases
    assert "probe." not in " ".join(platform_call(cluster))


def test_versions_are_pinned(cluster, deploy):
    assert set(PINNED) == {"istio", "monitoring", "blackbox", "nginx", "kong", "envoy_gateway"}
    deploy(*ALL, env={"ISTIO_VERSION": "1.29.8"})
    for call in cluster.calls:
        if call[:2] == ["helm", "upgrade"] and call[3] != "otlp-rust":
            assert re.fullmatch(r"v?\d+\.\d+\.\d+", values_of(call, "--version")[0])
            assert (values_of(call, "--version") == ["1.29.8"]) == call[3].startswith("istio"), call
            assert call[3].startswith("istio") or values_of(call, "--version")[0] in PINNED.values()


def test_with_split_roles_each_port_is_asked_of_pods_that_have_it(cluster, deploy, environment):
    """kubectl port-forward to the Service would take one pod, and no pod has both ports."""
    run = deploy("--trial", "--profile", "large", "--without-istio", "--without-monitoring")
    assert "and read back" in run.out and "deployment/otlp-service-query 8080" in run.out
    forwarded = [" ".join(call) for call in cluster.calls if call[1] == "port-forward"]
    assert "deployment/otlp-service-ingest :4318" in forwarded[0] and "deployment/otlp-service-query :8080" in forwarded[1]
    for port in ("4318", "8080"):
        refused = subprocess.run(
            ["kubectl", "port-forward", "--namespace", "otlp-system", "service/otlp-service", f":{port}"], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30,
        )
        assert refused.returncode == 1 and "does not have a named port" in refused.stderr


@pytest.mark.parametrize("revision, label", [(None, r"sidecar\.istio\.io/inject=true"), ("1-29", r"istio\.io/rev=1-29")])
def test_grafana_has_an_identity_of_the_mesh(cluster, deploy, revision, label):
    """Without one it is refused by pods that take mTLS only."""
    options = ("--trial", "--without-check")
    deploy(*options, "--without-istio")
    assert "podLabels" not in " ".join(stack_call(cluster))
    if revision:
        cluster.put("namespaces", "mesh", "mesh", annotations={})
        cluster.put("deployments", "mesh", "istiod", labels={"app": "istiod", "istio.io/rev": revision})
    deploy(*options)
    assert values_of(stack_call(cluster), "--set-string") == [f"grafana.podLabels.{label}"]


def test_grafanas_password_is_random_and_never_shown(cluster, deploy):
    run = deploy(*ALL)
    password = cluster.find("secrets", "monitoring", "grafana-admin")["data"]["admin-password"]
    assert re.fullmatch("[0-9a-f]{36}", password)
    assert password not in run.out + run.error and password not in json.dumps(cluster.calls)


def test_a_second_run_only_upgrades(deployed, deploy):
    cluster = deployed
    objects, before = copy.deepcopy(cluster.objects), releases(cluster)
    deploy(*ALL)
    assert cluster.objects == objects
    assert releases(cluster) == {name: revision + 1 for name, revision in before.items()}
    assert {tuple(call[:2]) for call in changes(cluster)} == {("helm", "upgrade"), ("kubectl", "apply")}


@pytest.mark.parametrize("kind", ["nginx", "kong", "envoy-gateway"])
def test_other_front_doors_without_istio(cluster, deploy, undeploy, kind):
    before = copy.deepcopy(cluster.objects)
    run = deploy("--without-istio", "--ingress", kind, "--host", "otlp.example.com", "--without-monitoring", "--trial")
    assert "http://otlp.example.com: acknowledged" in run.out and "past the ingress" not in run.error
    assert not any("istio" in key for key in cluster.releases)
    told = " ".join(platform_call(cluster))
    assert ("gatewayApi.enabled=true" if kind == "envoy-gateway" else f"ingress.enabled=true,ingress.className={kind}") in told
    assert "istio" not in told and "serviceMonitor" not in told
    assert labels(cluster, "otlp-system")["pod-security.kubernetes.io/enforce"] == "restricted"
    undeploy("--delete-data")
    assert without_definitions(cluster.objects) == before and not cluster.releases


def test_a_front_door_with_tls(cluster, deploy, environment, folder):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=x"]
        + ["-addext", "subjectAltName=DNS:otlp.example.com", "-keyout", folder / "tls.key", "-out", folder / "tls.pem"], check=True, capture_output=True,
    )
    cluster.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    cluster.tls.load_cert_chain(folder / "tls.pem", folder / "tls.key")
    options = (*ALL, "--tls-secret", "otlp-tls", "--without-monitoring")
    run = deploy(*options, code=1)
    assert "FAILED at step 4 of 8: ingress" in run.error and "create secret tls otlp-tls --namespace istio-ingress" in run.error
    cluster.put("secrets", "istio-ingress", "otlp-tls")

    run = Run(run.go_on(), environment, 1)
    assert "FAILED at step 7 of 8: check" in run.error and "CURL_CA_BUNDLE" in run.error
    run = Run(run.go_on(), environment | {"CURL_CA_BUNDLE": str(folder / "tls.pem")}, 0)
    assert "https://otlp.example.com: acknowledged" in run.out and "and read back" in run.out
    gateway = cluster.find("gateways.networking.istio.io", "istio-ingress", "otlp")
    assert gateway["spec"]["servers"][0]["tls"] == {"mode": "SIMPLE", "credentialName": "otlp-tls"}


def test_what_is_there_is_used_as_it_is(cluster, deploy, undeploy):
    cluster.put("namespaces", "mesh", "mesh", annotations={})
    cluster.put("deployments", "mesh", "istiod", labels={"app": "istiod", "istio.io/rev": "1-29"})
    cluster.put("customresourcedefinitions", "", "prometheuses.monitoring.coreos.com")
    cluster.put("prometheuses.monitoring.coreos.com", "mesh", "theirs")
    before = copy.deepcopy(cluster.objects)
    run = deploy("--trial")
    assert "Istio is there already: mesh/istiod" in run.out and "Prometheus Operator is there already" in run.out
    assert set(cluster.releases) == {"otlp-system/otlp-rust"}
    assert labels(cluster, "otlp-system")["istio.io/rev"] == "1-29"
    assert "serviceMonitor.enabled=true" in " ".join(platform_call(cluster))
    allowed = json.loads(values_of(platform_call(cluster), "--set-json")[0].removeprefix("networkPolicy.monitoring="))
    assert allowed[0]["namespaceSelector"]["matchExpressions"][0]["values"] == ["mesh"]
    undeploy("--delete-data")
    assert cluster.objects == before and not cluster.releases


def test_an_ingress_controller_that_is_there_is_used(cluster, deploy):
    cluster.put("ingressclasses", "", "nginx")
    run = deploy("--without-istio", "--without-monitoring", "--host", "otlp.example.com", "--trial")
    assert "a controller for 'nginx' is there already" in run.out and set(cluster.releases) == {"otlp-system/otlp-rust"}
    assert "the check goes past the ingress" in run.error, "its Service is not known, and that must be said"


def test_linkerd_must_be_there(cluster, deploy):
    run = deploy("--mesh", "linkerd", "--trial", "--without-monitoring", code=1)
    assert "FAILED at step 3 of 7: mesh" in run.error and "Linkerd is not in this cluster" in run.error
    cluster.put("namespaces", "linkerd", "linkerd", annotations={})
    cluster.put("deployments", "linkerd", "linkerd-destination")
    cluster.put("daemonsets", "linkerd", "linkerd-cni", labels={"k8s-app": "linkerd-cni"})
    deploy("--mesh", "linkerd", "--trial", "--without-monitoring")
    assert cluster.find("namespaces", "", "otlp-system")["metadata"]["annotations"] == {"linkerd.io/inject": "enabled"}
    assert labels(cluster, "otlp-system")["pod-security.kubernetes.io/enforce"] == "restricted"
    assert "linkerd.enabled=true" in values_of(platform_call(cluster), "--set")


def test_istios_cni_plugin_allows_restricted_pods(cluster, deploy):
    deploy("--istio-cni", "--trial", "--without-monitoring")
    assert labels(cluster, "otlp-system") == {
        "pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/warn": "restricted", "istio-injection": "enabled",
    }
    istiod = next(call for call in cluster.calls if call[:4] == ["helm", "upgrade", "--install", "istiod"])
    assert "pilot.cni.enabled=true" in istiod and "istio-system/istio-cni" in cluster.releases


def test_local_charts(cluster, deploy, tmp_path):
    run = deploy(*ALL, "--local-charts", str(tmp_path), code=1)
    assert "5 thing(s) stand in the way" in run.error and not changes(cluster)
    assert f"helm pull istiod --repo https://istio-release.storage.googleapis.com/charts --version {PINNED['istio']}" in run.error
    for name, of in (("base", "istio"), ("istiod", "istio"), ("gateway", "istio"), ("kube-prometheus-stack", "monitoring"), ("prometheus-blackbox-exporter", "blackbox")):
        (tmp_path / f"{name}-{PINNED[of]}.tgz").touch()
    deploy(*ALL, "--local-charts", str(tmp_path), "--istio-values", os.devnull)
    for call in cluster.calls:
        if call[:2] == ["helm", "upgrade"] and call[3] != "otlp-rust":
            assert call[4].startswith(str(tmp_path)) and call[4].endswith(".tgz") and "--repo" not in call
    (tmp_path / "istiod-0.0.1.tgz").touch()
    run = deploy(*ALL, "--local-charts", str(tmp_path), "--from", "mesh", code=1)
    assert "several files istiod-" in run.error


def test_a_context_is_used_in_every_call(cluster, deploy):
    run = deploy("--trial", "--without-istio", "--without-monitoring", "--context", "prod")
    for call in cluster.calls:
        if call != ["helm", "version", "--short"]:
            assert call[1:3] == (["--context", "prod"] if call[0] == "kubectl" else ["--kube-context", "prod"]), call
    assert "--context prod" in run.out


# --- a dry run ---------------------------------------------------------------------------------------------------------------


def test_a_dry_run_prints_what_a_run_does_and_changes_nothing(cluster, deploy):
    before = copy.deepcopy(cluster.objects)
    shown = deploy(*ALL, "--dry-run", yes=())
    assert not changes(cluster) and cluster.objects == before and not cluster.releases
    assert "dry run: nothing was changed" in shown.out
    done = [command for command in deploy(*ALL).commands() if "port-forward" not in command]
    assert shown.commands() == done


def test_a_dry_run_needs_no_cluster(cluster, deploy):
    cluster.unreachable = True
    shown = deploy(*ALL, "--dry-run", yes=())
    assert "takes it for an empty one" in shown.error
    cluster.unreachable = False
    assert shown.commands() == deploy(*ALL, "--dry-run", yes=()).commands()
