"""`otlp-rust verify` on real data directories: beside a running platform, after it, and after each kind of damage."""

import base64
import itertools
import json
import os
import re
import shutil
import sqlite3
import subprocess
import threading
import time
from pathlib import Path

import psycopg
import pytest

import wire
from platform_process import Platform, binary, free_ports
from services import S3

ROWS = 40


def run(server, *args):
    """Runs a command of the binary with the server's settings; returns exit code, standard output and standard error."""
    command = [binary("otlp-rust", "OTLP_RUST_BIN"), *args, "--data-dir", server.data_dir]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, env=server.env, timeout=120)
    return done.returncode, done.stdout, done.stderr


def verify(server, *args):
    """The exit code, the findings and the summary of a check."""
    code, out, err = run(server, "verify", "--json", *args)
    report = json.loads(out) if out else {"findings": [], "error": err}
    return code, report["findings"], report.get("summary", report.get("error"))


def fill(server, tenant):
    """A part and a slice of spans, and a slice of logs; returns the trace in the part and the trace in the slice."""
    traces = [os.urandom(16), os.urandom(16)]
    for number, trace in enumerate(traces):
        spans = [wire.span(f"span {n}", {"n": n}, trace_id=trace) for n in range(ROWS)]
        wire.send_grpc(server, "traces", wire.request("traces", spans), tenant)
        if number == 0:
            server.compact()
    wire.send_grpc(server, "logs", wire.request("logs", [wire.record("hello")]), tenant)
    return traces


@pytest.mark.parametrize("backend", ["local", "cluster"])
def test_a_running_platform_has_no_findings(make_server, backend, tenant):
    # Objects are replaced and deleted as fast as can be while they are checked.
    restless = {
        "OTLP_RUST__COMPACTION__INTERVAL": "100ms",
        "OTLP_RUST__COMPACTION__MAX_SLICE_AGE": "100ms",
        "OTLP_RUST__GC__GRACE": "1s",
        "OTLP_RUST__GC__INTERVAL": "100ms",
    }
    server = make_server(backend, restless)
    stop = threading.Event()
    sent = 0

    def send():
        nonlocal sent
        while not stop.is_set():
            spans = [wire.span(f"span {n}") for n in range(ROWS)]
            wire.send_grpc(server, "traces", wire.request("traces", spans), tenant)
            sent += ROWS

    sender = threading.Thread(target=send)
    sender.start()
    try:
        for round_number in range(6):
            code, findings, summary = verify(server, *(["--deep"] if round_number % 2 else []))
            assert (code, findings) == (0, []), summary
    finally:
        stop.set()
        sender.join()
    server.terminate()
    code, findings, summary = verify(server)
    assert (code, findings) == (0, []), summary
    assert summary["rows"] >= sent and summary["objects"] > 0
    code, out, _ = run(server, "verify")
    assert code == 0 and out.startswith("nothing is wrong\n"), out


@pytest.fixture(scope="module")
def template(folder, services):
    """A data directory as a platform left it, and the traces in it."""
    server = Platform(folder / "verify-template")
    server.start()
    traces = fill(server, "acme")
    server.terminate()
    return server, traces


class Damaged:
    """What a platform left behind, to be damaged."""

    def __init__(self, objects, database):
        self.objects, self.database = objects, database
        one = self.database.execute
        self.part, self.index = one(
            "SELECT p.path, p.index_offset FROM part p JOIN dataset d ON d.id = p.dataset_id WHERE d.kind = 1"
        ).fetchone()
        self.other = one("SELECT p.path FROM part p JOIN dataset d ON d.id = p.dataset_id WHERE d.kind = 3").fetchone()[0]
        self.segment = one(
            "SELECT g.path FROM segment g JOIN segment_slice s ON s.segment_id = g.id JOIN dataset d ON d.id = s.dataset_id WHERE d.kind = 1"
        ).fetchone()[0]

    @classmethod
    def local(cls, directory):
        """Of local disk and SQLite: a copy of the template."""
        database = sqlite3.connect(directory / "catalog.db")
        database.execute("PRAGMA foreign_keys = OFF")
        return cls(directory / "store", database)

    def sql(self, statement):
        changed = self.database.execute(statement).rowcount
        assert changed == 1, f"{statement} changed {changed} rows"
        self.database.commit()

    def patch(self, path, change):
        file = self.objects / path
        file.write_bytes(change(bytearray(file.read_bytes())))


