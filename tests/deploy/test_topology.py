"""The whole topology on loopback: three processes on one PostgreSQL, one Redis and one S3 endpoint behind Envoy or Nginx, watched
by Prometheus and Alertmanager. All are real, and run the configuration that is shipped."""

import contextlib
import re
import uuid

import grpc
import pytest
import requests

import wire
from alerting_stack import AlertingStack
from balanced_load import Load
from balancers import Envoy, Nginx
from platform_process import Platform
from programs import wait_until
from services import S3, Postgres, Redis

# Prometheus watches from the beginning, because rates need some scrapes.
pytestmark = pytest.mark.usefixtures("alerting")

# What docs/guides/load-balancing.md says for this Envoy: health is asked each second, and may take one.
DRAIN_SECONDS = 3
# Recording rules about what need not exist in a calm cluster: failures, and what waits. monitoring/tests has cases of them.
ABSENT_WHEN_CALM = {
    "job:otlp_store_operations_failed:ratio5m", "job:otlp_queries_failed:ratio5m", "job:otlp_backlog:ingest_seconds",
    "job:otlp_backlog_oldest:age_seconds", "job:otlp_retention_proof:age_seconds",
}


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("topology")
    with contextlib.ExitStack() as ending:
        def started(service):
            ending.callback(service.stop)
            return service

        postgres, redis, s3 = started(Postgres()), started(Redis()), started(S3())
        redis.start()
        env = s3.env(uuid.uuid4().hex) | {
            "OTLP_RUST__CATALOG__URL": postgres.database(),
            "OTLP_RUST__REDIS__URL": redis.url,
            "OTLP_RUST__SERVER__DRAIN_DELAY": f"{DRAIN_SECONDS}s",
            # More commits, and so more moments at which a process may end, than with the 250 ms of an object store.
            "OTLP_RUST__COMMIT__MIN_INTERVAL": "50ms",
        }
        three = [Platform(folder / f"otlp-rust-{number}", env) for number in (1, 2, 3)]
        for process in three:
            ending.callback(process.kill)
            process.spawn()
        for process in three:
            wait_until(process.ready, f"a start:\n{process.log_tail()}", seconds=60)
        yield three


@pytest.fixture(scope="module")
def envoy(processes, tmp_path_factory):
    balancer = Envoy(tmp_path_factory.mktemp("envoy") / "run", processes)
    yield balancer
    balancer.stop()


@pytest.fixture(scope="module")
def nginx(processes, tmp_path_factory):
    balancer = Nginx(tmp_path_factory.mktemp("nginx") / "run", processes)
    yield balancer
    balancer.stop()


@pytest.fixture(scope="module")
def alerting(processes, tmp_path_factory):
    stack = AlertingStack(tmp_path_factory.mktemp("alerting") / "run", [f"127.0.0.1:{process.admin_port}" for process in processes])
    yield stack
    stack.stop()


@pytest.fixture
def tenant():
    return f"topology-{uuid.uuid4().hex[:8]}"


def answered(process, transport):
    """OTLP requests that a process has answered with success."""
    lines = requests.get(f"{process.admin_url}/metrics", timeout=30).text.splitlines()
    found = [line for line in lines if line.startswith("otlp_requests_total{") and f'transport="{transport}"' in line and 'status="ok"' in line]
    return sum(float(re.split(r"\s+", line)[1]) for line in found)


def names(balancer, tenant):
    """The names of the tenant's spans, asked through the front door."""
    answer = requests.post(
        f"{balancer.http_url}/api/v1/sql", params={"format": "json"}, data="SELECT name FROM spans", headers={"X-Scope-OrgID": tenant}, timeout=30
    )
    assert answer.status_code == 200, answer.text
    return sorted(row["name"] for row in answer.json()["data"])


def serve_one_client(balancer, processes, transport, tenant):
    """One client sends over one channel or session, until every process has answered some of it, and reads all of it back."""
    before = [answered(process, transport) for process in processes]
    sent, shares = [], [0]
    with balancer.new_channel() as channel, requests.Session() as session:
        # A busy machine may make a process miss its health check for a while: then the client goes on until it is back.
        while min(shares) < 5:
            assert len(sent) < 600, f"of {len(sent)} requests the processes had {shares}"
            for _ in range(30):
                sent.append(f"span {len(sent):03}")
                message = wire.request("traces", [wire.span(sent[-1])])
                if transport == "grpc":
                    wire.send_grpc(balancer, "traces", message, tenant, channel=channel)
                else:
                    wire.send_http(balancer, "traces", message, tenant, session=session)
            shares = [answered(process, transport) - old for process, old in zip(processes, before)]
    assert sum(shares) >= len(sent), shares
    assert names(balancer, tenant) == sent


@pytest.mark.parametrize("transport", ["grpc", "http"])
def test_one_client_of_envoy_is_served_by_all_three(processes, envoy, tenant, transport):
    """Requests are balanced, not connections: a gRPC client has one."""
    serve_one_client(envoy, processes, transport, tenant)


