# SPDX-License-Identifier: Apache-2.0
"""Choice of the next images to process, fair to all cameras, and counts of images by result."""

import math
from collections.abc import Iterable
from itertools import count
from typing import Generic, NamedTuple, TypeVar

from panoptic_ros.node.counts import Counts, Drop, ImageCounter

T = TypeVar('T')


class Waiting(NamedTuple, Generic[T]):
    """Image of a camera."""

    camera: str
    image: T


class Scheduler(Generic[T]):
    """Newest image of each camera, and the order in which the cameras have their turn.

    An image that arrives while another one of its camera waits replaces it. The waiting camera
    whose last turn is longest ago is next, so that a camera has no second turn while another one
    waits for its first (round robin). Times are seconds of one steady clock.
    """

    def __init__(self, cameras: Iterable[str]) -> None:
        """Begin with no image.

        Args:
            cameras: names of the cameras.
        """
        self.min_interval_s = dict.fromkeys(cameras, 0.0)
        """Shortest time between two images of a camera that are taken, seconds."""
        self._waiting: dict[str, T] = {}  # in order of arrival
        self._busy = dict.fromkeys(self.min_interval_s, 0)
        self._taken_s = dict.fromkeys(self.min_interval_s, -math.inf)  # time of the last image
        self._before_s = self._taken_s.copy()  # time of the image before
        self._turns = count(1)
        self._last_turn = dict.fromkeys(self.min_interval_s, 0)
        self._counters = {name: ImageCounter() for name in self.min_interval_s}

    def put(self, camera: str, image: T) -> None:
        """Add an image; one of the same camera that still waits is dropped as superseded."""
        self._counters[camera].add(Drop.SUPERSEDED, int(camera in self._waiting))
        self._waiting[camera] = image

    def refuse(self, camera: str) -> None:
        """Count an image that will not be processed as superseded."""
        self._counters[camera].add(Drop.SUPERSEDED)

    def clear(self) -> None:
        """Drop all images that wait as superseded."""
        for camera in self._waiting:
            self.refuse(camera)
        self._waiting.clear()

    def is_waiting(self, camera: str) -> bool:
        """Return whether an image of the camera waits."""
        return camera in self._waiting

    def wait_s(self, now_s: float) -> float | None:
        """Return the time until `take` has an image, 0 if it has one; None if none waits."""
        waits_s = [max(0.0, self._due_s(camera) - now_s) for camera in self._waiting]
        return min(waits_s, default=None)

    def take(self, now_s: float, most: int = 1) -> list[Waiting[T]]:
        """Take the next images, each of another camera; call `finish` for each.

        Args:
            now_s: present time.
            most: largest number of images to take.

        Returns:
            Up to `most` images of cameras whose interval has passed, in the order of their turns;
            cameras that had none yet, in the order in which they began to wait.
        """
        due = [camera for camera in self._waiting if self._due_s(camera) <= now_s]
        due = sorted(due, key=self._last_turn.__getitem__)[:most]
        for camera in due:
            self._busy[camera] += 1
            self._before_s[camera], self._taken_s[camera] = self._taken_s[camera], now_s
            self._last_turn[camera] = next(self._turns)
        return [Waiting(camera, self._waiting.pop(camera)) for camera in due]

    def finish(self, camera: str, drop: Drop | None) -> None:
        """Count an image that was taken.

        Args:
            camera: of the image.
            drop: why it was dropped; None if its results were published. An IDLE image does not
                count for the interval: the first one that somebody waits for is taken at once.
        """
        self._busy[camera] -= 1
        if drop is Drop.IDLE:
            self._taken_s[camera] = self._before_s[camera]
        self._counters[camera].add(drop)

    def counts(self, camera: str) -> Counts:
        """Return all counts of a camera at this moment."""
        return self._counters[camera].counts((camera in self._waiting) + self._busy[camera])

    def _due_s(self, camera: str) -> float:
        return self._taken_s[camera] + self.min_interval_s[camera]
