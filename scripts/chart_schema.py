"""The JSON schema of the chart's values: types follow from the defaults in values.yaml, what a default cannot say stands here.

Draft 7, because Helm 3 and 4 both know it. Unknown keys are errors everywhere but in values that Kubernetes defines.
"""

QUANTITY = {"type": ["string", "number"], "pattern": r"^[0-9]+(\.[0-9]+)?(m|[kMGT]|[KMGT]i)?$"}
RESOURCES = {
    "type": "object",
    "properties": {side: {"type": "object", "additionalProperties": QUANTITY} for side in ("requests", "limits")},
    "additionalProperties": False,
}
TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
OBJECTS = {"type": "array", "items": {"type": "object"}}
STRINGS = {"type": "array", "items": {"type": "string", "minLength": 1}}
PORT = {"type": "integer", "minimum": 1, "maximum": 65535}
PERCENT = {"type": ["integer", "null"], "minimum": 1, "maximum": 1000}
COUNT = {"type": "integer", "minimum": 1}
RATE = {"type": "number", "minimum": 0}
DURATION = {"type": "string", "pattern": r"^(0|([0-9]+(ns|us|ms|s|m|h|d))+)$"}
INTERVAL = {"type": "string", "pattern": r"^([0-9]+(ms|s|m|h))+$"}
NAME = {"type": "string", "pattern": r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$|^$"}
HOST = {"type": "string", "pattern": r"^(\*\.)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?$|^$"}
FREE = {"type": "object"}

# What may be said of a probe; what is asked, and where, is the platform's.
PROBE = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        **{f"{key}Seconds": {"type": "integer", "minimum": 1} for key in ("period", "timeout", "terminationGracePeriod")},
        "initialDelaySeconds": {"type": "integer", "minimum": 0},
        "failureThreshold": COUNT,
        "successThreshold": COUNT,
    },
}


def one_of(*values):
    return {"type": "string", "enum": list(values)}


AUTOSCALING = {
    "enabled": {"type": "boolean"},
    "minReplicas": COUNT,
    "maxReplicas": COUNT,
    "targetCPUUtilizationPercentage": PERCENT,
    "targetMemoryUtilizationPercentage": PERCENT,
    "metrics": OBJECTS,
    "behavior": FREE,
}
REPLICAS = {"type": ["integer", "null"], "minimum": 1}
ROLE = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "replicaCount": REPLICAS,
        "resources": RESOURCES,
        "autoscaling": {"type": "object", "additionalProperties": False, "properties": AUTOSCALING},
        "nodeSelector": TEXTS,
        "tolerations": OBJECTS,
        "affinity": FREE,
        "priorityClassName": NAME,
    },
}