def test_what_was_written_through_envoy_is_read_through_envoy_at_once(processes, envoy, tenant):
    """Whichever process took it, whichever answers."""
    with envoy.new_channel() as channel:
        for number in range(12):
            span = wire.span(f"span {number}")
            message = wire.request("traces", [span])
            if number % 2:
                wire.send_grpc(envoy, "traces", message, tenant, channel=channel)
            else:
                wire.send_http(envoy, "traces", message, tenant)
            trace = requests.get(
                f"{envoy.http_url}/tempo/api/traces/{span.trace_id.hex()}", headers={"X-Scope-OrgID": tenant}, timeout=30
            )
            assert trace.status_code == 200, f"span {number}: {trace.text}"
    names = {f"span {number}" for number in range(12)}
    for process in processes:
        assert {row["name"] for row in process.sql("SELECT name FROM spans", tenant)} == names


def test_a_request_as_large_as_allowed_passes_envoy(envoy, tenant):
    """15 MiB: near ingest.max_request_bytes, and far beyond what Envoy keeps for a second try."""
    message = wire.request("traces", [wire.span("large", {"filler": "telemetry" * ((15 << 20) // 9)})])
    with envoy.new_channel() as channel:
        wire.send_grpc(envoy, "traces", message, tenant, channel=channel)
    wire.send_http(envoy, "logs", wire.request("logs", [wire.record("telemetry" * ((15 << 20) // 9))]), tenant)


def test_a_rolling_restart_under_load_loses_nothing(processes, envoy):
    """SIGTERM, wait, start, one after the other. `Load` knows what was acked, and what kind of answer clients got."""
    with Load("rolling", envoy, processes) as load:
        for process in processes:
            assert process.terminate() == 0, process.log_tail()
            process.start()
            wait_until(lambda: len(envoy.healthy()) == 3, "Envoy takes the restarted process back")
            load.wait_for_acks(100)
    # None on a machine that has time: a process that drains is out of the balance before it refuses anything.
    print("answers after which clients tried again:", load.retries)


def test_kill_9_under_load_loses_nothing(processes, envoy):
    with Load("kill", envoy, processes) as load:
        for process in processes[:2]:
            process.kill()
            load.wait_for_acks(200)
            process.start()
            wait_until(lambda: len(envoy.healthy()) == 3, "Envoy takes the restarted process back")
            load.wait_for_acks(100)


def test_prometheus_scrapes_all_three_and_records(processes, alerting, envoy, tenant):
    wire.send_http(envoy, "traces", wire.request("traces", [wire.span("scraped")]), tenant)
    wait_until(lambda: [value for _, value in alerting.prometheus.query('up{job="otlp-rust"}')] == [1, 1, 1], "three targets are up")
    recorded = sorted({rule["name"] for rule in alerting.prometheus.rules() if rule["type"] == "recording"})
    failing = alerting.prometheus.failing()
    assert recorded and not failing, failing
    empty = set(recorded) - ABSENT_WHEN_CALM

    def all_have_values():
        empty.difference_update([name for name in empty if alerting.prometheus.query(name)])
        return not empty

    wait_until(all_have_values, empty)


def test_a_dead_process_is_told_to_the_chat_and_resolved(processes, alerting):
    wait_until(lambda: len(alerting.prometheus.query('up{job="otlp-rust"} == 1')) == 3, "three targets are up")
    victim = processes[2]
    instance = f"127.0.0.1:{victim.admin_port}"
    alerting.webhook.forget()
    victim.kill()
    _, annotations = alerting.webhook.wait_for("OtlpInstanceDown", "firing", "chat", instance=instance)
    assert instance in annotations["summary"] and annotations["runbook_url"], annotations
    alerting.webhook.forget()
    victim.start()
    alerting.webhook.wait_for("OtlpInstanceDown", "resolved", "chat", instance=instance)


def test_without_any_process_senders_are_to_retry_and_the_pager_rings(processes, envoy, alerting, tenant):
    """Nothing is left: Envoy's own refusals are retryable, somebody is woken, and afterwards all that was acked is there."""
    wire.send_http(envoy, "traces", wire.request("traces", [wire.span("before")]), tenant)
    for process in processes:
        process.kill()
    message = wire.request("traces", [wire.span("after")])
    refused = wire.post(envoy, "traces", message.SerializeToString(), tenant=tenant)
    assert refused.status_code == 503, refused.text
    with envoy.new_channel() as channel, pytest.raises(grpc.RpcError) as caught:
        wire.send_grpc(envoy, "traces", message, tenant, channel=channel)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE, caught.value
    alerting.webhook.wait_for("OtlpNoInstances", "firing", "page")
    for process in processes:
        process.start()
    # As a sender would. Each of Envoy's clusters notices for itself that the processes are back.
    wait_until(lambda: wire.post(envoy, "traces", message.SerializeToString(), tenant=tenant).status_code == 200, "an ack")
    wait_until(lambda: requests.get(f"{envoy.http_url}/readyz", timeout=30).status_code == 200, "the API is served")
    assert names(envoy, tenant) == ["after", "before"]
    alerting.webhook.wait_for("OtlpNoInstances", "resolved", "page")


class TestNginx:
    @pytest.mark.parametrize("transport", ["grpc", "http"])
    def test_one_client_is_served_by_all_three(self, processes, nginx, tenant, transport):
        serve_one_client(nginx, processes, transport, tenant)

    def test_a_restart_and_kill_9_under_load_lose_nothing(self, processes, nginx):
        with Load("nginx", nginx, processes) as load:
            assert processes[0].terminate() == 0
            processes[0].start()
            load.wait_for_acks(100)
            processes[1].kill()
            load.wait_for_acks(200)
            processes[1].start()
            load.wait_for_acks(100)
