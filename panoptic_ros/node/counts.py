# SPDX-License-Identifier: Apache-2.0
"""Counts of images, and the reasons why images are dropped."""

from collections import Counter, deque
from dataclasses import dataclass
from enum import Enum


class Drop(Enum):
    """Reason why an image was received but not published."""

    SUPERSEDED = 'superseded'
    TOO_OLD = 'too old'
    BAD_IMAGE = 'bad image'
    INFERENCE_FAILED = 'inference failed'
    IDLE = 'idle'
    """Nobody subscribes to an output; see the parameter `idle_after_s`."""


@dataclass(frozen=True)
class Counts:
    """Number of images by result at one moment; `received` is the sum of all the others."""

    received: int
    published: int
    dropped: dict[Drop, int]
    in_flight: int
    """Images that wait or are processed: 0 to 2."""


class ImageCounter:
    """Counter of the images that are finished, published or dropped."""

    def __init__(self) -> None:
        self._published = 0
        self._dropped: Counter[Drop] = Counter()

    def add(self, drop: Drop | None, images: int = 1) -> None:
        """Count finished images.

        Args:
            drop: why they were dropped; None if they were published.
            images: how many.
        """
        if drop is None:
            self._published += images
        else:
            self._dropped[drop] += images

    def counts(self, in_flight: int = 0) -> Counts:
        """Return all counts.

        Args:
            in_flight: images that were received and are not finished.
        """
        return Counts(
            self._published + self._dropped.total() + in_flight,
            self._published,
            {reason: self._dropped[reason] for reason in Drop},
            in_flight,
        )


class CountsHistory:
    """Counts of a camera over the last seconds, from regular calls of `before`."""

    def __init__(self) -> None:
        self._history: deque[tuple[float, Counts]] = deque(maxlen=1000)

    def before(self, counts: Counts, now_s: float, period_s: float) -> tuple[Counts, bool]:
        """Add the present counts, and return earlier ones.

        Args:
            counts: the present counts.
            now_s: time of a steady clock, seconds.
            period_s: how far to look back, seconds.

        Returns:
            The counts at the start of the period, or the oldest ones; and whether images already
            arrived then.
        """
        history = self._history
        if history and history[-1][1].received > counts.received:  # configured anew
            history.clear()
        history.append((now_s, counts))
        while len(history) > 2 and history[1][0] <= now_s - period_s:
            history.popleft()
        (start_s, first), second = history[0], history[min(1, len(history) - 1)][1]
        return first, now_s - start_s >= period_s and second.received > first.received
