"""Limits per tenant: what a refused sender is told, and how several processes share a limit through Redis, whatever becomes of Redis."""

import threading
import time

import grpc
import pytest
from google.rpc import error_details_pb2
from opentelemetry.exporter.otlp.proto.grpc import trace_exporter as grpc_traces
from opentelemetry.exporter.otlp.proto.http import trace_exporter as http_traces
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import wire
from services import Redis

# Items a second of the tenant `shop` in the tests of shared limits, and spans in one of their requests: so many that a busy
# machine sends several times the rate.
RATE = 400
BATCH = 100


@pytest.fixture
def redis():
    """A Redis of the test's own that is not started yet."""
    one = Redis()
    yield one
    one.stop()


def metric(server, name, **labels):
    """The sum of a metric's samples with these labels; None if there is none."""
    wanted = [f'{key}="{value}"' for key, value in labels.items()]
    lines = server.session.get(f"{server.admin_url}/metrics").text.splitlines()
    found = [line for line in lines if line.split("{")[0].split(" ")[0] == name and all(label in line for label in wanted)]
    return sum(float(line.rsplit(" ", 1)[1]) for line in found) if found else None


def until(condition, what, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def retry_delay(details):
    """Seconds of the RetryInfo in a google.rpc.Status."""
    (packed,) = details.details
    info = error_details_pb2.RetryInfo()
    assert packed.Unpack(info)
    return info.retry_delay.seconds + info.retry_delay.nanos / 1e9


def test_a_refused_sender_is_told_the_limit_its_key_and_when_to_retry(make_server):
    env = {"OTLP_RUST__LIMITS__BYTES_PER_SECOND": "4KiB", "OTLP_RUST__LIMITS__BURST": "1s"}
    server = make_server(env=env | {"OTLP_RUST__LIMITS__TENANTS__big__BYTES_PER_SECOND": "0"})
    large = wire.request("traces", [wire.span("x", {"filler": "x" * 40_000})])
    small = wire.request("traces", [wire.span("small")])
    body = small.SerializeToString()
    for tenant in ("shop", "big"):
        wire.send_http(server, "traces", large, tenant)
    wire.send_http(server, "traces", small, "big")
    for content_type in (wire.PROTOBUF, wire.JSON):
        answer = wire.post(server, "traces", b"{}" if content_type == wire.JSON else body, content_type, tenant="shop")
        assert answer.status_code == 429
        status = wire.http_status(answer)
        assert status.code == 8
        assert "tenant shop exceeds limits.bytes_per_second (4 KiB/s): retry in " in status.message
        assert "raise limits.tenants.shop.bytes_per_second" in status.message
        # 40,000 B are 9.8 s, of which one was there at first.
        assert 1 <= int(answer.headers["Retry-After"]) <= 9
    with pytest.raises(grpc.RpcError) as caught:
        wire.send_grpc(server, "traces", small, "shop")
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    delay = retry_delay(wire.grpc_status(caught.value))
    assert 0 < delay <= 9
    # The same where the SDK for Python looks for it.
    info = error_details_pb2.RetryInfo.FromString(dict(caught.value.trailing_metadata())["google.rpc.retryinfo-bin"])
    assert info.retry_delay.seconds + info.retry_delay.nanos / 1e9 == delay
    assert metric(server, "otlp_limits_reached_total", limit="bytes_per_second") == 3
    assert metric(server, "otlp_limits_redis_up") is None, "no Redis is configured"


def test_real_sdks_wait_as_long_as_they_are_told_and_get_through(make_server):
    env = {"OTLP_RUST__LIMITS__ITEMS_PER_SECOND": "10", "OTLP_RUST__LIMITS__BURST": "1s"}
    server = make_server(env=env)
    memory = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource({"service.name": "shop"}))
    provider.add_span_processor(SimpleSpanProcessor(memory))
    for number in range(35):
        provider.get_tracer("t").start_span(f"span {number}").end()
    spans = memory.get_finished_spans()
    exporters = {
        "grpc": grpc_traces.OTLPSpanExporter(endpoint=server.grpc_target, insecure=True, headers={"x-scope-orgid": "grpc"}, timeout=20),
        "http": http_traces.OTLPSpanExporter(endpoint=f"{server.otlp_url}/v1/traces", headers={"x-scope-orgid": "http"}, timeout=20),
    }
    for tenant, exporter in exporters.items():
        assert exporter.export(spans[:30]).name == "SUCCESS"
        started = time.monotonic()
        # The debt is two seconds; a sender that ignored the delay would double its own from one second on.
        assert exporter.export(spans[30:]).name == "SUCCESS"
        assert 1 < time.monotonic() - started < 8
        assert server.sql("SELECT count(*) AS n FROM spans", tenant) == [{"n": 35}]
        assert metric(server, "otlp_limits_reached_total", limit="items_per_second") >= 1
        exporter.shutdown()


