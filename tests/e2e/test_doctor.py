"""`otlp-rust doctor` and `otlp-rust health`: all is well where it is, and each planted fault gets its finding and its remedy."""

import glob
import http.server
import json
import os
import sqlite3
import ssl
import subprocess
import sys
import tarfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

import wire
from platform_process import binary, free_ports
from services import Postgres, Redis

sys.path.append(str(Path(__file__).resolve().parents[1]))
from torture.disk import Disk, NoDisk  # noqa: E402


def command(server, *args, env=None, data_dir=True):
    """Runs a command of the binary with the server's settings and ports; returns exit code, standard output and standard error."""
    line = [binary("otlp-rust", "OTLP_RUST_BIN"), *args]
    if data_dir:
        line += ["--data-dir", server.data_dir]
    done = subprocess.run([str(part) for part in line], capture_output=True, text=True, env=server.env | (env or {}), timeout=120)
    return done.returncode, done.stdout, done.stderr


def ports(server):
    listening = {"grpc": server.grpc_port, "http": server.otlp_port}
    flags = [flag for name, port in listening.items() for flag in (f"--otlp-{name}", f"127.0.0.1:{port}")]
    return [*flags, "--http", f"127.0.0.1:{server.http_port}", "--admin", f"127.0.0.1:{server.admin_port}"]


def doctor(server, *args, env=None):
    """The exit code, and the findings by name."""
    code, out, err = command(server, "doctor", "--json", *ports(server), *args, env=env)
    assert out, err
    report = json.loads(out)
    assert report["schema"] == 1
    assert sum(report["counts"].values()) == len(report["findings"])
    for finding in report["findings"]:
        assert finding["seen"] and (finding["remedy"] or finding["status"] in ("ok", "skipped")), finding
    return code, {finding["name"]: finding for finding in report["findings"]}


def of_the_machine(finding):
    """A warning that the machine of the tests is slow, almost full or limited, which is no fault of the platform."""
    about_it = finding["name"].startswith(("disk.", "cgroup.")) or "milliseconds" in finding["figures"]
    return finding["status"] == "warning" and about_it


def bad(findings):
    found = {name: finding for name, finding in findings.items() if finding["status"] in ("warning", "failed")}
    return {name: finding for name, finding in found.items() if not of_the_machine(finding)}


def only(findings, name, seen, remedy, status="failed"):
    """One finding is bad, and says so."""
    assert list(bad(findings)) == [name], bad(findings)
    finding = findings[name]
    assert finding["status"] == status and seen in finding["seen"] and remedy in finding["remedy"], finding


@pytest.fixture
def redis():
    server = Redis().start()
    yield server
    server.stop()


# ---- all is well


def test_a_healthy_cluster(make_server, redis):
    server = make_server("cluster", {"OTLP_RUST__REDIS__URL": redis.url})
    code, findings = doctor(server, "--write", "--url", server.http_url, "--otlp-url", server.otlp_url)
    assert (code, bad(findings)) == (0, {})
    assert {name for name, finding in findings.items() if finding["status"] == "skipped"} <= {"disk", "dns", "certificates", "certificates.catalog"}
    looked_at = ["store.access", "store.put", "store.get", "store.conditional_put", "store.list", "store.delete"]
    looked_at += ["catalog.latency", "catalog.migrations", "catalog.permissions", "catalog.connections"]
    looked_at += ["redis.latency", "redis.scripts", "redis.memory", "url.ready", "url.otlp", "url.write"]
    assert [name for name in looked_at if findings[name]["status"] == "skipped"] == []
    for port in ["otlp_grpc", "otlp_http", "http", "admin"]:
        assert f"process {server.pid}" in findings[f"ports.{port}"]["seen"], findings[f"ports.{port}"]
    for clock in ["catalog", "store", "redis"]:
        assert abs(findings[f"clock.{clock}"]["figures"]["seconds"]) < 2
    trace = findings["url.write"]["figures"]["trace_id"]
    rows = server.sql(f"SELECT count(*) AS n FROM spans WHERE trace_id = X'{trace}'", "otlp-rust-doctor")
    assert rows == [{"n": 1}]


