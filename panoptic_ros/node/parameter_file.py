# SPDX-License-Identifier: Apache-2.0
"""ROS parameter files of the node."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from panoptic_ros.core.documents import read_yaml
from panoptic_ros.core.inputs import require_file
from panoptic_ros.core.settings import format_value
from panoptic_ros.node.camera_settings import check_cameras, describe_unknown, find_setting
from panoptic_ros.node.parameters import BY_NAME, NODE, PARAMETERS, join_names

_ROS_OWN = re.compile(r'use_sim_time|start_type_description_service|qos_overrides\..*')


def read_parameters(path: Path | None) -> dict[str, Any]:
    """Read the values of all parameters of the node.

    Args:
        path: a YAML file as for `ros2 run --params-file`, with `/**` or the node's name in any
            namespace, and `ros__parameters` in it. Without one, all values are the defaults.

    Returns:
        Values by parameter name, in the order of the declarations; at the end those that are for
        one camera, as `<camera>.<parameter>`.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is not a parameter file of the node, names an unknown parameter, or
            has a value that is refused.
    """
    values: dict[str, Any] = {parameter.name: parameter.default for parameter in PARAMETERS}
    if path is None:
        return values
    require_file(path, 'a parameter file')
    blocks = dict(parameter_blocks(read_yaml(path)))
    own = [block for name, block in blocks.items() if name.split('/')[-1] in (NODE, '*', '**')]
    if not own:
        others = f'; it has parameters of {join_names(blocks)}' if blocks else ''
        raise ValueError(
            f'{path} is not a parameter file of the node: expected `/**:` or '
            f'`{NODE}:`, and `ros__parameters:` in it{others}'
        )
    if wrong := [block for block in own if not isinstance(block, dict)]:
        raise ValueError(
            f'{path}: ros__parameters must hold names and values, got {format_value(wrong[0])}'
        )
    given = {
        name: value
        for block in own
        for name, value in _flat(block)
        if not _ROS_OWN.fullmatch(name)
    }
    try:
        cameras = BY_NAME['cameras'].check(given.get('cameras', values['cameras']))
        check_cameras(cameras)
        if unknown := describe_unknown(given, cameras):
            raise ValueError(f'the node does not have these parameters: {unknown}')
        for name, value in given.items():
            if setting := find_setting(name, cameras):
                values[name] = setting.check(value)
        return values
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from None


def parameter_blocks(document: Any, name: str = '') -> Iterator[tuple[str, Any]]:
    """Find the nodes that a parameter file addresses.

    Args:
        document: the file's content, or one of its nested values.
        name: absolute name of the namespace that the document belongs to.

    Yields:
        The absolute name of a node, which may have wildcards, and its `ros__parameters`.
    """
    if not isinstance(document, dict):
        return
    for key, value in document.items():
        if key == 'ros__parameters':
            yield name or '/', {} if value is None else value
        else:
            yield from parameter_blocks(value, f'{name}/{str(key).strip("/")}')


def is_for(pattern: str, node: str) -> bool:
    """Return whether a name from `parameter_blocks` addresses the node with an absolute name."""
    parts = {'*': '/[^/]+', '**': '(/[^/]+)*'}
    return bool(
        re.fullmatch(
            ''.join(parts.get(part, '/' + re.escape(part)) for part in pattern.split('/')[1:]),
            node,
        )
    )


def _flat(block: Mapping[Any, Any], prefix: str = '') -> Iterator[tuple[str, Any]]:
    """Yield names and values; groups are joined to the names with dots, as in ROS."""
    for name, value in block.items():
        if isinstance(value, dict):
            yield from _flat(value, f'{prefix}{name}.')
        else:
            yield f'{prefix}{name}', value
