# SPDX-License-Identifier: Apache-2.0
"""Recorder of the node's topics into a bag."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from panoptic_ros.node.node_health import NodeHealth, read_health
from panoptic_ros.node.topics import DIAGNOSTICS
from panoptic_ros.recordings.bag_types import typestore
from panoptic_ros.recordings.bag_writer import BagWriter


class TopicRecorder(ExitStack):
    """Recorder of topics that also reads the node's diagnostics; a stack of the open files."""

    def __init__(self, folder: Path, topics: Mapping[str, str], latched: frozenset[str]) -> None:
        """Open the bag.

        Args:
            folder: existing folder in which the bag `bag` is created.
            topics: message type by topic, without a leading slash.
            latched: topics whose last message late subscribers receive.

        Raises:
            ValueError: if the definition of a message type is not available.
        """
        super().__init__()
        self.health: NodeHealth | None = None
        """Newest report of the node."""
        self.at_work: NodeHealth | None = None
        """Newest report with more received and published images than the report before it; the
        first report with published images, if there is no such report."""
        self.taken = 0
        """Number of messages in the bag, without diagnostics."""
        self._store = typestore(topics.values())
        self._types = dict(topics)
        self._bag = self.enter_context(BagWriter(folder / 'bag', topics, latched, self._store))

    def take(self, topic: str, data: bytes, time_ns: int) -> None:
        """Write one message.

        Args:
            topic: without a leading slash.
            data: the message in CDR.
            time_ns: time of arrival.
        """
        self._bag.write(topic, time_ns, data)
        if topic != DIAGNOSTICS:
            self.taken += 1
            return
        health = read_health(self._store.deserialize_cdr(data, self._types[topic]))
        if health is None:
            return
        before = self.health.counts if self.health else dict.fromkeys(health.counts, 0)
        grown = [name for name in ('received', 'published') if health.counts[name] > before[name]]
        # After the last image the node still publishes results, and reports that no image comes.
        if 'published' in grown and ('received' in grown or self.at_work is None):
            self.at_work = health
        self.health = health

    def summary(self) -> dict[str, Any]:
        """Close the bag and return `NodeHealth.summary`.

        Raises:
            ValueError: if the node sent no diagnostics, or published no image.
        """
        self.close()
        if self.health is None:
            raise ValueError('the node sent nothing on /diagnostics')
        return self.health.summary(self.at_work)
