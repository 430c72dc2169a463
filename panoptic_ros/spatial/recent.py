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

        Older messages are dropped first, as images come in order of time.

        Returns:
            None if there is no message within `max_offset_ns`.
        """
        with self._lock:
            self._drop_before(stamp_ns - max_offset_ns)
            fitting = [
                (abs(at - stamp_ns), at - stamp_ns, message)
                for at, message, _ in self._messages
                if abs(at - stamp_ns) <= max_offset_ns
            ]
        if not fitting:
            return None
        _, offset_ns, message = min(fitting, key=lambda entry: entry[0])
        return message, offset_ns

    def newest(self, stamp_ns: int, max_offset_ns: int) -> tuple[T, int] | None:
        """Return the newest message within an offset of a stamp; see `nearest`."""
        with self._lock:
            self._drop_before(stamp_ns - max_offset_ns)
            fitting = [
                (at, message)
                for at, message, _ in self._messages
                if abs(at - stamp_ns) <= max_offset_ns
            ]
        if not fitting:
            return None
        at, message = max(fitting, key=lambda entry: entry[0])
        return message, at - stamp_ns

    @property
    def last_stamp_ns(self) -> int | None:
        """Stamp of the message that was received last; None if none is kept."""
        with self._lock:
            return self._messages[-1][0] if self._messages else None

    def clear(self) -> None:
        """Drop all messages."""
        with self._lock:
            self._messages.clear()
            self._bytes = 0

    def _drop_before(self, stamp_ns: int) -> None:
        while len(self._messages) > 1 and self._messages[0][0] < stamp_ns:
            self._drop()

    def _drop(self) -> None:
        self._bytes -= self._messages.popleft()[2]
