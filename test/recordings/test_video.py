# SPDX-License-Identifier: Apache-2.0
"""Video files, the times of their frames, and cameras of this machine."""

from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from panoptic_ros.recordings.video import LocalCamera, Video, read_frames


@pytest.fixture(scope='module')
def grey_video(tmp_path_factory) -> Path:
    """Path of a video of 5 frames, 32 x 48, grey 0, 50, 100, 150, 200, at 10 Hz."""
    path = tmp_path_factory.mktemp('video') / 'grey.avi'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'MJPG'), 10, (48, 32))
    for grey in range(0, 250, 50):
        writer.write(np.full((32, 48, 3), grey, np.uint8))
    writer.release()
    return path


def test_a_video_gives_its_frames_in_time(grey_video):
    video = Video(grey_video)
    pictures = list(video.images())
    assert (video.rate_hz, video.duration_s, video.compressed) == (10, 0.5, False)
    assert [picture.time_s for picture in pictures] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    first = pictures[0].image
    assert (first.height, first.width, first.step, first.encoding) == (32, 48, 144, 'bgr8')
    greys = [picture.image.data.mean() for picture in pictures]
    assert greys == pytest.approx(range(0, 250, 50), abs=3)


def test_a_looped_video_starts_anew_and_time_goes_on(grey_video):
    video = Video(grey_video, loop=True)
    pictures = list(islice(video.images(), 12))
    assert video.duration_s is None
    assert [picture.time_s for picture in pictures] == pytest.approx(np.arange(12) / 10)
    greys = [picture.image.data.mean() for picture in pictures]
    assert greys == pytest.approx([50 * (i % 5) for i in range(12)], abs=3)


@pytest.mark.parametrize(
    ('content', 'error', 'words'),
    [
        (None, FileNotFoundError, 'no video file at'),  # not there
        (b'', ValueError, 'is empty, expected a video file'),  # nothing in it
        (b'not a video' * 99, ValueError, 'cannot be read as a video'),
    ],
)
def test_an_unreadable_video_is_refused_in_one_line(tmp_path, content, error, words):
    path = tmp_path / 'some.mp4'
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(error, match=words) as caught:
        Video(path)
    assert str(path) in str(caught.value) and '\n' not in str(caught.value)


class Capture:
    """OpenCV capture whose frames have given times."""

    def __init__(self, times_ms: list[float]) -> None:
        self.times_ms, self.place = times_ms, -1

    def read(self):
        self.place += 1
        return self.place < len(self.times_ms), np.zeros((2, 4, 3), np.uint8)

    def get(self, name):
        return self.times_ms[self.place] if name == cv2.CAP_PROP_POS_MSEC else 0.0

    def release(self) -> None:
        pass


@pytest.mark.parametrize(
    ('times_ms', 'expected_s'),
    [
        ([0, 40, 80], [0, 0.04, 0.08]),
        ([0, 40, 540, 550], [0, 0.04, 0.54, 0.55]),  # a variable rate
        ([1000, 1040, 1100], [0, 0.04, 0.1]),  # the first frame is not at 0
        ([0, 0, 0], [0, 0.1, 0.2]),  # a file without times
        ([0, 40, 20, 300], [0, 0.04, 0.14, 0.3]),  # one that goes back
        ([0, float('nan'), 50], [0, 0.1, 0.2]),
        ([-5, 35], [0, 0.04]),
    ],
)
def test_each_frame_has_its_own_time(times_ms, expected_s):
    assert [time_s for time_s, _ in read_frames(Capture(times_ms), 10)] == pytest.approx(
        expected_s
    )


def test_a_video_of_a_variable_rate_keeps_its_times(tmp_path):
    image = pytest.importorskip('PIL.Image')
    pictures = [image.new('RGB', (32, 24), (40 * i, 0, 0)) for i in range(4)]
    pictures[0].save(
        tmp_path / 'some.gif',
        save_all=True,
        append_images=pictures[1:],
        duration=[100, 500, 200, 100],
        loop=0,
    )
    times = [picture.time_s for picture in Video(tmp_path / 'some.gif').images()]
    assert times == pytest.approx([0, 0.1, 0.6, 0.8])


def test_a_video_of_too_many_pixels_is_not_read(grey_video, monkeypatch):
    monkeypatch.setattr('panoptic_ros.recordings.video.MAX_IMAGE_PIXELS', 48 * 32 - 1)
    with pytest.raises(ValueError, match='pictures of 48 x 32 pixels, more than the limit'):
        Video(grey_video)


def test_a_camera_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r'camera 87 .* does not exist or gives no picture'):
        LocalCamera(87)


@pytest.mark.parametrize('number', [-1, -(2**40), 256, 2**40])
def test_a_number_that_no_camera_has_is_refused(number):
    with pytest.raises(ValueError, match=f'must be 0 to 255, got {number}'):
        LocalCamera(number)
