"""The cluster behind the stand-ins for kubectl and helm: see README.md."""

import json
import re
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path

import yaml

# The platform's own chart is rendered by the real Helm.
HELM = Path(__file__).resolve().parents[3] / ".tools/kubernetes/helm4"
PLURALS = {
    "namespace": "namespaces", "ns": "namespaces", "configmap": "configmaps", "secret": "secrets", "crd": "customresourcedefinitions",
    "pod": "pods", "deployment": "deployments", "service": "services", "ingressclass": "ingressclasses",
    "deployment.apps": "deployments", "statefulset.apps": "statefulsets",
}
SINGULAR = {"deployments": "deployment.apps", "statefulsets": "statefulset.apps"}
# Custom resources that exist only after their definition.
DEFINED_BY = {
    "prometheuses.monitoring.coreos.com", "gateways.networking.istio.io", "gateways.gateway.networking.k8s.io",
    "gatewayclasses.gateway.networking.k8s.io",
}
REFUSED = "The connection to the server 10.0.0.1:6443 was refused - did you specify the right host or port?"
CLUSTER_WIDE = {
    "namespaces", "storageclasses", "customresourcedefinitions", "ingressclasses", "gatewayclasses.gateway.networking.k8s.io",
    "apiservices.apiregistration.k8s.io",
}


class Stop(Exception):
    """The program ends with this code and message."""

    def __init__(self, code, text="", out=""):
        super().__init__(text)
        self.code = code
        self.text = text
        self.out = out


class Cluster:
    """What the cluster holds, which calls came, and what shall go wrong.

    `faults` are dictionaries: `call` is a pattern that the call must match; then it takes `seconds`, leaves `releases` and `objects`
    behind, and ends with `code` (1 unless said) and `stderr`; with code 0 the call goes on as ever. Each happens `times` times (once).
    """

    def __init__(self):
        self.version = "v1.34.2"
        self.helm_version = "v4.3.1+gc0d08d0"
        self.unreachable = False
        # Patterns of what `kubectl auth can-i` refuses, such as "create namespaces".
        self.denied = []
        self.objects = {}
        # Namespace/name to revision, status and chart.
        self.releases = {}
        # The real ports that port-forward leads to. Of what has pods here: namespace/NAME of the container's port; of others:
        # namespace/service/NAME:PORT.
        self.ports = {}
        # A server's SSL context for port 443.
        self.tls = None
        self.logs = {}
        self.faults = []
        self.calls = []
        self.lock = threading.RLock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self):
        self.listener.close()

    def _serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection):
        received = b""
        while received.count(b"\0") < 1 or received.count(b"\0") < int(received.split(b"\0")[0]) + 3:
            data = connection.recv(65536)
            if not data:
                return
            received += data
        _, program, *arguments, standard_input, _ = received.decode().split("\0")
        out, error, code = "", "", 0
        try:
            out = self.call(program, arguments, standard_input, connection) or ""
        except Stop as stop:
            out, error, code = stop.out, stop.text, stop.code
        lines = [f"o{line}" for line in out.split("\n")[:-1]]
        if out and not out.endswith("\n"):
            lines.append("n" + out.split("\n")[-1])
        lines += [f"e{line}" for line in error.splitlines()] + [f"x{code}"]
        try:
            connection.sendall("".join(line + "\n" for line in lines).encode())
        except OSError:
            pass  # It was killed.
        connection.close()

    def call(self, program, arguments, standard_input, connection):
        line = f"{program} {' '.join(arguments)}"
        with self.lock:
            self.calls.append([program, *arguments])
            fault = next((one for one in self.faults if one.get("times", 1) > 0 and re.search(one["call"], line)), None)
            if fault:
                fault["times"] = fault.get("times", 1) - 1
        if fault:
            time.sleep(fault.get("seconds", 0))
            with self.lock:
                self.releases |= fault.get("releases", {})
                self.objects |= fault.get("objects", {})
            if fault.get("code", 1):
                raise Stop(fault.get("code", 1), fault.get("stderr", ""), fault.get("stdout", ""))
        words, flags = options(arguments, KUBECTL_VALUES if program == "kubectl" else HELM_VALUES)
        if program == "kubectl" and words[0] == "port-forward":
            return port_forward(self, words, flags, connection)
        with self.lock:
            return {"kubectl": kubectl, "helm": helm}[program](self, words, flags, standard_input)

    def key(self, kind, namespace, name):
        return f"{kind}/{'' if kind in CLUSTER_WIDE else namespace}/{name}"

    def find(self, kind, namespace, name):
        return self.objects.get(self.key(kind, namespace, name))

    def put(self, kind, namespace, name, labels=None, **rest):
        if kind not in CLUSTER_WIDE and not self.find("namespaces", "", namespace):
            raise Stop(1, f'Error from server (NotFound): namespaces "{namespace}" not found')
        metadata = {"name": name, "namespace": namespace, "labels": labels or {}}
        self.objects[self.key(kind, namespace, name)] = {"metadata": metadata} | rest

    def remove(self, kind, namespace, name):
        return self.objects.pop(self.key(kind, namespace, name), None)

    def all(self, kind, namespace=None, selector=None):
        wanted = selected(selector or "")
        for key, value in self.objects.items():
            labels = value["metadata"].get("labels", {})
            if key.startswith(kind + "/") and (namespace is None or kind in CLUSTER_WIDE or value["metadata"]["namespace"] == namespace):
                if matches(labels, wanted):
                    yield value


