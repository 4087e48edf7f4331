"""After an ack the very next query sees the item: in the same process, and with shared storage in any other one."""

import os

import pytest

import wire

ROUNDS = 15
QUERY = {
    "traces": "SELECT name FROM spans WHERE name = '{name}'",
    "logs": "SELECT body AS name FROM logs WHERE body = '{name}'",
    "metrics": "SELECT name FROM metrics WHERE name = '{name}'",
}


def item(signal, name):
    build = {"traces": wire.span, "logs": wire.record, "metrics": wire.gauge}[signal]
    return wire.request(signal, [build(name)])


def check(writer, reader, signal, transport, tenant):
    for number in range(ROUNDS):
        name = f"{signal}.{transport}.{number}.{os.urandom(4).hex()}"
        response = wire.SENDERS[transport](writer, signal, item(signal, name), tenant)
        rows = reader.sql(QUERY[signal].format(name=name), tenant)
        assert [row["name"] for row in rows] == [name]
        assert wire.rejected(signal, response) == (0, "")


@pytest.mark.parametrize("transport", ["http", "grpc"])
@pytest.mark.parametrize("signal", wire.SIGNALS)
def test_same_process(server, tenant, signal, transport):
    check(server, server, signal, transport, tenant)


@pytest.fixture(scope="module")
def cluster(folder, services):
    """One process that only ingests and one that only queries, over the same PostgreSQL and S3."""
    from platform_process import Platform

    env = services.cluster_env()
    members = [Platform(folder / f"ryw-{role}", env, ["--role", role]).start() for role in ("ingest", "query")]
    yield members
    for member in members:
        member.kill()


@pytest.mark.parametrize("transport", ["http", "grpc"])
@pytest.mark.parametrize("signal", wire.SIGNALS)
def test_another_process(cluster, tenant, signal, transport):
    ingest, query = cluster
    check(ingest, query, signal, transport, tenant)
    assert ingest.alive() and query.alive()


def test_after_compaction(server, tenant):
    """Compaction moves rows from slices to parts; a query sees each exactly once before, during and after."""
    names = [f"span {number}" for number in range(60)]
    for start in range(0, 60, 10):
        message = wire.request("traces", [wire.span(name) for name in names[start : start + 10]])
        wire.send_grpc(server, "traces", message, tenant)
        server.compact()
        rows = server.sql("SELECT name FROM spans", tenant)
        assert sorted(row["name"] for row in rows) == sorted(names[: start + 10])
