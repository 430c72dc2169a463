# SPDX-License-Identifier: Apache-2.0
"""Times of images whose stamps are good, missing, stuck or wrong; images arrive at 10 Hz."""

import math
import random
from itertools import pairwise

import pytest

from panoptic_ros.tracking.clock import AHEAD, BACK, INVALID, STEP_BACK_S, STILL, ZERO, StampClock

T0 = 1_700_000_000.0


def run(stamps, arrivals=None):
    """Return times and problems of images."""
    clock = StampClock()
    arrivals = [50 + i / 10 for i in range(len(stamps))] if arrivals is None else arrivals
    times, problems = [], []
    for stamp_s, arrival_s in zip(stamps, arrivals, strict=True):
        times.append(clock.time_of(stamp_s, arrival_s))
        problems.append(clock.problem)
    assert {text: problems.count(text) for text in problems if text} == dict(clock.problems)
    return times, problems


def steps(times):
    return [b - a for a, b in pairwise(times)]


def tenths(*numbers, start=0.0):
    return [start + n / 10 for n in numbers]


@pytest.mark.parametrize(
    'stamps',
    [
        tenths(0, 1, 2, 3, start=T0),
        tenths(0, 1, 2, 3),  # a simulation or a video, from 0 on
        tenths(0, 1, 91, 92, start=T0),  # a pause of 9 s in a bag that is played fast
    ],
)
def test_good_stamps_are_the_times(stamps):
    assert run(stamps) == (stamps, [''] * 4)


def test_a_long_pause_of_stamps_and_arrivals_is_time_passed():
    stamps = [T0, T0 + 0.1, T0 + 3600, T0 + 3600.1]
    assert run(stamps, [0, 0.1, 3600, 3600.1]) == (stamps, [''] * 4)


@pytest.mark.parametrize(
    'stamps',
    [
        tenths(0, 0, 1, 1, 2, 2, start=T0),  # each image twice
        tenths(*(i // 5 for i in range(15)), start=T0),  # five times
    ],
)
def test_a_repeated_stamp_is_no_time_passed(stamps):
    assert run(stamps) == (stamps, [''] * len(stamps))


@pytest.mark.parametrize(
    ('stamps', 'expected'),
    [
        ([0, 1, 0.999, 2, 3], [0, 1, 1, 2, 3]),  # 0.1 ms late
        ([0, 1, 3, 2, 4, 5], [0, 1, 3, 3, 4, 5]),  # two out of order
        ([6, 7, 3, 4, 5, 8], [6, 7, 7, 7, 7, 8]),  # a correction by 0.4 s
    ],
)
def test_a_small_step_back_is_no_time_passed(stamps, expected):
    times, problems = run(tenths(*stamps, start=T0))
    assert times == tenths(*expected, start=T0)
    assert not any(problems)


@pytest.mark.parametrize('back_s', [STEP_BACK_S + 0.11, 60, T0 - 5])
def test_a_large_step_back_is_passed_on(back_s):
    stamps = [*tenths(0, 1, start=T0), *tenths(2, 3, start=T0 - back_s)]
    times, problems = run(stamps)
    assert times == stamps
    assert problems == ['', '', BACK, '']


@pytest.mark.parametrize(
    ('stamps', 'expected'),
    [
        ([0.0] * 6, ['', *[ZERO] * 5]),  # a clock may start at the first
        ([math.nan] * 6, [INVALID] * 6),
        ([math.inf, -math.inf] * 3, [INVALID] * 6),
        ([-1.0, -0.9, -0.8, -(2**31), -7.0, -7.0], [INVALID] * 6),
        ([0.0, math.nan, 0.0, -1.0, 0.0, math.nan], ['', INVALID, ZERO, INVALID, ZERO, INVALID]),
    ],
)
def test_without_usable_stamps_arrivals_are_the_time(stamps, expected):
    times, problems = run(stamps)
    assert steps(times) == pytest.approx([0.1] * 5, abs=1e-6)
    assert problems == expected


def test_stamps_that_never_change_are_not_used():
    times, problems = run([T0] * 9)
    assert problems == [''] * 5 + [STILL] * 4
    assert times[:5] == [T0] * 5
    assert times[5:] == pytest.approx(tenths(1, 2, 3, 4, start=T0))


def test_stamps_that_stood_still_are_used_once_they_advance():
    times, problems = run([T0] * 40 + tenths(1, 2, 3, start=T0))
    assert problems[40:] == [''] * 3
    assert times[40:] == pytest.approx(tenths(36, 37, 38, start=T0))


@pytest.mark.parametrize(
    'real',
    [
        12.3,  # of a simulation, whose /clock came late
        T0,  # of a driver that just started
    ],
)
def test_zeros_before_the_first_real_stamps_leave_no_gap(real):
    times, problems = run([0.0] * 4 + tenths(0, 1, 2, 3, start=real))
    assert steps(times) == pytest.approx([0.1] * 7, abs=1e-6)
    assert problems == ['', *[ZERO] * 3, *[''] * 4]


def test_single_images_without_a_stamp_leave_no_gap():
    times, problems = run([T0, 0.0, T0 + 0.2, -3.0, T0 + 0.4, 0.0, T0 + 0.6])
    assert steps(times) == pytest.approx([0.1] * 6, abs=1e-6)
    assert problems[::2] == [''] * 4


def test_a_loop_that_starts_at_zero_is_a_step_back():
    times, problems = run([*tenths(98, 99), 0.0, *tenths(1, 2)])
    assert problems == ['', '', ZERO, BACK, '']
    assert times == pytest.approx(tenths(98, 99, 100, 1, 2))


def test_a_clock_that_is_set_ahead_by_years_once_leaves_no_gap():
    times, problems = run(tenths(0, 1, 2, start=100) + tenths(3, 4, 5, 6, start=T0))
    assert steps(times) == pytest.approx([0.1] * 6, abs=1e-6)
    assert problems == ['', '', '', AHEAD, '', '', '']


def test_one_wrong_stamp_far_ahead_changes_nothing():
    stamps = tenths(0, 1, 2, 3, 4, start=T0)
    times, problems = run([*stamps[:2], 2**31 - 1, *stamps[3:]])
    assert times == pytest.approx(stamps)
    assert problems == ['', '', AHEAD, '', '']


def test_alternating_stamps_of_two_clocks_step_back_once_at_most():
    stamps = [(T0 if i % 2 else 5) + i / 10 for i in range(20)]
    for given in (stamps, stamps[1:]):
        times, problems = run(given)
        assert problems.count(BACK) <= 1
        assert steps(times[2:]) == pytest.approx([0.1] * (len(times) - 3), abs=1e-6)


def test_equal_arrivals_are_no_time_passed():
    assert run([0.0] * 5, [7.0] * 5)[0] == [0.0] * 5
    assert run([-1.0] * 5, [7.0, 8.0, 6.0, 8.5, 8.5])[0] == [0, 1, 1, 1.5, 1.5]


def test_times_go_back_only_where_stamps_do():
    rng = random.Random(0)
    odd = (0.0, math.nan, -5.0, math.inf, 2.0**31, 1.0)
    for _ in range(300):
        stamps = [
            rng.choice(odd) if rng.random() < 0.3 else T0 + i / 10 - rng.choice((0, 0, 0.3))
            for i in range(40)
        ]
        times, problems = run(stamps)
        assert all(math.isfinite(time_s) for time_s in times)
        for step_s, problem in zip(steps(times), problems[1:], strict=True):
            assert step_s < -STEP_BACK_S if problem == BACK else step_s >= 0
