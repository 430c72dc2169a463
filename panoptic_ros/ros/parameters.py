# SPDX-License-Identifier: Apache-2.0
"""Declaration of the node's parameters, with warnings about what has no effect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node

from panoptic_ros.core.documents import read_yaml
from panoptic_ros.core.text import one_line
from panoptic_ros.node.parameters import (
    PARAMETERS,
    QOS_OVERRIDES,
    Parameter,
    describe_unknown,
    is_for,
    parameter_blocks,
)


def declare_parameters(node: Node) -> tuple[dict[str, Any], list[str]]:
    """Declares all parameters with the values given at the start, and warns of unknown names.

    Returns:
        The values by name, and one line for each given value that was refused; the default
        stands in its place.
    """
    values, refused = {}, []
    for parameter in PARAMETERS:
        default = (
            list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default
        )
        try:
            given = node.declare_parameter(parameter.name, default, describe(parameter))
            values[parameter.name] = parameter.check(given.value)
            continue
        except (
            InvalidParameterTypeException,
            InvalidParameterValueException,
            ValueError,
        ) as error:
            refused.append(f'{_reason(parameter, node, error)}; the default {default!r} is used')
        if node.has_parameter(parameter.name):
            node.undeclare_parameter(parameter.name)
        node.declare_parameter(parameter.name, default, describe(parameter), ignore_override=True)
        values[parameter.name] = parameter.default
    unknown = describe_unknown(
        name for name in undeclared(node) if not name.startswith(QOS_OVERRIDES)
    )
    if unknown:
        node.get_logger().warning(f'these parameters are unknown, they are ignored: {unknown}')
    return values, refused


def _reason(parameter: Parameter, node: Node, error: Exception) -> str:
    """Why a value given at the start is refused, in our words where ROS has refused it."""
    given = given_parameters(node).get(parameter.name)
    try:
        parameter.check(getattr(given, 'value', None))
    except ValueError as own:
        return str(own)
    return one_line(error)


def given_parameters(node: Node) -> Mapping[str, Any]:
    """Return the parameters given at the start, by name; rclpy has no public way to ask."""
    return getattr(node, '_parameter_overrides', {})


def undeclared(node: Node) -> list[str]:
    """List the names given at the start that nothing has declared so far."""
    return [name for name in given_parameters(node) if not node.has_parameter(name)]


def warn_of_foreign_files(node: Node, arguments: Sequence[str]) -> None:
    """Warn of each `--params-file` that holds nothing for the node; ROS does not.

    Args:
        node: whose name the files should have.
        arguments: of the command line.
    """
    name = f'{node.get_namespace().rstrip("/")}/{node.get_name()}'
    for flag, file in pairwise(arguments):
        if flag != '--params-file':
            continue
        try:
            blocks = [block for block, _ in parameter_blocks(read_yaml(Path(file)))]
        except (OSError, ValueError) as error:  # though ROS has read it
            node.get_logger().warning(f'parameters may be missing: {one_line(error)}')
            continue
        if not any(is_for(block, name) for block in blocks):
            others = f', only for {", ".join(blocks[:5])}' if blocks else ''
            node.get_logger().warning(f'{file} has no parameters for {name}{others}')


def describe(parameter: Parameter) -> ParameterDescriptor:
    """What `ros2 param describe` shows."""
    descriptor = ParameterDescriptor(
        description=parameter.description,
        additional_constraints=f'{parameter.describe()}; '
        + (
            'may change while running'
            if parameter.changeable
            else 'read-only while the node is configured'
        ),
        # A static double would refuse `10` for `10.0`; a static list an empty one.
        dynamic_typing=isinstance(parameter.default, (float, tuple)),
    )
    if isinstance(parameter.default, float):
        descriptor.floating_point_range = [
            FloatingPointRange(from_value=parameter.minimum, to_value=parameter.maximum)
        ]
    elif type(parameter.default) is int:
        descriptor.integer_range = [
            IntegerRange(from_value=int(parameter.minimum), to_value=int(parameter.maximum))
        ]
    return descriptor
