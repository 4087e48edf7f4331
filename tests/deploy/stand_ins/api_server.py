"""A stand-in for the Kubernetes API server, so that the real kubectl and the real Helm can be run without a cluster.

It stores objects, knows discovery, watches, patches, server-side apply (without conflicts) and access reviews (everything is allowed),
and does what controllers would: workloads are ready at once, Jobs complete, load balancers have an address, and what is defined by a
CustomResourceDefinition exists from then on. Nothing is validated, and no container runs.
"""

import base64
import copy
import json
import re
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import yaml

NOW = "2026-01-01T00:00:00Z"
# Group/version to kind, plural and whether it is in a namespace.
KINDS = {
    "v1": [
        ("Namespace", "namespaces", False), ("ConfigMap", "configmaps", True), ("Secret", "secrets", True), ("Service", "services", True),
        ("ServiceAccount", "serviceaccounts", True), ("Pod", "pods", True), ("Event", "events", True), ("PersistentVolumeClaim", "persistentvolumeclaims", True),
    ],
    "apps/v1": [("Deployment", "deployments", True), ("StatefulSet", "statefulsets", True), ("DaemonSet", "daemonsets", True), ("ReplicaSet", "replicasets", True)],
    "batch/v1": [("Job", "jobs", True)],
    "rbac.authorization.k8s.io/v1": [("Role", "roles", True), ("RoleBinding", "rolebindings", True), ("ClusterRole", "clusterroles", False)],
    "networking.k8s.io/v1": [("NetworkPolicy", "networkpolicies", True), ("Ingress", "ingresses", True), ("IngressClass", "ingressclasses", False)],
    "policy/v1": [("PodDisruptionBudget", "poddisruptionbudgets", True)],
    "autoscaling/v2": [("HorizontalPodAutoscaler", "horizontalpodautoscalers", True)],
    "storage.k8s.io/v1": [("StorageClass", "storageclasses", False)],
    "apiregistration.k8s.io/v1": [("APIService", "apiservices", False)],
    "apiextensions.k8s.io/v1": [("CustomResourceDefinition", "customresourcedefinitions", False)],
    "authorization.k8s.io/v1": [("SelfSubjectAccessReview", "selfsubjectaccessreviews", False)],
}


