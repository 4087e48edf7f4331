"""Every kind of object store: the platform ingests, answers, compacts, collects garbage and starts again on it."""

import http.server
import json
import os
import threading
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


def test_s3_credentials_of_the_environment(make_server, services, tenant):
    """Without keys in the configuration the platform is who its environment says it is, as on a machine or in a pod of AWS."""
    env = services.get(S3).env(f"environment/{tenant}")
    env["AWS_ACCESS_KEY_ID"] = env.pop("OTLP_RUST__STORE__S3__ACCESS_KEY_ID")
    env["AWS_SECRET_ACCESS_KEY"] = env.pop("OTLP_RUST__STORE__S3__SECRET_ACCESS_KEY")
    env["AWS_REGION"] = env.pop("OTLP_RUST__STORE__S3__REGION")
    server = make_server(env=env)
    wire.send_grpc(server, "traces", wire.request("traces", [wire.span("who am I")]), tenant)
    assert server.sql("SELECT name FROM spans", tenant) == [{"name": "who am I"}]


def test_s3_credentials_of_a_pod(make_server, services, tenant, folder):
    """EKS Pod Identity: a token of the pod's is shown to an agent on its node, which is a stand-in here and hands out the store's keys."""
    env = services.get(S3).env(f"pod/{tenant}")
    keys = {"AccessKeyId": env.pop("OTLP_RUST__STORE__S3__ACCESS_KEY_ID"), "SecretAccessKey": env.pop("OTLP_RUST__STORE__S3__SECRET_ACCESS_KEY")}
    asked = []

    class Agent(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.headers["Authorization"])
            body = json.dumps(keys | {"Token": "session", "Expiration": "2099-01-01T00:00:00Z"}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    agent = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Agent)
    threading.Thread(target=agent.serve_forever, daemon=True).start()
    try:
        token = folder / f"token-{tenant}"
        token.write_text("who-this-pod-is")
        env["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = f"http://127.0.0.1:{agent.server_port}/v1/credentials"
        env["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"] = str(token)
        server = make_server(env=env)
        wire.send_grpc(server, "traces", wire.request("traces", [wire.span("a pod")]), tenant)
        assert server.sql("SELECT name FROM spans", tenant) == [{"name": "a pod"}]
        assert set(asked) == {"who-this-pod-is"}
    finally:
        agent.shutdown()
        agent.server_close()
