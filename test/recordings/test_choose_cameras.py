# SPDX-License-Identifier: Apache-2.0
"""Choice of the image topics to replay."""

import json

import numpy as np
import pytest
from replay_bags import (
    COMPRESSED,
    GT_TOPIC,
    IMAGE,
    STRING,
    compressed,
    image,
    scene,
    string,
    write_bag,
)

from panoptic_ros.node.topics import OWN_IMAGE_TOPICS
from panoptic_ros.recordings.bag import Bag
from panoptic_ros.recordings.image_topics import camera_name, choose_cameras


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
        yield GT_TOPIC, IMAGE, 6, image(np.zeros((64, 128, 1), np.int32), 1, '32SC1')
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
        assert (
            choose_cameras(bag, wanted, own_topics=OWN_IMAGE_TOPICS, transport=transport) == chosen
        )


@pytest.mark.parametrize(
    ('wanted', 'reason'),
    [
        (
            ['/side'],
            r'no topic /side; the topics are: .*/notes \(std_msgs/msg/String, 1 messages\)',
        ),
        (['/notes'], '/notes holds std_msgs/msg/String, expected sensor_msgs/msg/Image or'),
    ],
)
def test_wrong_topics_are_refused(tmp_path, wanted, reason):
    with Bag(mixed(tmp_path)) as bag, pytest.raises(ValueError, match=reason):
        choose_cameras(bag, wanted)


def test_a_bag_without_images_lists_its_topics(tmp_path):
    path = write_bag(tmp_path / 'bag', [('/notes', STRING, 1, string(json.dumps(1)))])
    with Bag(path) as bag, pytest.raises(ValueError, match=r'no topic with camera images.*/notes'):
        choose_cameras(bag, [])


def odd_camera(tmp_path):
    """Write a bag with a good camera and a topic whose images cannot be read."""

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
