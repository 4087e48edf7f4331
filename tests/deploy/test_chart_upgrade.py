"""What an upgrade leaves as it is: the chart, rendered by Helm while it looks into a cluster.

The cluster is a stand-in, since the lookups are all that is asked of it: an API server over HTTP that knows the objects it is given.
"""

import base64
import http.server
import json
import threading

import pytest
import yaml
from helm_python.config import Config

from chart_cases import NAMESPACE, RELEASE, S3, SPLIT, TRIAL, chart, find, over

RESOURCES = {"v1": [("secrets", "Secret")], "apps/v1": [("deployments", "Deployment")]}


class Cluster:
    """The stand-in. `objects` are what it has; `asked` are the paths of what it was asked for."""

    def __init__(self, *objects):
        self.asked = []
        self.answers = {
            "/version": {"major": "1", "minor": "37", "gitVersion": "v1.37.0"},
            "/api": {"kind": "APIVersions", "versions": ["v1"]},
            "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
        }
        for version, resources in RESOURCES.items():
            folder = f"/apis/{version}" if "/" in version else f"/api/{version}"
            listed = [{"name": name, "singularName": "", "namespaced": True, "kind": kind, "verbs": ["get"]} for name, kind in resources]
            self.answers[folder] = {"kind": "APIResourceList", "groupVersion": version, "resources": listed}
            for it in objects:
                for name, kind in resources:
                    if (it["apiVersion"], it["kind"]) == (version, kind):
                        self.answers[f"{folder}/namespaces/{NAMESPACE}/{name}/{it['metadata']['name']}"] = it
            if "/" in version:
                group = {"groupVersion": version, "version": version.split("/")[1]}
                self.answers["/apis"]["groups"].append({"name": version.split("/")[0], "versions": [group], "preferredVersion": group})
        cluster = self

        class Server(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                path = self.path.split("?")[0].rstrip("/")
                cluster.asked.append(path)
                missing = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}
                body = json.dumps(cluster.answers.get(path, missing)).encode()
                self.send_response(200 if path in cluster.answers else 404)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def render(self, values):
        with Config(kube_apiserver=f"http://127.0.0.1:{self.server.server_port}", namespace=NAMESPACE) as config:
            rendered = config.render(chart(), values, name=RELEASE, namespace=NAMESPACE, is_upgrade=True)
        some = [it for name, text in rendered.items() if name.endswith(".yaml") for it in yaml.safe_load_all(text)]
        return [it for it in some if it]

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def cluster():
    made = []
    yield lambda *objects: made.append(Cluster(*objects)) or made[-1]
    for one in made:
        one.stop()


def deployment(name, replicas):
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": NAMESPACE}, "spec": {"replicas": replicas}}


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
    looked = {path.rsplit("/", 2)[1] + "/" + path.rsplit("/", 1)[1] for path in running.asked if "/namespaces/" in path}
    deployments = {f"deployments/otlp-service-{role}" for role in ("ingest", "query", "compact")}
    assert looked == {"secrets/otlp-service-trial"} | deployments
