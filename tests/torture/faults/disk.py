"""A disk without a free byte, and with space again; a disk and an SQLite catalog that hang."""

import sqlite3
import time
from contextlib import closing

from torture.faults.effect import until

# What the process says of it: the store and SQLite.
SIGNS = ("No space left on device", "database or disk is full")


def full(run, fault):
    disk, node = run.topology.disk, run.topology.nodes[0]
    with disk.lock:
        end, log = time.monotonic() + fault.between(0.5, 3), node.log_end()
        try:
            while time.monotonic() < end:
                disk.fill()
                time.sleep(0.1)

            def met():
                disk.fill()
                return any(sign in node.log_since(log) for sign in SIGNS)

            until(met, "nothing was refused for lack of space")
        finally:
            disk.empty()


def hang(run, fault):
    with run.topology.disk.lock, run.topology.disk.hanging():
        _nobody_is_acked(run, fault)


def hang_catalog(run, fault):
    """Another process holds the one lock of writers, as a backup or somebody's shell may."""
    path = run.topology.nodes[0].platform.data_dir / "catalog.db"
    # A checkpoint or a commit may hold it for a moment; a disk that hangs, for longer.
    with closing(sqlite3.connect(path, timeout=10, isolation_level=None)) as catalog:
        catalog.execute("BEGIN IMMEDIATE")
        _nobody_is_acked(run, fault)
        catalog.execute("ROLLBACK")


def _nobody_is_acked(run, fault):
    """For 1 to 4 seconds. Clients are acked many times a second otherwise: half a second of silence shows the effect."""
    time.sleep(fault.between(1, 4))
    until(lambda: run.availability.silence() > 0.5, "requests were acked all the same")
