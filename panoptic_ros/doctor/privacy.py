# SPDX-License-Identifier: Apache-2.0
"""Removal of what identifies the user from texts that go into a support request."""

import getpass
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SHOWN = (
    'ROS_DISTRO',
    'RMW_IMPLEMENTATION',
    'ROS_DOMAIN_ID',
    'ROS_LOCALHOST_ONLY',
    'ROS_AUTOMATIC_DISCOVERY_RANGE',
    'FASTRTPS_DEFAULT_PROFILES_FILE',
    'FASTDDS_DEFAULT_PROFILES_FILE',
    'FASTDDS_BUILTIN_TRANSPORTS',
    'RMW_FASTRTPS_USE_QOS_FROM_XML',
    'ROS_PYTHON_CHECK_FIELDS',
    'CUDA_VISIBLE_DEVICES',
    'NVIDIA_VISIBLE_DEVICES',
    'OMP_NUM_THREADS',
    'MALLOC_ARENA_MAX',
)
"""Environment variables whose values are shown."""

NAMED = ('ROS_STATIC_PEERS', 'ROS_DISCOVERY_SERVER', 'CYCLONEDDS_URI', 'ZENOH_ROUTER_CONFIG_URI')
"""Environment variables that may hold addresses: the page only says that they are set."""

HIDDEN = 'set (value not shown)'


def shown_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of the two lists that are set."""
    return {name: environ[name] for name in SHOWN if name in environ} | {
        name: HIDDEN for name in NAMED if environ.get(name)
    }


def redact(value: Any) -> Any:
    """Return a value of texts, lists and dictionaries without home folders and the user's name."""
    if isinstance(value, str):
        return _redact_text(value)
    if isinstance(value, dict):
        return {_redact_text(str(key)): redact(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [redact(item) for item in value]
    return value


def _redact_text(text: str) -> str:
    homes = {os.environ.get('HOME', ''), _home()} - {'', '/'}
    for home in sorted(homes, key=len, reverse=True):
        text = re.sub(rf'{re.escape(home.rstrip("/"))}(?![\w.-])', '~', text)
    text = re.sub(r'/(?:home|Users)/[^/\s:,;\'"]+', '~', text)
    user = _user()
    if user and user != 'root':  # a folder like /media/NAME; root is no name of a person
        text = re.sub(rf'(?<=/){re.escape(user)}(?=/|$)', '<user>', text)
    return text


def _home() -> str:
    try:
        return str(Path.home())
    except RuntimeError:
        return ''


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in containers
        return ''
