"""Wall clocks that jump by hours, each process's by itself, and stay wrong until the next jump."""

import time

from torture.faults.effect import NoEffect, until
from torture.topologies import LEASE_SECONDS, SKEW_SECONDS
from torture.watch import ACCESS, Watch

# libfaketime looks once a second, a process that is paused only afterwards.
READ_SECONDS = 2 * LEASE_SECONDS + 4
# S3 refuses requests of a clock that is 15 minutes wrong. A process must be able to do harm to be tested.
SIGNED_SECONDS = 14 * 60


def _next(fault, now, most):
    """The next skew after this one. Some jumps are the one back to the right time."""
    return 0 if now and fault.luck < 0.25 else int(fault.between(-most, most))


def jump_of_postgres(run, fault):
    """The clock by which leases, grace periods and the memory of requests go."""
    with run.topology.members:
        postgres = run.topology.postgres
        seconds = _next(fault, postgres.skew, SKEW_SECONDS)
        postgres.set_clock(seconds)
        until(lambda: abs(postgres.clock_off() - seconds) < 2, "PostgreSQL goes by another clock")


def jump(run, fault):
    node = fault.pick(run.topology.nodes)
    with node.clock_lock:
        # Half of them are small enough for S3.
        seconds = _next(fault, node.skew, SIGNED_SECONDS if fault.number % 2 else SKEW_SECONDS)
        passing = run.topology.signs and abs(seconds) > SIGNED_SECONDS
        node.set_clock(seconds)
        try:
            with Watch(node.clock_file, ACCESS) as watch:
                if not watch.wait(lambda *_: True, READ_SECONDS):
                    raise NoEffect(f"{node.name} did not look at its clock")
            if passing:
                time.sleep(fault.between(1, 4))
        finally:
            if passing:
                # It stores nothing meanwhile, and with all clocks wrong nobody would be acked for the rest of the run.
                node.set_clock(0)
