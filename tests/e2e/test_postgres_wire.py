"""The PostgreSQL wire protocol: psql and a driver connect, read, and are held to the same limits as everybody."""

import os
import subprocess
import threading
import time

import pandas
import psycopg
import pytest
import sqlalchemy

import wire
from platform_process import free_ports


class Served:
    """A server with the protocol on."""

    def __init__(self, make_server, **settings):
        (self.port,) = free_ports(1)
        env = {"OTLP_RUST__POSTGRES_WIRE__ENABLED": "true", "OTLP_RUST__POSTGRES_WIRE__LISTEN": f"127.0.0.1:{self.port}"}
        self.server = make_server(env=env | settings)

    def psql(self, *commands, ok=True):
        done = subprocess.run(
            ["psql", "-X", "-h", "127.0.0.1", "-p", str(self.port), "-U", "anybody", "-d", "otlp", "-At"]
            + [part for command in commands for part in ("-c", command)],
            capture_output=True, text=True, timeout=60, env=os.environ | {"PGPASSWORD": "x", "PGSSLMODE": "disable"},
        )  # fmt: skip
        assert (done.returncode == 0) == ok, done.stdout + done.stderr
        return done.stdout.strip() if ok else done.stderr.strip()

    def driver(self, **options):
        return psycopg.connect(f"host=127.0.0.1 port={self.port} user=anybody dbname=otlp sslmode=disable", autocommit=True, **options)


@pytest.fixture
def served(make_server):
    return Served(make_server)


def test_psql_reads_what_was_sent(served):
    span = wire.span("over psql", {"n": 7, "http.route": "/cart"})
    wire.send_http(served.server, "traces", wire.request("traces", [span], {"k8s.pod.name": "pod-1"}))
    assert served.psql('SELECT name, "attr.n", kind FROM spans') == "over psql|7|server"
    # Attributes answer to their bare dotted name, as over HTTP.
    assert served.psql('SELECT "http.route", "resource.k8s.pod.name" FROM spans WHERE http.route = \'/cart\'') == "/cart|pod-1"
    assert served.psql("SELECT 1; SELECT 2").split() == ["1", "2"]
    tables = served.psql("\\d")
    assert all(name in tables for name in ("spans", "logs", "metrics"))
    assert "start_time" in served.psql("\\d spans")
    # Every column of every table can be sent: ids, times, lists of events.
    traced = wire.span("traced")
    traced.events.add(name="event", time_unix_nano=wire.now(), attributes=wire.attributes({"k": "v"}))
    traced.links.add(trace_id=os.urandom(16), span_id=os.urandom(8))
    wire.send_http(served.server, "traces", wire.request("traces", [traced]))
    wire.send_http(served.server, "logs", wire.request("logs", [wire.record("text")]))
    wire.send_http(served.server, "metrics", wire.request("metrics", [wire.gauge("gauge", 1.5)]))
    for table in ("spans", "logs", "metrics", "metric_series", "metric_samples", "metric_histograms", "exemplars", "resources"):
        served.psql(f"SELECT * FROM {table}")
    assert f"\\x{traced.trace_id.hex()}" in served.psql("SELECT trace_id FROM spans WHERE name = 'traced'")
    # Right after an ack.
    for number in range(5):
        wire.send_grpc(served.server, "traces", wire.request("traces", [wire.span(f"next {number}")]))
        assert served.psql(f"SELECT count(*) FROM spans WHERE name = 'next {number}'") == "1"


def test_a_prepared_statement_sees_what_arrived_since(served):
    with served.driver() as connection:
        for number in range(5):
            wire.send_grpc(served.server, "traces", wire.request("traces", [wire.span("x", {"n": number})]))
            query = 'SELECT count(*), max("attr.n") FROM spans WHERE name = %s AND "attr.n" >= %s'
            assert connection.execute(query, ("x", 0), prepare=True).fetchone() == (number + 1, number)
            if number == 2:
                served.server.compact()
        (row,) = connection.execute("SELECT start_time, duration, trace_id FROM spans LIMIT 1", binary=True).fetchall()
        assert row[0].year >= 2024 and isinstance(row[1], int) and len(row[2]) == 16


