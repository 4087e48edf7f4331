"""Between clients and processes: requests arrive and are handled, answers do not come back."""

import time

from torture.proxies import MUTE, PASS


def lose_acks(run, fault):
    receivers = run.topology.receivers()
    # One process or all of them.
    nodes = receivers if fault.luck > 0.7 else [fault.pick(receivers)]
    try:
        for node in nodes:
            node.front_grpc.set(MUTE)
            node.front_http.set(MUTE)
        time.sleep(fault.between(0.3, 1.5))
    finally:
        for node in nodes:
            node.front_grpc.set(PASS)
            node.front_http.set(PASS)
