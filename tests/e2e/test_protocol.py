"""OTLP's answers to the letter, and everything around them that a client or an operator relies on."""

import gzip
import json
import os
import subprocess
import threading
import time
import zlib

import grpc
import pytest
import zstandard
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

import wire
from platform_process import binary


def good(signal, name="good"):
    build = {"traces": wire.span, "logs": wire.record, "metrics": wire.gauge}[signal]
    return wire.request(signal, [build(name)])


def count(server, tenant, table="spans"):
    return server.sql(f"SELECT count(*) AS n FROM {table}", tenant)[0]["n"]


# ---- responses


@pytest.mark.parametrize("signal", wire.SIGNALS)
def test_full_success(local_server, tenant, signal):
    """The partial_success field must not be set: an empty message, `{}` in JSON."""
    answer = wire.post(local_server, signal, good(signal).SerializeToString(), tenant=tenant)
    assert (answer.status_code, answer.headers["Content-Type"], answer.content) == (200, wire.PROTOBUF, b"")
    answer = wire.post(local_server, signal, "{}", wire.JSON, tenant)
    assert (answer.status_code, answer.headers["Content-Type"], answer.json()) == (200, wire.JSON, {})
    response = wire.send_grpc(local_server, signal, good(signal), tenant)
    assert not response.HasField("partial_success")


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "application/json;charset=UTF-8", "Application/JSON"])
def test_content_type_with_parameters(local_server, tenant, kind):
    assert wire.post(local_server, "traces", "{}", kind, tenant).status_code == 200


def test_partial_success(local_server, tenant):
    spans = [wire.span("good"), wire.span("bad", trace_id=b"x"), wire.span("bad", span_id=b"y")]
    message = wire.request("traces", spans)
    response = wire.send_grpc(local_server, "traces", message, tenant)
    assert response.HasField("partial_success")
    assert response.partial_success.rejected_spans == 2 and response.partial_success.error_message
    over_http = wire.send_http(local_server, "traces", wire.request("traces", [wire.span("good 2"), *spans[1:]]), tenant)
    assert over_http.partial_success.rejected_spans == 2
    assert sorted(r["name"] for r in local_server.sql("SELECT name FROM spans", tenant)) == ["good", "good 2"]


def test_all_items_rejected_is_still_a_partial_success(local_server, tenant):
    response = wire.send_grpc(local_server, "traces", wire.request("traces", [wire.span("bad", trace_id=b"x")]), tenant)
    assert response.partial_success.rejected_spans == 1


# ---- OTLP/JSON


