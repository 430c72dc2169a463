# SPDX-License-Identifier: Apache-2.0
"""Environment variables from which Fast DDS reads a transport profile."""

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