def matches(labels, wanted):
    return all(labels.get(name) in texts for name, texts in wanted.items())


def selected(selector):
    """A label selector, such as `a=b,c in (d,e)`, as the values that each label may have."""
    wanted = {}
    for part in re.findall(r"[^,(]+(?:\([^)]*\))?", selector):
        name, _, texts = part.partition(" in ") if " in " in part else part.partition("=")
        wanted[name.strip()] = texts.strip("()").split(",")
    return wanted


def options(arguments, with_value):
    """Splits arguments into positional ones and a dictionary of options."""
    words, found = [], {}
    rest = iter(arguments)
    for word in rest:
        if not word.startswith("-") or word == "-":
            words.append(word)
            continue
        name, equals, value = word.partition("=")
        if equals:
            pass
        elif name in with_value:
            value = next(rest)
        else:
            value = True
        found.setdefault(name, []).append(value)
    return words, found


# --- kubectl -----------------------------------------------------------------------------------------------------------------

KUBECTL_VALUES = {
    "-n", "--namespace", "-o", "-l", "--context", "--timeout", "--type", "--patch", "--sort-by", "--field-selector", "--address", "-f",
}


def path(value, expression):
    """The values that a path of kubectl's JSONPath leads to: .a.b, [0], [*], [?(@.a.b=="c")], \\. in names."""
    found = [value]
    pattern = r'\.((?:\\.|[^.\[\]\\])+)|\[(\d+|\*)\]|\[\?\(@((?:\\.|[^=!])+)(==|!=)"([^"]*)"\)\]'
    position = 0
    for step in re.finditer(pattern, expression):
        if step.start() != position:
            raise Stop(1, f"error: error parsing jsonpath {expression}")
        position = step.end()
        name, index, filter_path, relation, text = step.groups()
        following = []
        for one in found:
            if name is not None:
                name_read = name.replace("\\", "")
                if isinstance(one, dict) and name_read in one:
                    following.append(one[name_read])
            elif index == "*":
                following += one or []
            elif index is not None:
                following += (one or [])[int(index) : int(index) + 1]
            else:
                following += [item for item in one if (path(item, filter_path) == [text]) == (relation == "==")]
        found = following
    if position != len(expression):
        raise Stop(1, f"error: error parsing jsonpath {expression}")
    return found


