# SPDX-License-Identifier: Apache-2.0
"""Shared memory that ROS processes of one domain did not remove."""

from pathlib import Path

from panoptic_ros.ros.processes import shared_memory_files


def left_by(domain: int) -> list[Path]:
    """Return the files of a domain's ports; other processes may have files of other ports."""
    ports = range(7400 + 250 * domain, 7400 + 250 * (domain + 1))
    return [
        path for path in shared_memory_files() if any(f'port{port}' in path.name for port in ports)
    ]
