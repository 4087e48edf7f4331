"""An object store that refuses, hangs, dawdles, loses replies and lists what was."""

import os
import time
import uuid

from torture.faults.effect import disturb
from torture.proxies import HANG, REFUSE, SLOW
from torture.store_proxy import LOSE_PUT, STALE_LIST
from torture.topologies import ORPHAN_AGE_SECONDS


def _during(run, fault, mode, seconds, delay=0.0):
    # For one process or, as when the store itself fails, for all.
    nodes = list(run.topology.nodes) if fault.luck > 0.4 else [fault.pick(run.topology.nodes)]
    disturb([node.store for node in nodes], mode, seconds, delay)


def refuse(run, fault):
    _during(run, fault, REFUSE, fault.between(0.5, 3))


def hang(run, fault):
    _during(run, fault, HANG, fault.between(1, 4))


def slow(run, fault):
    _during(run, fault, SLOW, fault.between(1, 4), delay=fault.between(0.2, 1))


def lose_put_replies(run, fault):
    _during(run, fault, LOSE_PUT, fault.between(0.5, 3))


def list_stale(run, fault):
    """A process looks for orphans when it starts: it is started while listings are old, with an orphan planted before."""
    plant_orphan(run)
    node = fault.pick(run.topology.of_role("compact"))

    def start_again():
        # Not longer: a start that fails for another fault's sake is to be repeated.
        with node.lock:
            if node.platform.alive():
                node.terminate()
            node.start()

    # It compacts and collects in between, and does one thing at a time.
    disturb([node.store], STALE_LIST, fault.between(0.5, 2), first=start_again, patience=20)


def plant_orphan(run):
    """An object without a catalog row, old enough for every clock."""
    folder = run.topology.orphan_folder()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{uuid.uuid4().hex}.seg"
    path.write_bytes(b"an orphan")
    then = time.time() - ORPHAN_AGE_SECONDS
    os.utime(path, (then, then))
    run.orphans.append(path)
