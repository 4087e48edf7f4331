"""A disk of its own for the local topology, so that it can be filled and made to hang."""

import errno
import os
import subprocess
import threading
from contextlib import contextmanager
from pathlib import Path


class NoDisk(Exception):
    """This machine or user cannot mount one."""


class Disk:
    """A file with an ext4 file system, mounted at a folder; a tmpfs where there are no loop devices."""

    def __init__(self, folder, size):
        self.folder = Path(folder)
        self.image = self.folder.with_suffix(".img")
        self.ballast = self.folder / "ballast"
        self.lock = threading.Lock()  # of the fault that is at work on it
        if os.geteuid() != 0:
            raise NoDisk("mounting a disk of limited size needs root")
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.image, "wb") as image:
            image.truncate(size)
        # No reserve for root, who runs the tests.
        made = self._run("mkfs.ext4", "-q", "-F", "-m", "0", self.image) and self._run("mount", "-o", "loop", self.image, self.folder)
        self.kind = "ext4"
        if not made:
            self.image.unlink()
            self.kind = "tmpfs"
            if not self._run("mount", "-t", "tmpfs", "-o", f"size={size}", "none", self.folder):
                raise NoDisk("neither a loop device nor a tmpfs can be mounted here")
        self.can_hang = self._run("fsfreeze", "-f", self.folder) and self._run("fsfreeze", "-u", self.folder)

    def _run(self, *command):
        return subprocess.run([str(part) for part in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0

    def fill(self):
        """Takes every free byte; what is freed meanwhile as well when called again."""
        with open(self.ballast, "ab") as file:
            step = 1 << 30
            end = file.tell()
            while step >= 1 << 12:
                try:
                    os.posix_fallocate(file.fileno(), end, step)
                    end += step
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    step >>= 1

    def empty(self):
        self.ballast.unlink(missing_ok=True)

    @contextmanager
    def hanging(self):
        """Whoever writes waits, in the kernel and deaf to signals."""
        # Should this process end meanwhile, nobody else would thaw the disk, and what waits for it could never be killed.
        rescue = subprocess.Popen(["sh", "-c", 'sleep 30; fsfreeze -u "$1"', "sh", str(self.folder)], start_new_session=True)
        try:
            if not self._run("fsfreeze", "-f", self.folder):
                raise RuntimeError("fsfreeze failed")
            yield
        finally:
            self._run("fsfreeze", "-u", self.folder)
            rescue.kill()  # its `sleep` ends by itself
            rescue.wait()

    def unmount(self, keep=False):
        """With `keep` the image stays (ext4), for whoever looks into a failure."""
        self._run("umount", "-l", self.folder)
        if not keep:
            self.image.unlink(missing_ok=True)
