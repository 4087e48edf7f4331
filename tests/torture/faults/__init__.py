"""The kinds of faults: name, weight, and what each does to a topology.

An action gets the run and the fault and returns when the fault is over. What it returns, if anything, is the name under
which the fault is counted (a kill that was aimed and missed is not counted as aimed). An action that raises is not counted:
`NoEffect` when the fault met nothing.
"""

from dataclasses import dataclass
from typing import Callable

from torture.faults import clock, database, disk, network, process, store


@dataclass(frozen=True)
class Kind:
    name: str
    weight: int  # how often in a deck
    action: Callable
    possible: Callable = lambda topology: True


def _cluster(topology):
    return topology.name == "cluster"


KINDS = [
    Kind("kill -9 at any moment", 2, process.kill),
    Kind("kill -9 in a commit, object written", 1, process.kill_in("commit")),
    Kind("kill -9 in a catalog transaction", 1, process.kill_in("catalog")),
    Kind("kill -9 in compaction", 1, process.kill_in("compaction")),
    # Twice: a collection comes only some seconds after the compaction before it, and some aimed kills miss.
    Kind("kill -9 in garbage collection", 2, process.kill_in("garbage collection")),
    Kind("kill -9 in start-up", 1, process.kill_in_start),
    Kind("SIGTERM and start", 1, process.terminate),
    Kind("paused past its lease", 1, process.pause),
    Kind("acks lost", 2, network.lose_acks),
    Kind("clock jumps", 2, clock.jump, lambda topology: topology.fake_clock),
    Kind("PostgreSQL's clock jumps", 1, clock.jump_of_postgres, lambda topology: topology.fake_clock and _cluster(topology)),
    Kind("disk full", 2, disk.full, lambda topology: topology.disk is not None),
    Kind("disk hangs", 1, disk.hang, lambda topology: topology.disk is not None and topology.disk.can_hang),
    Kind("catalog hangs", 1, disk.hang_catalog, lambda topology: topology.name == "local"),
    Kind("store refuses", 1, store.refuse, _cluster),
    Kind("store hangs", 1, store.hang, _cluster),
    Kind("store slow", 1, store.slow, _cluster),
    Kind("store loses replies of puts", 1, store.lose_put_replies, _cluster),
    Kind("store lists what was", 1, store.list_stale, _cluster),
    Kind("PostgreSQL stopped", 1, database.stop, _cluster),
    Kind("PostgreSQL fails over", 1, database.fail_over, _cluster),
    Kind("PostgreSQL cuts connections", 1, database.cut, _cluster),
    Kind("PostgreSQL slow", 1, database.slow, _cluster),
    Kind("PostgreSQL replies lost", 1, database.lose_replies, _cluster),
    Kind("process added or removed", 1, process.change_members, _cluster),
]


def kinds_for(topology):
    return {kind.name: kind for kind in KINDS if kind.possible(topology)}
