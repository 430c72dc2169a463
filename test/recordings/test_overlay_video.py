# SPDX-License-Identifier: Apache-2.0
"""Overlay video of a run."""

import cv2
import numpy as np
import pytest

from panoptic_ros.recordings.overlay_video import OverlayVideo


def plain(grey: int, size=(36, 64)) -> np.ndarray:
    return np.full((*size, 3), grey, np.uint8)


def read_video(path) -> tuple[list[np.ndarray], float]:
    capture = cv2.VideoCapture(str(path))
    rate_hz = capture.get(cv2.CAP_PROP_FPS)
    frames = []
    while True:
        readable, frame = capture.read()
        if not readable:
            return frames, rate_hz
        frames.append(frame)


@pytest.mark.parametrize(
    ('stamps', 'expected'),
    [
        ([5.0, 5.1, 5.2, 5.3], [0, 50, 100, 150]),
        ([5.0, 5.11, 5.19, 5.32], [0, 50, 100, 150]),  # cameras are not that exact
        ([5.0, 5.1, 5.4, 5.5], [0, 50, 50, 50, 100, 150]),  # two images were dropped
        ([5.0, 5.01, 5.02, 5.1], [0, 150]),  # faster than the file
    ],
)
def test_a_video_shows_pictures_at_their_time(tmp_path, stamps, expected):
    with OverlayVideo(tmp_path / 'a.mp4', 10) as video:
        for number, stamp_s in enumerate(stamps):
            video.add(plain(50 * number), stamp_s)
    frames, rate_hz = read_video(tmp_path / 'a.mp4')
    shown = [frame.mean() for frame in frames]
    assert rate_hz == pytest.approx(10)
    assert shown == pytest.approx(expected, abs=4)
    assert video.frames == len(frames)


def test_a_video_keeps_colours_and_its_first_size(tmp_path):
    red = np.zeros((35, 63, 3), np.uint8)  # odd sizes cannot be coded
    red[..., 0] = 200
    with OverlayVideo(tmp_path / 'a.mp4', 10) as video:
        video.add(red, 0)
        video.add(plain(90, (20, 200)), 0.1)
    frames, _ = read_video(tmp_path / 'a.mp4')
    assert [frame.shape for frame in frames] == [(36, 64, 3)] * 2
    assert frames[0][10, 10, 2] > 150 > 60 > frames[0][10, 10, 0]  # as BGR