def jsonpath(value, template):
    """kubectl's -o jsonpath, as far as the scripts use it: paths, texts, range ... end."""
    # A text outside of braces is printed as it is.
    parts = [inner if whole.startswith("{") else json.dumps(whole) for whole, inner in re.findall(r"(\{((?:[^{}\"]|\"(?:\\.|[^\"])*\")*)\}|[^{}]+)", template)]

    def run(position, context):
        out = ""
        while position < len(parts):
            part = parts[position]
            if part == "end":
                return out, position
            if part.startswith("range "):
                items = path(context, part[6:])
                end = None
                for item in items:
                    text, end = run(position + 1, item)
                    out += text
                if end is None:
                    _, end = run(position + 1, {})
                position = end
            elif part.startswith('"'):
                out += json.loads(part)
            else:
                found = [one for one in path(context, part)]
                out += " ".join(one if isinstance(one, str) else json.dumps(one) for one in found)
            position += 1
        return out, position

    return run(0, value)[0]


def kubectl_get(cluster, words, flags):
    kinds = words[0].split(",")
    name = words[1] if len(words) > 1 else None
    namespace = None if "--all-namespaces" in flags else (flags.get("--namespace") or ["default"])[-1]
    output = (flags.get("-o") or [""])[-1]
    items = []
    for kind in kinds:
        kind = PLURALS.get(kind, kind)
        if kind in DEFINED_BY and not cluster.find("customresourcedefinitions", "", kind):
            raise Stop(1, f'error: the server doesn\'t have a resource type "{kind}"')
        if name:
            one = cluster.find(kind, namespace, name)
            if one is None and "--ignore-not-found" not in flags:
                raise Stop(1, f'Error from server (NotFound): {kind} "{name}" not found')
            items += [] if one is None else [one]
            continue
        for one in cluster.all(kind, namespace, (flags.get("-l") or [None])[-1]):
            items.append(one | {"kind": kind})
    if output == "name":
        return "".join(f"{SINGULAR.get(one.get('kind'), words[0])}/{one['metadata']['name']}\n" for one in items)
    if output.startswith("jsonpath="):
        if name and not items:
            return ""
        return jsonpath(items[0] if name else {"items": items}, output[len("jsonpath=") :])
    if output.startswith("go-template="):
        # The one template that undeploy.sh has: keys and values of a ConfigMap.
        return "".join(f"{key} {value}\n" for one in items for key, value in sorted(one.get("data", {}).items()))
    if words[0] == "pods":
        return "".join(f"{one['metadata']['name']}   {one['ready']}   {one['status']}   0   1m\n" for one in items)
    if words[0] == "events":
        return "".join(one["text"] + "\n" for one in items)
    raise Stop(1, f"stand-in: kubectl get {words} {flags}")


def kubectl_marks(cluster, words, flags, what):
    # kubectl label|annotate namespace NAME KEY=VALUE|KEY- --overwrite
    one = cluster.find("namespaces", "", words[1])
    if one is None:
        raise Stop(1, f'Error from server (NotFound): namespaces "{words[1]}" not found')
    marks = one["metadata"].setdefault(what, {})
    for mark in words[2:]:
        key, equals, value = mark.partition("=")
        if equals:
            marks[key] = value
        else:
            marks.pop(key.rstrip("-"), None)


def kubectl_delete(cluster, words, flags):
    kind = PLURALS.get(words[0], words[0])
    namespace = (flags.get("--namespace") or ["default"])[-1]
    if kind == "namespaces":
        cluster.remove("namespaces", "", words[1])
        for key, value in list(cluster.objects.items()):
            if value["metadata"]["namespace"] == words[1] and key.split("/")[0] not in CLUSTER_WIDE:
                del cluster.objects[key]
        for key in list(cluster.releases):
            if key.startswith(words[1] + "/"):
                del cluster.releases[key]
    elif len(words) > 1:
        cluster.remove(kind, namespace, words[1])
    else:
        for kind in words[0].split(","):
            for one in list(cluster.all(kind, namespace, flags["-l"][-1])):
                cluster.remove(kind, namespace, one["metadata"]["name"])