class ApiServer:
    """`url` is where it listens; `objects` are by group/version, plural, namespace and name; `asked` are the paths of all requests."""

    def __init__(self):
        self.kinds = copy.deepcopy(KINDS)
        self.objects = {}
        self.asked = []
        # Kind to a list of messages: one for each write that is refused, as an admission webhook would.
        self.refusals = {}
        self.events = []
        self.changed = threading.Condition()
        self.stopped = False
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def answer(self):
                server.answer(self)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        for name in ("default", "kube-system"):
            self.store("v1", "namespaces", "", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}, "ADDED")

    def close(self):
        with self.changed:
            self.stopped = True
            self.changed.notify_all()
        self.http.shutdown()
        self.http.server_close()

    def kubeconfig(self, path):
        config = {
            "apiVersion": "v1", "kind": "Config", "current-context": "stand-in", "users": [{"name": "u", "user": {}}],
            "clusters": [{"name": "stand-in", "cluster": {"server": self.url}}], "contexts": [{"name": "stand-in", "context": {"cluster": "stand-in", "user": "u"}}],
        }
        path.write_text(json.dumps(config))
        return path

    def names(self, plural, namespace=None):
        """Names of all objects of a kind."""
        return sorted(key[3] for key in self.objects if key[1] == plural and namespace in (None, key[2]))

    # --- requests ----------------------------------------------------------------------------------------------------------

    def answer(self, request):
        url = urlsplit(request.path)
        self.asked.append(url.path.rstrip("/"))
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        if request.headers.get("Transfer-Encoding") == "chunked":
            while size := int(request.rfile.readline(), 16):
                body += request.rfile.read(size)
                request.rfile.readline()
            request.rfile.readline()
        parts = [part for part in url.path.split("/") if part]
        code, result = self.route(request, parts, query, body)
        if code is None:
            return
        data = json.dumps(result).encode()
        request.send_response(code)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)

    def route(self, request, parts, query, body):
        if parts == ["version"]:
            return 200, {"major": "1", "minor": "37", "gitVersion": "v1.37.0"}
        if parts == ["api"]:
            return 200, {"kind": "APIVersions", "versions": ["v1"]}
        if parts == ["apis"]:
            groups = {}
            for version in self.kinds:
                if "/" in version:
                    group, number = version.split("/")
                    groups.setdefault(group, []).append({"groupVersion": version, "version": number})
            return 200, {"kind": "APIGroupList", "apiVersion": "v1", "groups": [{"name": n, "versions": v, "preferredVersion": v[0]} for n, v in groups.items()]}
        if parts[:2] == ["openapi", "v3"]:
            return self.openapi("/".join(parts[2:]))
        if parts[0] == "api":
            version, rest = "v1", parts[2:]
        elif parts[0] == "apis" and len(parts) >= 3:
            version, rest = f"{parts[1]}/{parts[2]}", parts[3:]
        else:
            return missing("", "/".join(parts))
        if version not in self.kinds:
            return missing("", version)
        if not rest:
            verbs = ["create", "delete", "get", "list", "patch", "update", "watch", "deletecollection"]
            resources = [
                {"name": plural, "singularName": kind.lower(), "kind": kind, "namespaced": spaced, "verbs": verbs, "shortNames": {"Namespace": ["ns"], "CustomResourceDefinition": ["crd"]}.get(kind, [])}
                for kind, plural, spaced in self.kinds[version]
            ]
            return 200, {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources}
        namespace = ""
        if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in ("status", "finalize"):
            namespace, rest = rest[1], rest[2:]
        plural, name = rest[0], rest[1] if len(rest) > 1 else None
        kind = next((kind for kind, known, _ in self.kinds[version] if known == plural), None)
        if kind is None:
            return missing(plural, name)
        if kind == "SelfSubjectAccessReview":
            return 201, {"kind": kind, "apiVersion": version, "status": {"allowed": True}}
        method = request.command
        if method == "GET" and query.get("watch") in ("true", "1"):
            return self.watch(request, version, plural, namespace, query)
        if method != "GET" and self.refusals.get(kind):
            return 403, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Forbidden", "code": 403, "message": self.refusals[kind].pop()}
        with self.changed:
            if method == "GET" and name is None:
                return self.listed(request, kind, version, plural, namespace, query)
            if method == "POST":
                return self.create(version, plural, namespace, decoded(body))
            key = (version, plural, namespace, name)
            live = self.objects.get(key)
            if method == "PATCH":
                return self.patch(key, live, request.headers["Content-Type"], body)
            if live is None:
                return missing(plural, name)
            if method == "PUT":
                return 200, self.store(version, plural, namespace, decoded(body), "MODIFIED")
            if method == "DELETE":
                self.remove(key)
                return 200, {"kind": "Status", "apiVersion": "v1", "status": "Success"}
            return 200, table(kind, [live]) if "as=Table" in request.headers.get("Accept", "") else live

    def openapi(self, version):
        """Only what tells clients that the server itself checks fields."""
        paths = {f"{'api' if '/' not in one else 'apis'}/{one}": one for one in self.kinds}
        if not version:
            return 200, {"paths": {path: {"serverRelativeURL": f"/openapi/v3/{path}"} for path in paths}}
        found = paths.get(version)
        if found is None:
            return missing("", version)
        group, _, number = found.rpartition("/")
        document = {"openapi": "3.0.0", "info": {"title": "x", "version": "x"}, "paths": {}}
        for kind, plural, _ in self.kinds[found]:
            patch = {
                "parameters": [{"name": "fieldValidation", "in": "query", "schema": {"type": "string"}}], "responses": {},
                "x-kubernetes-group-version-kind": {"group": group, "version": number, "kind": kind},
            }
            document["paths"][f"/{version}/{plural}/{{name}}"] = {"patch": patch}
        return 200, document

    def selected(self, version, plural, namespace, query):
        labels = query.get("labelSelector", "")
        fields = dict(part.replace("==", "=").split("=", 1) for part in query.get("fieldSelector", "").split(",") if "!=" not in part and part)
        for (of_version, of_plural, of_namespace, of_name), one in self.objects.items():
            if (of_version, of_plural) != (version, plural) or namespace not in ("", of_namespace):
                continue
            if fields.get("metadata.name", of_name) == of_name and matches(one["metadata"].get("labels") or {}, labels):
                yield one

    def listed(self, request, kind, version, plural, namespace, query):
        found = sorted(self.selected(version, plural, namespace, query), key=lambda one: (one["metadata"].get("namespace", ""), one["metadata"]["name"]))
        if "as=Table" in request.headers.get("Accept", ""):
            return 200, table(kind, found)
        return 200, {"kind": f"{kind}List", "apiVersion": version, "metadata": {"resourceVersion": str(len(self.events))}, "items": found}

    def watch(self, request, version, plural, namespace, query):
        if query.get("sendInitialEvents") == "true":
            return 422, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Invalid", "code": 422, "message": "sendInitialEvents is not known"}
        request.send_response(200)
        request.send_header("Content-Type", "application/json")
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        since = query.get("resourceVersion", "")
        seen = int(since) if since not in ("", "0") else 0
        try:
            while not self.stopped:
                with self.changed:
                    fresh = self.events[seen:]
                    if not fresh:
                        self.changed.wait(0.5)
                        fresh = self.events[seen:]
                seen += len(fresh)
                for kind, key, one in fresh:
                    if key[:2] != (version, plural) or namespace not in ("", key[2]):
                        continue
                    name = dict(part.split("=", 1) for part in query.get("fieldSelector", "").split(",") if part).get("metadata.name", key[3])
                    if name == key[3] and matches(one["metadata"].get("labels") or {}, query.get("labelSelector", "")):
                        line = json.dumps({"type": kind, "object": one}).encode() + b"\n"
                        request.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
                        request.wfile.flush()
        except OSError:
            pass
        request.close_connection = True
        return None, None

    # --- objects -----------------------------------------------------------------------------------------------------------

    def create(self, version, plural, namespace, one):
        name = one["metadata"].get("name")
        if namespace and ("v1", "namespaces", "", namespace) not in self.objects:
            return missing("namespaces", namespace)
        if (version, plural, namespace, name) in self.objects:
            message = f'{plural} "{name}" already exists'
            return 409, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "AlreadyExists", "code": 409, "message": message}
        return 201, self.store(version, plural, namespace, one, "ADDED")

    def patch(self, key, live, content_type, body):
        version, plural, namespace, name = key
        if "apply-patch" in content_type:
            wanted = yaml.safe_load(body)
            if live is None:
                return self.create(version, plural, namespace, wanted)
            one = copy.deepcopy(live)
            for field, value in wanted.items():
                one[field] = one[field] | value if field == "metadata" else value
            return 200, self.store(version, plural, namespace, one, "MODIFIED")
        if live is None:
            return missing(plural, name)
        if "json-patch" in content_type:
            raise NotImplementedError("JSON patch")
        one = merged(copy.deepcopy(live), json.loads(body))
        return 200, self.store(version, plural, namespace, one, "MODIFIED")

    def store(self, version, plural, namespace, one, event):
        with self.changed:
            kind = next(kind for kind, known, _ in self.kinds[version] if known == plural)
            before = self.objects.get((version, plural, namespace, one["metadata"]["name"]))
            metadata = one["metadata"] = {"uid": str(uuid.uuid4()), "creationTimestamp": NOW, "generation": 1} | one["metadata"]
            if namespace:
                metadata["namespace"] = namespace
            if before is not None:
                metadata |= {"uid": before["metadata"]["uid"], "generation": before["metadata"]["generation"] + (before.get("spec") != one.get("spec"))}
            metadata["resourceVersion"] = str(len(self.events) + 1)
            one |= {"apiVersion": version, "kind": kind}
            self.control(kind, one)
            self.objects[version, plural, namespace, metadata["name"]] = one
            self.events.append((event, (version, plural, namespace, metadata["name"]), one))
            self.changed.notify_all()
            return one

    def remove(self, key):
        one = self.objects.pop(key)
        self.events.append(("DELETED", key, one))
        if key[1] == "namespaces":
            for other in [other for other in self.objects if other[2] == key[3]]:
                self.remove(other)
        if key[1] == "deployments":
            for other in [other for other in self.objects if other[1] in ("pods", "replicasets") and other[2] == key[2] and other[3].startswith(f"{key[3]}-")]:
                self.remove(other)
        self.changed.notify_all()

    def control(self, kind, one):
        """What controllers do about an object."""
        spec, metadata = one.get("spec") or {}, one["metadata"]
        replicas = spec.get("replicas", 1)
        if kind == "Deployment":
            spec.setdefault("replicas", 1)
            spec.setdefault("strategy", {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}})
            condition = [{"type": kind, "status": "True", "reason": "NewReplicaSetAvailable", "lastTransitionTime": NOW, "lastUpdateTime": NOW} for kind in ("Available", "Progressing")]
            one["status"] = {name: replicas for name in ("replicas", "readyReplicas", "availableReplicas", "updatedReplicas")} | {"conditions": condition, "observedGeneration": metadata["generation"]}
            pod = {"metadata": {"name": f"{metadata['name']}-0", "labels": spec["template"]["metadata"].get("labels", {})}, "spec": spec["template"]["spec"], "status": {"phase": "Running"}}
            self.store("v1", "pods", metadata["namespace"], pod, "ADDED")
            owner = [{"apiVersion": "apps/v1", "kind": "Deployment", "name": metadata["name"], "uid": metadata["uid"], "controller": True}]
            replica_set = {
                "metadata": {"name": f"{metadata['name']}-0", "labels": pod["metadata"]["labels"], "ownerReferences": owner}, "spec": spec,
                "status": {"replicas": replicas, "readyReplicas": replicas, "availableReplicas": replicas},
            }
            self.store("apps/v1", "replicasets", metadata["namespace"], replica_set, "ADDED")
        elif kind == "ReplicaSet":
            one["status"]["observedGeneration"] = metadata["generation"]
        elif kind == "StatefulSet":
            spec.setdefault("updateStrategy", {"type": "RollingUpdate"})
            one["status"] = {name: replicas for name in ("replicas", "readyReplicas", "availableReplicas", "updatedReplicas", "currentReplicas")}
            one["status"] |= {"currentRevision": "1", "updateRevision": "1", "observedGeneration": metadata["generation"]}
        elif kind == "Job":
            one["status"] = {"succeeded": 1, "startTime": NOW, "completionTime": NOW, "conditions": [{"type": "Complete", "status": "True", "lastTransitionTime": NOW}]}
        elif kind == "Service":
            spec.setdefault("clusterIP", "10.0.0.7")
            if spec.get("type") == "LoadBalancer":
                one["status"] = {"loadBalancer": {"ingress": [{"ip": "203.0.113.7"}]}}
        elif kind == "Namespace":
            one["status"] = {"phase": "Active"}
        elif kind == "CustomResourceDefinition":
            one["status"] = {"conditions": [{"type": name, "status": "True", "reason": name, "lastTransitionTime": NOW} for name in ("Established", "NamesAccepted")]}
            names, scope = spec["names"], spec["scope"] == "Namespaced"
            for version in spec["versions"]:
                known = self.kinds.setdefault(f"{spec['group']}/{version['name']}", [])
                if (names["kind"], names["plural"], scope) not in known:
                    known.append((names["kind"], names["plural"], scope))


