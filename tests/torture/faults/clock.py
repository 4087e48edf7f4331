"""Wall clocks that jump by hours, each process's by itself, and stay wrong until the next jump."""

import time

from torture.topologies import SKEW_SECONDS


def jump(run, fault):
    node = fault.pick(run.topology.nodes)
    # Every third jump is the one back to the right time.
    node.set_clock(0 if node.skew and fault.luck < 0.33 else int(fault.between(-SKEW_SECONDS, SKEW_SECONDS)))
    time.sleep(1.0)  # libfaketime looks once a second
