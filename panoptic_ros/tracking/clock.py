# SPDX-License-Identifier: Apache-2.0
"""The time of an image as the tracker needs it, also where stamps cannot be used."""

from __future__ import annotations

import math
from collections import Counter

STEP_BACK_S = 0.5
"""Stamps that go back by no more count as no time passed: images out of order, or a clock that
is corrected. Those that go back further start new tracks: a bag or a simulation starts again."""

JUMP_S = 10.0
"""A stamp further ahead of the last one than that, and than the time between the arrivals, is
wrong, or the clock was set."""

STILL_IMAGES = 5
"""Images in a row without a newer stamp after which stamps are not used. Drivers that send each
image twice, and images out of order, stay below it."""

INSTEAD = 'the time of arrival is used'
ZERO = f'the stamp is zero; {INSTEAD}'
NO_TIME = f'the stamp is negative or not finite; {INSTEAD}'
STILL = f'the stamp does not advance; {INSTEAD}'
AHEAD = f'the stamp jumps ahead; {INSTEAD}'
BACK = 'the stamp jumps back; tracks start anew'


class StampClock:
    """Time of each image of one camera: from its stamp, or from its arrival.

    As long as stamps can be used, the time is the stamp. For an image without a usable stamp it
    advances by the time between the arrivals; the next usable stamp continues from there,
    without a gap. Not used are:

    - zero, except for the first image of all: a clock may begin there;
    - negative and non-finite stamps;
    - stamps that are not newer than one STILL_IMAGES images before;
    - a stamp that jumps ahead by more than JUMP_S; if the next image confirms that the clock was
      set, it is used from then on.

    A stamp that comes again, or goes back by up to STEP_BACK_S, is no time passed.
    """

    def __init__(self) -> None:
        self.problem = ''
        """What is wrong with the last image's stamp; empty if nothing is."""
        self.problems: Counter[str] = Counter()
        """Number of images by what was wrong with their stamps."""
        self._time_s: float | None = None  # of the last image
        self._latest_s = 0.0  # arrival
        # Of the last image with a newer, usable stamp:
        self._stamp_s: float | None = None
        self._arrival_s = 0.0
        self._shift_s = 0.0  # from stamps to times
        self._still = 0  # images since then whose stamps are not newer
        self._set_by_s: float | None = None  # what the last image's stamp was ahead by, if wrong

    def time_of(self, stamp_s: float, arrival_s: float) -> float:
        """Time of the next image.

        Args:
            stamp_s: its header stamp, seconds.
            arrival_s: when it came, seconds of a clock that does not jump; in a recording, when
                it was recorded.

        Returns:
            Seconds of which only differences mean something. They are never less than before,
            except where a stamp goes back by more than STEP_BACK_S.
        """
        if self._time_s is None:
            self._latest_s = self._arrival_s = arrival_s
            if stamp_s == 0:
                self._stamp_s = self._time_s = 0.0
                return 0.0
        passed_s = max(0.0, arrival_s - self._latest_s)
        self._latest_s += passed_s
        time_s = (self._time_s or 0.0) + passed_s
        before, self.problem = self.problem, self._judge(stamp_s, arrival_s)
        if self.problem:
            self.problems[self.problem] += 1
        if self.problem in ('', BACK):
            if self.problem != BACK and before not in ('', BACK):
                self._shift_s = time_s - stamp_s
            time_s = stamp_s + self._shift_s
            if not self._still:
                self._stamp_s, self._arrival_s = stamp_s, arrival_s
        if self._time_s is None or self.problem == BACK or time_s > self._time_s:
            self._time_s = time_s
        return self._time_s

    def _judge(self, stamp_s: float, arrival_s: float) -> str:
        """What is wrong with a stamp; `self.problem` is still that of the image before."""
        if stamp_s == 0:
            return ZERO
        if not 0 < stamp_s < math.inf:
            return NO_TIME
        if self._stamp_s is None:
            return ''
        set_by_s, self._set_by_s = self._set_by_s, None
        step_s = stamp_s - self._stamp_s
        if step_s < -STEP_BACK_S:
            self._still = 0
            return BACK
        self._still = 0 if step_s > 0 else self._still + 1
        if self._still >= STILL_IMAGES:
            return STILL
        ahead_s = step_s - (arrival_s - self._arrival_s)
        if (
            min(step_s, ahead_s) > JUMP_S
            and self.problem in ('', AHEAD, BACK)
            and (set_by_s is None or abs(ahead_s - set_by_s) > JUMP_S)
        ):
            self._set_by_s = ahead_s
            return AHEAD
        return ''
