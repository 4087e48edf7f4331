"""kill -9 under load: every acked item is returned by SQL exactly once after the restart.

Clients keep a ledger. A request whose answer never came (the server died) is sent again, byte for byte, as a real exporter
does; the server must recognise what it had already committed.
"""

import collections
import os
import threading
import time

import grpc
import pytest
import requests

import wire

CLIENTS = 4
KILLS = 5
# Compaction, retention and garbage collection run all the time, so that kills hit them too.
RESTLESS = {
    "OTLP_RUST__COMPACTION__INTERVAL": "200ms",
    "OTLP_RUST__COMPACTION__MAX_SLICE_AGE": "500ms",
    "OTLP_RUST__GC__GRACE": "1s",
    "OTLP_RUST__GC__INTERVAL": "500ms",
}
RETRYABLE = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.INTERNAL,
}


class Client(threading.Thread):
    """Sends requests one after the other; a request is given up only when the test ends the client."""

    def __init__(self, server, tenant, seed, transport, signal):
        super().__init__(daemon=True)
        import random

        self.server, self.tenant, self.transport, self.signal = server, tenant, transport, signal
        self.rng = random.Random(seed)
        self.acked = []
        self.retries = 0
        self.error = None
        self.ending = threading.Event()
        self.session = requests.Session()
        self.channel = server.new_channel() if transport == "grpc" else None

    def make(self):
        count = self.rng.randint(1, 20)
        ids = [self.rng.randbytes(8).hex() for _ in range(count)]
        if self.signal == "traces":
            items = [wire.span("crash", {"n": number}, span_id=bytes.fromhex(one)) for number, one in enumerate(ids)]
        else:
            items = [wire.record(one, {"n": number}) for number, one in enumerate(ids)]
        return ids, wire.request(self.signal, items)

    def attempt(self, message):
        """True when acked, False when it must be sent again."""
        try:
            if self.transport == "grpc":
                wire.send_grpc(self.server, self.signal, message, self.tenant, channel=self.channel, timeout=10)
                return True
            answer = wire.post(
                self.server, self.signal, message.SerializeToString(), tenant=self.tenant, session=self.session, timeout=10
            )
            if answer.status_code in (429, 502, 503, 504):
                return False
            assert answer.status_code == 200, f"{answer.status_code}: {answer.text}"
            return True
        except requests.RequestException:
            return False
        except grpc.RpcError as error:
            assert error.code() in RETRYABLE, error
            return False

    def run(self):
        try:
            while not self.ending.is_set():
                ids, message = self.make()
                while not self.attempt(message):
                    self.retries += 1
                    time.sleep(0.02)
                self.acked.extend(ids)
        except BaseException as error:  # shown by the test
            self.error = error


def ledger(server, tenant, signal):
    column, table = ("span_id", "spans") if signal == "traces" else ("body", "logs")
    rows = server.sql(f"SELECT {column} AS id, count(*) AS copies FROM {table} GROUP BY {column}", tenant)
    return {row["id"]: row["copies"] for row in rows}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("backend", ["local", "cluster"])
def test_every_acked_item_is_there_once(make_server, backend, tenant, rng):
    server = make_server(backend, RESTLESS)
    clients = [
        Client(server, tenant, rng.random(), transport, signal)
        for number in range(CLIENTS)
        for transport, signal in [(["grpc", "http"][number % 2], ["traces", "logs"][number // 2 % 2])]
    ]
    for client in clients:
        client.start()
    for kill in range(KILLS):
        time.sleep(rng.uniform(0.2, 2.5))
        server.kill()
        acked_so_far = {signal: [one for c in clients if c.signal == signal for one in list(c.acked)] for signal in ("traces", "logs")}
        server.start()
        for signal, ids in acked_so_far.items():
            stored = ledger(server, tenant, signal)
            lost = [one for one in ids if one not in stored]
            assert not lost, f"kill {kill}: {len(lost)} of {len(ids)} acked {signal} items are gone, e.g. {lost[:3]}"
    time.sleep(0.5)
    for client in clients:
        client.ending.set()
    for client in clients:
        client.join(60)
        assert not client.is_alive(), "a client still waits for its ack"
        assert client.error is None, client.error

    for form in ("as it is", "compacted", "after one more kill"):
        if form == "compacted":
            server.compact()
        elif form == "after one more kill":
            server.kill()
            server.start()
        for signal in ("traces", "logs"):
            expected = collections.Counter(one for c in clients if c.signal == signal for one in c.acked)
            assert len(expected) > 100, "the clients sent next to nothing"
            stored = ledger(server, tenant, signal)
            assert stored == dict(expected), f"{form}: {differences(stored, expected)}"
    print({"acked": sum(len(c.acked) for c in clients), "retries": sum(c.retries for c in clients), "kills": KILLS})


def differences(stored, expected):
    lost = [one for one in expected if one not in stored]
    extra = [one for one in stored if one not in expected]
    doubled = [one for one, copies in stored.items() if copies > 1]
    return f"{len(lost)} lost {lost[:3]}, {len(extra)} never sent {extra[:3]}, {len(doubled)} doubled {doubled[:3]}"


def test_cold_start_after_kill_before_any_commit(make_server):
    """A server killed right after its first start, with nothing stored, starts again and answers."""
    server = make_server("local", start=False)
    for _ in range(3):
        server.start()
        server.kill()
    server.start()
    assert server.sql("SELECT count(*) AS n FROM spans") == [{"n": 0}]


def test_leftovers_of_a_crash_are_not_data(make_server, tenant):
    """Files that a crash left behind (half an object, a temporary file) neither hinder the start nor show up in queries."""
    server = make_server("local")
    wire.send_http(server, "traces", wire.request("traces", [wire.span("kept")]), tenant)
    server.kill()
    stored = [path for path in server.data_dir.rglob("*") if path.is_file() and "store" in path.parts]
    assert stored, "nothing below store/"
    for path in stored:
        (path.parent / f"orphan-{os.urandom(3).hex()}{path.suffix}").write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        (path.parent / f".{path.name}.tmp").write_bytes(b"half")
    server.start()
    assert [row["name"] for row in server.sql("SELECT name FROM spans", tenant)] == ["kept"]
