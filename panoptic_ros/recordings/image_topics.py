# SPDX-License-Identifier: Apache-2.0
"""Which topics of a recording hold camera images."""

from __future__ import annotations

import re
from collections.abc import Collection
from itertools import islice

from panoptic_ros.images.encodings import ENCODINGS
from panoptic_ros.images.files import MAX_IMAGE_PIXELS
from panoptic_ros.images.messages import cv_bridge_fallback, encoding_of, read_message
from panoptic_ros.recordings.bag import Recording
from panoptic_ros.recordings.storage import BEGIN_NS, END_NS

IMAGE_TYPE = 'sensor_msgs/msg/Image'
COMPRESSED_TYPE = 'sensor_msgs/msg/CompressedImage'

OWN_TOPICS = ('panoptic/segments', 'panoptic/semantic', 'panoptic/overlay')
"""Images that the node itself publishes, here or under a camera's name; they are no camera's."""

OTHER_ENCODINGS = {'16UC1': 'depth', '32FC1': 'depth', 'mono16': 'depth', '32SC1': 'labels'}
"""What images of these encodings hold, unless the user names their topic."""

PROBED = 20
"""Images of a topic that are tried, until one can be read."""


def camera_topics(
    recording: Recording,
    kinds: Collection[str],
    not_these: Collection[str] = (),
    start_ns: int = BEGIN_NS,
    stop_ns: int = END_NS,
    max_image_pixels: int = MAX_IMAGE_PIXELS,
) -> tuple[list[str], dict[str, str]]:
    """Finds the topics with camera images in a part of a recording, and the other image topics.

    Args:
        recording: is asked for the first images of each topic.
        kinds: message types to look at.
        not_these: topics to pass over.
        start_ns: start of the part.
        stop_ns: its end.
        max_image_pixels: largest image to accept.

    Returns:
        Topics whose images can be read; and why each other one is left out.
    """
    cameras, left_out = [], {}
    for name, topic in sorted(recording.topics.items()):
        if (
            topic.kind in kinds
            and topic.messages
            and name not in not_these
            and not name.removesuffix('/compressed').endswith(OWN_TOPICS)
        ):
            reason = _why_not(recording, name, start_ns, stop_ns, max_image_pixels)
            if reason:
                left_out[name] = reason
            else:
                cameras.append(name)
    return cameras, left_out


def _why_not(
    recording: Recording, topic: str, start_ns: int, stop_ns: int, max_image_pixels: int
) -> str:
    """Says why the images of a topic are not those of a camera; empty if they are."""
    reason, fallback = 'there is no image in the part to be replayed', cv_bridge_fallback()
    for record in islice(recording.records([topic], start_ns, stop_ns), PROBED):
        reason = record.problem
        if record.message is None:
            continue
        encoding = encoding_of(record.message)
        what = OTHER_ENCODINGS.get(encoding) or (
            'numbers'
            if re.fullmatch(r'\d{1,2}[USF]C\d{1,3}', encoding) and encoding not in ENCODINGS
            else ''
        )
        if what:
            return f'it holds {what} ({encoding})'
        try:
            read_message(record.message, fallback, max_image_pixels)
        except ValueError as error:
            reason = str(error)
        else:
            return ''
    return reason