def kubectl(cluster, words, flags, standard_input):
    command = words[0]
    namespace = (flags.get("--namespace") or ["default"])[-1]
    if command == "version":
        client = {"clientVersion": {"gitVersion": "v1.37.2"}, "kustomizeVersion": "v5.7.1"}
        if cluster.unreachable:
            raise Stop(1, REFUSED, json.dumps(client, indent=2) + "\n")
        return json.dumps(client | {"serverVersion": {"gitVersion": cluster.version}}, indent=2)
    if cluster.unreachable:
        raise Stop(1, REFUSED)
    if command == "config":
        return "stand-in\n"
    if command == "auth":
        asked = " ".join(words[2:] + [f"--subresource={one}" for one in flags.get("--subresource", [])])
        denied = any(re.search(pattern, asked) for pattern in cluster.denied)
        if denied:
            raise Stop(1, out="no\n")
        return "yes\n"
    if command == "get":
        return kubectl_get(cluster, words[1:], flags)
    if command == "create":
        kind, name = PLURALS[words[1]], words[3] if words[1] == "secret" else words[2]
        if cluster.find(kind, namespace, name):
            raise Stop(1, f'Error from server (AlreadyExists): {kind} "{name}" already exists')
        if kind == "namespaces":
            cluster.put(kind, name, name, annotations={})
        else:
            data = {}
            for one in flags.get("--from-literal", []) + flags.get("--from-file", []):
                key, _, value = one.partition("=")
                data[key] = standard_input if value == "/dev/stdin" else value
            cluster.put(kind, namespace, name, data=data)
        return f"{words[1]}/{name} created\n"
    if command in ("label", "annotate"):
        kubectl_marks(cluster, words[1:], flags, {"label": "labels", "annotate": "annotations"}[command])
        return f"namespace/{words[2]} {command}ed\n"
    if command == "patch":
        one = cluster.find(PLURALS[words[1]], namespace, words[2])
        if one is None:
            raise Stop(1, f'Error from server (NotFound): configmaps "{words[2]}" not found')
        for key, value in json.loads(flags["--patch"][0])["data"].items():
            if value is None:
                one["data"].pop(key, None)
            else:
                one["data"][key] = value
        return f"configmap/{words[2]} patched\n"
    if command == "delete":
        kubectl_delete(cluster, words[1:], flags)
        return "deleted\n"
    if command == "apply":
        manifest = json.loads(standard_input)
        for one in manifest.get("items", [manifest]):
            group = one["apiVersion"].split("/")[0]
            kind = one["kind"].lower() + ("es" if one["kind"].endswith("s") else "s")
            if f"{kind}.{group}" not in DEFINED_BY or not cluster.find("customresourcedefinitions", "", f"{kind}.{group}"):
                raise Stop(1, f'error: no matches for kind "{one["kind"]}" in version "{one["apiVersion"]}"')
            stored = f"{kind}.{group}"
            metadata = one["metadata"]
            cluster.put(stored, metadata.get("namespace", ""), metadata["name"], spec=one["spec"])
            if group == "gateway.networking.k8s.io" and kind == "gateways":
                # What Envoy Gateway does then.
                entrance(cluster, metadata["namespace"], "envoy-otlp", [item["port"] for item in one["spec"]["listeners"]])
        return "applied\n"
    if command == "wait":
        return "condition met\n"
    if command == "rollout":
        kind, name = words[2].split("/")
        if cluster.find(PLURALS.get(kind, kind), namespace, name) is None:
            raise Stop(1, f'Error from server (NotFound): "{name}" not found')
        return f'deployment "{name}" successfully rolled out\n'
    if command == "logs":
        text = cluster.logs.get(words[1])
        if text is None or "--previous" in flags:
            raise Stop(1, "Error from server (BadRequest): previous terminated container not found")
        return text + "\n"
    raise Stop(1, f"stand-in: kubectl {words} {flags}")