def test_json_special_rules(local_server, tenant):
    """Hex ids in any case, enums as numbers, 64-bit integers as text or number, unknown fields ignored, base64 bytes."""
    span = {
        "traceId": "5B8EFFF798038103D269B633813FC60C",
        "spanId": "eee19b7ec3c1b174",
        "parentSpanId": "EEE19B7EC3C1B173",
        "name": "I'm a server span",
        "startTimeUnixNano": "1544712660000000001",
        "endTimeUnixNano": 1544712661000000000,
        "kind": 2,
        "noSuchField": {"deep": [1, 2, {"x": None}]},
        "status": {"code": 2, "message": "no"},
        "droppedAttributesCount": 3,
        "traceState": None,
        "attributes": [
            {"key": "text", "value": {"stringValue": "x"}},
            {"key": "int.text", "value": {"intValue": "-9223372036854775808"}},
            {"key": "int.number", "value": {"intValue": 42}},
            {"key": "double", "value": {"doubleValue": 0.5}},
            {"key": "nan", "value": {"doubleValue": "NaN"}},
            {"key": "bool", "value": {"boolValue": False}},
            {"key": "bytes", "value": {"bytesValue": "AP8Q"}},
            {"key": "list", "value": {"arrayValue": {"values": [{"stringValue": "a"}, {"intValue": "1"}]}}},
            {"key": "map", "value": {"kvlistValue": {"values": [{"key": "k", "value": {"boolValue": True}}]}}},
        ],
    }
    body = {"resourceSpans": [{"resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "json"}}]},
                               "scopeSpans": [{"scope": {"name": "lib"}, "spans": [span]}]}]}  # fmt: skip
    answer = wire.post(local_server, "traces", json.dumps(body), wire.JSON, tenant)
    assert answer.status_code == 200, answer.text
    (row,) = local_server.sql(
        "SELECT trace_id, span_id, parent_span_id, name, CAST(start_time AS BIGINT) AS start, duration, kind, status_code,"
        " status_message, service_name, scope_name, dropped_attributes_count, attributes_rest,"
        ' "attr.text" AS text, "attr.int.text" AS int_text, "attr.int.number" AS int_number, "attr.double" AS double,'
        ' CAST("attr.nan" AS VARCHAR) AS nan, "attr.bool" AS bool FROM spans',
        tenant,
    )
    rest = json.loads(row.pop("attributes_rest"))
    assert row == {
        "trace_id": "5b8efff798038103d269b633813fc60c",
        "span_id": "eee19b7ec3c1b174",
        "parent_span_id": "eee19b7ec3c1b173",
        "name": "I'm a server span",
        "start": 1544712660000000001,
        "duration": 999999999,
        "kind": "server",
        "status_code": "error",
        "status_message": "no",
        "service_name": "json",
        "scope_name": "lib",
        "dropped_attributes_count": 3,
        "text": "x",
        "int_text": -(2**63),
        "int_number": 42,
        "double": 0.5,
        "nan": "NaN",
        "bool": False,
    }
    assert rest == {"bytes": {"$bytes": "AP8Q"}, "list": ["a", 1], "map": {"k": True}}


# ---- compression


PACK = {
    "gzip": gzip.compress,
    "zstd": zstandard.ZstdCompressor().compress,
    "deflate": zlib.compress,
    "identity": bytes,
}


@pytest.mark.parametrize("encoding", PACK)
@pytest.mark.parametrize("kind", [wire.PROTOBUF, wire.JSON])
def test_http_compression(local_server, tenant, encoding, kind):
    body = good("traces").SerializeToString()
    if kind == wire.JSON:
        span = {"name": "good", "traceId": os.urandom(16).hex(), "spanId": os.urandom(8).hex(), "startTimeUnixNano": "5", "endTimeUnixNano": "6"}
        body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).encode()
    answer = wire.post(local_server, "traces", PACK[encoding](body), kind, tenant, {"Content-Encoding": encoding})
    assert answer.status_code == 200, answer.text
    assert count(local_server, tenant) == 1


def test_grpc_compression(local_server, tenant):
    wire.send_grpc(local_server, "traces", good("traces"), tenant, compression=grpc.Compression.Gzip)
    assert count(local_server, tenant) == 1


# ---- browsers


def test_cors(make_server):
    server = make_server(env={"OTLP_RUST__SERVER__CORS_ALLOWED_ORIGINS": "https://shop.example"})
    asked = {
        "Origin": "https://shop.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type,x-scope-orgid,traceparent",
    }
    answer = server.session.options(f"{server.otlp_url}/v1/traces", headers=asked)
    assert answer.status_code in (200, 204)
    assert answer.headers["Access-Control-Allow-Origin"] == "https://shop.example"
    assert "POST" in answer.headers["Access-Control-Allow-Methods"].upper()
    allowed = answer.headers["Access-Control-Allow-Headers"].lower()
    assert allowed == "*" or {"content-type", "x-scope-orgid"} <= {name.strip() for name in allowed.split(",")}
    answer = wire.post(server, "traces", "{}", wire.JSON, headers={"Origin": "https://shop.example"})
    assert answer.headers["Access-Control-Allow-Origin"] == "https://shop.example"
    # Without it a script in a browser cannot read how long it is to wait.
    assert answer.headers["Access-Control-Expose-Headers"].lower() == "retry-after"
    stranger = server.session.options(f"{server.otlp_url}/v1/traces", headers=asked | {"Origin": "https://evil.example"})
    assert stranger.headers.get("Access-Control-Allow-Origin") != "https://evil.example"


# ---- gRPC services