def test_a_healthy_single_machine(make_server):
    server = make_server()
    code, findings = doctor(server)
    assert (code, bad(findings)) == (0, {})
    assert findings["disk.fsync"]["figures"]["milliseconds"] > 0
    assert findings["catalog.latency"]["seen"].startswith("SQLite 3.")
    assert not list(server.data_dir.rglob("*doctor*")), "something was left behind"
    # A table for people.
    code, out, _ = command(server, "doctor", *ports(server))
    lines = out.splitlines()
    assert code == 0 and lines[0].split() == ["STATUS", "CHECK", "SEEN"]
    assert lines[-1].startswith("0 failed, ")


def test_before_the_first_start_nothing_is_made(make_server, tmp_path):
    server = make_server(start=False)
    server.data_dir = tmp_path / "not/there/yet"
    code, findings = doctor(server)
    assert (code, bad(findings)) == (0, {})
    assert all(findings[f"ports.{port}"]["seen"] == "free" for port in ["otlp_grpc", "otlp_http", "http", "admin"])
    assert [findings[name]["status"] for name in ["store", "catalog", "disk.fsync", "url"]] == ["skipped"] * 4
    assert not list(tmp_path.iterdir())


def test_health(make_server):
    server = make_server(start=False)
    asked = ["health", "--http", f"127.0.0.1:{server.http_port}"]
    code, out, _ = command(server, *asked)
    assert code == 2 and out.startswith("cannot be reached: ") and out.count("\n") == 1
    server.start()
    for arguments in [asked, ["health", "--url", server.http_url], ["health", "--url", f"{server.http_url}/readyz"]]:
        assert command(server, *arguments) == (0, f"ready: {server.http_url}/readyz\n", "")
    # Not a platform, but somebody who answers.
    code, out, _ = command(server, "health", "--url", f"{server.otlp_url}/nothing")
    assert code == 1 and out.startswith(f"not ready: {server.otlp_url}/nothing/readyz answers 404")
    os.kill(server.pid, 19)  # SIGSTOP
    try:
        started = time.monotonic()
        code, out, _ = command(server, *asked, "--timeout", "300ms")
        assert code == 2 and "no answer within 300ms" in out
        assert time.monotonic() - started < 3
    finally:
        os.kill(server.pid, 18)


# ---- faults


def test_a_port_that_somebody_else_has(make_server, tmp_path):
    server = make_server(start=False)
    script = f"import http.server as s; s.HTTPServer(('127.0.0.1', {server.http_port}), s.SimpleHTTPRequestHandler).serve_forever()"
    other = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path)
    try:
        deadline = time.monotonic() + 20
        while command(server, "health", "--url", server.http_url)[0] == 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        code, findings = doctor(server, "--only", "ports")
        assert code == 1
        only(findings, "ports.http", f"(process {other.pid}), which does not answer as a healthy otlp-rust", "set server.http to another port")
    finally:
        other.kill()
        other.wait()


def test_a_configuration_that_is_not_valid(make_server):
    server = make_server(start=False)
    code, findings = doctor(server, env={"OTLP_RUST__COMMIT__PIPELINE": "many", "OTLP_RUST__NO__SUCH": "1"})
    assert code == 1
    assert findings["configuration"]["status"] == "failed" and "config schema" in findings["configuration"]["remedy"]
    assert {findings[name]["status"] for name in ["store", "catalog", "redis", "disk", "ports"]} == {"skipped"}
    # What does not add up is a warning, which counts on demand.
    env = {"OTLP_RUST__GC__GRACE": "1s"}
    code, findings = doctor(server, env=env)
    assert code == 0
    only(findings, "configuration.values", "gc.grace (1s) is shorter", "raise gc.grace", "warning")
    assert doctor(server, "--strict", env=env)[0] == 1
    code, _, err = command(server, "doctor", "--only", "nothing")
    assert code == 2 and "there is no check" in err


