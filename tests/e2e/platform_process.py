"""One `otlp-rust serve` process under test: start, ask, terminate, kill."""

import json
import os
import random
import signal
import socket
import subprocess
import time
from pathlib import Path

import grpc
import requests

REPOSITORY = Path(__file__).resolve().parents[2]
# Long enough for a debug build on a busy machine; a healthy start takes well under a second.
START_SECONDS = 60


def binary(name, variable):
    """The path of a built binary: from the environment variable, else from the cargo target directory."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
    path = Path(os.environ.get(variable, target / "debug" / name))
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: run `cargo build --workspace --bins` or set {variable}")
    return path


def free_ports(count):
    """Loopback ports that were free a moment ago.

    They lie below those that the kernel gives to outgoing connections (from 32768 on): while a server is down, a connection
    that looks for it could otherwise be given the server's own port, connect to itself and keep the server from coming back.
    """
    sockets = []
    try:
        while len(sockets) < count:
            one = socket.socket()
            sockets.append(one)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                one.bind(("127.0.0.1", random.randrange(10_000, 32_000)))
            except OSError:
                sockets.pop().close()
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


class SqlError(Exception):
    """A refused query: the HTTP status and the server's text."""

    def __init__(self, status, text):
        super().__init__(f"HTTP {status}: {text}")
        self.status = status
        self.text = text


def stop_process(process, seconds=20):
    """Asks a process to stop, and kills it if it has not within so many seconds. None, or one that has ended, is left alone."""
    if process is None or process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Platform:
    """A server process. Its ports stay the same when it is started again."""

    def __init__(self, data_dir, env=None, args=()):
        self.data_dir = Path(data_dir)
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("OTLP_RUST")} | (env or {})
        self.args = list(args)
        # A command that starts the one after it, such as one that enters a control group first.
        self.through = []
        self.grpc_port, self.otlp_port, self.http_port, self.admin_port = free_ports(4)
        self.log_path = self.data_dir.with_suffix(".log")
        self.process = None
        self.session = requests.Session()
        self._channel = None

    @property
    def grpc_target(self):
        return f"127.0.0.1:{self.grpc_port}"

    @property
    def otlp_url(self):
        return f"http://127.0.0.1:{self.otlp_port}"

    @property
    def http_url(self):
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def admin_url(self):
        return f"http://127.0.0.1:{self.admin_port}"

    @property
    def pid(self):
        return self.process.pid

    def spawn(self):
        """Starts the process and does not wait for anything."""
        command = [*self.through, binary("otlp-rust", "OTLP_RUST_BIN"), "serve", "--data-dir", self.data_dir]
        command += ["--otlp-grpc", self.grpc_target, "--otlp-http", f"127.0.0.1:{self.otlp_port}"]
        command += ["--http", f"127.0.0.1:{self.http_port}", "--admin", f"127.0.0.1:{self.admin_port}", *self.args]
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [str(part) for part in command], stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self.env
            )

    def ready(self):
        try:
            return requests.get(f"{self.http_url}/readyz", timeout=2).status_code == 200
        except requests.RequestException:
            return False

    def start(self):
        self.spawn()
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended with {self.process.returncode}:\n{self.log_tail()}")
            if self.ready():
                return self
            time.sleep(0.02)
        self.kill()
        raise RuntimeError(f"the server was not ready after {START_SECONDS} s:\n{self.log_tail()}")

    def log_tail(self, lines=40):
        if not self.log_path.exists():
            return ""
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def resident_bytes(self):
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError("the process has no VmRSS")

    def kill(self):
        """kill -9, the way an out-of-memory killer does it."""
        self._disconnect()
        if self.alive():
            self.process.kill()
        if self.process is not None:
            self.process.wait()

    def terminate(self, timeout=60):
        """SIGTERM; returns the exit code."""
        self._disconnect()
        if self.alive():
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"no exit {timeout} s after SIGTERM:\n{self.log_tail()}") from None

    def _disconnect(self):
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def channel(self):
        """A shared gRPC channel that comes back quickly after the server was restarted."""
        if self._channel is None:
            self._channel = self.new_channel()
        return self._channel

    def new_channel(self, **options):
        settings = {
            "grpc.initial_reconnect_backoff_ms": 50,
            "grpc.min_reconnect_backoff_ms": 50,
            "grpc.max_reconnect_backoff_ms": 200,
            "grpc.max_receive_message_length": -1,
            "grpc.max_send_message_length": -1,
            "grpc.use_local_subchannel_pool": 1,
        } | {f"grpc.{name}": value for name, value in options.items()}
        return grpc.insecure_channel(self.grpc_target, options=list(settings.items()))

    def sql(self, query, tenant="default", timeout=60):
        """The rows of a query as dictionaries; absent keys are nulls."""
        answer = self.sql_raw(query, "ndjson", tenant, timeout)
        if answer.status_code != 200:
            raise SqlError(answer.status_code, answer.text)
        return [json.loads(line) for line in answer.text.splitlines() if line.strip()]

    def sql_raw(self, query, form, tenant="default", timeout=60):
        return self.session.post(
            f"{self.http_url}/api/v1/sql",
            params={"format": form},
            data=query.encode(),
            headers={"X-Scope-OrgID": tenant, "Content-Type": "text/plain"},
            timeout=timeout,
        )

    def compact(self, timeout=120):
        answer = self.session.post(f"{self.http_url}/api/v1/admin/compact", params={"wait": "true"}, timeout=timeout)
        assert answer.status_code == 200, answer.text
        return answer
