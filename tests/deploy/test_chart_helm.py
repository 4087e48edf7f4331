"""The chart through the commands that people use, of Helm 3 and 4."""

import json
import subprocess

import pytest
import yaml

from chart_cases import CASES, CHART, NAMESPACE, RELEASE, ROOT, objects


@pytest.fixture(params=[3, 4], ids=["helm3", "helm4"])
def helm(request):
    command = ROOT / ".tools" / "kubernetes" / f"helm{request.param}"
    assert command.exists(), f"{command} is missing: run scripts/setup-tests.sh"
    version = subprocess.run([command, "version", "--short"], check=True, capture_output=True, text=True).stdout
    assert version.startswith(f"v{request.param}.")
    return lambda *arguments: subprocess.run([command, *arguments], capture_output=True, text=True)


def by_name(some):
    return sorted(some, key=lambda it: (it["kind"], it["metadata"]["name"]))


@pytest.mark.parametrize("case", ["everything, split", "istio with a gateway", "values-medium.yaml", "least"])
def test_both_render_the_same(helm, case, tmp_path):
    """What the other tests look at is what a user's Helm makes."""
    values = tmp_path / "values.yaml"
    values.write_text(json.dumps({**CASES[case], "kubeVersion": "1.37"}))
    done = helm("template", RELEASE, CHART, "--namespace", NAMESPACE, "--values", values)
    assert done.returncode == 0, done.stderr
    assert by_name(it for it in yaml.safe_load_all(done.stdout) if it) == by_name(objects(CASES[case]))


def test_lint(helm):
    done = helm("lint", CHART, "--strict", "--values", CHART / "values-small.yaml", "--values", CHART / "examples/plain-manifests.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_version_of_the_cluster(helm):
    """Helm's own idea of the cluster's version counts where no value gives one, and one that is too old is refused."""
    base = ("template", RELEASE, CHART, "--values", CHART / "examples/plain-manifests.yaml", "--kube-version")
    assert "preStop" in helm(*base, "v1.31.2-eks-1").stdout
    old = helm(*base, "v1.29.0").stdout
    assert "preStop" not in old and "startupProbe" in old
    refused = helm(*base, "v1.26.0")
    assert refused.returncode != 0 and ">=1.27.0-0" in refused.stderr


@pytest.mark.parametrize(
    "setting, words",
    [
        ("replicaCounts=3", ["replicaCounts"]),
        ("config.log.format=xml", ["log", "format", "text", "json"]),
        ("drain.shutdownTimeout=30", ["drain", "shutdownTimeout"]),
        ("istio.enabled=true,linkerd.enabled=true", ["choose one mesh"]),
    ],
)
def test_wrong_values(helm, setting, words):
    done = helm("template", RELEASE, CHART, "--values", CHART / "examples/plain-manifests.yaml", "--set", setting)
    assert done.returncode != 0 and all(word in done.stderr for word in words), done.stderr


def test_profile_by_command(helm):
    """The command of README.md: a profile, and the load by --set."""
    load = "sizing.spansPerSecond=50000,sizing.logRecordsPerSecond=20000,sizing.samplesPerSecond=300000,sizing.retention=14d"
    profile = ("--values", CHART / "values-medium.yaml", "--values", CHART / "examples/plain-manifests.yaml")
    done = helm("template", RELEASE, CHART, *profile, "--set", load)
    assert done.returncode == 0, done.stderr
    assert "default: 14d" in done.stdout and "replicas: 3" in done.stdout
