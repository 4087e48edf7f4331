"""A disk without a free byte, and with space again."""

import time


def full(run, fault):
    disk = run.topology.disk
    with run.topology.members:  # one ballast at a time
        end = time.monotonic() + fault.between(0.5, 3)
        try:
            while time.monotonic() < end:
                disk.fill()
                time.sleep(0.1)
        finally:
            disk.empty()