def test_grpc_health(local_server):
    stub = health_pb2_grpc.HealthStub(local_server.channel())
    serving = health_pb2.HealthCheckResponse.SERVING
    assert stub.Check(health_pb2.HealthCheckRequest(), timeout=10).status == serving
    for signal in wire.SIGNALS:
        service = wire.METHOD[signal].split("/")[1]
        assert stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10).status == serving
    with pytest.raises(grpc.RpcError) as caught:
        stub.Check(health_pb2.HealthCheckRequest(service="no.such.Service"), timeout=10)
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


def test_keepalive_pings_are_answered(local_server, tenant):
    """A client that pings an idle connection every second is neither told to calm down nor cut off."""
    states = []
    channel = local_server.new_channel(
        keepalive_time_ms=1000, keepalive_timeout_ms=2000, keepalive_permit_without_calls=1, **{"http2.max_pings_without_data": 0}
    )
    wire.send_grpc(local_server, "traces", good("traces", "before"), tenant, channel=channel)
    channel.subscribe(states.append)
    time.sleep(6)
    wire.send_grpc(local_server, "traces", good("traces", "after"), tenant, channel=channel)
    channel.close()
    assert grpc.ChannelConnectivity.TRANSIENT_FAILURE not in states and grpc.ChannelConnectivity.IDLE not in states
    assert count(local_server, tenant) == 2


