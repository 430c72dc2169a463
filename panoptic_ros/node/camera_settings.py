# SPDX-License-Identifier: Apache-2.0
"""Names of cameras, and parameters that one camera has apart from the others."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from panoptic_ros.core.settings import Setting, format_value
from panoptic_ros.node.parameters import (
    BY_NAME,
    PER_CAMERA,
    QOS_OVERRIDES,
    join_names,
    present_name,
)

_NAME = re.compile(r'[A-Za-z](?:_?[A-Za-z0-9])*(?:/[A-Za-z](?:_?[A-Za-z0-9])*)*')

GROUPS = frozenset(name.partition('.')[0] for name in (*BY_NAME, QOS_OVERRIDES) if '.' in name)
"""First parts of parameter names; a camera of such a name could not be told from them."""


def check_cameras(names: Collection[str]) -> None:
    """Check the parameter `cameras`.

    Raises:
        ValueError: if there is no name, or one is not usable in topics and parameters, or two are
            equal.
    """
    if not names:
        raise ValueError('cameras must name at least one camera, got none')
    for name in names:
        if not _NAME.fullmatch(name):
            raise ValueError(
                'cameras must be names of letters, digits and single _ that begin with a letter, '
                f'as parts of topics, got {format_value(name)}'
            )
        if name in GROUPS:
            raise ValueError(
                f'cameras must not name a camera {name}, as parameters are called {name}.<name>'
            )
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f'cameras must be different names, got {name} twice')
        seen.add(name)


def topic_prefix(camera: str, cameras: Collection[str]) -> str:
    """Return the prefix of a camera's topics: its name, if there are several cameras."""
    return f'{camera}/' if len(cameras) > 1 else ''


def status_suffix(camera: str, cameras: Collection[str]) -> str:
    """Return the end of the names of a camera's statuses, if there are several cameras."""
    return f'/{camera}' if len(cameras) > 1 else ''


def find_setting(name: str, cameras: Iterable[str]) -> Setting | None:
    """Return the declaration of a parameter, also of `<camera>.<parameter>`; None if unknown."""
    if name in BY_NAME:
        return BY_NAME[name]
    for camera in cameras:
        own = name.removeprefix(f'{camera}.')
        if own != name and own in PER_CAMERA:
            return replace(BY_NAME[own], name=name)
    return None


def settings_for(camera: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of all parameters for a camera.

    Args:
        camera: name of the camera.
        settings: values by name; `<camera>.<parameter>` takes precedence over `<parameter>`.
    """
    return {name: settings.get(f'{camera}.{name}', settings[name]) for name in BY_NAME}


def describe_unknown(names: Iterable[str], cameras: Collection[str]) -> str:
    """List the names that are not parameters of the node.

    A parameter that was renamed is followed by its present name, one of an unknown camera by the
    cameras, one that all cameras share by that fact, and another one by the most similar name.

    Args:
        names: names of parameters.
        cameras: names of the cameras.

    Returns:
        A text for people, empty if all names are known.
    """
    starts = tuple(f'{name}.' for name in (*GROUPS, *cameras))
    known = [*BY_NAME, *(f'{camera}.{name}' for camera in cameras for name in PER_CAMERA)]

    def comment(name: str) -> str:
        if present := present_name(name):
            return f' (now called {present})'
        for camera in cameras:
            shared = name.removeprefix(f'{camera}.')
            if shared != name and shared in BY_NAME:
                return f' (all cameras share {shared})'
        if any(name.endswith(f'.{own}') for own in PER_CAMERA) and not name.startswith(starts):
            return f' (the cameras are {join_names(cameras)})'
        return ''.join(f' (did you mean {near}?)' for near in get_close_matches(name, known, 1))

    return join_names(
        (str(name) for name in names if not find_setting(str(name), cameras)), comment
    )


def check_changes(
    changes: Mapping[str, Any], configured: bool, cameras: Collection[str]
) -> dict[str, Any]:
    """Return new values in their parameters' types, without names that the node does not have.

    Args:
        changes: values by parameter name; ROS's own parameters may be among them. None for
            `<camera>.<parameter>` removes it.
        configured: whether the node is configured, so that some parameters are read-only.
        cameras: names of the cameras.

    Raises:
        ValueError: for the first value that is refused, with the reason.
    """
    checked = {}
    for name, value in changes.items():
        parameter = find_setting(name, cameras)
        if parameter is None:  # use_sim_time and the like
            continue
        is_removed = value is None and name not in BY_NAME
        checked[name] = None if is_removed else parameter.check(value)
        if configured and parameter.read_only:
            raise ValueError(
                f'{name} is read-only while the node is configured; clean the node up first'
            )
    return checked


def merge(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with the result of `check_changes`."""
    return {name: value for name, value in {**settings, **changes}.items() if value is not None}
