"""A PostgreSQL that stops without a goodbye, cuts connections, dawdles, and commits without saying so."""

import time

import psycopg

from torture.faults.effect import disturb, until
from torture.proxies import MUTE, SLOW

CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'otlp-rust'"


def stop(run, fault):
    """Connections break in the middle of whatever they did, then nothing answers, then the database is back with what it
    had committed (crash recovery from its log)."""
    with run.topology.members:
        run.topology.postgres.stop_at_once()
        time.sleep(fault.between(0.2, 2.5))
        run.topology.postgres.start()


def fail_over(run, fault):
    """To a synchronous standby, which is made first; the primary dies with all its connections and never comes back."""
    topology = run.topology
    with topology.members:
        old = topology.postgres
        new = old.standby()
        try:
            time.sleep(fault.between(0.5, 2))  # commits wait for the standby
            old.die()
            time.sleep(fault.between(0.2, 2.5))  # until somebody has noticed
            new.promote()
        except BaseException:
            new.stop()
            old.start()
            old.stand_alone()
            raise
        topology.use(new)
        old.stop()


def cut(run, fault):
    with run.topology.members:  # while the database is there
        with psycopg.connect(run.topology.database, connect_timeout=5, autocommit=True) as admin:
            until(lambda: sum(ended for (ended,) in admin.execute(CUT)), "nobody was connected")


def _during(run, fault, mode, seconds, delay=0.0):
    nodes = list(run.topology.nodes) if fault.luck > 0.4 else [fault.pick(run.topology.nodes)]
    disturb([node.database for node in nodes], mode, seconds, delay)


def slow(run, fault):
    _during(run, fault, SLOW, fault.between(1, 4), delay=fault.between(0.02, 0.2))


def lose_replies(run, fault):
    """Transactions commit and whoever committed them is not told."""
    _during(run, fault, MUTE, fault.between(0.3, 2))