def behind(cluster, namespace, resource, port):
    """The real port that a forwarded one leads to, as kubectl finds it: of a Service it takes one pod, whichever, and asks that for the
    port which the Service names; the test has the one that fits least."""
    if f"{namespace}/{resource}:{port}" in cluster.ports:
        return cluster.ports[f"{namespace}/{resource}:{port}"]
    kind, name = resource.split("/")
    one = cluster.find(PLURALS[kind], namespace, name)
    if one is None:
        raise Stop(1, f'Error from server (NotFound): {PLURALS[kind]} "{name}" not found')
    if kind == "deployment":
        named = next((known for known, number in container_ports(one).items() if number == int(port)), None)
    else:
        wanted = {label: [text] for label, text in one["spec"]["selector"].items()}
        pods = [known for known in cluster.all("deployments", namespace) if matches(known["spec"]["template"]["metadata"]["labels"], wanted)]
        named = next(item["targetPort"] for item in one["spec"]["ports"] if item["port"] == int(port))
        for pod in pods:
            if named not in container_ports(pod):
                raise Stop(1, f"error: Pod '{pod['metadata']['name']}-0' does not have a named port '{named}'")
    if f"{namespace}/{named}" not in cluster.ports:
        raise Stop(1, f"error: lost connection to pod: nothing listens on port {port}")
    return cluster.ports[f"{namespace}/{named}"]


def container_ports(deployment):
    containers = deployment["spec"]["template"]["spec"]["containers"]
    return {port["name"]: port["containerPort"] for container in containers for port in container.get("ports", [])}


