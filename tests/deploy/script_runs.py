"""Runs of deploy.sh and undeploy.sh against the stand-ins for kubectl and helm (stand_ins/README.md), and what they leave behind."""

import contextlib
import copy
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from conftest import REPOSITORY
from platform_process import Platform
from stand_ins.cluster import Cluster

STAND_INS = Path(__file__).parent / "stand_ins"
TRACE = re.compile(r"trace ([0-9a-f]{32}) sent")
# The versions of others' charts, as deploy.sh pins them.
PINNED = dict(re.findall(r"^ *(\w+)_version=\$\{\w+:-(\S+)\}$", (REPOSITORY / "scripts/deploy.sh").read_text(), re.MULTILINE))
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
    made.put("apiservices.apiregistration.k8s.io", "", "v1beta1.metrics.k8s.io")
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


def stack_call(cluster):
    return [call for call in cluster.calls if call[:4] == ["helm", "upgrade", "--install", "kube-prometheus-stack"]][-1]


def without_definitions(objects):
    """Definitions outlive their chart, by design."""
    return {key: value for key, value in objects.items() if not key.startswith("customresourcedefinitions/")}
