# SPDX-License-Identifier: Apache-2.0
"""Camera topics of bags as image sources."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import replay_bags
from replay_bags import FOCAL, IMAGE, START_NS, depth_of, drive_in_metres
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from panoptic_ros.recordings.bag_images import BagImages
from panoptic_ros.recordings.image_source import CompressedImage, RawImage
from panoptic_ros.recordings.image_topics import COMPRESSED_TYPE, IMAGE_TYPE

STORE = get_typestore(Stores.ROS2_JAZZY)
KITTI = Path(__file__).parents[3] / 'shared' / 'data' / 'bag' / 'kitti_city'


def header(time_ns: int):
    types = STORE.types
    return types['std_msgs/msg/Header'](
        types['builtin_interfaces/msg/Time'](time_ns // 10**9, time_ns % 10**9), 'cam'
    )


def raw(grey: int, encoding: str = 'rgb8', size: int = 3):
    """Return a maker of images of 4 x 2 pixels, each row with 2 bytes of padding."""

    def make(time_ns: int):
        data = np.full((2, 4 * size + 2), grey, np.uint8)
        return STORE.types[IMAGE_TYPE](
            header(time_ns), 2, 4, encoding, 0, 4 * size + 2, data.reshape(-1)
        )

    return make


def jpeg(time_ns: int):
    data = cv2.imencode('.jpg', np.full((2, 4, 3), 7, np.uint8))[1].reshape(-1)
    return STORE.types[COMPRESSED_TYPE](header(time_ns), 'jpeg', data)


def depth_png(time_ns: int):
    data = cv2.imencode('.png', np.full((2, 4), 1500, np.uint16))[1].reshape(-1)
    return STORE.types[COMPRESSED_TYPE](header(time_ns), '16UC1; png compressed ', data)


def imu_free_text(time_ns: int):
    return STORE.types['std_msgs/msg/String']('hello')


def write_bag(path: Path, topics: dict) -> Path:
    """Write the messages of each topic, a tenth of a second apart."""
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        for topic, makers in topics.items():
            kind = makers[0](0).__msgtype__
            connection = writer.add_connection(topic, kind, typestore=STORE)
            for number, make in enumerate(makers):
                time_ns = 10**18 + number * 10**8
                writer.write(connection, time_ns, STORE.serialize_cdr(make(time_ns), kind))
    return path


@pytest.mark.parametrize(
    ('topics', 'chosen', 'kind', 'count'),
    [
        ({'/a/image': [raw(7)] * 3}, '/a/image', RawImage, 3),
        ({'/a/image': [raw(7)] * 2, '/b/image': [raw(8)] * 4}, '/b/image', RawImage, 4),  # most
        ({'/cam/compressed': [jpeg] * 3}, '/cam/compressed', CompressedImage, 3),
        (
            {'/depth': [raw(1, '16UC1', 2)] * 9, '/rgb': [raw(7)] * 2},
            '/rgb',
            RawImage,
            2,
        ),  # no depth
        ({'/depth': [depth_png] * 9, '/rgb': [raw(7)] * 2}, '/rgb', RawImage, 2),
        ({'/odd': [raw(1, 'strange')] * 9, '/rgb': [raw(7)] * 2}, '/rgb', RawImage, 2),
        ({'/text': [imu_free_text] * 9, '/rgb': [raw(7)]}, '/rgb', RawImage, 1),  # of a single one
    ],
)
def test_a_bag_gives_its_camera_topic(tmp_path, topics, chosen, kind, count):
    bag = BagImages(write_bag(tmp_path / 'bag', topics))
    pictures = list(bag.images())
    assert bag.topic == chosen and chosen in bag.name
    assert bag.compressed == (kind is CompressedImage)
    assert all(isinstance(picture.image, kind) for picture in pictures)
    assert [picture.time_s for picture in pictures] == pytest.approx(np.arange(count) / 10)
    assert bag.rate_hz == pytest.approx(10 if count > 1 else 25)


def test_a_bag_gives_the_recorded_bytes(tmp_path):
    picture = next(BagImages(write_bag(tmp_path / 'bag', {'/rgb': [raw(7)]})).images())
    image = picture.image
    assert image[:5] == (2, 4, 'rgb8', 0, 14)
    assert image.data.tobytes() == bytes([7]) * 28


@pytest.mark.parametrize(
    'topics',
    [
        {'/text': [imu_free_text] * 3},
        {'/text': [imu_free_text] * 3, '/depth': [raw(1, '32FC1', 4)]},  # depth is no camera image
    ],
)
def test_a_bag_without_images_is_refused_with_its_topics(tmp_path, topics):
    with pytest.raises(ValueError, match='no topic with camera images') as caught:
        BagImages(write_bag(tmp_path / 'bag', topics))
    assert all(topic in str(caught.value) for topic in topics)
    assert '/text (std_msgs/msg/String, 3 messages)' in str(caught.value)


def test_a_bag_that_is_missing_or_empty_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match='no bag at'):
        BagImages(tmp_path / 'none')
    with pytest.raises(ValueError, match='it holds no file named') as caught:
        BagImages(tmp_path)
    assert '\n' not in str(caught.value)


def test_a_bag_whose_recording_was_killed_is_played_as_far_as_it_goes(tmp_path):
    bag = write_bag(tmp_path / 'bag', {'/rgb': [raw(7)] * 50})
    (bag / 'metadata.yaml').unlink()
    assert len(list(BagImages(bag).images())) == 50
    content = (bag / 'bag.mcap').read_bytes()
    (bag / 'bag.mcap').write_bytes(content[: len(content) // 2])
    assert 10 < len(list(BagImages(bag).images())) < 50
    (bag / 'bag.mcap').write_bytes(content[:50])
    with pytest.raises(ValueError, match='cannot be read as a bag') as caught:
        BagImages(bag)
    assert '\n' not in str(caught.value)


@pytest.mark.skipif(not KITTI.is_dir(), reason='needs the shared data')
def test_the_recorded_city_is_found():
    bag = BagImages(KITTI)
    assert (bag.topic, bag.compressed) == ('/camera/image_raw/compressed', True)
    assert bag.rate_hz == pytest.approx(10, rel=0.02)
    picture = next(bag.images())
    assert cv2.imdecode(picture.image.data, cv2.IMREAD_COLOR).shape[2] == 3


def test_depth_and_camera_info_come_with_their_image(tmp_path):
    """The depth is recorded after its image, and lacks for one; camera_info is recorded once."""
    kinds = {
        'camera_info': 'sensor_msgs/msg/CameraInfo',
        'depth': 'sensor_msgs/msg/Image',
        'depth/compressedDepth': 'sensor_msgs/msg/CompressedImage',
    }
    messages = list(drive_in_metres(4))
    del messages[4]  # the second depth
    source = BagImages(replay_bags.write_bag(tmp_path / 'bag', messages), (), kinds)
    assert source.beside == {name: kinds[name] for name in ('camera_info', 'depth')}
    images = list(source.images())
    assert [[one.name for one in timed.beside] for timed in images] == [
        ['camera_info', 'depth'],
        ['camera_info'],
        ['camera_info', 'depth'],
        ['camera_info', 'depth'],
    ]
    for i in (0, 2, 3):
        info, depth = images[i].beside
        assert info.message.k[0] == FOCAL
        assert depth.offset_ns == 0
        assert np.array_equal(np.frombuffer(depth.message.data, '<u2'), depth_of(i).reshape(-1))


def test_the_camera_info_of_rectified_images_is_that_of_the_images(tmp_path):
    info = replay_bags.camera_info(START_NS)
    info.k[0], info.d[0] = 50, -0.3
    messages = [
        ('/camera/image_rect', IMAGE, START_NS, replay_bags.image(replay_bags.scene(0), START_NS)),
        ('/camera/camera_info', 'sensor_msgs/msg/CameraInfo', START_NS + 1, info),
    ]
    kinds = {'camera_info': 'sensor_msgs/msg/CameraInfo'}
    source = BagImages(replay_bags.write_bag(tmp_path / 'bag', messages), (), kinds)
    ((given,),) = (timed.beside for timed in source.images())
    assert given.message.k[0] == FOCAL
    assert not len(given.message.d)
