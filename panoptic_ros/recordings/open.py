# SPDX-License-Identifier: Apache-2.0
"""What can be replayed: bags, video files and folders of images; and which topics of it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from panoptic_ros.images.files import MAX_IMAGE_PIXELS
from panoptic_ros.recordings import bag as bags
from panoptic_ros.recordings import folder as folders
from panoptic_ros.recordings import video as videos
from panoptic_ros.recordings.bag import Bag, Record, Recording, Topic
from panoptic_ros.recordings.bag_types import BagTypes
from panoptic_ros.recordings.folder import ImageFolder, image_files
from panoptic_ros.recordings.image_topics import COMPRESSED_TYPE, IMAGE_TYPE, camera_topics
from panoptic_ros.recordings.sources import Source
from panoptic_ros.recordings.storage import BEGIN_NS, END_NS
from panoptic_ros.recordings.video import Video

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

TAKEN = (
    f'a folder of a rosbag2, a file named {", ".join(bags.ENDINGS)}, a video '
    f'({", ".join(videos.ENDINGS)}) or a folder of images ({", ".join(folders.ENDINGS)})'
)


class PictureFile:
    """A video file, or a folder of images, as if it were a bag with one image topic.

    Stamps are times since the first picture; those of a folder whose images are named by stamps
    are the stamps.
    """

    TOPIC = '/camera/image_raw'
    damage = ''

    def __init__(self, source: Video | ImageFolder) -> None:
        """Takes a source that is checked."""
        self._source, self._types = source, BagTypes()
        self._kind = COMPRESSED_TYPE if source.compressed else IMAGE_TYPE
        self.start_ns = source.start_ns if isinstance(source, ImageFolder) else 0
        count = round((source.length_s or 0) * source.rate_hz)
        self.topics: Mapping[str, Topic] = {self.TOPIC: Topic(self._kind, count)}

    def records(
        self, names: Collection[str], start_ns: int = BEGIN_NS, stop_ns: int = END_NS
    ) -> Iterator[Record]:
        """See `Recording`."""
        if self.TOPIC not in names:
            return
        for picture in self._source.pictures():
            time_ns = self.start_ns + round((picture.time_s or 0) * 1e9)
            if time_ns >= stop_ns:
                return
            if time_ns >= start_ns:
                header = self._types.make(
                    'std_msgs/msg/Header', frame_id='camera', stamp=self._types.time(time_ns)
                )
                fields = picture.image._asdict() | {'data': picture.image.data.reshape(-1)}
                message = self._types.make(self._kind, header=header, **fields)
                yield Record(self.TOPIC, time_ns, message, '')


def open_recording(path: Path) -> Recording:
    """Opens a bag, a video file or a folder of images.

    Raises:
        FileNotFoundError, ValueError: in one line, if it is none of them or cannot be read.
    """
    if path.is_dir():
        if (path / 'metadata.yaml').exists() or any(map(bags.is_storage, path.iterdir())):
            return Bag(path)
        if image_files(path):
            return PictureFile(ImageFolder(path))
        raise ValueError(f'{path} holds nothing to replay; expected {TAKEN}')
    if bags.is_storage(path) or not path.exists():
        return Bag(path)
    try:
        return PictureFile(Video(path))
    except ValueError as error:
        if path.suffix.lower() in videos.ENDINGS:
            raise
        raise ValueError(f'{error}; expected {TAKEN}') from None


def choose_cameras(
    recording: Recording,
    wanted: Collection[str],
    not_these: Collection[str] = (),
    transport: str = 'auto',
    window_ns: tuple[int, int] = (BEGIN_NS, END_NS),
    left_out: dict[str, str] | None = None,
    max_image_pixels: int = MAX_IMAGE_PIXELS,
) -> dict[str, str]:
    """Chooses the image topics to replay.

    Args:
        recording: is asked for its topics and first images.
        wanted: topics that the user named; without any, all with camera images.
        not_these: topics that hold something else.
        transport: `raw` or `compressed` leaves out the other; with `auto` the raw image is taken
            where a camera has both.
        window_ns: part of the recording that is replayed, start and end.
        left_out: gets the image topics that nobody named and that hold no camera images, each
            with the reason.
        max_image_pixels: largest image to accept.

    Returns:
        Topic by camera; the camera is named by its topic, without `image_raw` and the like.

    Raises:
        ValueError: listing the topics there are.
    """
    missing = [name for name in wanted if name not in recording.topics]
    if missing:
        raise ValueError(f'no topic {missing[0]}; the topics are: {_list(recording)}')
    strange = [
        name for name in wanted if recording.topics[name].kind not in (IMAGE_TYPE, COMPRESSED_TYPE)
    ]
    if strange:
        raise ValueError(
            f'{strange[0]} holds {recording.topics[strange[0]].kind}, expected an '
            f'Image or a CompressedImage'
        )
    topics = list(wanted)
    if not wanted:
        kinds = {'raw': (IMAGE_TYPE,), 'compressed': (COMPRESSED_TYPE,)}.get(
            transport, (IMAGE_TYPE, COMPRESSED_TYPE)
        )
        topics, reasons = camera_topics(recording, kinds, not_these, *window_ns, max_image_pixels)
        if not topics:
            raise ValueError(
                'there is no topic with camera images; '
                + (
                    '; '.join(f'{name}: {reason}' for name, reason in reasons.items())
                    or f'the topics are: {_list(recording)}'
                )
            )
        topics = [
            name
            for name in topics
            if name.removesuffix('/compressed') == name
            or name.removesuffix('/compressed') not in topics
        ]
        if left_out is not None:
            left_out.update(reasons)
    names = [camera_name(topic) for topic in topics]
    return {
        name if names.count(name) == 1 else topic.strip('/'): topic
        for name, topic in zip(names, topics, strict=True)
    }


def camera_name(topic: str) -> str:
    """What is left of an image topic without its last parts; `camera` if nothing is."""
    parts = topic.strip('/').split('/')
    while parts and parts[-1] in IMAGE_NAMES:
        parts.pop()
    return '/'.join(parts) or 'camera'


def _list(recording: Recording) -> str:
    return (
        ', '.join(
            f'{name} ({topic.kind}, {topic.messages} messages)'
            for name, topic in sorted(recording.topics.items())
        )
        or 'none'
    )


def open_video(path: Path, loop: bool = False) -> Source:
    """Opens a video file, or a folder of images.

    Raises:
        FileNotFoundError, ValueError: if it cannot be read.
    """
    return ImageFolder(path, loop) if path.is_dir() else Video(path, loop)
