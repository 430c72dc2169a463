from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from panoptic_ros.demo.sources import (
    COMPRESSED_TYPE,
    IMAGE_TYPE,
    Bag,
    CompressedImage,
    LocalCamera,
    RawImage,
    Video,
)

STORE = get_typestore(Stores.ROS2_JAZZY)
KITTI = Path(__file__).parents[3] / 'shared' / 'data' / 'bag' / 'kitti_city'


def header(time_ns: int):
    types = STORE.types
    return types['std_msgs/msg/Header'](
        types['builtin_interfaces/msg/Time'](time_ns // 10**9, time_ns % 10**9), 'cam')


def raw(grey: int, encoding: str = 'rgb8', size: int = 3):
    """4 x 2 pixels; each row ends in 2 bytes of padding."""
    def make(time_ns: int):
        data = np.full((2, 4 * size + 2), grey, np.uint8)
        return STORE.types[IMAGE_TYPE](header(time_ns), 2, 4, encoding, 0, 4 * size + 2,
                                       data.reshape(-1))
    return make


def jpeg(time_ns: int):
    return STORE.types[COMPRESSED_TYPE](header(time_ns), 'jpeg', np.arange(7, dtype=np.uint8))


def imu_free_text(time_ns: int):
    return STORE.types['std_msgs/msg/String']('hello')


def write_bag(path: Path, topics: dict) -> Path:
    """Messages of each topic, a tenth of a second apart."""
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        for topic, makers in topics.items():
            kind = makers[0](0).__msgtype__
            connection = writer.add_connection(topic, kind, typestore=STORE)
            for number, make in enumerate(makers):
                time_ns = 10**18 + number * 10**8
                writer.write(connection, time_ns, STORE.serialize_cdr(make(time_ns), kind))
    return path


@pytest.fixture(scope='module')
def grey_video(tmp_path_factory) -> Path:
    """5 frames of 32 x 48, grey 0, 50, 100, 150, 200, at 10 a second."""
    path = tmp_path_factory.mktemp('video') / 'grey.avi'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'MJPG'), 10, (48, 32))
    for grey in range(0, 250, 50):
        writer.write(np.full((32, 48, 3), grey, np.uint8))
    writer.release()
    return path


def test_a_video_gives_its_frames_in_time(grey_video):
    video = Video(grey_video)
    pictures = list(video.pictures())
    assert (video.rate_hz, video.length_s, video.compressed) == (10, 0.5, False)
    assert [picture.time_s for picture in pictures] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    first = pictures[0].image
    assert (first.height, first.width, first.step, first.encoding) == (32, 48, 144, 'bgr8')
    greys = [picture.image.data.mean() for picture in pictures]
    assert greys == pytest.approx(range(0, 250, 50), abs=3)


def test_a_looped_video_starts_anew_and_time_goes_on(grey_video):
    video = Video(grey_video, loop=True)
    pictures = list(islice(video.pictures(), 12))
    assert video.length_s is None
    assert [picture.time_s for picture in pictures] == pytest.approx(np.arange(12) / 10)
    greys = [picture.image.data.mean() for picture in pictures]
    assert greys == pytest.approx([50 * (i % 5) for i in range(12)], abs=3)


@pytest.mark.parametrize(('content', 'error', 'words'), [
    (None, FileNotFoundError, 'no video file at'),        # not there
    (b'', ValueError, 'cannot be read as a video'),       # nothing in it
    (b'not a video' * 99, ValueError, 'cannot be read as a video'),
])
def test_an_unreadable_video_is_refused_in_one_line(tmp_path, content, error, words):
    path = tmp_path / 'some.mp4'
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(error, match=words) as caught:
        Video(path)
    assert str(path) in str(caught.value) and '\n' not in str(caught.value)


def test_a_camera_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match='camera 87 is not there'):
        LocalCamera(87)


@pytest.mark.parametrize(('topics', 'chosen', 'kind', 'count'), [
    ({'/a/image': [raw(7)] * 3}, '/a/image', RawImage, 3),
    ({'/a/image': [raw(7)] * 2, '/b/image': [raw(8)] * 4}, '/b/image', RawImage, 4),  # most
    ({'/cam/compressed': [jpeg] * 3}, '/cam/compressed', CompressedImage, 3),
    ({'/depth': [raw(1, '16UC1', 2)] * 9, '/rgb': [raw(7)] * 2}, '/rgb', RawImage, 2),  # no depth
    ({'/text': [imu_free_text] * 9, '/rgb': [raw(7)]}, '/rgb', RawImage, 1),  # of a single one
])
def test_a_bag_gives_its_camera_topic(tmp_path, topics, chosen, kind, count):
    bag = Bag(write_bag(tmp_path / 'bag', topics))
    pictures = list(bag.pictures())
    assert bag.topic == chosen and chosen in bag.name
    assert bag.compressed == (kind is CompressedImage)
    assert all(isinstance(picture.image, kind) for picture in pictures)
    assert [picture.time_s for picture in pictures] == pytest.approx(np.arange(count) / 10)
    assert bag.rate_hz == pytest.approx(10 if count > 1 else 25)


def test_a_bag_gives_the_recorded_bytes(tmp_path):
    picture = next(Bag(write_bag(tmp_path / 'bag', {'/rgb': [raw(7)]})).pictures())
    image = picture.image
    assert image[:5] == (2, 4, 'rgb8', 0, 14)
    assert image.data.tobytes() == bytes([7]) * 28


@pytest.mark.parametrize('topics', [
    {'/text': [imu_free_text] * 3},
    {'/text': [imu_free_text] * 3, '/depth': [raw(1, '32FC1', 4)]},  # depth is no camera image
])
def test_a_bag_without_images_is_refused_with_its_topics(tmp_path, topics):
    with pytest.raises(ValueError, match='no topic with camera images') as caught:
        Bag(write_bag(tmp_path / 'bag', topics))
    assert all(topic in str(caught.value) for topic in topics)
    assert '/text (std_msgs/msg/String, 3 messages)' in str(caught.value)


def test_a_bag_that_is_cut_short_or_missing_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match='no bag at'):
        Bag(tmp_path / 'none')
    with pytest.raises(FileNotFoundError, match=r'no metadata\.yaml'):
        Bag(tmp_path)
    bag = write_bag(tmp_path / 'bag', {'/rgb': [raw(7)] * 50})
    content = (bag / 'bag.mcap').read_bytes()
    (bag / 'bag.mcap').write_bytes(content[:len(content) // 2])
    with pytest.raises(ValueError, match='cannot be read as a bag') as caught:
        Bag(bag)
    assert '\n' not in str(caught.value)


@pytest.mark.skipif(not KITTI.is_dir(), reason='needs the shared data')
def test_the_recorded_city_is_found():
    bag = Bag(KITTI)
    assert (bag.topic, bag.compressed) == ('/camera/image_raw/compressed', True)
    assert bag.rate_hz == pytest.approx(10, rel=0.02)
    picture = next(bag.pictures())
    assert cv2.imdecode(picture.image.data, cv2.IMREAD_COLOR).shape[2] == 3
