"""How a process leaves: load balancers are told first, then requests are refused, and what is under way gets its answer."""

import http.client
import json
import signal
import time

import requests
from grpc_health.v1 import health_pb2, health_pb2_grpc

import wire

DELAY = 4


def drain(server):
    server.process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + DELAY
    while requests.get(f"{server.http_url}/readyz", timeout=5).status_code != 503:
        assert time.monotonic() < deadline, "a process that was told to stop still says that it is ready"
        time.sleep(0.02)


def test_a_draining_process_serves_until_load_balancers_had_time_to_notice(make_server, tenant):
    """During server.drain_delay only the health checks say no; connections of HTTP/1.1 are closed after their next answer."""
    server = make_server(env={"OTLP_RUST__SERVER__DRAIN_DELAY": f"{DELAY}s"})
    session = requests.Session()
    message = wire.request("traces", [wire.span("ready")])
    wire.send_grpc(server, "traces", message, tenant)
    answer = wire.post(server, "traces", message.SerializeToString(), tenant=tenant, session=session)
    assert answer.status_code == 200 and "Connection" not in answer.headers
    began = time.monotonic()
    drain(server)
    health = health_pb2_grpc.HealthStub(server.channel()).Check(health_pb2.HealthCheckRequest(), timeout=5)
    assert health.status == health_pb2.HealthCheckResponse.NOT_SERVING
    wire.send_grpc(server, "traces", wire.request("traces", [wire.span("grpc")]), tenant)
    http = wire.request("traces", [wire.span("http")]).SerializeToString()
    answer = wire.post(server, "traces", http, tenant=tenant, session=session)
    assert (answer.status_code, answer.headers["Connection"]) == (200, "close"), answer.text
    # New connections are taken, too: a balancer that has not noticed yet makes some.
    assert wire.post(server, "traces", http, tenant=tenant).status_code == 200
    assert [row["name"] for row in server.sql("SELECT name FROM spans ORDER BY name", tenant)] == ["grpc", "http", "ready"]
    assert server.process.wait(60) == 0, server.log_tail()
    assert time.monotonic() - began >= DELAY


def test_a_second_signal_ends_the_delay(make_server):
    server = make_server(env={"OTLP_RUST__SERVER__DRAIN_DELAY": "10m"})
    drain(server)
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(60) == 0, server.log_tail()


def test_a_query_under_way_is_answered_before_the_process_ends(make_server):
    """Its client reads slowly: the answer is far larger than what fits into buffers, and ends long after SIGTERM."""
    rows = 400_000
    server = make_server()
    client = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=60)
    client.request("POST", "/api/v1/sql?format=ndjson", f"SELECT value, repeat('x', 100) AS filler FROM generate_series(1, {rows})")
    answer = client.getresponse()
    begun = answer.read(1000)
    server.process.send_signal(signal.SIGTERM)
    # Longer than connections that idle get.
    time.sleep(4)
    assert server.alive(), "the process did not wait for a query under way"
    lines = (begun + answer.read()).splitlines()
    assert len(lines) == rows and json.loads(lines[-1])["value"] == rows
    assert server.process.wait(60) == 0, server.log_tail()


def test_a_query_that_never_ends_is_cut_off_in_time(make_server):
    server = make_server(env={"OTLP_RUST__SERVER__SHUTDOWN_TIMEOUT": "3s"})
    client = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=60)
    client.request("POST", "/api/v1/sql?format=ndjson", "SELECT value FROM generate_series(1, 1000000000000)")
    client.getresponse().read(1000)
    began = time.monotonic()
    assert server.terminate() == 0, server.log_tail()
    assert time.monotonic() - began < 20
    client.close()
