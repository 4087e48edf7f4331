"""PostgreSQL that fails over to a standby, and whose clock can be wrong."""

import os
import signal
import time
from pathlib import Path

import psycopg

from services import Postgres
from torture.fake_clock import FAKETIME, fake_clock_env, set_clock

# A base backup of some 40 MB, a start, a promotion: on a busy machine.
STEP_SECONDS = 30


class Server(Postgres):
    """A primary, or a standby of another server."""

    def __init__(self, primary=None):
        self.primary = primary
        self.skew = 0
        super().__init__()

    @property
    def environment(self):
        return os.environ | fake_clock_env(self.folder / "clock") if FAKETIME else None

    def _make_data(self):
        self.set_clock(0)
        if self.primary is None:
            super()._make_data()
        else:
            source = ["-h", "127.0.0.1", "-p", self.primary.port, "-U", "postgres"]
            self._run("pg_basebackup", *source, "-R", "-X", "stream", "-c", "fast", "-D", self.folder / "data")

    def connect(self):
        url = f"postgres://postgres@127.0.0.1:{self.port}/postgres"
        return psycopg.connect(url, connect_timeout=5, autocommit=True)

    def value(self, query):
        with self.connect() as admin:
            return admin.execute(query).fetchone()[0]

    def standby(self):
        """A new server that has all that this one has, and without which no transaction commits here from now on."""
        new = Server(self)
        try:
            with self.connect() as admin:
                admin.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
                admin.execute("SELECT pg_reload_conf()")
            # Also what was committed before: the standby has it on its disk.
            self._wait("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync' AND flush_lsn >= pg_current_wal_flush_lsn()")
        except BaseException:
            self.stand_alone()
            new.stop()
            raise
        return new

    def stand_alone(self):
        """Commits without a standby again."""
        with self.connect() as admin:
            admin.execute("ALTER SYSTEM RESET synchronous_standby_names")
            admin.execute("SELECT pg_reload_conf()")

    def promote(self):
        with self.connect() as admin:
            (done,) = admin.execute("SELECT pg_promote(true, %s)", (STEP_SECONDS,)).fetchone()
        if not done or self.value("SELECT pg_is_in_recovery()"):
            raise RuntimeError("the standby did not become the primary")

    def _wait(self, query):
        deadline = time.monotonic() + STEP_SECONDS
        while not self.value(query):
            if time.monotonic() > deadline:
                raise RuntimeError(f"not so after {STEP_SECONDS} s: {query}")
            time.sleep(0.05)

    def die(self):
        """kill -9 of the server and of everything it has started, as when the machine is gone."""
        self.process.send_signal(signal.SIGSTOP)  # it starts nothing more
        started = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        self.process.kill()
        for pid in started:
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait()

    def set_clock(self, seconds):
        self.skew = seconds
        set_clock(self.folder / "clock", seconds)

    def clock_off(self):
        """How far its wall clock is off (s)."""
        return float(self.value("SELECT extract(epoch FROM clock_timestamp())")) - time.time()
