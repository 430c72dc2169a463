# SPDX-License-Identifier: Apache-2.0
"""Recordings: every kind of bag, damage, and which topics are cameras."""

import json

import cv2
import numpy as np
import pytest
from replay_bags import (
    COMPRESSED,
    IMAGE,
    STRING,
    TRUTH,
    compressed,
    image,
    scene,
    string,
    write_bag,
)

from panoptic_ros.recordings.bag import Bag
from panoptic_ros.recordings.open import camera_name, choose_cameras, open_recording


@pytest.mark.parametrize(
    ('topic', 'name'),
    [
        ('/front/image_raw', 'front'),
        ('/front/image_raw/compressed', 'front'),
        ('/cars/left/image', 'cars/left'),
        ('/image', 'camera'),
        ('/webcam', 'webcam'),
    ],
)
def test_a_camera_is_named_by_its_topic(topic, name):
    assert camera_name(topic) == name


def mixed(tmp_path):
    def messages():
        pixels = scene(0)
        yield '/front/image_raw', IMAGE, 1, image(pixels, 1)
        yield '/front/image_raw/compressed', COMPRESSED, 2, compressed(pixels, 1)
        yield '/rear/image_raw/compressed', COMPRESSED, 3, compressed(pixels, 1)
        depth = np.zeros((64, 128, 1), np.uint16)
        yield '/front/depth', IMAGE, 4, image(depth, 1, '16UC1')
        yield '/front/panoptic/overlay', IMAGE, 5, image(pixels, 1)
        yield TRUTH, IMAGE, 6, image(np.zeros((64, 128, 1), np.int32), 1, '32SC1')
        yield '/notes', STRING, 7, string('hello')

    return write_bag(tmp_path / 'mixed', messages())


@pytest.mark.parametrize(
    ('wanted', 'transport', 'chosen'),
    [
        ([], 'auto', {'front': '/front/image_raw', 'rear': '/rear/image_raw/compressed'}),
        ([], 'raw', {'front': '/front/image_raw'}),
        (
            [],
            'compressed',
            {'front': '/front/image_raw/compressed', 'rear': '/rear/image_raw/compressed'},
        ),
        (['/rear/image_raw/compressed'], 'auto', {'rear': '/rear/image_raw/compressed'}),
        (
            ['/front/image_raw', '/front/image_raw/compressed'],
            'auto',  # told apart in full
            {
                'front/image_raw': '/front/image_raw',
                'front/image_raw/compressed': '/front/image_raw/compressed',
            },
        ),
    ],
)
def test_cameras_are_the_topics_with_pictures(tmp_path, wanted, transport, chosen):
    with Bag(mixed(tmp_path)) as bag:
        assert choose_cameras(bag, wanted, transport=transport) == chosen


@pytest.mark.parametrize(
    ('wanted', 'reason'),
    [
        (
            ['/side'],
            r'no topic /side; the topics are: .*/notes \(std_msgs/msg/String, 1 messages\)',
        ),
        (['/notes'], '/notes holds std_msgs/msg/String, expected an Image'),
    ],
)
def test_wrong_topics_are_refused(tmp_path, wanted, reason):
    with Bag(mixed(tmp_path)) as bag, pytest.raises(ValueError, match=reason):
        choose_cameras(bag, wanted)


def test_a_bag_without_images_lists_its_topics(tmp_path):
    path = write_bag(tmp_path / 'bag', [('/notes', STRING, 1, string(json.dumps(1)))])
    with Bag(path) as bag, pytest.raises(ValueError, match=r'no topic with camera images.*/notes'):
        choose_cameras(bag, [])


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


def odd_camera(tmp_path):
    """A good camera, and a topic whose images nobody can read."""

    def messages():
        for i in range(3):
            yield '/front/image_raw', IMAGE, 10 + i, image(scene(i), 1)
            yield '/rear/image_raw', IMAGE, 10 + i, image(scene(i), 1, 'strange')
            yield '/rear/image_raw/compressed', COMPRESSED, 10 + i, compressed(scene(i), 1)

    return write_bag(tmp_path / 'odd', messages())


def test_a_topic_that_cannot_be_read_is_left_out_with_its_reason(tmp_path):
    left_out: dict[str, str] = {}
    with Bag(odd_camera(tmp_path)) as bag:
        assert choose_cameras(bag, [], left_out=left_out) == {
            'front': '/front/image_raw',
            'rear': '/rear/image_raw/compressed',
        }
        assert "encoding 'strange' cannot be read" in left_out.pop('/rear/image_raw')
        assert not left_out
        assert choose_cameras(bag, ['/rear/image_raw']) == {'rear': '/rear/image_raw'}  # named
        with pytest.raises(ValueError, match=r'/front/image_raw: there is no image in the part'):
            choose_cameras(bag, [], window_ns=(500, 600))


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
