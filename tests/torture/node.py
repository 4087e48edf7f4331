"""One process of a topology: the server, the proxies around it, its clock, and who starts it again when it ends."""

import os
import signal
import threading
import time
from pathlib import Path

from platform_process import Platform
from torture.fake_clock import fake_clock_env, set_clock
from torture.proxies import Proxy

# As soon as an orchestrator that restarts at once would.
RESTART_PAUSE_SECONDS = 0.1


class Node:
    """A process that is kept running. Faults hold `lock`, so that two of them never strike one process together."""

    def __init__(self, network, name, roles, data_dir, env, fake_clock):
        self.network, self.name, self.roles = network, name, roles
        self.lock = threading.Lock()
        self.wanted = False  # whether it should be running
        self.paused = False
        self.ready_since = None
        self.exits = []  # how it ended when nobody told it to
        self.clock_lock = threading.Lock()
        self.clock_file = Path(data_dir).with_suffix(".clock")
        self.skew = 0
        if fake_clock:
            self.set_clock(0)
            env = env | fake_clock_env(self.clock_file)
        self.platform = Platform(data_dir, env, ["--role", ",".join(roles)])
        self.front_grpc = Proxy(network, self.platform.grpc_port)
        self.front_http = Proxy(network, self.platform.otlp_port)

    def has(self, role):
        return "all" in self.roles or role in self.roles

    def set_clock(self, seconds):
        """The process's wall clock is this far off from now on."""
        self.skew = seconds
        set_clock(self.clock_file, seconds)

    def start(self):
        """Whoever calls it holds `lock`, or the supervisor might start a second one."""
        self.platform.spawn()
        self.wanted = True

    def wait_ready(self, timeout):
        deadline = time.monotonic() + timeout
        while not self.platform.ready():
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} is not ready after {timeout} s:\n{self.platform.log_tail()}")
            time.sleep(0.05)

    def kill(self):
        """kill -9. It stays down until `start`. False if it had ended before."""
        self.wanted = False
        self.platform.kill()
        return self.platform.process is not None and self.platform.process.returncode == -signal.SIGKILL

    def kill_now(self):
        """The signal alone, for callers that must not wait; `kill` tidies up."""
        self.wanted = False
        if self.platform.alive():
            os.kill(self.platform.pid, signal.SIGKILL)

    def terminate(self):
        self.wanted = False
        return self.platform.terminate()

    def pause(self, seconds):
        self.platform.process.send_signal(signal.SIGSTOP)
        try:
            time.sleep(seconds)
        finally:
            self.platform.process.send_signal(signal.SIGCONT)

    def log_end(self):
        path = self.platform.log_path
        return path.stat().st_size if path.exists() else 0

    def log_since(self, end):
        with open(self.platform.log_path, "rb") as log:
            log.seek(end)
            return log.read().decode(errors="replace")

    def stop(self):
        self.kill()


class Supervisor(threading.Thread):
    """Starts again what ended of itself."""

    def __init__(self, topology):
        super().__init__(name="supervisor", daemon=True)
        self.topology = topology
        self.ending = threading.Event()

    def run(self):
        while not self.ending.wait(RESTART_PAUSE_SECONDS):
            for node in list(self.topology.nodes):
                if node.wanted and not node.platform.alive() and node.lock.acquire(blocking=False):
                    try:
                        if node.wanted and not node.platform.alive():
                            node.exits.append((node.platform.process.returncode, node.platform.log_tail(6)))
                            node.start()
                    finally:
                        node.lock.release()
