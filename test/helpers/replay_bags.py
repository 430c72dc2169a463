# SPDX-License-Identifier: Apache-2.0
"""Small bags of painted scenes for the tiny model, with ground truth."""

import json
from pathlib import Path

import cv2
import numpy as np
from tiny_model import LABELS, paint_scene

from panoptic_ros.core.labels import encode_panoptic
from panoptic_ros.recordings.bag_types import BagTypes

TYPES = BagTypes()
IMAGE, COMPRESSED, STRING = (
    f'{package}/msg/{name}'
    for package, name in (
        ('sensor_msgs', 'Image'),
        ('sensor_msgs', 'CompressedImage'),
        ('std_msgs', 'String'),
    )
)
CAMERA, GT_TOPIC = '/camera/image_raw', '/ground_truth/panoptic'
SIZE = (64, 128)
START_NS = 1_700_000_000_000_000_000
STEP_NS = 100_000_000
DIVISOR = 1000
FLOOR, WALL, BALL, BOX = range(4)


def header(stamp_ns: int):
    stamp = TYPES.make(
        'builtin_interfaces/msg/Time', sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9
    )
    return TYPES.make('std_msgs/msg/Header', stamp=stamp, frame_id='front')


def image(pixels: np.ndarray, stamp_ns: int, encoding: str = 'rgb8'):
    height, width = pixels.shape[:2]
    data = np.ascontiguousarray(pixels).view(np.uint8).reshape(-1)
    return TYPES.make(
        IMAGE,
        header=header(stamp_ns),
        height=height,
        width=width,
        encoding=encoding,
        step=data.size // height,
        data=data,
    )


def compressed(pixels: np.ndarray, stamp_ns: int):
    data = cv2.imencode('.png', cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1]
    return TYPES.make(COMPRESSED, header=header(stamp_ns), format='png', data=data.reshape(-1))


def string(text: str):
    return TYPES.make(STRING, data=text)


def scene(index: int) -> np.ndarray:
    """Return a wall over a floor with a ball and a box; in every fourth image the ball differs."""
    pixels = paint_scene(*SIZE)
    if index % 4 == 3:
        pixels[16:20, 16:48] = 200
    return pixels


def gt_ids(index: int) -> np.ndarray:
    """Return the (H, W) panoptic ids of `scene`: ball is track 5, box 6, a corner is void."""
    pixels = scene(index)
    class_id = np.full(SIZE, WALL)
    for name, color in ((FLOOR, (0, 255, 0)), (BALL, (255, 0, 0)), (BOX, (0, 0, 255))):
        class_id[(pixels == color).all(axis=-1)] = name
    track = np.where(class_id == BALL, 5, np.where(class_id == BOX, 6, 0))
    class_id[:4, :4] = 255
    return encode_panoptic(class_id, track, DIVISOR)


def classes(labels=LABELS) -> str:
    return json.dumps({'labels': labels.to_dicts(), 'label_divisor': DIVISOR})


def write_bag(path: Path, messages, storage: str = 'mcap', compression: str = 'none') -> Path:
    """Write a bag of (topic, type, time in ns, message); return its path."""
    from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

    writer = Writer(path, version=9, storage_plugin=StoragePlugin[storage.upper()])
    if compression != 'none':
        writer.set_compression(CompressionMode[compression.upper()], CompressionFormat.ZSTD)
    connections = {}
    with writer:
        for topic, kind, time_ns, message in messages:
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=TYPES.store)
            writer.write(connections[topic], time_ns, TYPES.store.serialize_cdr(message, kind))
    return path


def drive(count: int = 8, with_gt: bool = True, labels=LABELS):
    """Yield the messages of a short recording with one camera."""
    if with_gt:
        yield f'{GT_TOPIC}/label_info', STRING, START_NS, string(classes(labels))
    for i in range(count):
        stamp = START_NS + i * STEP_NS
        if with_gt:
            yield (
                GT_TOPIC,
                IMAGE,
                stamp + 1,
                image(gt_ids(i).astype('<i4')[..., None], stamp, '32SC1'),
            )
        yield CAMERA, IMAGE, stamp + 2, image(scene(i), stamp)


