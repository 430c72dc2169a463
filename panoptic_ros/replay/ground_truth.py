# SPDX-License-Identifier: Apache-2.0
"""What is really there in each image: from a topic of the bag, or from a folder of PNGs.

Both code a pixel as `class_id * label_divisor + track_id`, as `panoptic score-video` does; the
track id lasts over the clip, is 0 for stuff, and 0 on a thing marks a crowd, which need not be
found. A topic is a sensor_msgs/Image 32SC1; void is class 255 or below 0; its classes are JSON in
a std_msgs/String on `<topic>/label_info`. A folder holds `<stamp in ns>.png` (R + 256 G + 65536 B;
void is class 255 or white) and its classes in `labels.yaml`. The classes: `label_divisor: 1000`,
and `labels:` with name, is_thing and color of each, class ids in order.

A truth belongs to the images with its stamp. If several images share a stamp, each gets the truth
of that stamp that was recorded nearest to it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.documents import parse_json
from panoptic_ros.core.labels import VOID_ID, LabelSet
from panoptic_ros.images.messages import header_stamp_ns
from panoptic_ros.metrics.video_files import check_divisor, read_frame, read_label_file
from panoptic_ros.recordings.image_topics import IMAGE_TYPE
from panoptic_ros.recordings.recording import Record, Recording

LABEL_INFO = 'label_info'
LABELS_FILE = 'labels.yaml'


class Truth(NamedTuple):
    """The ground truth of one image, in the model's classes."""

    class_map: npt.NDArray[np.uint8]
    """(H, W) class id, VOID_ID = void."""

    track_map: npt.NDArray[np.int64]
    """(H, W) track id; 0 for stuff, void and crowds."""


class GroundTruth(Protocol):
    """Truth by stamp. It is found fastest for images in the order of their recording."""

    name: str
    """For people."""

    def stamps(self) -> set[int]:
        """Of which images there is a truth; header stamps, ns."""

    def at(self, stamp_ns: int, recorded_ns: int = 0) -> Truth | None:
        """Of one image; None if there is none.

        Args:
            stamp_ns: of the image.
            recorded_ns: when it was recorded; of several truths with one stamp the one that was
                recorded nearest to that is taken.

        Raises:
            ValueError: if what is there cannot be read as such.
        """


class _Place(NamedTuple):
    """Where a message is on its topic."""

    time_ns: int
    """When it was recorded."""

    number: int
    """Among all of the topic, from 0."""

    nth: int
    """Among those with the same time, from 0."""


class TopicTruth:
    """Ground truth on a topic of the bag."""

    def __init__(self, recording: Recording, topic: str, labels: LabelSet) -> None:
        """Reads the classes.

        Raises:
            ValueError: if the topic is none of the bag's or of another type, or its classes are
                not the model's.
        """
        self.name = f'topic {topic}'
        info = f'{topic}/{LABEL_INFO}'
        for name, kind in ((topic, IMAGE_TYPE), (info, 'std_msgs/msg/String')):
            if name not in recording.topics:
                raise ValueError(
                    f'no topic {name}, which ground truth on {topic} needs; the '
                    f'topics are: {", ".join(sorted(recording.topics))}'
                )
            if recording.topics[name].kind != kind:
                raise ValueError(f'{name} must hold {kind}, got {recording.topics[name].kind}')
        said = next(recording.records([info], recording.start_ns), None)
        if said is None or said.message is None:
            raise ValueError(f'{info} has no message that names the classes')
        own, self._divisor = _read_classes(said.message.data, info)
        self._classes = _Classes(own, labels, info)
        self._recording, self._topic = recording, topic
        self._places = self._find_places()
        self._messages: Iterator[Record] = iter(())
        self._next = 2**63  # number of the message that `_messages` gives next
        self._last: Record | None = None

    def stamps(self) -> set[int]:
        """See `GroundTruth`."""
        return set(self._places)

    def at(self, stamp_ns: int, recorded_ns: int = 0) -> Truth | None:
        """See `GroundTruth`."""
        places = self._places.get(stamp_ns)
        if not places:
            return None
        message = self._read(min(places, key=lambda place: abs(place.time_ns - recorded_ns)))
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

    def _find_places(self) -> dict[int, list[_Place]]:
        """Where the truths are, by stamp."""
        places: dict[int, list[_Place]] = defaultdict(list)
        first, time_ns = 0, self._recording.start_ns
        for number, record in enumerate(self._records(time_ns)):
            if record.time_ns != time_ns:
                first, time_ns = number, record.time_ns
            if record.message is not None:
                places[header_stamp_ns(record.message)].append(
                    _Place(record.time_ns, number, number - first)
                )
        return dict(places)

    def _read(self, place: _Place) -> Any:
        """The message at a place; None if it is not there any more."""
        if self._next > place.number + 1:
            self._messages = self._records(place.time_ns)
            self._next = place.number - place.nth
        while self._next <= place.number:
            self._last = next(self._messages, None)
            self._next += 1
        return self._last and self._last.message

    def _records(self, start_ns: int) -> Iterator[Record]:
        return self._recording.records([self._topic], start_ns)


