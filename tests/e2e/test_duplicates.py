"""A sender whose acknowledgement was lost sends again, to the same process or to another: it is told success, and every
query of every process finds one copy, before and after compaction. With the real SDKs and a proxy that loses answers."""

import gzip
import json
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import zstandard
from grpc import Compression as GrpcCompression
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc import _log_exporter as grpc_logs
from opentelemetry.exporter.otlp.proto.grpc import metric_exporter as grpc_metrics
from opentelemetry.exporter.otlp.proto.grpc import trace_exporter as grpc_traces
from opentelemetry.exporter.otlp.proto.http import Compression as HttpCompression
from opentelemetry.exporter.otlp.proto.http import _log_exporter as http_logs
from opentelemetry.exporter.otlp.proto.http import metric_exporter as http_metrics
from opentelemetry.exporter.otlp.proto.http import trace_exporter as http_traces
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import AlwaysOnExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import compare
import wire
from lossy_proxy import LossyGrpc, LossyHttp
from platform_process import Platform
from test_sdk_js import SCRIPT
from test_sdk_python import RESOURCE, make_spans, sent_points, sent_record, sent_span


@pytest.fixture(scope="module")
def cluster(folder, services):
    """Two processes over one PostgreSQL and one S3 endpoint."""
    # The SDK's log records are of 2023: nothing may expire while two processes are asked one after the other.
    env = services.cluster_env() | {"OTLP_RUST__RETENTION__DEFAULT": "0"}
    servers = [Platform(folder / f"duplicates-{n}", env).start() for n in range(2)]
    yield servers
    for server in servers:
        server.kill()


def route_of(cluster, where):
    """Where the attempts of one request go, in turn."""
    return cluster[:1] if where == "same process" else cluster


def telemetry():
    """Some of each signal, as the SDK hands it to an exporter."""
    resource = Resource(RESOURCE)
    spans, logs, metrics = InMemorySpanExporter(), InMemoryLogRecordExporter(), InMemoryMetricReader()
    tracers = TracerProvider(resource=resource)
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    make_spans(tracers.get_tracer("shop.cart", "0.9"))
    loggers = LoggerProvider(resource=resource)
    loggers.add_log_record_processor(SimpleLogRecordProcessor(logs))
    for number in range(5):
        # Two of them are the same in all but the order: equal rows of one request are not duplicates.
        body, time = f"order {number // 2} placed", 1_700_000_000_000_000_000 + number // 2
        record = LogRecord(timestamp=time, observed_timestamp=time, severity_number=SeverityNumber.INFO, body=body)
        loggers.get_logger("shop.log", "2.0").emit(record)
    meters = MeterProvider(metric_readers=[metrics], resource=resource, exemplar_filter=AlwaysOnExemplarFilter())
    meter = meters.get_meter("shop.meter", "3.1")
    with tracers.get_tracer("shop.meter", "3.1").start_as_current_span("measured"):
        for number in range(20):
            meter.create_counter("shop.requests").add(number, {"route": f"/r{number % 3}"})
            meter.create_histogram("shop.latency", unit="ms").record(number * 7.5, {"route": f"/r{number % 3}"})
    return spans.get_finished_spans(), metrics.get_metrics_data(), logs.get_finished_logs()


def exporters(transport, proxy, tenant):
    """Exporters of traces, metrics and logs that send to `proxy`."""
    settings = {"headers": {"x-scope-orgid": tenant}, "timeout": 30}
    if transport.startswith("grpc"):
        compression = GrpcCompression.Gzip if transport.endswith("gzip") else GrpcCompression.NoCompression
        settings |= {"endpoint": proxy.grpc_target, "insecure": True, "compression": compression}
        return (
            grpc_traces.OTLPSpanExporter(**settings),
            grpc_metrics.OTLPMetricExporter(**settings),
            grpc_logs.OTLPLogExporter(**settings),
        )
    settings["compression"] = HttpCompression.Gzip if "gzip" in transport else HttpCompression.NoCompression
    return (
        http_traces.OTLPSpanExporter(endpoint=f"{proxy.otlp_url}/v1/traces", **settings),
        http_metrics.OTLPMetricExporter(endpoint=f"{proxy.otlp_url}/v1/metrics", **settings),
        http_logs.OTLPLogExporter(endpoint=f"{proxy.otlp_url}/v1/logs", **settings),
    )


def make_proxy(transport, route, lost=1):
    if transport.startswith("grpc"):
        return LossyGrpc(route, lost)
    return LossyHttp(route, lost, "504" if transport.endswith("504") else "cut")


def check_attempts(proxy, payloads, lost=1):
    """Each payload was sent again byte by byte, the servers accepted each attempt, and those were the servers meant."""
    assert len(proxy.seen) == payloads
    for key, attempts in proxy.seen.items():
        assert len(attempts) == lost + 1, (key, attempts)
        assert [server for server, _ in attempts] == [n % len(proxy.servers) for n in range(lost + 1)]
        assert {answer for _, answer in attempts} <= {200, "ok"}, (key, attempts)


def check_everywhere(cluster, check):
    """What every process finds, before and after compaction."""
    for server in cluster:
        check(server)
    cluster[-1].compact()
    for server in cluster:
        check(server)


