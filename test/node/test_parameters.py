# SPDX-License-Identifier: Apache-2.0
"""Declarations of the node's parameters, and what is made from them."""

import math

import pytest

from panoptic_ros.core.documents import read_yaml
from panoptic_ros.core.resources import resource_file
from panoptic_ros.node.camera_settings import describe_unknown
from panoptic_ros.node.parameters import (
    BY_NAME,
    PARAMETERS,
    parameter_table,
    parameter_yaml,
    present_name,
)
from panoptic_ros.tracking.config import RENAMED


@pytest.mark.parametrize(
    ('name', 'value', 'expected'),
    [
        ('max_rate_hz', 10, 10.0),  # YAML's 10 is an integer
        ('max_rate_hz', 1000.0, 1000.0),  # the ends count
        ('classes.include', [], ()),
        ('classes.include', None, ()),  # an empty list in YAML has no type
        ('classes.include', [''], ()),  # the usual way to write an empty list of strings
        ('classes.include', ['car', ''], ('car',)),
        ('device', 'cuda:1', 'cuda:1'),
        ('backend', 'torch/compiled', 'torch/compiled'),
        ('autostart', False, False),
    ],
)
def test_good_values_come_in_the_parameters_type(name, value, expected):
    checked = BY_NAME[name].check(value)
    assert checked == expected
    assert type(checked) is type(expected)


@pytest.mark.parametrize(
    ('name', 'value', 'reason'),
    [
        ('max_rate_hz', 1000.1, 'a number from 0 to 1000, got 1000.1'),
        ('max_rate_hz', math.nan, 'got nan'),
        ('max_rate_hz', math.inf, 'got inf'),
        ('max_rate_hz', True, 'got True'),  # Python counts it as a number
        ('max_rate_hz', None, 'got None'),
        ('tracker.min_hits', 3.0, 'an integer from 1 to 1000, got 3.0'),
        ('tracker.min_hits', True, 'got True'),
        ('tracker.enabled', 1, 'true or false, got 1'),
        ('output_scale', 'Camera', 'one of camera, network'),
        ('device', 'cuda:', 'one of auto, cpu, cuda, cuda:<index>'),
        ('device', 'cpu\n', 'one of auto'),
        ('backend', 'onnx', 'one of auto, tensorrt, tensorrt_rtx, onnxruntime, torch'),
        ('classes.include', [1], 'a list of strings, got \\[1\\]'),
        ('model', 3, 'a string, got 3'),
    ],
)
def test_bad_values_are_refused_with_what_is_expected(name, value, reason):
    with pytest.raises(ValueError, match=f'{name} must be .*{reason}'):
        BY_NAME[name].check(value)


def test_known_names_are_not_reported():
    assert describe_unknown(BY_NAME, ['camera']) == ''


@pytest.mark.parametrize(
    ('name', 'present'),
    [
        ('tracker.gate', 'tracker.match_threshold'),
        ('near_growth', 'tracker.box_expansion_rate'),  # as the tuner printed it
        ('tracker.max_age', None),
        ('tracker.gait', None),
    ],
)
def test_earlier_names_lead_to_the_present_ones(name, present):
    assert present_name(name) == present
    if present:
        assert describe_unknown([name], ['camera']) == f'{name} (now called {present})'


def test_each_earlier_name_has_a_present_parameter():
    assert all(f'tracker.{new}' in BY_NAME and old not in BY_NAME for old, new in RENAMED.items())


def test_the_shipped_file_is_made_from_the_declarations():
    """Run `python -m panoptic_ros.node.parameters > config/panoptic.yaml` after a change."""
    assert resource_file('config/panoptic.yaml').read_text(encoding='utf-8') == parameter_yaml()


def test_shipped_parameters_are_the_defaults():
    def flat(values: dict, prefix: str = '') -> dict:
        return {
            name: value
            for key, item in values.items()
            for name, value in (
                flat(item, f'{prefix}{key}.').items()
                if isinstance(item, dict)
                else {f'{prefix}{key}': item}.items()
            )
        }

    path = resource_file('config/panoptic.yaml')
    values = flat(read_yaml(path)['/**']['ros__parameters'])
    assert list(values) == [parameter.name for parameter in PARAMETERS]
    for parameter in PARAMETERS:
        assert parameter.check(values[parameter.name]) == parameter.default
        line = next(
            line
            for line in path.read_text(encoding='utf-8').splitlines()
            if line.strip().startswith(f'{parameter.name.rpartition(".")[2]}:')
        )
        marks = {'# * ': not (parameter.read_only or parameter.at_reload)}
        marks['# ** '] = parameter.at_reload
        assert all((mark in line) == expected for mark, expected in marks.items()), line
        assert ('@' in line) == parameter.per_camera, line


def test_the_table_has_a_row_for_each_parameter():
    head, rule, *rows = parameter_table().splitlines()
    assert {row.count(' | ') for row in (head, *rows)} == {rule.count('---|') - 1}
    assert [row.split('`')[1] for row in rows] == list(BY_NAME)
    assert (
        '| `tracker.min_hits` | `3` | an integer from 1 to 1000 | yes | yes | '
        in parameter_table()
    )
    assert '| `model` | `""` | a string | with effect at `~/reload_model` | ' in parameter_table()
