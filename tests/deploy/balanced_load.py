"""Load through a front door, written into the ledger of the torture harness: what was acked, and whether it is all there, once."""

import itertools
import threading
import time
from types import SimpleNamespace

from torture.availability import Availability
from torture.checker import Checker
from torture.clients import Client
from torture.ledger import TABLES, Ledger

# What has not happened by then does not happen. Long, because a debug build on a busy machine is slow, and its queries are the slowest:
# they run with a lower priority than everything else on the machine.
PATIENCE_SECONDS = 120


class PatientClient(Client):
    """Waits longer than any answer takes: an attempt that ends without success was refused or cut, never given up."""

    timeout = 60


class FrontDoor:
    """A balancer in the shape of a process of the torture harness: its clients then send and read only through it."""

    def __init__(self, name, balancer):
        self.name = name
        self.skew = 0
        self.front_grpc = SimpleNamespace(port=balancer.grpc_port)
        self.front_http = SimpleNamespace(port=balancer.otlp_port)
        self.platform = balancer


class Load:
    """Clients over gRPC and HTTP that repeat a request only after a retryable answer, until `finish`.

    As a context manager it begins with the load under way and ends with the comparison.
    """

    def __init__(self, name, balancer, processes, seed=4, clients=4):
        # What clients and checker of the torture harness ask of a run.
        door = FrontDoor(name, balancer)
        self.processes = processes
        self.seed, self.pause, self.read_share = seed, 0.02, 0.1
        self.topology = SimpleNamespace(
            name=name, nodes=[door], receivers=lambda: [door], readers=lambda: [door], catalog_of=lambda *_: None
        )
        self.ending, self.given_up = threading.Event(), threading.Event()
        self.started = time.monotonic()
        self.ledger = Ledger(f"{name}-{seed}-{time.time_ns()}")
        self.availability = Availability()
        self.checker = Checker(self)
        self.clients = [PatientClient(self, number, "grpc" if number % 2 else "http") for number in range(clients)]
        self._lock = threading.Lock()
        self.refusals = []  # answers after which an exporter drops its data
        self.retries = {}  # answers after which it tries again, and how often they came

    def elapsed(self):
        return time.monotonic() - self.started

    def count_refusal(self, outcome):
        with self._lock:
            self.retries[outcome] = self.retries.get(outcome, 0) + 1

    def refused(self, request, node, text):
        with self._lock:
            self.refusals.append({"at": round(self.elapsed(), 2), "answer": text, **request.told()})

    def faults_near(self):
        return []

    def __enter__(self):
        for client in self.clients:
            client.start()
        try:
            self.wait_for_acks(40)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, failed, *_):
        stuck = self._end()
        if failed is None:
            assert not stuck, f"without an ack {PATIENCE_SECONDS} s after the load: {stuck}"
            self.compare()

    def _end(self):
        """Lets clients finish what they have begun; returns those that cannot."""
        self.ending.set()
        deadline = time.monotonic() + PATIENCE_SECONDS
        for client in self.clients:
            client.join(max(0, deadline - time.monotonic()))
        stuck = [client.name for client in self.clients if client.is_alive()]
        self.given_up.set()
        self.ledger.close()
        return stuck

    def acked(self):
        return self.ledger.totals().get("acked", 0)

    def wait_for_acks(self, more, seconds=PATIENCE_SECONDS):
        """Until so many more items were acked: the load goes on."""
        goal, deadline = self.acked() + more, time.monotonic() + seconds
        while self.acked() < goal:
            errors = [client.error for client in self.clients if client.error]
            assert not errors, errors
            assert time.monotonic() < deadline, f"{seconds} s without {more} acks; refusals: {self.retries}"
            time.sleep(0.05)

    def compare(self):
        """No answer that makes exporters drop data; all that was acked is there once, each table asked of another process."""
        assert not self.refusals, self.refusals[:3]
        assert not [client.error for client in self.clients if client.error]
        (window,) = self.ledger.windows
        for table, process in zip(TABLES, itertools.cycle(self.processes)):
            node = SimpleNamespace(name=f"process at {process.http_url}", platform=process)
            deadline = time.monotonic() + PATIENCE_SECONDS
            while not self.checker.check(node, window, table, "after the load"):
                assert time.monotonic() < deadline, f"{node.name} does not answer: {self.checker.reasons}"
        assert not self.checker.findings, self.checker.findings[:3]
        totals = self.ledger.totals()
        assert totals["acked"] and not totals["given up"] and not totals["in flight"], totals
