"""Every kind of object store: the platform ingests, answers, compacts, collects garbage and starts again on it."""

import os
import time

import pytest

import wire
from services import S3, Azure, Gcs


@pytest.fixture(params=[S3, Gcs, Azure], ids=lambda kind: kind.__name__.lower())
def store(request, services):
    if request.param is Azure and not Azure.PROGRAM.exists():
        pytest.skip("Azurite is not installed: run scripts/setup-tests.sh and read what it says")
    return services.get(request.param)


def metric(server, name, **labels):
    wanted = [f'{key}="{value}"' for key, value in labels.items()]
    lines = server.session.get(f"{server.http_url}/metrics").text.splitlines()
    found = [line for line in lines if line.split("{")[0].split(" ")[0] == name and all(label in line for label in wanted)]
    return sum(float(line.rsplit(" ", 1)[1]) for line in found)


def test_a_life_on_each_store(make_server, store, tenant):
    env = store.env(f"life/{tenant}") | {
        "OTLP_RUST__COMMIT__MIN_INTERVAL": "20ms",
        "OTLP_RUST__GC__GRACE": "1s",
        "OTLP_RUST__GC__INTERVAL": "300ms",
        "OTLP_RUST__QUERY__TIMEOUT": "1s",
    }
    server = make_server(env=env)
    traces = []
    for round_number in range(3):
        trace = os.urandom(16)
        traces.append(trace)
        spans = [wire.span(f"span {round_number}.{n}", {"n": n}, trace_id=trace) for n in range(50)]
        wire.send_grpc(server, "traces", wire.request("traces", spans, {"host.name": "h"}), tenant)
        wire.send_http(server, "logs", wire.request("logs", [wire.record(f"log {round_number}")]), tenant)
        wire.send_http(server, "metrics", wire.request("metrics", [wire.gauge(f"gauge.{round_number}", 0.5)]), tenant)

    def check():
        rows = server.sql('SELECT count(*) AS spans, sum("attr.n") AS n, count(DISTINCT trace_id) AS traces FROM spans', tenant)
        assert rows == [{"spans": 150, "n": 3 * sum(range(50)), "traces": 3}]
        assert sorted(r["body"] for r in server.sql("SELECT body FROM logs", tenant)) == ["log 0", "log 1", "log 2"]
        assert sorted(r["value"] for r in server.sql("SELECT value FROM metrics", tenant)) == [0.5] * 3
        answer = server.session.get(f"{server.http_url}/tempo/api/traces/{traces[1].hex()}", headers={"X-Scope-OrgID": tenant})
        assert answer.status_code == 200 and answer.text.count("span 1.") == 50

    check()
    # A second process has nothing in memory: it reads the slices from the store.
    server.terminate()
    server.start()
    check()
    server.compact()
    check()
    server.terminate()
    server.start()
    check()
    # The segments that compaction replaced are deleted from the store, and only those.
    deadline = time.monotonic() + 60
    while metric(server, "otlp_gc_objects_deleted_total") < 9:
        assert time.monotonic() < deadline, "replaced segments are not deleted"
        time.sleep(0.2)
    check()
    assert metric(server, "otlp_store_operations_total", operation="delete", status="error") == 0
    assert metric(server, "otlp_store_operations_total", operation="get", status="error") == 0
