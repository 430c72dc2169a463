# SPDX-License-Identifier: Apache-2.0
"""A thread that always works on the newest frame, and the counts that say what became of all.

No ROS here: the executor's callback puts a frame in and is free again at once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from panoptic_ros.node.counts import Counts, Drop, ImageCounter

logger = logging.getLogger(__name__)

T = TypeVar('T')


class Worker(Generic[T]):
    """Works on one frame at a time in a thread of its own.

    A frame that arrives while another waits takes its place. With `min_interval_s` the thread
    waits before it takes a frame, so what it takes is the newest there is.
    """

    def __init__(self, name: str) -> None:
        """Prepares a stopped worker.

        Args:
            name: of the thread.
        """
        self.min_interval_s = 0.0
        self._name = name
        self._changed = threading.Condition()
        self._slot: list[T] = []  # the newest frame, or empty
        self._busy = False
        self._stopping = True
        self._thread: threading.Thread | None = None
        self._counter = ImageCounter()

    def start(self, process: Callable[[T], Drop | None]) -> None:
        """Starts the thread; frames may be put from now on.

        Only the thread refers to `process`: a stopped worker keeps nothing alive.

        Args:
            process: handles one frame; None if its results were published, else why not. An
                exception counts as INFERENCE_FAILED.

        Raises:
            RuntimeError: if the last thread did not end yet.
        """
        if self._thread is not None and self._thread.is_alive():
            raise RuntimeError('an image is still in work; try again later')
        self._stopping = False
        # A daemon, so that a hanging engine cannot keep the process from ending.
        self._thread = threading.Thread(
            target=self._run, args=(process,), name=self._name, daemon=True
        )
        self._thread.start()

    def put(self, frame: T) -> None:
        """Hands over a frame; one that still waits is dropped as superseded."""
        with self._changed:
            self._counter.add(Drop.SUPERSEDED, len(self._slot) + self._stopping)
            self._slot[:] = [] if self._stopping else [frame]
            self._changed.notify()

    def stop(self, timeout_s: float) -> bool:
        """Ends the thread after the frame in work; a frame that waits counts as superseded.

        Returns:
            False if the thread is still busy after `timeout_s`.
        """
        with self._changed:
            self._stopping = True
            self._counter.add(Drop.SUPERSEDED, len(self._slot))
            self._slot.clear()
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                return False
            self._thread = None
        return True

    def counts(self) -> Counts:
        """All counts at one moment."""
        with self._changed:
            return self._counter.counts(len(self._slot) + self._busy)

    def _run(self, process: Callable[[T], Drop | None]) -> None:
        not_before = 0.0
        while True:
            with self._changed:
                while not self._stopping:
                    wait_s = not_before - time.monotonic()
                    if self._slot and wait_s <= 0:
                        break
                    self._changed.wait(wait_s if self._slot else None)
                if self._stopping:
                    return
                frame = self._slot.pop()
                self._busy = True
            not_before = time.monotonic() + self.min_interval_s
            try:
                drop = process(frame)
            except Exception:
                logger.exception('a frame failed')
                drop = Drop.INFERENCE_FAILED
            del frame
            with self._changed:
                self._busy = False
                self._counter.add(drop)
