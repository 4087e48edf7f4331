"""The two deployments under test: one process on a local disk, and a cluster over S3 and PostgreSQL."""

import json
import sqlite3
import subprocess
import threading
import time
import urllib.parse
from pathlib import Path

import psycopg
import requests

from platform_process import binary
from services import S3
from torture.disk import Disk, NoDisk
from torture.fake_clock import FAKETIME
from torture.node import Node, Supervisor
from torture.postgres import Server
from torture.proxies import PASS, Network, Proxy
from torture.store_proxy import StoreProxy
from torture.watch import DELETE, MODIFY, MOVED_TO, Watch

# Everything in the background runs all the time, so that faults hit it; leases and timeouts are short for the same reason.
# Orphans get longer than a clock is wrong, which is what docs/guides/torture.md tells operators, too.
RESTLESS = {
    "OTLP_RUST__COMPACTION__INTERVAL": "200ms",
    "OTLP_RUST__COMPACTION__MAX_SLICE_AGE": "1s",
    "OTLP_RUST__COMPACTION__LEASE_TTL": "2s",
    "OTLP_RUST__GC__GRACE": "5s",
    "OTLP_RUST__GC__INTERVAL": "300ms",
    "OTLP_RUST__GC__ORPHAN_GRACE": "12h",
    "OTLP_RUST__QUERY__TIMEOUT": "5s",
    "OTLP_RUST__STORE__REQUEST_TIMEOUT": "2s",
    "OTLP_RUST__SERVER__SHUTDOWN_TIMEOUT": "5s",
    "OTLP_RUST__LOG__LEVEL": "info,lake=debug",
}
LEASE_SECONDS = 2
# How far clocks go wrong, and how old planted orphans are: beyond the grace for every clock.
SKEW_SECONDS = 3 * 3600
ORPHAN_AGE_SECONDS = 24 * 3600
# Longer than any debug build needs to start on a busy machine.
READY_SECONDS = 90
# A debug build decodes every value of a long run in it.
VERIFY_SECONDS = 600
# What no log may say whatever happens: an error for which the process has no class is one.
BUGS = ("panicked at", "please report it")
LIVE = """
SELECT 'slice' AS kind, s.id, g.path, s.row_count, g.writer FROM segment_slice s JOIN segment g ON g.id = s.segment_id
JOIN dataset d ON d.id = s.dataset_id WHERE d.tenant = {tenant}
UNION ALL SELECT 'part', p.id, p.path, p.row_count, CAST(p.end_seq AS TEXT) FROM part p JOIN dataset d ON d.id = p.dataset_id
WHERE d.tenant = {tenant}
"""


