# SPDX-License-Identifier: Apache-2.0
"""Decision when a camera's images are no longer processed because nobody wants the results."""

import time


class Standby:
    """Detector of outputs to which nobody has subscribed for some time."""

    def __init__(self) -> None:
        """Begin to wait for a subscriber."""
        self.is_idle = False
        """Result of the last `update`; any thread may read it."""
        self._since_s = time.monotonic()

    def update(self, watched: bool, idle_after_s: float) -> bool:
        """Return whether the next image is left out.

        Args:
            watched: whether somebody subscribes to an output at this moment.
            idle_after_s: time without a subscriber after which images are left out, seconds; 0
                never leaves one out.
        """
        now_s = time.monotonic()
        if watched:
            self._since_s = now_s
        self.is_idle = 0 < idle_after_s <= now_s - self._since_s
        return self.is_idle
