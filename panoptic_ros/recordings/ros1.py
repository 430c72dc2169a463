# SPDX-License-Identifier: Apache-2.0
"""Reader of bags of ROS 1, `.bag`; uses that of rosbags."""

from collections.abc import Collection, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from panoptic_ros.core.text import MAX_TEXT, one_line, reason_of
from panoptic_ros.recordings.storage import END_NS, Channel, StorageError, StoredMessage
from panoptic_ros.recordings.unpack import MAX_BYTES, unpack


class Ros1File:
    """A `.bag` file."""

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            StorageError: if it cannot be read.
        """
        self.damage = ''
        self._path = path
        try:
            self._reader = _bounded_reader()(path)
            self._reader.open()
        except Exception as error:  # rosbags raises errors of many types
            raise StorageError(
                f'{path.name} cannot be read as a ROS 1 bag: {reason_of(error, MAX_TEXT)}'
            ) from None
        self._channels = {
            connection.id: Channel(
                connection.topic, connection.msgtype, 'ros1', connection.msgcount
            )
            for connection in self._reader.connections
        }
        self.channels: Sequence[Channel] = list(self._channels.values())
        self.damage = self._lost()
        has_messages = any(channel.messages for channel in self.channels)
        self.start_ns = self._reader.start_time if has_messages else END_NS

    def messages(
        self, topics: Collection[str], start_ns: int, stop_ns: int
    ) -> Iterator[StoredMessage]:
        """See `Storage`."""
        wanted = [
            connection for connection in self._reader.connections if connection.topic in topics
        ]
        if not wanted:
            return
        try:
            for connection, time_ns, data in self._reader.messages(wanted, start_ns, stop_ns):
                yield StoredMessage(self._channels[connection.id], time_ns, data)
        except Exception as error:
            self.damage = f'{self._path.name}: {reason_of(error, MAX_TEXT)}'

    def _lost(self) -> str:
        """Return which messages the index lacks, by the numbers that it gives for each chunk."""
        for info in self._reader.chunk_infos:
            counts = info.connection_counts
            if not all(counts.values()) or not counts.keys() <= self._channels.keys():
                return f'{self._path.name}: the index is damaged: it lacks messages of a chunk'
        for number, channel in self._channels.items():
            listed = sum(
                info.connection_counts.get(number, 0) for info in self._reader.chunk_infos
            )
            if channel.messages < listed:
                return (
                    f'{self._path.name}: the index is damaged: it has {channel.messages} of '
                    f'{listed} messages on {one_line(channel.topic)}'
                )
        return ''

    def close(self) -> None:
        """See `Storage`."""
        self._reader.close()


def _bounded_reader() -> Any:
    """Return the reader class of rosbags, with decompressors that have a limit."""
    from rosbags.rosbag1 import Reader
    from rosbags.rosbag1.reader import decompressors

    class BoundedReader(Reader):
        def read_chunk(self) -> Any:
            chunk = super().read_chunk()
            kind = next(
                name for name, function in decompressors.items() if function is chunk.decompressor
            )
            return chunk._replace(decompressor=partial(_unpack, kind))

    return BoundedReader


def _unpack(kind: str, data: bytes) -> bytes:
    return bytes(unpack(kind, data, MAX_BYTES)[0])
