# SPDX-License-Identifier: Apache-2.0
"""Reader of the storage files of rosbag2's mcap plugin, `.mcap`.

A file is a sequence of records: messages, single or in chunks, and an index at the end. If the
index is missing or wrong, the file is scanned once up to the first damage to build one.
Format: https://mcap.dev/spec
"""

import heapq
import os
import struct
import zlib
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from panoptic_ros.recordings.storage import END_NS, Channel, StorageError, StoredMessage
from panoptic_ros.recordings.unpack import MAX_BYTES, UnpackError, unpack

MAGIC = b'\x89MCAP0\r\n'
FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK, CHUNK_INDEX, STATISTICS, DATA_END = (
    2,
    3,
    4,
    5,
    6,
    8,
    11,
    15,
)

_HEAD = struct.Struct('<BQ')
_MESSAGE = struct.Struct('<HIQQ')  # channel, sequence number, time recorded, time published
_FOOTER = struct.Struct('<QQI')  # start of the index, start of its offsets, checksum


class _Block(NamedTuple):
    """A chunk, or a message outside of chunks."""

    start_ns: int
    end_ns: int
    place: int
    """Position of its record in the file, bytes."""

    channels: frozenset[int]
    """Channel ids; empty if they are not known."""


class McapFile:
    """An `.mcap` file, up to the first damage."""

    def __init__(self, path: Path) -> None:
        """Open the file and read or build its index.

        Raises:
            StorageError: if it is not an mcap file.
        """
        self.damage = ''
        self._schemas: dict[int, str] = {}  # message type by id
        self._channels: dict[int, Channel] = {}
        self._blocks: list[_Block] = []
        self._counts: Counter[int] = Counter()  # messages by channel
        self._path = path
        self._file = path.open('rb')
        self._size = os.fstat(self._file.fileno()).st_size
        if self._file.read(len(MAGIC)) != MAGIC:
            self._file.close()
            raise StorageError(f'{path.name} is not an mcap file: it does not start like one')
        try:
            self._read_index()
        except (ValueError, struct.error) as error:
            self._clear()
            self._note(str(error))
            self._scan()
        self._blocks.sort()
        self._channels = {
            number: channel._replace(messages=self._counts[number])
            for number, channel in self._channels.items()
        }
        self.channels: Sequence[Channel] = list(self._channels.values())
        self.start_ns = min((block.start_ns for block in self._blocks), default=END_NS)

    def messages(
        self, topics: Collection[str], start_ns: int, stop_ns: int
    ) -> Iterator[StoredMessage]:
        """See `Storage`."""
        wanted = {number for number, channel in self._channels.items() if channel.topic in topics}
        waiting: list[
            tuple[int, int, StoredMessage]
        ] = []  # by time, then in the order of the file
        count = held = 0  # messages so far; bytes in `waiting`
        for block in self._blocks:
            if (
                block.start_ns >= stop_ns
                or block.end_ns < start_ns
                or (block.channels and not block.channels & wanted)
            ):
                continue
            while waiting and (waiting[0][0] < block.start_ns or held > MAX_BYTES):
                stored = heapq.heappop(waiting)[2]
                held -= len(stored.data)
                yield stored
            found = set()
            for number, time_ns, data in self._read(block):
                found.add(number)
                if number not in self._channels:
                    self._note('a message has no topic')
                if number in wanted and start_ns <= time_ns < stop_ns:
                    count, held = count + 1, held + len(data)
                    stored = StoredMessage(self._channels[number], time_ns, bytes(data))
                    heapq.heappush(waiting, (time_ns, count, stored))
            if block.channels and not found:
                self._note('a chunk lacks messages that the index lists')
        while waiting:
            yield heapq.heappop(waiting)[2]

    def close(self) -> None:
        """See `Storage`."""
        self._file.close()

    def _clear(self) -> None:
        for contents in (self._schemas, self._channels, self._blocks, self._counts):
            contents.clear()

    def _note(self, problem: str) -> None:
        self.damage = self.damage or f'{self._path.name}: {problem}'

    def _read_index(self) -> None:
        """Read the index at the end of the file.

        Raises:
            ValueError, struct.error: if it is missing, incomplete or wrong.
        """
        end = self._size - len(MAGIC) - _HEAD.size - _FOOTER.size
        tail = self._at(end, self._size - end)
        if tail[-len(MAGIC) :] != MAGIC or tail[: _HEAD.size] != _HEAD.pack(FOOTER, _FOOTER.size):
            raise ValueError('the file has no end; it is cut short')
        start, _, checksum = _FOOTER.unpack_from(tail, _HEAD.size)
        if not start:
            self._scan()
            return
        if not len(MAGIC) <= start <= end:
            raise ValueError('the end of the file gives a wrong position of the index')
        index = self._at(start, end - start)
        if checksum and zlib.crc32(index + tail[: _HEAD.size + 16]) != checksum:
            raise ValueError('the index is damaged: its checksum is wrong')
        chunks: int | None = None
        first_ns, last_ns = 0, 0
        for kind, content in _records(index):
            self._name(kind, content)
            if kind == CHUNK_INDEX:
                start_ns, end_ns, place, _, size = struct.unpack_from('<QQQQI', content)
                numbers = [
                    number for number, _ in struct.iter_unpack('<HQ', content[36 : 36 + size])
                ]
                self._blocks.append(_Block(start_ns, end_ns, place, frozenset(numbers)))
            elif kind == STATISTICS:
                chunks, first_ns, last_ns = struct.unpack_from('<22xIQQ', content)
                self._counts.update(dict(struct.iter_unpack('<HQ', content[46:])))
        used = {number for block in self._blocks for number in block.channels}
        places = {block.place for block in self._blocks}
        if not all(len(MAGIC) <= place < start for place in places):
            raise ValueError('the index has positions outside of the data')
        # A wrong time would hide a chunk. Without messages, all times are 0.
        times = [block[:2] for block in self._blocks if any(block[:2])]
        if last_ns and not all(first_ns <= begin <= end <= last_ns for begin, end in times):
            raise ValueError('the index has times outside of those of the messages')
        if (
            not places
            or not chunks == len(places) == len(self._blocks)
            or not used | self._counts.keys() <= self._channels.keys()
        ):
            self._clear()  # a valid index may leave out parts
            self._scan()

    def _scan(self) -> None:
        """Build an index by reading all records up to the first damaged one."""
        place = len(MAGIC)
        while place + _HEAD.size <= self._size:
            kind, size = _HEAD.unpack(self._at(place, _HEAD.size))
            missing = place + _HEAD.size + size - self._size
            if kind == FOOTER and missing == -len(MAGIC):
                return
            if kind in (0, FOOTER) or (missing > 0 and kind != CHUNK):
                break
            if kind == CHUNK:
                self._scan_chunk(place)
            elif kind == MESSAGE and size >= _MESSAGE.size:
                number, _, time_ns, _ = _MESSAGE.unpack(self._at(place + 9, _MESSAGE.size))
                self._counts[number] += 1
                self._blocks.append(_Block(time_ns, time_ns, place, frozenset([number])))
            elif kind in (SCHEMA, CHANNEL):
                self._name(kind, self._at(place + 9, min(size, MAX_BYTES)))
            place += _HEAD.size + size
        self._note('the file is cut short or damaged')

    def _scan_chunk(self, place: int) -> None:
        times, numbers = [], set()
        for kind, content in self._unpack_chunk(place):
            self._name(kind, content)
            if kind == MESSAGE and len(content) >= _MESSAGE.size:
                number, _, time_ns, _ = _MESSAGE.unpack_from(content)
                self._counts[number] += 1
                times.append(time_ns)
                numbers.add(number)
        if times:
            self._blocks.append(_Block(min(times), max(times), place, frozenset(numbers)))

    def _name(self, kind: int, content: Any) -> None:
        """Store the schema or channel in a record, unless its id is already defined."""
        try:
            if kind == SCHEMA:
                (number,) = struct.unpack_from('<H', content)
                self._schemas.setdefault(number, _text(content, 2)[0])
            elif kind == CHANNEL:
                number, schema = struct.unpack_from('<HH', content)
                topic, end = _text(content, 4)
                encoding, _ = _text(content, end)
                self._channels.setdefault(
                    number, Channel(topic, _ros2_name(self._schemas.get(schema, '')), encoding, 0)
                )
        except struct.error:
            self._note('the description of a topic is damaged')

    def _read(self, block: _Block) -> Iterator[tuple[int, int, memoryview]]:
        """Yield channel id, time and data of each message of a block."""
        kind, size = _HEAD.unpack(self._at(block.place, _HEAD.size))
        if kind == CHUNK:
            records: Iterator[tuple[int, Any]] = self._unpack_chunk(block.place)
        elif kind != MESSAGE:
            self._note('the index gives a wrong position')
            return
        else:
            if size > MAX_BYTES:
                self._note(f'a message of {size} bytes is over the limit of {MAX_BYTES}')
                return
            records = iter([(kind, memoryview(self._at(block.place + _HEAD.size, size)))])
        for kind, content in records:
            if kind == MESSAGE and len(content) >= _MESSAGE.size:
                number, _, time_ns, _ = _MESSAGE.unpack_from(content)
                yield number, time_ns, content[_MESSAGE.size :]

    def _unpack_chunk(self, place: int) -> Iterator[tuple[int, memoryview]]:
        """Yield the records of a chunk; note its damage if not all can be read."""
        try:
            data, problem = self._chunk(place)
        except (UnpackError, struct.error) as error:
            self._note(str(error))
            return
        inside = 0
        for kind, content in _records(data):
            inside += _HEAD.size + len(content)
            yield kind, content
        if problem or inside != len(data):
            self._note(problem or 'a chunk is damaged')

    def _chunk(self, place: int) -> tuple[bytes | memoryview, str]:
        """Return the decompressed data of a chunk and what is wrong with it, or an empty text.

        Raises:
            UnpackError, struct.error: if none of its data can be used.
        """
        kind, length = _HEAD.unpack(self._at(place, _HEAD.size))
        if kind != CHUNK or length > MAX_BYTES:
            raise UnpackError('a chunk is too large, or the index gives a wrong position')
        content = self._at(place + _HEAD.size, length)
        _, _, size, checksum = struct.unpack_from('<QQQI', content)
        compression, start = _text(content, 28)
        (packed,) = struct.unpack_from('<Q', content, start)
        data, _ = unpack(compression, memoryview(content)[start + 8 : start + 8 + packed], size)
        if len(data) < size:
            return data, 'a chunk is cut short'
        if checksum and zlib.crc32(data) != checksum:
            raise UnpackError('a chunk is damaged: its checksum is wrong')
        return data, ''

    def _at(self, place: int, size: int) -> bytes:
        """Return up to `size` bytes of the file."""
        self._file.seek(max(0, place))
        return self._file.read(max(0, min(size, self._size - place)))


def _records(data: bytes | memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield kind and content of each record up to the first incomplete one."""
    view, place = memoryview(data), 0
    while place + _HEAD.size <= len(data):
        kind, size = _HEAD.unpack_from(data, place)
        place += _HEAD.size
        if not kind or place + size > len(data):
            return
        yield kind, view[place : place + size]
        place += size


def _text(content: Any, place: int) -> tuple[str, int]:
    """Return a text, which is stored after its length, and the position of its end."""
    (length,) = struct.unpack_from('<I', content, place)
    end = place + 4 + length
    if end > len(content):
        raise struct.error('a text is longer than its record')
    return bytes(content[place + 4 : end]).decode(errors='replace'), end


def _ros2_name(kind: str) -> str:
    """Return a message type in ROS 2's form; `sensor_msgs/Image` is that of ROS 1."""
    package, slash, name = kind.partition('/')
    return kind if not slash or '/' in name else f'{package}/msg/{name}'
