"""Wall clocks that jump by hours, each process's by itself, and stay wrong until the next jump."""

import time

from torture.faults.effect import NoEffect
from torture.topologies import LEASE_SECONDS, SKEW_SECONDS
from torture.watch import ACCESS, Watch

# libfaketime looks once a second, a process that is paused only afterwards.
READ_SECONDS = 2 * LEASE_SECONDS + 4
# S3 refuses requests of a clock that is 15 minutes wrong. A process must be able to do harm to be tested.
SIGNED_SECONDS = 14 * 60


def jump(run, fault):
    node = fault.pick(run.topology.nodes)
    with node.clock_lock:
        # Some jumps are the one back to the right time; half of the others are small enough for S3.
        if node.skew and fault.luck < 0.25:
            seconds = 0
        else:
            most = SIGNED_SECONDS if fault.number % 2 else SKEW_SECONDS
            seconds = int(fault.between(-most, most))
        node.set_clock(seconds)
        with Watch(node.clock_file, ACCESS) as watch:
            if not watch.wait(lambda *_: True, READ_SECONDS):
                raise NoEffect(f"{node.name} did not look at its clock")
        if run.topology.signs and abs(seconds) > SIGNED_SECONDS:
            # It stores nothing meanwhile, and with all clocks wrong nobody would be acked for the rest of the run.
            time.sleep(fault.between(1, 4))
            node.set_clock(0)
