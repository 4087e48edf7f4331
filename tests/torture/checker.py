"""Compares what the platform returns with the ledger, and keeps the evidence when they differ."""

import base64
import itertools
import json
import random
import threading
import time

import requests

from torture import items
from torture.ledger import TABLES, compare

# Above the servers' query timeout, so that a query that was cut short is told by the server.
TIMEOUT_SECONDS = 20
# A calm system gets this long to answer before the question counts as unanswerable.
PATIENCE_SECONDS = 90


class Checker(threading.Thread):
    """Checks windows all the time: the open one for what is acked so far, closed ones in full, old ones at random."""

    def __init__(self, run):
        super().__init__(name="checker", daemon=True)
        self.run_state = run
        self.rng = random.Random(f"{run.seed}/{run.topology.name}/checker")
        self._lock = threading.Lock()
        self.findings = []
        self.bad = {}  # kind -> {(tenant, table, id)}: an item that is found lost twice is lost once
        self.reads = self.unanswered = 0
        self.reasons = {}
        self.error = None

    # Asking.

    def ask(self, node, query, tenant):
        """The rows of a query, or None when there was no answer: a fault may be at work."""
        self.reads += 1
        try:
            answer = requests.post(
                f"{node.platform.http_url}/api/v1/sql", params={"format": "ndjson"}, data=query.encode(),
                headers={"X-Scope-OrgID": tenant, "Content-Type": "text/plain"}, timeout=TIMEOUT_SECONDS,
            )
            if answer.status_code == 200:
                return [json.loads(line) for line in answer.text.splitlines() if line.strip()]
            self._unanswered(f"HTTP {answer.status_code}: {answer.text[:300]}")
        except (requests.RequestException, ValueError) as error:
            self._unanswered(type(error).__name__)
        return None

    def _unanswered(self, reason):
        with self._lock:
            self.unanswered += 1
            self.reasons[reason] = self.reasons.get(reason, 0) + 1

    # Judging.

    def read_back(self, node, window, table, ids, rows):
        seen = {str(row["id"]): row["n"] for row in rows}
        self._judge(node, window, table, "read after ack", {
            "lost": [one for one in ids if one not in seen],
            "duplicated": [one for one, n in seen.items() if n > 1],
        })

    def trace(self, node, window, request):
        """A trace by its id has all spans of the request, once."""
        self.reads += 1
        try:
            answer = requests.get(
                f"{node.platform.http_url}/tempo/api/traces/{request.trace}",
                headers={"X-Scope-OrgID": request.tenant, "Accept": "application/json"}, timeout=TIMEOUT_SECONDS,
            )
        except requests.RequestException as error:
            return self._unanswered(type(error).__name__)
        if answer.status_code not in (200, 404):
            return self._unanswered(f"trace by id: HTTP {answer.status_code}: {answer.text[:300]}")
        spans = spans_of(answer.json()) if answer.status_code == 200 else []
        ids = request.ids["spans"]
        self._judge(node, window, "spans", "trace by id", {
            "lost": sorted(set(ids) - set(spans)),
            "duplicated": sorted({one for one in spans if spans.count(one) > 1}),
            "unknown": sorted(set(spans) - set(ids)),
        })

    def check(self, node, window, table, phase):
        """Compares a table of a window with the ledger; false when there was no answer."""
        acked = window.acked(table)
        rows = self.ask(node, items.QUERIES[table], window.tenant)
        if rows is None:
            # Without a row there is no column of the resource either, and the question is refused.
            return not acked
        self._judge(node, window, table, phase, compare(window, table, acked, rows).kinds())
        return True

    def _judge(self, node, window, table, phase, kinds):
        for kind, ids in kinds.items():
            if ids:
                self._found(node, window, table, phase, kind, ids)

    def _found(self, node, window, table, phase, kind, ids):
        """Asks again, here and elsewhere, so that the report tells a passing gap from a loss."""
        again = {}
        for other in [node, *[n for n in self.run_state.topology.readers() if n is not node][:1]]:
            rows = self.ask(other, items.some(table, ids[:200]), window.tenant)
            again[other.name] = None if rows is None else {str(row["id"]): row["n"] for row in rows[:20]}
        with self._lock:
            self.bad.setdefault(kind, set()).update((window.tenant, table, one) for one in ids)
            if len(self.findings) >= 200:
                return
            requests_of = {window.request(table, one) for one in ids} - {None}
            self.findings.append({
                "at": round(self.run_state.elapsed(), 2), "kind": kind, "phase": phase, "node": node.name,
                "tenant": window.tenant, "table": table, "count": len(ids), "ids": ids[:20],
                "asked_again": again, "requests": [request.told() for request in list(requests_of)[:10]],
                "catalog": self.run_state.topology.catalog_of(window.tenant, table),
                "faults": self.run_state.faults_near(),
                "clocks": {n.name: n.skew for n in self.run_state.topology.nodes},
            })

    def counts(self):
        with self._lock:
            return {kind: len(self.bad.get(kind, ())) for kind in ("lost", "duplicated", "unknown", "stripped")}

    # During the run.

    def run(self):
        run = self.run_state
        try:
            while not run.ending.is_set():
                readers = run.topology.readers()
                windows = list(run.ledger.windows)
                due = [window for window in windows if window.settled() and not window.checked]
                old = [window for window in windows if window.checked]
                if readers and due:
                    answers = [self.check(self.rng.choice(readers), due[0], table, "window closed") for table in TABLES]
                    due[0].checked = all(answers)
                elif readers:
                    window = self.rng.choice([windows[-1], *old])
                    self.check(self.rng.choice(readers), window, self.rng.choice(TABLES), "during the run")
                run.ending.wait(run.check_pause)
        except BaseException as error:
            self.error = repr(error)
            raise

    # Afterwards.

    def check_all(self, phase, everywhere=False):
        """Every table of every window, in one process after the other or in all that answer queries. Raises when one
        does not answer."""
        turns = itertools.count()
        for window in self.run_state.ledger.windows:
            for table in TABLES:
                readers = self.run_state.topology.readers()
                for node in readers if everywhere else [readers[next(turns) % len(readers)]]:
                    deadline = time.monotonic() + PATIENCE_SECONDS
                    while not self.check(node, window, table, phase):
                        if time.monotonic() > deadline:
                            raise RuntimeError(f"{phase}: {node.name} does not answer: {self.reasons}")
                        time.sleep(0.5)


def spans_of(trace):
    """Span ids (hex) in Tempo's JSON of a trace, where they are base64."""
    scopes = [scope for batch in trace["batches"] for scope in batch["scopeSpans"]]
    return [base64.b64decode(span["spanId"]).hex() for scope in scopes for span in scope["spans"]]