def reflection(server, version):
    if version == "v1":
        call = server.channel().stream_stream(
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
    else:
        call = reflection_pb2_grpc.ServerReflectionStub(server.channel()).ServerReflectionInfo
    return lambda **question: next(call(iter([reflection_pb2.ServerReflectionRequest(**question)]), timeout=10))


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_grpc_reflection(local_server, version):
    ask = reflection(local_server, version)
    services = {service.name for service in ask(list_services="").list_services_response.service}
    wanted = {wire.METHOD[signal].split("/")[1] for signal in wire.SIGNALS}
    assert wanted <= services
    for name in wanted:
        assert ask(file_containing_symbol=name).file_descriptor_response.file_descriptor_proto


# ---- tenants and retries


def test_tenants_do_not_see_each_other(server, tenant):
    for number, one in enumerate((f"{tenant}-a", f"{tenant}-b")):
        for signal in wire.SIGNALS:
            wire.SENDERS[["http", "grpc"][number]](server, signal, good(signal, f"of.{one}"), one)
    for form in ("slices", "parts"):
        for one in (f"{tenant}-a", f"{tenant}-b"):
            assert server.sql("SELECT name FROM spans", one) == [{"name": f"of.{one}"}], form
            assert server.sql("SELECT body FROM logs", one) == [{"body": f"of.{one}"}], form
            assert server.sql("SELECT name FROM metrics", one) == [{"name": f"of.{one}"}], form
        server.compact()
    assert count(server, f"{tenant}-c") == 0


def test_default_tenant(make_server):
    server = make_server()
    message = good("traces")
    assert server.session.post(
        f"{server.otlp_url}/v1/traces", data=message.SerializeToString(), headers={"Content-Type": wire.PROTOBUF}
    ).ok
    assert count(server, "default") == 1 and count(server, "other") == 0


@pytest.mark.parametrize("signal", wire.SIGNALS)
def test_retry_makes_no_duplicate(server, tenant, signal):
    """The same bytes again, over whichever transport and encoding, are acked and stored once."""
    table = {"traces": "spans", "logs": "logs", "metrics": "metrics"}[signal]
    message = good(signal)
    body = message.SerializeToString()
    assert wire.post(server, signal, body, tenant=tenant).status_code == 200
    assert wire.post(server, signal, body, tenant=tenant).status_code == 200
    assert wire.post(server, signal, gzip.compress(body), tenant=tenant, headers={"Content-Encoding": "gzip"}).status_code == 200
    wire.send_grpc_bytes(server, signal, body, tenant)
    assert count(server, tenant, table) == 1
    # Other bytes are other data, and another tenant's copy is its own.
    wire.send_grpc(server, signal, good(signal), tenant)
    wire.send_grpc_bytes(server, signal, body, f"{tenant}-b")
    assert count(server, tenant, table) == 2 and count(server, f"{tenant}-b", table) == 1


def test_concurrent_retries_make_no_duplicate(server, tenant):
    """Eight copies of each request in flight at once: all acked, one stored."""
    bodies = [good("traces", f"span {number}").SerializeToString() for number in range(10)]
    failures = []

    def send(body):
        try:
            wire.send_grpc_bytes(server, "traces", body, tenant)
        except grpc.RpcError as error:
            failures.append(error)

    threads = [threading.Thread(target=send, args=(body,)) for body in bodies for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert count(server, tenant) == 10


def test_a_retry_after_a_restart_makes_no_duplicate(make_server):
    server = make_server()
    body = good("traces").SerializeToString()
    assert wire.post(server, "traces", body).status_code == 200
    server.kill()
    server.start()
    assert wire.post(server, "traces", body).status_code == 200
    assert count(server, "default") == 1


# ---- operation


def test_health_and_metrics(local_server, tenant):
    for path in ("/health", "/livez", "/readyz"):
        assert local_server.session.get(f"{local_server.http_url}{path}").status_code == 200, path
    wire.send_http(local_server, "traces", good("traces"), tenant)
    wire.send_grpc(local_server, "logs", good("logs"), tenant)
    for url in (local_server.http_url, local_server.admin_url):
        answer = local_server.session.get(f"{url}/metrics")
        assert answer.status_code == 200
        kind = answer.headers["Content-Type"]
        assert kind.startswith(("application/openmetrics-text", "text/plain")), kind
        samples = [line for line in answer.text.splitlines() if not line.startswith("#")]
        requests_total = [line for line in samples if line.startswith("otlp_requests_total{")]
        for label in ("service=", "signal=", "transport=", "status="):
            assert all(label in line for line in requests_total) and requests_total
        assert any('signal="traces"' in line and 'transport="http"' in line for line in requests_total), requests_total
        assert any('signal="logs"' in line and 'transport="grpc"' in line for line in requests_total), requests_total
        assert any(line.startswith("otlp_request_duration_seconds_bucket") for line in samples)


def test_own_metrics_cover_the_whole_path(make_server):
    """Requests, bytes, rows, commits, backlog, compaction, caches, catalog, store and queries: on both ports, with what happened."""
    server = make_server(env={"OTLP_RUST__COMPACTION__INTERVAL": "100ms"})
    wire.send_http(server, "traces", good("traces"))
    wire.send_grpc(server, "logs", wire.request("logs", [wire.record("x"), wire.record("y", time_unix_nano=2**64 - 1)]))
    time.sleep(0.5)
    server.compact()
    server.sql("SELECT * FROM spans")

    def read(url):
        samples = {}
        for line in server.session.get(f"{url}/metrics").text.splitlines():
            if not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                samples[name] = float(value)
        return samples

    def total(samples, name, *labels):
        return sum(value for key, value in samples.items() if key.split("{")[0] == name and all(label in key for label in labels))

    for url in (server.http_url, server.admin_url):
        samples = read(url)
        expected = {
            ("otlp_requests_total", 'service="otlp-rust"', 'signal="traces"', 'transport="http"', 'status="ok"'): 1,
            ("otlp_requests_total", 'signal="logs"', 'transport="grpc"', 'status="partial_success"'): 1,
            ("otlp_request_duration_seconds_count", 'signal="traces"'): 1,
            ("otlp_rows_total", 'dataset="spans"'): 1,
            ("otlp_rows_total", 'dataset="logs"'): 1,
            ("otlp_rejected_items_total", 'signal="logs"'): 1,
            ("otlp_compaction_rows_total",): None,
            ("otlp_received_bytes_total", 'signal="traces"'): None,
            ("otlp_commit_duration_seconds_count",): None,
            ("otlp_compaction_runs_total",): None,
            ("otlp_compaction_duration_seconds_count",): None,
            ("otlp_compaction_output_bytes_total",): None,
            ("otlp_catalog_operation_seconds_count", 'operation="commit_segment"'): None,
            ("otlp_catalog_operation_seconds_count", 'operation="snapshot"'): None,
            ("otlp_store_operation_seconds_count", 'operation="put"'): None,
            ("otlp_store_operations_total", 'operation="put"', 'status="ok"'): None,
            ("otlp_query_duration_seconds_count", 'api="sql"'): 1,
            ("otlp_queries_total", 'api="sql"', 'status="ok"'): 1,
            ("otlp_cache_misses_total",): None,
            ("process_resident_memory_bytes",): None,
            ("process_cpu_seconds_total",): None,
        }
        for (name, *labels), count in expected.items():
            found = total(samples, name, *labels)
            assert found == count if count is not None else found > 0, (name, labels, found)
        for phase in ("encode", "put", "catalog"):
            assert total(samples, "otlp_commit_phase_seconds_count", f'phase="{phase}"') >= 1, phase
        # Gauges of what waits are there, whatever they show at this moment.
        for name in ("otlp_backlog_rows", "otlp_backlog_slices", "otlp_cache_bytes", "otlp_pending_bytes"):
            assert any(key.split("{")[0] == name for key in samples), name


def run(*arguments, env=None, stdin=None):
    return subprocess.run(
        [str(binary("otlp-rust", "OTLP_RUST_BIN")), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        env={k: v for k, v in os.environ.items() if not k.startswith("OTLP_RUST")} | (env or {}),
        input=stdin,
    )


def test_config_commands(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("commit:\n  min_interval: 25ms\nretention:\n  default: 7d\n")
    done = run("config", "check", "--config", path)
    assert done.returncode == 0, done.stderr
    done = run("config", "print", "--config", path, env={"OTLP_RUST__GC__GRACE": "3m"})
    assert done.returncode == 0 and "25ms" in done.stdout and "3m" in done.stdout and "7d" in done.stdout
    done = run("config", "schema")
    assert done.returncode == 0 and "commit" in json.loads(done.stdout)["properties"]


def test_config_mistakes_are_all_named(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("commit:\n  min_intervall: 25ms\n  max_bytes: lots\n")
    done = run("config", "check", "--config", path, env={"OTLP_RUST__GC__GRASE": "3m"})
    assert done.returncode != 0
    text = done.stdout + done.stderr
    assert "min_intervall" in text and "did you mean" in text and "commit.min_interval" in text
    assert "max_bytes" in text and "lots" in text
    assert "GRASE" in text.upper() and "gc.grace" in text
    done = run("serve", "--config", path)
    assert done.returncode != 0 and "min_intervall" in done.stdout + done.stderr


def test_secrets_are_not_printed(tmp_path):
    env = {
        "OTLP_RUST__STORE__S3__ACCESS_KEY_ID": "me",
        "OTLP_RUST__STORE__S3__SECRET_ACCESS_KEY": "hush-hush",
        "OTLP_RUST__CATALOG__URL": "postgres://u:hush-hush@127.0.0.1/x",
    }
    done = run("config", "print", env=env)
    assert done.returncode == 0, done.stderr
    assert "secret_access_key" in done.stdout and "hush-hush" not in done.stdout + done.stderr


def test_version_and_help():
    assert run("--version").stdout.startswith("otlp-rust")
    for command in ([], ["serve"], ["config"], ["sql"]):
        assert "Usage" in run(*command, "--help").stdout


def test_a_taken_port_is_a_clear_error(local_server, tmp_path):
    done = run("serve", "--data-dir", tmp_path, "--otlp-grpc", local_server.grpc_target, "--otlp-http", "127.0.0.1:0",
               "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0")  # fmt: skip
    assert done.returncode != 0
    assert str(local_server.grpc_port) in done.stdout + done.stderr


def test_sigterm_drains(make_server, tenant):
    """Under load SIGTERM ends the process with 0; what was acked is there after the next start; what was not is retryable."""
    server = make_server()
    acked, wrong = [], []
    ending = threading.Event()

    def client(number):
        channel = server.new_channel()
        while not ending.is_set():
            name = os.urandom(8).hex()
            try:
                wire.send_grpc(server, "traces", wire.request("traces", [wire.span(name)]), tenant, channel=channel, timeout=10)
                acked.append(name)
            except grpc.RpcError as error:
                if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED):
                    wrong.append(error)
                time.sleep(0.01)
        channel.close()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(1)
    code = server.terminate()
    ending.set()
    for thread in threads:
        thread.join()
    assert code == 0, server.log_tail()
    assert not wrong, wrong[:2]
    assert acked
    server.start()
    stored = sorted(row["name"] for row in server.sql("SELECT name FROM spans", tenant))
    assert set(acked) <= set(stored) and len(stored) == len(set(stored))


def test_sigterm_when_idle_is_quick(make_server):
    server = make_server()
    start = time.monotonic()
    assert server.terminate() == 0
    assert time.monotonic() - start < 10


# ---- SQL


def test_sql_formats(local_server, tenant):
    wire.send_http(local_server, "traces", wire.request("traces", [wire.span("a", {"n": 1}), wire.span("b", {"n": 2})]), tenant)
    query = 'SELECT name, "attr.n" AS n, parent_span_id FROM spans ORDER BY name'
    answer = {form: local_server.sql_raw(query, form, tenant) for form in ("json", "ndjson", "csv", "arrow", "table")}
    assert {form: a.status_code for form, a in answer.items()} == dict.fromkeys(answer, 200)
    assert [json.loads(line)["n"] for line in answer["ndjson"].text.splitlines()] == [1, 2]
    text = json.dumps(answer["json"].json())
    assert '"a"' in text and '"b"' in text
    assert answer["csv"].text.splitlines()[:2] == ["name,n,parent_span_id", "a,1,"]
    assert "name" in answer["table"].text and "| a" in answer["table"].text
    assert len(answer["arrow"].content) > 100
    again = local_server.session.post(
        f"{local_server.http_url}/api/v1/sql",
        params={"format": "ndjson"},
        json={"query": query},
        headers={"X-Scope-OrgID": tenant},
    )
    assert again.text == answer["ndjson"].text


def test_dotted_names(local_server, tenant):
    """Attributes answer to their bare dotted name, quoted or not, and under their prefix."""
    span = wire.span("x", {"http.request.method": "GET", "http.response.status_code": 200})
    wire.send_http(local_server, "traces", wire.request("traces", [span], {"k8s.pod.name": "pod-1"}), tenant)
    for query in (
        'SELECT "attr.http.request.method" AS v FROM spans',
        'SELECT "http.request.method" AS v FROM spans',
        "SELECT http.request.method AS v FROM spans",
        "SELECT 'GET' AS v FROM spans WHERE http.response.status_code = 200",
        "SELECT 'GET' AS v FROM spans WHERE \"resource.k8s.pod.name\" = 'pod-1'",
    ):
        assert local_server.sql(query, tenant) == [{"v": "GET"}], query


def test_sql_command(local_server, tenant):
    """`otlp-rust sql` prints a table."""
    wire.send_http(local_server, "traces", wire.request("traces", [wire.span("from the shell")]), tenant)
    done = run("sql", "--url", local_server.http_url, "--tenant", tenant, "SELECT name, kind FROM spans")
    assert done.returncode == 0, done.stderr
    assert "from the shell" in done.stdout and "server" in done.stdout
    done = run("sql", "--url", local_server.http_url, "SELECT nonsense FROM spans")
    assert done.returncode != 0 and "nonsense" in done.stderr


def test_sql_aggregates_over_slices_and_parts(server, tenant):
    for part in range(3):
        spans = [
            wire.span(f"op {n % 4}", {"n": n}, start_time_unix_nano=10**18 + n, end_time_unix_nano=10**18 + n + n * 1000)
            for n in range(part * 40, part * 40 + 40)
        ]
        wire.send_grpc(server, "traces", wire.request("traces", spans), tenant)
        if part < 2:
            server.compact()
    query = 'SELECT name, count(*) AS n, sum("attr.n") AS total, max(duration) AS longest FROM spans GROUP BY name ORDER BY name'
    expected = [
        {
            "name": f"op {k}",
            "n": 30,
            "total": sum(n for n in range(120) if n % 4 == k),
            "longest": max(n for n in range(120) if n % 4 == k) * 1000,
        }
        for k in range(4)
    ]
    assert server.sql(query, tenant) == expected


# ---- traces by id (Tempo's endpoints)


def trace_request():
    trace = os.urandom(16)
    root = wire.span("root", {"n": 1, "list": [1, "a"]}, trace_id=trace)
    root.events.add(name="event", time_unix_nano=wire.now(), attributes=wire.attributes({"k": "v"}))
    child = wire.span("child", {"ok": True}, trace_id=trace, parent_span_id=root.span_id)
    child.links.add(trace_id=os.urandom(16), span_id=os.urandom(8))
    child.status.code, child.status.message = 2, "broken"
    return trace, wire.request("traces", [root, child], {"host.name": "h1"})


def without_order(message):
    """Spans by id with attributes sorted and an unset status left out, so that only meaning is compared."""
    found = {}
    for resource_spans in message.resource_spans:
        resource = tuple(sorted((a.key, a.value.SerializeToString()) for a in resource_spans.resource.attributes))
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                span.attributes.sort(key=lambda pair: pair.key)
                if not span.status.ByteSize():
                    span.ClearField("status")
                found[span.span_id] = (resource, scope_spans.scope.name, span)
    return found


@pytest.mark.parametrize("form", ["slices", "parts"])
def test_tempo_trace_by_id_protobuf(server, tenant, form):
    trace, message = trace_request()
    wire.send_grpc(server, "traces", message, tenant)
    wire.send_grpc(server, "traces", trace_request()[1], tenant)
    if form == "parts":
        server.compact()
    headers = {"X-Scope-OrgID": tenant, "Accept": "application/protobuf"}
    answer = server.session.get(f"{server.http_url}/tempo/api/traces/{trace.hex()}", headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"].startswith("application/protobuf")
    assert without_order(TracesData.FromString(answer.content)) == without_order(message)
    # Version 2 wraps the trace: TraceByIDResponse { Trace trace = 1; }.
    answer = server.session.get(f"{server.http_url}/tempo/api/v2/traces/{trace.hex()}", headers=headers)
    assert answer.status_code == 200
    assert without_order(TracesData.FromString(first_field(answer.content))) == without_order(message)


def first_field(body):
    assert body[0] == 0x0A
    length = shift = 0
    for position, byte in enumerate(body[1:], 1):
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return body[position + 1 : position + 1 + length]
    raise AssertionError("no length")


def spans_of_json(trace):
    groups = trace.get("batches") or trace.get("resourceSpans") or []
    return [span for group in groups for scope in group["scopeSpans"] for span in scope["spans"]]


def test_tempo_trace_by_id_json(server, tenant):
    trace, message = trace_request()
    wire.send_grpc(server, "traces", message, tenant)
    headers = {"X-Scope-OrgID": tenant, "Accept": "application/json"}
    for path, unwrap in (("/tempo/api/traces/", lambda body: body), ("/tempo/api/v2/traces/", lambda body: body["trace"])):
        answer = server.session.get(f"{server.http_url}{path}{trace.hex()}", headers=headers)
        assert answer.status_code == 200 and answer.headers["Content-Type"].startswith("application/json")
        spans = spans_of_json(unwrap(answer.json()))
        assert sorted(span["name"] for span in spans) == ["child", "root"], path


def test_tempo_unknown_and_malformed_ids(local_server, tenant):
    headers = {"X-Scope-OrgID": tenant, "Accept": "application/json"}
    base = f"{local_server.http_url}/tempo/api"
    assert local_server.session.get(f"{base}/traces/{os.urandom(16).hex()}", headers=headers).status_code == 404
    for bad in ("xyz", "0" * 33, "%20"):
        assert local_server.session.get(f"{base}/traces/{bad}", headers=headers).status_code == 400, bad
    assert local_server.session.get(f"{base}/echo").status_code == 200
