"""Declares the node's parameters with ROS."""

from __future__ import annotations

from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node

from panoptic_ros.interface.parameters import PARAMETERS, Parameter


def declare_parameters(node: Node) -> tuple[dict[str, Any], list[str]]:
    """Declares all parameters with the values given at the start.

    Returns:
        The values by name, and one line for each given value that was refused; the default
        stands in its place.
    """
    values, refused = {}, []
    for parameter in PARAMETERS:
        default = list(parameter.default) if isinstance(parameter.default, tuple) \
            else parameter.default
        try:
            given = node.declare_parameter(parameter.name, default, describe(parameter))
            values[parameter.name] = parameter.check(given.value)
            continue
        except (InvalidParameterTypeException, InvalidParameterValueException,
                ValueError) as error:
            refused.append(f'{error}; going on with {default!r}'.replace('\n', ' '))
        if node.has_parameter(parameter.name):
            node.undeclare_parameter(parameter.name)
        node.declare_parameter(parameter.name, default, describe(parameter),
                               ignore_override=True)
        values[parameter.name] = parameter.default
    return values, refused


def describe(parameter: Parameter) -> ParameterDescriptor:
    """What `ros2 param describe` shows."""
    descriptor = ParameterDescriptor(
        description=parameter.description,
        additional_constraints=f'{parameter.describe()}; ' + (
            'may change while running' if parameter.changeable
            else 'read-only while the node is configured'),
        # A static double would refuse `10` for `10.0`; a static list an empty one.
        dynamic_typing=isinstance(parameter.default, (float, tuple)))
    if isinstance(parameter.default, float):
        descriptor.floating_point_range = [FloatingPointRange(
            from_value=parameter.minimum, to_value=parameter.maximum)]
    elif type(parameter.default) is int:
        descriptor.integer_range = [IntegerRange(
            from_value=int(parameter.minimum), to_value=int(parameter.maximum))]
    return descriptor
