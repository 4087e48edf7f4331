"""scripts/deploy.sh and undeploy.sh against stand-ins for kubectl and helm (stand_ins/README.md) and a real otlp-rust server."""

import contextlib
import copy
import json
import os
import pty
import re
import shlex
import shutil
import signal
import ssl
import subprocess
import time
from pathlib import Path

import pytest

from conftest import REPOSITORY
from platform_process import Platform
from stand_ins.cluster import Cluster

STAND_INS = Path(__file__).parent / "stand_ins"
TRACE = re.compile(r"trace ([0-9a-f]{32}) sent")
# A host behind Istio's own gateway, the most that the script does.
ALL = ("--trial", "--host", "otlp.example.com")


@pytest.fixture(scope="session")
def server(folder):
    running = Platform(folder / "behind-port-forward").start()
    yield running
    running.kill()


@contextlib.contextmanager
def empty_cluster(server):
    made = Cluster()
    for namespace in ("default", "kube-system"):
        made.put("namespaces", namespace, namespace, annotations={})
    for namespace, name in (("istio-ingress", "istio-ingress"), ("ingress-nginx", "nginx-ingress-controller"), ("kong", "kong-controller"), ("envoy-gateway-system", "envoy-otlp")):
        made.ports |= {f"{namespace}/service/{name}:{port}": server.otlp_port for port in (80, 443)}
    made.ports |= {"otlp-system/otlp-http": server.otlp_port, "otlp-system/http": server.http_port}
    yield made
    made.close()


@pytest.fixture
def cluster(server):
    """An empty cluster whose Services lead to the real server."""
    with empty_cluster(server) as made:
        yield made


def environment_of(cluster):
    return {"PATH": f"{STAND_INS}:{os.environ['PATH']}", "HOME": "/", "STAND_IN_PORT": str(cluster.port), "PROGRESS_SECONDS": "1", "CHECK_PAUSE": "0.05"}


@pytest.fixture
def environment(cluster):
    return environment_of(cluster)


class Run:
    """What a run of a script printed, and how it ended."""

    def __init__(self, command, environment, code):
        done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=280)
        self.code, self.out, self.error = done.returncode, done.stdout, done.stderr
        assert self.code == code, f"exit code {self.code}, expected {code}\n{self.out}\n{self.error}"

    def commands(self):
        """The commands that were shown as such."""
        return [line[4:] for line in self.out.splitlines() if line.startswith("  + ")]

    def go_on(self):
        """The command that the report says to go on with."""
        return shlex.split(re.search(r"^      then: (.*)$", self.error, re.MULTILINE)[1])


@pytest.fixture
def deploy(environment):
    return lambda *options, code=0, yes=("--yes",), env=None: Run([REPOSITORY / "scripts/deploy.sh", *options, *yes], environment | (env or {}), code)


@pytest.fixture
def undeploy(environment):
    return lambda *options, code=0, yes=("--yes",): Run([REPOSITORY / "scripts/undeploy.sh", *options, *yes], environment, code)


@pytest.fixture(scope="session")
def installation(server):
    """What an empty cluster holds after `deploy.sh` with the options ALL."""
    with empty_cluster(server) as cluster:
        Run([REPOSITORY / "scripts/deploy.sh", *ALL, "--yes"], environment_of(cluster), 0)
        return cluster.objects, cluster.releases


@pytest.fixture
def deployed(cluster, installation):
    """The cluster, with that installation."""
    cluster.objects, cluster.releases = copy.deepcopy(installation)
    return cluster


def changes(cluster):
    """The calls that change a cluster."""
    verbs = {"kubectl": {"create", "apply", "label", "annotate", "patch", "delete"}, "helm": {"upgrade", "uninstall", "rollback", "install"}}
    return [call for call in cluster.calls if next((w for w in call[1:] if w in verbs[call[0]]), None) and "auth" not in call]


def releases(cluster):
    return {name: one["revision"] for name, one in cluster.releases.items()}


def record(cluster):
    found = cluster.find("configmaps", "otlp-system", "otlp-deploy-record")
    return found and found["data"]


def labels(cluster, namespace):
    return cluster.find("namespaces", "", namespace)["metadata"]["labels"]


def values_of(call, option):
    return [call[i + 1] for i, word in enumerate(call) if word == option]


def platform_call(cluster):
    return [call for call in cluster.calls if call[:4] == ["helm", "upgrade", "--install", "otlp-rust"]][-1]


