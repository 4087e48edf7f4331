"""How long nobody was acked although clients tried."""

import threading
import time


# Shorter ones are what a restart costs.
OUTAGE_SECONDS = 3


class Availability:
    """Times are seconds of the monotonic clock."""

    def __init__(self):
        self._lock = threading.Lock()
        self._last = time.monotonic()
        self.longest = (0.0, None)  # seconds, when it began
        self.outages = []  # all of more than OUTAGE_SECONDS, in the same form
        self._killed = None
        self.after_kills = []  # (seconds from the kill to the next ack, when it was)

    def begin(self):
        """Clients try from now on."""
        with self._lock:
            self._last = time.monotonic()

    def acked(self):
        now = time.monotonic()
        with self._lock:
            outage = (now - self._last, self._last)
            self.longest = max(self.longest, outage, key=lambda one: one[0])
            if outage[0] > OUTAGE_SECONDS:
                self.outages.append(outage)
            self._last = now
            if self._killed is not None:
                self.after_kills.append((now - self._killed, self._killed))
                self._killed = None

    def silence(self):
        """For how long nobody has been acked."""
        with self._lock:
            return time.monotonic() - self._last

    def killed(self):
        """The only process has just been killed. A kill before the last one was overcome extends its outage."""
        with self._lock:
            if self._killed is None:
                self._killed = time.monotonic()