def test_tools_find_tables_and_columns_and_draw_them(served):
    """What Grafana's data source and tools behind a driver ask: both catalogs of PostgreSQL, then a series over time."""
    start = 1_772_366_400 * 10**9
    sent = [wire.span("drawn", {"n": n}, start_time_unix_nano=start + n * 30 * 10**9) for n in range(4)]
    wire.send_http(served.server, "traces", wire.request("traces", sent))
    with served.driver() as connection:

        def rows(query, *parameters):
            return connection.execute(query, parameters or None).fetchall()

        schemas = "table_schema NOT IN ('information_schema', 'pg_catalog')"
        tables = dict(rows(f"SELECT table_name, table_schema FROM information_schema.tables WHERE {schemas}"))
        assert {"spans", "logs", "metrics", "metric_histograms", "exemplars", "resources"} <= set(tables)
        assert set(tables.values()) == {"public"} == set(*rows("SELECT current_schema()"))
        listed = {name for name, _ in rows("SELECT column_name, data_type FROM information_schema.columns WHERE table_name = %s", "spans")}
        described = dict(
            rows(
                "SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod) FROM pg_catalog.pg_attribute a"
                " JOIN pg_catalog.pg_class c ON a.attrelid = c.oid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
                " WHERE c.relname = %s AND n.nspname = 'public' AND a.attnum > 0",
                "spans",
            )
        )
        assert listed == set(described) and "attr.n" in listed
        types = {"trace_id": "bytea", "start_time": "timestamp with time zone", "duration": "bigint", "name": "text", "attr.n": "bigint"}
        assert {name: described[name] for name in types} == types
        # A transaction that only reads, as drivers open one.
        connection.execute("SET application_name = 'tool'")
        connection.execute("BEGIN READ ONLY")
        assert rows("SHOW TRANSACTION ISOLATION LEVEL")
        drawn = rows(
            """SELECT date_bin('1 minute', start_time) AS "time", service_name AS metric, count(*) AS value FROM spans"""
            " WHERE start_time BETWEEN '2026-03-01T12:00:00Z' AND '2026-03-01T12:10:00Z' GROUP BY 1, 2 ORDER BY 1, 2"
        )
        connection.execute("COMMIT")
        assert [(int(at.timestamp()) - start // 10**9, metric, value) for at, metric, value in drawn] == [(0, "e2e", 2), (60, "e2e", 2)]


def test_sqlalchemy_and_pandas(served):
    """What stands behind many dashboards and every notebook: it connects, lists tables, and reads into a data frame."""
    sent = [wire.span(f"framed {n % 2}", {"n": n}) for n in range(6)]
    wire.send_http(served.server, "traces", wire.request("traces", sent))
    url = f"postgresql+psycopg://anybody:x@127.0.0.1:{served.port}/otlp?sslmode=disable"
    engine = sqlalchemy.create_engine(url)
    try:
        tables = sqlalchemy.inspect(engine)
        found = {*tables.get_table_names(), *tables.get_view_names()}
        assert {"spans", "logs", "metrics", "metric_histograms", "exemplars", "metric_series", "resources"} <= found
        assert tables.has_table("spans") and not tables.has_table("no_such_table")
        query = sqlalchemy.text('SELECT name, start_time, duration, "attr.n" AS n FROM spans WHERE "attr.n" >= :least ORDER BY n')
        frame = pandas.read_sql(query, engine, params={"least": 2})
        assert frame["name"].tolist() == ["framed 0", "framed 1"] * 2 and frame["n"].tolist() == [2, 3, 4, 5]
        assert [str(frame[column].dtype) for column in ("start_time", "duration", "n")] == ["datetime64[us, UTC]", "int64", "int64"]
        assert frame["start_time"].map(lambda at: at.value // 1_000).tolist() == [span.start_time_unix_nano // 1_000 for span in sent[2:]]
        with engine.connect() as connection, pytest.raises(sqlalchemy.exc.SQLAlchemyError):
            connection.execute(sqlalchemy.text("DELETE FROM spans"))
        with engine.connect() as connection:
            assert connection.execute(sqlalchemy.text("SELECT count(*) FROM spans")).scalar_one() == 6
    finally:
        engine.dispose()


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO spans SELECT * FROM spans",
        "DELETE FROM spans",
        "UPDATE spans SET name = 'x'",
        "DROP TABLE spans",
        "CREATE TABLE t AS SELECT 1 AS a",
        "CREATE VIEW spans2 AS SELECT 1 AS a",
        "COPY (SELECT 1) TO '/tmp/otlp-rust-should-not-exist.csv'",
        "COPY spans FROM '/etc/passwd'",
        "SET datafusion.execution.batch_size = 1",
        "SET datafusion.runtime.memory_limit = '1M'",
        "DECLARE c CURSOR FOR SELECT 1",
    ],
)
def test_only_queries_are_allowed(served, statement):
    message = served.psql(statement, ok=False)
    assert "ERROR" in message and len(message) < 500
    with served.driver() as connection, pytest.raises(psycopg.Error):
        connection.execute(statement, prepare=True)
    assert served.psql("SELECT count(*) FROM spans") == "0"
    assert not os.path.exists("/tmp/otlp-rust-should-not-exist.csv")


def test_limits_hold(make_server):
    limits = {
        "OTLP_RUST__QUERY__TIMEOUT": "2s",
        "OTLP_RUST__QUERY__MAX_ROWS": "10",
        "OTLP_RUST__QUERY__MAX_MEMORY": "16MiB",
    }
    served = Served(make_server, **limits)
    cases = {
        "SELECT count(*) FROM generate_series(1, 1000000000000)": "query.timeout",
        "SELECT value FROM generate_series(1, 11)": "query.max_rows",
        "SELECT array_agg(value) FROM generate_series(1, 20000000)": "query.max_memory",
    }
    for query, key in cases.items():
        start = time.monotonic()
        assert key in served.psql(query, ok=False)
        with served.driver() as connection, pytest.raises(psycopg.Error) as caught:
            connection.execute(query)
        assert key in str(caught.value)
        assert time.monotonic() - start < 40
    # A client may ask for less time.
    start = time.monotonic()
    message = served.psql("SET statement_timeout = '300ms'", next(iter(cases)), ok=False)
    assert "0.3s" in message.replace("300ms", "0.3s") and time.monotonic() - start < 20
    assert served.psql("SELECT 1") == "1"


def test_a_query_is_cancelled(served):
    with served.driver() as connection:
        threading.Timer(1, connection.cancel).start()
        start = time.monotonic()
        with pytest.raises(psycopg.Error):
            connection.execute("SELECT count(*) FROM generate_series(1, 1000000000000)")
        assert time.monotonic() - start < 20
    assert served.psql("SELECT 1") == "1"


def test_a_taken_port_is_an_error_at_the_start(make_server):
    (port,) = free_ports(1)
    settings = {"OTLP_RUST__POSTGRES_WIRE__ENABLED": "true", "OTLP_RUST__POSTGRES_WIRE__LISTEN": f"127.0.0.1:{port}"}
    make_server(env=settings)
    with pytest.raises(RuntimeError) as caught:
        make_server(env=settings)
    assert str(port) in str(caught.value) and "postgres_wire.listen" in str(caught.value)


def test_the_protocol_is_off_by_default(make_server):
    (port,) = free_ports(1)
    server = make_server(env={"OTLP_RUST__POSTGRES_WIRE__LISTEN": f"127.0.0.1:{port}"})
    assert subprocess.run(["pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]).returncode != 0
    assert server.alive()
