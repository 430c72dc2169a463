# SPDX-License-Identifier: Apache-2.0
"""The worst frames, which a report shows."""

import numpy as np
import pytest
from tiny_model import LABELS

from panoptic_ros.core.image import CameraImage
from panoptic_ros.replay.frame_records import FrameRecord
from panoptic_ros.replay.report_images import SHOWN
from panoptic_ros.replay.worst import WorstFrames

PICTURE = np.zeros((8, 16, 3), np.uint8)
IMAGE = CameraImage(PICTURE)


@pytest.mark.parametrize('stamp_ns', [lambda i: i * 10**8, lambda i: 0, lambda i: -i * 10**12])
def test_the_worst_of_each_half_second_are_shown_whatever_the_stamps_are(stamp_ns):
    worst = WorstFrames(LABELS)
    for i in range(50):  # 5 s; each is worse than the one before
        worst.add(
            FrameRecord('camera', i, stamp_ns(i), i * 10**8, confidence=1 - i / 50),
            IMAGE,
            PICTURE,
            None,
        )
    assert [one.record.index for one in worst.chosen()] == [49, 44, 39, 34, 29, 24][:SHOWN]


def test_without_frames_none_are_shown():
    assert WorstFrames(LABELS).chosen() == []
