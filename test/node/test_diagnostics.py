# SPDX-License-Identifier: Apache-2.0
"""Level and text of a status in each condition."""

import pytest

from panoptic_ros.node.counts import Counts, CountsHistory, Drop
from panoptic_ros.node.diagnostics import (
    Level,
    age_problem,
    all_lost,
    clock_problem,
    input_status,
    model_status,
    stamp_problem,
    timing_status,
    transport_problem,
)
from panoptic_ros.node.meters import Timings

LIMITS = {
    'diagnostics.warn_latency_ms': 100.0,
    'diagnostics.error_latency_ms': 500.0,
    'diagnostics.warn_rate_hz': 5.0,
}
NOT_YET = 'n/a'


def counts(published=0, in_flight=0, **dropped) -> Counts:
    drops = {reason: dropped.get(reason.name.lower(), 0) for reason in Drop}
    return Counts(published + sum(drops.values()) + in_flight, published, drops, in_flight)


def input_(silent_s=0.1, last_bad='', **more):
    return input_status(
        'front', counts(9, too_old=1), 10.0, 0.05, silent_s, '/image', last_bad, **more
    )


@pytest.mark.parametrize(
    ('status', 'level', 'text'),
    [
        (input_(), Level.OK, 'ok'),
        (input_(None), Level.OK, 'not subscribed'),
        (input_(None, enabled=False), Level.OK, 'disabled'),
        (
            input_(None, 'odd', enabled=False, all_lost='x', time_problem='y', warnings=['z']),
            Level.OK,
            'disabled',
        ),
        (input_(None, idle=True), Level.OK, 'not subscribed'),
        (
            input_(0.1, 'odd', idle=True, all_lost='all are bad'),
            Level.OK,
            'idle: nobody subscribes to an output',
        ),
        (input_(6, idle=True), Level.ERROR, 'no image for 6 s'),
        (input_(idle=True, time_problem='old stamps'), Level.ERROR, 'old stamps'),
        (input_(all_lost='all are bad'), Level.ERROR, 'all are bad'),
        (input_(all_lost='all are bad', last_bad='odd'), Level.ERROR, 'all are bad'),
        (input_(time_problem='old stamps'), Level.ERROR, 'old stamps'),
        (input_(clock_problem='no clock'), Level.WARN, 'no clock'),
        (input_(clock_problem='no clock', time_problem='still'), Level.ERROR, 'no clock; still'),
        (
            input_(time_problem='old', all_lost='lost', warnings=['large']),
            Level.ERROR,
            'lost; old',
        ),
        (input_(6, time_problem='old stamps'), Level.ERROR, 'no image for 6 s; old stamps'),
        (input_(2, warnings=['', 'large']), Level.WARN, 'no image for 2 s; large'),
        (input_(last_bad='odd', warnings=['large']), Level.WARN, 'bad image: odd; large'),
    ],
)
def test_input(status, level, text):
    assert (status.level, status.message) == (level, text)


@pytest.mark.parametrize('enabled', [False, True])
def test_rates_and_ages_are_not_available_without_a_subscription(enabled):
    values = input_(None, enabled=enabled).values
    assert values['rate hz'] == values['age s'] == NOT_YET
    assert values['published'] == '9'  # counts stay true


DEPTH = "encoding '16UC1' cannot be read without cv_bridge; expected one of rgb8, bgr8"


@pytest.mark.parametrize(
    ('before', 'now', 'text'),
    [
        (counts(), counts(), ''),  # nothing came
        (counts(5), counts(5, in_flight=1), ''),  # the first one is in work
        (counts(5), counts(6, too_old=9), ''),  # one got through
        (counts(5, too_old=3), counts(5, too_old=3), ''),  # that was before
        (
            counts(5),
            counts(5, too_old=1),
            'all images are older than max_age_ms 70; use_sim_time? ',
        ),
        (counts(5), counts(5, bad_image=2), f'all images are bad: {DEPTH}; remap `image` to the '),
        (
            counts(5),
            counts(5, inference_failed=2),
            'inference fails for all images: out of memory',
        ),
        (counts(5), counts(5, superseded=8, in_flight=1), 'no image is finished'),
        (counts(5), counts(5, superseded=8, bad_image=2), 'all images are bad'),
        (counts(5), counts(5, idle=8), ''),
        (counts(5), counts(5, superseded=1, idle=8, in_flight=1), ''),  # awake since a moment
        (counts(5), counts(5, idle=8, bad_image=2), 'all images are bad'),
        (counts(5), counts(5, too_old=8, inference_failed=2), '; inference fails for all images'),
    ],
)
def test_why_all_images_are_lost(before, now, text):
    got = all_lost(before, now, True, 70.0, DEPTH, 'out of memory')
    assert text in got
    assert bool(got) == bool(text)


