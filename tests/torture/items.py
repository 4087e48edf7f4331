"""Requests of all signals whose items carry ids of their own, and the questions that return these ids."""

import time

from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_DELTA, Histogram, HistogramDataPoint, Metric

import wire

SIGNALS = ("traces", "logs", "metrics")
OWNER = "torture.client"
# A double holds integers below this exactly, so that an id survives as a value of any kind.
NUMBERS = 2**53

# Each returns rows {id, n, owner}: how often an item is there, and what the joined resource or series says of its owner.
QUERIES = {
    "spans": f'SELECT span_id AS id, count(*) AS n, max("resource.{OWNER}") AS owner FROM spans GROUP BY span_id',
    "logs": f'SELECT body AS id, count(*) AS n, max("resource.{OWNER}") AS owner FROM logs GROUP BY body',
    "metrics": 'SELECT CAST(value AS BIGINT) AS id, count(*) AS n, max("attr.owner") AS owner FROM metrics '
    "WHERE name = 'torture.gauge' GROUP BY value",
    "metric_histograms": 'SELECT CAST("sum" AS BIGINT) AS id, count(*) AS n, max("attr.owner") AS owner '
    "FROM metric_histograms WHERE name = 'torture.histogram' GROUP BY \"sum\"",
}
# The column that holds the id, and how an id is written in SQL.
_ID = {
    "spans": ("span_id", "X'{}'"), "logs": ("body", "'{}'"),
    "metrics": ("CAST(value AS BIGINT)", "{}"), "metric_histograms": ('CAST("sum" AS BIGINT)', "{}"),
}


def some(table, ids, times=None):
    """The question for single items; rows as those of `QUERIES`, without the owner.

    With `times` (first and last, ns) objects are pruned by the times that the catalog and the files hold of them.
    """
    column, literal = _ID[table]
    wanted = ", ".join(literal.format(one) for one in ids)
    time_column = "start_time" if table == "spans" else "timestamp"
    between = f" AND {time_column} BETWEEN to_timestamp_nanos({times[0]}) AND to_timestamp_nanos({times[1]})" if times else ""
    return f"SELECT {column} AS id, count(*) AS n FROM {table} WHERE {column} IN ({wanted}){between} GROUP BY {column}"


class Maker:
    """Makes one client's requests. Ids and sizes come from the client's seed; times are of now."""

    def __init__(self, rng, client):
        self.rng, self.client = rng, client
        self.clock = 0

    def tick(self):
        """A time that no other item of this client has: samples of one series must differ in it."""
        self.clock = max(self.clock + 1, time.time_ns())
        return self.clock

    def make(self, signal):
        """The serialized request, the ids in it by table, and the trace id of spans."""
        return getattr(self, signal)(self.rng.randint(1, 16))

    def traces(self, count):
        trace = self.rng.randbytes(16)
        ids = [self.rng.randbytes(8).hex() for _ in range(count)]
        spans = [
            wire.span(f"step {n % 4}", {"n": n}, trace_id=trace, span_id=bytes.fromhex(one), start_time_unix_nano=self.tick(),
                      parent_span_id=bytes.fromhex(ids[0]) if n else b"")
            for n, one in enumerate(ids)
        ]
        return self._body("traces", spans), {"spans": ids}, trace.hex()

    def logs(self, count):
        ids = [self.rng.randbytes(8).hex() for _ in range(count)]
        records = [wire.record(one, {"n": n}, time_unix_nano=self.tick()) for n, one in enumerate(ids)]
        return self._body("logs", records), {"logs": ids}, None

    def metrics(self, count):
        samples = [self.rng.randrange(NUMBERS) for _ in range(count)]
        # Integers and doubles are stored apart.
        gauge = [
            wire.gauge("torture.gauge", number if n % 2 else float(number), {"owner": self.client}, time_unix_nano=self.tick())
            for n, number in enumerate(samples)
        ]
        total = self.rng.randrange(NUMBERS)
        point = HistogramDataPoint(
            time_unix_nano=self.tick(), count=3, sum=float(total), explicit_bounds=[1.0, 10.0], bucket_counts=[1, 1, 1],
            attributes=wire.attributes({"owner": self.client}),
        )
        histogram = Histogram(data_points=[point], aggregation_temporality=AGGREGATION_TEMPORALITY_DELTA)
        items = [*gauge, Metric(name="torture.histogram", unit="s", histogram=histogram)]
        return self._body("metrics", items), {"metrics": [str(n) for n in samples], "metric_histograms": [str(total)]}, None

    def _body(self, signal, items):
        return wire.request(signal, items, {"service.name": "torture", OWNER: self.client}).SerializeToString()
