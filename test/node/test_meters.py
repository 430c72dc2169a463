# SPDX-License-Identifier: Apache-2.0
import pytest

from panoptic_ros.node.meters import Silence


@pytest.mark.parametrize(
    ('begin_s', 'heard_s', 'now_s', 'expected'),
    [
        (10.0, [], 15.0, False),
        (10.0, [], 15.1, True),  # it did not begin
        (10.0, [10.5], 15.4, False),
        (10.0, [10.5], 15.6, True),  # what came before the first is no interval
        (0.0, [1.0, 1.1], 6.2, True),  # a fast one has 5 s as well
        (0.0, [1.0, 31.0], 180.9, False),  # a picture every 30 s
        (0.0, [1.0, 31.0], 181.1, True),
        (0.0, [1.0, 31.0, 31.1], 36.2, True),  # the last interval counts
    ],
)
def test_silence_is_five_seconds_or_five_intervals(begin_s, heard_s, now_s, expected):
    silence = Silence(begin_s)
    for time_s in heard_s:
        silence.heard(time_s)
    assert silence.is_silent(now_s) == expected


def test_a_gap_between_two_streams_is_no_interval():
    silence = Silence(0.0)
    silence.heard(1.0)
    silence.heard(1.1)
    silence.begin(61.0)
    silence.heard(61.0)
    assert silence.is_silent(66.1)