class Topology:
    """Processes and what they stand on."""

    name = ""
    disk = None
    signs = False  # whether requests to the store are signed with the time

    def __init__(self, folder, say):
        self.folder, self.say = Path(folder), say
        self.left_out = []  # what this machine cannot do
        self.network = Network()
        self.nodes = []
        self.gone = []  # processes that were removed
        self.members = threading.Lock()  # of those who add or remove processes
        self.fake_clock = bool(FAKETIME)
        if not self.fake_clock:
            self.leave_out("clocks stay right, because libfaketime is missing (run scripts/setup-tests.sh)")
        self.supervisor = Supervisor(self)

    def leave_out(self, what):
        self.left_out.append(what)
        self.say(f"SKIPPED: {what}")

    def start(self):
        for node in self.nodes:
            node.start()
        for node in self.nodes:
            node.wait_ready(READY_SECONDS)
        self.supervisor.start()

    def receivers(self):
        """Where clients may send, whatever state it is in."""
        return [node for node in self.nodes if node.has("ingest")]

    def readers(self):
        """Processes that should be able to answer."""
        return [node for node in self.nodes if node.has("query") and node.wanted and not node.paused and node.platform.alive()]

    def of_role(self, role):
        return [node for node in self.nodes if node.has(role)]

    def heal(self):
        """Ends every fault that lasts, clocks included, and waits until everything is ready."""
        for node in list(self.nodes):
            for proxy in self.proxies(node):
                proxy.hook = None
                proxy.set(PASS)
            if self.fake_clock:
                node.set_clock(0)
        for node in list(self.nodes):
            node.wait_ready(READY_SECONDS)

    def restart_all(self):
        """kill -9 of everything, and up again."""
        for node in self.nodes:
            with node.lock:
                node.kill()
        for node in self.nodes:
            with node.lock:
                node.start()
        for node in self.nodes:
            node.wait_ready(READY_SECONDS)

    def compact(self):
        node = self.of_role("compact")[0]
        answer = requests.post(f"{node.platform.http_url}/api/v1/admin/compact", params={"wait": "true"}, timeout=120)
        if answer.status_code != 200:
            raise RuntimeError(f"{node.name} cannot compact: {answer.text}")

    def verify(self):
        """The exit code of `otlp-rust verify --deep` and what it printed."""
        node = self.nodes[0]
        command = [binary("otlp-rust", "OTLP_RUST_BIN"), "verify", "--deep", "--json", "--data-dir", node.platform.data_dir]
        done = subprocess.run([str(part) for part in command], env=node.platform.env, capture_output=True, text=True, timeout=VERIFY_SECONDS)
        try:
            return done.returncode, json.loads(done.stdout)
        except ValueError:
            return done.returncode, {"error": done.stdout + done.stderr}

    def stop(self, keep):
        self.supervisor.ending.set()
        if self.supervisor.is_alive():
            self.supervisor.join()
        for node in self.nodes:
            node.stop()
        self.network.stop()

    def exits(self):
        """Ends that nobody asked for: (process, code, last lines of its log)."""
        return [(node.name, code, log) for node in [*self.nodes, *self.gone] for code, log in node.exits]

    def crashes(self):
        """Ends that no fault explains, and what the processes themselves take for a bug. A start that fails (code 1: its database is
        down, its disk is full) is none."""
        ended = [f"{name} ended with {code}:\n{log}" for name, code, log in self.exits() if code != 1]
        logs = [node.platform.log_path for node in [*self.nodes, *self.gone]]
        bugs = [line for path in logs if path.exists() for line in open(path, errors="replace") if any(sign in line for sign in BUGS)]
        return ended + bugs[:20]


class Local(Topology):
    """One process, local disk and SQLite."""

    name = "local"

    def __init__(self, folder, say, disk_bytes=2 << 30):
        super().__init__(folder, say)
        data = self.folder / "data"
        try:
            self.disk = Disk(data, disk_bytes)
        except NoDisk as reason:
            self.leave_out(f"the disk never fills and never hangs: {reason}")
        else:
            if not self.disk.can_hang:
                self.leave_out("the disk never hangs: only ext4 on a loop device can be frozen")
        env = RESTLESS | {"OTLP_RUST__COMMIT__MIN_INTERVAL": "20ms"}
        self.nodes = [Node(self.network, "only", ["all"], data, env, self.fake_clock)]

    def proxies(self, node):
        return [node.front_grpc, node.front_http]

    def heal(self):
        if self.disk:
            self.disk.empty()
        super().heal()

    def aim(self, node, step, phase, timeout):
        """Kills the process while it takes a step; false if it did not take it in time."""
        matches = {
            "commit": lambda mask, path: mask & MOVED_TO and path.endswith(".seg"),
            "catalog": lambda mask, path: mask & MODIFY and path.endswith("catalog.db-wal"),
            "compaction": lambda mask, path: mask & MOVED_TO and path.endswith(".parquet"),
            "garbage collection": lambda mask, path: mask & DELETE and path.endswith((".seg", ".parquet")),
        }
        with Watch(node.platform.data_dir) as watch:
            hit = watch.wait(matches[step], timeout)
            if hit and phase == "after":
                time.sleep(0.001)  # into the next step
            if hit:
                node.kill_now()
            return hit

    def catalog_of(self, tenant, table):
        try:
            path = self.nodes[0].platform.data_dir / "catalog.db"
            with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=2) as catalog:
                return catalog.execute(LIVE.format(tenant="?1"), (tenant,)).fetchmany(100)
        except sqlite3.Error as error:
            return repr(error)

    def objects(self):
        """Paths of all objects in the store, with their files."""
        root = self.nodes[0].platform.data_dir / "store"
        return {str(path.relative_to(root)): path for path in root.rglob("*") if path.suffix in (".seg", ".parquet")}

    def orphan_folder(self):
        return self.nodes[0].platform.data_dir / "store/segments/2020-01-01"

    def stop(self, keep):
        super().stop(keep)
        if self.disk:
            self.disk.unmount(keep)


