"""Wall clocks that are wrong by what a file says (libfaketime)."""

import os
from pathlib import Path

FAKETIME = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))


def fake_clock_env(file):
    """What a process needs in its environment to go by the file. Only the wall clock jumps; the file is read again after a second."""
    return {
        "LD_PRELOAD": str(FAKETIME[-1]), "FAKETIME_TIMESTAMP_FILE": str(file), "FAKETIME_CACHE_DURATION": "1", "NO_FAKE_STAT": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1",
    }


def set_clock(file, seconds):
    """Whoever goes by the file is this far off from now on."""
    temporary = file.with_suffix(".new")
    temporary.write_text(f"{seconds:+d}")
    os.replace(temporary, file)
