"""PostgreSQL, Redis, S3, Google Cloud Storage and Azure Blob Storage for the tests, on free loopback ports and in temporary folders; stopped by process id."""

import base64
import hashlib
import hmac
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from pathlib import Path

import requests

from platform_process import binary, free_ports, stop_process


class Postgres:
    """A temporary PostgreSQL server with a superuser `postgres` that needs no password."""

    environment = None  # as this process's

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
        self.process = None
        try:
            self._make_data()
            self.start()
        except RuntimeError:
            self.stop()
            raise

    def _make_data(self):
        self._run("initdb", "-D", self.folder / "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "-N")

    def start(self):
        """Starts the server unless it runs, and waits until it takes connections."""
        if self.process is not None and self.process.poll() is None:
            return
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                [self.bin / "postgres", "-D", self.folder / "data", "-p", str(self.port), "-c", "listen_addresses=127.0.0.1"]
                + ["-c", f"unix_socket_directories={self.folder}", "-c", "max_connections=200"],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self.folder, env=self.environment, **self.as_user,
            )
        deadline = time.monotonic() + 30
        while subprocess.call([self.bin / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)], cwd="/") != 0:
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise RuntimeError(f"PostgreSQL did not start:\n{(self.folder / 'log').read_text(errors='replace')[-3000:]}")
            time.sleep(0.1)

    def stop_at_once(self):
        """Cuts every connection and ends without a checkpoint; the next start recovers from the log."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(20)

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
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class Redis:
    """A Redis server that keeps nothing on disk. It can be killed, started again on its port, and made to hang."""

    def __init__(self, tls=False):
        self.folder = Path(tempfile.mkdtemp(prefix="otlp-rust-redis-"))
        (self.port,) = free_ports(1)
        self.process = None
        self.arguments = ["--port", str(self.port)]
        self.url = f"redis://127.0.0.1:{self.port}"
        if tls:
            self.certificate = self.folder / "ca.pem"
            subprocess.run(
                ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
                + ["-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE", "-keyout", self.folder / "key.pem", "-out", self.certificate],
                check=True, capture_output=True,
            )
            self.arguments = ["--port", "0", "--tls-port", str(self.port), "--tls-auth-clients", "no", "--tls-cert-file", self.certificate]
            self.arguments += ["--tls-key-file", self.folder / "key.pem"]
            self.url = f"rediss://localhost:{self.port}"

    def start(self):
        command = ["redis-server", *self.arguments, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", self.folder]
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen([str(part) for part in command], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return self
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise RuntimeError(f"Redis did not start:\n{(self.folder / 'log').read_text(errors='replace')}") from None
                time.sleep(0.02)

    def kill(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def ask(self, *command):
        """The answer to a command, as text."""
        done = subprocess.run(["redis-cli", "-p", str(self.port), *command], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def hang(self):
        """It takes connections and requests and answers none."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def stop(self):
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class S3:
    """The S3 endpoint of crates/testkit, with one bucket named `lake`."""

    arguments = ()

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="otlp-rust-s3-"))
        self.process = subprocess.Popen(
            [binary("s3-endpoint", "S3_ENDPOINT_BIN"), "--root", self.folder, "--bucket", "lake", *self.arguments],
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

    def stop(self, keep_to=None):
        """Ends it and removes what it stored, or moves that to `keep_to`."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)
        if keep_to is not None:
            shutil.move(self.folder, keep_to)
        shutil.rmtree(self.folder, ignore_errors=True)


class Gcs(S3):
    """Google Cloud Storage's XML API as far as S3's is the same: put, ranged get, list and delete of objects.

    The emulators that can be installed from registries speak only its JSON API, which the server does not use.
    """

    arguments = ("--anonymous",)

    def env(self, prefix):
        return {"OTLP_RUST__STORE__URL": f"gs://lake/{prefix}", "OTLP_RUST__STORE__GCS__ENDPOINT": self.ready["url"]}


class Azure:
    """Azurite, Microsoft's emulator of Azure Blob Storage, with one container named `lake`."""

    # The account that every Azurite has; the key is published in its documentation.
    ACCOUNT = "devstoreaccount1"
    KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
    PROGRAM = Path(__file__).parent / "azurite/node_modules/azurite/dist/src/blob/main.js"

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="otlp-rust-azure-"))
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}/{self.ACCOUNT}"
        with open(self.folder / "log", "wb") as log:
            self.process = subprocess.Popen(
                ["node", self.PROGRAM, "--blobHost", "127.0.0.1", "--blobPort", str(self.port), "--location", self.folder]
                + ["--skipApiVersionCheck", "--disableTelemetry", "--silent"],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            )
        deadline = time.monotonic() + 60
        while (answer := self._create_container()) != 201:
            if time.monotonic() > deadline or self.process.poll() is not None:
                text = (self.folder / "log").read_text(errors="replace")
                self.stop()
                raise RuntimeError(f"Azurite did not start ({answer}):\n{text}")
            time.sleep(0.1)

    def _create_container(self):
        """The HTTP status of `Create Container`, signed with the shared key; None while nobody answers."""
        date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())
        headers = {"x-ms-date": date, "x-ms-version": "2021-08-06"}
        signed = "PUT" + "\n" * 12 + "".join(f"{name}:{value}\n" for name, value in sorted(headers.items()))
        signed += f"/{self.ACCOUNT}/{self.ACCOUNT}/lake\nrestype:container"
        digest = hmac.new(base64.b64decode(self.KEY), signed.encode(), hashlib.sha256).digest()
        headers |= {"Authorization": f"SharedKey {self.ACCOUNT}:{base64.b64encode(digest).decode()}", "Content-Length": "0"}
        try:
            return requests.put(f"{self.url}/lake?restype=container", headers=headers, timeout=5).status_code
        except requests.RequestException:
            return None

    def env(self, prefix):
        return {
            "OTLP_RUST__STORE__URL": f"az://lake/{prefix}",
            "OTLP_RUST__STORE__AZURE__ENDPOINT": self.url,
            "OTLP_RUST__STORE__AZURE__ACCOUNT": self.ACCOUNT,
            "OTLP_RUST__STORE__AZURE__ACCESS_KEY": self.KEY,
            "OTLP_RUST__STORE__AZURE__ALLOW_HTTP": "true",
        }

    def stop(self):
        stop_process(self.process)
        shutil.rmtree(self.folder, ignore_errors=True)