def test_images_may_be_superseded_while_the_first_one_is_in_work():
    after = counts(superseded=8, in_flight=2)
    assert all_lost(counts(), after, False, 0.0, '', '') == ''
    assert 'all images are bad' in all_lost(counts(), counts(bad_image=1), False, 0.0, 'x', '')


@pytest.mark.parametrize(
    ('received', 'expected'),
    [
        # Number of received images at each second, and the seconds at which `arriving` holds.
        ([0, 0, 0, 5, 9, 14, 19, 24, 29, 30], [7, 8, 9]),  # it starts after 2 s
        ([5, 9, 14, 19, 24, 29, 34, 39], [5, 6, 7]),  # it has run before
        ([3, 5, 9, 9, 9, 9, 9, 9, 9, 9, 12, 15, 18, 21, 24, 27], [5, 6, 14, 15]),  # a pause
        ([5, 9, 14, 19, 24, 0, 5, 9, 14, 19, 24, 29], [10, 11]),  # configured anew
    ],
)
def test_images_arrive_if_they_did_at_the_start_of_the_period(received, expected):
    history = CountsHistory()
    found = [history.before(counts(n), second, 5.0) for second, n in enumerate(received)]
    assert [second for second, (_, arriving) in enumerate(found) if arriving] == expected
    for second, (before, _) in enumerate(found):
        start = max(0, second - 5)
        if 0 not in received[start + 1 : second + 1]:
            assert before.received == received[start]


@pytest.mark.parametrize(
    ('bad', 'expected'),
    [
        ("expected a jpeg or png colour image, got '16UC1; compressedDepth png'", True),
        (DEPTH, True),
        ('the jpeg image is cut short: its end marker is missing', False),
        ('data must hold 48 rows', False),
    ],
)
def test_a_topic_without_colour_images_leads_to_the_advice_to_remap(bad, expected):
    assert ('remap' in all_lost(counts(), counts(bad_image=1), True, 0.0, bad, '')) == expected


@pytest.mark.parametrize(
    ('age_s', 'sim_time', 'words'),
    [
        (None, False, ()),
        (0.0, False, ()),
        (9.9, False, ()),  # a slow network
        (-0.9, True, ()),  # a clock that is corrected
        (10.1, False, ('10.1 s in the past', 'use_sim_time?')),
        (1.8e9, False, ('1800000000 s in the past', 'use_sim_time?', 'synchronise')),
        (-1.1, False, ('1.1 s in the future', 'use_sim_time?')),
        (-1.8e9, True, ('in the future', 'use_sim_time is true', '/clock')),
    ],
)
def test_large_ages_show_that_clocks_differ(age_s, sim_time, words):
    text = age_problem(age_s, sim_time)
    assert bool(text) == bool(words)
    assert all(word in text for word in words), text


@pytest.mark.parametrize(
    ('sim_time', 'now_s', 'still_s', 'words'),
    [
        (False, 0.0, 100.0, ''),
        (True, 12.0, 1.0, ''),
        (True, 0.0, 1.0, 'nothing arrives on /clock; play the bag with --clock'),
        (True, 12.0, 8.4, '/clock has not advanced for 8 s'),
    ],
)
def test_clocks_that_do_not_run(sim_time, now_s, still_s, words):
    text = clock_problem(sim_time, now_s, still_s)
    assert words in text
    assert bool(text) == bool(words)


def test_unusable_stamps_come_with_a_remedy():
    assert stamp_problem('') == ''
    assert stamp_problem('the stamp is zero').startswith('the stamp is zero; the driver must')


OLD, NEW = 'FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE'


