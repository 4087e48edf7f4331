"""What an upgrade leaves as it is: the chart, rendered by Helm while it looks into a cluster (stand_ins/api_server.py)."""

import base64

import pytest
import yaml
from helm_python.config import Config

from chart_cases import NAMESPACE, RELEASE, S3, SPLIT, TRIAL, chart, find, over
from stand_ins.api_server import ApiServer


class Cluster(ApiServer):
    """One that holds these objects."""

    def __init__(self, *objects):
        super().__init__()
        for it in objects:
            self.store(it["apiVersion"], f"{it['kind'].lower()}s", NAMESPACE, it, "ADDED")

    def render(self, values):
        with Config(kube_apiserver=self.url, namespace=NAMESPACE) as config:
            rendered = config.render(chart(), values, name=RELEASE, namespace=NAMESPACE, is_upgrade=True)
        some = [it for name, text in rendered.items() if name.endswith(".yaml") for it in yaml.safe_load_all(text)]
        return [it for it in some if it]


@pytest.fixture
def cluster():
    made = []
    yield lambda *objects: made.append(Cluster(*objects)) or made[-1]
    for one in made:
        one.close()


def deployment(name, replicas):
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": NAMESPACE}, "spec": {"replicas": replicas, "template": {"metadata": {}, "spec": {}}}}


def replicas(some):
    return {it["metadata"]["name"]: it["spec"].get("replicas") for it in find(some, "Deployment")}


def test_number_of_pods_is_what_the_autoscaler_chose(cluster):
    running = cluster(deployment("otlp-service", 7))
    assert replicas(running.render(S3)) == {"otlp-service": 7}
    # Without an autoscaler the values decide, and without a running Deployment they decide where it begins.
    assert replicas(running.render(over(S3, {"autoscaling": {"enabled": False}}))) == {"otlp-service": 3}
    assert replicas(cluster().render(S3)) == {"otlp-service": 3}
    assert replicas(running.render(over(S3, {"replicaCount": None}))) == {"otlp-service": None}


def test_each_role_keeps_its_own(cluster):
    running = cluster(deployment("otlp-service-ingest", 9), deployment("otlp-service-compact", 9))
    split = replicas(running.render(over(S3, SPLIT)))
    assert split == {"otlp-service-ingest": 9, "otlp-service-query": 3, "otlp-service-compact": 2}


def test_trials_passwords_stay(cluster):
    first = find(cluster().render(TRIAL), "Secret", "otlp-service-trial")
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in first["stringData"].items()}
    running = cluster({"apiVersion": "v1", "kind": "Secret", "metadata": first["metadata"], "data": encoded})
    assert find(running.render(TRIAL), "Secret", "otlp-service-trial")["stringData"] == first["stringData"]


def test_nothing_else_is_looked_up(cluster):
    """Whoever installs needs to read no more than the objects of the release."""
    running = cluster()
    running.render(over(TRIAL, SPLIT))
    looked = {"/".join(path.rsplit("/", 2)[1:]) for path in running.asked if "/namespaces/" in path}
    deployments = {f"deployments/otlp-service-{role}" for role in ("ingest", "query", "compact")}
    assert looked == {"secrets/otlp-service-trial"} | deployments
