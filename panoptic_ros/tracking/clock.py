# SPDX-License-Identifier: Apache-2.0
"""Times of images for the tracker, also with stamps that are missing or wrong."""

import math
from collections import Counter

STEP_BACK_S = 0.5
"""Largest step back of a stamp that counts as no time passed: images are out of order, or the
clock is corrected. After a larger one, tracks start anew: a bag or a simulation starts again."""

JUMP_S = 10.0
"""A stamp that advances by more than this, and by more than this beyond the time between the
arrivals, is wrong, or the clock was set."""

STILL_IMAGES = 5
"""Consecutive images without a newer stamp after which stamps are not used. It is more than what
drivers that send each image twice, or images out of order, lead to."""

FALLBACK = 'the time of arrival is used'
ZERO = f'the stamp is zero; {FALLBACK}'
INVALID = f'the stamp is negative or not finite; {FALLBACK}'
STILL = f'the stamp does not advance; {FALLBACK}'
AHEAD = f'the stamp jumps ahead; {FALLBACK}'
BACK = 'the stamp jumps back; tracks start anew'


class StampClock:
    """Clock that gives each image of one camera a time: from its stamp, or from its arrival.

    While the stamps are usable, the time is the stamp. For an image without a usable stamp, the
    time advances by the time between the arrivals; the next usable stamp continues from there
    without a gap. These stamps are not used:

    - zero, except for the very first image, because a clock may start there;
    - negative and non-finite stamps;
    - stamps that are not newer than the one STILL_IMAGES images before;
    - a stamp that jumps ahead by more than JUMP_S; if the next image confirms that the clock was
      set, stamps are used from then on.

    No time passes if a stamp is repeated, or goes back by up to STEP_BACK_S.
    """

    def __init__(self) -> None:
        self.problem = ''
        """Problem of the last image's stamp; empty without one."""
        self.problems: Counter[str] = Counter()
        """Number of images by problem of their stamps."""
        self._time_s: float | None = None  # of the last image
        self._latest_s = 0.0  # latest arrival
        # Of the last image with a newer, usable stamp:
        self._stamp_s: float | None = None
        self._arrival_s = 0.0
        self._shift_s = 0.0  # from stamps to times
        self._still_images = 0  # number since then, whose stamps are not newer
        self._ahead_s: float | None = None  # jump of the last image's stamp, if it was not used

    def time_of(self, stamp_s: float, arrival_s: float) -> float:
        """Return the time of the next image.

        Args:
            stamp_s: its header stamp, seconds.
            arrival_s: its time of arrival, seconds of a clock that does not jump; in a recording,
                the time at which it was recorded.

        Returns:
            Seconds, of which only differences have a meaning. They never decrease, unless a
            stamp goes back by more than STEP_BACK_S.
        """
        if self._time_s is None:
            self._latest_s = self._arrival_s = arrival_s
            if stamp_s == 0:
                self._stamp_s = self._time_s = 0.0
                return 0.0
        passed_s = max(0.0, arrival_s - self._latest_s)
        self._latest_s += passed_s
        time_s = (self._time_s or 0.0) + passed_s
        last_problem, self.problem = self.problem, self._find_problem(stamp_s, arrival_s)
        if self.problem:
            self.problems[self.problem] += 1
        if self.problem in ('', BACK):
            if self.problem != BACK and last_problem not in ('', BACK):
                self._shift_s = time_s - stamp_s
            time_s = stamp_s + self._shift_s
            if not self._still_images:
                self._stamp_s, self._arrival_s = stamp_s, arrival_s
        if self._time_s is None or self.problem == BACK or time_s > self._time_s:
            self._time_s = time_s
        return self._time_s

    def _find_problem(self, stamp_s: float, arrival_s: float) -> str:
        """Return the problem of a stamp; `self.problem` is still that of the last image."""
        if stamp_s == 0:
            return ZERO
        if not 0 < stamp_s < math.inf:
            return INVALID
        if self._stamp_s is None:
            return ''
        last_ahead_s, self._ahead_s = self._ahead_s, None
        step_s = stamp_s - self._stamp_s
        if step_s < -STEP_BACK_S:
            self._still_images = 0
            return BACK
        self._still_images = 0 if step_s > 0 else self._still_images + 1
        if self._still_images >= STILL_IMAGES:
            return STILL
        ahead_s = step_s - (arrival_s - self._arrival_s)
        if (
            min(step_s, ahead_s) > JUMP_S
            and self.problem in ('', AHEAD, BACK)
            and (last_ahead_s is None or abs(ahead_s - last_ahead_s) > JUMP_S)
        ):
            self._ahead_s = ahead_s
            return AHEAD
        return ''
