# SPDX-License-Identifier: Apache-2.0
"""Fairness of the scheduler, with a simulated clock."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from panoptic_ros.node.counts import Drop
from panoptic_ros.node.scheduler import Scheduler


def simulate(
    rates_hz: dict[str, float],
    model_s: float,
    seconds: float = 20.0,
    limits_hz: dict[str, float] | None = None,
    most: int = 1,
) -> tuple[Scheduler[float], list[tuple[float, str, float]]]:
    """Let cameras send images to a model that takes a constant time.

    Returns:
        The scheduler, and (start, camera, arrival) of each image that the model has taken.
    """
    scheduler = Scheduler[float](rates_hz)
    for name, rate_hz in (limits_hz or {}).items():
        scheduler.min_interval_s[name] = 1 / rate_hz
    arrivals = sorted(
        (i / rate_hz + 0.001 * place, name)
        for place, (name, rate_hz) in enumerate(rates_hz.items())
        for i in range(int(seconds * rate_hz))
    )
    taken, now_s = [], 0.0
    while arrivals or scheduler.wait_s(now_s) is not None:
        while arrivals and arrivals[0][0] <= now_s:
            arrival_s, name = arrivals.pop(0)
            scheduler.put(name, arrival_s)
        wait_s = scheduler.wait_s(now_s)
        if wait_s == 0:
            images = scheduler.take(now_s, most)
            taken += [(now_s, image.camera, image.image) for image in images]
            end_s = now_s + model_s
            while arrivals and arrivals[0][0] < end_s:
                arrival_s, name = arrivals.pop(0)
                scheduler.put(name, arrival_s)
            now_s = end_s
            for image in images:
                scheduler.finish(image.camera, None)
        else:
            nexts = [arrivals[0][0]] if arrivals else []
            nexts += [] if wait_s is None else [now_s + wait_s]
            now_s = max(now_s + 1e-9, min(nexts))
    return scheduler, taken


def test_a_slow_camera_beside_a_fast_one_loses_nothing():
    """The model keeps up with 5 Hz, and not with 60 Hz; the slow camera waits for two images."""
    model_s = 0.08
    scheduler, taken = simulate({'fast': 60, 'slow': 5}, model_s)
    assert scheduler.counts('slow').published == scheduler.counts('slow').received == 100
    assert max(start - arrival for start, name, arrival in taken if name == 'slow') <= 2 * model_s
    fast = scheduler.counts('fast')
    assert fast.received == 1200 == fast.published + fast.dropped[Drop.SUPERSEDED]
    assert fast.published == pytest.approx(20 / model_s - 100, abs=2)  # all that is left


def test_cameras_that_are_too_fast_have_equal_shares_and_take_turns():
    scheduler, taken = simulate({'a': 60, 'b': 30, 'c': 45}, 0.05)
    shares = [scheduler.counts(name).published for name in 'abc']
    assert max(shares) - min(shares) <= 2
    names = [name for _, name, _ in taken[3:-3]]
    assert all(len(set(names[i : i + 3])) == 3 for i in range(len(names) - 2))


def test_the_newest_image_of_a_camera_is_taken():
    _, taken = simulate({'a': 60, 'b': 60}, 0.1)
    assert all(start - arrival <= 1 / 60 + 1e-6 for start, _, arrival in taken[2:-2])


def test_a_camera_with_a_limit_leaves_its_share_to_the_other():
    scheduler, taken = simulate({'a': 60, 'b': 60}, 0.05, limits_hz={'a': 4})
    times_s = [start for start, name, _ in taken if name == 'a']
    assert min(b - a for a, b in pairwise(times_s)) >= 0.25 - 1e-9
    assert scheduler.counts('a').published == pytest.approx(80, abs=8)
    assert scheduler.counts('b').published == pytest.approx(320, abs=10)


def test_images_that_wait_at_the_same_moment_go_together():
    _, taken = simulate({'a': 60, 'b': 60, 'c': 60}, 0.05, most=2)
    together = Counter(start for start, _, _ in taken)
    assert Counter(together.values())[2] >= len(together) - 2
    counts = Counter(name for _, name, _ in taken)
    assert max(counts.values()) - min(counts.values()) <= 2


def test_images_that_nobody_wants_do_not_count_for_the_limit():
    """So that the first image after a subscription is taken at once."""
    scheduler = Scheduler(['a'])
    scheduler.min_interval_s['a'] = 10
    waits_s = []
    for now_s, drop in ((0.0, None), (10.0, Drop.IDLE), (10.1, Drop.IDLE), (10.2, None)):
        scheduler.put('a', now_s)
        waits_s.append(scheduler.wait_s(now_s))
        scheduler.take(now_s)
        scheduler.finish('a', drop)
    scheduler.put('a', 10.3)
    assert [*waits_s, scheduler.wait_s(10.3)] == [0, 0, 0, 0, pytest.approx(9.9)]
    assert scheduler.counts('a').dropped[Drop.IDLE] == 2


def test_a_changed_limit_applies_to_the_image_that_waits():
    scheduler = Scheduler(['a'])
    scheduler.min_interval_s['a'] = 1000
    for i in range(2):
        scheduler.put('a', i)
        scheduler.take(float(i))
    assert scheduler.wait_s(1.0) == 999
    scheduler.min_interval_s['a'] = 0
    assert scheduler.wait_s(1.0) == 0


@given(
    st.lists(
        st.tuples(
            st.sampled_from(['put', 'take', 'finish', 'refuse', 'clear']), st.integers(0, 2)
        ),
        max_size=60,
    )
)
def test_it_agrees_with_a_slow_search_and_counts_add_up(steps):
    """Images that are kept one by one, and a list of all turns that is searched."""
    names = ('a', 'b', 'c')
    scheduler, waiting, turns = Scheduler(names), {}, []
    put, busy = Counter(), []
    for number, (step, place) in enumerate(steps):
        name = names[place]
        if step == 'put':
            scheduler.put(name, number)
            put[name] += 1
            waiting[name] = waiting.get(name, (number, None))[0], number
        elif step == 'take':
            nexts = sorted(
                (max((i for i, turn in enumerate(turns) if turn == one), default=-1), since, one)
                for one, (since, _) in waiting.items()
            )
            expected = [(one, waiting.pop(one)[1]) for _, _, one in nexts[:1]]
            assert scheduler.take(float(number)) == expected
            busy += [one for one, _ in expected]
            turns += [one for one, _ in expected]
        elif step == 'finish' and busy:
            scheduler.finish(busy.pop(0), Drop.BAD_IMAGE if place else None)
        elif step == 'refuse':
            scheduler.refuse(name)
            put[name] += 1
        elif step == 'clear':
            scheduler.clear()
            waiting.clear()
        for one in names:
            counts = scheduler.counts(one)
            assert counts.received == put[one]
            assert counts.in_flight == (one in waiting) + busy.count(one)
            assert counts.received == (
                counts.published + sum(counts.dropped.values()) + counts.in_flight
            )