def test_a_store_without_the_bucket_or_with_wrong_credentials(make_server):
    server = make_server("cluster", start=False)
    code, findings = doctor(server, "--only", "store,clock", env={"OTLP_RUST__STORE__URL": "s3://no-such-bucket/x"})
    assert code == 1
    only(findings, "store.access", "NoSuchBucket", "make the bucket")
    code, findings = doctor(server, "--only", "store", env={"OTLP_RUST__STORE__S3__SECRET_ACCESS_KEY": "not-the-key"})
    assert code == 1
    only(findings, "store.access", "SignatureDoesNotMatch", "store.s3.access_key_id")
    assert "not-the-key" not in json.dumps(findings)
    (port,) = free_ports(1)
    code, findings = doctor(server, "--only", "store", env={"OTLP_RUST__STORE__S3__ENDPOINT": f"http://127.0.0.1:{port}"})
    assert code == 1
    only(findings, "store.reach", "refused", "store.s3.endpoint")
    code, findings = doctor(server, "--only", "store,dns", env={"OTLP_RUST__STORE__S3__ENDPOINT": "http://no-such-host.invalid:9000"})
    assert code == 1 and set(bad(findings)) == {"store.reach", "dns.store"}


def test_credentials_of_the_environment_are_used(make_server):
    """`AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, as the configuration reference promises."""
    server = make_server("cluster", start=False)
    names = {"ACCESS_KEY_ID", "SECRET_ACCESS_KEY"}
    env = {f"AWS_{name}": server.env.pop(f"OTLP_RUST__STORE__S3__{name}") for name in names}
    code, findings = doctor(server, "--only", "store", env=env)
    assert (code, bad(findings)) == (0, {})


def test_a_catalog_that_is_down_missing_old_or_closed(make_server):
    catalog = Postgres()
    try:
        url = catalog.database()
        server = make_server("cluster", {"OTLP_RUST__CATALOG__URL": url}, start=False)
        code, findings = doctor(server, "--only", "catalog")
        only(findings, "catalog.migrations", "no tables yet", "otlp-rust catalog migrate", "warning")
        assert code == 0
        assert command(server, "catalog", "migrate")[0] == 0
        assert bad(doctor(server, "--only", "catalog")[1]) == {}
        assert command(server, "catalog", "migrate", "--to", "1")[0] == 0
        only(doctor(server, "--only", "catalog")[1], "catalog.migrations", "behind", "otlp-rust catalog migrate", "warning")

        missing = {"OTLP_RUST__CATALOG__URL": url.rsplit("/", 1)[0] + "/nowhere"}
        only(doctor(server, "--only", "catalog", env=missing)[1], "catalog", '"nowhere" does not exist', "CREATE DATABASE")
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE ROLE stranger LOGIN PASSWORD 'x'")
            connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO stranger")
        stranger = {"OTLP_RUST__CATALOG__URL": url.replace("postgres@", "stranger:hidden-password@")}
        code, findings = doctor(server, "--only", "catalog", env=stranger)
        assert code == 1
        assert "INSERT on segment" in findings["catalog.permissions"]["seen"], findings
        assert "GRANT" in findings["catalog.permissions"]["remedy"]
        many = {"OTLP_RUST__CATALOG__MAX_CONNECTIONS": "500"}
        code, findings = doctor(server, "--only", "catalog", env=many)
        assert findings["catalog.connections"]["status"] == "failed" and "max_connections" in findings["catalog.connections"]["remedy"]

        catalog.stop_at_once()
        started = time.monotonic()
        code, findings = doctor(server)
        assert code == 1 and time.monotonic() - started < 15
        only(findings, "catalog.reach", "refused", "start the server there")
        assert findings["store.put"]["status"] != "failed"
    finally:
        catalog.stop()


def test_a_redis_that_is_full_hangs_or_is_down(make_server, redis):
    server = make_server("cluster", {"OTLP_RUST__REDIS__URL": redis.url}, start=False)
    redis.ask("config", "set", "maxmemory", "1mb")
    code, findings = doctor(server, "--only", "redis")
    assert code == 0
    only(findings, "redis.memory", "policy noeviction", "raise maxmemory", "warning")
    assert command(server, "catalog", "migrate")[0] == 0
    redis.hang()
    started = time.monotonic()
    code, findings = doctor(server, "--timeout", "2s")
    assert code == 1 and time.monotonic() - started < 10
    assert set(bad(findings)) <= {"redis", "redis.timeout", "clock.timeout"} and bad(findings)
    assert findings["store.put"]["status"] != "failed"
    redis.resume()
    redis.kill()
    code, findings = doctor(server, "--only", "redis,clock")
    assert code == 1
    only(findings, "redis.reach", "refused", "keeps to its own share")


