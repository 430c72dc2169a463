# SPDX-License-Identifier: Apache-2.0
"""Videos and folders of images as recordings."""

import cv2
import numpy as np
import pytest
from replay_bags import COMPRESSED, scene

from panoptic_ros.recordings.image_topics import choose_cameras
from panoptic_ros.recordings.open import open_recording


def test_a_video_is_a_recording_too(tmp_path):

    writer = cv2.VideoWriter(
        str(tmp_path / 'drive.avi'), cv2.VideoWriter.fourcc(*'MJPG'), 20.0, (128, 64)
    )
    for i in range(5):
        writer.write(cv2.cvtColor(scene(i), cv2.COLOR_RGB2BGR))
    writer.release()
    video = open_recording(tmp_path / 'drive.avi')
    (topic,) = choose_cameras(video, []).values()
    records = list(video.records([topic]))
    assert [record.time_ns for record in records] == [i * 50_000_000 for i in range(5)]
    assert records[2].message.encoding == 'bgr8'
    assert [r.time_ns for r in video.records([topic], 50_000_000, 150_000_000)] == [
        50_000_000,
        100_000_000,
    ]


def test_a_folder_of_images_is_a_recording_too(tmp_path):
    (tmp_path / 'photos').mkdir()
    for i in range(12):
        cv2.imwrite(str(tmp_path / 'photos' / f'{i}.png'), np.full((9, 12, 3), i, np.uint8))
    (tmp_path / 'photos' / '5.png').write_bytes(b'trash')
    photos = open_recording(tmp_path / 'photos')
    assert photos.topics == {'/camera/image_raw': (COMPRESSED, 12)}
    assert choose_cameras(photos, []) == {'camera': '/camera/image_raw'}
    records = list(photos.records(['/camera/image_raw']))
    assert [record.time_ns for record in records] == [i * 10**8 for i in range(12)]
    pixels = [cv2.imdecode(record.message.data, 1) for record in records]
    assert [p if p is None else p.max() for p in pixels] == [*range(5), None, *range(6, 12)]


def test_images_named_by_stamps_keep_them(tmp_path):
    (tmp_path / 'photos').mkdir()
    for stamp in (1_700_000_000_123_456_789, 1_700_000_000_223_456_789):
        cv2.imwrite(str(tmp_path / 'photos' / f'{stamp}.png'), np.zeros((9, 12, 3), np.uint8))
    photos = open_recording(tmp_path / 'photos')
    times = [record.message.header.stamp for record in photos.records(['/camera/image_raw'])]
    assert [(time.sec, time.nanosec) for time in times] == [
        (1_700_000_000, 123_456_789),
        (1_700_000_000, 223_456_789),
    ]
    assert photos.start_ns == 1_700_000_000_123_456_789


@pytest.mark.parametrize('name', ['clip.3gp', 'clip.TS', 'clip.divx', 'clip', 'a%03d.mp4'])
def test_a_video_of_any_name_is_taken(tmp_path, name):
    writer = cv2.VideoWriter(
        str(tmp_path / 'clip.mp4'), cv2.VideoWriter.fourcc(*'mp4v'), 25.0, (128, 64)
    )
    for i in range(3):
        writer.write(scene(i))
    writer.release()
    (tmp_path / 'clip.mp4').rename(tmp_path / name)
    assert len(list(open_recording(tmp_path / name).records(['/camera/image_raw']))) == 3


@pytest.mark.parametrize(
    ('name', 'reason'),
    [
        (
            'some.txt',
            r'cannot be read as a video.*; expected a folder of a rosbag2, a file named '
            r'\.mcap, .*, a video \(\.mp4, .*\) or a folder of images \(\.jpg',
        ),
        ('some.mp4', 'cannot be read as a video'),
        ('folder', 'holds nothing to replay; expected a folder of a rosbag2'),
        ('none', 'no bag at'),
    ],
)
def test_other_files_are_refused_with_what_is_taken(tmp_path, name, reason):
    (tmp_path / 'folder').mkdir()
    for file in ('some.txt', 'some.mp4'):
        (tmp_path / file).write_text('no recording')
    with pytest.raises((ValueError, FileNotFoundError), match=reason) as caught:
        open_recording(tmp_path / name)
    assert '\n' not in str(caught.value)
