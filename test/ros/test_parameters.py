# SPDX-License-Identifier: Apache-2.0
"""Parameters as ROS declares them."""

import math

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: pip install "panoptic_ros[ros]"')

import rclpy
from rclpy.context import Context
from rclpy.parameter import Parameter

from panoptic_ros.node.parameters import BY_NAME, PARAMETERS
from panoptic_ros.ros.parameters import declare_parameters, parameter_descriptor


@pytest.mark.parametrize('parameter', PARAMETERS, ids=lambda parameter: parameter.name)
def test_each_is_described_ranged_and_marked(parameter):
    assert parameter.check(parameter.default) == parameter.default
    descriptor = parameter_descriptor(parameter)
    assert descriptor.description.endswith('.')
    assert (
        'may change while running' in descriptor.additional_constraints
        or 'read-only while the node is configured' in descriptor.additional_constraints
    )
    if isinstance(parameter.default, float):
        (limits,) = descriptor.floating_point_range
        assert (limits.from_value, limits.to_value) == parameter.closed_range
        assert math.isfinite(limits.from_value)
        assert math.isfinite(limits.to_value)


@pytest.fixture
def make_node(ros_domain):
    context = Context()
    rclpy.init(context=context)
    nodes = []

    def make(**overrides):
        given = [Parameter(f'tracker.{name}', value=value) for name, value in overrides.items()]
        nodes.append(rclpy.create_node('parameters', context=context, parameter_overrides=given))
        return nodes[-1]

    yield make
    for node in nodes:
        node.destroy_node()
    rclpy.shutdown(context=context)


def test_a_value_under_an_earlier_name_is_ignored_and_reported(make_node):
    values, refused = declare_parameters(make_node(gate=0.5, weak_gate=0.4, max_age=2.0))
    defaults = {name: parameter.default for name, parameter in BY_NAME.items()}
    assert values == defaults | {'tracker.max_age': 2.0}
    assert refused == [
        'tracker.gate is now called tracker.match_threshold; its value is ignored, 0.65 is used',
        'tracker.weak_gate is now called tracker.low_score_match_threshold; its value is ignored, '
        '0.55 is used',
    ]


def test_the_value_under_the_present_name_counts(make_node):
    values, refused = declare_parameters(make_node(gate=0.5, match_threshold=0.4))
    assert values['tracker.match_threshold'] == 0.4
    assert refused[0].endswith('its value is ignored, 0.4 is used')


def test_a_value_at_an_exclusive_bound_is_refused(make_node):
    values, refused = declare_parameters(make_node(velocity_time_constant=0.0))
    assert values['tracker.velocity_time_constant'] == 0.2
    assert refused == [
        'tracker.velocity_time_constant must be a number over 0 and at most 3600, got 0.0; '
        'the default 0.2 is used'
    ]
