"""Between clients and processes: requests arrive and are handled, answers do not come back."""

from torture.faults.effect import disturb
from torture.proxies import MUTE


def lose_acks(run, fault):
    receivers = run.topology.receivers()
    # One process or all of them.
    nodes = receivers if fault.luck > 0.7 else [fault.pick(receivers)]
    disturb([proxy for node in nodes for proxy in (node.front_grpc, node.front_http)], MUTE, fault.between(0.3, 1.5))
