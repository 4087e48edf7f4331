"""What the world reaches through the chart's routes: OTLP, whether it is ready, the API where that is asked for; and who watches it."""

import json

import pytest

from chart_cases import CASES, ROOT, S3, find, objects, over, texts

PROBE = {"probe": {"enabled": True, "targets": ["https://otlp.example.com/readyz"]}}
ROUTED = [case for case in CASES if {"Ingress", "HTTPRoute", "VirtualService"} & {it["kind"] for it in objects(CASES[case])}]


def matched(rules, method, path):
    """The port of the first rule that takes this request; `rules` are (method or None, exact or prefix, text, port)."""
    for wanted, kind, text, port in rules:
        fits = path == text if kind == "exact" else path == text or path.startswith(text if text.endswith("/") else text + "/")
        if wanted in (None, method) and fits:
            return port
    return None


def doors(some):
    """Each host with the kind of what routes it, and its rules."""
    ports = {"grpc-otlp": 4317, "http-otlp": 4318, "http-api": 8080}
    for it in find(some, "Ingress"):
        for rule in it["spec"]["rules"]:
            paths = [(None, path["pathType"].lower(), path["path"], ports[path["backend"]["service"]["port"]["name"]]) for path in rule["http"]["paths"]]
            yield rule["host"], it, sorted(paths, key=lambda path: path[1] != "exact")
    for it in find(some, "HTTPRoute"):
        rules = [
            (match.get("method"), {"Exact": "exact", "PathPrefix": "prefix"}[match["path"]["type"]], match["path"]["value"], rule["backendRefs"][0]["port"])
            for rule in it["spec"]["rules"] for match in rule["matches"]
        ]
        for host in it["spec"]["hostnames"]:
            yield host, it, rules
    for it in find(some, "VirtualService"):
        if it["spec"]["gateways"] == ["mesh"]:
            continue
        for host in it["spec"]["hosts"][1:]:
            rules = [
                (None, *next(iter(match["uri"].items())), rule["route"][0]["destination"]["port"]["number"])
                for rule in it["spec"]["http"] for match in rule["match"]
                if match["gateways"] != ["mesh"] and match.get("authority", {"exact": host}) == {"exact": host}
            ]
            yield host, it, rules


@pytest.mark.parametrize("case", ROUTED)
def test_readiness_is_answered_wherever_http_is(case):
    """`otlp-rust doctor --url`, load balancers and the blackbox exporter ask for it, and page when it is not there."""
    for host, it, rules in doors(objects(CASES[case])):
        if it["metadata"]["name"].endswith("-grpc"):
            continue
        assert matched(rules, "GET", "/readyz") == 8080, (host, it["kind"])
        assert matched(rules, "GET", "/readyz/x") is None, (host, it["kind"])


@pytest.mark.parametrize("case", ROUTED)
def test_nothing_else_of_the_platform_is_reached(case):
    """Administration, metrics, the Prometheus page: never; the API only where its host was named."""
    for host, it, rules in doors(objects(CASES[case])):
        for method, path in (("POST", "/api/v1/admin/deletions"), ("GET", "/metrics"), ("GET", "/livez"), ("GET", "/")):
            assert matched(rules, method, path) is None, (host, it["kind"], path)
        ports = {matched(rules, "POST", path) for path in ("/v1/traces", "/v1/metrics", "/v1/logs")}
        assert ports in ({4318}, {None}), (host, it["kind"])
        if it["metadata"]["name"].endswith("-http"):
            assert ports == {4318} and matched(rules, "POST", "/api/v1/sql") is None, (host, it["kind"])


def test_there_are_doors_of_each_kind():
    kinds = {it["kind"] for case in ROUTED for _, it, _ in doors(objects(CASES[case]))}
    assert kinds == {"Ingress", "HTTPRoute", "VirtualService"}


def test_a_probe_asks_the_front_door():
    values = over(S3, PROBE, {"probe": {"labels": {"release": "prometheus"}}})
    probe = find(objects(values), "Probe", "otlp-service-front-door")
    assert probe["spec"] == {
        # The rules OtlpProbeFailed and OtlpCertificateExpiry go by it.
        "jobName": "otlp-rust-front-door", "interval": "30s", "scrapeTimeout": "15s", "module": "http_2xx",
        "prober": {"url": "prometheus-blackbox-exporter.monitoring.svc:9115"}, "targets": {"staticConfig": {"static": ["https://otlp.example.com/readyz"]}},
    }
    assert probe["metadata"]["labels"]["release"] == "prometheus"
    assert not find(objects(S3), "Probe")


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"probe": {"enabled": True}}, "probe.targets"), (over(PROBE, {"probe": {"proberUrl": ""}}), "probe.proberUrl"),
        (over(PROBE, {"probe": {"targets": ["otlp.example.com"]}}), "targets"), (over(PROBE, {"probe": {"proberUrl": "http://x:9115"}}), "proberUrl"),
    ],
    ids=json.dumps,
)
def test_a_probe_without_sense_is_refused(wrong, said):
    with pytest.raises(Exception, match=said):
        objects(over(S3, wrong))


@pytest.mark.parametrize("case", ROUTED)
def test_no_host_is_served_in_the_clear_by_accident(case):
    """With any certificate at all, each host of an Ingress has one; without, all are meant to be in the clear."""
    for it in find(objects(CASES[case]), "Ingress"):
        hosts = {host for entry in it["spec"]["tls"] for host in entry["hosts"]}
        assert hosts == {rule["host"] for rule in it["spec"]["rules"]} and all(entry["secretName"] for entry in it["spec"]["tls"])


def test_in_the_clear_where_that_is_meant():
    clear = over(S3, {"ingress": {"enabled": True, "tls": [], "otlpHttp": {"host": "*.acme.example"}}})
    assert find(objects(clear), "Ingress") and not [it for it in find(objects(clear), "Ingress") if "tls" in it["spec"]]
    assert "otlp-grpc.example.com will not work" in texts(clear)["otlp-rust/templates/NOTES.txt"]
    assert "will not work" not in texts(CASES["everything"])["otlp-rust/templates/NOTES.txt"]


def test_an_open_api_is_warned_of():
    def notes(values):
        return texts(over(S3, values))["otlp-rust/templates/NOTES.txt"]

    meant = {"ingress": {"enabled": True, "tls": [], "api": {"host": "api.example.com", "unauthenticated": True}}}
    assert "whoever reaches api.example.com reads everything" in notes(meant)
    for case in ("examples/nginx/values.yaml", "istio with a gateway"):
        assert "the API is exposed" in notes(CASES[case])
    assert "WARNING: the API" not in notes(CASES["istio"])


def test_alerts_that_cannot_fire_are_named():
    def notes(*layers):
        return texts(over(S3, {"ingress": {"enabled": True}, "prometheusRule": {"enabled": True}}, *layers))["otlp-rust/templates/NOTES.txt"]

    rules = (ROOT / "monitoring/otlp-rules.yml").read_text()
    assert "nobody asks the front door" in notes()
    for alert in ("OtlpProbeFailed", "OtlpCertificateExpiry"):
        assert alert in notes() and f"alert: {alert}" in rules
    assert "otlp-rust-front-door" in rules
    for well in (PROBE, {"ingress": {"enabled": False}}, {"prometheusRule": {"enabled": False}}):
        assert "nobody asks the front door" not in notes(well)
