# SPDX-License-Identifier: Apache-2.0
"""Transport profile of Fast DDS, and the environment variables from which it is read."""

import re
from collections.abc import Mapping
from pathlib import Path

OLD_VARIABLE, NEW_VARIABLE = 'FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE'
"""Variables of Humble and Jazzy, and of Kilted and later."""

PROFILE = 'config/fastdds.xml'
"""The shipped profile, see `panoptic_ros.core.resources.resource_file`."""


def profile_variables(distribution: str) -> tuple[str, ...]:
    """Return the variables that a ROS distribution reads, the one to set first.

    Args:
        distribution: name in lower case; empty if it is unknown.
    """
    if distribution in ('humble', 'iron', 'jazzy'):
        return (OLD_VARIABLE,)
    # Kilted still reads the old name.
    return (NEW_VARIABLE, OLD_VARIABLE) if distribution in ('kilted', '') else (NEW_VARIABLE,)


DEFAULT_SEGMENT_BYTES = 512 * 1024
"""Shared memory that Fast DDS gives a process without a profile."""


def segment_bytes(environ: Mapping[str, str]) -> int | None:
    """Return the shared memory in which a process of Fast DDS keeps its messages, bytes.

    Args:
        environ: environment of the process.

    Returns:
        None if it is not known.
    """
    if environ.get('FASTDDS_BUILTIN_TRANSPORTS'):
        return None
    files = [environ.get(name) for name in profile_variables(environ.get('ROS_DISTRO', ''))]
    file = next(filter(None, files), None)
    if file is None:
        return DEFAULT_SEGMENT_BYTES
    try:
        text = Path(file).read_text(encoding='utf-8')
    except (OSError, UnicodeDecodeError):
        return None
    sizes = re.findall(r'<segment_size>\s*(\d{1,18})\s*</segment_size>', text)
    return int(sizes[0]) if sizes else None
