# SPDX-License-Identifier: Apache-2.0
"""Diagrams and summaries of few records, or of records with unusual times."""

import re
import warnings

import pytest
from tiny_model import LABELS

from panoptic_ros.replay.frame_records import (
    FrameRecord,
    TrackedThing,
    latency_summary,
    period_s,
    track_summary,
)
from panoptic_ros.replay.plots import latency_plot, quality_plot, rate_plot, timeline

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
