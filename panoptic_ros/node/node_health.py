# SPDX-License-Identifier: Apache-2.0
"""Health of the node, read from its diagnostics, for the live line, the table and summary.json."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from panoptic_ros.images.messages import header_stamp_s
from panoptic_ros.node.diagnostics import Level, Status
from panoptic_ros.node.parameters import NODE
from panoptic_ros.node.stages import Stage


@dataclass(frozen=True)
class NodeHealth:
    """State of the node at one moment, as it reported it."""

    stamp_s: float

    statuses: Mapping[str, Status]
    """By task: model, input/<camera>, timing, memory, tracking."""

    @property
    def active(self) -> bool:
        """Whether the node processes images."""
        return self._value('model', 'state') == 'active'

    @property
    def problem(self) -> str:
        """Reason why no model could be loaded; empty if there is none."""
        model = self.statuses.get('model')
        return model.message if model and model.level == Level.ERROR else ''

    @property
    def counts(self) -> dict[str, int]:
        """Number of images since the node's start: received, published and in_flight."""
        values = self._input()
        return {
            name: int(values.get(name.replace('_', ' '), 0))
            for name in ('received', 'published', 'in_flight')
        }

    @property
    def dropped(self) -> dict[str, int]:
        """Number of images that were received and not published, by reason."""
        return {
            key.removeprefix('dropped '): int(value)
            for key, value in self._input().items()
            if key.startswith('dropped ')
        }

    @property
    def rate_hz(self) -> float:
        """Published images per second over the node's last 5 s."""
        return self._number('rate hz')

    def line(self) -> str:
        """Return rate, latency, drops and the worst status as a line for people."""
        counts = self.counts
        task, worst = max(self.statuses.items(), key=lambda item: item[1].level)
        state = f'; {worst.level.name} {task}: {worst.message}' if worst.level else ''
        if not counts['received']:
            return f'no image yet{state}'
        drops = ', '.join(f'{n} {reason}' for reason, n in self.dropped.items() if n)
        return (
            f'{self.rate_hz:.1f} images/s, latency {self._latency_ms("p50"):.0f} ms '
            f'(p95 {self._latency_ms("p95"):.0f}), '
            f'{counts["published"]} of {counts["received"]} published'
            f'{f" ({drops})" if drops else ""}{state}'
        )

    def summary(self, rate_hz: float) -> dict[str, Any]:
        """Return the content of summary.json, from the values that the node reported.

        Args:
            rate_hz: the node's `rate_hz` while it received images, which may have stopped since.

        Returns:
            `received`, `published`, `dropped` (by reason) and `in_flight` count images since the
            node's start: received = published + all dropped + in_flight. `rate_hz` is of
            published images. `latency_ms` is end to end in the node, from an image's arrival to
            its last message handed to the middleware, `p50` and `p95` of the node's last 100
            images. `backend` and `device` are those actually used.

        Raises:
            ValueError: if the node published nothing, or its counts do not add up.
        """
        counts, dropped = self.counts, self.dropped
        if counts['received'] != counts['published'] + sum(dropped.values()) + counts['in_flight']:
            raise ValueError(f"the node's counts do not add up: {counts}, dropped {dropped}")
        if not counts['published']:
            raise ValueError(f'the node published no image: {self.line()}')
        return {
            'received': counts['received'],
            'published': counts['published'],
            'dropped': dropped,
            'in_flight': counts['in_flight'],
            'rate_hz': rate_hz,
            'latency_ms': {name: self._latency_ms(name) for name in ('p50', 'p95')},
            'backend': self._value('model', 'backend'),
            'device': self._value('model', 'device'),
        }

    def _input(self) -> Mapping[str, str]:
        return next(
            (status.values for task, status in self.statuses.items() if task.startswith('input/')),
            {},
        )

    def _value(self, task: str, key: str) -> str:
        status = self.statuses.get(task)
        return status.values.get(key, 'n/a') if status else 'n/a'

    def _latency_ms(self, name: str) -> float:
        return self._number(f'{Stage.TOTAL.label} {name} ms')

    def _number(self, key: str) -> float:
        """Return a value of `timing`; 0 if the node has none, such as the rate of one image."""
        text = self._value('timing', key)
        return 0.0 if text == 'n/a' else float(text)


def read_health(message: Any) -> NodeHealth | None:
    """Read a diagnostic_msgs/DiagnosticArray, from rclpy or from a bag.

    Returns:
        None if the message is not from the node.
    """
    statuses = {}
    for status in message.status:
        node, _, task = status.name.partition(': ')
        if node.rpartition('/')[2] == NODE:
            level = status.level[0] if isinstance(status.level, bytes) else int(status.level)
            values = {pair.key: pair.value for pair in status.values}
            statuses[task] = Status(task, Level(level), status.message, values)
    return NodeHealth(header_stamp_s(message), statuses) if statuses else None
