"""What values do: the defaults of the deployment guide, the configuration that the binary takes, sizes, and mistakes that are named."""

import json
import os
import re
import signal
import subprocess
import time
from urllib.parse import urlsplit

import pytest
import requests
from helm_python.errors import HelmError

from chart_cases import CASES, CHART, ROOT, S3 as STORE
from chart_cases import SPLIT, TRIAL, config_text, example, find, nested, objects, over, pods, texts
from platform_process import binary, free_ports
from services import S3, Postgres


def container(some, owner):
    return next(spec["containers"][0] for name, _, spec in pods(some) if name == owner)


def test_names_and_numbers_of_the_guide():
    some = objects(STORE)
    deployment = find(some, "Deployment", "otlp-service")
    assert deployment["spec"]["replicas"] == 3
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    process = container(some, "otlp-service")
    assert process["resources"] == {"requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"cpu": "500m", "memory": "512Mi"}}
    assert process["image"] == "otlp-rust:0.1.0"
    assert process["livenessProbe"]["httpGet"] == {"path": "/livez", "port": 8080}
    assert process["readinessProbe"]["httpGet"] == process["startupProbe"]["httpGet"] == {"path": "/readyz", "port": 8080}
    hpa = find(some, "HorizontalPodAutoscaler", "otlp-service-hpa")["spec"]
    assert (hpa["minReplicas"], hpa["maxReplicas"]) == (2, 10)
    targets = {metric["resource"]["name"]: metric["resource"]["target"]["averageUtilization"] for metric in hpa["metrics"]}
    assert targets == {"cpu": 70, "memory": 80}
    assert hpa["behavior"]["scaleDown"]["stabilizationWindowSeconds"] >= 300
    for kind, name in [
        ("ServiceAccount", "otlp-service-account"),
        ("Role", "otlp-service-role"),
        ("RoleBinding", "otlp-service-binding"),
        ("NetworkPolicy", "otlp-network-policy"),
        ("PodDisruptionBudget", "otlp-service"),
        ("Job", "otlp-service-migrate"),
    ]:
        find(some, kind, name)
    service = find(some, "Service", "otlp-service")["spec"]["ports"]
    assert {port["port"]: port["appProtocol"] for port in service} == {4317: "grpc", 4318: "http", 8080: "http", 9090: "http"}


def test_gateways_are_told_to_speak_grpc():
    """Each is told in its own way; the tests of Envoy and Nginx themselves are in test_topology.py."""
    kong = objects(CASES["kong as ingress"])
    assert find(kong, "Service", "otlp-service-grpc")["metadata"]["annotations"]["konghq.com/protocol"] == "grpc"
    route = find(kong, "Ingress", "otlp-service-grpc")
    assert route["metadata"]["annotations"]["konghq.com/protocols"] == "grpc,grpcs"
    assert {path["backend"]["service"]["name"] for path in route["spec"]["rules"][0]["http"]["paths"]} == {"otlp-service-grpc"}
    nginx = find(objects(CASES["examples/nginx/values.yaml"]), "Ingress", "otlp-service-grpc")["metadata"]["annotations"]
    assert nginx["nginx.ingress.kubernetes.io/backend-protocol"] == "GRPC" and nginx["nginx.org/grpc-services"] == "otlp-service"


def test_another_name():
    """With fullnameOverride nothing keeps the default name, so that two releases fit one namespace."""
    names = {it["metadata"]["name"] for it in objects(CASES["another name"])}
    assert names and all(name.startswith("telemetry") for name in names)


@pytest.mark.parametrize("case", CASES)
def test_grace_period_fits_the_drain(case):
    values = CASES[case]
    for it in find(objects(values), "Deployment"):
        spec = it["spec"]["template"]["spec"]
        assert spec["terminationGracePeriodSeconds"] == values.get("drain", {}).get("preStopSeconds", 10) + 30 + 5


def test_grace_period_follows_the_drain():
    some = objects(over(STORE, {"drain": {"preStopSeconds": 7, "shutdownTimeout": "1m30s500ms"}}))
    spec = find(some, "Deployment", "otlp-service")["spec"]["template"]["spec"]
    assert spec["terminationGracePeriodSeconds"] == 7 + 91 + 5
    assert spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"] == 7
    assert "drain_delay" not in config_text(some)
    # Kubernetes 1.29 does not know the action, and the image has nothing else to sleep with: the process itself waits.
    some = objects(over(STORE, nested("drain.preStopSeconds", 7)), "1.29.4-gke.100")
    assert "lifecycle" not in container(some, "otlp-service")
    assert "drain_delay: 7s" in config_text(some)


def test_pods_are_replaced_when_the_configuration_changes():
    def checksum(values):
        return find(objects(values), "Deployment", "otlp-service")["spec"]["template"]["metadata"]["annotations"]["checksum/config"]

    assert checksum(STORE) != checksum(over(STORE, {"log": {"level": "debug"}}))
    assert checksum(STORE) == checksum(over(STORE, {"replicaCount": 7}))


@pytest.mark.parametrize("case", CASES)
def test_one_pod_opens_its_share_of_connections(case):
    """All pods that there can be, one more while each Deployment is rolled, stay within the budget."""
    some = objects(CASES[case])
    budget = CASES[case].get("catalog", {}).get("connectionBudget", 90)
    if CASES[case].get("sizing", {}).get("enabled"):
        assert budget >= 90
    most = {hpa["spec"]["scaleTargetRef"]["name"]: hpa["spec"]["maxReplicas"] for hpa in find(some, "HorizontalPodAutoscaler")}
    count = sum(most.get(it["metadata"]["name"], it["spec"].get("replicas", 1)) + 1 for it in find(some, "Deployment"))
    share = next(int(line.split()[-1]) for line in config_text(some).splitlines() if "max_connections" in line)
    assert 2 <= share <= 10 and share * count <= budget


def files_of(pod, folder):
    """Lays out the mounts of a pod's first container below a folder, each secret with a value that its file may have."""
    contents = {
        "catalog-url": "postgres://otlp:secret@postgres:5432/otlp",
        "redis-url": "redis://:secret@redis:6379/0",
        "gcs-service-account.json": "{}",
    }
    there = set()
    for volume in pod["volumes"]:
        mounts = [mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == volume["name"]]
        sources = volume.get("projected", {}).get("sources") or ([{"secret": volume["secret"]}] if "secret" in volume else [])
        for source in sources:
            for item in source.get("secret", {}).get("items", []):
                path = folder / mounts[0].removeprefix("/") / item["path"]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(contents.get(path.name, "secret"))
                there.add(str(path))
    return there


def environment(process):
    """A clean environment with the container's variables; what comes from a Secret has a value."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("OTLP_RUST", "AWS_"))}
    return clean | {variable["name"]: variable.get("value", "from-a-secret") for variable in process.get("env", [])}


@pytest.mark.parametrize("case", CASES)
def test_binary_takes_the_configuration(case, tmp_path):
    """`otlp-rust config check` on each Deployment's file, arguments, variables and mounts: every key exists, every file is there."""
    some = objects(CASES[case], "1.29" if case == "s3" else "1.37")
    for it in find(some, "Deployment"):
        spec = it["spec"]["template"]["spec"]
        process = spec["containers"][0]
        text = config_text(some).replace("/etc/otlp-rust/", f"{tmp_path}/etc/otlp-rust/")
        there = files_of(spec, tmp_path)
        # What is mounted is what the configuration refers to, no more.
        assert {word for word in text.split() if word.startswith(f"{tmp_path}/")} == there
        file = tmp_path / "etc/otlp-rust/config.yaml"
        file.write_text(text)
        assert process["args"][:3] == ["serve", "--config", "/etc/otlp-rust/config.yaml"]
        command = [binary("otlp-rust", "OTLP_RUST_BIN"), "config", "check", "--config", file, *process["args"][3:]]
        done = subprocess.run(command, env=environment(process), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "warning" not in done.stderr


WRONG = {
    "nothing given": ({}, ["catalog.existingSecret.name is empty", "store.url is empty", "trial.enabled=true"]),
    "a typing error": (nested("replicaCounts", 3), ["replicaCounts"]),
    "a typing error deep inside": (nested("ingress.otlpHttp.hosts", "x"), ["ingress", "otlpHttp", "hosts"]),
    "a word for a number": (nested("replicaCount", "three"), ["replicaCount", "integer"]),
    "an unknown store": (nested("store.url", "ftp://x"), ["store", "url"]),
    "a key of the configuration that is not there": (nested("config.compaction.intervall", "5s"), ["config", "compaction", "intervall"]),
    "a value of the configuration that is wrong": (nested("config.log.format", "xml"), ["config", "log", "format"]),
    "retention in months": (nested("retention.default", "3 months"), ["retention", "default"]),
    "a quantity": (nested("resources.limits.memory", "512 MB"), ["resources", "limits", "memory"]),
    "a password": (nested("config.catalog.url", "postgres://u:p@h/d"), ["config.catalog.url", "catalog.existingSecret", "password"]),
    "a secret": (nested("config.store.s3.secret_access_key", "x"), ["config.store.s3.secret_access_key", "store.s3.existingSecret"]),
    "a port": (nested("config.server.http", "0.0.0.0:80"), ["config.server.http", "8080"]),
    "two meshes": (over(nested("istio.enabled", True), nested("linkerd.enabled", True)), ["choose one mesh"]),
    "two monitors": (over(nested("serviceMonitor.enabled", True), nested("podMonitor.enabled", True)), ["scraped twice"]),
    "a gateway without a name": (nested("gatewayApi.enabled", True), ["gatewayApi.parentRefs is empty"]),
    "an Istio gateway without hosts": (nested("istio", {"enabled": True, "gateways": ["a/b"]}), ["istio.hosts is empty"]),
    "an http store": (nested("store.s3.endpoint", "http://minio:9000"), ["store.s3.allowHttp=true"]),
    "azure without an account": (nested("store.url", "az://c"), ["store.azure.account"]),
    "fewest above most": (nested("autoscaling.minReplicas", 20), ["minReplicas 20 is above maxReplicas 10"]),
    "autoscaling by nothing": (
        nested("autoscaling", {"targetCPUUtilizationPercentage": None, "targetMemoryUtilizationPercentage": None}),
        ["nothing to go by"],
    ),
    "two autoscalers": (nested("verticalPodAutoscaler", {"enabled": True, "updateMode": "Auto"}), ["use Off"]),
    "too few connections": (nested("catalog.connectionBudget", 15), ["catalog.connectionBudget", "11 pods"]),
    "too much load": (over(example("values-small.yaml"), nested("sizing.spansPerSecond", 1e6)), ["needs", "values-medium.yaml"]),
    "an open API by Ingress": (
        nested("ingress", {"enabled": True, "api": {"host": "otlp.example.com"}, "annotations": {"cert-manager.io/cluster-issuer": "x"}}),
        ["ingress.api.host otlp.example.com", "ingress.api.annotations", "ingress.api.unauthenticated=true"],
    ),
    "an open API by a route": (
        nested("gatewayApi", {"enabled": True, "parentRefs": [{"name": "g"}], "apiHostnames": ["api.example.com"]}),
        ["HTTPRoute otlp-service-api", "gatewayApi.apiUnauthenticated=true"],
    ),
    "an open API by Istio": (
        nested("istio", {"enabled": True, "gateways": ["a/b"], "apiHosts": ["api.example.com"]}),
        ["istio.apiHosts", "istio.apiUnauthenticated=true"],
    ),
    "a host without a certificate": (
        nested("ingress", {"enabled": True, "otlpHttp": {"host": "otlp.acme.example"}}),
        ["ingress.tls has no certificate for otlp.acme.example", "ingress.tls=[]"],
    ),
    "a wildcard is for one label": (
        nested("ingress", {"enabled": True, "otlpGrpc": {"host": "a.b.example.com"}, "tls": [{"secretName": "t", "hosts": ["*.example.com"]}]}),
        ["ingress.tls has no certificate for a.b.example.com"],
    ),
    "an ingress without a host": (
        nested("ingress", {"enabled": True, "otlpHttp": {"host": ""}, "otlpGrpc": {"host": ""}}),
        ["no host is set"],
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_values_are_named(case):
    values, words = WRONG[case]
    with pytest.raises(HelmError) as error:
        texts(values if case == "nothing given" else over(STORE, values))
    assert not [word for word in words if word not in str(error.value)], error.value


def test_all_mistakes_at_once():
    with pytest.raises(HelmError) as error:
        texts({"istio": {"enabled": True}, "linkerd": {"enabled": True}})
    assert str(error.value).count("\n  - ") == 3


def sizes(values):
    """(replicas, fewest, most, CPU, memory in MiB) by Deployment."""
    some = objects(over(STORE, values))
    found = {}
    for it in find(some, "Deployment"):
        name = it["metadata"]["name"]
        bounds = [hpa["spec"] for hpa in find(some, "HorizontalPodAutoscaler") if hpa["spec"]["scaleTargetRef"]["name"] == name]
        bounds = bounds[0] if bounds else {"minReplicas": None, "maxReplicas": None}
        process = it["spec"]["template"]["spec"]["containers"][0]["resources"]
        memory = int(process["limits"]["memory"].removesuffix("Mi"))
        found[name] = (it["spec"]["replicas"], bounds["minReplicas"], bounds["maxReplicas"], process["requests"]["cpu"], memory)
    return found


def test_sizes_follow_the_formula():
    load = {"spansPerSecond": 100_000, "logRecordsPerSecond": 50_000, "samplesPerSecond": 500_000, "retention": "30d"}
    values = over(example("values-medium.yaml"), {"sizing": load})
    # 100,000 / 160,000 + 50,000 / 190,000 + 500,000 / 1,362,000 = 1.26 cores on average, 2.51 at the peak, of 0.7 a pod.
    # 2 x (100,000 x 503 + 50,000 x 299 + 500,000 x 61) B/s / 4 pods x 12 = 548 MiB; / 0.8 = 685, or 548 + 204 = 752.
    assert sizes(values) == {"otlp-service": (4, 3, 8, "1000m", 1024)}
    # (100,000 x 33 + 50,000 x 28 + 500,000 x 0.8) B/s x 30 d x 1.1
    assert "about 13543 GiB" in texts(over(STORE, values))["otlp-rust/templates/NOTES.txt"]
    assert "default: 30d" in config_text(objects(over(STORE, values)))


def measured():
    """What the sizes go by, of the third run: items per core and second by (work, signal), bytes of an item by (state, signal)."""
    report = json.loads((ROOT / "benches/results/third-run.json").read_text())
    figures = {figure["name"]: figure["measured"] for figure in report["figures"]}
    loads = dict(report["loads"])
    rates, sizes_of = {}, {}
    for load, item, items in [("traces", "span", "spans"), ("logs", "log record", "log records"), ("metrics", "sample", "samples")]:
        everything = figures[f"{load}: {items} per server CPU-second, compacted, all work counted"]
        received = figures[f"{load}: {items} per server CPU-second to the ack, without compaction that ran meanwhile"]
        rates["all", item] = everything
        rates["ingest", item] = received
        # What all work takes beyond receiving.
        rates["compact", item] = 1 / (1 / everything - 1 / received)
        sizes_of["raw", item] = loads[load]["raw_bytes"]
        sizes_of["at rest", item] = figures[f"{load}: bytes a {item} at rest, everything counted"]
    return rates, sizes_of


def test_sizes_are_planned_with_half_of_what_was_measured():
    """Each rate of the template is half of the measured one or just below, each size of an item at least the measured one, and the text says the same."""
    template = (CHART / "templates/_sizing.tpl").read_text()
    text, code = template.split("*/}}", 1)
    signals = ["span", "log record", "sample"]
    rates, sizes_of = measured()
    rows = {"all": "received and compacted", "ingest": "received only", "compact": "compacted only"}
    for work, row in rows.items():
        planned = [int(number) for number in re.search(rf'"{work}" \(list ([\d ]+)\)', code)[1].split()]
        assert [int(number.replace(",", "")) for number in re.search(rf"{row} +([\d, ]+)\n", text)[1].split()] == planned
        for number, signal in zip(planned, signals, strict=True):
            half = rates[work, signal] / 2
            assert 0.99 * half <= number <= half, f"{work}, {signal}: {number} of {half:.0f}"
    for state, factors, said in [
        ("raw", r"spansPerSecond\) (\d+).*logRecordsPerSecond\) (\d+).*samplesPerSecond\) (\d+)\) -", r"\((\d+) B a span, (\d+) B a log record, (\d+) B a sample, decompressed"),
        ("at rest", r"atRest.*spansPerSecond\) (\d+).*logRecordsPerSecond\) (\d+).*samplesPerSecond\) ([\d.]+)", r"at rest \((\d+) B a span, (\d+) B a log record, ([\d.]+) B a sample"),
    ]:
        planned = [float(number) for number in re.search(factors, code).groups()]
        assert [float(number) for number in re.search(said, text).groups()] == planned
        for number, signal in zip(planned, signals, strict=True):
            assert sizes_of[state, signal] <= number <= 1.05 * sizes_of[state, signal], f"{state}, {signal}"


def test_profiles_say_how_much_they_take():
    """The rates at which README.md and values-small.yaml say a profile ends are those at which it does, to a tenth."""
    readme = (CHART / "README.md").read_text()
    small = re.search(r"up to about ([\d,]+) spans a second", (CHART / "values-small.yaml").read_text())[1]
    assert f"up to about {small} spans a second" in readme
    medium = re.search(r"a company: up to about ([\d,]+)", readme)[1]
    for profile, most in (("small", small), ("medium", medium)):
        load = {"logRecordsPerSecond": 0, "samplesPerSecond": 0, "peakFactor": 1}
        spans = int(most.replace(",", ""))
        sizes(over(example(f"values-{profile}.yaml"), {"sizing": {**load, "spansPerSecond": spans * 0.99}}))
        with pytest.raises(HelmError, match="this profile is meant for"):
            sizes(over(example(f"values-{profile}.yaml"), {"sizing": {**load, "spansPerSecond": spans * 1.1}}))


@pytest.mark.parametrize("profile", ["small", "medium", "large"])
def test_more_load_never_means_less(profile):
    last = None
    for load in (0, 1_000, 10_000, 50_000, 100_000):
        now = sizes(over(example(f"values-{profile}.yaml"), {"sizing": {"spansPerSecond": load}}))
        for name, (replicas, fewest, most, _, memory) in now.items():
            assert memory >= 512 and replicas >= 2
            if most is not None:
                assert 2 <= fewest <= replicas <= most
            if last is not None:
                assert replicas >= last[name][0] and (most or 0) >= (last[name][2] or 0)
        last = now


def test_migration_of_a_new_database(tmp_path):
    """The Job's own command, on a database without a table, and again."""
    postgres = Postgres()
    try:
        job = find(objects(STORE), "Job", "otlp-service-migrate")
        spec = job["spec"]["template"]["spec"]
        process = spec["containers"][0]
        assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
        assert len(files_of(spec, tmp_path)) == 1
        variables = {key: value.replace("/etc/", f"{tmp_path}/etc/") for key, value in environment(process).items()}
        (tmp_path / "etc/otlp-rust/secrets/catalog-url").write_text(postgres.database() + "\n")
        for expected in ("catalog migrated from 0 to", "catalog is at version"):
            command = [binary("otlp-rust", "OTLP_RUST_BIN"), *process["args"]]
            done = subprocess.run(command, env=variables, capture_output=True, text=True, cwd=tmp_path)
            assert done.returncode == 0 and expected in done.stdout, done.stderr
        # Nothing is written beside the database: the root is read-only.
        assert sorted(path.name for path in tmp_path.iterdir()) == ["etc"]
    finally:
        postgres.stop()


def test_migration_comes_after_the_trials_database():
    job = find(objects(TRIAL), "Job", "otlp-service-migrate")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "post-install,pre-upgrade"


def ends_at(some, url):
    """The port of the pods that a URL in the cluster leads to."""
    address = urlsplit(url)
    ports = {port["port"]: port["targetPort"] for port in find(some, "Service", address.hostname)["spec"]["ports"]}
    named = next(spec["containers"][0]["ports"] for owner, _, spec in pods(some) if owner == "otlp-service")
    return next(port["containerPort"] for port in named if port["name"] == ports[address.port])


def test_pod_runs_as_rendered(tmp_path):
    """The container's command line, file, variables and probes against a PostgreSQL and an S3 endpoint; then its end within the grace period."""
    postgres, store = Postgres(), S3()
    process = None
    try:
        values = over(STORE, {"store": {"url": "s3://lake/chart", "s3": {"endpoint": store.ready["url"], "allowHttp": True}}})
        some = objects(values)
        spec = find(some, "Deployment", "otlp-service")["spec"]["template"]["spec"]
        container = spec["containers"][0]
        files_of(spec, tmp_path)
        secrets = tmp_path / "etc/otlp-rust/secrets"
        (secrets / "catalog-url").write_text(postgres.database())
        (secrets / "s3-secret-access-key").write_text(store.ready["secret_access_key"])
        text = config_text(some).replace("/etc/otlp-rust/", f"{tmp_path}/etc/otlp-rust/")
        ports = dict(zip((4317, 4318, 8080, 9090), free_ports(4)))
        for port, free in ports.items():
            assert f"0.0.0.0:{port}" in text
            text = text.replace(f"0.0.0.0:{port}", f"127.0.0.1:{free}")
        (tmp_path / "etc/otlp-rust/config.yaml").write_text(text)
        arguments = [argument.replace("/etc/", f"{tmp_path}/etc/") for argument in container["args"]]
        variables = environment(container) | {"OTLP_RUST__STORE__S3__ACCESS_KEY_ID": store.ready["access_key_id"]}
        work = tmp_path / "work"
        work.mkdir()
        with open(tmp_path / "log", "wb") as log:
            command = [binary("otlp-rust", "OTLP_RUST_BIN"), *arguments]
            process = subprocess.Popen(command, env=variables, cwd=work, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

        def probe(kind):
            get = container[kind]["httpGet"]
            try:
                return requests.get(f"http://127.0.0.1:{ports[get['port']]}{get['path']}", timeout=2).status_code
            except requests.RequestException:
                return None

        deadline = time.monotonic() + 60
        while probe("startupProbe") != 200:
            assert process.poll() is None and time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.1)
        assert probe("livenessProbe") == probe("readinessProbe") == 200
        # The pod of `helm test` asks through the Service, which is this process here.
        test = find(some, "Pod", "otlp-service-test")["spec"]["containers"][0]["args"]
        assert test[:2] == ["health", "--url"] and ends_at(some, test[2]) == 8080
        question = [binary("otlp-rust", "OTLP_RUST_BIN"), *test[:2], f"http://127.0.0.1:{ports[8080]}/readyz"]
        assert subprocess.run(question, env=variables, capture_output=True).returncode == 0
        assert "otlp_build_info" in requests.get(f"http://127.0.0.1:{ports[9090]}/metrics", timeout=5).text
        assert list(work.iterdir()) == [], "nothing is written to the disk: the root is read-only"
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(spec["terminationGracePeriodSeconds"]) == 0
        assert time.monotonic() - begun < spec["terminationGracePeriodSeconds"] - 10
        # Logs are for machines: one object a line.
        lines = [line for line in (tmp_path / "log").read_text().splitlines() if line.startswith("{")]
        assert any("stopping" in json.dumps(json.loads(line)) for line in lines)
    finally:
        if process is not None and process.poll() is None:
            process.kill()
            process.wait()
        store.stop()
        postgres.stop()
