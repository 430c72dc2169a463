# SPDX-License-Identifier: Apache-2.0
"""Distinction of camera images from other image topics."""

import cv2
import numpy as np
import pytest
from replay_bags import COMPRESSED, IMAGE, START_NS, TYPES, header, image, scene, write_bag

from panoptic_ros.node.topics import OWN_IMAGE_TOPICS
from panoptic_ros.recordings.bag import Bag
from panoptic_ros.recordings.image_topics import PROBED, camera_topics


def encoded(format_: str, data: bytes, stamp: int = 1):
    return TYPES.make(
        COMPRESSED, header=header(stamp), format=format_, data=np.frombuffer(data, np.uint8)
    )


def png(pixels: np.ndarray) -> bytes:
    return cv2.imencode('.png', pixels)[1].tobytes()


JPEG = cv2.imencode('.jpg', scene(0))[1].tobytes()
DEPTH = np.full((64, 128), 1500, np.uint16)


@pytest.mark.parametrize(
    ('made', 'reason'),
    [
        (image(scene(0), 1), None),
        (image(DEPTH[..., None], 1, '16UC1'), 'depth'),
        (image(DEPTH.astype(np.float32)[..., None], 1, '32FC1'), 'depth'),
        (image(DEPTH[..., None], 1, 'mono16'), 'depth'),
        (image(DEPTH.astype(np.int32)[..., None], 1, '32SC1'), 'labels'),
        (image(DEPTH[..., None], 1, '16SC1'), 'numbers'),
        (encoded('64FC1; tiff compressed ', bytes(99)), 'numbers'),
        (image(scene(0), 1, 'strange'), 'strange'),
        (encoded('rgb8; jpeg compressed bgr8', JPEG), None),
        (encoded('jpeg', JPEG + bytes(5000)), None),
        (encoded('', JPEG), None),
        (encoded('bayer_rggb8; png compressed ', png(scene(0)[..., 0])), None),
        (encoded('16UC1; png compressed ', png(DEPTH)), 'depth'),
        (encoded('png', png(DEPTH)), 'depth'),
        (encoded('16UC1; compressedDepth png', bytes(12) + png(DEPTH)), 'depth'),
        (encoded('32FC1; compressedDepth rvl', bytes(99)), 'depth'),
        (encoded('h264', b'\0\0\0\1\x67' + bytes(200)), 'expected jpeg'),
        (encoded('jpeg', JPEG[: len(JPEG) // 3] + b'\xff\xd9'), 'cut short'),
        (encoded('jpeg', b''), 'is empty'),
        (encoded('16uc1; png compressed ', png(DEPTH)), 'depth'),
        (encoded('depth; png', png(DEPTH)), 'depth'),
    ],
)
def test_a_camera_has_images_that_can_be_read(tmp_path, made, reason):
    kind = COMPRESSED if hasattr(made, 'format') else IMAGE
    path = write_bag(tmp_path / 'bag', [('/some/topic', kind, START_NS, made)])
    with Bag(path) as bag:
        cameras, left_out = camera_topics(bag, (IMAGE, COMPRESSED))
    assert cameras == ([] if reason else ['/some/topic'])
    assert (reason in left_out['/some/topic']) if reason else not left_out


def test_what_the_node_publishes_is_no_camera(tmp_path):
    topics = ['/front/panoptic/semantic', '/panoptic/overlay', '/zed/image_raw']
    messages = [(topic, IMAGE, START_NS, image(scene(0), 1)) for topic in topics]
    messages += [('/panoptic/overlay/compressed', COMPRESSED, START_NS, encoded('jpeg', JPEG))]
    with Bag(write_bag(tmp_path / 'bag', messages)) as bag:
        found = camera_topics(bag, [IMAGE, COMPRESSED], own_topics=OWN_IMAGE_TOPICS)
        assert found == (['/zed/image_raw'], {})


def test_a_long_encoding_is_told_in_short(tmp_path):
    made = image(scene(0), 1, 'x' * 100_000)
    with Bag(write_bag(tmp_path / 'bag', [('/c', IMAGE, START_NS, made)])) as bag:
        assert len(camera_topics(bag, [IMAGE])[1]['/c']) < 600


@pytest.mark.parametrize(('bad', 'is_camera'), [(1, True), (PROBED - 1, True), (PROBED, False)])
def test_a_camera_may_start_badly(tmp_path, bad, is_camera):
    images = [encoded('jpeg', b'' if place < bad else JPEG) for place in range(bad + 3)]
    path = write_bag(
        tmp_path / 'bag',
        [('/c', COMPRESSED, START_NS + place, made) for place, made in enumerate(images)],
    )
    with Bag(path) as bag:
        assert bool(camera_topics(bag, (COMPRESSED,))[0]) == is_camera
        cameras, left_out = camera_topics(bag, (COMPRESSED,), start_ns=START_NS + bad)
        assert cameras == ['/c'] and not left_out
        cameras, left_out = camera_topics(bag, (COMPRESSED,), start_ns=START_NS + 99)
        assert 'no image in the part' in left_out['/c']
