"""DuckDB attaches the catalog as DuckLake, read-only, and sees what the platform's own SQL sees, while the platform runs."""

import json
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from opentelemetry.proto.metrics.v1 import metrics_pb2 as pb

import wire
from platform_process import binary
from services import S3

HERE = Path(__file__).parent
TABLES = ["spans", "logs", "metrics", "metric_histograms", "exemplars", "metric_samples", "metric_series", "resources"]
MICROSECOND = 1_000
SECOND = 1_000_000_000
# An instant with nanoseconds, and one without: what is counted from another time loses less than a microsecond.
START = 1_772_366_400_000_000_789
EVEN = 1_772_366_400_000_000_000
# What is sent is older than what is kept by default.
KEPT = {"OTLP_RUST__RETENTION__DEFAULT": "0"}


class DuckError(Exception):
    pass


class DuckDB:
    """A DuckDB process with the server's catalog attached as `lake`."""

    def __init__(self, server, cwd=None):
        self.process = subprocess.Popen(
            [sys.executable, HERE / "duckdb_reader.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=cwd
        )
        env = server.env
        if "OTLP_RUST__STORE__S3__ENDPOINT" in env:
            self.rows(
                f"""CREATE SECRET (TYPE s3, ENDPOINT '{env["OTLP_RUST__STORE__S3__ENDPOINT"].removeprefix("http://").rstrip("/")}',
                KEY_ID '{env["OTLP_RUST__STORE__S3__ACCESS_KEY_ID"]}', SECRET '{env["OTLP_RUST__STORE__S3__SECRET_ACCESS_KEY"]}',
                REGION 'us-east-1', URL_STYLE 'path', USE_SSL false)"""
            )
        if "OTLP_RUST__CATALOG__URL" in env:
            self.place, self.options = f"ducklake:postgres:{env['OTLP_RUST__CATALOG__URL']}", "READ_ONLY, METADATA_SCHEMA 'lake'"
        else:
            self.place, self.options = f"ducklake:sqlite:{server.data_dir / 'catalog.db'}", "READ_ONLY"
        self.attach("lake")

    def attach(self, name, more=""):
        self.rows(f"ATTACH '{self.place}' AS {name} ({self.options}{more})")

    def rows(self, sql):
        self.process.stdin.write(json.dumps({"sql": sql}) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if "error" in answer:
            raise DuckError(f"{answer['error']}\n{sql}")
        return [dict(zip(answer["columns"], row)) for row in answer["rows"]]

    def value(self, sql):
        ((value,),) = (row.values() for row in self.rows(sql))
        return value

    def version(self):
        return self.value("SELECT max(snapshot_id) FROM ducklake_snapshots('lake')")

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture(params=["local", "cluster"])
def quiet(request, make_server):
    """A server that compacts only when it is told to."""
    never = {"OTLP_RUST__COMPACTION__INTERVAL": "1h", "OTLP_RUST__COMPACTION__MAX_SLICE_AGE": "1h"}
    return make_server(backend=request.param, env=never | KEPT)


@pytest.fixture
def duck():
    made = []

    def attach(server, **options):
        made.append(DuckDB(server, **options))
        return made[-1]

    yield attach
    for one in made:
        one.stop()


# ---- what is sent


def spans(rng, count, attrs=()):
    """Traces whose parents are in the trace, elsewhere or nowhere."""
    sent = []
    while len(sent) < count:
        trace, ids = rng.randbytes(16), []
        for _ in range(rng.randint(1, 9)):
            parent = rng.choice([b"", rng.randbytes(8), *ids, *ids])
            ids.append(rng.randbytes(8))
            pairs = {"http.response.status_code": rng.choice([200, 404, 500]), "ratio": rng.random(), "ok": rng.random() < 0.5}
            pairs |= {"Peer": rng.choice("abc"), "peer": rng.choice("xyz"), "list": [1, "two"]}
            pairs |= {key: rng.choice("pqr") for key in attrs}
            keep = {key: value for key, value in pairs.items() if rng.random() < 0.7}
            one = wire.span(
                rng.choice(["GET /", "query"]), keep, trace_id=trace, span_id=ids[-1], parent_span_id=parent,
                start_time_unix_nano=START + rng.randrange(3600 * SECOND),
            )
            if rng.random() < 0.3:
                one.events.add(name="event", time_unix_nano=START + rng.randrange(SECOND), attributes=wire.attributes({"a": 1}))
                one.links.add(trace_id=rng.randbytes(16), span_id=rng.randbytes(8), trace_state="k=v")
            sent.append(one)
    return sent


def logs(rng, count):
    bodies = [
        lambda: f"user {rng.randrange(10**6)} bought {rng.randrange(100):04d} things in {rng.randrange(90)}ms at 10.0.0.7",
        lambda: f"id {rng.randbytes(16).hex()} v{rng.randrange(9)} token {rng.choice(['0x7f', '24T18', 'Qk3b9'])}",
        lambda: " ".join(str(rng.randrange(10)) for _ in range(20)),
        lambda: rng.choice(["", "plain text", "naïve ☃ 42", "with \x01 and \x02", "x" * 20_000, "  7  "]),
        lambda: None,
        lambda: {"key": [1, {"deep": "map"}]},
    ]
    sent = []
    for _ in range(count):
        at = START + rng.randrange(3600 * SECOND)
        fields = {"time_unix_nano": at, "observed_time_unix_nano": rng.choice([0, at, at + 5 * MICROSECOND, at + SECOND])}
        sent.append(wire.record(rng.choice(bodies)(), {"level": rng.choice("abc")}, **fields))
    return sent


def metrics(rng, points):
    """Series of every kind, with `points` points each."""
    times = [EVEN + n * 15 * SECOND + rng.choice([0, 0, 7 * MICROSECOND]) for n in range(points)]
    numbers = {
        "idle": lambda n: 7,
        "integers": lambda n: rng.randrange(-1000, 1000),
        "wide": lambda n: rng.choice([-(2**63), 2**63 - 1, 2**53 + 1, -(2**53), 0]),
        "drifting": lambda n: n * 2**52 - 2**60,
        "decimals": lambda n: round(rng.random() * 100, rng.randint(0, 3)),
        "doubles": lambda n: rng.random() * 10.0 ** rng.randint(-300, 300),
        "mixed": lambda n: rng.choice([1, 1.5]),
    }
    sent = []
    for name, value in numbers.items():
        for kind in ["gauge", "sum"]:
            metric = pb.Metric(name=f"{name}.{kind}", unit="1", description="what it is")
            if kind == "sum":
                metric.sum.aggregation_temporality = rng.choice([1, 2])
                metric.sum.is_monotonic = True
            for n, at in enumerate(times):
                number = value(n)
                point = getattr(metric, kind).data_points.add(
                    time_unix_nano=at, start_time_unix_nano=rng.choice([0, EVEN, at - SECOND]), flags=rng.choice([0, 0, 0, 1]),
                    attributes=wire.attributes({"host": "h1", "size": 3}),
                    **{"as_int" if isinstance(number, int) else "as_double": number},
                )
                if rng.random() < 0.2:
                    point.exemplars.add(time_unix_nano=at, as_int=5, trace_id=rng.randbytes(16), span_id=rng.randbytes(8))
                    point.exemplars.add(time_unix_nano=at, as_double=0.25, filtered_attributes=wire.attributes({"user": "u"}))
            sent.append(metric)
    explicit = pb.Metric(name="latency", unit="s", histogram=pb.Histogram(aggregation_temporality=2))
    counts = [0, 0, 0, 0]
    for n, at in enumerate(times):
        counts = [count + rng.choice([0, 0, 1, 5]) for count in counts]
        if n == points // 2:
            counts = [2**63 + 5, 0, 3, 0]  # more than a signed integer holds, and back
        whole = sum(counts) if rng.random() < 0.9 else sum(counts) + 1
        explicit.histogram.data_points.add(
            time_unix_nano=at, start_time_unix_nano=EVEN, count=whole % 2**64, sum=rng.choice([n * 0.25, rng.random()]),
            min=0.001 * n, max=rng.random(), explicit_bounds=[0.1, 1, 10], bucket_counts=counts,
        )
        counts = [count % 2**60 for count in counts]
    exponential = pb.Metric(name="size", exponential_histogram=pb.ExponentialHistogram(aggregation_temporality=1))
    summary = pb.Metric(name="old", summary=pb.Summary())
    for n, at in enumerate(times):
        point = exponential.exponential_histogram.data_points.add(
            time_unix_nano=at, count=n + 3, sum=1.5, scale=rng.randint(-2, 5), zero_count=1, zero_threshold=0.5
        )
        point.positive.offset, point.negative.offset = rng.randint(-5, 5), 1
        point.positive.bucket_counts.extend([n, 2])
        point.negative.bucket_counts.extend([1])
        values = [pb.SummaryDataPoint.ValueAtQuantile(quantile=q, value=rng.random()) for q in (0.5, 0.99)]
        summary.summary.data_points.add(time_unix_nano=at, count=n, sum=n * 2.5, quantile_values=values)
    return [*sent, explicit, exponential, summary]


def send(server, tenant, rng, attrs=(), size=120):
    resource = {"host.name": rng.choice("abc"), "Zone": "z", "cores": 4}
    for signal, items in [("traces", spans(rng, size, attrs)), ("logs", logs(rng, size)), ("metrics", metrics(rng, size // 4))]:
        wire.send_http(server, signal, wire.request(signal, items, resource), tenant)


# ---- how it is compared


def microseconds(value):
    """A time as the platform prints it, in microseconds."""
    return wire.to_ns(value) // MICROSECOND


def as_duckdb_gives_it(row, columns):
    """A row of the platform's answer in DuckDB's terms: the names of the columns and the precision of times."""
    out = {}
    for key, value in row.items():
        if value is None or key not in columns:
            continue
        if key in ("start_time", "timestamp", "observed_time", "seen_at"):
            value = microseconds(value)
        if key == "events":
            value = [event | {"time": microseconds(event["time"])} for event in value]
        out[key] = value
    return out


def without_nulls(value):
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def in_order(rows):
    return sorted(json.dumps(without_nulls(row), sort_keys=True) for row in rows)


def assert_same(server, duck, tenant, tables=TABLES):
    for table in tables:
        ours = server.sql(f"SELECT * FROM {table}", tenant)
        theirs = duck.rows(f'SELECT * FROM lake."{tenant}".{table}')
        assert theirs, table
        columns = set(theirs[0])
        # What DuckDB cannot have: `attr.key` where it is only a short name for the first of several types, and keys that differ
        # in their case alone.
        keys = {key for row in ours for key, value in row.items() if value is not None}
        for key in keys - columns:
            twice = sum(other.casefold() == key.casefold() for other in keys) > 1
            assert twice or any(name.startswith(f"{key}:") for name in columns), (table, key, sorted(columns))
        expected, found = in_order(as_duckdb_gives_it(row, columns) for row in ours), in_order(theirs)
        differing = [pair for pair in zip(expected, found) if pair[0] != pair[1]]
        assert len(expected) == len(found) and not differing, (table, len(expected), len(found), differing[:2])


def object_file(services, address):
    """The file that holds an object, on disk or behind the S3 endpoint."""
    if address.startswith("s3://"):
        return services.get(S3).folder / address.removeprefix("s3://")
    return Path(address)


# ---- the tests


def test_values_across_compactions_and_schema_changes(quiet, duck, tenant, rng):
    """All rows of all tables, through one attachment: with new columns, after parts were merged; then as they were."""
    send(quiet, tenant, rng)
    quiet.compact()
    reader = duck(quiet)
    assert_same(quiet, reader, tenant)
    stored = f'lake."{tenant}".spans_stored'
    first, before = reader.version(), reader.rows(f'SELECT * FROM lake."{tenant}".spans')
    assert reader.value(f"SELECT count(*) FROM {stored}") == len(before)

    # Slices that wait for their compaction are not there yet; afterwards they are, with their columns.
    send(quiet, tenant, rng, ["novel"])
    assert reader.value(f"SELECT count(*) FROM {stored}") == len(before)
    quiet.compact()
    assert_same(quiet, reader, tenant)
    assert reader.value(f'SELECT count("attr.novel") FROM lake."{tenant}".spans') > 0

    # More parts than are left alone: they become one.
    for number in range(8):
        send(quiet, tenant, rng, [f"later.{number % 3}"], size=12)
        quiet.compact()
    parts = "SELECT file_count FROM ducklake_table_info('lake') WHERE table_name = 'spans_stored'"
    assert min(row["file_count"] for row in reader.rows(parts)) < 5
    assert_same(quiet, reader, tenant)

    # As it was, columns included, through the same attachment and through one that stays there.
    reader.attach("past", f", SNAPSHOT_VERSION {first}")
    for then in [f'lake."{tenant}".spans AT (VERSION => {first})', f'past."{tenant}".spans']:
        assert in_order(reader.rows(f"SELECT * FROM {then}")) == in_order(before)
    assert reader.value(f"SELECT count(*) FROM {stored} AT (VERSION => {first})") == len(before)


def test_tables_that_appear_while_a_reader_stays_attached(quiet, duck, tenant, rng):
    """The first parts of a dataset come long after the tenant's schema, and bring no columns of their own."""
    wire.send_http(quiet, "traces", wire.request("traces", spans(rng, 20)), tenant)
    quiet.compact()
    reader = duck(quiet)
    assert_same(quiet, reader, tenant, ["spans", "resources"])
    wire.send_http(quiet, "logs", wire.request("logs", [wire.record("bare", {}, time_unix_nano=START, observed_time_unix_nano=START)]), tenant)
    quiet.compact()
    assert_same(quiet, reader, tenant, ["logs"])


def test_filters_skip_files_and_rows(quiet, duck, tenant, rng):
    send(quiet, tenant, rng, size=300)
    quiet.compact()
    reader = duck(quiet)
    table = f'lake."{tenant}".spans'
    every = reader.rows(f"SELECT * FROM {table}")
    one = rng.choice([row for row in every if row["parent_span_id"]])
    found = reader.rows(f"SELECT * FROM {table} WHERE trace_id = from_hex('{one['trace_id']}')")
    assert in_order(found) == in_order(row for row in every if row["trace_id"] == one["trace_id"])
    half = sorted(row["start_time"] for row in every)[len(every) // 2]
    wanted = sum(row["start_time"] >= half and row["attr.http.response.status_code:int"] == 500 for row in every)
    condition = f"""start_time >= make_timestamptz({half}) AND "attr.http.response.status_code:int" = 500"""
    assert reader.value(f"SELECT count(*) FROM {table} WHERE {condition}") == wanted > 0
    ours = f"""SELECT count(*) AS n FROM spans WHERE start_time >= to_timestamp_micros({half}) AND "attr.http.response.status_code" = 500"""
    assert quiet.sql(ours, tenant)[0]["n"] == wanted
    # Files whose times are all before are not opened.
    for day, files in [("2020-01-01", 1), ("2030-01-01", 0)]:
        query = f"SELECT max(name) FROM {table}_stored WHERE start_time > '{day}'"
        plan = reader.rows(f"EXPLAIN ANALYZE {query}")
        assert f"Total Files Read: {files}" in str(plan), plan


@pytest.mark.parametrize("backend", ["local", "cluster"])
def test_reading_while_the_platform_works(make_server, duck, tenant, rng, backend):
    """While slices become parts and parts are merged, counts only grow, never pass what was sent, and show no row twice; and what
    was there at an earlier version, or time, stays as it was."""
    busy = {"OTLP_RUST__COMPACTION__INTERVAL": "100ms", "OTLP_RUST__COMPACTION__MAX_SLICE_AGE": "200ms"}
    server = make_server(backend=backend, env=busy | KEPT)
    first = spans(rng, 10)
    wire.send_http(server, "traces", wire.request("traces", first), tenant)
    server.compact()
    reader, sent, stop = duck(server), [len(first)], threading.Event()

    def ingest():
        number = 0
        while not stop.is_set():
            batch = spans(rng, 20, [f"key.{number // 10}"])
            sent[0] += len(batch)
            wire.send_http(server, "traces", wire.request("traces", batch), tenant)
            number += 1

    sender = threading.Thread(target=ingest)
    sender.start()
    try:
        table, last, growths, deadline = f'lake."{tenant}".spans', 0, 0, time.monotonic() + 8
        past = {}  # version -> when it was made, and what was there

        def content(at):
            return reader.rows(f"SELECT count(*) AS n, sum(hash(span_id, parent_span_id, name, start_time)) AS rows FROM {table} AT ({at})")

        while time.monotonic() < deadline or growths < 3 or len(past) < 4:
            assert time.monotonic() < deadline + 60, "nothing new appears"
            (seen,) = reader.rows(f"SELECT count(*) AS n, count(DISTINCT span_id) AS ids, count(parent_span_id) FROM {table}")
            assert seen["n"] == seen["ids"] and last <= seen["n"] <= sent[0], (last, seen, sent)
            growths += seen["n"] > last
            last = seen["n"]
            version = reader.version()
            made = reader.value(f"SELECT snapshot_time::VARCHAR FROM ducklake_snapshots('lake') WHERE snapshot_id = {version}")
            past.setdefault(version, (made, content(f"VERSION => {version}")))
            for earlier in rng.sample(sorted(past), min(2, len(past))):
                then, was = past[earlier]
                assert content(f"VERSION => {earlier}") == was, earlier
                assert content(f"TIMESTAMP => TIMESTAMPTZ '{then}'") == was, (earlier, then)
        assert len(past) > 3 and len({json.dumps(was) for _, was in past.values()}) > 2, past
    finally:
        stop.set()
        sender.join()
    server.compact()
    assert_same(server, reader, tenant, ["spans", "resources"])
    assert reader.value(f"SELECT count(*) FROM {table}_stored") == sent[0]


def test_what_is_in_quarantine_is_left_out(quiet, duck, services, tenant, rng):
    """An object that is gone: DuckDB fails on it as our SQL does, and both do without it once it is in quarantine."""
    for size in (10, 20):
        wire.send_http(quiet, "traces", wire.request("traces", spans(rng, size)[:size]), tenant)
        quiet.compact()
    reader, table = duck(quiet), f'lake."{tenant}".spans_stored'
    files = reader.rows(f"SELECT filename AS file, count(*) AS rows FROM {table} GROUP BY ALL ORDER BY rows")
    assert [file["rows"] for file in files] == [10, 20]
    object_file(services, files[0]["file"]).unlink()
    every = f"SELECT count(DISTINCT span_id) FROM {table}"
    with pytest.raises(DuckError):  # `reader` has the file in its memory
        duck(quiet).value(every)
    command = [binary("otlp-rust", "OTLP_RUST_BIN"), "verify", "--quarantine", "--data-dir", quiet.data_dir]
    found = subprocess.run([str(part) for part in command], capture_output=True, text=True, env=quiet.env, timeout=120)
    assert found.returncode == 1 and "missing_object" in found.stdout, found
    # Through the same attachment and through a new one, with statistics and without.
    for one in (reader, duck(quiet)):
        assert one.value(every) == one.value(f"SELECT count(*) FROM {table}") == 20
        assert one.value(f"{every} WHERE start_time > '2020-01-01'") == 20
    assert quiet.sql("SELECT count(*) AS n FROM spans", tenant) == [{"n": 20}]


def test_every_tenant_has_a_schema(quiet, duck, tenant, rng):
    """Tenants whose names differ in case alone do, too."""
    for name, size in [(tenant, 10), (tenant.upper(), 20)]:
        wire.send_http(quiet, "traces", wire.request("traces", spans(rng, size)[:size]), name)
        quiet.compact()
    reader = duck(quiet)
    for schema, size in [(tenant, 10), (f"{tenant.upper()}#2", 20)]:
        assert reader.value(f'SELECT count(*) FROM lake."{schema}".spans') == size


def test_the_guide_works_as_copied(make_server, duck, rng):
    server = make_server()
    send(server, "default", rng)
    server.compact()
    data = server.data_dir.parent / "data"
    data.unlink(missing_ok=True)
    data.symlink_to(server.data_dir)
    guide = (HERE.parents[1] / "docs/guides/duckdb.md").read_text()
    statements = [block for block in re.findall(r"```sql\n(.*?)```", guide, re.S) if "postgres:" not in block and "s3" not in block]
    assert len(statements) >= 4
    reader = duck(server, cwd=data.parent)
    reader.rows("DETACH lake")
    for block in statements:
        for statement in filter(str.strip, block.split(";\n")):
            if not statement.startswith(("LOAD", "INSTALL")):
                reader.rows(statement)
