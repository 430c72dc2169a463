# SPDX-License-Identifier: Apache-2.0
"""A thread that repeats something by a steady clock, whatever else the process does."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

logger = logging.getLogger(__name__)


class Heartbeat:
    """Calls a function once in each period, in a daemon thread."""

    def __init__(self, action: Callable[[], None], period_s: float, name: str) -> None:
        """Starts the thread; the first call comes at once.

        Args:
            action: the function; an exception of it is logged, once for each different text.
            period_s: from call to call.
            name: of the thread.
        """
        self._ended = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(action, period_s), name=name, daemon=True
        )
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """Ends the thread; False if a call is still in progress after the timeout."""
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
