"""What scripts/undeploy.sh removes and what it keeps: against the stand-ins for kubectl and helm (stand_ins/README.md)."""

import copy
import os
import pty
import subprocess

import pytest

from conftest import REPOSITORY
from script_runs import ALL, Run, changes, record, without_definitions
from script_runs import cluster, deploy, deployed, environment, installation, server, undeploy  # noqa: F401 (fixtures)


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
    assert [call[2] for call in cluster.calls if call[:2] == ["helm", "uninstall"]] == ["otlp-rust", "istio-ingress", "prometheus-blackbox-exporter", "kube-prometheus-stack", "istiod", "istio-base"]


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
    assert set(cluster.releases) == {"istio-system/istio-base", "istio-system/istiod", "istio-ingress/istio-ingress", "monitoring/kube-prometheus-stack", "monitoring/prometheus-blackbox-exporter"}


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
