# SPDX-License-Identifier: Apache-2.0
"""Size of the shared memory of Fast DDS."""

import pytest

from panoptic_ros.core.resources import resource_file
from panoptic_ros.core.transport import (
    DEFAULT_SEGMENT_BYTES,
    NEW_VARIABLE,
    OLD_VARIABLE,
    PROFILE,
    segment_bytes,
)


@pytest.mark.parametrize(
    ('environ', 'expected'),
    [
        ({}, DEFAULT_SEGMENT_BYTES),
        ({OLD_VARIABLE: PROFILE, 'ROS_DISTRO': 'jazzy'}, 16 * 2**20),
        ({NEW_VARIABLE: PROFILE, 'ROS_DISTRO': 'lyrical'}, 16 * 2**20),
        ({NEW_VARIABLE: PROFILE, 'ROS_DISTRO': 'jazzy'}, DEFAULT_SEGMENT_BYTES),  # not read there
        ({OLD_VARIABLE: PROFILE, 'FASTDDS_BUILTIN_TRANSPORTS': 'LARGE_DATA'}, None),
        ({OLD_VARIABLE: 'no such file'}, None),
    ],
)
def test_the_profile_says_how_much(environ, expected):
    environ = {
        name: str(resource_file(PROFILE)) if value == PROFILE else value
        for name, value in environ.items()
    }
    assert segment_bytes(environ) == expected


def test_a_profile_without_a_size(tmp_path):
    path = tmp_path / 'profile.xml'
    path.write_text('<profiles/>')
    assert segment_bytes({OLD_VARIABLE: str(path), 'ROS_DISTRO': 'humble'}) is None
