"""scripts/deploy.sh where something is missing, wrong or fails: what it says, how it goes on, what it takes back."""

import copy
import re
import shutil
import signal
import subprocess
import time

import pytest

from conftest import REPOSITORY
from platform_process import Platform
from script_runs import ALL, Run, changes, labels, record, releases, without_definitions
from script_runs import cluster, deploy, environment, server  # noqa: F401 (fixtures)

# --- prerequisites -----------------------------------------------------------------------------------------------------------


def test_all_that_stands_in_the_way_is_said_at_once(cluster, deploy):
    cluster.version, cluster.helm_version = "v1.26.9", "v3.11.3+g3232"
    cluster.denied = [r"^\*", "create namespaces", "create pods --subresource=portforward", "create customresourcedefinitions"]
    run = deploy("--trial", code=1)
    assert "FAILED at step 1 of 8: prerequisites" in run.error and "5 thing(s) stand in the way, and nothing was changed" in run.error
    for said in (
        "helm is 3.11; 3.17 or later", "the cluster runs Kubernetes 1.26; 1.27 or later", "kubectl auth can-i create namespaces",
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


@pytest.mark.parametrize("version", ["v3.17.0+gc9f554d", "v4.3.1+gc0d08d0", "v4.0.0", "v10.2.1"])
def test_versions_of_helm_that_are_enough(cluster, deploy, version):
    cluster.helm_version = version
    assert f"helm {version}" in deploy("--trial", "--dry-run").out


def test_the_oldest_versions_are_said_in_one_voice():
    """What deploy.sh asks for, what the chart and the handbook say, and what the tests and CI run."""
    text = (REPOSITORY / "scripts/deploy/prerequisites.sh").read_text()
    helm, kubernetes = (re.search(rf"^oldest_{name}=(.*)$", text, re.MULTILINE)[1] for name in ("helm", "kubernetes"))
    run = subprocess.run([REPOSITORY / ".tools/kubernetes/helm3", "version", "--short"], check=True, capture_output=True, text=True)
    assert run.stdout.startswith(f"v{helm}.")
    assert f"helm: v{helm}." in (REPOSITORY / ".github/workflows/ci.yaml").read_text()
    for path, said in (
        ("helm/otlp-rust/README.md", f"on Kubernetes {kubernetes} or later, with Helm {helm} or later, or 4"),
        ("docs/operations/en/src/kubernetes.md", f"| Helm | {helm} or later, or 4 |"), ("docs/operations/zh/src/kubernetes.md", f"| Helm | {helm} 或更高，或 4 |"),
        ("docs/operations/en/src/kubernetes.md", f"| Kubernetes | {kubernetes} or later"), ("docs/operations/zh/src/kubernetes.md", f"| Kubernetes | {kubernetes}"),
    ):
        assert said in (REPOSITORY / path).read_text(), path
    assert f'kubeVersion: ">={kubernetes}' in (REPOSITORY / "helm/otlp-rust/Chart.yaml").read_text()


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
    run = deploy("--trial", "--set", "replicaCount=many", code=1)
    assert "the chart does not accept these values" in run.error and "replicaCount" in run.error
    assert not changes(cluster)


@pytest.mark.parametrize("metrics, options, warned", [(True, (), False), (False, (), True), (False, ("--set", "autoscaling.enabled=false"), False)])
def test_autoscalers_need_metrics(cluster, deploy, metrics, options, warned):
    if not metrics:
        cluster.remove("apiservices.apiregistration.k8s.io", "", "v1beta1.metrics.k8s.io")
    assert ("install metrics-server" in deploy("--trial", "--dry-run", *options).error) == warned


@pytest.mark.parametrize("options, warned", [((), True), (("--image", "ghcr.io/acme/otlp-rust"), False), (("--set", "image.registry=ghcr.io/acme"), False)])
def test_an_image_that_nodes_cannot_find(cluster, deploy, options, warned):
    run = deploy("--trial", "--dry-run", *options)
    assert ("the image otlp-rust:0.1.0 is named without a registry" in run.error) == warned


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


def test_a_roll_back_leaves_what_was_there(cluster, deploy):
    before = copy.deepcopy(cluster.objects)
    cluster.faults = [{"call": "helm upgrade --install otlp-rust", "stderr": "Error: no"}]
    run = deploy(*ALL, "--rollback-on-failure", code=3)
    assert "FAILED at step 6 of 9: platform" in run.error and "rolling back what this run made" in run.out
    assert without_definitions(cluster.objects) == before and not cluster.releases
    undone = [call for call in changes(cluster) if call[1] in ("uninstall", "delete")]
    assert [call[2] for call in undone if call[0] == "helm"] == ["istio-ingress", "prometheus-blackbox-exporter", "kube-prometheus-stack", "istiod", "istio-base"]


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