def send_with_lost_acks(servers, transport, route, tenant):
    """Exports some of each signal through a proxy that loses the first answer to each request; every server has it once."""
    proxy = make_proxy(transport, route)
    sent = telemetry()
    try:
        senders = exporters(transport, proxy, tenant)
        with ThreadPoolExecutor(3) as pool:
            results = list(pool.map(lambda pair: pair[0].export(pair[1]), zip(senders, sent)))
        assert [result.name for result in results] == ["SUCCESS"] * 3
        check_attempts(proxy, 3)
        for sender in senders:
            sender.shutdown()
    finally:
        proxy.stop()
    spans, metrics, logs = sent
    numbers, histograms, exemplars = sent_points(metrics)
    assert len(numbers) == 3 and len(histograms) == 3 and exemplars

    def check(server):
        compare.spans(server, tenant, [sent_span(span) for span in spans])
        compare.numbers(server, tenant, numbers)
        compare.histograms(server, tenant, histograms)
        compare.exemplars(server, tenant, exemplars)
        bodies = sorted(row["body"] for row in server.sql("SELECT body FROM logs", tenant))
        assert bodies == sorted(sent_record(log)["body"] for log in logs)

    check_everywhere(servers, check)


@pytest.mark.parametrize(
    ("transport", "where"),
    [("grpc", "same process"), ("grpc-gzip", "other process"), ("http-gzip-504", "same process"), ("http-cut", "other process")],
)
def test_python_sdk(cluster, tenant, transport, where):
    send_with_lost_acks(cluster, transport, route_of(cluster, where), tenant)


def test_python_sdk_with_sqlite_and_a_local_disk(make_server, tenant):
    server = make_server(env={"OTLP_RUST__RETENTION__DEFAULT": "0"})
    send_with_lost_acks([server], "http-cut", [server], tenant)


def test_a_retry_after_the_window_leaves_one_copy_when_it_is_compacted(make_server, tenant):
    """Nobody remembers the request any more, so until compaction there are two; lines that were logged twice stay two."""
    never = {"OTLP_RUST__COMPACTION__INTERVAL": "1h", "OTLP_RUST__COMPACTION__MAX_SLICE_AGE": "1h"}
    server = make_server(env=never | {"OTLP_RUST__INGEST__DEDUPE_WINDOW": "1s", "OTLP_RUST__GC__INTERVAL": "200ms"})
    line = {"time_unix_nano": wire.now(), "observed_time_unix_nano": wire.now()}
    messages = {
        "traces": wire.request("traces", [wire.span("one"), wire.span("two")]),
        "logs": wire.request("logs", [wire.record("twice", **line), wire.record("twice", **line), wire.record("once")]),
        "metrics": wire.request("metrics", [wire.gauge("load", 1.5), wire.gauge("load", 2, {"host": "h"})]),
    }
    tables = {"traces": "spans", "logs": "logs", "metrics": "metrics"}

    def counts():
        return [server.sql(f"SELECT count(*) AS n FROM {table}", tenant)[0]["n"] for table in tables.values()]

    for copies in (1, 2):
        for signal, message in messages.items():
            assert wire.rejected(signal, wire.send_http(server, signal, message, tenant)) == (0, "")
        assert counts() == [2 * copies, 3 * copies, 2 * copies]
        time.sleep(2.5 if copies == 1 else 0)
    server.compact()
    assert counts() == [2, 3, 2]
    bodies = [row["body"] for row in server.sql("SELECT body FROM logs ORDER BY body", tenant)]
    assert bodies == ["once", "twice", "twice"]


@pytest.mark.parametrize(
    ("encoding", "transport", "where"), [("json", "http-504", "other process"), ("proto", "http-cut", "same process")]
)
def test_js_sdk(cluster, tenant, encoding, transport, where):
    proxy = make_proxy(transport, route_of(cluster, where))
    try:
        done = subprocess.run(
            ["node", str(SCRIPT), encoding, proxy.otlp_url, tenant], capture_output=True, text=True, timeout=120, cwd=SCRIPT.parent
        )
        assert done.returncode == 0, done.stderr
    finally:
        proxy.stop()
    sent = json.loads(done.stdout)
    # Spans and log records are exported one by one, metrics together.
    check_attempts(proxy, len(sent["spans"]) + len(sent["logs"]) + 1)

    def check(server):
        compare.spans(server, tenant, sent["spans"])
        compare.logs(server, tenant, sent["logs"])
        compare.numbers(server, tenant, sent["numbers"])
        compare.histograms(server, tenant, sent["histograms"])

    check_everywhere(cluster, check)


@pytest.mark.parametrize("signal", wire.SIGNALS)
def test_the_same_request_in_every_encoding_and_over_both_transports(cluster, tenant, signal):
    """A request is known by its decompressed bytes: how a proxy or a fallback transport packs them does not matter."""
    item = {"traces": wire.span, "logs": wire.record, "metrics": wire.gauge}[signal]
    message = wire.request(signal, [item(), item("other")])
    body = message.SerializeToString()
    packed = [("identity", body), ("gzip", gzip.compress(body)), ("zstd", zstandard.compress(body))]
    for server in cluster:
        for encoding, bytes_sent in packed:
            answer = wire.post(server, signal, bytes_sent, tenant=tenant, headers={"Content-Encoding": encoding})
            assert answer.status_code == 200 and wire.rejected(signal, wire.RESPONSE[signal].FromString(answer.content))[0] == 0
        for compression in (GrpcCompression.NoCompression, GrpcCompression.Gzip):
            wire.send_grpc(server, signal, message, tenant, compression=compression)
    table = {"traces": "spans"}.get(signal, signal)

    def check(server):
        assert server.sql(f"SELECT count(*) AS n FROM {table}", tenant) == [{"n": 2}]

    check_everywhere(cluster, check)
