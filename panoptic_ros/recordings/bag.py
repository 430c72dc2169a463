# SPDX-License-Identifier: Apache-2.0
"""Reader of bags of ROS 2 and ROS 1, intact or damaged."""

import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

from panoptic_ros.core.inputs import near_name
from panoptic_ros.core.text import MAX_TEXT, one_line, reason_of
from panoptic_ros.recordings.bag_folder import ENDINGS, find_storage_files
from panoptic_ros.recordings.bag_types import ros1_typestore, typestore
from panoptic_ros.recordings.mcap import McapFile
from panoptic_ros.recordings.recording import Record, RecordedTopic
from panoptic_ros.recordings.ros1 import Ros1File
from panoptic_ros.recordings.sqlite import SqliteFile
from panoptic_ros.recordings.storage import BEGIN_NS, END_NS, Storage, StorageError, StoredMessage
from panoptic_ros.recordings.unpack import unpack_file, unpack_message

STORES: Mapping[str, Callable[[], Any]] = {'cdr': lambda: typestore([]), 'ros1': ros1_typestore}
"""Constructors of the message types, by encoding of the messages."""


class Bag:
    """A bag of ROS 2 or ROS 1; of a damaged one, the readable messages.

    Messages are decoded with ROS's own definitions, never with those stored in the bag.
    """

    def __init__(self, path: Path) -> None:
        """Open the bag.

        Args:
            path: folder of a bag, with or without metadata.yaml, or a single storage file.

        Raises:
            FileNotFoundError: if the path does not exist.
            ValueError: if no message can be read, or rosbags is not installed.
        """
        if not path.exists():
            raise FileNotFoundError(f'no bag at {path}{near_name(path)}')
        try:
            _store('cdr')
        except ImportError:
            raise ValueError(
                'bags need the package rosbags: pip install "panoptic_ros[bag]"'
            ) from None
        self._problem = ''
        counts: dict[str, int] = {}  # messages by topic according to metadata.yaml
        files = [path]
        if path.is_dir():
            files, counts, self._problem = find_storage_files(path)
        self._files: list[Storage] = []
        open_problem = ''
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            for file in files:
                try:
                    storage = self._open(file, folder)
                except (ValueError, OSError) as error:
                    open_problem = open_problem or str(error)
                    continue
                stack.callback(storage.close)
                self._files.append(storage)
            if not self._files:
                raise ValueError(
                    f'{path} cannot be read as a bag: '
                    f'{open_problem or self._problem or "it holds no storage file"}'
                )
            self._problem = open_problem or self._problem
            if self.damage and all(file.start_ns == END_NS for file in self._files):
                raise ValueError(
                    f'{path} cannot be read as a bag: {self.damage}; no message can be read'
                )
            self._stack = stack.pop_all()
        self._files.sort(key=lambda storage: storage.start_ns)
        start_ns = self._files[0].start_ns
        self.start_ns = 0 if start_ns == END_NS else start_ns
        self._problem = self._problem or _missing(self._files, counts)
        self.topics: Mapping[str, RecordedTopic] = _topics(self._files, counts)

    def __enter__(self) -> 'Bag':
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @property
    def damage(self) -> str:
        """See `Recording`."""
        return self._problem or next((file.damage for file in self._files if file.damage), '')

    def records(
        self, names: Collection[str], start_ns: int = BEGIN_NS, stop_ns: int = END_NS
    ) -> Iterator[Record]:
        """See `Recording`."""
        for file in self._files:
            for stored in file.messages(names, start_ns, stop_ns):
                yield self._decode(stored)

    def _open(self, file: Path, folder: Path) -> Storage:
        """Open a storage file; `folder` holds the files that are decompressed or copied for it."""
        recorded = file
        if file.suffix.lower() == '.zstd':
            recorded = file.with_suffix('')
            unpacked = folder / f'{len(self._files)}_{file.stem}'
            problem = unpack_file(file, unpacked)
            self._problem = self._problem or problem
            file = unpacked
        readers: dict[str, Callable[[], Storage]] = {
            '.mcap': lambda: McapFile(file),
            '.db3': lambda: SqliteFile(file, folder, recorded),
            '.bag': lambda: Ros1File(file),
        }
        suffix = file.suffix.lower()
        if suffix not in readers:
            raise StorageError(
                f'a bag is a folder, or a file named {", ".join(ENDINGS)}; got {file}'
            )
        return readers[suffix]()

    def _decode(self, stored: StoredMessage) -> Record:
        topic, kind, encoding, _ = stored.channel
        try:
            if encoding not in STORES:
                raise ValueError(f'it is encoded as {encoding[:40]!r}, not as cdr')
            store = _store(encoding)
            if kind not in store.fielddefs:
                raise ValueError(f"its type {kind[:80]!r} is not one of ROS's own")
            decode = store.deserialize_cdr if encoding == 'cdr' else store.deserialize_ros1
            message = decode(unpack_message(stored.data), kind)
        except Exception as error:  # rosbags raises errors of many types
            problem = f'a message cannot be decoded: {reason_of(error, MAX_TEXT)}'
            return Record(topic, stored.time_ns, None, problem)
        return Record(topic, stored.time_ns, message, '')


@cache
def _store(encoding: str) -> Any:
    return STORES[encoding]()


def _missing(files: Collection[Storage], expected: Mapping[str, int]) -> str:
    """Return which messages the files lack; `expected` is the number of messages by topic."""
    counts: Counter[str] = Counter()
    for file in files:
        for channel in file.channels:
            counts[channel.topic] += channel.messages
    return next(
        (
            f'messages on {one_line(topic)} are missing: the files hold {counts[topic]}, '
            f'metadata.yaml lists {number}'
            for topic, number in expected.items()
            if counts[topic] < number
        ),
        '',
    )


def _topics(files: Collection[Storage], expected: Mapping[str, int]) -> dict[str, RecordedTopic]:
    """Return the topics of all files; `expected` is the number of messages by topic."""
    kinds: dict[str, set[str]] = {}
    counts: dict[str, int] = {}
    for file in files:
        for topic, kind, encoding, messages in file.channels:
            # The types of other systems are marked, so that they are not taken for ROS's own.
            shown = kind if encoding in STORES else f'{kind} as {encoding}'
            kinds.setdefault(topic, set()).add(shown)
            counts[topic] = counts.get(topic, 0) + messages
    return {
        topic: RecordedTopic(
            kinds[topic].pop() if len(kinds[topic]) == 1 else '',
            max(counts[topic], expected.get(topic, 0)),
        )
        for topic in sorted(kinds)
    }
