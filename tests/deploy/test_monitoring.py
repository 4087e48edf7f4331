"""monitoring/: every rule and every query of every dashboard against a real Prometheus that scrapes a filled platform; routes and
inhibition in a real Alertmanager; dashboards against Grafana's own model of them."""

import contextlib
import copy
import json
import math
import re
import sys
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
import pytest
import requests
import yaml
from opentelemetry.proto.metrics.v1.metrics_pb2 import Exemplar, Histogram, HistogramDataPoint, Metric

import wire
from alerting_stack import MONITORING, Alertmanager, Prometheus, prometheus_for_tests, write_yaml
from platform_process import Platform, free_ports
from programs import run, wait_until
from promql_names import name_of, selectors
from services import S3, Postgres, Redis

STAND_IN = Path(__file__).parent / "stand_ins" / "exporters.prom"
DASHBOARDS = sorted(MONITORING.glob("dashboards/*.json"))
RUNBOOKS = "docs/operations/en/src/runbooks.md"
RULES = yaml.safe_load((MONITORING / "otlp-rules.yml").read_text())
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"] if "alert" in rule]
RECORDED = [rule for group in RULES["groups"] for rule in group["rules"] if "record" in rule]

# Variables of the dashboards, as Grafana fills them in for "All". The interval covers all that the scene does.
VARIABLES = {"$job": "otlp-rust", "$instance": ".*", "$tenant": ".*", "$namespace": ".*", "$pod": ".*", "$__rate_interval": "5m"}

# Series that a healthy platform does not have, with the reason. Their names are checked all the same.
ABSENT_WHEN_HEALTHY = {
    'ALERTS{alertstate="firing", severity="critical"}': "no critical alert fires",
    'ALERTS_FOR_STATE{alertname=~"Otlp.+", alertname!="OtlpUnresolved", severity="critical"}': "no critical alert is pending",
    'ALERTS{alertname=~"Otlp.+",alertstate="firing"}': "no alert may have fired yet",
}


class HurriedPrometheus(Prometheus):
    """With the configuration given, but it scrapes and evaluates every other second; `targets`: what stands in its files, by their names."""

    def __init__(self, folder, config, targets):
        (folder / "targets").mkdir(parents=True)
        write_yaml(folder / "prometheus-config.yaml", prometheus_for_tests(config, "2s"))
        (folder / "otlp-rules.yml").write_text((MONITORING / "otlp-rules.yml").read_text())
        for name, target in targets.items():
            write_yaml(folder / f"targets/{name}.yaml", [{"targets": target}])
        super().__init__(folder, free_ports(1)[0], "--query.lookback-delta=1m")


class Exporters:
    """Serves the stand-in's metrics."""

    def __init__(self):
        started = time.time()

        def value(kind, name, number):
            if name.endswith(("_expiry", "_expiration_timestamp_seconds")):
                return started + number
            return number + time.time() - started if kind == "counter" else number

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                kind, lines = None, []
                for line in STAND_IN.read_text().splitlines():
                    if line.startswith("# TYPE"):
                        kind = line.split()[3]
                    elif not line.startswith("#"):
                        series, number = line.rsplit(" ", 1)
                        line = f"{series} {value(kind, series.split('{')[0], float(number))}"
                    lines.append(line)
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.end_headers()
                with contextlib.suppress(BrokenPipeError):  # who asked had no patience
                    self.wfile.write(("\n".join(lines) + "\n").encode())

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


def histogram():
    exemplar = Exemplar(time_unix_nano=wire.now(), as_double=0.3, trace_id=b"t" * 16, span_id=b"s" * 8)
    point = HistogramDataPoint(time_unix_nano=wire.now(), count=3, sum=1.0, bucket_counts=[1, 2], explicit_bounds=[0.1], exemplars=[exemplar])
    return Metric(name="latency", unit="s", histogram=Histogram(data_points=[point], aggregation_temporality=2))