def write_gt_folder(folder: Path, count: int = 8, labels=LABELS) -> Path:
    folder.mkdir()
    (folder / 'classes.yaml').write_text(classes(labels))  # JSON is YAML
    for i in range(count):
        value = gt_ids(i) & 0xFFFFFF  # void is white
        rgb = np.stack([value % 256, value // 256 % 256, value // 65536], axis=-1)
        cv2.imwrite(str(folder / f'{START_NS + i * STEP_NS}.png'), rgb[..., ::-1].astype(np.uint8))
    return folder


def pausing_bag(path: Path) -> Path:
    """Write a bag with a pause, after which the tracker gives ball and box new ids."""

    def messages():
        yield f'{GT_TOPIC}/label_info', STRING, START_NS, string(classes())
        for i in range(8):
            stamp = START_NS + i * STEP_NS + (5 * 10**9 if i >= 4 else 0)
            yield GT_TOPIC, IMAGE, stamp, image(gt_ids(i).astype('<i4')[..., None], stamp, '32SC1')
            yield CAMERA, IMAGE, stamp, image(scene(i), stamp)

    return write_bag(path, messages())


FOCAL = 100.0
BOX_M = 3.0


def ball_m(index: int) -> float:
    """Return the distance of the ball in an image of `drive_in_metres`."""
    return 1.5 + 0.1 * index


def depth_of(index: int) -> np.ndarray:
    """Return the (H, W) depth in mm of `scene`: a wall at 4 m, the box and the ball before it."""
    height, width = SIZE
    depth = np.full(SIZE, 4000, '<u2')
    rows = slice(height // 4, height * 3 // 4)
    depth[rows, width // 8 : width * 3 // 8] = round(1000 * ball_m(index))
    depth[rows, width * 5 // 8 : width * 7 // 8] = round(1000 * BOX_M)
    return depth


def camera_info(stamp_ns: int):
    height, width = SIZE
    k = np.array([FOCAL, 0, width / 2, 0, FOCAL, height / 2, 0, 0, 1.0])
    return TYPES.make(
        'sensor_msgs/msg/CameraInfo',
        header=header(stamp_ns),
        height=height,
        width=width,
        distortion_model='plumb_bob',
        d=np.zeros(5),
        k=k,
        p=np.insert(k.reshape(3, 3), 3, 0, axis=1).reshape(-1),
    )


def compressed_depth(values: np.ndarray, stamp_ns: int):
    png = cv2.imencode('.png', values)[1].reshape(-1)
    return TYPES.make(
        COMPRESSED,
        header=header(stamp_ns),
        format='16UC1; compressedDepth png',
        data=np.concatenate([np.zeros(12, np.uint8), png]),
    )


def drive_in_metres(
    count: int = 8, namespace: str = '/camera', is_compressed: bool = False, after_ms: int = 5
):
    """Yield images, camera_info once, and each image's depth `after_ms` after it."""
    yield f'{namespace}/camera_info', 'sensor_msgs/msg/CameraInfo', START_NS, camera_info(START_NS)
    for i in range(count):
        stamp = START_NS + i * STEP_NS
        if is_compressed:
            topic, kind = f'{namespace}/depth/compressedDepth', COMPRESSED
            depth = compressed_depth(depth_of(i), stamp)
        else:
            topic, kind = f'{namespace}/depth', IMAGE
            depth = image(depth_of(i)[..., None], stamp, '16UC1')
        messages = [
            (f'{namespace}/image_raw', IMAGE, stamp, image(scene(i), stamp)),
            (topic, kind, stamp + after_ms * 1_000_000, depth),
        ]
        yield from sorted(messages, key=lambda message: message[2])
