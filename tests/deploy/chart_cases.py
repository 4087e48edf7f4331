"""The chart as the tests see it: rendered by Helm's own code, under every combination of values that makes a difference."""

import functools
import json
from pathlib import Path

import yaml
from helm_python.chart import Chart

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "otlp-rust"
NAMESPACE = "otlp-system"
RELEASE = "otlp-rust"


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """YAML in which one key that stands twice in a mapping is an error, as it is for Helm's successors and for people."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key) for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"twice in one mapping: {twice}", node.start_mark)
        return super().construct_mapping(node, deep)


def example(name):
    return yaml.safe_load((CHART / name).read_text())


def over(*layers):
    """Values laid over each other, as `helm -f one.yaml -f two.yaml` does."""
    merged = {}
    for layer in layers:
        for key, value in layer.items():
            both = isinstance(value, dict) and isinstance(merged.get(key), dict)
            merged[key] = over(merged[key], value) if both else value
    return merged


def nested(path, value):
    """`nested("a.b", 1)` is {"a": {"b": 1}}."""
    for key in reversed(path.split(".")):
        value = {key: value}
    return value


TRIAL = {"trial": {"enabled": True}}
S3 = {
    "catalog": {"existingSecret": {"name": "pg"}},
    "store": {"url": "s3://bucket/prefix", "s3": {"region": "eu-central-1", "existingSecret": {"name": "s3"}}},
}
GATEWAY = {"enabled": True, "parentRefs": [{"name": "gateway", "namespace": "gateways"}], "apiHostnames": ["api.example.com"], "apiUnauthenticated": True}
SPLIT = {"roles": {"split": True, "ingest": {"replicaCount": 4, "nodeSelector": {"pool": "ingest"}}, "query": {"autoscaling": {"maxReplicas": 4}}}}
EVERYTHING = {
    "commonLabels": {"team": "platform"},
    "commonAnnotations": {"owner": "platform@example.com"},
    "image": {"registry": "registry.example.com/x/", "digest": "sha256:" + "0" * 64, "pullPolicy": "Always"},
    "imagePullSecrets": [{"name": "registry"}],
    "podAnnotations": {"a": "b"},
    "podLabels": {"c": "d"},
    "extraEnv": [{"name": "RUST_BACKTRACE", "value": "1"}],
    "deploymentAnnotations": {"reloader.stakater.com/auto": "true"},
    "extraObjects": [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "extra", "namespace": "{{ .Release.Namespace }}"}, "data": {}},
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: text\n  namespace: {{ .Release.Namespace }}\n",
    ],
    "probes": {"startup": {"failureThreshold": 60}},
    "extraVolumes": [{"name": "scratch", "emptyDir": {}}],
    "extraVolumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
    "nodeSelector": {"kubernetes.io/arch": "amd64"},
    "tolerations": [{"key": "dedicated", "operator": "Exists"}],
    "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
    "priorityClassName": "high",
    "runtimeClassName": "gvisor",
    "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/x"}},
    "rbac": {"rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]},
    "retention": {"default": "14d", "spans": "7d", "tenants": {"acme": {"logs": "90d"}}},
    "config": {"limits": {"items_per_second": 100000}, "memory": {"limit": "300MiB"}, "query": {"max_rows": 1000000}},
    "postgresWire": {"enabled": True},
    "redis": {"existingSecret": {"name": "redis", "key": "u"}, "prefix": "other"},
    "ingress": {
        "enabled": True,
        "annotations": {"x": "y"},
        "api": {"host": "api.example.com", "annotations": {"nginx.org/basic-auth-secret": "users"}},
        "tls": [{"secretName": "otlp-service-tls", "hosts": ["otlp.example.com", "*.example.com"]}],
    },
    "gatewayApi": GATEWAY,
    "service": {"type": "LoadBalancer", "trafficDistribution": "PreferClose", "annotations": {"n": "l"}, "grpcOnly": {"enabled": True, "annotations": {"k": "v"}}},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
    "dashboards": {"enabled": True},
    "probe": {"enabled": True, "targets": ["https://otlp.example.com/readyz"]},
    "verticalPodAutoscaler": {"enabled": True},
    "networkPolicy": {"egress": {"catalog": {"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}, "extra": [{"ports": [{"port": 8443}]}]}},
}

CASES = {
    "trial": TRIAL,
    "trial with a Redis of its own": over(TRIAL, {"redis": {"existingSecret": {"name": "redis"}}}),
    "s3": S3,
    "s3 by the pod's identity": over(S3, nested("store.s3.existingSecret.name", "")),
    "another s3": over(S3, nested("store.s3", {"endpoint": "http://minio.minio:9000", "allowHttp": True, "virtualHostedStyle": True})),
    "gcs": over(S3, {"store": {"url": "gs://bucket", "gcs": {"existingSecret": {"name": "gcs"}}}}),
    "azure": over(S3, {"store": {"url": "az://container/p", "azure": {"account": "acme", "existingSecret": {"name": "az"}}}}),
    "azure by the pod's identity": over(S3, {"store": {"url": "az://container", "azure": {"account": "acme"}}}),
    "split": over(S3, SPLIT),
    "fixed size": over(S3, {"autoscaling": {"enabled": False}, "replicaCount": 5, "verticalPodAutoscaler": {"enabled": True, "updateMode": "Initial"}}),
    "number of pods left open": over(S3, {"replicaCount": None}),
    "least": over(
        S3,
        *(nested(f"{key}.enabled", False) for key in ("autoscaling", "podDisruptionBudget", "networkPolicy", "migrations", "tests", "topologySpread")),
        {"service": {"headless": False}, "rbac": {"create": False}, "serviceAccount": {"create": False}, "drain": {"preStopSeconds": 0}},
    ),
    "istio": over(S3, {"istio": {"enabled": True}}),
    "istio permissive, split": over(S3, SPLIT, {"istio": {"enabled": True, "mtls": "PERMISSIVE"}, "postgresWire": {"enabled": True}}),
    "istio ambient": over(S3, {"istio": {"enabled": True, "dataPlane": "ambient"}}),
    "linkerd": over(S3, {"linkerd": {"enabled": True, "skipOutboundPorts": "5432,6379,443"}}),
    "istio with a gateway": over(S3, {"istio": {"enabled": True, "gateways": ["i/otlp"], "hosts": ["o.example.com"], "apiHosts": ["a.example.com"], "apiUnauthenticated": True}}),
    "kong as ingress": over(S3, {"ingress": {"enabled": True, "className": "kong"}}),
    "pod monitor": over(S3, {"podMonitor": {"enabled": True}}),
    "everything": over(S3, EVERYTHING),
    "everything, split": over(S3, EVERYTHING, SPLIT),
    "another name": over(TRIAL, {"fullnameOverride": "telemetry"}),
    **{f"values-{size}.yaml": over(S3, example(f"values-{size}.yaml")) for size in ("small", "medium", "large")},
    **{str(path.relative_to(CHART)): yaml.safe_load(path.read_text()) for path in sorted(CHART.glob("examples/**/values.yaml"))},
    "examples/plain-manifests.yaml": example("examples/plain-manifests.yaml"),
}


@functools.cache
def chart():
    return Chart.load(CHART)


@functools.cache
def _render(values):
    values = json.loads(values)
    chart().validate_schema(values)
    return chart().render(values, name=RELEASE, namespace=NAMESPACE)


def texts(values, kube_version="1.37"):
    """The rendered text of each template. Fails as `helm install` does: first by the schema, then by the templates."""
    return _render(json.dumps(over(values, {"kubeVersion": kube_version}), sort_keys=True))


def objects(values, kube_version="1.37"):
    """All objects, hooks included."""
    rendered = texts(values, kube_version).items()
    documents = [document for name, text in rendered if name.endswith(".yaml") for document in yaml.load_all(text, Loader)]
    return [document for document in documents if document]


def find(some, kind, name=None):
    """The objects of a kind, or the one of this name."""
    found = [it for it in some if it["kind"] == kind and name in (None, it["metadata"]["name"])]
    if name is None:
        return found
    assert len(found) == 1, f"{kind} {name}: {len(found)} of {[(it['kind'], it['metadata']['name']) for it in some]}"
    return found[0]


def pods(some):
    """(name of the owner, metadata, spec) of every pod that the objects lead to."""
    for it in some:
        if it["kind"] == "Pod":
            yield it["metadata"]["name"], it["metadata"], it["spec"]
        elif "template" in (it.get("spec") or {}):
            yield it["metadata"]["name"], it["spec"]["template"]["metadata"], it["spec"]["template"]["spec"]


def config_text(some):
    return next(it["data"]["config.yaml"] for it in find(some, "ConfigMap") if "config.yaml" in it.get("data", {}))


def custom(it):
    """Whether an object is of a kind that Kubernetes itself does not have."""
    group = it["apiVersion"].split("/")[0] if "/" in it["apiVersion"] else ""
    return group.count(".") > 0 and (not group.endswith(".k8s.io") or group.startswith(("gateway.", "autoscaling.")))
