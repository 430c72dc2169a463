# SPDX-License-Identifier: Apache-2.0
"""Diagrams and summaries of few records, or of records with unusual times."""

import re
import warnings

import pytest
from color_vision import VISIONS, smallest_distance
from tiny_model import LABELS

from panoptic_ros.replay.frame_records import (
    FrameRecord,
    TrackedThing,
    latency_summary,
    period_s,
    track_summary,
)
from panoptic_ros.replay.plots import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    STAGE_COLORS,
    latency_plot,
    quality_plot,
    rate_plot,
    timeline,
)

S = 10**9


def good(i, time_ns, **changes):
    values = {
        'times_ms': {'infer': 5.0, 'total': 6.0},
        'pq': 50.0,
        'seen': (TrackedThing(1, 2, True),),
        'switches': ({'old_pred': 1, 'new_pred': 1},),
    }
    return FrameRecord('camera', i, time_ns, time_ns, **values | changes)


def bad(i, time_ns):
    return FrameRecord('camera', i, 0, time_ns, problem='bad image: x')


KINDS = {
    'no image': ([], None),
    'one image': ([good(0, 5)], None),
    'one bad image': ([bad(0, 5)], None),
    'all bad': ([bad(i, i * S) for i in range(4)], 1),
    'one of them good': ([bad(0, 0), good(1, S), bad(2, 2 * S)], 1),
    'all at once': ([good(i, 7) for i in range(4)], None),
    'no latency at all': ([good(i, i * S, times_ms={'total': 0.0}) for i in range(4)], 1),
    'after 2038': ([good(i, 2**31 * S + i * S) for i in range(4)], 1),
    'before 1970': ([good(i, (i - 9) * S) for i in range(4)], 1),
    'a clock that was set': ([good(i, i * S + (i > 1) * 1_700_000_000 * S) for i in range(4)], 1),
    'backwards': ([good(i, -i * S) for i in range(4)], None),
    'out of order': ([good(i, time_s * S) for i, time_s in enumerate((3, 0, 9, 4))], 9),
    'cameras in turn': (
        [good(i, (9 - i) * S, times_ms={}) for i in range(4)] + [good(i, i * S) for i in range(4)],
        1,
    ),
}


@pytest.mark.parametrize('kind', KINDS)
def test_any_records_can_be_drawn(kind):
    records, expected_s = KINDS[kind]
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        warnings.simplefilter('ignore', DeprecationWarning)  # between libraries
        drawn = [
            latency_plot(records),
            rate_plot(records),
            quality_plot(records),
            timeline(records, LABELS)[0],
        ]
    for svg in drawn:
        assert svg == '' or svg.startswith('<svg')
        assert not re.search(r'\bnan\b|\binf\b', svg)
    assert bool(drawn[0]) == any(record.times_ms for record in records)
    assert bool(drawn[3]) == any(record.seen for record in records)
    assert latency_summary(records).keys() == (
        set().union(*(record.times_ms for record in records))
    )
    assert track_summary(records, LABELS.names)['confirmed'] == any(
        record.seen for record in records
    )
    assert period_s(records) == expected_s


@pytest.mark.parametrize('vision', VISIONS)
def test_colours_of_a_diagram_can_be_told_apart(vision):
    for names in ([*STAGE_COLORS.values(), INK], [INK, GREY, BLUE, ORANGE]):
        colors = [tuple(bytes.fromhex(name[1:])) for name in names]
        assert smallest_distance(colors, VISIONS[vision]) >= 20


def test_a_diagram_says_if_values_lie_above_it():
    """Also an image in whose bin the others are fast."""
    slow = {'infer': 900.0, 'total': 900.4}
    even = [good(i, i * S // 10) for i in range(1000)]
    peaks = [*even[:500], good(500, 50 * S, times_ms=slow), *even[501:]]
    assert 'cut off' not in latency_plot(even) + rate_plot(even)
    assert 'cut off: 1 of 1000 values lie above, up to 900 ms' in latency_plot(peaks)
    fast = [good(i, i * S, times_ms={'total': 0.1 if i == 3 else 100.0}) for i in range(9)]
    assert 'cut off: 1 of 9 values lie above, up to 10000 /s for 1 / latency' in rate_plot(fast)


def test_a_diagram_says_if_its_points_are_means():
    many, few = ([good(i, i * S // 10) for i in range(count)] for count in (1000, 100))
    for plot in (latency_plot, quality_plot):
        assert 'each point is the mean' in plot(many)
        assert 'each point is the mean' not in plot(few)