def test_a_disk_that_is_full_or_read_only(make_server, tmp_path):
    try:
        disk = Disk(tmp_path / "disk", 64 << 20)
    except NoDisk as reason:
        pytest.skip(str(reason))
    try:
        server = make_server(start=False)
        server.data_dir = disk.folder / "data"
        server.data_dir.mkdir()
        disk.fill()
        code, findings = doctor(server, "--only", "disk")
        assert code == 1
        assert findings["disk.space"]["status"] == "failed" and "make room" in findings["disk.space"]["remedy"]
        assert findings["disk.fsync"]["status"] == "failed" and "make room" in findings["disk.fsync"]["remedy"]
        assert findings["disk.space"]["subject"] == str(server.data_dir)
        disk.empty()
        subprocess.run(["mount", "-o", "remount,ro", disk.folder], check=True)
        code, findings = doctor(server, "--only", "disk")
        assert code == 1
        assert "ead-only" in findings["disk.fsync"]["seen"] and "mount it writable" in findings["disk.fsync"]["remedy"]
    finally:
        disk.unmount()


def certificate(folder, name, days=90, ago=0):
    """A certificate that signs itself, made `ago` days ago for a host name."""
    preload = glob.glob("/usr/lib/*/faketime/libfaketime.so.1")[0]
    key, certificate = folder / f"{name}-{days}-{ago}.key", folder / f"{name}-{days}-{ago}.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", str(days), "-subj", f"/CN={name}/O=Planted"]
        + ["-addext", f"subjectAltName=DNS:{name}", "-addext", "basicConstraints=critical,CA:FALSE", "-keyout", key, "-out", certificate],
        check=True, capture_output=True, env=os.environ | {"LD_PRELOAD": preload, "FAKETIME": f"-{ago}d"},
    )
    return key, certificate


