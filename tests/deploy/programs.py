"""Programs that are installed: found, run, or started and waited for."""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import requests

from platform_process import stop_process


def tool(name):
    """An installed program: on the PATH, in Debian's folder for administrators, or beside this Python."""
    beside = os.pathsep.join(("/usr/sbin", str(Path(sys.executable).parent)))
    found = shutil.which(name) or shutil.which(name, path=beside)
    if not found:
        raise FileNotFoundError(f"{name} is missing: run scripts/setup-tests.sh")
    return found


def run(*command, **options):
    """Runs a command to its end; its exit code and what it said."""
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, **options)


def wait_until(condition, what, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)


class Running:
    """A program that serves HTTP and says at /-/ready when it does. It runs in `folder`, where its log is."""

    def __init__(self, folder, port, program, *arguments):
        self.url = f"http://127.0.0.1:{port}"
        self.log = Path(folder) / f"{program}.log"
        with open(self.log, "wb") as log:
            command = [tool(program), *map(str, arguments)]
            self.process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            wait_until(self._ready, f"{program} is ready")
        except AssertionError:
            self.stop()
            raise RuntimeError(self.log.read_text(errors="replace")[-3000:]) from None

    def _ready(self):
        if self.process.poll() is not None:
            raise RuntimeError(self.log.read_text(errors="replace")[-3000:])
        with contextlib.suppress(requests.RequestException):
            return requests.get(f"{self.url}/-/ready", timeout=2).status_code == 200
        return False

    def stop(self):
        stop_process(self.process)
