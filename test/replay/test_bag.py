"""Recordings: every kind of bag, damage, and which topics are cameras."""

import json

import numpy as np
import pytest
from replay_bags import (
    CAMERA,
    COMPRESSED,
    IMAGE,
    START_NS,
    STEP_NS,
    STRING,
    TRUTH,
    compressed,
    drive,
    image,
    scene,
    string,
    write_bag,
)

from panoptic_ros.replay.bag import Bag, camera_name, choose_cameras, open_recording

KINDS = [(storage, compression) for storage in ('sqlite3', 'mcap')
         for compression in ('none', 'message', 'file')] + [('mcap', 'storage')]


def stamps(bag: Bag, topic: str = CAMERA) -> list[int]:
    return [record.message.header.stamp.sec * 10**9 + record.message.header.stamp.nanosec
            for record in bag.records([topic]) if record.message is not None]


def expected(count: int) -> list[int]:
    return [START_NS + i * STEP_NS for i in range(count)]


@pytest.mark.parametrize(('storage', 'compression'), KINDS)
def test_every_image_comes_in_order(tmp_path, storage, compression):
    path = write_bag(tmp_path / 'bag', drive(6), storage, compression)
    with Bag(path) as bag:
        assert bag.topics[CAMERA] == (IMAGE, 6)
        assert stamps(bag) == expected(6)
        assert stamps(bag) == expected(6)  # again
        first = next(bag.records([CAMERA])).message
        assert np.array_equal(first.data.reshape(64, 128, 3), scene(0))
        assert bag.damage == ''


def long_drive(tmp_path, storage, compression='none', count=120):
    """Long enough for several chunks and pages."""
    rng = np.random.default_rng(0)  # noise, so that compression leaves some bytes
    messages = [(CAMERA, IMAGE, START_NS + i * STEP_NS,
                 image(rng.integers(0, 255, (64, 128, 3), np.uint8), START_NS + i * STEP_NS))
                for i in range(count)]
    path = write_bag(tmp_path / 'bag', messages, storage, compression)
    file, = (file for file in path.iterdir() if file.name != 'metadata.yaml')
    return path, file


