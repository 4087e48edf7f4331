"""Roles: each starts its own listeners and no others, and a cluster of one process per role does all the work."""

import os
import socket
import time

import pytest

import wire

PORTS = {"ingest": {"grpc_port", "otlp_port"}, "query": set(), "compact": set()}


def listens(port):
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("role", PORTS)
def test_a_role_starts_only_its_listeners(make_server, role):
    server = make_server(args=["--role", role])
    open_ports = {name for name in ("grpc_port", "otlp_port") if listens(getattr(server, name))}
    assert open_ports == PORTS[role]
    # Health and metrics are there whatever the role is.
    for url in (f"{server.http_url}/health", f"{server.http_url}/metrics", f"{server.admin_url}/metrics"):
        assert server.session.get(url).status_code == 200, url
    asked = {
        "query": server.sql_raw("SELECT 1 AS one", "json"),
        "compact": server.session.post(f"{server.http_url}/api/v1/admin/compact", params={"wait": "true"}),
    }
    for wanted, answer in asked.items():
        if wanted == role:
            assert answer.status_code == 200, answer.text
        else:
            assert answer.status_code == 404 and f"role {wanted}" in answer.json()["error"]["message"], answer.text
    assert server.terminate() == 0


def test_roles_combine(make_server):
    server = make_server(args=["--role", "ingest,query"])
    wire.send_grpc(server, "traces", wire.request("traces", [wire.span("x")]))
    assert server.sql("SELECT name FROM spans") == [{"name": "x"}]


def test_an_unknown_role_is_a_clear_error(make_server):
    server = make_server(args=["--role", "compactor"], start=False)
    with pytest.raises(RuntimeError) as caught:
        server.start()
    assert "server.role" in str(caught.value) and "compact" in str(caught.value) and "--role" in str(caught.value)


def test_a_cluster_of_one_process_per_role(make_server, services, tenant):
    """What the first receives the second returns at once and the third compacts and collects; PostgreSQL and S3 between them."""
    env = services.cluster_env() | {
        "OTLP_RUST__COMPACTION__INTERVAL": "200ms",
        "OTLP_RUST__COMPACTION__MAX_SLICE_AGE": "1s",
        "OTLP_RUST__GC__GRACE": "1s",
        "OTLP_RUST__GC__INTERVAL": "300ms",
        "OTLP_RUST__QUERY__TIMEOUT": "1s",
    }
    ingest, query, compact, second = (
        make_server(env=env, args=["--role", role]) for role in ("ingest", "query", "compact", "compact")
    )
    names = []

    def gauge(server, name):
        lines = server.session.get(f"{server.http_url}/metrics").text.splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))

    def total(name):
        return gauge(compact, name) + gauge(second, name)

    deadline = time.monotonic() + 90
    while total("otlp_compaction_runs_total") < 3 or total("otlp_gc_objects_deleted_total") < 5:
        assert time.monotonic() < deadline, "the processes with the role compact do nothing"
        name = os.urandom(8).hex()
        wire.send_grpc(ingest, "traces", wire.request("traces", [wire.span(name)]), tenant)
        names.append(name)
        assert query.sql(f"SELECT name FROM spans WHERE name = '{name}'", tenant) == [{"name": name}]
    assert sorted(row["name"] for row in query.sql("SELECT name FROM spans", tenant)) == sorted(names)
    assert gauge(ingest, "otlp_compaction_runs_total") == gauge(query, "otlp_compaction_runs_total") == 0
    assert total("otlp_compaction_failures_total") == 0
    # A process that starts now sees the same.
    late = make_server(env=env, args=["--role", "query"])
    assert sorted(row["name"] for row in late.sql("SELECT name FROM spans", tenant)) == sorted(names)
