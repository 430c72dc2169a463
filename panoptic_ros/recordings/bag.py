# SPDX-License-Identifier: Apache-2.0
"""A bag as a whole: its files, its topics and its decoded messages."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

from panoptic_ros.core.documents import DocumentError, read_yaml
from panoptic_ros.core.text import MAX_TEXT, reason_of
from panoptic_ros.recordings.bag_types import ros1_typestore, typestore
from panoptic_ros.recordings.mcap import McapFile
from panoptic_ros.recordings.recording import Record, Topic
from panoptic_ros.recordings.ros1 import Ros1File
from panoptic_ros.recordings.sqlite import SqliteFile
from panoptic_ros.recordings.storage import BEGIN_NS, END_NS, Storage, StorageError, Stored
from panoptic_ros.recordings.unpack import unpack_file, unpack_message

ENDINGS = ('.mcap', '.db3', '.mcap.zstd', '.db3.zstd', '.bag')
"""Names of storage files end so, whatever their capitals."""


STORES: Mapping[str, Callable[[], Any]] = {'cdr': lambda: typestore([]), 'ros1': ros1_typestore}
"""Message types by encoding."""


class Bag:
    """A bag of ROS 2 or ROS 1; a damaged one is read as far as it is whole.

    Messages are decoded by ROS's own definitions, never by those in the bag.
    """

    def __init__(self, path: Path) -> None:
        """Opens it.

        Args:
            path: of a bag's folder, with or without metadata.yaml, or of one storage file.

        Raises:
            FileNotFoundError, ValueError: if there is nothing to read, in one line.
        """
        if not path.exists():
            raise FileNotFoundError(f'no bag at {path}')
        try:
            _store('cdr')
        except ImportError:
            raise ValueError(
                'bags need the package rosbags: pip install "panoptic_ros[bag]"'
            ) from None
        self._problem = ''
        promised: dict[str, int] = {}
        files = [path]
        if path.is_dir():
            files, promised, self._problem = _files_of(path)
        self._files: list[Storage] = []
        refused = ''
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            for file in files:
                try:
                    storage = self._open(file, folder)
                except (ValueError, OSError) as error:
                    refused = refused or str(error)
                    continue
                stack.callback(storage.close)
                self._files.append(storage)
            if not self._files:
                raise ValueError(
                    f'{path} cannot be read as a bag: '
                    f'{refused or self._problem or "it holds no storage file"}'
                )
            self._problem = refused or self._problem
            if self.damage and all(file.start_ns == END_NS for file in self._files):
                raise ValueError(
                    f'{path} cannot be read as a bag: {self.damage}; no message is whole'
                )
            self._stack = stack.pop_all()
        self._files.sort(key=lambda storage: storage.start_ns)
        start_ns = self._files[0].start_ns
        self.start_ns = 0 if start_ns == END_NS else start_ns
        self.topics: Mapping[str, Topic] = _topics(self._files, promised)

    def __enter__(self) -> Bag:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
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
        """Opens a storage file; what is unpacked or copied for that goes into `folder`."""
        recorded = file
        if file.suffix.lower() == '.zstd':
            recorded = file.with_suffix('')
            unpacked = folder / f'{len(self._files)}_{file.stem}'
            problem = unpack_file(file, unpacked)
            self._problem = self._problem or problem
            file = unpacked
        kinds: dict[str, Callable[[], Storage]] = {
            '.mcap': lambda: McapFile(file),
            '.db3': lambda: SqliteFile(file, folder, recorded),
            '.bag': lambda: Ros1File(file),
        }
        kind = file.suffix.lower()
        if kind not in kinds:
            raise StorageError(
                f'a bag is a folder, or a file named {", ".join(ENDINGS)}; got {file}'
            )
        return kinds[kind]()

    def _decode(self, stored: Stored) -> Record:
        topic, kind, encoding, _ = stored.channel
        try:
            if encoding not in STORES:
                raise ValueError(f'it is encoded as {encoding[:40]!r}, not as cdr')
            store = _store(encoding)
            if kind not in store.fielddefs:
                raise ValueError(f"its type {kind[:80]!r} is none of ROS's own")
            decode = store.deserialize_cdr if encoding == 'cdr' else store.deserialize_ros1
            message = decode(unpack_message(stored.data), kind)
        except Exception as error:  # each layer of rosbags has its own kinds
            return Record(
                topic,
                stored.time_ns,
                None,
                f'a message cannot be decoded: {reason_of(error, MAX_TEXT)}',
            )
        return Record(topic, stored.time_ns, message, '')


@cache
def _store(encoding: str) -> Any:
    return STORES[encoding]()


def _topics(files: Collection[Storage], promised: Mapping[str, int]) -> dict[str, Topic]:
    kinds: dict[str, set[str]] = {}
    counts: dict[str, int] = {}
    for file in files:
        for topic, kind, encoding, messages in file.channels:
            # Only a message that ROS made is of a ROS type.
            shown = kind if encoding in STORES else f'{kind} as {encoding}'
            kinds.setdefault(topic, set()).add(shown)
            counts[topic] = counts.get(topic, 0) + messages
    return {
        topic: Topic(
            kinds[topic].pop() if len(kinds[topic]) == 1 else '',
            max(counts[topic], promised.get(topic, 0)),
        )
        for topic in sorted(kinds)
    }


def is_storage(path: Path) -> bool:
    """Whether a file is named like a storage file."""
    return path.name.lower().endswith(ENDINGS) and path.is_file()


def _files_of(folder: Path) -> tuple[list[Path], dict[str, int], str]:
    """Storage files of a bag's folder, messages by topic, and what is wrong.

    Messages are those that metadata.yaml promises.

    Raises:
        ValueError: if there is no storage file.
    """
    found = sorted(filter(is_storage, folder.iterdir()))
    # A recorder that is killed while it compresses leaves both.
    found = [file for file in found if file.with_suffix('') not in found]
    if not found:
        raise ValueError(
            f'{folder} cannot be read as a bag: it holds no file named {", ".join(ENDINGS)}'
        )
    try:
        about = read_yaml(folder / 'metadata.yaml')['rosbag2_bagfile_information']
        names = [Path(str(name)).name for name in about['relative_file_paths']]
        promised = {
            str(entry['topic_metadata']['name']): int(entry['message_count'])
            for entry in about['topics_with_message_count']
        }
    except FileNotFoundError:
        return found, {}, f'there is no metadata.yaml in {folder}; the recording had no clean end'
    except DocumentError as error:
        return found, {}, str(error)
    except (KeyError, TypeError, ValueError, ArithmeticError, AttributeError, OSError) as error:
        return found, {}, f"{folder / 'metadata.yaml'} is not a bag's: {type(error).__name__}"
    files, missing = [], []
    for name in dict.fromkeys(names):
        plain = name.removesuffix('.zstd')
        here = [file for file in found if file.name in (name, plain, f'{plain}.zstd')]
        files += here[:1]
        missing += [] if here else [name]
    if missing:
        return (
            files or found,
            promised,
            (f'files are missing in {folder}: {", ".join(missing)[:200]}'),
        )
    others = ', '.join(file.name for file in found if file not in files)
    return (
        files,
        promised,
        others
        and (
            f'metadata.yaml does not name {others[:200]}, which is not read; remove metadata.yaml '
            'to read all'
        ),
    )