def port_forward(cluster, words, flags, connection):
    """Leads to a real server until the caller is gone."""
    namespace, port = flags["--namespace"][-1], words[2].lstrip(":")
    target = behind(cluster, namespace, words[1], port)
    listener = socket.create_server(("127.0.0.1", 0))
    connection.sendall(f"oForwarding from 127.0.0.1:{listener.getsockname()[1]} -> {port}\n".encode())

    def copy(source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass
        finally:
            sink.close()

    def forward():
        while True:
            try:
                client, _ = listener.accept()
                if port == "443":
                    client = cluster.tls.wrap_socket(client, server_side=True)
            except ssl.SSLError:
                continue
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", target))
            threading.Thread(target=copy, args=(client, server), daemon=True).start()
            threading.Thread(target=copy, args=(server, client), daemon=True).start()

    threading.Thread(target=forward, daemon=True).start()
    connection.recv(1)
    # close() alone does not wake the thread that accepts.
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


# --- helm --------------------------------------------------------------------------------------------------------------------

HELM_VALUES = {
    "--namespace", "--kube-context", "--values", "--set", "--set-string", "--set-json", "--timeout", "--version", "--repo", "--kube-version",
}


def entrance(cluster, namespace, name, ports):
    """A Service with an address in the world."""
    spec = {"type": "LoadBalancer", "clusterIP": "10.0.0.7", "ports": [{"port": port} for port in ports]}
    cluster.put("services", namespace, name, spec=spec, status={"loadBalancer": {"ingress": [{"ip": "203.0.113.7"}]}})


def rendered(chart, release, namespace, flags):
    """The platform's own chart with the values of the call."""
    given = [word for option in ("--values", "--set", "--set-string", "--set-json") for value in flags.get(option, []) for word in (option, value)]
    done = subprocess.run([HELM, "template", release, chart, "--namespace", namespace, *given], capture_output=True, text=True)
    if done.returncode:
        raise Stop(1, done.stderr)
    return done.stdout


def bring_platform(cluster, chart, release, namespace, flags):
    """The Deployments and Services of the platform's own chart."""
    for one in yaml.safe_load_all(rendered(chart, release, namespace, flags)):
        if one and one["kind"] in ("Deployment", "Service"):
            metadata = one["metadata"]
            cluster.put(PLURALS[one["kind"].lower()], namespace, metadata["name"], labels=metadata["labels"], spec=one["spec"], status={})


def bring(cluster, chart, release, namespace):
    """What the charts of others put into a cluster, as far as the scripts look at it."""
    if chart == "base":
        cluster.put("customresourcedefinitions", "", "gateways.networking.istio.io")
    elif chart == "istiod":
        cluster.put("deployments", namespace, "istiod", labels={"app": "istiod", "istio.io/rev": "default"})
    elif chart == "cni":
        cluster.put("daemonsets", namespace, "istio-cni-node", labels={"k8s-app": "istio-cni-node"})
    elif chart == "gateway":
        entrance(cluster, namespace, release, [15021, 80, 443])
    elif chart == "kube-prometheus-stack":
        cluster.put("customresourcedefinitions", "", "prometheuses.monitoring.coreos.com")
        cluster.put("prometheuses.monitoring.coreos.com", namespace, release)
    elif chart == "prometheus-blackbox-exporter":
        cluster.put("deployments", namespace, release)
    elif chart in ("nginx-ingress", "ingress"):
        cluster.put("ingressclasses", "", "kong" if chart == "ingress" else "nginx")
        entrance(cluster, namespace, f"{release}-controller", [80, 443])
    elif chart == "gateway-helm":
        cluster.put("customresourcedefinitions", "", "gatewayclasses.gateway.networking.k8s.io")
        cluster.put("customresourcedefinitions", "", "gateways.gateway.networking.k8s.io")
    else:
        raise Stop(1, f"Error: chart {chart} not found")


def helm(cluster, words, flags, _):
    command = words[0]
    namespace = (flags.get("--namespace") or ["default"])[-1]
    if command == "version":
        return cluster.helm_version + "\n"
    if command == "template":
        return rendered(words[2], words[1], namespace, flags)
    releases = cluster.releases
    if cluster.unreachable:
        raise Stop(1, "Error: Kubernetes cluster unreachable")
    if command == "upgrade":
        release, chart = words[1:3]
        name = re.sub(r"(-v?[0-9][^/]*)?(\.tgz)?$", "", chart.rstrip("/").split("/")[-1])
        key = f"{namespace}/{release}"
        if name == "otlp-rust":
            bring_platform(cluster, chart, release, namespace, flags)
        else:
            bring(cluster, name, release, namespace)
        one = releases.setdefault(key, {"revision": 0, "chart": name})
        one |= {"revision": one["revision"] + 1, "status": "deployed"}
        return "Release has been upgraded. Happy Helming!\n"
    key = f"{namespace}/{words[1]}"
    if key not in releases:
        raise Stop(1, "Error: release: not found" if command == "status" else f"Error: {command}: Release not loaded: {words[1]}: release: not found")
    if command == "status":
        one = releases[key]
        return f"NAME: {words[1]}\nNAMESPACE: {namespace}\nSTATUS: {one['status']}\nREVISION: {one['revision']}\nTEST SUITE: None\n"
    if command == "rollback":
        releases[key] |= {"revision": releases[key]["revision"] + 1, "status": "deployed"}
        return "Rollback was a success! Happy Helming!\n"
    if command == "uninstall":
        chart = releases.pop(key)["chart"]
        # Definitions outlive their chart.
        if chart == "otlp-rust":
            for kind in ("deployments", "services"):
                for one in list(cluster.all(kind, namespace, f"app.kubernetes.io/instance={words[1]}")):
                    cluster.remove(kind, namespace, one["metadata"]["name"])
        elif chart == "istiod":
            cluster.remove("deployments", namespace, "istiod")
        elif chart == "kube-prometheus-stack":
            cluster.remove("prometheuses.monitoring.coreos.com", namespace, words[1])
        elif chart == "prometheus-blackbox-exporter":
            cluster.remove("deployments", namespace, words[1])
        elif chart in ("nginx-ingress", "ingress"):
            cluster.remove("ingressclasses", "", "kong" if chart == "ingress" else "nginx")
        return "release uninstalled\n"
    raise Stop(1, f"stand-in: helm {words} {flags}")
