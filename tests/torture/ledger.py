"""What was sent, what was acknowledged, and whether an answer of the platform agrees.

A `Window` is one tenant that clients send to for a while. Windows keep a full comparison cheap: it costs as much after an
hour as after a minute, and a window that is closed never changes any more.
"""

import threading
from dataclasses import dataclass, field

IN_FLIGHT, ACKED, GIVEN_UP = "in flight", "acked", "given up"

# What each table's identifying column is called does not matter here: `items.QUERIES` names it `id` everywhere.
TABLES = ("spans", "logs", "metrics", "metric_histograms")


class Request:
    """One export request: the same bytes until it is acked."""

    __slots__ = ("number", "client", "signal", "tenant", "body", "ids", "times", "trace", "state", "sent_to", "acked_at")

    def __init__(self, number, client, signal, tenant, body, ids, times=(0, 0), trace=None):
        self.number, self.client, self.signal, self.tenant = number, client, signal, tenant
        self.body, self.ids, self.trace = body, ids, trace
        self.times = times  # no item is before or after these (ns)
        self.state = IN_FLIGHT
        self.sent_to = []
        self.acked_at = None

    @property
    def items(self):
        return sum(len(ids) for ids in self.ids.values())

    def told(self):
        """What an engineer wants to know of it beside a finding."""
        return {
            "request": self.number, "client": self.client, "signal": self.signal, "state": self.state,
            "sent_to": self.sent_to[-20:], "attempts": len(self.sent_to), "acked_at": self.acked_at,
        }


class Window:
    """The ledger of one tenant."""

    def __init__(self, number, tenant):
        self.number, self.tenant = number, tenant
        self._lock = threading.Lock()
        self._items = {table: {} for table in TABLES}
        self._in_flight = 0
        self.closed = False
        self.checked = False

    def begin(self, request):
        """Before the first byte of the request leaves."""
        with self._lock:
            self._in_flight += 1
            for table, ids in request.ids.items():
                self._items[table].update(dict.fromkeys(ids, request))

    def end(self, request, state):
        with self._lock:
            self._in_flight -= 1
            request.state = state
            # A ledger of an hour keeps names, not bytes.
            request.body = None

    def settled(self):
        """Nobody sends to it any more and every request has its answer or was given up."""
        return self.closed and self._in_flight == 0

    def acked(self, table):
        with self._lock:
            return {one for one, request in self._items[table].items() if request.state == ACKED}

    def request(self, table, one):
        with self._lock:
            return self._items[table].get(one)

    def totals(self):
        with self._lock:
            counts = {IN_FLIGHT: 0, ACKED: 0, GIVEN_UP: 0}
            for items in self._items.values():
                for request in items.values():
                    counts[request.state] += 1
            return counts


class Ledger:
    """All windows; clients write to the newest."""

    def __init__(self, prefix):
        self.prefix = prefix
        self.windows = []
        self._lock = threading.Lock()
        self._numbers = 0
        self.rotate()

    def rotate(self):
        with self._lock:
            if self.windows:
                self.windows[-1].closed = True
            number = len(self.windows)
            self.windows.append(Window(number, f"{self.prefix}-{number:03d}"))

    def enter(self, make):
        """Makes a request for the newest window, which cannot be closed in between."""
        with self._lock:
            self._numbers += 1
            window = self.windows[-1]
            request = make(self._numbers, window.tenant)
            window.begin(request)
            return window, request

    def close(self):
        with self._lock:
            self.windows[-1].closed = True

    def totals(self):
        totals = {}
        for window in list(self.windows):
            for state, count in window.totals().items():
                totals[state] = totals.get(state, 0) + count
        return totals


@dataclass
class Difference:
    """How an answer differs from the ledger: ids by what is wrong with them."""

    lost: list = field(default_factory=list)  # acked before the question and not in the answer
    duplicated: list = field(default_factory=list)  # more than once in the answer
    unknown: list = field(default_factory=list)  # in the answer and never sent
    stripped: list = field(default_factory=list)  # there, but without what its resource or series says

    def kinds(self):
        return {kind: ids for kind, ids in vars(self).items() if ids}


def compare(window, table, acked, rows):
    """Compares rows {id, n, owner} with a window. `acked` are the ids that were acked before the question was asked.

    The ledger is asked about unknown ids after the answer came, so that what was sent meanwhile is known.
    """
    found = Difference()
    seen = set()
    for row in rows:
        one = str(row["id"])
        seen.add(one)
        request = window.request(table, one)
        if request is None:
            found.unknown.append(one)
            continue
        if row["n"] > 1:
            found.duplicated.append(one)
        if row.get("owner") != request.client:
            found.stripped.append(one)
    found.lost = sorted(acked - seen)
    return found
