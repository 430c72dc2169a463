# SPDX-License-Identifier: Apache-2.0
"""Bag of the synthetic streets that the demo's camera shows by default, with exact depth."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from panoptic_ros.core.progress import with_bar
from panoptic_ros.node.topics import (
    COMPRESSED_DEPTH_INPUT,
    COMPRESSED_INPUT,
    INFO_INPUT,
    INPUT_TYPES,
)
from panoptic_ros.recordings.bag_types import BagTypes
from panoptic_ros.recordings.bag_writer import BagWriter

if TYPE_CHECKING:
    from panoptic_training.data.synthetic import SyntheticFrame

STREET_BESIDE = {name: INPUT_TYPES[name] for name in (INFO_INPUT, COMPRESSED_DEPTH_INPUT)}
"""Message type by name of the inputs beside the images."""

SIZE = (720, 1280)
"""(height, width), px."""

RATE_HZ = 25.0

STREETS = (6, 10)
"""Indices in the city's test split: the view from a moving car, and a crossing."""

STREET_S = 4.0
"""Duration of each street, seconds. The bag is drawn once and played in a loop."""

MAX_DEPTH_M = 60.0
"""Largest depth, m; 16 bits of mm hold 65 m. Beyond there is no depth."""

JPEG_QUALITY = 90

PNG_LEVEL = 1

HEAD_BYTES = 12
"""Size of the header of a compressedDepth image, whose values are for quantised floats."""


def draw_street(path: Path, duration_s: float) -> None:
    """Draw the bag in advance, so that the camera process needs little processor time.

    Args:
        path: of the new bag.
        duration_s: maximum duration; two streets at most are drawn.

    Raises:
        ImportError: if `panoptic_training`, which draws the streets, is not installed.
    """
    from panoptic_training.data.synthetic import SyntheticClip
    from panoptic_training.data.synthetic.labels import TEST_SEEDS

    frames = [(street, index) for street in STREETS for index in range(round(STREET_S * RATE_HZ))]
    clips = {street: SyntheticClip(TEST_SEEDS[street], SIZE, RATE_HZ) for street in STREETS}
    frames = frames[: math.ceil(duration_s * RATE_HZ)]
    types = BagTypes()
    kinds = STREET_BESIDE | {COMPRESSED_INPUT: INPUT_TYPES[COMPRESSED_INPUT]}
    with BagWriter(path, kinds, (), types.store) as bag:
        drawn = with_bar(frames, len(frames), 'images of the street drawn')
        for number, (street, index) in enumerate(drawn):
            time_ns = round((1 + number / RATE_HZ) * 1e9)
            for name, message in street_messages(types, clips[street].frame(index), time_ns):
                bag.write(name, time_ns, message)


def street_messages(
    types: BagTypes, frame: 'SyntheticFrame', time_ns: int
) -> list[tuple[str, Any]]:
    """Return the messages of a frame by name of the node's input, the image last."""
    header = types.make('std_msgs/msg/Header', stamp=types.time(time_ns), frame_id='camera')
    millimetres = np.rint(frame.depth * 1000) * (frame.depth < MAX_DEPTH_M)
    png = _encode('.png', millimetres.astype(np.uint16), cv2.IMWRITE_PNG_COMPRESSION, PNG_LEVEL)
    height, width = frame.depth.shape
    k = frame.intrinsics
    contents: dict[str, dict[str, Any]] = {
        INFO_INPUT: {
            'height': height,
            'width': width,
            'distortion_model': 'plumb_bob',
            'd': np.zeros(5),
            'k': k.flatten(),
            'r': np.eye(3).flatten(),
            'p': np.hstack([k, np.zeros((3, 1))]).flatten(),
        },
        COMPRESSED_DEPTH_INPUT: {
            'format': '16UC1; compressedDepth png',
            'data': np.insert(png, 0, np.zeros(HEAD_BYTES, np.uint8)),
        },
        COMPRESSED_INPUT: {
            'format': 'jpeg',
            'data': _encode(
                '.jpg',
                cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR),
                cv2.IMWRITE_JPEG_QUALITY,
                JPEG_QUALITY,
            ),
        },
    }
    return [
        (name, types.make(INPUT_TYPES[name], header=header, **fields))
        for name, fields in contents.items()
    ]


def _encode(
    ending: str, pixels: npt.NDArray[Any], setting: int, value: int
) -> npt.NDArray[np.uint8]:
    """Return the bytes of an image file."""
    data: npt.NDArray[np.uint8] = cv2.imencode(ending, pixels, [setting, value])[1]
    return data.reshape(-1)
