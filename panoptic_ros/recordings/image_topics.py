# SPDX-License-Identifier: Apache-2.0
"""Choice of the topics of a recording that hold camera images."""

import re
from collections.abc import Collection
from itertools import islice

from panoptic_ros.core.text import did_you_mean
from panoptic_ros.images.encodings import ENCODINGS
from panoptic_ros.images.files import MAX_IMAGE_PIXELS
from panoptic_ros.images.messages import cv_bridge_fallback, encoding_of, read_message
from panoptic_ros.recordings.recording import RecordedTopic, Recording
from panoptic_ros.recordings.storage import BEGIN_NS, END_NS

IMAGE_TYPE = 'sensor_msgs/msg/Image'
COMPRESSED_TYPE = 'sensor_msgs/msg/CompressedImage'

IMAGE_NAMES = frozenset(
    {
        'image',
        'image_raw',
        'image_color',
        'image_mono',
        'image_rect',
        'image_rect_color',
        'compressed',
    }
)
"""Last parts of image topics that do not name the camera."""

OTHER_ENCODINGS = {'16UC1': 'depth', '32FC1': 'depth', 'mono16': 'depth', '32SC1': 'labels'}
"""What images of these encodings hold, unless the user names their topic."""

HOLDS = 'it holds'
HOLDS_DEPTH = f'{HOLDS} depth'
"""Start of the reason why a topic of depth holds no camera images."""

PROBED = 20
"""Number of images of a topic that are tried until one can be read."""


def choose_cameras(
    recording: Recording,
    wanted: Collection[str],
    ignored: Collection[str] = (),
    own_topics: tuple[str, ...] = (),
    transport: str = 'auto',
    window_ns: tuple[int, int] = (BEGIN_NS, END_NS),
    left_out: dict[str, str] | None = None,
    max_image_pixels: int = MAX_IMAGE_PIXELS,
) -> dict[str, str]:
    """Choose the image topics to replay and name their cameras.

    Args:
        recording: where the topics are.
        wanted: topics that the user named; if empty, all topics with camera images.
        ignored: topics that hold something else.
        own_topics: see `camera_topics`.
        transport: `raw` or `compressed` ignores topics of the other type; `auto` prefers the raw
            topic of a camera that has both.
        window_ns: start and end of the part of the recording that is replayed.
        left_out: receives the image topics that the user did not name and that hold no camera
            images, each with the reason.
        max_image_pixels: largest image to accept.

    Returns:
        Topic by camera name; a camera is named by its topic without `image_raw` and the like.

    Raises:
        ValueError: if a named topic does not exist or is no image topic, or if no topic holds
            camera images; the message lists the topics.
    """
    for name in wanted:
        require_topic(recording, name, (IMAGE_TYPE, COMPRESSED_TYPE))
    topics = list(wanted)
    if not wanted:
        kinds = {'raw': (IMAGE_TYPE,), 'compressed': (COMPRESSED_TYPE,)}.get(
            transport, (IMAGE_TYPE, COMPRESSED_TYPE)
        )
        topics, reasons = camera_topics(
            recording, kinds, ignored, own_topics, *window_ns, max_image_pixels
        )
        if not topics:
            raise ValueError(
                'there is no topic with camera images; '
                + (
                    '; '.join(f'{name}: {reason}' for name, reason in reasons.items())
                    or f'the topics are: {list_topics(recording)}'
                )
            )
        topics = [
            name for name in topics if raw_topic(name) == name or raw_topic(name) not in topics
        ]
        if left_out is not None:
            left_out.update(reasons)
    names = [camera_name(topic) for topic in topics]
    return {
        name if names.count(name) == 1 else topic.strip('/'): topic
        for name, topic in zip(names, topics, strict=True)
    }


def require_topic(recording: Recording, name: str, kinds: Collection[str]) -> RecordedTopic:
    """Return a topic that the user named.

    Raises:
        ValueError: if it does not exist, or has none of the message types `kinds`.
    """
    if name not in recording.topics:
        raise ValueError(
            f'no topic {name}{did_you_mean(name, recording.topics)}; the topics are: '
            f'{list_topics(recording)}'
        )
    topic = recording.topics[name]
    if topic.kind not in kinds:
        raise ValueError(f'{name} holds {topic.kind}, expected {" or ".join(kinds)}')
    return topic


