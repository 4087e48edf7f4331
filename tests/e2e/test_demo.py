"""The first minutes of somebody new: `serve` says where it listens, `demo` fills it, and what it sent is there."""

import re
import subprocess

import pytest

from platform_process import Platform, binary

SERVICES = "ads cart catalog checkout currency email fraud frontend inventory payment recommendation shipping".split()


@pytest.fixture(scope="module")
def shop(folder):
    """A server that has the telemetry of five seconds, and what the demo says of it."""
    server = Platform(folder / "demo")
    server.start()
    command = [binary("otlp-rust", "OTLP_RUST_BIN"), "demo", "--endpoint", server.otlp_url, "--seconds", "5", "--rate", "20"]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    yield server, {name: int(number) for name, number in re.findall(r"(\w+): (\d+)", done.stdout)}
    server.kill()


def test_serve_says_where_it_listens(shop):
    server, _ = shop
    banner = server.log_path.read_text()
    for address in (f"http://{server.grpc_target}", server.otlp_url, server.http_url, f"{server.admin_url}/metrics"):
        assert address in banner, banner
    for address in (f"http://{server.grpc_target}", server.otlp_url):
        assert f"export OTEL_EXPORTER_OTLP_ENDPOINT={address} " in banner, banner


def test_the_demo_fills_every_signal(shop):
    server, sent = shop
    count = {}
    for table in ("spans", "logs", "metrics", "metric_histograms", "exemplars"):
        (row,) = server.sql(f"SELECT count(*) AS n, count(DISTINCT service_name) AS services FROM {table}")
        count[table] = row["n"]
        assert row["n"] > 0 and row["services"] > 0, (table, row)
    assert sent["failed_requests"] == 0 and sent["traces"] > 20
    assert count["spans"] == sent["spans"] and count["logs"] == sent["log_records"]
    assert count["metrics"] + count["metric_histograms"] == sent["data_points"]
    assert [row["name"] for row in server.sql("SELECT DISTINCT service_name AS name FROM spans ORDER BY name")] == SERVICES
    assert server.sql("SELECT count(DISTINCT trace_id) AS n FROM spans") == [{"n": sent["traces"]}]
    # The signals lead to each other.
    for table in ("logs", "exemplars"):
        assert server.sql(f"SELECT count(*) AS n FROM {table} WHERE trace_id NOT IN (SELECT trace_id FROM spans)") == [{"n": 0}], table
        assert server.sql(f"SELECT count(trace_id) AS n FROM {table}")[0]["n"] > 0, table
