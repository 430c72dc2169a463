# SPDX-License-Identifier: Apache-2.0
"""Thread that processes the newest image, and counts of all images by result.

The executor's callback only hands an image over and returns at once.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from panoptic_ros.node.counts import Counts, Drop, ImageCounter

logger = logging.getLogger(__name__)

T = TypeVar('T')


class Worker(Generic[T]):
    """Thread that processes one image at a time.

    An image that arrives while another one waits replaces it. With `min_interval_s` the thread
    waits before it takes an image, so that it takes the newest one.
    """

    def __init__(self, name: str) -> None:
        """Create a worker without starting its thread.

        Args:
            name: name of the thread.
        """
        self.min_interval_s = 0.0
        self._name = name
        self._changed = threading.Condition()
        self._slot: list[T] = []  # the newest image, or empty
        self._busy = False
        self._stopping = True
        self._thread: threading.Thread | None = None
        self._counter = ImageCounter()

    def start(self, process: Callable[[T], Drop | None]) -> None:
        """Start the thread; `put` accepts images from now on.

        Only the thread refers to `process`, so that a stopped worker keeps no object alive.

        Args:
            process: processes one image; returns None if its results were published, else the
                reason. An exception counts as INFERENCE_FAILED.

        Raises:
            RuntimeError: if the previous thread has not ended.
        """
        if self._thread is not None and self._thread.is_alive():
            raise RuntimeError('an image is still being processed; try again later')
        self._stopping = False
        # A daemon, so that a hanging engine cannot keep the process from ending.
        self._thread = threading.Thread(
            target=self._run, args=(process,), name=self._name, daemon=True
        )
        self._thread.start()

    def put(self, image: T) -> None:
        """Hand over an image; one that still waits is dropped as superseded."""
        with self._changed:
            self._counter.add(Drop.SUPERSEDED, len(self._slot) + self._stopping)
            self._slot[:] = [] if self._stopping else [image]
            self._changed.notify()

    def stop(self, timeout_s: float) -> bool:
        """End the thread after its current image; an image that waits counts as superseded.

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
        """Return all counts at this moment."""
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
                image = self._slot.pop()
                self._busy = True
            not_before = time.monotonic() + self.min_interval_s
            try:
                drop = process(image)
            except Exception:
                logger.exception('an image failed')
                drop = Drop.INFERENCE_FAILED
            del image
            with self._changed:
                self._busy = False
                self._counter.add(drop)