@contextmanager
def https(key, certificate):
    """A web server with a certificate, which answers everything with 200."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_GET

        def log_message(self, *_):
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"https://localhost:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_certificates(make_server, tmp_path):
    server = make_server(start=False)

    def look(host="localhost", trusted=True, **made):
        key, shown = certificate(tmp_path, host, **made)
        with https(key, shown) as url:
            env = {"SSL_CERT_FILE": str(shown)} if trusted else {}
            return doctor(server, "--url", url, "--only", "certificates,url", env=env)

    code, findings = look()
    assert (code, bad(findings)) == (0, {})
    good = findings["certificates.url"]
    assert "localhost" in good["seen"] and "O=Planted" in good["seen"] and 88 <= good["figures"]["days_left"] <= 90
    assert findings["url.ready"]["status"] == "ok"
    _, findings = look(days=10)
    assert findings["certificates.url"]["status"] == "warning" and "renew it" in findings["certificates.url"]["remedy"]
    code, findings = look(days=10, ago=20)
    assert code == 1 and "expired on" in findings["certificates.url"]["seen"] and "renew it" in findings["certificates.url"]["remedy"]
    assert findings["url.ready"]["status"] == "failed"
    code, findings = look(host="elsewhere.example")
    assert code == 1 and "refused" in findings["certificates.url"]["seen"] and "for the name that is used" in findings["certificates.url"]["remedy"]
    code, findings = look(trusted=False)
    assert code == 1 and "authority" in findings["certificates.url"]["remedy"]


def test_certificates_of_postgresql_and_redis(make_server, tmp_path):
    catalog, redis = Postgres(), Redis(tls=True).start()
    try:
        key, shown = certificate(tmp_path, "localhost")
        for file, name in [(key, "ssl_key_file"), (shown, "ssl_cert_file")]:
            copy = catalog.folder / file.name
            copy.write_bytes(file.read_bytes())
            copy.chmod(0o600)
            if catalog.as_user:
                os.chown(copy, catalog.as_user["user"], catalog.as_user["group"])
            with psycopg.connect(catalog.database(), autocommit=True) as connection:
                connection.execute(f"ALTER SYSTEM SET {name} = '{copy}'")
        with psycopg.connect(catalog.database(), autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET ssl = on")
            connection.execute("SELECT pg_reload_conf()")
        url = catalog.database().replace("127.0.0.1", "localhost")
        env = {"OTLP_RUST__REDIS__URL": redis.url, "SSL_CERT_FILE": str(redis.certificate)}
        env["OTLP_RUST__CATALOG__URL"] = f"{url}?sslmode=verify-full&sslrootcert={shown}"
        server = make_server(env=env, start=False)
        assert command(server, "catalog", "migrate")[0] == 0
        code, findings = doctor(server, "--only", "certificates,catalog,redis,dns,clock")
        assert findings["certificates.catalog"]["figures"]["issuer"] == "CN=localhost, O=Planted", findings
        # That of Redis is made for two days.
        only(findings, "certificates.redis", "in 1 days", "renew it", "warning")
        assert code == 0 and "encrypted" in findings["catalog.encryption"]["seen"] and findings["dns.redis"]["status"] == "ok"
        # Nobody vouches for either.
        env = {"OTLP_RUST__CATALOG__URL": f"{url}?sslmode=require", "SSL_CERT_FILE": "/dev/null"}
        code, findings = doctor(server, "--only", "certificates,catalog,redis", env=env)
        assert code == 1 and findings["certificates.catalog"]["status"] == "warning" and "verify-full" in findings["certificates.catalog"]["remedy"]
        assert findings["catalog.latency"]["status"] != "failed"
        assert findings["certificates.redis"]["status"] == "failed" and "certificates" in findings["redis"]["remedy"], findings
    finally:
        catalog.stop()
        redis.stop()


def test_a_front_door_that_leads_nowhere(make_server):
    server = make_server()
    (port,) = free_ports(1)
    code, findings = doctor(server, "--url", f"http://127.0.0.1:{port}", "--write", "--only", "url")
    assert code == 1 and set(bad(findings)) == {"url.ready", "url.otlp"}
    assert "refused" in findings["url.ready"]["seen"] and "--url" in findings["url.ready"]["remedy"]
    assert findings["url.write"]["status"] == "skipped"
    # The API alone: exports go elsewhere.
    code, findings = doctor(server, "--url", server.http_url, "--only", "url")
    assert code == 1
    only(findings, "url.otlp", "answers 404", "--otlp-url")


def test_a_clock_that_is_wrong(make_server, redis):
    server = make_server("cluster", {"OTLP_RUST__REDIS__URL": redis.url}, start=False)
    preload = glob.glob("/usr/lib/*/faketime/libfaketime.so.1")[0]
    code, findings = doctor(server, "--only", "clock", env={"LD_PRELOAD": preload, "FAKETIME": "+10m"})
    assert code == 1 and set(bad(findings)) == {"clock.catalog", "clock.store", "clock.redis"}
    for finding in findings.values():
        assert -602 < finding["figures"]["seconds"] < -598 and "synchronise" in finding["remedy"]


# ---- the bundle

PLANTED = {
    "OTLP_RUST__STORE__S3__SECRET_ACCESS_KEY": "planted-s3-secret",
    "OTLP_RUST__STORE__S3__ACCESS_KEY_ID": "PLANTEDKEYID",
    "OTLP_RUST__STORE__AZURE__ACCESS_KEY": "planted-azure-key",
    "AWS_SESSION_TOKEN": "planted-session-token",
    "GITHUB_TOKEN": "planted-token",
    "UNSUSPICIOUS": "planted-in-an-innocent-variable",
    "SOME_URL": "https://me:planted-url-password@example.org/?sig=1",
}


def unpacked(bundle):
    with tarfile.open(bundle) as archive:
        return {member.name.removeprefix("otlp-rust-doctor/"): archive.extractfile(member).read().decode() for member in archive}


def without_secrets(*texts):
    everything = "\n".join(texts)
    at = everything.lower().find("planted")
    assert at < 0, everything[max(0, at - 300) : at + 100]


def test_a_bundle_holds_no_secret(make_server, redis, tmp_path, tenant):
    server = make_server("cluster", {"OTLP_RUST__REDIS__URL": redis.url})
    wire.send_grpc(server, "traces", wire.request("traces", [wire.span("a", {})]), tenant)
    catalog = server.env["OTLP_RUST__CATALOG__URL"].replace("postgres@", "postgres:planted-catalog@")
    env = PLANTED | {
        "OTLP_RUST__REDIS__URL": f"redis://:planted%20redis@127.0.0.1:{redis.port}",
        "OTLP_RUST__CATALOG__URL": catalog + "?password=planted-in-the-query",
    }
    bundle = tmp_path / "support.tar.gz"
    front = server.http_url.replace("//", "//admin:planted-front@") + "/?token=planted-query"
    code, out, err = command(server, "doctor", "--bundle", bundle, "--url", front, "--otlp-url", server.otlp_url, *ports(server), env=env)
    assert code == 1, "the store refuses the planted key"
    assert str(bundle) in err and oct(bundle.stat().st_mode)[-3:] == "600"
    files = unpacked(bundle)
    without_secrets(out, err, *files.values())
    assert set(files) >= {"README.txt", "report.json", "report.txt", "config.yaml", "environment.txt", "versions.json"}
    assert set(files) >= {f"server/{name}" for name in ["health.json", "metrics.txt", "status.json", "retention.json"]}
    assert set(files) >= {f"catalog/{name}.json" for name in ["statistics", "quarantine", "deletions", "retention"]}
    assert json.loads(files["server/health.json"])["status"] == "ok"
    assert tenant in [entry["tenant"] for entry in json.loads(files["catalog/statistics.json"])["datasets"]]
    assert json.loads(files["versions.json"])["catalog"] == json.loads(files["versions.json"])["catalog_known"]
    assert "UNSUSPICIOUS" in files["environment.txt"] and "***" in files["config.yaml"]
    assert json.loads(files["report.json"])["status"] == "failed"
    code, _, err = command(server, "doctor", "--bundle", tmp_path / "no/such/place.tar.gz", "--only", "cgroup")
    assert code == 2 and "place.tar.gz" in err


def test_a_bundle_of_a_wrong_configuration_holds_no_secret(make_server, tmp_path):
    server = make_server(start=False)
    config, bundle = tmp_path / "config.yaml", tmp_path / "support.tar.gz"
    config.write_text(
        "store:\n  s3:\n    endpoint: http://u:planted-endpoint@127.0.0.1:1\n    secret_access_key: planted-in-file\n"
        "catalog:\n  url: mysql://u:planted-in-url@h/d\nredis:\n  url: redis://:planted-redis@h?password=planted\n"
    )
    code, out, err = command(server, "doctor", "--config", config, "--bundle", bundle, env=PLANTED)
    files = unpacked(bundle)
    without_secrets(out, err, *files.values())
    assert code == 1 and "catalog.url" in out and "store.s3.endpoint" in files["config.yaml"]


# ---- the catalog is made by `catalog migrate`


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_catalog_migrate_makes_a_catalog_however_many_run_at_once(make_server, services, database, tmp_path, tenant):
    env = {"OTLP_RUST__CATALOG__URL": services.get(Postgres).database()} if database == "postgres" else {}
    server = make_server(env=env, start=False)
    server.data_dir = tmp_path / "made" / "here"
    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(lambda _: command(server, "catalog", "migrate"), range(6)))
    assert [code for code, _, _ in done] == [0] * 6, done
    newest = int(command(server, "catalog", "version")[1].rsplit(" ", 1)[1])
    assert all(out.endswith(f" to {newest}\n") or out == f"catalog is at version {newest}\n" for _, out, _ in done), done
    assert command(server, "catalog", "migrate") == (0, f"catalog is at version {newest}\n", "")
    if database == "sqlite":
        applied = sqlite3.connect(server.data_dir / "catalog.db").execute("SELECT count(*) FROM _sqlx_migrations").fetchone()
    else:
        with psycopg.connect(env["OTLP_RUST__CATALOG__URL"]) as connection:
            applied = connection.execute("SELECT count(*) FROM _sqlx_migrations").fetchone()
    assert applied == (newest,)
    server.start()
    wire.send_grpc(server, "traces", wire.request("traces", [wire.span("a", {})]), tenant)
    assert server.sql("SELECT count(*) AS n FROM spans", tenant) == [{"n": 1}]


def test_catalog_migrate_waits_for_its_database(make_server):
    catalog = Postgres()
    try:
        server = make_server(env={"OTLP_RUST__CATALOG__URL": catalog.database()}, start=False)
        catalog.stop_at_once()
        code, _, err = command(server, "catalog", "migrate", "--wait", "1s")
        assert code == 1 and "cannot open the catalog" in err
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(command, server, "catalog", "migrate", "--wait", "60s")
            time.sleep(1)
            catalog.start()
            assert waiting.result()[0] == 0, waiting.result()
    finally:
        catalog.stop()
