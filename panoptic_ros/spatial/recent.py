# SPDX-License-Identifier: Apache-2.0
"""Last messages of a topic, and the one that fits the stamp of an image."""

import threading
from collections import deque
from typing import Generic, TypeVar

MAX_MESSAGES = 30
"""Most messages that are kept: those of a second, while images are processed for that long."""

MAX_BYTES = 128_000_000
"""Most bytes that are kept, unless a single message has more."""

T = TypeVar('T')


class Recent(Generic[T]):
    """Last messages of one topic; one thread adds them, another one looks for them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._messages: deque[tuple[int, T, int]] = deque()  # stamp, message, bytes
        self._bytes = 0

    def add(self, stamp_ns: int, message: T, size: int) -> None:
        """Add a message of `size` bytes that was just received."""
        with self._lock:
            self._messages.append((stamp_ns, message, size))
            self._bytes += size
            while len(self._messages) > 1 and (
                len(self._messages) > MAX_MESSAGES or self._bytes > MAX_BYTES
            ):
                self._drop()

    def nearest(self, stamp_ns: int, max_offset_ns: int) -> tuple[T, int] | None:
        """Return the message nearest to a stamp, and its offset (its stamp minus the image's), ns.

        Older messages are dropped first, as images come in order of time. Of several at the same
        distance, it is the one that was received last.

        Returns:
            None if there is no message within `max_offset_ns`.
        """
        fitting = self._fitting(stamp_ns, max_offset_ns)
        return min(fitting, key=lambda entry: abs(entry[1]), default=None)

    def newest(self, stamp_ns: int, max_offset_ns: int) -> tuple[T, int] | None:
        """Return the newest message within an offset of a stamp; see `nearest`."""
        fitting = self._fitting(stamp_ns, max_offset_ns)
        return max(fitting, key=lambda entry: entry[1], default=None)

    def _fitting(self, stamp_ns: int, max_offset_ns: int) -> list[tuple[T, int]]:
        """Return messages and offsets, those first that were received last."""
        with self._lock:
            while len(self._messages) > 1 and self._messages[0][0] < stamp_ns - max_offset_ns:
                self._drop()
            return [
                (message, at - stamp_ns)
                for at, message, _ in reversed(self._messages)
                if abs(at - stamp_ns) <= max_offset_ns
            ]

    def _drop(self) -> None:
        self._bytes -= self._messages.popleft()[2]