class FolderTruth:
    """Ground truth in a folder of PNGs."""

    def __init__(self, folder: Path, labels: LabelSet) -> None:
        """Reads the classes and the names of the files.

        Raises:
            FileNotFoundError, ValueError: if it is not such a folder, or its classes are not the
                model's.
        """
        self.name = f'folder {folder}'
        file = folder / LABELS_FILE
        if not file.is_file():
            raise FileNotFoundError(
                f'{folder} has no {LABELS_FILE}, which names the classes of its PNGs'
            )
        self._own, self._divisor = read_label_file(file)
        self._classes = _Classes(self._own, labels, str(file))
        self._files = {
            int(path.stem): path for path in folder.glob('*.png') if path.stem.isdecimal()
        }
        if not self._files:
            raise ValueError(
                f'{folder} has no PNG that is named by a stamp in ns: 1317000000000000000.png'
            )

    def stamps(self) -> set[int]:
        """See `GroundTruth`."""
        return set(self._files)

    def at(self, stamp_ns: int, recorded_ns: int = 0) -> Truth | None:
        """See `GroundTruth`."""
        path = self._files.get(stamp_ns)
        if path is None:
            return None
        return self._classes.translate(*read_frame(path, self._own, self._divisor))


class _Classes:
    """From the ground truth's own classes to the model's, by name."""

    def __init__(self, own: LabelSet, labels: LabelSet, where: str) -> None:
        check_labels(own, labels, where)
        self._where, self._count = where, len(own)
        self._class_id = np.full(VOID_ID + 1, VOID_ID, np.uint8)
        self._class_id[: len(own)] = labels.class_ids(own.names)
        self._is_thing = np.append(labels.is_thing, np.zeros(VOID_ID + 1 - len(labels), bool))

    def translate(self, class_map: npt.NDArray[Any], track_map: npt.NDArray[Any]) -> Truth:
        strange = class_map[(class_map >= self._count) & (class_map != VOID_ID)]
        if strange.size:
            raise ValueError(
                f'the ground truth holds class id {int(strange[0])}; {self._where} '
                f'names {self._count} classes'
            )
        translated = self._class_id[class_map]
        return Truth(
            translated, np.where(self._is_thing[translated], track_map, 0).astype(np.int64)
        )


def _read_classes(text: str, where: str) -> tuple[LabelSet, int]:
    """Label set and label divisor in a JSON text."""
    try:
        document = parse_json(text, where)
        labels, divisor = LabelSet.from_dicts(document['labels']), document['label_divisor']
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f'{where} must be JSON with labels and label_divisor: {type(error).__name__}: {error}'
        ) from None
    check_divisor(divisor, f'{where}: label_divisor')
    return labels, divisor


def check_labels(truth: LabelSet, labels: LabelSet, where: str) -> None:
    """Makes sure that both have the same classes, in any order.

    Raises:
        ValueError: saying which differ.
    """
    said = []
    for what, names in (
        ('the ground truth', set(truth.names) - set(labels.names)),
        ('the model', set(labels.names) - set(truth.names)),
    ):
        if names:
            said.append(f'only {what} has {", ".join(sorted(names))}')
    things = {label.name: label.is_thing for label in labels.labels}
    turned = [
        label.name
        for label in truth.labels
        if things.get(label.name, label.is_thing) != label.is_thing
    ]
    if turned:
        said.append(f'{", ".join(turned)} are things in one and stuff in the other')
    if said:
        raise ValueError(
            f'{where}: the ground truth has other classes than the model: {"; ".join(said)}'
        )


def open_ground_truth(given: str, recording: Recording, labels: LabelSet) -> GroundTruth:
    """A topic of the bag by its name, else a folder.

    Raises:
        FileNotFoundError, ValueError: if it is neither, or its classes are not the model's.
    """
    if given in recording.topics:
        return TopicTruth(recording, given, labels)
    if Path(given).is_dir():
        return FolderTruth(Path(given), labels)
    raise ValueError(
        f'ground truth {given} is neither a folder nor a topic of the bag; the '
        f'topics are: {", ".join(sorted(recording.topics))}'
    )


def check_stamps(truth: GroundTruth, stamps: Collection[int]) -> int:
    """Makes sure before long work that there is something to score.

    Args:
        truth: is asked for its stamps.
        stamps: of the images, ns.

    Returns:
        How many of its stamps are of no image.

    Raises:
        ValueError: if none is.
    """
    own, images = truth.stamps(), set(stamps)
    if not own & images:
        raise ValueError(
            f'no stamp of the ground truth ({truth.name}) is that of an image: it has '
            f'{_span(own)}, the images {_span(images)}'
        )
    return len(own - images)


def _span(stamps: set[int]) -> str:
    if not stamps:
        return 'none'
    return f'{len(stamps)} from {min(stamps)} to {max(stamps)} ns'
