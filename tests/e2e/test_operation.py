"""What an operator counts on: outages are retryable and lose nothing, overload is pushed back, retention deletes, psql connects."""

import os
import socket
import threading
import time

import grpc
import pytest
from google.rpc import error_details_pb2

import wire
from platform_process import SqlError
from services import S3, Postgres


def count(server, tenant, table="spans"):
    return server.sql(f"SELECT count(*) AS n FROM {table}", tenant)[0]["n"]


def wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


# ---- outages


@pytest.mark.parametrize("part", ["store", "catalog"])
def test_an_outage_is_retryable_and_loses_nothing(make_server, tenant, part):
    """Without its store or catalog the server acks nothing and says `try again`; when they are back, the retry succeeds."""
    store, catalog = S3(), Postgres()
    broken = store if part == "store" else catalog
    try:
        env = store.env("outage") | {
            "OTLP_RUST__CATALOG__URL": catalog.database(),
            "OTLP_RUST__COMMIT__MIN_INTERVAL": "20ms",
            "OTLP_RUST__STORE__REQUEST_TIMEOUT": "5s",
        }
        server = make_server(env=env)
        wire.send_http(server, "traces", wire.request("traces", [wire.span("before")]), tenant)
        broken.process.send_signal(19)  # SIGSTOP: the peer hangs, which is worse than a refused connection
        message = wire.request("traces", [wire.span("during")])
        stopped = threading.Timer(8, broken.process.send_signal, [18])  # SIGCONT
        stopped.start()
        attempts = 0
        while True:
            attempts += 1
            answer = wire.post(server, "traces", message.SerializeToString(), tenant=tenant, timeout=90)
            if answer.status_code == 200:
                break
            assert answer.status_code == 503 and int(answer.headers["Retry-After"]) >= 1, answer.text
            assert server.alive()
            time.sleep(0.2)
        stopped.join()
        assert sorted(r["name"] for r in server.sql("SELECT name FROM spans", tenant)) == ["before", "during"]
        print("attempts", attempts)
    finally:
        for one in (store, catalog):
            one.process.send_signal(18)
            one.stop()


def test_a_store_that_refuses_connections(make_server, tenant):
    """A store that is gone for good: UNAVAILABLE with a delay over gRPC, 503 over HTTP, readiness and queries say so, no crash."""
    store = S3()
    try:
        server = make_server(env=store.env("gone") | {"OTLP_RUST__STORE__REQUEST_TIMEOUT": "3s"})
        wire.send_grpc(server, "traces", wire.request("traces", [wire.span("before")]), tenant)
        store.stop()
        with pytest.raises(grpc.RpcError) as caught:
            wire.send_grpc(server, "traces", wire.request("traces", [wire.span("after")]), tenant, timeout=120)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE, caught.value
        status = wire.grpc_status(caught.value)
        retry = error_details_pb2.RetryInfo()
        assert status and status.details[0].Unpack(retry) and retry.retry_delay.ToMilliseconds() > 0
        assert server.alive()
        assert server.terminate() == 0
    finally:
        store.stop()


# ---- overload


def test_overload_is_pushed_back(make_server, tenant):
    """Past the budget of bytes that wait for their commit: 429 with Retry-After, RESOURCE_EXHAUSTED with RetryInfo. All is stored in the end."""
    env = {"OTLP_RUST__INGEST__MAX_PENDING_BYTES": "2MiB", "OTLP_RUST__COMMIT__MIN_INTERVAL": "300ms"}
    server = make_server(env=env)
    pushed_back, acked, wrong = [], [], []

    def client(number):
        filler = os.urandom(150_000).hex()
        message = wire.request("traces", [wire.span(f"client {number}", {"filler": filler})])
        for _ in range(200):
            if number % 2:
                answer = wire.post(server, "traces", message.SerializeToString(), tenant=tenant)
                if answer.status_code == 200:
                    acked.append(number)
                    return
                if answer.status_code != 429 or int(answer.headers.get("Retry-After", 0)) < 1:
                    wrong.append((answer.status_code, dict(answer.headers)))
                    return
            else:
                try:
                    wire.send_grpc(server, "traces", message, tenant)
                    acked.append(number)
                    return
                except grpc.RpcError as error:
                    status, retry = wire.grpc_status(error), error_details_pb2.RetryInfo()
                    hinted = status and any(detail.Unpack(retry) for detail in status.details)
                    if error.code() != grpc.StatusCode.RESOURCE_EXHAUSTED or not hinted:
                        wrong.append(error)
                        return
            pushed_back.append(number)
            time.sleep(0.1)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong, wrong[:2]
    assert len(acked) == 40 == count(server, tenant)
    assert pushed_back, "40 clients with 300 kB each never met the budget of 2 MiB"


