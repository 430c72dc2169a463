# SPDX-License-Identifier: Apache-2.0
"""Thread that processes the newest images of all cameras.

The executor's callbacks only hand an image over and return at once.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

from panoptic_ros.node.counts import Counts, Drop
from panoptic_ros.node.scheduler import Scheduler, Waiting

logger = logging.getLogger(__name__)

T = TypeVar('T')

Process = Callable[[Sequence[Waiting[T]]], Sequence[Drop | None]]
"""Processes images of different cameras together; returns for each None if its results were
published, else the reason."""


class Worker(Generic[T]):
    """Thread that processes images in the order of a `Scheduler`, which see."""

    def __init__(self, cameras: Iterable[str]) -> None:
        """Create a worker without starting its thread.

        Args:
            cameras: names of the cameras.
        """
        self.most_together = 1
        """Largest number of images that are processed together."""
        self._changed = threading.Condition()
        self._scheduler = Scheduler[T](cameras)
        self._stopping = True
        self._thread: threading.Thread | None = None

    def limit_rate(self, camera: str, rate_hz: float) -> None:
        """Limit the images of a camera that are processed per second; 0 is no limit.

        The worker waits before it takes an image, so that it takes the newest one.
        """
        with self._changed:
            self._scheduler.min_interval_s[camera] = 1 / rate_hz if rate_hz else 0.0
            self._changed.notify()

    def start(self, process: Process[T]) -> None:
        """Start the thread; `put` accepts images from now on.

        Only the thread refers to `process`, so that a stopped worker keeps no object alive.

        Args:
            process: see `Process`. An exception counts all its images as INFERENCE_FAILED.

        Raises:
            RuntimeError: if the previous thread has not ended.
        """
        if self._thread is not None and self._thread.is_alive():
            raise RuntimeError('an image is still being processed; try again later')
        self._stopping = False
        # A daemon, so that a hanging engine cannot keep the process from ending.
        self._thread = threading.Thread(
            target=self._run, args=(process,), name='worker', daemon=True
        )
        self._thread.start()

    def put(self, camera: str, image: T) -> None:
        """Hand over an image; an earlier one of the camera that still waits is superseded."""
        with self._changed:
            if self._stopping:
                self._scheduler.refuse(camera)
            else:
                self._scheduler.put(camera, image)
                self._changed.notify()

    def stop(self, timeout_s: float) -> bool:
        """End the thread after its current images; those that wait count as superseded.

        Returns:
            False if the thread is still busy after `timeout_s`.
        """
        with self._changed:
            self._stopping = True
            self._scheduler.clear()
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                return False
            self._thread = None
        return True

    def counts(self, camera: str) -> Counts:
        """Return all counts of a camera at this moment."""
        with self._changed:
            return self._scheduler.counts(camera)

    def _run(self, process: Process[T]) -> None:
        while images := self._next():
            drops: Sequence[Drop | None] = [Drop.INFERENCE_FAILED] * len(images)
            try:
                drops = process(images)
            except Exception:
                logger.exception('an image failed')
            names = [image.camera for image in images]
            del images
            with self._changed:
                for name, drop in zip(names, drops, strict=True):
                    self._scheduler.finish(name, drop)

    def _next(self) -> list[Waiting[T]]:
        """Wait for the next images; empty if the thread shall end."""
        with self._changed:
            while not self._stopping:
                wait_s = self._scheduler.wait_s(time.monotonic())
                if wait_s == 0.0:
                    return self._scheduler.take(time.monotonic(), self.most_together)
                self._changed.wait(wait_s)
            return []
