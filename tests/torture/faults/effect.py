"""Whether a fault had an effect: one that met nothing is not counted."""

import time
from contextlib import ExitStack

from torture.proxies import PASS

# So much longer a fault that met nothing goes on: traffic may just have paused.
PATIENCE_SECONDS = 5


class NoEffect(Exception):
    """The fault was tried and met nothing."""


def until(effect, what, patience=None):
    """Waits for effect() to be true and returns it; raises `NoEffect` when it is not in time."""
    deadline = time.monotonic() + (PATIENCE_SECONDS if patience is None else patience)
    while not (value := effect()):
        if time.monotonic() > deadline:
            raise NoEffect(what)
        time.sleep(0.05)
    return value


def disturb(proxies, mode, seconds, delay=0.0, first=lambda: None, patience=None):
    """Lets proxies misbehave for so long, and longer until that hit a connection, a request or an answer. `first` is
    called as soon as they do."""
    with ExitStack() as held:
        # One fault at a time, or the first to end would end the other. In one order, so that nobody waits in a circle.
        for proxy in sorted(proxies, key=lambda one: one.port):
            held.enter_context(proxy.lock)
        before = sum(proxy.met[mode] for proxy in proxies)
        try:
            for proxy in proxies:
                proxy.set(mode, delay)
            first()
            time.sleep(seconds)
            until(lambda: sum(proxy.met[mode] for proxy in proxies) > before, f"{mode}: no traffic met it", patience)
        finally:
            for proxy in proxies:
                proxy.set(PASS)