# ---- limits of queries


@pytest.mark.parametrize(
    "query",
    [
        "SELECT count(*) FROM generate_series(1, 1000000000)",
        "SELECT value FROM generate_series(1, 1000000000) ORDER BY value % 1000 LIMIT 5",
        "SELECT count(*) FROM generate_series(1, 100000) a, generate_series(1, 100000) b WHERE a.value * b.value % 7 = 3",
    ],
    ids=["count", "sort", "cross join"],
)
def test_query_time_limit(make_server, query):
    """A query that would take for ever ends at query.timeout, and does not keep anybody else from being served."""
    server = make_server(env={"OTLP_RUST__QUERY__TIMEOUT": "2s"})
    slowest = []

    def ingest():
        while len(slowest) < 10:
            start = time.monotonic()
            wire.send_http(server, "traces", wire.request("traces", [wire.span("meanwhile")]))
            slowest.append(time.monotonic() - start)
            time.sleep(0.2)

    beside = threading.Thread(target=ingest)
    beside.start()
    start = time.monotonic()
    with pytest.raises(SqlError) as caught:
        server.sql(query)
    assert caught.value.status in (408, 422, 503, 504) and "query.timeout" in caught.value.text, caught.value
    assert time.monotonic() - start < 20
    beside.join(60)
    assert len(slowest) == 10 and max(slowest) < 15, slowest
    assert server.sql("SELECT 1 AS one") == [{"one": 1}]


def test_query_memory_limit(make_server):
    server = make_server(env={"OTLP_RUST__QUERY__MAX_MEMORY": "16MiB"})
    with pytest.raises(SqlError) as caught:
        server.sql("SELECT array_agg(value) AS everything FROM generate_series(1, 20000000)")
    assert 400 <= caught.value.status < 600 and "memory" in caught.value.text.lower(), caught.value
    assert server.sql("SELECT 1 AS one") == [{"one": 1}] and server.alive()


def queries(server, status):
    lines = server.session.get(f"{server.http_url}/metrics").text.splitlines()
    found = [line for line in lines if line.startswith("otlp_queries_total") and f'status="{status}"' in line]
    return sum(float(line.rsplit(" ", 1)[1]) for line in found)


def test_a_query_ends_when_its_client_leaves(make_server):
    """One query at a time, and the clients of endless ones leave: before the first row, and in the middle of a stream."""
    server = make_server(env={"OTLP_RUST__QUERY__CONCURRENCY": "1", "OTLP_RUST__QUERY__TIMEOUT": "10m"})
    endless = {
        "before": "SELECT count(*) FROM generate_series(1, 1000000000000)",
        "amid": "SELECT value FROM generate_series(1, 1000000000000)",
    }
    for number, (when, query) in enumerate(endless.items(), 1):
        body = query.encode()
        with socket.create_connection(("127.0.0.1", server.http_port)) as client:
            head = f"POST /api/v1/sql?format=ndjson HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            client.sendall(head.encode() + body)
            if when == "amid":
                received = b""
                while b'"value":1000' not in received:
                    received += client.recv(65536)
            else:
                time.sleep(0.5)
        wait_until(lambda: queries(server, "cancelled") == number)
        start = time.monotonic()
        assert server.sql("SELECT 1 AS one") == [{"one": 1}]
        assert time.monotonic() - start < 4, "its turn was not given back"