class Cluster(Topology):
    """Three processes and more in different roles; S3 (s3s-fs) and PostgreSQL, each process behind proxies of its own."""

    name = "cluster"
    signs = True
    ROLES = (["all"], ["ingest"], ["query", "compact"])
    MOST = 5

    def __init__(self, folder, say):
        super().__init__(folder, say)
        self.postgres, self.s3 = Server(), S3()
        self.database_name = urllib.parse.urlsplit(self.postgres.database()).path.removeprefix("/")
        self.numbers = 0
        self.listings = {}
        for roles in self.ROLES:
            self.nodes.append(self.make_node(roles))

    def database_url(self, port):
        return f"postgres://postgres@127.0.0.1:{port}/{self.database_name}"

    @property
    def database(self):
        """The URL of whatever is the primary now."""
        return self.database_url(self.postgres.port)

    def use(self, postgres):
        """Another server is the primary from now on: processes find it at the address they know."""
        self.postgres = postgres
        for node in self.nodes:
            node.database.target_port = postgres.port
            node.database.cut()

    def make_node(self, roles):
        self.numbers += 1
        name = f"p{self.numbers}-{'-'.join(roles)}"
        store = StoreProxy(self.network, urllib.parse.urlsplit(self.s3.ready["url"]).port, self.listings)
        database = Proxy(self.network, self.postgres.port)
        env = RESTLESS | self.s3.env("torture") | {
            "OTLP_RUST__COMMIT__MIN_INTERVAL": "50ms",
            # Longer than any request here is repeated, short enough for requests to be forgotten during a run.
            "OTLP_RUST__INGEST__DEDUPE_WINDOW": "90s",
            "OTLP_RUST__STORE__S3__ENDPOINT": f"http://127.0.0.1:{store.port}",
            "OTLP_RUST__CATALOG__URL": self.database_url(database.port),
        }
        node = Node(self.network, name, roles, self.folder / name, env, self.fake_clock)
        node.store, node.database = store, database
        return node

    def proxies(self, node):
        return [node.front_grpc, node.front_http, node.store, node.database]

    def heal(self):
        self.postgres.set_clock(0)
        self.postgres.start()
        super().heal()

    def aim(self, node, step, phase, timeout):
        """Kills the process before or after the peer has handled a request of this step; false if none came in time."""
        matches = {
            "commit": lambda what: what[0] == "PUT" and what[1].endswith(".seg"),
            "catalog": lambda what: b"COMMIT" in what,
            "compaction": lambda what: what[0] == "PUT" and what[1].endswith(".parquet"),
            "garbage collection": lambda what: what[0] == "DELETE" or (what[0] == "POST" and "delete" in what[1]),
        }
        proxy = node.database if step == "catalog" else node.store
        hit = threading.Event()

        def hook(what, at):
            if at == phase and not hit.is_set() and matches[step](what):
                node.kill_now()
                hit.set()

        proxy.hook = hook
        try:
            return hit.wait(timeout)
        finally:
            proxy.hook = None

    def catalog_of(self, tenant, table):
        try:
            with psycopg.connect(self.database, connect_timeout=2) as catalog:
                return [list(row) for row in catalog.execute(LIVE.format(tenant="%(tenant)s"), {"tenant": tenant}).fetchmany(100)]
        except psycopg.Error as error:
            return repr(error)

    def objects(self):
        root = self.s3.folder / "lake/torture"
        return {str(path.relative_to(root)): path for path in root.rglob("*") if path.suffix in (".seg", ".parquet")}

    def orphan_folder(self):
        return self.s3.folder / "lake/torture/segments/2020-01-01"

    def stop(self, keep):
        super().stop(keep)
        self.postgres.stop()
        self.s3.stop(keep_to=self.folder / "store" if keep else None)


TOPOLOGIES = {kind.name: kind for kind in (Local, Cluster)}