# By path; `*` stands for any one key, where no path says more.
REFINED = {
    "fullnameOverride": {"type": "string", "pattern": r"^[a-z]([-a-z0-9]*[a-z0-9])?$|^$", "maxLength": 52},
    "kubeVersion": {"type": "string", "pattern": r"^v?[0-9]+\.[0-9]+(\.[0-9]+)?.*$|^$"},
    "image.digest": {"type": "string", "pattern": r"^sha256:[0-9a-f]{64}$|^$"},
    "image.tag": {"type": "string", "pattern": r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$|^$"},
    "image.pullPolicy": one_of("Always", "IfNotPresent", "Never"),
    "commonLabels": TEXTS,
    "commonAnnotations": TEXTS,
    "podLabels": TEXTS,
    "podAnnotations": TEXTS,
    "nodeSelector": TEXTS,
    "affinity": FREE,
    "imagePullSecrets": OBJECTS,
    "extraEnv": OBJECTS,
    "extraVolumes": OBJECTS,
    "extraContainers": OBJECTS,
    "initContainers": OBJECTS,
    "extraObjects": {"type": "array", "items": {"type": ["object", "string"]}},
    "deploymentAnnotations": TEXTS,
    "probes.startup": PROBE,
    "probes.liveness": PROBE,
    "probes.readiness": PROBE,
    "extraVolumeMounts": OBJECTS,
    "tolerations": OBJECTS,
    "podSecurityContext": FREE,
    "securityContext": FREE,
    "priorityClassName": NAME,
    "runtimeClassName": NAME,
    "replicaCount": REPLICAS,
    "revisionHistoryLimit": {"type": "integer", "minimum": 0},
    "resources": RESOURCES,
    "roles.ingest": ROLE,
    "roles.query": ROLE,
    "roles.compact": ROLE,
    "catalog.connectionBudget": COUNT,
    "catalog.maxConnections": {"type": ["integer", "null"], "minimum": 2, "maximum": 1000},
    "*.existingSecret.name": NAME,
    "store.*.existingSecret.name": NAME,
    "store.url": {"type": "string", "pattern": r"^(s3|gs|az)://[A-Za-z0-9._-]+(/[^?#]*)?$|^$"},
    "store.s3.endpoint": {"type": "string", "pattern": r"^https?://[^/]+/?$|^$"},
    "retention": {"$ref": "#/definitions/config/properties/retention"},
    "config": {"$ref": "#/definitions/config"},
    "log.format": one_of("json", "text"),
    "drain.preStopSeconds": {"type": "integer", "minimum": 0, "maximum": 300},
    "drain.shutdownTimeout": DURATION,
    "migrations.backoffLimit": {"type": "integer", "minimum": 0},
    "migrations.activeDeadlineSeconds": COUNT,
    "migrations.annotations": TEXTS,
    "migrations.resources": RESOURCES,
    "service.type": one_of("ClusterIP", "NodePort", "LoadBalancer"),
    "service.annotations": TEXTS,
    "service.grpcOnly.annotations": TEXTS,
    "service.trafficDistribution": one_of("", "PreferClose", "PreferSameZone", "PreferSameNode"),
    "service.grpcAppProtocol": one_of("grpc", "kubernetes.io/h2c"),
    "serviceAccount.name": NAME,
    "serviceAccount.annotations": TEXTS,
    "rbac.rules": OBJECTS,
    "topologySpread.whenUnsatisfiable": one_of("ScheduleAnyway", "DoNotSchedule"),
    "podDisruptionBudget.maxUnavailable": {"type": ["integer", "string"], "minimum": 1, "pattern": "^[1-9][0-9]?%$"},
    **{f"autoscaling.{key}": fragment for key, fragment in AUTOSCALING.items()},
    "verticalPodAutoscaler.updateMode": one_of("Off", "Initial", "Recreate", "Auto", "InPlaceOrRecreate"),
    "verticalPodAutoscaler.minAllowed": {"type": "object", "additionalProperties": QUANTITY},
    "verticalPodAutoscaler.maxAllowed": {"type": "object", "additionalProperties": QUANTITY},
    "networkPolicy.mesh": OBJECTS,
    "networkPolicy.clients": OBJECTS,
    "networkPolicy.gateway": OBJECTS,
    "networkPolicy.monitoring": OBJECTS,
    "networkPolicy.egress.dns": OBJECTS,
    "networkPolicy.egress.extra": OBJECTS,
    "networkPolicy.egress.*.to": OBJECTS,
    "networkPolicy.egress.*.port": PORT,
    "networkPolicy.egress.store.port": {**PORT, "type": ["integer", "null"]},
    "ingress.annotations": TEXTS,
    "ingress.*.host": HOST,
    "ingress.*.annotations": TEXTS,
    "ingress.api.paths": STRINGS,
    "ingress.tls": OBJECTS,
    "gatewayApi.parentRefs": OBJECTS,
    "gatewayApi.otlpHttpHostnames": STRINGS,
    "gatewayApi.otlpGrpcHostnames": STRINGS,
    "gatewayApi.apiHostnames": STRINGS,
    "istio.dataPlane": one_of("sidecar", "ambient"),
    "istio.mtls": one_of("STRICT", "PERMISSIVE"),
    "istio.metricsMtls": one_of("STRICT", "PERMISSIVE"),
    "istio.clientNamespaces": STRINGS,
    "istio.gateways": STRINGS,
    "probe.proberUrl": {"type": "string", "pattern": r"^[A-Za-z0-9][-A-Za-z0-9.]*(:[0-9]+)?$|^$"},
    "probe.targets": {"type": "array", "items": {"type": "string", "pattern": r"^https?://[^/]+(/.*)?$"}},
    "probe.labels": TEXTS,
    "istio.hosts": STRINGS,
    "istio.apiHosts": STRINGS,
    "istio.retries": {"type": "integer", "minimum": 0, "maximum": 10},
    "istio.timeout": INTERVAL,
    "istio.connectionPool.maxConnections": COUNT,
    "istio.connectionPool.maxRequestsPerConnection": {"type": "integer", "minimum": 0},
    "istio.outlierDetection.consecutive5xxErrors": COUNT,
    "linkerd.skipOutboundPorts": {"type": "string", "pattern": r"^([0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*)?$"},
    "serviceMonitor.interval": INTERVAL,
    "serviceMonitor.labels": TEXTS,
    "podMonitor.interval": INTERVAL,
    "podMonitor.labels": TEXTS,
    "prometheusRule.labels": TEXTS,
    "dashboards.labels": TEXTS,
    "dashboards.annotations": TEXTS,
    "dashboards.datasourceLabels": TEXTS,
    "trial.*.resources": RESOURCES,
    "trial.*.size": QUANTITY,
    "sizing.spansPerSecond": RATE,
    "sizing.logRecordsPerSecond": RATE,
    "sizing.samplesPerSecond": RATE,
    "sizing.peakFactor": {"type": "number", "minimum": 1},
    "sizing.retention": DURATION,
    "sizing.concurrentQueries": COUNT,
    "sizing.podCpu": {"type": "number", "minimum": 0.1, "maximum": 64},
    "sizing.podMemoryMiB": {"type": "integer", "minimum": 256},
    "sizing.maxPods": {"type": "integer", "minimum": 3},
}


def refined(path):
    if ".".join(path) in REFINED:
        return REFINED[".".join(path)]
    for known, fragment in REFINED.items():
        parts = known.split(".")
        if len(parts) == len(path) and all(part in ("*", key) for part, key in zip(parts, path)):
            return fragment
    return None


def by_default(path, default):
    """The schema of a value by the type of its default; an object takes the keys that its default has."""
    fragment = refined(path)
    if fragment is not None:
        return fragment
    if isinstance(default, bool):
        return {"type": "boolean"}
    if isinstance(default, str):
        return {"type": "string"}
    if isinstance(default, list) and all(isinstance(item, str) for item in default) and default:
        return STRINGS
    if isinstance(default, dict) and default:
        properties = {key: by_default((*path, key), value) for key, value in default.items()}
        return {"type": "object", "additionalProperties": False, "properties": properties}
    raise SystemExit(f"chart_schema.py: the default of {'.'.join(path)} does not say what else it may be: add it to REFINED")


def without_prose(node):
    """A schema without defaults and descriptions, which only docs need."""
    if isinstance(node, dict):
        return {
            key: {name: without_prose(of) for name, of in value.items()} if key == "properties" else without_prose(value)
            for key, value in node.items()
            if key not in ("default", "description", "title", "$schema")
        }
    return [without_prose(item) for item in node] if isinstance(node, list) else node


def chart_schema(values, config):
    """The schema of all values. `values` are those of values.yaml, `config` is the schema of the configuration file."""
    root = {"type": "object", "additionalProperties": False, "properties": {}}
    for value in values:
        if len(value.path) == 1:
            root["properties"][value.path[0]] = by_default(value.path, value.default)
    # Helm passes it to every chart.
    root["properties"]["global"] = FREE
    return {"$schema": "http://json-schema.org/draft-07/schema#", "title": "Values of the chart otlp-rust", **root, "definitions": {"config": without_prose(config)}}