def test_too_many_queries_are_turned_away(make_server):
    server = make_server(env={"OTLP_RUST__QUERY__CONCURRENCY": "1", "OTLP_RUST__QUERY__TIMEOUT": "30s"})
    query = b"SELECT count(*) FROM generate_series(1, 1000000000000)"
    with socket.create_connection(("127.0.0.1", server.http_port)) as client:
        client.sendall(b"POST /api/v1/sql HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(query) + query)
        time.sleep(0.5)
        with pytest.raises(SqlError) as caught:
            server.sql("SELECT 1")
        assert caught.value.status == 429 and "query.concurrency" in caught.value.text


def test_query_scan_and_row_limits(make_server, tenant):
    server = make_server(env={"OTLP_RUST__QUERY__MAX_SCAN_BYTES": "1KiB", "OTLP_RUST__QUERY__MAX_ROWS": "10"})
    spans = [wire.span(f"span {n}", {"filler": os.urandom(200).hex()}) for n in range(100)]
    wire.send_grpc(server, "traces", wire.request("traces", spans), tenant)
    with pytest.raises(SqlError) as caught:
        server.sql("SELECT value FROM generate_series(1, 11)")
    assert caught.value.status == 422 and "query.max_rows" in caught.value.text
    assert len(server.sql("SELECT value FROM generate_series(1, 10)")) == 10
    server.compact()
    # A new process, so that nothing is in memory.
    server.terminate()
    server.start()
    with pytest.raises(SqlError) as caught:
        server.sql("SELECT count(DISTINCT \"attr.filler\") FROM spans", tenant)
    assert caught.value.status == 422 and "query.max_scan_bytes" in caught.value.text


# ---- retention


def test_retention_deletes_and_says_how_much(make_server, tenant):
    env = {
        "OTLP_RUST__RETENTION__DEFAULT": "1h",
        "OTLP_RUST__COMPACTION__INTERVAL": "300ms",
        # A segment goes when nothing of it is live, and the resource beside the spans is kept longer than they are.
        "OTLP_RUST__COMPACTION__MAX_SLICE_AGE": "1s",
        "OTLP_RUST__GC__GRACE": "1s",
        "OTLP_RUST__GC__INTERVAL": "300ms",
    }
    server = make_server(env=env)
    old = wire.now() - 3 * 3600 * 10**9
    spans = [wire.span(f"old {n}", start_time_unix_nano=old + n, end_time_unix_nano=old + n) for n in range(500)]
    wire.send_http(server, "traces", wire.request("traces", spans), tenant)
    wire.send_http(server, "traces", wire.request("traces", [wire.span("new")]), tenant)
    wait_until(lambda: [r["name"] for r in server.sql("SELECT name FROM spans", tenant)] == ["new"])

    def deleted():
        text = server.session.get(f"{server.http_url}/metrics").text
        lines = [line for line in text.splitlines() if line.startswith("otlp_retention_rows_deleted_total")]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if 'dataset="spans"' in line)

    assert deleted() == 500
    assert server.sql("SELECT name FROM spans", tenant) == [{"name": "new"}]
    # The objects go from the disk too, once no query can need them: what is left holds the new span.
    store = server.data_dir / "store"
    wait_until(lambda: not list(store.rglob("*.seg")) and len(list(store.rglob("spans/**/*.parquet"))) == 1)

    def total(name):
        lines = server.session.get(f"{server.http_url}/metrics").text.splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))

    def spans():
        datasets = server.session.get(f"{server.http_url}/api/v1/admin/retention").json()["datasets"]
        return next(one for one in datasets if (one["tenant"], one["dataset"]) == (tenant, "spans"))

    wait_until(lambda: spans()["bytes_deleted"] > 0 and spans()["last_proof"])
    said = spans()
    assert (said["period_seconds"], said["rows_deleted"], said["rows_due"], said["bytes_due"]) == (3600, 500, 0, 0), said
    for name in ("otlp_retention_bytes_deleted_total", "otlp_gc_objects_deleted_total", "otlp_gc_bytes_deleted_total"):
        assert total(name) > 0, name
    assert total("otlp_retention_bytes_deleted_total") == said["bytes_deleted"]
    assert abs(total('otlp_retention_proof_timestamp_seconds{dataset="spans"}') - time.time()) < 120


# ---- metrics of every kind, by hand


def test_summaries_and_histograms_without_a_sum(server, tenant):
    from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

    when = wire.now()
    summary = Metric(name="latency.summary", unit="ms")
    point = summary.summary.data_points.add(time_unix_nano=when, count=10, sum=55.5)
    for quantile, value in ((0.0, 1.0), (0.5, 5.0), (1.0, 10.0)):
        point.quantile_values.add(quantile=quantile, value=value)
    bare = Metric(name="bare.histogram")
    bare.histogram.aggregation_temporality = 1
    bare.histogram.data_points.add(time_unix_nano=when, count=3)
    no_value = wire.gauge("stale", 0.0, flags=1)
    response = wire.send_grpc(server, "metrics", wire.request("metrics", [summary, bare, no_value]), tenant)
    assert wire.rejected("metrics", response) == (0, "")
    rows = server.sql(
        "SELECT s.name, s.type, s.temporality, h.count, h.sum, h.quantiles, h.quantile_values, h.bounds FROM metric_histograms h"
        " JOIN (SELECT DISTINCT series_id, name, type, temporality FROM metric_series) s ON h.series_id = s.series_id ORDER BY name",
        tenant,
    )
    first, second = rows
    assert (first["name"], first["type"], first["temporality"], first["count"], first["sum"]) == ("bare.histogram", "histogram", "delta", 3, None)
    assert (second["name"], second["type"], second["count"], second["sum"]) == ("latency.summary", "summary", 10, 55.5)
    assert (second["quantiles"], second["quantile_values"]) == ([0.0, 0.5, 1.0], [1.0, 5.0, 10.0])
