# SPDX-License-Identifier: Apache-2.0
"""Video of the synthetic streets that the demo's camera shows by default."""

import math
from pathlib import Path

import cv2

from panoptic_ros.core.progress import with_bar

SIZE = (720, 1280)
"""(height, width), px."""

RATE_HZ = 25.0

STREETS = (6, 10)
"""Indices in the city's test split: the view from a moving car, and a crossing."""

STREET_S = 4.0
"""Duration of each street, seconds. The video is drawn once and played in a loop."""


def draw_street(path: Path, duration_s: float) -> None:
    """Draw the video in advance, so that the camera process needs little processor time.

    Args:
        path: of the new AVI file.
        duration_s: maximum duration; two streets at most are drawn.

    Raises:
        ImportError: if `panoptic_training`, which draws the streets, is not installed.
        ValueError: if OpenCV cannot write videos.
    """
    from panoptic_training.data.synthetic import SyntheticClip
    from panoptic_training.data.synthetic.labels import TEST_SEEDS

    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'MJPG'), RATE_HZ, SIZE[::-1])
    if not writer.isOpened():
        raise ValueError(
            f'this OpenCV ({cv2.__version__}) cannot write videos; '
            'pip install opencv-python-headless'
        )
    frames = [(street, index) for street in STREETS for index in range(round(STREET_S * RATE_HZ))]
    clips = {street: SyntheticClip(TEST_SEEDS[street], SIZE, RATE_HZ) for street in STREETS}
    frames = frames[: math.ceil(duration_s * RATE_HZ)]
    for street, index in with_bar(frames, len(frames), 'images of the street drawn'):
        writer.write(cv2.cvtColor(clips[street].frame(index).image, cv2.COLOR_RGB2BGR))
    writer.release()
