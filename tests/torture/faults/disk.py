"""A disk without a free byte, and with space again."""

import time

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
