# SPDX-License-Identifier: Apache-2.0
"""Declaration of the node's parameters in ROS, with reports of values that have no effect."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node

from panoptic_ros.core.documents import read_yaml
from panoptic_ros.core.settings import Setting
from panoptic_ros.core.text import one_line
from panoptic_ros.node.camera_settings import describe_unknown, find_setting
from panoptic_ros.node.parameter_file import is_for, parameter_blocks
from panoptic_ros.node.parameters import BY_NAME, PARAMETERS, QOS_OVERRIDES, present_name


def declare_parameters(node: Node) -> tuple[dict[str, Any], list[str]]:
    """Declare all parameters with the values given at the start, and warn of unknown names.

    Returns:
        The values by name, and one line for each given value that is not used: refused and
        replaced by the default, or given by a name that the parameter had earlier.
    """
    values, refused = {}, []
    for parameter in PARAMETERS:
        default = (
            list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default
        )
        value, problem = _declare(node, parameter, default)
        if problem:
            refused.append(f'{problem}; the default {default!r} is used')
            node.declare_parameter(
                parameter.name, default, parameter_descriptor(parameter), ignore_override=True
            )
            value = parameter.default
        values[parameter.name] = value
    cameras = values['cameras']
    own_values, own_refused = declare_for_cameras(node, cameras)
    values, refused = values | own_values, refused + own_refused
    ignored = [name for name in undeclared(node) if not name.startswith(QOS_OVERRIDES)]
    refused += [
        f'{name} is now called {present}; its value is ignored, {values[present]!r} is used'
        for name in ignored
        if (present := present_name(name))
    ]
    if unknown := describe_unknown((name for name in ignored if not present_name(name)), cameras):
        node.get_logger().warning(f'these parameters are unknown, they are ignored: {unknown}')
    return values, refused


def declare_for_cameras(node: Node, cameras: Iterable[str]) -> tuple[dict[str, Any], list[str]]:
    """Declare the parameters `<camera>.<parameter>` that were given at the start.

    Others are declared when they are set.

    Returns:
        Their values by name, and one line for each value that is refused.
    """
    values, refused = {}, []
    for name in undeclared(node):
        setting = find_setting(name, cameras)
        if setting is None:
            continue
        value, problem = _declare(node, setting, None)
        if problem:
            refused.append(f'{problem}; the value for all cameras is used')
        else:
            values[name] = value
    return values, refused


def declare_without_value(node: Node, name: str, cameras: Iterable[str]) -> None:
    """Declare a parameter `<camera>.<parameter>`, which is to be set next."""
    setting = find_setting(name, cameras)
    if setting is not None:
        node.declare_parameter(name, None, parameter_descriptor(setting), ignore_override=True)


def _declare(node: Node, parameter: Setting, default: Any) -> tuple[Any, str]:
    """Declare a parameter with the value given at the start.

    Returns:
        Its value, and why it is refused; the parameter is then not declared.
    """
    try:
        given = node.declare_parameter(parameter.name, default, parameter_descriptor(parameter))
        return parameter.check(given.value), ''
    except (InvalidParameterTypeException, InvalidParameterValueException, ValueError) as error:
        problem = _reason(parameter, node, error)
    if node.has_parameter(parameter.name):
        node.undeclare_parameter(parameter.name)
    return None, problem


def _reason(parameter: Setting, node: Node, error: Exception) -> str:
    """Return why a value given at the start is refused, in our words even if ROS refused it."""
    given = given_parameters(node).get(parameter.name)
    try:
        parameter.check(getattr(given, 'value', None))
    except ValueError as own_error:
        return str(own_error)
    return one_line(error)


def given_parameters(node: Node) -> Mapping[str, Any]:
    """Return the parameters given at the start, by name; rclpy has no public access to them."""
    return getattr(node, '_parameter_overrides', {})


def undeclared(node: Node) -> list[str]:
    """List the names given at the start that nothing has declared so far."""
    return [name for name in given_parameters(node) if not node.has_parameter(name)]


def warn_of_foreign_files(node: Node, arguments: Sequence[str]) -> None:
    """Warn of each `--params-file` without parameters for the node, which ROS ignores silently.

    Args:
        node: the running node.
        arguments: the command line.
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


def parameter_descriptor(parameter: Setting) -> ParameterDescriptor:
    """Return the descriptor that `ros2 param describe` shows.

    ROS has closed ranges only; the node rejects values that are in such a range but not allowed
    by the declaration.
    """
    descriptor = ParameterDescriptor(
        description=parameter.description,
        additional_constraints=f'{parameter.accepted_values()}; '
        + (
            'read-only while the node is configured'
            if parameter.read_only
            else 'may change while running'
            + (', with effect at ~/reload_model' if parameter.at_reload else '')
        ),
        # A static double would refuse `10` for `10.0`; a static list an empty one.
        # One of a camera has no value at first, and can be deleted.
        dynamic_typing=isinstance(parameter.default, (float, tuple))
        or parameter.name not in BY_NAME,
    )
    lower, upper = parameter.closed_range
    if isinstance(parameter.default, float):
        descriptor.floating_point_range = [FloatingPointRange(from_value=lower, to_value=upper)]
    elif type(parameter.default) is int:
        descriptor.integer_range = [IntegerRange(from_value=int(lower), to_value=int(upper))]
    return descriptor