def test_series_beyond_the_limit_are_rejected_alone(make_server):
    server = make_server(env={"OTLP_RUST__LIMITS__SERIES": "2"})
    points = [wire.gauge("m", 1.0, {"n": n}) for n in range(3)]
    wire.send_http(server, "metrics", wire.request("metrics", points[:2]), "shop")
    count, reason = wire.rejected("metrics", wire.send_grpc(server, "metrics", wire.request("metrics", points), "shop"))
    assert count == 1 and "limits.series (2)" in reason
    with pytest.raises(grpc.RpcError) as caught:
        wire.send_grpc(server, "metrics", wire.request("metrics", points[2:]), "shop")
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED and "limits.series (2)" in caught.value.details()
    assert retry_delay(wire.grpc_status(caught.value)) == 30
    assert server.sql("SELECT count(*) AS n FROM metrics", "shop") == [{"n": 4}]
    assert metric(server, "otlp_rejected_items_total", reason="limit") == 1


class Flood:
    """Threads that send to each server as fast as it lets them, and count what got through."""

    def __init__(self, servers):
        self.servers = servers
        self.sent = [0] * len(servers)
        self.slowest = 0.0
        self.running = True
        self.problems = []
        self.threads = [threading.Thread(target=self.run, args=(index,)) for index in range(len(servers))]
        for thread in self.threads:
            thread.start()

    def run(self, index):
        channel = self.servers[index].new_channel()
        spans = [wire.span() for _ in range(BATCH - 1)]
        try:
            while self.running:
                message = wire.request("traces", [*spans, wire.span()])
                started = time.monotonic()
                try:
                    wire.send_grpc(self.servers[index], "traces", message, "shop", channel)
                    self.sent[index] += BATCH
                except grpc.RpcError as error:
                    if error.code() != grpc.StatusCode.RESOURCE_EXHAUSTED:
                        self.problems.append(f"{error.code()} {error.details()}")
                    time.sleep(0.05)
                self.slowest = max(self.slowest, time.monotonic() - started)
        finally:
            channel.close()

    def rate(self, seconds):
        """Items a second that got through in the next `seconds`, of all servers together; and the slowest answer."""
        self.slowest = 0.0
        before, started = sum(self.sent), time.monotonic()
        time.sleep(seconds)
        return (sum(self.sent) - before) / (time.monotonic() - started), self.slowest

    def stop(self):
        self.running = False
        for thread in self.threads:
            thread.join()


def test_processes_share_a_limit_through_a_redis_that_dies_hangs_and_comes_back(make_server, redis):
    env = {
        "OTLP_RUST__REDIS__URL": redis.url,
        "OTLP_RUST__LIMITS__TENANTS__shop__ITEMS_PER_SECOND": str(RATE),
        "OTLP_RUST__LIMITS__BURST": "1s",
    }
    # Redis is not there yet, and nobody waits for it.
    servers = [make_server(env=env) for _ in range(2)]
    assert [metric(server, "otlp_limits_redis_up") for server in servers] == [0, 0]

    def contact(wanted):
        return lambda: all(metric(server, "otlp_limits_redis_up") == wanted for server in servers)

    flood = Flood(servers)
    try:
        time.sleep(1)
        alone, _ = flood.rate(2)
        # Each knows of no other, so each grants the whole limit.
        assert 1.5 * RATE < alone < 2.3 * RATE
        redis.start()
        until(contact(1), "Redis is not used")
        time.sleep(2)
        shared, _ = flood.rate(4)
        assert 0.75 * RATE < shared < 1.25 * RATE
        redis.hang()
        until(contact(0), "a Redis that hangs is not noticed")
        halves, slowest = flood.rate(3)
        # Each keeps to the half that it had, and no request waited for Redis.
        assert 0.6 * RATE < halves < 1.3 * RATE
        assert slowest < 1
        redis.resume()
        until(contact(1), "Redis is not used again")
        redis.kill()
        until(contact(0), "a Redis that died is not noticed")
        halves, slowest = flood.rate(3)
        assert 0.6 * RATE < halves < 1.3 * RATE
        assert slowest < 1
        # It comes back empty: the scripts are gone, and so is what was used.
        redis.start()
        until(contact(1), "Redis is not used again")
        time.sleep(2)
        shared, _ = flood.rate(4)
        assert 0.75 * RATE < shared < 1.25 * RATE
    finally:
        flood.stop()
    assert not flood.problems, flood.problems[:3]
    for server in servers:
        assert metric(server, "otlp_limits_reached_total", tenant="shop", limit="items_per_second") > 0
        log = server.log_path.read_text()
        assert log.count("redis cannot be reached") == 3 and log.count("redis is back") == 3, log