# --- what it does ------------------------------------------------------------------------------------------------------------


def test_it_installs_everything_in_order_and_reads_a_trace_back(cluster, deploy, server):
    run = deploy(*ALL)
    installed = [(call[3], call[4]) for call in cluster.calls if call[:2] == ["helm", "upgrade"]]
    assert installed == [
        ("istio-base", "base"), ("istiod", "istiod"), ("kube-prometheus-stack", "kube-prometheus-stack"), ("istio-ingress", "gateway"),
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
    assert values_of(call, "--set-string") == ["image.registry=,image.repository=ghcr.io/acme/otlp-rust", "image.tag=1.2.3"]
    assert values_of(call, "--set") == [
        "trial.enabled=true", "istio.enabled=true", "serviceMonitor.enabled=true,prometheusRule.enabled=true,dashboards.enabled=true", "replicaCount=5",
    ]
    assert values_of(call, "--set-json") == ['istio.gateways=["istio-ingress/otlp"]', 'istio.hosts=["otlp.example.com","grpc.example.com"]', 'istio.apiHosts=[]']
    assert values_of(call, "--namespace") == ["otlp-system"] and values_of(call, "--timeout") == ["10m"]


def test_versions_are_pinned(cluster, deploy):
    deploy(*ALL, env={"ISTIO_VERSION": "1.29.8"})
    for call in cluster.calls:
        if call[:2] == ["helm", "upgrade"] and call[3] != "otlp-rust":
            assert re.fullmatch(r"v?\d+\.\d+\.\d+", values_of(call, "--version")[0])
            assert (values_of(call, "--version") == ["1.29.8"]) == call[3].startswith("istio"), call


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
    assert "4 thing(s) stand in the way" in run.error and not changes(cluster)
    assert "helm pull istiod --repo https://istio-release.storage.googleapis.com/charts --version 1.30.5" in run.error
    for name in ("base-1.30.5", "istiod-1.30.5", "gateway-1.30.5", "kube-prometheus-stack-88.1.3"):
        (tmp_path / f"{name}.tgz").touch()
    deploy(*ALL, "--local-charts", str(tmp_path), "--istio-values", os.devnull)
    for call in cluster.calls:
        if call[:2] == ["helm", "upgrade"] and call[3] != "otlp-rust":
            assert call[4].startswith(str(tmp_path)) and call[4].endswith(".tgz") and "--repo" not in call
    (tmp_path / "istiod-1.30.4.tgz").touch()
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


# --- prerequisites -----------------------------------------------------------------------------------------------------------


def test_all_that_stands_in_the_way_is_said_at_once(cluster, deploy):
    cluster.version, cluster.helm_version = "v1.26.9", "v3.11.3+g3232"
    cluster.denied = [r"^\*", "create namespaces", "create pods --subresource=portforward", "create customresourcedefinitions"]
    run = deploy("--trial", code=1)
    assert "FAILED at step 1 of 8: prerequisites" in run.error and "5 thing(s) stand in the way, and nothing was changed" in run.error
    for said in (
        "helm is 3.11; 3.12 or later", "the cluster runs Kubernetes 1.26; 1.27 or later", "kubectl auth can-i create namespaces",
        "kubectl auth can-i create pods --subresource=portforward --namespace otlp-system", "kubectl auth can-i create customresourcedefinitions",
    ):
        assert said in run.error
    assert not changes(cluster)


@pytest.mark.parametrize("default", ["", "true"])
def test_a_trial_needs_a_storage_class(cluster, deploy, default):
    annotations = {"storageclass.kubernetes.io/is-default-class": default} if default else {}
    cluster.objects["storageclasses//fast"] = {"metadata": {"name": "fast", "namespace": "", "annotations": annotations}}
    run = deploy("--trial", "--dry-run")
    assert ("there is no default storage class" in run.error) == (not default)


@pytest.mark.parametrize("version", ["v3.12.0+gc9f554d", "v4.3.1+gc0d08d0", "v4.0.0", "v10.2.1"])
def test_versions_of_helm_that_are_enough(cluster, deploy, version):
    cluster.helm_version = version
    assert f"helm {version}" in deploy("--trial", "--dry-run").out


def test_a_cluster_that_cannot_be_reached(cluster, deploy):
    cluster.unreachable = True
    run = deploy("--trial", code=1)
    assert "kubectl v1.37.2 cannot reach the cluster" in run.error and "connection to the server" in run.error and "kubectl cluster-info" in run.error


def test_a_tool_that_is_missing(deploy, tmp_path):
    for tool in ("bash", "dirname", "mktemp", "rm", "sed", "awk", "tail", "cat", "od", "env"):
        (tmp_path / tool).symlink_to(shutil.which(tool))
    run = deploy("--trial", code=1, env={"PATH": str(tmp_path)})
    assert "missing on this machine: kubectl helm" in run.error


def test_values_that_the_chart_refuses(cluster, deploy):
    cluster.faults = [{"call": "^helm template", "stderr": "Error: values don't meet the specifications of the schema(s): - replicaCount: Invalid type"}]
    run = deploy("--trial", "--set", "replicaCount=many", code=1)
    assert "the chart does not accept these values" in run.error and "replicaCount: Invalid type" in run.error
    assert not changes(cluster)


def test_values_files_that_are_not_there(cluster, deploy):
    run = deploy("--values", "/nowhere.yaml", "--istio-values", "/nowhere2.yaml", code=1)
    assert "the values file /nowhere.yaml cannot be read" in run.error and "/nowhere2.yaml" in run.error


@pytest.mark.parametrize(
    "options, said",
    [
        (["--mesh", "consul"], "--mesh is one of istio linkerd none"),
        (["--profile", "huge"], "--profile is one of small medium large"),
        (["--timeout", "soon"], "--timeout is a time such as 90s or 10m"),
        (["--namespace", "Otlp"], "'Otlp' is no name"),
        (["--host", 'a"b'], "is no host name"),
        (["--from", "lunch"], "--from is one of prerequisites"),
        (["--mesh", "none", "--from", "mesh"], "--from is one of"),
        (["--ingress", "nginx", "--host", "x"], "use --ingress istio"),
        (["--mesh", "none", "--ingress", "istio"], "--ingress istio needs --mesh istio"),
        (["--tls-secret", "x"], "need --host"),
        (["--wat"], "there is no option --wat"),
        (["--values"], "--values needs a value"),
    ],
)
def test_wrong_usage(cluster, deploy, options, said):
    run = deploy(*options, code=2, yes=())
    assert said in run.error and not cluster.calls


# --- failures ----------------------------------------------------------------------------------------------------------------

POD = {"metadata": {"name": "otlp-service-7d9", "namespace": "otlp-system", "labels": {}}, "ready": "0/1", "status": "ImagePullBackOff"}
EVENT = {"metadata": {"name": "e", "namespace": "otlp-system", "labels": {}}, "text": '10s Warning Failed pod/otlp-service-7d9 Failed to pull image "otlp-rust:9"'}
FAILURES = {
    "namespace": ("kubectl create namespace otlp-system", {"stderr": 'namespaces is forbidden: User "me"'}, ["namespaces is forbidden", "ask its administrators"]),
    "mesh": ("helm upgrade --install istiod", {"stderr": "Error: context deadline exceeded"}, ["context deadline exceeded", "longer than --timeout 10m"]),
    "monitoring": (
        "helm upgrade --install kube-prometheus-stack", {"stderr": "Error: conflict occurred while applying object"}, ["--force-conflicts"],
    ),
    "ingress": ("kubectl wait deployment", {"stderr": "error: timed out waiting for the condition"}, ["kubectl wait deployment --all --namespace istio-ingress"]),
    "platform": (
        "helm upgrade --install otlp-rust", {"stderr": "Error: failed post-install: job otlp-service-migrate failed: BackoffLimitExceeded"}, ["BackoffLimitExceeded"],
    ),
    "rollout": (
        "kubectl rollout status",
        {"stderr": "error: timed out waiting for the condition", "objects": {"pods/otlp-system/p": POD, "events/otlp-system/e": EVENT}},
        ["an image cannot be pulled", "otlp-service-7d9", "Failed to pull image"],
    ),
    "check": ("kubectl port-forward", {"stderr": "error: lost connection to pod"}, ["no way to port 80 of service/istio-ingress", "lost connection to pod"]),
}


@pytest.mark.parametrize("step", FAILURES)
def test_a_failing_step_says_which_why_and_how_to_go_on(cluster, deploy, environment, step):
    call, fault, said = FAILURES[step]
    cluster.faults = [{"call": call} | fault]
    run = deploy(*ALL, code=1)
    assert re.search(rf"FAILED at step \d of 9: {step} \(after \d+ s\)", run.error)
    for text in said:
        assert text in run.error
    assert run.go_on() == [str(REPOSITORY / "scripts/deploy.sh"), *ALL, "--yes", "--from", step]
    before = len(cluster.calls)

    # What it says works, and begins where it failed.
    cluster.remove("pods", "otlp-system", "p")
    again = Run(run.go_on(), environment, 0)
    assert "otlp-rust is ready" in again.out and "and read back" in again.out
    steps = list(FAILURES)
    helm_calls = [call[3] for call in cluster.calls[before:] if call[:2] == ["helm", "upgrade"]]
    assert ("istiod" in helm_calls) == (steps.index(step) <= steps.index("mesh"))
    assert record(cluster)["platform"] == "otlp-system/otlp-rust" and record(cluster)["istiod"] == "istio-system/istiod"


def test_the_log_of_a_pod_that_crashes_is_shown(cluster, deploy):
    pod = {"metadata": {"name": "otlp-service-1", "namespace": "otlp-system", "labels": {}}, "ready": "0/1", "status": "CrashLoopBackOff"}
    cluster.logs["otlp-service-1"] = "catalog: connection refused (postgres.otlp-system.svc:5432)"
    cluster.faults = [{"call": "kubectl rollout status", "objects": {"pods/otlp-system/p": pod}}]
    run = deploy("--trial", code=1)
    assert "log of otlp-service-1 (CrashLoopBackOff)" in run.error and "connection refused (postgres" in run.error
    assert "a process ends at once" in run.error


def test_a_platform_that_refuses_the_trace(cluster, deploy, server):
    # The admin port knows no OTLP.
    cluster.ports["otlp-system/otlp-http"] = server.admin_port
    run = deploy("--trial", code=1)
    assert "FAILED at step 7 of 8: check" in run.error and re.search(r"/v1/traces answers HTTP 4\d\d", run.error)


def test_a_trace_that_is_not_returned_is_a_failure(cluster, deploy, folder):
    other = Platform(folder / "another-lake").start()
    try:
        cluster.ports["otlp-system/http"] = other.http_port
        run = deploy("--trial", code=1)
    finally:
        other.kill()
    assert re.search("the acknowledged trace [0-9a-f]{32} is not returned: HTTP 404", run.error) and "share catalog and store" in run.error


@pytest.mark.parametrize("status, remedy", [("pending-install", "helm uninstall"), ("pending-upgrade", "helm rollback")])
def test_a_release_that_another_helm_holds(cluster, deploy, status, remedy):
    cluster.put("namespaces", "otlp-system", "otlp-system", annotations={})
    cluster.releases["otlp-system/otlp-rust"] = {"revision": 1, "status": status, "chart": "otlp-rust"}
    run = deploy("--trial", "--without-istio", "--without-monitoring", code=1)
    assert f"is '{status}'" in run.error and f"{remedy} otlp-rust --namespace otlp-system" in run.error


def test_a_release_that_failed_before_is_tried_again(cluster, deploy):
    failed = {"otlp-system/otlp-rust": {"revision": 1, "status": "failed", "chart": "otlp-rust"}}
    cluster.faults = [{"call": "helm upgrade --install otlp-rust", "releases": failed}]
    deploy("--trial", code=1)
    assert "is 'failed' since an earlier run: trying again" in deploy("--trial").out


def test_progress_of_a_long_wait(cluster, deploy):
    cluster.put("namespaces", "otlp-system", "otlp-system", annotations={})
    for number, status in enumerate(["Running", "ContainerCreating", "Pending"]):
        cluster.put("pods", "otlp-system", f"otlp-{number}", ready="1/1" if status == "Running" else "0/1", status=status)
    cluster.faults = [{"call": "kubectl rollout status", "seconds": 2.5, "code": 0}]
    run = deploy("--trial", "--without-istio", "--without-monitoring")
    assert re.search(r"\d s: 1 of 3 pods ready, waiting for otlp-1 \(ContainerCreating, 0/1\)", run.out)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_stops_at_once_and_says_how_to_go_on(cluster, environment, sent):
    cluster.faults = [{"call": "helm upgrade --install istiod", "seconds": 30}]
    process = subprocess.Popen(
        [REPOSITORY / "scripts/deploy.sh", "--trial", "--yes"], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # What was started in the background ignores interrupts, and a shell cannot change that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not any(call[:4] == ["helm", "upgrade", "--install", "istiod"] for call in cluster.calls):
        time.sleep(0.05)
    asked = time.monotonic()
    process.send_signal(sent)
    _, error = process.communicate(timeout=20)
    assert process.returncode == 130 and time.monotonic() - asked < 10
    assert "interrupted during `helm upgrade --install istiod" in error and "--from mesh" in error


# --- roll back ---------------------------------------------------------------------------------------------------------------


def without_definitions(objects):
    """Definitions outlive their chart, by design."""
    return {key: value for key, value in objects.items() if not key.startswith("customresourcedefinitions/")}


def test_a_roll_back_leaves_what_was_there(cluster, deploy):
    before = copy.deepcopy(cluster.objects)
    cluster.faults = [{"call": "helm upgrade --install otlp-rust", "stderr": "Error: no"}]
    run = deploy(*ALL, "--rollback-on-failure", code=3)
    assert "FAILED at step 6 of 9: platform" in run.error and "rolling back what this run made" in run.out
    assert without_definitions(cluster.objects) == before and not cluster.releases
    undone = [call for call in changes(cluster) if call[1] in ("uninstall", "delete")]
    assert [call[2] for call in undone if call[0] == "helm"] == ["istio-ingress", "kube-prometheus-stack", "istiod", "istio-base"]


def test_a_roll_back_touches_nothing_that_this_run_has_not_made(cluster, deploy):
    deploy("--trial", "--without-monitoring")
    cluster.put("secrets", "otlp-system", "mine")
    labels(cluster, "otlp-system")["pod-security.kubernetes.io/enforce"] = "baseline"
    before, revisions = copy.deepcopy(cluster.objects), releases(cluster)
    # The upgrade fails half-way: Helm has made a revision.
    broken = {"otlp-system/otlp-rust": {"revision": 2, "status": "failed", "chart": "otlp-rust"}}
    cluster.faults = [{"call": "helm upgrade --install otlp-rust", "stderr": "Error: no", "releases": broken}]
    cluster.calls.clear()
    run = deploy("--trial", "--rollback-on-failure", code=3)
    assert without_definitions(cluster.objects) == without_definitions(before)
    assert set(cluster.releases) == set(revisions), "what this run added is gone, the rest is there"
    back = [call for call in cluster.calls if call[:2] == ["helm", "rollback"]]
    assert [call[2:4] for call in back] == [["otlp-rust", "1"], ["istiod", "1"], ["istio-base", "1"]]
    assert "grafana-admin" not in record(cluster) and "platform" in record(cluster)
    assert "helm uninstall otlp-rust" not in run.out


def test_a_roll_back_that_fails_in_part_goes_on_and_says_so(cluster, deploy):
    cluster.faults = [{"call": "helm upgrade --install otlp-rust"}, {"call": "helm uninstall istiod", "stderr": "Error: webhook"}]
    run = deploy("--trial", "--rollback-on-failure", code=4)
    assert "could not undo: uninstall istiod istio-system istiod" in run.error
    assert not cluster.find("namespaces", "", "otlp-system") and not cluster.find("namespaces", "", "monitoring")


def test_a_failure_before_anything_was_made_rolls_nothing_back(cluster, deploy):
    cluster.unreachable = True
    assert "it made nothing" in deploy("--trial", "--rollback-on-failure", code=3).out


# --- undeploy.sh -------------------------------------------------------------------------------------------------------------


def test_undeploy_removes_what_deploy_made_and_keeps_data(cluster, installation, deploy, undeploy):
    before = copy.deepcopy(cluster.objects)
    cluster.objects, cluster.releases = copy.deepcopy(installation)
    cluster.put("persistentvolumeclaims", "otlp-system", "data-postgresql-0", labels={"app.kubernetes.io/instance": "otlp-rust"})
    cluster.put("secrets", "otlp-system", "mine")
    run = undeploy()
    assert not cluster.releases and "istio-system/istiod" in run.out
    left = without_definitions(cluster.objects).keys() - before.keys()
    assert left == {
        "namespaces//otlp-system", "namespaces//monitoring", "persistentvolumeclaims/otlp-system/data-postgresql-0", "secrets/otlp-system/mine",
        "configmaps/otlp-system/otlp-deploy-record",
    }
    assert record(cluster) == {"namespace.otlp-system": "created", "namespace.monitoring": "created"}

    deploy(*ALL)
    undeploy("--delete-data")
    assert without_definitions(cluster.objects) == before and not cluster.releases


def test_undeploy_goes_backwards(deployed, undeploy):
    cluster = deployed
    undeploy()
    assert [call[2] for call in cluster.calls if call[:2] == ["helm", "uninstall"]] == ["otlp-rust", "istio-ingress", "kube-prometheus-stack", "istiod", "istio-base"]


def test_undeploy_keeps_a_namespace_that_was_there_before(cluster, deploy, undeploy):
    cluster.put("namespaces", "otlp-system", "otlp-system", annotations={})
    cluster.put("secrets", "otlp-system", "mine")
    deploy("--trial", "--without-istio", "--without-monitoring")
    for kind, name in (("persistentvolumeclaims", "data-s3-0"), ("secrets", "otlp-service-trial")):
        cluster.put(kind, "otlp-system", name, labels={"app.kubernetes.io/instance": "otlp-rust"})
    undeploy("--delete-data")
    assert cluster.find("secrets", "otlp-system", "mine") and not cluster.find("secrets", "otlp-system", "otlp-service-trial")
    assert not cluster.find("persistentvolumeclaims", "otlp-system", "data-s3-0")
    assert record(cluster) is None


def test_undeploy_keeps_a_mesh_that_others_use(cluster, deploy, undeploy):
    deploy("--trial", "--without-monitoring")
    cluster.put("namespaces", "shop", "shop", labels={"istio-injection": "enabled"}, annotations={})
    run = undeploy()
    assert "kept: these namespaces are in the mesh, too: shop" in run.out
    assert set(cluster.releases) == {"istio-system/istio-base", "istio-system/istiod"} and "istiod" in record(cluster)


def test_undeploy_keeps_what_it_is_told_to(deployed, undeploy):
    cluster = deployed
    undeploy("--keep", "istio", "--keep=monitoring", "--keep", "ingress")
    assert set(cluster.releases) == {"istio-system/istio-base", "istio-system/istiod", "istio-ingress/istio-ingress", "monitoring/kube-prometheus-stack"}


def test_undeploy_may_be_run_again_after_a_failure(deployed, undeploy):
    cluster = deployed
    cluster.faults = [{"call": "helm uninstall kube-prometheus-stack", "stderr": "Error: timed out"}]
    run = undeploy(code=1)
    assert "FAILED: `helm uninstall kube-prometheus-stack" in run.error and "Error: timed out" in run.error and "run the same command again" in run.error
    undeploy()
    assert not cluster.releases


def test_a_dry_run_of_undeploy(deployed, undeploy):
    cluster = deployed
    before = copy.deepcopy(cluster.objects)
    shown = undeploy("--dry-run", "--delete-data", yes=())
    assert not changes(cluster) and cluster.objects == before
    # Struck entries are still there in a dry run, so that what is shown is what is done.
    assert shown.commands() == undeploy("--delete-data").commands()


def test_undeploy_where_nothing_was_made(cluster, undeploy):
    cluster.put("namespaces", "otlp-system", "otlp-system", annotations={})
    cluster.releases["otlp-system/otlp-rust"] = {"revision": 1, "status": "deployed", "chart": "otlp-rust"}
    run = undeploy()
    assert "has made nothing" in run.out and "is not its work" in run.out and not changes(cluster)


@pytest.mark.parametrize("script", ["deploy.sh", "undeploy.sh"])
def test_it_asks_before(cluster, deploy, environment, script):
    if script == "undeploy.sh":
        deploy("--trial", "--without-istio", "--without-monitoring")
    cluster.calls.clear()
    options = ["--trial", "--without-istio", "--without-monitoring"] if script == "deploy.sh" else []
    command = [REPOSITORY / "scripts" / script, *options]
    run = Run(command, environment, 2)
    assert "say --yes" in run.error and not changes(cluster)
    for answer, code in (("n", 1), ("", 1), ("y", 0)):
        ours, theirs = pty.openpty()
        os.write(ours, f"{answer}\n".encode())
        done = subprocess.run(command, env=environment, stdin=theirs, capture_output=True, text=True, timeout=60)
        os.close(ours)
        os.close(theirs)
        assert done.returncode == code and "[y/N]" in done.stdout, done.stdout + done.stderr
        assert bool(changes(cluster)) == (code == 0)
