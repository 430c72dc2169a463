"""Reads recordings: rosbag2 (sqlite3, mcap, compressed or not), ROS 1 bags, video files."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Protocol

import yaml

from panoptic_ros.demo.sources import COMPRESSED_TYPE, DEPTH_ENCODINGS, IMAGE_TYPE, Video
from panoptic_ros.interface.bag_types import BagTypes, typestore
from panoptic_ros.replay.salvage import rescue, unpack_message

OWN_TOPICS = ('panoptic/segments', 'panoptic/semantic', 'panoptic/overlay')
"""Images that the node itself publishes; a bag that holds them is not replayed from them."""

IMAGE_NAMES = frozenset({'image', 'image_raw', 'image_color', 'image_mono', 'image_rect',
                         'image_rect_color', 'compressed'})
"""Last parts of image topics that do not name the camera."""

VIDEO_ENDINGS = ('.mp4', '.avi', '.mov', '.mkv', '.webm', '.m4v')


class Topic(NamedTuple):
    """A topic of a recording."""

    kind: str
    """Message type, `sensor_msgs/msg/Image`."""

    messages: int
    """Messages that the recording should hold, damage or not."""


class Record(NamedTuple):
    """One message of a recording."""

    topic: str
    time_ns: int
    """When it was recorded."""

    message: Any
    """None if it cannot be decoded."""

    problem: str
    """Why it cannot; empty if it can."""


class Recording(Protocol):
    """What can be replayed."""

    topics: Mapping[str, Topic]
    damage: str
    """What is wrong with the files; empty while nothing is. Known in full after reading."""

    start_ns: int

    def records(self, names: Collection[str], start_ns: int = 0,
                stop_ns: int = 2**63 - 1) -> Iterator[Record]:
        """Messages of some topics in the order of their recording, as far as they are whole."""


class Bag:
    """A bag; a damaged one is read as far as it is whole."""

    def __init__(self, path: Path) -> None:
        """Opens it.

        Raises:
            FileNotFoundError, ValueError: if there is nothing to read, in one line.
        """
        if not path.exists():
            raise FileNotFoundError(f'no bag at {path}')
        self.path, self.damage = path, ''
        self._stack = ExitStack()
        self._rescued = False
        try:
            self._reader = self._stack.enter_context(_reader([path]))
        except ImportError:
            raise ValueError('bags need the package rosbags: pip install "panoptic_ros[bag]"'
                             ) from None
        except Exception as error:  # each layer of the reader has its own kinds
            self._rescue(error)
        promised = _promised(path)
        self.topics: Mapping[str, Topic] = {
            name: Topic(info.msgtype or '', max(info.msgcount, promised.get(name, 0)))
            for name, info in self._reader.topics.items()}
        self.start_ns = self._reader.start_time if self._reader.message_count else 0

    def __enter__(self) -> Bag:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._stack.close()

    def records(self, names: Collection[str], start_ns: int = 0,
                stop_ns: int = 2**63 - 1) -> Iterator[Record]:
        """See `Recording`."""
        given = 0
        while True:
            connections = [connection for connection in self._reader.connections
                           if connection.topic in names]
            if not connections:
                return
            try:
                messages = self._reader.messages(connections, start_ns, stop_ns)
                for place, (connection, time_ns, data) in enumerate(messages):
                    if place >= given:  # else it was given before the damage was met
                        given += 1
                        yield self._decode(connection, time_ns, data)
                return
            except (GeneratorExit, KeyboardInterrupt):
                raise
            except Exception as error:
                if self._rescued:
                    self.damage = self.damage or _one_line(error)
                    return
                self._rescue(error)

    def _decode(self, connection: Any, time_ns: int, data: bytes) -> Record:
        try:
            if self._rescued:
                data = unpack_message(data)
            message = self._reader.deserialize(data, connection.msgtype)
        except Exception as error:
            return Record(connection.topic, time_ns, None,
                          f'a message cannot be decoded: {_one_line(error)}')
        return Record(connection.topic, time_ns, message, '')

    def _rescue(self, error: Exception) -> None:
        """Goes on with copies of the files that end where they are whole."""
        self._rescued, self.damage = True, _one_line(error)
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        try:
            files = rescue(self.path, folder)
            reader = self._stack.enter_context(_reader(files))
        except Exception as second:
            raise ValueError(f'{self.path} cannot be read as a bag: {self.damage}; nor could '
                             f'anything be rescued: {_one_line(second)}') from None
        self._reader = reader


class VideoFile:
    """A video file as if it were a bag with one image topic; stamps count from 0."""

    TOPIC = '/camera/image_raw'

    def __init__(self, path: Path) -> None:
        """Checks the file; see `Video`."""
        self._video, self._types = Video(path), BagTypes()
        self.damage, self.start_ns = '', 0
        count = round((self._video.length_s or 0) * self._video.rate_hz)
        self.topics: Mapping[str, Topic] = {self.TOPIC: Topic(IMAGE_TYPE, count)}

    def records(self, names: Collection[str], start_ns: int = 0,
                stop_ns: int = 2**63 - 1) -> Iterator[Record]:
        """See `Recording`."""
        if self.TOPIC not in names:
            return
        for picture in self._video.pictures():
            time_ns = round((picture.time_s or 0) * 1e9)
            if time_ns >= stop_ns:
                return
            if time_ns >= start_ns:
                make = self._types.make
                stamp = make('builtin_interfaces/msg/Time', sec=time_ns // 10**9,
                             nanosec=time_ns % 10**9)
                header = make('std_msgs/msg/Header', stamp=stamp, frame_id='camera')
                fields = picture.image._asdict() | {'data': picture.image.data.reshape(-1)}
                yield Record(self.TOPIC, time_ns, make(IMAGE_TYPE, header=header, **fields), '')


def open_recording(path: Path) -> Recording:
    """A bag, or a video file."""
    if path.suffix.lower() in VIDEO_ENDINGS:
        return VideoFile(path)
    return Bag(path)


def choose_cameras(recording: Recording, wanted: Collection[str], not_these: Collection[str] = (),
                   transport: str = 'auto') -> dict[str, str]:
    """The image topics to replay.

    Args:
        recording: is asked for its topics and first images.
        wanted: topics that the user named; without any, all with camera images.
        not_these: topics that hold something else.
        transport: `raw` or `compressed` leaves out the other; with `auto` the raw image is taken
            where a camera has both.

    Returns:
        Topic by camera; the camera is named by its topic, without `image_raw` and the like.

    Raises:
        ValueError: listing the topics there are.
    """
    kinds = {'raw': (IMAGE_TYPE,), 'compressed': (COMPRESSED_TYPE,)}.get(
        transport, (IMAGE_TYPE, COMPRESSED_TYPE))
    missing = [name for name in wanted if name not in recording.topics]
    if missing:
        raise ValueError(f'no topic {missing[0]}; the topics are: {_list(recording)}')
    strange = [name for name in wanted
               if recording.topics[name].kind not in (IMAGE_TYPE, COMPRESSED_TYPE)]
    if strange:
        raise ValueError(f'{strange[0]} holds {recording.topics[strange[0]].kind}, expected an '
                         f'Image or a CompressedImage')
    topics = list(wanted) or [
        name for name, topic in sorted(recording.topics.items())
        if topic.kind in kinds and topic.messages and name not in not_these
        and not name.endswith(OWN_TOPICS) and _is_camera(recording, name)]
    if not topics:
        raise ValueError(f'there is no topic with camera images; the topics are: '
                         f'{_list(recording)}')
    if not wanted:
        topics = [name for name in topics
                  if name.removesuffix('/compressed') == name
                  or name.removesuffix('/compressed') not in topics]
    names = [camera_name(topic) for topic in topics]
    return {name if names.count(name) == 1 else topic.strip('/'): topic
            for name, topic in zip(names, topics, strict=True)}


def camera_name(topic: str) -> str:
    """What is left of an image topic without its last parts; `camera` if nothing is."""
    parts = topic.strip('/').split('/')
    while parts and parts[-1] in IMAGE_NAMES:
        parts.pop()
    return '/'.join(parts) or 'camera'


def _is_camera(recording: Recording, name: str) -> bool:
    """Whether the first message is neither depth nor labels."""
    first = next(recording.records([name]), None)
    if first is None or first.message is None:
        return True
    if recording.topics[name].kind == COMPRESSED_TYPE:
        return 'compressedDepth' not in first.message.format
    return first.message.encoding not in (*DEPTH_ENCODINGS, '32SC1')


def _list(recording: Recording) -> str:
    return ', '.join(f'{name} ({topic.kind}, {topic.messages} messages)'
                     for name, topic in sorted(recording.topics.items())) or 'none'


def _reader(paths: list[Path]) -> Any:
    from rosbags.highlevel import AnyReader

    return AnyReader(paths, default_typestore=typestore([]))


def _promised(path: Path) -> dict[str, int]:
    """Messages by topic, as the metadata of a bag's folder has it; empty without."""
    try:
        document = yaml.safe_load((path / 'metadata.yaml').read_text(encoding='utf-8'))
        return {entry['topic_metadata']['name']: int(entry['message_count'])
                for entry in document['rosbag2_bagfile_information']['topics_with_message_count']}
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return {}


def _one_line(error: Exception) -> str:
    return ' '.join(str(error).split()) or type(error).__name__
