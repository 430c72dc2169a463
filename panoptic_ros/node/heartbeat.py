# SPDX-License-Identifier: Apache-2.0
"""Thread that repeats a call by a steady clock, independently of the rest of the process."""

import logging
import threading
from collections.abc import Callable

logger = logging.getLogger(__name__)


class Heartbeat:
    """Daemon thread that calls a function once per period."""

    def __init__(self, action: Callable[[], None], period_s: float, name: str) -> None:
        """Start the thread; the first call is immediate.

        Args:
            action: function to call; its exceptions are logged, a repeated text only once.
            period_s: time between two calls, seconds.
            name: name of the thread.
        """
        self._ended = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(action, period_s), name=name, daemon=True
        )
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """End the thread; return False if a call is still in progress after the timeout."""
        self._ended.set()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self, action: Callable[[], None], period_s: float) -> None:
        last = ''
        while True:
            try:
                action()
            except Exception as error:
                if not self._ended.is_set() and str(error) != last:
                    logger.exception('%s failed', self._thread.name)
                last = str(error)
            if self._ended.wait(period_s):
                return