@pytest.mark.parametrize(
    ('environ', 'middleware', 'raw_bytes', 'named'),
    [
        ({}, 'rmw_fastrtps_cpp', 6_000_000, (OLD, NEW)),
        ({}, 'rmw_fastrtps_dynamic_cpp', 500_000, (OLD, NEW)),
        ({}, 'rmw_fastrtps_cpp', 499_999, ()),
        ({}, 'rmw_fastrtps_cpp', 0, ()),  # compressed
        ({}, 'rmw_cyclonedds_cpp', 6_000_000, ()),
        ({OLD: 'x'}, 'rmw_fastrtps_cpp', 6_000_000, ()),  # distribution unknown
        ({NEW: 'x'}, 'rmw_fastrtps_cpp', 6_000_000, ()),
        ({OLD: ''}, 'rmw_fastrtps_cpp', 6_000_000, (OLD, NEW)),
        ({'ROS_DISTRO': 'humble'}, 'rmw_fastrtps_cpp', 6_000_000, (OLD,)),
        (
            {'ROS_DISTRO': 'jazzy', NEW: 'x'},
            'rmw_fastrtps_cpp',
            6_000_000,
            (OLD,),
        ),  # ignored there
        ({'ROS_DISTRO': 'jazzy', OLD: 'x'}, 'rmw_fastrtps_cpp', 6_000_000, ()),
        (
            {'ROS_DISTRO': 'kilted', OLD: 'x'},
            'rmw_fastrtps_cpp',
            6_000_000,
            (),
        ),  # deprecated there
        ({'ROS_DISTRO': 'lyrical', OLD: 'x'}, 'rmw_fastrtps_cpp', 6_000_000, (NEW,)),
        ({'ROS_DISTRO': 'lyrical', NEW: 'x'}, 'rmw_fastrtps_cpp', 6_000_000, ()),
        ({'FASTDDS_BUILTIN_TRANSPORTS': 'LARGE_DATA'}, 'rmw_fastrtps_cpp', 6_000_000, ()),
    ],
)
def test_large_raw_images_need_the_profile(environ, middleware, raw_bytes, named):
    text = transport_problem(environ, middleware, raw_bytes)
    assert bool(text) == bool(named)
    for name in (OLD, NEW):
        assert (name in text) == (name in named)
    assert ('config/fastdds.xml' in text) == bool(named)


@pytest.mark.parametrize(
    ('active', 'current', 'rate_hz', 'level', 'text'),
    [
        (True, True, 10.0, Level.ERROR, 'p95 of the latency is 900 ms'),
        (True, False, 0.0, Level.WARN, '0.0 images/s are published'),  # long ago: no latency now
        (False, True, 10.0, Level.OK, 'ok'),
    ],
)
def test_old_times_are_not_shown_as_current(active, current, rate_hz, level, text):
    timings = Timings(('end to end',))
    timings.add('end to end', 0.9)
    status = timing_status(timings, rate_hz, LIMITS, active, current)
    assert (status.level, status.message) == (level, text)
    shown = status.values['end to end p95 ms']
    assert shown == ('900.00' if active and current else NOT_YET)
    assert (status.values['rate hz'] == NOT_YET) == (not active)


@pytest.mark.parametrize(
    ('values', 'problem', 'level', 'text'),
    [
        ({}, '', Level.WARN, 'a model has been loading for 12 s'),
        (
            {},
            'cannot configure: x',
            Level.WARN,
            'a model has been loading for 12 s',
        ),  # another try
        ({'name': 'city'}, '', Level.OK, 'ok; a model has been loading for 12 s'),
    ],
)
def test_a_model_that_is_loading(values, problem, level, text):
    status = model_status('configuring', problem, values, '', 12.3)
    assert (status.level, status.message, status.values['state']) == (level, text, 'configuring')


def test_an_engine_that_is_being_built():
    status = model_status('configuring', '', {}, '', 12.3, 0.404)
    assert status.values['engine'] == 'building 40 %'
    assert status.message == (
        'a model has been loading for 12 s, its engine is being built (40 %)'
    )
    status = model_status('active', '', {'engine': 'ready', 'name': 'city'}, '', 12.3, 0.0)
    assert (status.level, status.values['engine']) == (Level.OK, 'building 0 %')
