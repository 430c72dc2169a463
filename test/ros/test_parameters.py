# SPDX-License-Identifier: Apache-2.0
import math

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: pip install "panoptic_ros[ros]"')

from panoptic_ros.node.parameters import BY_NAME, PARAMETERS, check_changes
from panoptic_ros.ros.parameters import describe


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
        ('backend', 'onnx', 'one of auto, tensorrt, onnxruntime, torch'),
        ('classes.include', [1], 'a list of strings, got \\[1\\]'),
        ('model', 3, 'a string, got 3'),
    ],
)
def test_bad_values_are_refused_with_what_is_expected(name, value, reason):
    with pytest.raises(ValueError, match=f'{name} must be .*{reason}'):
        BY_NAME[name].check(value)


@pytest.mark.parametrize('parameter', PARAMETERS, ids=lambda parameter: parameter.name)
def test_each_is_described_ranged_and_marked(parameter):
    assert parameter.check(parameter.default) == parameter.default
    descriptor = describe(parameter)
    assert descriptor.description.endswith('.')
    assert (
        'may change while running' in descriptor.additional_constraints
        or 'read-only while the node is configured' in descriptor.additional_constraints
    )
    if isinstance(parameter.default, float):
        (limits,) = descriptor.floating_point_range
        assert (limits.from_value, limits.to_value) == (parameter.minimum, parameter.maximum)
        assert math.isfinite(limits.from_value)
        assert math.isfinite(limits.to_value)


def test_names_of_others_are_left_alone():
    assert check_changes({'use_sim_time': True, 'max_age_ms': 3}, True) == {'max_age_ms': 3.0}


def test_what_is_read_only_may_change_before_configure():
    assert check_changes({'model': 'a.onnx'}, configured=False) == {'model': 'a.onnx'}
    with pytest.raises(ValueError, match='model is read-only while'):
        check_changes({'model': 'a.onnx'}, configured=True)
