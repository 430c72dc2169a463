# SPDX-License-Identifier: Apache-2.0
"""Cameras of this machine."""

import pytest

from panoptic_ros.recordings.camera import LocalCamera


def test_a_camera_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match='camera 87 is not there'):
        LocalCamera(87)


@pytest.mark.parametrize('number', [-1, -(2**40), 256, 2**40])
def test_a_number_that_no_camera_has_is_refused(number):
    with pytest.raises(ValueError, match=f'must be 0 to 255, got {number}'):
        LocalCamera(number)
