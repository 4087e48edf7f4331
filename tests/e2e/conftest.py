"""Fixtures: servers, backends, a tenant per test, a seeded random generator."""

import os
import random
import re
import shutil
import tempfile
import time
import uuid
from pathlib import Path

import pytest

from platform_process import Platform
from services import S3, Postgres

BACKENDS = ["local", "cluster"]


@pytest.fixture(scope="session")
def folder():
    path = Path(tempfile.mkdtemp(prefix="otlp-rust-e2e-"))
    yield path
    if not os.environ.get("E2E_KEEP"):
        shutil.rmtree(path, ignore_errors=True)


class Services:
    """PostgreSQL and S3, started when first asked for."""

    def __init__(self):
        self.started = {}

    def get(self, kind):
        if kind not in self.started:
            self.started[kind] = kind()
        return self.started[kind]

    def cluster_env(self):
        """Settings of one new cluster: an empty catalog and an empty prefix. Processes that share them form the cluster."""
        return {
            "OTLP_RUST__CATALOG__URL": self.get(Postgres).database(),
            # The default on an object store, 250 ms, trades latency for requests; the tests wait for many acks in turn.
            "OTLP_RUST__COMMIT__MIN_INTERVAL": "20ms",
        } | self.get(S3).env(uuid.uuid4().hex)


@pytest.fixture(scope="session")
def services():
    all_of_them = Services()
    yield all_of_them
    for one in all_of_them.started.values():
        one.stop()


@pytest.fixture
def make_server(folder, services):
    """Builds servers that end with the test: make_server(backend="local", env={}, args=[], start=True)."""
    made = []

    def make(backend="local", env=None, args=(), start=True):
        settings = services.cluster_env() if backend == "cluster" else {}
        server = Platform(folder / uuid.uuid4().hex[:12], settings | (env or {}), args)
        made.append(server)
        return server.start() if start else server

    yield make
    for server in made:
        server.kill()


@pytest.fixture(scope="session")
def shared_servers(folder, services):
    running = {}

    def get(backend):
        if backend not in running:
            settings = services.cluster_env() if backend == "cluster" else {}
            running[backend] = Platform(folder / f"shared-{backend}", settings)
        if not running[backend].alive():
            running[backend].start()
        return running[backend]

    yield get
    for server in running.values():
        server.kill()


@pytest.fixture(params=BACKENDS)
def server(request, shared_servers):
    """A server that tests share, once per backend. The test fails if it is not alive afterwards."""
    running = shared_servers(request.param)
    yield running
    assert running.alive(), f"the server died:\n{running.log_tail()}"


@pytest.fixture
def local_server(shared_servers):
    """As `server`, only on local disk and SQLite."""
    running = shared_servers("local")
    yield running
    assert running.alive(), f"the server died:\n{running.log_tail()}"


@pytest.fixture
def tenant(request):
    """A tenant of the test's own."""
    name = re.sub("[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:30]
    return f"{name}-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def rng():
    seed = int(os.environ.get("E2E_SEED", time.time_ns() % 1_000_000_007))
    print(f"E2E_SEED={seed}")
    return random.Random(seed)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Shows the end of the server's log beside a failure."""
    outcome = yield
    report = outcome.get_result()
    if report.when == "call" and report.failed:
        for name, value in item.funcargs.items():
            if isinstance(value, Platform):
                report.sections.append((f"log of {name}", value.log_tail()))