@pytest.mark.parametrize(('storage', 'compression'), KINDS)
def test_a_file_that_is_cut_short_is_read_to_its_end(tmp_path, storage, compression):
    path, file = long_drive(tmp_path, storage, compression)
    data = file.read_bytes()
    file.write_bytes(data[:len(data) * 6 // 10])
    with Bag(path) as bag:
        found = stamps(bag)
        assert found == expected(120)[:len(found)]
        assert 24 <= len(found) <= 75
        assert bag.topics[CAMERA].messages == 120  # so that the loss can be counted
        assert bag.damage


@pytest.mark.parametrize(('storage', 'compression'), [('sqlite3', 'none'), ('mcap', 'storage'),
                                                      ('mcap', 'none')])
def test_a_hole_in_a_file_ends_it(tmp_path, storage, compression):
    path, file = long_drive(tmp_path, storage, compression)
    data = bytearray(file.read_bytes())
    middle = len(data) // 2
    data[middle:middle + 70_000] = b'\xff' * 70_000
    file.write_bytes(bytes(data))
    with Bag(path) as bag:
        found = list(bag.records([CAMERA]))
        good = [r.time_ns for r in found if r.message is not None and r.message.height == 64]
        assert good[:40] == expected(120)[:40]
        assert len(found) < 120
        assert bag.damage


@pytest.mark.parametrize('storage', ['sqlite3', 'mcap'])
def test_a_bag_whose_recording_was_killed_has_no_metadata(tmp_path, storage):
    path, _ = long_drive(tmp_path, storage)
    (path / 'metadata.yaml').unlink()
    with Bag(path) as bag:
        assert stamps(bag) == expected(120)
        assert 'metadata' in bag.damage


def test_what_holds_nothing_is_refused_in_one_line(tmp_path):
    with pytest.raises(FileNotFoundError, match='no bag at'):
        Bag(tmp_path / 'nothing')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ValueError, match='cannot be read as a bag'):
        Bag(tmp_path / 'empty')
    (tmp_path / 'bad.mcap').write_bytes(b'nothing of the kind' * 10)
    with pytest.raises(ValueError, match='no message is whole') as caught:
        Bag(tmp_path / 'bad.mcap')
    assert '\n' not in str(caught.value)


def test_a_message_that_cannot_be_decoded_is_told_of(tmp_path):
    path = write_bag(tmp_path / 'bag', drive(3, with_truth=False), 'sqlite3')
    import sqlite3

    with sqlite3.connect(next(path.glob('*.db3'))) as database:
        database.execute('UPDATE messages SET data = ? WHERE id = 2', (b'\0\1\0\0short',))
    with Bag(path) as bag:
        records = list(bag.records([CAMERA]))
    assert [bool(record.problem) for record in records] == [False, True, False]
    assert 'cannot be decoded' in records[1].problem


@pytest.mark.parametrize(('topic', 'name'), [
    ('/front/image_raw', 'front'), ('/front/image_raw/compressed', 'front'),
    ('/cars/left/image', 'cars/left'), ('/image', 'camera'), ('/webcam', 'webcam')])
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


@pytest.mark.parametrize(('wanted', 'transport', 'chosen'), [
    ([], 'auto', {'front': '/front/image_raw', 'rear': '/rear/image_raw/compressed'}),
    ([], 'raw', {'front': '/front/image_raw'}),
    ([], 'compressed', {'front': '/front/image_raw/compressed',
                        'rear': '/rear/image_raw/compressed'}),
    (['/rear/image_raw/compressed'], 'auto', {'rear': '/rear/image_raw/compressed'}),
    (['/front/image_raw', '/front/image_raw/compressed'], 'auto',  # told apart in full
     {'front/image_raw': '/front/image_raw',
      'front/image_raw/compressed': '/front/image_raw/compressed'}),
])
def test_cameras_are_the_topics_with_pictures(tmp_path, wanted, transport, chosen):
    with Bag(mixed(tmp_path)) as bag:
        assert choose_cameras(bag, wanted, transport=transport) == chosen


@pytest.mark.parametrize(('wanted', 'reason'), [
    (['/side'], r'no topic /side; the topics are: .*/notes \(std_msgs/msg/String, 1 messages\)'),
    (['/notes'], '/notes holds std_msgs/msg/String, expected an Image')])
def test_wrong_topics_are_refused(tmp_path, wanted, reason):
    with Bag(mixed(tmp_path)) as bag, pytest.raises(ValueError, match=reason):
        choose_cameras(bag, wanted)


def test_a_bag_without_images_lists_its_topics(tmp_path):
    path = write_bag(tmp_path / 'bag', [('/notes', STRING, 1, string(json.dumps(1)))])
    with Bag(path) as bag, pytest.raises(ValueError, match=r'no topic with camera images.*/notes'):
        choose_cameras(bag, [])


def test_a_video_is_a_recording_too(tmp_path):
    import cv2

    writer = cv2.VideoWriter(str(tmp_path / 'drive.avi'), cv2.VideoWriter.fourcc(*'MJPG'), 20.0,
                             (128, 64))
    for i in range(5):
        writer.write(cv2.cvtColor(scene(i), cv2.COLOR_RGB2BGR))
    writer.release()
    video = open_recording(tmp_path / 'drive.avi')
    topic, = choose_cameras(video, []).values()
    records = list(video.records([topic]))
    assert [record.time_ns for record in records] == [i * 50_000_000 for i in range(5)]
    assert records[2].message.encoding == 'bgr8'
    assert [r.time_ns for r in video.records([topic], 50_000_000, 150_000_000)] == [
        50_000_000, 100_000_000]
