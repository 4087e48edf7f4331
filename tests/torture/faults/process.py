"""Processes that die, end, sleep, come and go."""

import time

from torture.faults.effect import NoEffect, until
from torture.topologies import LEASE_SECONDS

# So long a kill waits for the step it is aimed at. Compaction and collection come every few hundred ms.
AIM_SECONDS = 4
# Which role takes a step.
STEP_ROLES = {"commit": "ingest", "catalog": "ingest", "compaction": "compact", "garbage collection": "compact"}


def _restart(run, node, fault):
    """At once in most cases, sometimes after a while, as after a lost machine."""
    if fault.luck > 0.75:
        time.sleep((fault.luck - 0.75) * 8)
    node.start()


def _up(node):
    """What has ended of itself (its database is down, its disk is full) is started, so that something can happen to it."""
    if not node.platform.alive():
        node.start()


def _kill(run, node):
    if not node.kill():
        raise NoEffect(f"{node.name} had ended")
    run.killed(node)


def kill(run, fault):
    node = fault.pick(run.topology.nodes)
    with node.lock:
        _up(node)
        try:
            _kill(run, node)
        finally:
            _restart(run, node, fault)


def kill_in(step):
    def action(run, fault):
        node = fault.pick(run.topology.of_role(STEP_ROLES[step]))
        phase = "before" if fault.luck < 0.5 else "after"
        with node.lock:
            hit, end = False, time.monotonic() + AIM_SECONDS
            while not hit and time.monotonic() < end:
                _up(node)
                hit = run.topology.aim(node, step, phase, AIM_SECONDS / 4)
            if not hit:
                _up(node)
            try:
                _kill(run, node)
            finally:
                node.start()
        return None if hit else "kill -9 at any moment"

    return action


def kill_in_start(run, fault):
    node = fault.pick(run.topology.nodes)
    with node.lock:

        def once():
            node.kill()
            node.start()
            time.sleep(fault.between(0, 0.4))
            try:
                return node.kill()
            finally:
                run.killed(node)
                node.start()

        until(once, f"{node.name} ended before")


def terminate(run, fault):
    node = fault.pick(run.topology.nodes)
    with node.lock:
        _up(node)
        was_ready = node.platform.ready()
        try:
            code = node.terminate()
            # Before it is ready, SIGTERM may end it as it ends any program.
            if was_ready and code != 0:
                run.failures.append(f"{node.name} ended with {code} after SIGTERM:\n{node.platform.log_tail(10)}")
        except AssertionError as error:  # it did not end
            run.failures.append(str(error))
        node.start()


def pause(run, fault):
    node = fault.pick(run.topology.nodes)
    with node.lock:
        _up(node)
        node.paused = True
        try:
            node.pause(fault.between(LEASE_SECONDS + 0.5, 2 * LEASE_SECONDS + 0.5))
        finally:
            node.paused = False


def change_members(run, fault):
    """Adds a process while there is room, else removes one that was added."""
    topology = run.topology
    with topology.members:
        if len(topology.nodes) < topology.MOST:
            node = topology.make_node(fault.pick([list(roles) for roles in topology.ROLES]))
            with node.lock:
                node.start()
            topology.nodes.append(node)
            return "process added"
        node = fault.pick(topology.nodes[len(topology.ROLES) :])
        with node.lock:
            topology.nodes.remove(node)
            if fault.luck < 0.5:
                node.terminate()
            else:
                node.kill()
            topology.gone.append(node)
        return "process removed"