def decoded(body):
    """An object from JSON, or from protobuf, in which Helm writes its Secrets and kubectl what it creates by itself."""
    if not body.startswith(b"k8s\0"):
        return json.loads(body)
    kind = first(fields(first(fields(body[4:]), 1)), 2).decode()
    found = fields(first(fields(body[4:]), 2))
    meta = fields(first(found, 1))
    texts = {1: "name", 3: "namespace", 6: "resourceVersion"}
    metadata = {name: first(meta, number).decode() for number, name in texts.items() if first(meta, number)}
    metadata |= {"labels": entries(meta, 11), "annotations": entries(meta, 12)}
    one = {"kind": kind, "metadata": metadata}
    if kind == "ConfigMap":
        one["data"] = entries(found, 2)
    elif kind == "Secret":
        one |= {"data": {name: base64.b64encode(value).decode() for name, value in entries(found, 2, bytes).items()}, "type": first(found, 3).decode()}
    elif kind != "Namespace":
        raise NotImplementedError(f"{kind} in protobuf")
    return one


def fields(data):
    """The fields of a protobuf message: number and value."""
    found, position = [], 0

    def varint():
        nonlocal position
        value = shift = 0
        while True:
            byte = data[position]
            position += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while position < len(data):
        tag = varint()
        if tag & 7 == 0:
            value = varint()
        elif tag & 7 == 2:
            size = varint()
            value = data[position : position + size]
            position += size
        else:
            raise NotImplementedError(f"wire type {tag & 7}")
        found.append((tag >> 3, value))
    return found


