# SPDX-License-Identifier: Apache-2.0
"""Values that declarations accept and refuse."""

import math
from dataclasses import dataclass

import numpy as np
import pytest

from panoptic_ros.core.settings import Setting, check_settings, setting, settings_of


@pytest.mark.parametrize(
    ('declared', 'value', 'expected'),
    [
        (Setting('s', 1.0, '', minimum=0, maximum=2), 2, 2.0),  # an integer for a float
        (Setting('s', 1.0, '', above=0, maximum=2), 5e-324, 5e-324),
        (Setting('s', 1.0, '', minimum=0, maximum=2), np.float64(0.5), 0.5),
        (Setting('s', -1.0, '', minimum=0, maximum=2, default_meaning='none'), -1, -1.0),
        (Setting('s', 'a', '', pattern='a|b'), 'b', 'b'),
        (Setting('s', ('a',), ''), ['b', ''], ('b',)),
        (Setting('s', True, ''), False, False),
    ],
)
def test_values_in_range_are_returned_in_the_declared_type(declared, value, expected):
    checked = declared.check(value)
    assert checked == expected and type(checked) is type(expected)


@pytest.mark.parametrize(
    ('declared', 'value', 'reason'),
    [
        (Setting('s', 1.0, '', above=0, maximum=2), 0, 'a number over 0 and at most 2, got 0'),
        (Setting('s', 1.0, '', above=0, maximum=2), 2.1, 'over 0 and at most 2, got 2.1'),
        (Setting('s', 1, '', minimum=1, maximum=9), 0, 'an integer from 1 to 9, got 0'),
        (Setting('s', 1, '', minimum=1, maximum=9), 2.0, 'an integer from 1 to 9, got 2.0'),
        (Setting('s', 1.0, '', minimum=0, maximum=2), math.nan, 'from 0 to 2, got nan'),
        (Setting('s', 1.0, '', minimum=0, maximum=2), True, 'from 0 to 2, got True'),
        (Setting('s', -1.0, '', maximum=2, minimum=0), -1, 'from 0 to 2, got -1'),
        (Setting('s', 'a', '', pattern='a|b', expected='a or b'), 'ab', "a or b, got 'ab'"),
    ],
)
def test_other_values_are_refused_with_what_is_expected(declared, value, reason):
    with pytest.raises(ValueError, match=f'^s must be .*{reason}$'):
        declared.check(value)


@dataclass(frozen=True)
class FilterConfig:
    gain: float = setting(0.5, 'Share of a new value.', above=0, maximum=1)
    taps: int = setting(3, 'Number of values.', minimum=1, maximum=9)


def test_fields_of_a_dataclass_are_settings():
    assert [(s.name, s.default) for s in settings_of(FilterConfig, 'filter.')] == [
        ('filter.gain', 0.5),
        ('filter.taps', 3),
    ]
    check_settings(FilterConfig(gain=1), 'filter.')
    with pytest.raises(ValueError, match=r'^filter\.taps must be an integer from 1 to 9, got 0$'):
        check_settings(FilterConfig(taps=0), 'filter.')
