"""An acknowledgement is durable: what the server asks of the disk, and in which order, before it answers.

kill -9 cannot show this, because what was written and not synced survives it; a power cut is what loses it. So a preloaded library
(`syscalls.c`) writes down every write, fsync, rename and answer, and each acknowledged request is held against that log.
"""

import http.client
import sqlite3
import subprocess
import threading
import time
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import pytest

import wire

CLIENTS = 4
REQUESTS = 6


@pytest.fixture(scope="module")
def library(folder):
    made = folder / "syscalls.so"
    source = Path(__file__).with_name("syscalls.c")
    subprocess.run(["cc", "-Wall", "-O1", "-shared", "-fPIC", "-o", made, source, "-ldl"], check=True)
    return made


class Client(threading.Thread):
    """Sends requests one after the other on one connection, each for a tenant of its own, so that the catalog tells its segment."""

    def __init__(self, server, number):
        super().__init__()
        self.server, self.number = server, number
        self.acked = []
        self.error = None

    def run(self):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.server.otlp_port, timeout=60)
            connection.connect()
            port = connection.sock.getsockname()[1]
            for number in range(REQUESTS):
                tenant = f"client-{self.number}-{number}"
                body = wire.request("traces", [wire.span(tenant)]).SerializeToString()
                begin = time.monotonic_ns()
                connection.request("POST", "/v1/traces", body, {"Content-Type": wire.PROTOBUF, "X-Scope-OrgID": tenant})
                answer = connection.getresponse()
                assert answer.status == 200, answer.read()
                answer.read()
                self.acked.append(SimpleNamespace(tenant=tenant, port=port, begin=begin, end=time.monotonic_ns()))
        except BaseException as error:  # shown by the test
            self.error = error


class Log:
    """What the library wrote down. Only calls that did what they were asked to."""

    def __init__(self, path):
        self.syncs, self.writes, self.answers = defaultdict(list), defaultdict(list), defaultdict(list)
        self.renames, self.folders = {}, {}
        # A segment's name -> the first write to the catalog's log in which it stands.
        self.named = {}
        for line in path.read_text().splitlines():
            name, begin, end, result, text = line.split(" ", 4)
            call = SimpleNamespace(begin=int(begin), end=int(end), result=int(result))
            if call.result < 0:
                continue
            first, *more = text.split("\t")
            if name == "sync":
                self.syncs[first].append(call)
            elif name == "answer":
                self.answers[int(first)].append(call)
            elif name == "mkdir":
                self.folders[first] = call
            elif name == "rename":
                assert more[0] not in self.renames, f"{more[0]} was put twice"
                call.source = first
                self.renames[more[0]] = call
            elif name == "write":
                self.writes[first].append(call)
                for segment in more[1:]:
                    if segment not in self.named or call.end < self.named[segment].end:
                        self.named[segment] = call

    def synced(self, path, after, before):
        """When a sync that began after the one instant had ended, the earliest; fails if that is after the other."""
        ended = [call.end for call in self.syncs[str(path)] if call.begin >= after and call.end <= before]
        assert ended, f"no sync of {path} between {after} and {before}: {[vars(call) for call in self.syncs[str(path)]]}"
        return min(ended)


def check(log, request, segment, server):
    """The order that makes one acknowledged request durable."""
    (put,) = [call for path, call in log.renames.items() if path == str(segment)]
    # Connections carry one request at a time, so the first bytes after its begin are its answer.
    answered = min(call.begin for call in log.answers[request.port] if call.begin >= request.begin)
    assert request.begin < answered < request.end

    writes = log.writes[put.source]
    assert sum(call.result for call in writes) == segment.stat().st_size > 0
    log.synced(put.source, after=max(call.end for call in writes), before=put.begin)

    row = log.named[segment.name]
    log.synced(segment.parent, after=put.end, before=row.begin)
    for above in segment.parents:
        if str(above) in log.folders:
            log.synced(above.parent, after=log.folders[str(above)].end, before=row.begin)
    log.synced(server.data_dir / "catalog.db-wal", after=row.end, before=answered)
    # The database's files are there after a power cut, too.
    log.synced(server.data_dir, after=0, before=answered)


@pytest.mark.parametrize("slow", [None, "store", "store/segments"], ids=["fast disk", "slow store", "slow store segments"])
def test_what_is_acknowledged_is_on_the_disk(make_server, library, slow):
    """Four clients whose first requests create the folders of the day. On a slow disk, others come while the first one syncs them."""
    server = make_server(start=False)
    server.data_dir.rmdir()  # the server makes it, as at a first start
    path = server.data_dir.with_suffix(".syscalls")
    server.env |= {"OTLP_RUST__COMPACTION__INTERVAL": "1h", "OTLP_RUST__COMPACTION__MAX_SLICE_AGE": "1h", "OTLP_RUST__GC__INTERVAL": "1h"}
    server.env |= {"LD_PRELOAD": str(library), "SYSCALLS_LOG": str(path)}
    if slow:
        server.env["SYSCALLS_SLOW"] = str(server.data_dir / slow)
    server.start()
    clients = [Client(server, number) for number in range(CLIENTS)]
    for client in clients:
        client.start()
        time.sleep(0.1 if slow else 0)
    for client in clients:
        client.join(60)
        assert client.error is None, client.error
    # Not killed: a call is written down when it has returned, and the last answer's may not have.
    server.terminate()
    log = Log(path)
    store = server.data_dir / "store"
    assert {str(one) for one in (server.data_dir, store, store / "segments")} <= set(log.folders)
    if slow:
        assert any(call.end - call.begin > 500_000_000 for call in log.syncs[str(server.data_dir / slow)]), "nothing was slow"
    catalog = sqlite3.connect(server.data_dir / "catalog.db")
    segments = dict(
        catalog.execute(
            "SELECT d.tenant, g.path FROM segment g JOIN segment_slice s ON s.segment_id = g.id JOIN dataset d ON d.id = s.dataset_id"
        )
    )
    catalog.close()
    for client in clients:
        assert len(client.acked) == REQUESTS
        for request in client.acked:
            check(log, request, store / segments[request.tenant], server)