def test_processes_share_the_bytes_per_second(make_server, redis):
    redis.start()
    # As many bytes as the requests of the flood hold that make up RATE items.
    size = len(wire.request("traces", [wire.span() for _ in range(BATCH)]).SerializeToString())
    env = {
        "OTLP_RUST__REDIS__URL": redis.url,
        "OTLP_RUST__LIMITS__TENANTS__shop__BYTES_PER_SECOND": str(size * RATE // BATCH),
        "OTLP_RUST__LIMITS__BURST": "1s",
    }
    servers = [make_server(env=env) for _ in range(2)]
    until(lambda: all(metric(server, "otlp_limits_redis_up") == 1 for server in servers), "Redis is not used")
    flood = Flood(servers)
    try:
        time.sleep(2)
        shared, _ = flood.rate(4)
        # Twice as much if each granted the whole limit.
        assert 0.75 * RATE < shared < 1.25 * RATE
    finally:
        flood.stop()
    assert not flood.problems, flood.problems[:3]
    assert all(metric(server, "otlp_limits_reached_total", tenant="shop", limit="bytes_per_second") > 0 for server in servers)


def point_of_a_series(number):
    return wire.gauge("m", 1.0, {"n": number})


def span_with_a_key(number):
    return wire.span("s", {f"key.{number}": 1})


@pytest.mark.parametrize(
    # The resource's own key counts, too.
    ("limit", "signal", "item", "others"),
    [("series", "metrics", point_of_a_series, 0), ("attribute_keys", "traces", span_with_a_key, 1)],
    ids=["series", "attribute_keys"],
)
def test_processes_share_the_number_of(make_server, redis, limit, signal, item, others):
    redis.start()
    most = 10 + others
    env = {"OTLP_RUST__REDIS__URL": redis.url, "OTLP_RUST__REDIS__PREFIX": "test", f"OTLP_RUST__LIMITS__{limit.upper()}": str(most)}
    first, second = (make_server(env=env) for _ in range(2))
    until(lambda: metric(second, "otlp_limits_redis_up") == 1, "Redis is not used")

    def send(server, numbers):
        """Sends an item with each series or key; returns how many were rejected."""
        message = wire.request(signal, [item(number) for number in numbers])
        try:
            return wire.rejected(signal, wire.send_grpc(server, signal, message, "shop"))[0]
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED and f"limits.{limit} ({most})" in error.details()
            return len(numbers)

    def told(count):
        return lambda: redis.ask("SCARD", f"test:limits:{{shop}}:{limit}:young") == str(count + others)

    assert send(first, range(6)) == 0
    until(told(6), "the first process does not tell what it knows")
    # The second learns of them when it tells its own first one.
    assert send(second, [100]) == 0
    until(told(7), "the second process does not tell what it knows")
    time.sleep(0.5)
    assert send(second, [101, 102, 103, 104]) == 1
    # What moves to another process is not new, even if the limit is reached.
    until(lambda: send(second, range(6)) == 0, f"{limit}: what the other process knows is refused")
    assert send(second, [200]) == 1 and send(first, range(6)) == 0


def test_redis_over_tls(make_server):
    redis = Redis(tls=True)
    try:
        redis.start()
        env = {"OTLP_RUST__REDIS__URL": redis.url, "OTLP_RUST__LIMITS__SERIES": "1", "SSL_CERT_FILE": str(redis.certificate)}
        server = make_server(env=env)
        until(lambda: metric(server, "otlp_limits_redis_up") == 1, f"Redis is not used:\n{server.log_tail()}")
    finally:
        redis.stop()
