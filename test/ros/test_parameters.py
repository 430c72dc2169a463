# SPDX-License-Identifier: Apache-2.0
import math

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: pip install "panoptic_ros[ros]"')

from panoptic_ros.node.parameters import PARAMETERS
from panoptic_ros.ros.parameters import parameter_descriptor


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