def fill(server):
    """A little of everything that can happen to a platform. Called again and again while Prometheus looks on."""
    old = wire.now() - 2 * 86_400 * 10**9
    span = wire.span("twice", trace_id=b"t" * 16, span_id=b"s" * 8, start_time_unix_nano=wire.now() // 10**12 * 10**12)
    for signal, item in [("traces", wire.span()), ("logs", wire.record()), ("metrics", wire.gauge()), ("metrics", histogram())]:
        wire.send_http(server, signal, wire.request(signal, [item, item]))
        wire.send_grpc(server, signal, wire.request(signal, [item]))
        assert wire.post(server, signal, b"no protobuf").status_code == 400
    # Past its retention, sent twice in different requests, in parts invalid, and more than the tenant may send.
    wire.send_http(server, "traces", wire.request("traces", [wire.span(start_time_unix_nano=old), wire.span(start_time_unix_nano=old)]))
    wire.send_http(server, "traces", wire.request("traces", [span]))
    wire.send_http(server, "traces", wire.request("traces", [wire.span(), wire.span(trace_id=b"")]))
    # Different ones, because what is sent again costs a tenant nothing.
    much = [wire.request("logs", [wire.record("x" * 5000)]).SerializeToString() for _ in range(5)]
    codes = {wire.post(server, "logs", one, tenant="limited").status_code for one in much}
    assert 429 in codes, codes
    # Queries that succeed, that are wrong, that reach a limit.
    server.sql("SELECT count(*) FROM spans")
    server.sql("SELECT service_name, count(*) FROM logs GROUP BY 1")
    assert server.sql_raw("SELECT nonsense FROM", "json").status_code == 400
    requests.get(f"{server.http_url}/tempo/api/traces/{(b't' * 16).hex()}", timeout=60)
    deletion = {"tenant": "default", "dataset": "logs", "where": "body = 'hello'"}
    assert requests.post(f"{server.http_url}/api/v1/admin/deletions", json=deletion, timeout=60).status_code < 300


class Scene:
    """The platform, filled, on real services; a Prometheus with the shipped configuration that has looked on."""

    def __init__(self, folder, ending):
        def started(service):
            ending.callback(service.stop)
            return service

        self.postgres, redis, s3, exporters = started(Postgres()), started(Redis()), started(S3()), started(Exporters())
        redis.start()
        env = s3.env(uuid.uuid4().hex) | {
            "OTLP_RUST__CATALOG__URL": self.postgres.database(),
            "OTLP_RUST__REDIS__URL": redis.url,
            "OTLP_RUST__COMMIT__MIN_INTERVAL": "20ms",
            "OTLP_RUST__COMPACTION__INTERVAL": "1s",
            "OTLP_RUST__COMPACTION__MAX_SLICE_AGE": "3s",
            "OTLP_RUST__GC__INTERVAL": "1s",
            "OTLP_RUST__GC__GRACE": "1s",
            "OTLP_RUST__RETENTION__DEFAULT": "1d",
            "OTLP_RUST__LIMITS__BURST": "1s",
            "OTLP_RUST__LIMITS__TENANTS__limited__BYTES_PER_SECOND": "100",
        }
        self.server = Platform(folder / "otlp-rust", env)
        ending.callback(self.server.kill)
        self.server.start()
        config = yaml.safe_load((MONITORING / "prometheus-config.yaml").read_text())
        config["scrape_configs"].append(
            {"job_name": "stand-in", "honor_labels": True, "static_configs": [{"targets": [exporters.address]}]}
        )
        targets = {"otlp-rust": [f"127.0.0.1:{self.server.admin_port}"]}
        self.prometheus = started(HurriedPrometheus(folder / "prometheus", config, targets))
        self._fill()

    def _fill(self):
        """Until everything has happened, and Prometheus has seen it happen."""
        happened = [
            f"sum(increase({name}[5m])) > 0"
            for name in (
                "otlp_compaction_runs_total", "otlp_compaction_duplicates_total", "otlp_retention_rows_deleted_total", "otlp_retention_bytes_deleted_total",
                "otlp_deletion_rows_total", "otlp_gc_bytes_deleted_total", "otlp_limits_reached_total", "otlp_rejected_items_total",
                'otlp_rows_total{dataset="metric_histograms"}', 'otlp_queries_total{api="tempo"}', 'otlp_cache_hits_total{cache="ranges"}',
            )
        ]
        happened += ["min(otlp_retention_proof_timestamp_seconds) > 0", "otlp_backlog_oldest_timestamp_seconds", "job:otlp_backlog:ingest_seconds", "otlp_limits_redis_up == 1"]
        deadline = time.monotonic() + 240
        while True:
            # On a busy machine a connection may take too long; the next round sends it again.
            with contextlib.suppress(grpc.RpcError, requests.RequestException):
                fill(self.server)
            missing = [one for one in happened if not self.prometheus.query(one)]
            if not missing:
                return
            assert time.monotonic() < deadline, f"{self.server.log_tail()}\ndid not happen, or was not seen: {missing}"
            time.sleep(1)


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    with contextlib.ExitStack() as ending:
        yield Scene(tmp_path_factory.mktemp("monitoring"), ending)


def panels(dashboard):
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels", [])


def expressions():
    """(where it stands, expression) of every query of every dashboard, choices included, with the variables filled in."""
    for path in DASHBOARDS:
        dashboard = json.loads(path.read_text())
        for panel in panels(dashboard):
            for target in panel.get("targets", []):
                expression = target["expr"]
                for name, value in VARIABLES.items():
                    expression = re.sub(rf"{re.escape(name)}\b", value, expression)
                yield f"{path.stem} / {panel['title']} {target['refId']}", expression


EXPRESSIONS = list(expressions())


# --- Files, without anything running


def test_promtool_accepts_the_configuration_and_the_rules():
    for arguments in (["check", "config", MONITORING / "prometheus-config.yaml"], ["check", "rules", "--lint=all", "--lint-fatal", MONITORING / "otlp-rules.yml"]):
        done = run("promtool", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr


def test_unit_tests_of_the_rules_pass_and_cover_every_alert():
    tests = sorted(MONITORING.glob("tests/*.yml"))
    done = run("promtool", "test", "rules", *tests)
    assert done.returncode == 0, done.stdout + done.stderr
    fires = set()
    for path in tests:
        for case in yaml.safe_load(path.read_text())["tests"]:
            for sample in (s for one in case.get("promql_expr_test", []) for s in one["exp_samples"]):
                labels = dict(re.findall(r'(\w+)="([^"]*)"', sample["labels"]))
                fires.add((labels.get("alertname"), labels.get("severity")))
            for one in case.get("alert_rule_test", []):
                fires |= {(one["alertname"], alert["exp_labels"]["severity"]) for alert in one["exp_alerts"]}
    assert {(rule["alert"], rule["labels"]["severity"]) for rule in ALERTS} <= fires


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: f"{rule['alert']}-{rule['labels']['severity']}")
def test_every_alert_says_how_bad_what_and_what_to_do(rule):
    assert rule["labels"]["severity"] in {"critical", "warning"}
    texts = rule["annotations"]
    assert set(texts) == {"summary", "description", "runbook_url"}
    assert all(texts.values()) and not texts["summary"].endswith(".") and texts["description"].endswith(".")
    assert texts["runbook_url"] == f"{RUNBOOKS}#{rule['alert'].lower()}"


def lost(before, after, where="dashboard"):
    """What stands in `before` and not, or not so, in `after`; what is only in `after` are defaults."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in before.items():
            yield from lost(value, after.get(key), f"{where}.{key}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (one, other) in enumerate(zip(before, after)):
            yield from lost(one, other, f"{where}[{number}]")
    elif before != after:
        yield f"{where}: {before!r} became {after!r}"


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_dashboards_are_what_grafana_reads(path):
    """Grafana's own model of a dashboard reads it, and writes back every key: what is misspelt it would drop."""
    from grafana_foundation_sdk.cog import encoder, plugins
    from grafana_foundation_sdk.models.dashboard import Dashboard

    plugins.register_default_plugins()
    dashboard = json.loads(path.read_text())
    read = Dashboard.from_json(copy.deepcopy(dashboard))
    assert read.schema_version == Dashboard().schema_version, "not the schema that Grafana's model is of"
    again = json.loads(json.dumps(read, cls=encoder.JSONEncoder))
    assert list(lost(dashboard, again)) == []
    assert (dashboard["uid"], dashboard.get("id")) == (f"otlp-rust-{path.stem}", None)
    ids = [panel["id"] for panel in panels(dashboard)]
    assert len(ids) == len(set(ids))
    for panel in panels(dashboard):
        if panel["type"] == "row":
            continue
        assert panel["title"] and panel["description"] and panel["targets"], panel["title"]
        assert {panel["datasource"]["uid"]} | {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}
    places = [(p["gridPos"]["x"] + dx, p["gridPos"]["y"] + dy) for p in panels(dashboard) for dx in range(p["gridPos"]["w"]) for dy in range(p["gridPos"]["h"])]
    assert len(places) == len(set(places)) and max(x for x, _ in places) < 24, "panels overlap"


def test_dashboards_are_those_that_are_generated():
    code = "import json, dashboards; print(json.dumps(dashboards.render()))"
    done = run(sys.executable, "-B", "-c", code, cwd=MONITORING / "generate")
    assert done.returncode == 0, done.stderr
    assert {path.name: path.read_text() for path in DASHBOARDS} == json.loads(done.stdout), "run monitoring/generate/dashboards.py"


def test_grafana_is_provisioned_with_what_is_there():
    sources = yaml.safe_load((MONITORING / "grafana/provisioning/datasources/otlp-rust.yaml").read_text())["datasources"]
    assert [source["type"] for source in sources] == ["prometheus", "alertmanager", "tempo"]
    uids = {source["uid"] for source in sources}
    assert sources[0]["jsonData"]["alertmanagerUid"] in uids and len(uids) == len(sources)
    assert all(source["url"].startswith("$") for source in sources), "addresses belong to the environment"
    (provider,) = yaml.safe_load((MONITORING / "grafana/provisioning/dashboards/otlp-rust.yaml").read_text())["providers"]
    assert provider["type"] == "file" and provider["options"]["path"].startswith("/var/lib/grafana/")


# --- Alertmanager

ROUTES = [
    ("alertname=OtlpCatalogDown severity=critical", "page,chat"),
    ("alertname=OtlpCatalogDown severity=warning", "chat"),
    ("alertname=OtlpErrorBudgetBurn severity=critical slo=ingest-latency", "page,chat"),
    ("alertname=OtlpErrorBudgetBurn severity=warning slo=ingest-latency", "chat"),
    ("alertname=OtlpUnresolved severity=critical escalation=second unresolved=OtlpCatalogDown", "page-second-line,page,chat"),
    ("alertname=OtlpTenantLimited severity=warning tenant=shop", "chat-tenants"),
    ("alertname=OtlpInvalidRequests severity=warning", "chat-tenants"),
    ("alertname=SomeoneElses severity=warning", "chat"),
]


def test_amtool_accepts_the_routes():
    done = run("amtool", "check-config", MONITORING / "alertmanager.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("labels,receivers", ROUTES, ids=[labels.split()[0][10:] + "-" + labels.split()[1][9:] for labels, _ in ROUTES])
def test_alerts_reach_whom_they_should(labels, receivers):
    done = run("amtool", "config", "routes", "test", f"--config.file={MONITORING / 'alertmanager.yaml'}", f"--verify.receivers={receivers}", *labels.split())
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_alert_goes_without_a_receiver_of_its_severity():
    for rule in ALERTS:
        labels = [f"{key}={value}" for key, value in rule["labels"].items()]
        done = run("amtool", "config", "routes", "test", f"--config.file={MONITORING / 'alertmanager.yaml'}", f"alertname={rule['alert']}", *labels)
        told = set(done.stdout.strip().split(","))
        assert ("page" in told) == (rule["labels"]["severity"] == "critical"), (rule["alert"], told)
        assert told & {"chat", "chat-tenants"}, (rule["alert"], told)


@pytest.fixture(scope="module")
def alertmanager(tmp_path_factory):
    running = Alertmanager(tmp_path_factory.mktemp("alertmanager"), free_ports(1)[0], MONITORING / "alertmanager.yaml")
    yield running
    running.stop()


# What fires -> what of it is kept back. Each case is an installation (namespace) of its own, and all are there at once.
ONE = {"job": "otlp-rust"}
INHIBITED = {
    "the catalog is down": (
        [("OtlpCatalogDown", "critical", {}), ("OtlpCatalogDown", "warning", {"instance": "a"}), ("OtlpIngestErrors", "critical", {"signal": "logs"}),
         ("OtlpErrorBudgetBurn", "critical", {"slo": "ingest-availability"}), ("OtlpRedisDown", "warning", {"instance": "a"})],
        {"OtlpCatalogDown warning", "OtlpIngestErrors critical", "OtlpErrorBudgetBurn critical"},
    ),
    "much fails of one signal, a little of another": (
        [("OtlpIngestErrors", "critical", {"signal": "logs"}), ("OtlpIngestErrors", "warning", {"signal": "logs"}), ("OtlpIngestErrors", "warning", {"signal": "traces"})],
        {"OtlpIngestErrors warning logs"},
    ),
    "the store is down": (
        [("OtlpStoreDown", "critical", {}), ("OtlpStoreErrors", "warning", {}), ("OtlpCompactionLag", "warning", {"dataset": "spans"}), ("OtlpInvalidRequests", "warning", {})],
        {"OtlpStoreErrors warning", "OtlpCompactionLag warning"},
    ),
    "a pod is out of memory": (
        [("OtlpOutOfMemory", "warning", {"pod": "p1"}), ("OtlpInstanceRestarting", "warning", {"pod": "p1"}), ("OtlpInstanceRestarting", "warning", {"pod": "p2"})],
        {"OtlpInstanceRestarting warning p1"},
    ),
    "it is quiet": ([("OtlpCommitSlow", "warning", {}), ("OtlpCompactionLag", "warning", {"dataset": "logs"})], set()),
}


def test_consequences_are_kept_back_while_the_cause_fires(alertmanager):
    sent = []
    for namespace, (alerts, _) in INHIBITED.items():
        for name, severity, more in alerts:
            sent.append({"labels": {"alertname": name, "severity": severity, "namespace": namespace} | ONE | more})
    assert requests.post(f"{alertmanager.url}/api/v2/alerts", json=sent, timeout=10).status_code == 200

    def kept_back():
        found = {namespace: set() for namespace in INHIBITED}
        for alert in requests.get(f"{alertmanager.url}/api/v2/alerts", timeout=10).json():
            labels = alert["labels"]
            if alert["status"]["inhibitedBy"]:
                more = [labels[key] for key in ("signal", "pod") if key in labels and labels["severity"] == "warning"]
                found[labels["namespace"]].add(" ".join([labels["alertname"], labels["severity"], *more]))
        return found

    expected = {namespace: names for namespace, (_, names) in INHIBITED.items()}
    # The state of an alert is known once its group has been looked at.
    with contextlib.suppress(AssertionError):
        wait_until(lambda: kept_back() == expected, "inhibition", 40)
    assert kept_back() == expected


# --- Prometheus in a cluster: its relabelling, with what discovery would find given by hand


def pod(name, port, app="otlp-rust", phase="Running"):
    meta = {"namespace": "otlp-system", "pod_name": name, "pod_phase": phase, "pod_container_port_name": port, "pod_node_name": "node-1"}
    meta |= {"pod_label_app_kubernetes_io_name": app, "pod_label_app_kubernetes_io_component": "ingest"}
    return {"targets": ["10.0.0.1:9090"], "labels": {f"__meta_kubernetes_{key}": value for key, value in meta.items()}}


def labelled(address, **meta):
    return {"targets": [address], "labels": {f"__meta_kubernetes_{key}": value for key, value in meta.items()}}


FOUND_IN_CLUSTER = {
    "otlp-rust": [pod("one", "metrics"), pod("one", "http"), pod("other", "metrics", app="shop"), pod("gone", "metrics", phase="Succeeded")],
    "kube-state-metrics": [
        labelled("10.0.0.2:8080", service_label_app_kubernetes_io_name="kube-state-metrics", endpoint_port_name="http"),
        labelled("10.0.0.2:8081", service_label_app_kubernetes_io_name="kube-state-metrics", endpoint_port_name="telemetry"),
    ],
    "cadvisor": [labelled("10.1.0.1:10250", node_name="node-1")],
    "otlp-rust-front-door": [
        labelled("10.0.0.3:4317", namespace="otlp-system", service_annotation_otlp_rust_probe="https://otlp.example/readyz", service_annotationpresent_otlp_rust_probe="true"),
        labelled("10.0.0.4:80", namespace="otlp-system"),
    ],
}


def test_in_a_cluster_the_right_ports_are_scraped(tmp_path):
    """Debian's Prometheus is built without Kubernetes discovery, so the discovery itself is taken out; all the rest is as shipped."""
    config = yaml.safe_load((MONITORING / "prometheus-kubernetes.yaml").read_text())
    for alertmanagers in config["alerting"]["alertmanagers"]:
        assert alertmanagers.pop("kubernetes_sd_configs")
        alertmanagers["static_configs"] = [{"targets": []}]
    for job in config["scrape_configs"]:
        assert job.pop("kubernetes_sd_configs")
        job["static_configs"] = FOUND_IN_CLUSTER.pop(job["job_name"])
        for key in ("tls_config", "authorization"):
            job.pop(key, None)
    assert not FOUND_IN_CLUSTER
    prometheus = HurriedPrometheus(tmp_path / "prometheus", config, {})
    try:
        # Discovery hands targets over every 5 seconds, all of them at once.
        wait_until(lambda: prometheus.get("targets?state=active")["activeTargets"], "targets are discovered", 60)
        active = prometheus.get("targets?state=active")["activeTargets"]
        scraped = {(target["scrapeUrl"], tuple(sorted(target["labels"].items()))) for target in active}
        assert scraped == {
            ("http://10.0.0.1:9090/metrics", (("component", "ingest"), ("instance", "10.0.0.1:9090"), ("job", "otlp-rust"), ("namespace", "otlp-system"), ("node", "node-1"), ("pod", "one"))),
            ("http://10.0.0.2:8080/metrics", (("instance", "10.0.0.2:8080"), ("job", "kube-state-metrics"))),
            ("https://kubernetes.default.svc:443/api/v1/nodes/node-1/proxy/metrics/cadvisor", (("instance", "kubernetes.default.svc:443"), ("job", "cadvisor"), ("node", "node-1"))),
            (
                "http://blackbox-exporter.monitoring.svc:9115/probe?module=http_2xx&target=https%3A%2F%2Fotlp.example%2Freadyz",
                (("instance", "https://otlp.example/readyz"), ("job", "otlp-rust-front-door"), ("namespace", "otlp-system")),
            ),
        }
    finally:
        prometheus.stop()


# --- Against the filled platform


def test_prometheus_runs_the_shipped_rules_without_an_error(scene):
    assert len(scene.prometheus.rules()) == len(ALERTS) + len(RECORDED)
    assert scene.prometheus.failing() == []
    (target,) = [target for target in scene.prometheus.get("targets")["activeTargets"] if target["labels"]["job"] == "otlp-rust"]
    assert (target["health"], target["lastError"]) == ("up", "")


@pytest.mark.parametrize("where,expression", EXPRESSIONS, ids=[where.replace(" ", "-") for where, _ in EXPRESSIONS])
def test_every_query_of_every_dashboard_returns_data(scene, where, expression):
    def values():
        return [value for _, value in scene.prometheus.query(expression)]

    if not any(map(math.isfinite, values())):
        # A backlog comes and goes: with more to store it is there again.
        fill(scene.server)
        wait_until(lambda: any(map(math.isfinite, values())), f"{where}: {expression}", 30)


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_every_choice_of_every_dashboard_has_values(scene, path):
    for variable in json.loads(path.read_text())["templating"]["list"]:
        if variable["type"] == "query":
            expression = variable["query"]["query"].replace("$job", "otlp-rust").replace("$namespace", ".*")
            selector, label = re.fullmatch(r"label_values\((.*), (\w+)\)", expression).groups()
            found = scene.prometheus.query(f"count by ({label}) ({selector})")
            assert any(labels.get(label) for labels, _ in found), expression


@pytest.mark.parametrize("rule", RECORDED, ids=lambda rule: f"{rule['record']}-{rule.get('labels', {}).get('slo', '')}")
def test_every_recording_rule_records(scene, rule):
    labels = ",".join(f'{key}="{value}"' for key, value in rule.get("labels", {}).items())
    for expression in (rule["expr"], f"{rule['record']}{{{labels}}}"):
        values = [value for _, value in scene.prometheus.query(expression)]
        assert any(math.isfinite(value) for value in values), f"{expression}\n{values}"


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: f"{rule['alert']}-{rule['labels']['severity']}")
def test_every_alert_asks_for_series_that_exist(scene, rule):
    """In a healthy system its expression is empty, so that the series it compares are looked for one by one, labels included."""
    scene.prometheus.query(rule["expr"])
    asked = selectors(rule["expr"])
    assert asked
    for selector in asked:
        if selector not in ABSENT_WHEN_HEALTHY:
            assert scene.prometheus.query(f"count({selector})"), f"{rule['alert']}: there is no {selector}"


def test_every_metric_that_is_named_exists(scene):
    """Names alone, of rules and dashboards, against what the platform and the stand-in serve: also those of the lists of exceptions."""
    page = requests.get(f"{scene.server.admin_url}/metrics", timeout=10).text + STAND_IN.read_text()
    served = {line.split("{")[0].split(" ")[0] for line in page.splitlines() if line and not line.startswith("#")}
    made_here = {rule["record"] for rule in RECORDED} | {"up", "ALERTS", "ALERTS_FOR_STATE"}
    named = {name_of(s) for rule in ALERTS + RECORDED for s in selectors(rule["expr"])}
    named |= {name_of(s) for _, expression in EXPRESSIONS for s in selectors(expression)}
    assert named - served - made_here == set()
    # And the other way round: what the platform measures and nobody looks at is either noise or a gap.
    families = set(re.findall(r"^# TYPE (otlp_\w+)", page, re.MULTILINE))
    looked_at = {re.sub(r"_(total|bucket|count|sum|info)$", "", name) for name in named}
    assert {re.sub(r"_(total|info)$", "", family) for family in families} - looked_at == set()


def test_nothing_pages_while_all_is_well(scene):
    firing = scene.prometheus.query('ALERTS{alertstate="firing",severity="critical",alertname=~"Otlp.+"}')
    assert [labels["alertname"] for labels, _ in firing] == []


def test_an_outage_of_the_catalog_shows_without_any_request(scene):
    up = "max(otlp_catalog_up) == 1"
    assert scene.prometheus.query(up)
    scene.postgres.stop_at_once()
    try:
        wait_until(lambda: scene.prometheus.query("max(otlp_catalog_up) == 0"), "the outage shows", 30)
        pending = scene.prometheus.query('ALERTS{alertname="OtlpCatalogDown",severity="critical"}')
        wait_until(lambda: pending or scene.prometheus.query('ALERTS{alertname="OtlpCatalogDown",severity="critical"}'), "the alert is pending", 10)
    finally:
        scene.postgres.start()
    wait_until(lambda: scene.prometheus.query(up), "its end shows", 30)