def flip(at):
    def change(data):
        data[at] ^= 0x10
        return data

    return change


def orphan(damaged):
    file = damaged.objects / "acme/spans/2026-01-01/forgotten.parquet"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"nobody")
    old = time.time() - 7 * 86_400
    os.utime(file, (old, old))


PART = "UPDATE part SET {} WHERE path LIKE '%/spans/%'"
DAMAGES = {
    "missing object": ("missing_object", lambda d: (d.objects / d.part).unlink()),
    "missing segment": ("missing_object", lambda d: (d.objects / d.segment).unlink()),
    "truncated object": ("truncated_object", lambda d: d.patch(d.part, lambda data: data[: len(data) // 2])),
    "flipped bit": ("damaged_object", lambda d: d.patch(d.part, flip(64))),
    "flipped bit in a segment": ("damaged_object", lambda d: d.patch(d.segment, flip(200))),
    "damaged footer": ("damaged_object", lambda d: d.patch(d.part, flip(-40))),
    "content of another object": ("foreign_content", lambda d: shutil.copy(d.objects / d.other, d.objects / d.part)),
    "damaged trace index": ("damaged_trace_index", lambda d: d.patch(d.part, flip(d.index))),
    "wrong size": ("wrong_size", lambda d: d.sql(PART.format("byte_size = byte_size + 5"))),
    "wrong row count": ("wrong_row_count", lambda d: d.sql(PART.format("row_count = row_count - 3"))),
    "wrong time range": ("wrong_time_range", lambda d: d.sql(PART.format("max_ts = min_ts"))),
    "wrong statistic": (
        "wrong_statistic",
        lambda d: d.sql("INSERT INTO part_stat SELECT id, 'name', 'x', 'y' FROM part WHERE path LIKE '%/spans/%'"),
    ),
    "wrong place of the footer": ("wrong_layout", lambda d: d.sql(PART.format("footer_bytes = footer_bytes - 16"))),
    "unknown format version": ("unknown_format", lambda d: d.sql(PART.format("format_version = 99"))),
    "orphan": ("orphan", orphan),
    "ended part without a queue entry": ("catalog_row", lambda d: d.sql(PART.format("end_seq = begin_seq + 1"))),
    "dangling slice": ("catalog_row", lambda d: d.sql("DELETE FROM segment WHERE id = (SELECT MIN(segment_id) FROM segment_slice s JOIN dataset d ON d.id = s.dataset_id WHERE d.kind = 2)")),
    "live part in the queue": (
        "catalog_row",
        lambda d: d.sql(
            "INSERT INTO gc_queue (kind, object_id, path, byte_size, queued_at, due_at) "
            "SELECT 'part', id, path, byte_size, 0, 9000000000000000000 FROM part WHERE path LIKE '%/spans/%'"
        ),
    ),
    "sequence beyond the head": ("catalog_row", lambda d: d.sql(PART.format("begin_seq = 1000"))),
}
# Of these the bytes are lost, or queries fail.
WITHOUT_ROWS = {"orphan"}
# The others are damages of rows in the catalog, whose checks crates/catalog tests on both databases.
OF_OBJECTS = [
    "missing object", "missing segment", "truncated object", "flipped bit", "flipped bit in a segment", "damaged footer",
    "content of another object", "damaged trace index", "orphan",
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_each_kind_of_damage_is_found(template, make_server, tmp_path, damage):
    server = make_server(start=False)
    shutil.copytree(template[0].data_dir, server.data_dir, dirs_exist_ok=True)
    kind, plant = DAMAGES[damage]
    assert verify(server, "--deep")[:2] == (0, [])
    plant(Damaged.local(server.data_dir))
    for args in [[], ["--deep"]]:
        code, findings, summary = verify(server, *args)
        assert code == 1, summary
        # A dangling segment may hold slices of several datasets; each says so.
        assert {finding["kind"] for finding in findings} == {kind}, findings
        assert not summary["ok"] and summary["loss"] + summary["wrong"] + summary["waste"] == len(findings)
    finding = findings[0]
    assert finding["what"] and finding["remedy"]
    if damage not in WITHOUT_ROWS:
        affected = finding["affected"][0]
        assert affected["tenant"] == "acme" and affected["dataset"] in ("spans", "logs", "resources")
        assert affected["rows"] > 0 and affected["from"] <= affected["to"]
    code, out, _ = run(server, "verify")
    assert code == 1 and kind in out and "do: " in out, out


@pytest.fixture(scope="module")
def cluster_template(folder, services):
    """A server over PostgreSQL and S3 that has ended, and the folder behind the S3 endpoint that holds its objects."""
    server = Platform(folder / "verify-cluster", services.cluster_env())
    server.start()
    fill(server, "acme")
    server.terminate()
    return server, services.get(S3).folder / server.env["OTLP_RUST__STORE__URL"].removeprefix("s3://")


@pytest.mark.parametrize("damage", OF_OBJECTS)
def test_damage_is_found_on_an_object_store(cluster_template, tmp_path, damage):
    server, objects = cluster_template
    kind, plant = DAMAGES[damage]
    shutil.copytree(objects, tmp_path / "sound")
    try:
        assert verify(server, "--deep")[:2] == (0, [])
        with psycopg.connect(server.env["OTLP_RUST__CATALOG__URL"]) as database:
            plant(Damaged(objects, database))
        code, findings, summary = verify(server, "--deep")
        assert code == 1 and {finding["kind"] for finding in findings} == {kind}, (findings, summary)
        assert findings[0]["what"] and findings[0]["remedy"]
        if damage not in WITHOUT_ROWS:
            affected = findings[0]["affected"][0]
            assert affected["tenant"] == "acme" and affected["rows"] > 0 and affected["from"] <= affected["to"]
    finally:
        shutil.rmtree(objects)
        shutil.copytree(tmp_path / "sound", objects)


def most_held(server, *args):
    """What a command held at most (its VmHWM), in bytes; it must find nothing wrong."""
    command = [binary("otlp-rust", "OTLP_RUST_BIN"), *args, "--data-dir", server.data_dir]
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True, env=server.env)
    most = 0
    while process.poll() is None:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
        most = max(most, int(found[1]) * 1024 if found else 0)
        time.sleep(0.005)
    out = process.communicate()[0]
    assert process.returncode == 0, out
    return most


def test_a_deep_check_holds_the_same_of_much_as_of_little(make_server, tenant):
    server = make_server()
    # Text that does not get much smaller, in the places that one message keeps for it.
    place = "x" * 6_000
    spans = [wire.span("large", {"n": n, "text": place}) for n in range(900)]
    around = wire.request("traces", spans).SerializeToString().split(place.encode())
    held, stored = [], []
    for parts in (range(3), range(3, 27)):
        for part in parts:
            text = [base64.b64encode(os.urandom(4_500)) for _ in range(len(around) - 1)] + [b""]
            answer = wire.post(server, "traces", b"".join(itertools.chain(*zip(around, text))), tenant=f"{tenant}-{part}")
            assert answer.status_code == 200, answer.text
        server.compact()
        stored.append(sum(path.stat().st_size for path in (server.data_dir / "store").rglob("*.parquet")))
        held.append(most_held(server, "verify", "--deep"))
    print(f"stored {stored}, held {held}")
    assert stored[0] < 15 * 2**20 and stored[1] > 100 * 2**20
    assert held[1] < held[0] + 64 * 2**20


def test_what_cannot_be_checked_is_not_called_damage(make_server, template, tmp_path):
    server = make_server(start=False)
    code, out, err = run(server, "verify", "--json")
    assert code == 2 and "catalog" in json.loads(out)["error"], (out, err)
    assert not (server.data_dir / "catalog.db").exists(), "a check makes nothing"
    code, _, _ = run(server, "verify", "--no-such-option")
    assert code == 2


def test_queries_name_the_damaged_object(make_server, template):
    server = make_server(start=False)
    shutil.copytree(template[0].data_dir, server.data_dir, dirs_exist_ok=True)
    damaged = Damaged.local(server.data_dir)
    (damaged.objects / damaged.part).unlink()
    damaged.database.close()
    server.start()
    trace = template[1][0].hex()
    answers = [
        server.sql_raw("SELECT count(DISTINCT name) AS n FROM spans", "json", "acme"),
        server.session.get(f"{server.http_url}/tempo/api/traces/{trace}", headers={"X-Scope-OrgID": "acme"}),
    ]
    for answer in answers:
        assert answer.status_code == 500, answer.text
        error = answer.json()["error"]
        assert error["kind"] == "corrupt" and damaged.part in error["message"] and "otlp-rust verify" in error["message"]
    # What is not damaged is answered.
    assert server.sql("SELECT count(*) AS n FROM logs", "acme") == [{"n": 1}]


def test_quarantine_makes_answers_partial_and_says_so(make_server, template):
    server = make_server(start=False)
    shutil.copytree(template[0].data_dir, server.data_dir, dirs_exist_ok=True)
    damaged = Damaged.local(server.data_dir)
    lost = damaged.objects / damaged.part
    saved = lost.read_bytes()
    lost.unlink()
    damaged.database.close()
    server.start()
    assert server.sql_raw("SELECT count(DISTINCT name) AS n FROM spans", "json", "acme").status_code == 500
    # Beside the running platform.
    code, findings, _ = verify(server, "--quarantine")
    assert code == 1 and [(f["kind"], f["quarantined"]) for f in findings] == [("missing_object", True)]
    headers = {"X-Scope-OrgID": "acme"}

    def partial(answer):
        reason = answer.headers.get("X-Partial-Reason", "")
        assert answer.status_code == 200 and "40 rows of spans" in reason and damaged.part in reason, (answer.text, reason)
        return reason

    for form in ["json", "ndjson", "csv", "arrow", "table"]:
        partial(server.sql_raw("SELECT count(*) AS n FROM spans", form, "acme"))
    answer = server.sql_raw("SELECT count(*) AS n FROM spans", "json", "acme")
    assert answer.json()["data"] == [{"n": ROWS}] and answer.json()["partial"] == partial(answer)
    assert partial(answer) in server.sql_raw("SELECT count(*) AS n FROM spans", "table", "acme").text
    # What does not need the object is whole: other tables, other times.
    for query in ["SELECT count(*) FROM logs", "SELECT count(*) FROM spans WHERE start_time < '2001-01-01T00:00:00Z'"]:
        answer = server.sql_raw(query, "json", "acme")
        assert answer.status_code == 200 and "X-Partial-Reason" not in answer.headers and "partial" not in answer.json()
    found = server.session.get(f"{server.http_url}/tempo/api/v2/traces/{template[1][1].hex()}", headers=headers)
    assert found.json()["status"] == "PARTIAL" and damaged.part in found.json()["message"] and partial(found)
    gone = server.session.get(f"{server.http_url}/tempo/api/traces/{template[1][0].hex()}", headers=headers)
    assert gone.status_code == 404 and damaged.part in gone.text and damaged.part in gone.headers["X-Partial-Reason"]
    command = [binary("otlp-rust", "OTLP_RUST_BIN"), "sql", "--url", server.http_url, "--tenant", "acme", "--format", "csv"]
    done = subprocess.run([str(c) for c in [*command, "SELECT count(*) AS n FROM spans"]], capture_output=True, text=True, timeout=60)
    assert done.stdout == f"n\n{ROWS}\n" and done.stderr.startswith("warning: partial result") and damaged.part in done.stderr
    (entry,) = server.session.get(f"{server.http_url}/api/v1/admin/status").json()["quarantined"]
    assert (entry["object"], entry["tenant"], entry["rows"]) == (damaged.part, "acme", ROWS)
    # Compaction goes on without it.
    server.compact()
    partial(server.sql_raw("SELECT count(*) AS n FROM spans", "json", "acme"))

    code, out, _ = run(server, "quarantine", "list", "--json")
    (entry,) = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and entry["object"] == damaged.part and entry["rows"] == ROWS and entry["dataset"] == "spans"
    assert damaged.part in run(server, "quarantine", "list")[1]
    lost.write_bytes(saved)
    code, findings, _ = verify(server)
    assert code == 1 and [f["kind"] for f in findings] == ["sound_in_quarantine"] and str(entry["id"]) in findings[0]["remedy"]
    assert run(server, "quarantine", "release", "no/such/object")[0] == 1
    code, out, _ = run(server, "quarantine", "release", damaged.part)
    assert code == 0 and damaged.part in out
    answer = server.sql_raw("SELECT count(*) AS n FROM spans", "json", "acme")
    assert answer.json()["data"] == [{"n": 2 * ROWS}] and "X-Partial-Reason" not in answer.headers
    assert verify(server)[:2] == (0, [])


def test_the_postgres_protocol_warns_of_partial_results(make_server, template):
    port = free_ports(1)[0]
    env = {"OTLP_RUST__POSTGRES_WIRE__ENABLED": "true", "OTLP_RUST__POSTGRES_WIRE__LISTEN": f"127.0.0.1:{port}"}
    server = make_server(env=env)
    wire.send_grpc(server, "traces", wire.request("traces", [wire.span()]))
    server.compact()
    server.terminate()
    store = server.data_dir / "store"
    next(iter((store / "default/spans").rglob("*.parquet"))).unlink()
    assert verify(server, "--quarantine")[0] == 1
    server.start()
    with psycopg.connect(f"host=127.0.0.1 port={port} user=e2e dbname=otlp sslmode=disable", autocommit=True) as connection:
        notices = []
        connection.add_notice_handler(lambda notice: notices.append((notice.severity, notice.sqlstate, notice.message_primary)))
        assert connection.execute("SELECT count(*) FROM spans").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM spans WHERE name = %s", ["x"]).fetchone() == (0,)
        assert [(severity, state) for severity, state, _ in notices] == [("WARNING", "01P99")] * 2
        assert "partial result" in notices[0][2]
        assert connection.execute("SELECT count(*) FROM logs").fetchone() == (0,)
        assert len(notices) == 2


def test_the_catalog_goes_up_and_down(make_server, tenant):
    server = make_server()
    fill(server, tenant)
    server.terminate()
    code, out, _ = run(server, "catalog", "version")
    newest = int(out.rsplit(" ", 1)[1])
    assert code == 0 and out == f"catalog {newest}, this program {newest}\n"
    code, out, err = run(server, "catalog", "migrate", "--to", "1")
    assert code == 0 and out == f"catalog migrated from {newest} to 1\n", err
    if newest > 1:
        code, out, err = run(server, "verify")
        assert code == 2 and "otlp-rust catalog migrate" in err, err
    code, out, err = run(server, "catalog", "migrate")
    assert code == 0 and out == f"catalog migrated from 1 to {newest}\n", err
    assert verify(server)[:2] == (0, [])
    server.start()
    assert server.sql("SELECT count(*) AS n FROM spans", tenant) == [{"n": 2 * ROWS}]
    server.terminate()
    # A later program migrated it in a way that this one must not meet: it keeps its hands off.
    database = sqlite3.connect(server.data_dir / "catalog.db")
    database.execute("UPDATE catalog_reader SET min_version = 9999")
    database.execute("INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'x', 1, x'00', 0)")
    database.commit()
    for command in [["serve"], ["verify"], ["catalog", "migrate"]]:
        code, _, err = run(server, *command)
        assert code != 0 and "9999" in err and "at least as new" in err, err
