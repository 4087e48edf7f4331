"""One run: a topology, clients, faults on a schedule, and the comparison with the ledger during it and at its end."""

import json
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

from torture.availability import Availability
from torture.checker import Checker
from torture.clients import Client
from torture.faults import kinds_for
from torture.faults.effect import NoEffect
from torture.faults.store import plant_orphan
from torture.ledger import Ledger
from torture.schedule import plan

# Faults that may be at work together. More would leave no moment in which anything succeeds.
TOGETHER = 3
# After the last fault, requests in flight get this long to be acked.
DRAIN_SECONDS = 60
ORPHAN_SECONDS = 30


class Run:
    """State that clients, checker and faults share."""

    def __init__(self, topology, seed, seconds, every, clients=4, pause=0.1, read_share=0.15, window=30.0, say=print, plant=None):
        self.topology, self.seed, self.seconds, self.every = topology, seed, seconds, every
        self.pause, self.read_share, self.window, self.say = pause, read_share, window, say
        self.check_pause = 1.0
        self.plant = plant  # damage done between the last fault and the comparison: the harness must find it
        self.ending, self.given_up = threading.Event(), threading.Event()
        self.started = time.monotonic()
        self.ledger = Ledger(f"{topology.name}-{seed}")
        self.availability = Availability()
        self.checker = Checker(self)
        self.clients = [Client(self, n, "grpc" if n % 2 else "http") for n in range(clients)]
        self.orphans = []
        self._lock = threading.Lock()
        self.faults = []  # [counted as or None, planned, began, ended or None]
        self.refusals, self.retries, self.notes, self.failures = [], {}, [], []
        self.damage, self.verified = [], None  # findings and summary of `otlp-rust verify`

    def elapsed(self):
        return time.monotonic() - self.started

    # What others report.

    def killed(self, node):
        if len(self.topology.nodes) == 1:
            self.availability.killed()

    def note(self, text):
        with self._lock:
            self.notes.append(f"{self.elapsed():.1f} s: {text}")

    def count_refusal(self, outcome):
        with self._lock:
            self.retries[outcome] = self.retries.get(outcome, 0) + 1

    def refused(self, request, node, text):
        """An answer after which an exporter drops its data: nothing that was sent deserves one."""
        with self._lock:
            if len(self.refusals) < 100:
                self.refusals.append({"at": round(self.elapsed(), 2), "node": node.name, "answer": text, **request.told()})

    def faults_near(self, seconds=15):
        """What was at work lately, for the evidence."""
        now = self.elapsed()
        with self._lock:
            return [
                [kind, round(began, 2), ended and round(ended, 2)]
                for kind, _, began, ended in self.faults if ended is None or ended > now - seconds
            ]

    # The run.

    def strike(self, fault, action):
        entry = [fault.kind, fault, self.elapsed(), None]
        with self._lock:
            self.faults.append(entry)
        try:
            entry[0] = action(self, fault) or fault.kind
        except NoEffect as reason:
            entry[0] = None
            self.note(f"{fault.kind} had no effect: {reason}")
        except Exception as error:  # the fault could not be done; another one was in its way
            entry[0] = None
            self.note(f"{fault.kind} did not happen: {error!r}")
        finally:
            entry[3] = self.elapsed()

    def execute(self):
        self.topology.start()
        plant_orphan(self)
        self.started = time.monotonic()
        kinds = kinds_for(self.topology)
        faults = plan(self.seed, self.topology.name, [(k.name, k.weight) for k in kinds.values()], self.seconds, self.every)
        self.availability.begin()
        for thread in [*self.clients, self.checker]:
            thread.start()
        try:
            self._strike_all(faults, kinds)
            self._settle()
            if self.plant is not None:
                self.plant(self)
            self._compare()
            self.failures += self.topology.crashes()
        except Exception as error:
            self.failures.append(f"{error!r}\n{traceback.format_exc()}")
        finally:
            self.ending.set()
            self.given_up.set()

    def _strike_all(self, faults, kinds):
        rotated, told = 0.0, 0.0
        faults = list(faults)
        with ThreadPoolExecutor(TOGETHER, "fault") as pool:
            while self.elapsed() < self.seconds:
                if faults and self.elapsed() >= faults[0].at:
                    fault = faults.pop(0)
                    pool.submit(self.strike, fault, kinds[fault.kind].action)
                if self.elapsed() - rotated >= self.window:
                    rotated = self.elapsed()
                    self.ledger.rotate()
                if self.elapsed() - told >= 30:
                    told = self.elapsed()
                    self.say(f"{told:.0f} s: {len(self.faults)} faults, {self.ledger.totals()}, {self.checker.counts()}")
                dead = [t.error for t in [*self.clients, self.checker] if t.error]
                if dead:
                    raise RuntimeError(f"a thread of the harness ended: {dead}")
                time.sleep(0.02)
        self.active_seconds = self.elapsed()

    def _settle(self):
        """No more faults: everything comes back, what is in flight is acked."""
        self.topology.heal()
        time.sleep(1)
        self.ending.set()
        deadline = time.monotonic() + DRAIN_SECONDS
        for client in self.clients:
            client.join(max(0, deadline - time.monotonic()))
        stuck = [client.name for client in self.clients if client.is_alive()]
        self.given_up.set()
        self.ledger.close()
        self.checker.join(60)
        if stuck:
            self.failures.append(f"{DRAIN_SECONDS} s after the last fault these clients still had no ack: {stuck}")

    def _compare(self):
        checks = self.checker
        checks.check_all("after the last fault", everywhere=True)
        self.topology.compact()
        checks.check_all("compacted")
        self.topology.restart_all()
        checks.check_all("after a last kill -9")
        deadline = time.monotonic() + ORPHAN_SECONDS
        while left := [str(path) for path in self.orphans if path.exists()]:
            if time.monotonic() > deadline:
                self.failures.append(f"{len(left)} of {len(self.orphans)} planted orphans are still there: {left[:3]}")
                break
            time.sleep(0.5)
        self._verify()

    def _verify(self):
        """The catalog and the store, compared beside the running platform: damage that no query has met yet."""
        code, report = self.topology.verify()
        self.damage = report.get("findings", [])
        self.verified = report.get("summary")
        if code not in (0, 1) or self.verified is None:
            self.failures.append(f"verify ended with {code}: {json.dumps(report)[:1500]}")
