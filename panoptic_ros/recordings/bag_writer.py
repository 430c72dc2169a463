# SPDX-License-Identifier: Apache-2.0
"""Writer of compressed mcap bags with the quality of service of the node's topics."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self


class BagWriter:
    """A new bag to which messages are written topic by topic."""

    def __init__(
        self, path: Path, topics: Mapping[str, str], latched: Collection[str], store: Any
    ) -> None:
        """Open the bag.

        Args:
            path: folder of the bag; must not exist.
            topics: message type by topic, topics without a leading slash.
            latched: topics whose last message late subscribers receive.
            store: typestore of rosbags with the message types of `topics`.
        """
        from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

        self._store, self._kinds = store, dict(topics)
        self._writer = Writer(path, version=9, storage_plugin=StoragePlugin.MCAP)
        # Compression inside the storage file keeps its index readable. Segment maps shrink to a
        # hundredth.
        self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        self._writer.open()
        self._connections = {
            topic: self._writer.add_connection(
                f'/{topic}', kind, typestore=store, offered_qos_profiles=[_qos(topic in latched)]
            )
            for topic, kind in topics.items()
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._writer.close()

    def write(self, topic: str, time_ns: int, message: Any) -> None:
        """Write a message.

        Args:
            topic: without a leading slash.
            time_ns: time of recording; bags hold no times before 1970, such a time becomes 0.
            message: a message of `store`, or its bytes in CDR.
        """
        if not isinstance(message, bytes):
            message = self._store.serialize_cdr(message, self._kinds[topic])
        self._writer.write(self._connections[topic], max(0, time_ns), message)


def _qos(latched: bool) -> Any:
    """Return the quality of service of one of the node's topics, as bags store it."""
    from rosbags.interfaces import (
        Qos,
        QosDurability,
        QosHistory,
        QosLiveliness,
        QosReliability,
        QosTime,
    )

    unlimited = QosTime(0, 0)
    return Qos(
        QosHistory.KEEP_LAST,
        1 if latched else 5,
        QosReliability.RELIABLE,
        QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE,
        unlimited,
        unlimited,
        QosLiveliness.AUTOMATIC,
        unlimited,
        False,
    )
