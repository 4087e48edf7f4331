"""Watches files (inotify), so that a kill can be aimed at what a process is doing with them."""

import ctypes
import os
import select
import struct
import time

ACCESS, MODIFY, MOVED_TO, CREATE, DELETE, IS_DIRECTORY = 0x1, 0x2, 0x80, 0x100, 0x200, 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class Watch:
    """Events of a folder and of all folders below it, new ones included; or of a file."""

    def __init__(self, folder, events=MODIFY | MOVED_TO | CREATE | DELETE):
        self.events = events
        self.descriptor = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self.descriptor < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        self.folders = {}
        self._add(str(folder))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.descriptor)

    def _add(self, folder):
        number = _libc.inotify_add_watch(self.descriptor, folder.encode(), self.events)
        if number < 0:
            return  # gone already
        self.folders[number] = folder
        try:
            below = [entry.path for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)]
        except OSError:
            return
        for one in below:
            self._add(one)

    def wait(self, match, timeout):
        """Until match(event mask, path) is true for an event; false after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            if not select.select([self.descriptor], [], [], left)[0]:
                return False
            data = os.read(self.descriptor, 1 << 16)
            at = 0
            while at < len(data):
                number, mask, _, length = struct.unpack_from("iIII", data, at)
                name = data[at + 16 : at + 16 + length].rstrip(b"\0").decode(errors="replace")
                at += 16 + length
                path = f"{self.folders.get(number, '')}/{name}"
                if mask & IS_DIRECTORY and mask & CREATE:
                    self._add(path)
                elif match(mask, path):
                    return True
        return False