def first(found, number):
    return next((value for known, value in found if known == number), b"")


def entries(found, number, kind=str):
    """A map of a protobuf message."""
    read = bytes if kind is bytes else bytes.decode
    pairs = [fields(value) for known, value in found if known == number]
    return {first(pair, 1).decode(): read(first(pair, 2)) for pair in pairs}


def missing(plural, name):
    message = f'{plural} "{name}" not found' if plural else "the server could not find the requested resource"
    details = {"name": name, "kind": plural} if plural else {}
    return 404, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404, "message": message, "details": details}


def matches(labels, selector):
    """Label selectors as kubectl and Helm send them: a=b, a!=b, a in (b,c)."""
    for part in (found.strip() for found in re.findall(r"[^,(]+(?:\([^)]*\))?", selector)):
        if " in " in part:
            name, texts = part.split(" in ")
            if labels.get(name) not in texts.strip("()").split(","):
                return False
        elif "!=" in part:
            name, text = part.split("!=")
            if labels.get(name) == text:
                return False
        elif "=" in part:
            name, text = part.replace("==", "=").split("=")
            if labels.get(name) != text:
                return False
        else:
            raise NotImplementedError(f"label selector {selector}")
    return True


def merged(live, patch):
    """A JSON merge patch; of a strategic one as much as is needed: lists are replaced."""
    for field, value in patch.items():
        if field.startswith("$"):
            continue
        if value is None:
            live.pop(field, None)
        elif isinstance(value, dict) and isinstance(live.get(field), dict):
            live[field] = merged(live[field], value)
        else:
            live[field] = value
    return live


def table(kind, found):
    """What kubectl prints columns from."""
    columns = ["Name", "Ready", "Status", "Restarts", "Age"] if kind == "Pod" else ["Name", "Age"]
    rows = []
    for one in found:
        cells = [one["metadata"]["name"], "1/1", one.get("status", {}).get("phase"), 0, "1s"] if kind == "Pod" else [one["metadata"]["name"], "1s"]
        rows.append({"cells": cells, "object": {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": one["metadata"]}})
    definitions = [{"name": name, "type": "string", "format": "name" if name == "Name" else "", "description": "", "priority": 0} for name in columns]
    return {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {}, "columnDefinitions": definitions, "rows": rows}
