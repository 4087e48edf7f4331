"""PostgreSQL and S3 for the tests, on free loopback ports and in temporary folders; stopped by process id."""

import json
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from pathlib import Path

from platform_process import binary, free_ports


class Postgres:
    """A temporary PostgreSQL server with a superuser `postgres` that needs no password."""

    def __init__(self):
        bins = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[4]))
        if not bins:
            raise FileNotFoundError("PostgreSQL is missing: run scripts/setup-tests.sh or apt-get install postgresql")
        self.bin = bins[-1].parent
        self.folder = Path(tempfile.mkdtemp(prefix="otlp-rust-pg-"))
        # PostgreSQL refuses to run as root.
        self.as_user = {}
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            self.as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        (self.port,) = free_ports(1)
        self._run("initdb", "-D", self.folder / "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "-N")
        with open(self.folder / "log", "wb") as log:
            self.process = subprocess.Popen(
                [self.bin / "postgres", "-D", self.folder / "data", "-p", str(self.port), "-c", "listen_addresses=127.0.0.1"]
                + ["-c", f"unix_socket_directories={self.folder}", "-c", "max_connections=200"],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self.folder, **self.as_user,
            )
        deadline = time.monotonic() + 30
        while subprocess.call([self.bin / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)], cwd="/") != 0:
            if time.monotonic() > deadline or self.process.poll() is not None:
                text = (self.folder / "log").read_text(errors="replace")
                self.stop()
                raise RuntimeError(f"PostgreSQL did not start:\n{text}")
            time.sleep(0.1)

    def _run(self, command, *arguments):
        done = subprocess.run(
            [str(part) for part in (self.bin / command, *arguments)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=self.folder, **self.as_user,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{command} failed:\n{done.stdout}")

    def database(self):
        """The URL of a new, empty database."""
        name = f"otlp_{uuid.uuid4().hex[:12]}"
        self._run("createdb", "-h", "127.0.0.1", "-p", self.port, "-U", "postgres", name)
        return f"postgres://postgres@127.0.0.1:{self.port}/{name}"

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class S3:
    """The S3 endpoint of crates/testkit, with one bucket named `lake`."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="otlp-rust-s3-"))
        self.process = subprocess.Popen(
            [binary("s3-endpoint", "S3_ENDPOINT_BIN"), "--root", self.folder, "--bucket", "lake"],
            stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True,
        )
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the S3 endpoint did not start")
        self.ready = json.loads(line)

    def env(self, prefix):
        """Settings that make a server keep its objects here, below `prefix`."""
        return {
            "OTLP_RUST__STORE__URL": f"s3://lake/{prefix}",
            "OTLP_RUST__STORE__S3__ENDPOINT": self.ready["url"],
            "OTLP_RUST__STORE__S3__REGION": "us-east-1",
            "OTLP_RUST__STORE__S3__ACCESS_KEY_ID": self.ready["access_key_id"],
            "OTLP_RUST__STORE__S3__SECRET_ACCESS_KEY": self.ready["secret_access_key"],
            "OTLP_RUST__STORE__S3__ALLOW_HTTP": "true",
        }

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)
        shutil.rmtree(self.folder, ignore_errors=True)
