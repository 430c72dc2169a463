# SPDX-License-Identifier: Apache-2.0
"""What counts as a finding of the soak."""

import os
import subprocess
import sys
from types import SimpleNamespace as Message

import pytest

from soak.watch import Watch, broken_sum, counts_of, slope_per_minute


@pytest.mark.parametrize(
    ('changes', 'is_broken'),
    [
        ({}, False),
        ({'received': 11}, True),
        ({'published': 6}, True),
        ({'dropped idle': 2}, True),
        ({'dropped idle': 2, 'received': 11}, False),
        ({'in flight': -1, 'published': 6, 'dropped idle': 3}, True),
    ],
)
def test_counts_that_do_not_add_up_are_a_finding(changes, is_broken):
    counts = {'received': 10, 'published': 5, 'dropped too old': 3, 'dropped idle': 1} | changes
    counts = {'in flight': 1} | counts
    assert bool(broken_sum(counts)) == is_broken
    watch = Watch(os.getpid())
    values = [Message(key=key, value=str(value)) for key, value in counts.items()]
    values += [Message(key='rate hz', value='n/a'), Message(key='topics', value='/image')]
    watch.take(Message(status=[Message(name='/node: input/front', values=values)]))
    assert bool(watch.findings) == is_broken
    assert watch.last('front', 'dropped idle') == counts['dropped idle']
    assert len(watch.memory_mb) == 1


def test_other_values_are_no_counts():
    assert counts_of({'rate hz': '5', 'received': '3', 'age s': 'n/a'}) == {'received': 3}


def test_totals_include_earlier_configurations():
    watch = Watch(os.getpid())
    for received in (3, 7, 1, 4, 0, 2):
        watch.count('front', {'received': received, 'published': received})
    assert watch.totals('front') == {'received': 13, 'published': 13}
    assert not watch.findings


@pytest.mark.parametrize(
    ('values', 'expected'),
    [
        ([5.0] * 11, 0.0),
        ([0.0, 30, 20, *[100 + 0.5 * i for i in range(8)]], 30.0),  # after the start
        ([5.0], 0.0),
    ],
)
def test_the_slope_is_that_of_the_settled_part(values, expected):
    assert slope_per_minute(list(enumerate(values))) == pytest.approx(expected)


def test_the_end_of_the_process_is_no_error_of_the_watch():
    ended = subprocess.Popen([sys.executable, '-c', ''])
    ended.wait()
    watch = Watch(ended.pid)
    watch.take(Message(status=[]))
    assert watch.memory_mb == []
