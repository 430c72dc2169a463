# SPDX-License-Identifier: Apache-2.0
"""Ground truth on a topic of a bag.

Each message is a sensor_msgs/Image 32SC1 with `class_id * label_divisor + track_id` per pixel;
void is class 255 or a negative value. The classes are JSON in a std_msgs/String on
`<topic>/label_info`; see `ground_truth`.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.class_file import check_divisor
from panoptic_ros.core.documents import parse_json
from panoptic_ros.core.labels import VOID_ID, LabelSet
from panoptic_ros.images.messages import header_stamp_ns
from panoptic_ros.recordings.image_topics import IMAGE_TYPE
from panoptic_ros.recordings.recording import Record, Recording
from panoptic_ros.replay.ground_truth_classes import ClassTranslation, GroundTruthMaps

LABEL_INFO = 'label_info'


class _Position(NamedTuple):
    """Position of a message on its topic."""

    time_ns: int
    """Time of recording."""

    number: int
    """Number among all messages of the topic, from 0."""

    number_at_time: int
    """Number among the messages with the same time of recording, from 0."""


class TopicGroundTruth:
    """Ground truth on a topic of the bag."""

    def __init__(self, recording: Recording, topic: str, labels: LabelSet) -> None:
        """Read the classes and the stamps.

        Args:
            recording: the bag, opened for this object alone.
            topic: of the ground truth.
            labels: classes of the model.

        Raises:
            ValueError: if the bag has no such topic, the topic is of another type, or its classes
                are missing or not those of the model.
        """
        self.name = f'topic {topic}'
        info_topic = f'{topic}/{LABEL_INFO}'
        for name, kind in ((topic, IMAGE_TYPE), (info_topic, 'std_msgs/msg/String')):
            if name not in recording.topics:
                raise ValueError(
                    f'no topic {name}, which ground truth on {topic} needs; the '
                    f'topics are: {", ".join(sorted(recording.topics))}'
                )
            if recording.topics[name].kind != kind:
                raise ValueError(f'{name} must hold {kind}, got {recording.topics[name].kind}')
        info = next(recording.records([info_topic], recording.start_ns), None)
        if info is None or info.message is None:
            raise ValueError(f'{info_topic} has no message that names the classes')
        gt_labels, self._divisor = _read_classes(info.message.data, info_topic)
        self._classes = ClassTranslation(gt_labels, labels, info_topic)
        self._recording, self._topic = recording, topic
        self._positions = self._find_positions()
        self._messages: Iterator[Record] = iter(())
        self._next = 2**63  # number of the message that `_messages` yields next
        self._last: Record | None = None

    def stamps(self) -> set[int]:
        """See `GroundTruth`."""
        return set(self._positions)

    def at(self, stamp_ns: int, recorded_ns: int = 0) -> GroundTruthMaps | None:
        """See `GroundTruth`."""
        positions = self._positions.get(stamp_ns)
        if not positions:
            return None
        message = self._read(min(positions, key=lambda place: abs(place.time_ns - recorded_ns)))
        if message is None or header_stamp_ns(message) != stamp_ns:  # the file is damaged
            return None
        if message.encoding != '32SC1':
            raise ValueError(f'{self._topic} must be encoded as 32SC1, got {message.encoding!r}')
        order = '>' if message.is_bigendian else '<'
        data = np.frombuffer(message.data, np.uint8)
        if message.step < 4 * message.width or data.size != message.step * message.height:
            raise ValueError(
                f'{self._topic}: data must hold {message.height} rows of '
                f'{message.step} bytes, got {data.size}'
            )
        ids: npt.NDArray[np.int32] = np.ndarray(
            (message.height, message.width), f'{order}i4', data, strides=(message.step, 4)
        )
        class_map, track_map = np.divmod(ids, np.int32(self._divisor))
        class_map[ids < 0] = VOID_ID
        return self._classes.translate(class_map, track_map)

    def _find_positions(self) -> dict[int, list[_Position]]:
        """Return the positions of the messages by stamp."""
        positions: dict[int, list[_Position]] = defaultdict(list)
        first, time_ns = 0, self._recording.start_ns
        for index, record in enumerate(self._records(time_ns)):
            if record.time_ns != time_ns:
                first, time_ns = index, record.time_ns
            if record.message is not None:
                stamp_ns = header_stamp_ns(record.message)
                positions[stamp_ns].append(_Position(record.time_ns, index, index - first))
        return dict(positions)

    def _read(self, position: _Position) -> Any:
        """Return the message at a position; None if it cannot be read any more."""
        if self._next > position.number + 1:
            self._messages = self._records(position.time_ns)
            self._next = position.number - position.number_at_time
        while self._next <= position.number:
            self._last = next(self._messages, None)
            self._next += 1
        return self._last and self._last.message

    def _records(self, start_ns: int) -> Iterator[Record]:
        return self._recording.records([self._topic], start_ns)


def _read_classes(text: str, origin: str) -> tuple[LabelSet, int]:
    """Return label set and label divisor from a JSON text."""
    try:
        document = parse_json(text, origin)
        labels, divisor = LabelSet.from_dicts(document['labels']), document['label_divisor']
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f'{origin} must be JSON with labels and label_divisor: {type(error).__name__}: {error}'
        ) from None
    check_divisor(divisor, f'{origin}: label_divisor')
    return labels, divisor