def require_part(recording: Recording, start_ns: int, stop_ns: int) -> None:
    """Refuse a part of a recording without images, if the recording has some.

    Args:
        recording: where the images are.
        start_ns: start of the part, a time of recording.
        stop_ns: end of the part, exclusive.

    Raises:
        ValueError: saying how long the recording's images are.
    """
    names = [
        name
        for name, topic in recording.topics.items()
        if topic.kind in (IMAGE_TYPE, COMPRESSED_TYPE)
    ]

    def has_image(first_ns: int, end_ns: int = END_NS) -> bool:
        return next(iter(recording.records(names, first_ns, end_ns)), None) is not None

    first_ns = recording.start_ns
    if has_image(start_ns, stop_ns) or not has_image(first_ns):
        return
    low_ns, high_ns = first_ns, start_ns
    if has_image(start_ns):
        raise ValueError('the part to be replayed holds no image; choose a longer --duration')
    while high_ns - low_ns > 1e8:  # to a tenth of a second
        middle_ns = (low_ns + high_ns) // 2
        low_ns, high_ns = (middle_ns, high_ns) if has_image(middle_ns) else (low_ns, middle_ns)
    raise ValueError(
        f'--start is {(start_ns - first_ns) / 1e9:g} s, but the last image is '
        f'{(low_ns - first_ns) / 1e9:.1f} s after the start of the recording'
    )


def camera_topics(
    recording: Recording,
    kinds: Collection[str],
    ignored: Collection[str] = (),
    own_topics: tuple[str, ...] = (),
    start_ns: int = BEGIN_NS,
    stop_ns: int = END_NS,
    max_image_pixels: int = MAX_IMAGE_PIXELS,
) -> tuple[list[str], dict[str, str]]:
    """Find the topics with camera images by reading the first images of each topic.

    Args:
        recording: where the topics are.
        kinds: message types to look at.
        ignored: topics to ignore.
        own_topics: image topics that the node itself publishes; ignored, also under the name of
            a camera (`front/panoptic/overlay`) and compressed.
        start_ns: start of the part of the recording to look at.
        stop_ns: end of that part, exclusive.
        max_image_pixels: largest image to accept.

    Returns:
        The topics whose images can be read; and for each other image topic the reason why it is
        left out.
    """
    cameras, left_out = [], {}
    for name, topic in sorted(recording.topics.items()):
        if (
            topic.kind in kinds
            and topic.messages
            and name not in ignored
            and not raw_topic(name).endswith(own_topics)
        ):
            reason = _why_no_camera(recording, name, start_ns, stop_ns, max_image_pixels)
            if reason:
                left_out[name] = reason
            else:
                cameras.append(name)
    return cameras, left_out


def camera_name(topic: str) -> str:
    """Return an image topic without its last parts that name the image, or `camera`.

    >>> camera_name('/front/image_raw/compressed')
    'front'
    >>> camera_name('/image_raw')
    'camera'
    """
    parts = topic.strip('/').split('/')
    while parts and parts[-1] in IMAGE_NAMES:
        parts.pop()
    return '/'.join(parts) or 'camera'


def raw_topic(topic: str) -> str:
    """Return the raw topic of a raw or compressed one.

    >>> raw_topic('/front/image_raw/compressed')
    '/front/image_raw'
    """
    return topic.removesuffix('/compressed')


def camera_title(name: str) -> str:
    """Return a camera's name for messages.

    >>> camera_title('front'), camera_title('camera')
    ('camera front', 'camera')
    """
    return name if name == 'camera' else f'camera {name}'


def list_topics(recording: Recording, notes: dict[str, str] | None = None) -> str:
    """Return the topics of a recording with their types and counts, as text.

    Args:
        recording: where the topics are.
        notes: more about some of the topics, by name.
    """
    notes = notes or {}
    return (
        ', '.join(
            f'{name} ({topic.kind}, {topic.messages} messages'
            + (f': {notes[name]})' if name in notes else ')')
            for name, topic in sorted(recording.topics.items())
        )
        or 'none'
    )


def _why_no_camera(
    recording: Recording, topic: str, start_ns: int, stop_ns: int, max_image_pixels: int
) -> str:
    """Return the reason why a topic holds no camera images; empty if it does."""
    reason, fallback = 'there is no image in the part to be replayed', cv_bridge_fallback()
    for record in islice(recording.records([topic], start_ns, stop_ns), PROBED):
        reason = record.problem
        if record.message is None:
            continue
        encoding = encoding_of(record.message)
        content = OTHER_ENCODINGS.get(encoding) or (
            'numbers'
            if re.fullmatch(r'\d{1,2}[USF]C\d{1,3}', encoding) and encoding not in ENCODINGS
            else ''
        )
        if content:
            return f'{HOLDS} {content} ({encoding})'
        try:
            read_message(record.message, fallback, max_image_pixels)
        except ValueError as error:
            reason = str(error)
        else:
            return ''
    return reason
