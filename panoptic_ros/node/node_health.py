# SPDX-License-Identifier: Apache-2.0
"""Health of the node, read from its diagnostics, for the live line, the table and summary.json."""

from collections import Counter
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
    """By task: model, input/<camera>, timing, memory, tracking; with several cameras
    timing/<camera> and tracking/<camera>."""

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
        """Images of all cameras since the node's start: received, published and in_flight."""
        return {
            name: sum(int(values.get(name.replace('_', ' '), 0)) for values in self._of('input'))
            for name in ('received', 'published', 'in_flight')
        }

    @property
    def dropped(self) -> dict[str, int]:
        """Number of images that were received and not published, by reason."""
        dropped: Counter[str] = Counter()
        for values in self._of('input'):
            for key, value in values.items():
                if key.startswith('dropped '):
                    dropped[key.removeprefix('dropped ')] += int(value)
        return dict(dropped)

    @property
    def rate_hz(self) -> float:
        """Published images of all cameras per second over the node's last 5 s."""
        return sum(self._timing('rate hz'))

    def latency_ms(self, name: str) -> float:
        """Return `p50` or `p95` of the end-to-end latency of the slowest camera, ms."""
        return max(self._timing(f'{Stage.TOTAL.label} {name} ms'), default=0.0)

    def line(self) -> str:
        """Return rate, latency, drops and the worst status as a line for people."""
        counts = self.counts
        task, worst = max(self.statuses.items(), key=lambda item: item[1].level)
        state = f'; {worst.level.name} {task}: {worst.message}' if worst.level else ''
        if not counts['received']:
            return f'no image yet{state}'
        drops = ', '.join(f'{n} {reason}' for reason, n in self.dropped.items() if n)
        return (
            f'{self.rate_hz:.1f} images/s, latency {self.latency_ms("p50"):.0f} ms '
            f'(p95 {self.latency_ms("p95"):.0f}), '
            f'{counts["published"]} of {counts["received"]} published'
            f'{f" ({drops})" if drops else ""}{state}'
        )

    def summary(self, at_work: 'NodeHealth | None' = None) -> dict[str, Any]:
        """Return the content of summary.json, from the values that the node reported.

        Args:
            at_work: the report while it received images, which may have stopped since; None if
                this is it.

        Returns:
            `received`, `published`, `dropped` (by reason) and `in_flight` count images since the
            node's start: received = published + all dropped + in_flight. `rate_hz` is of
            published images. `latency_ms` is end to end in the node, from an image's arrival to
            its last message handed to the middleware, `p50` and `p95` of the last 100 images,
            those of the slowest camera. `depth`, if some was received, counts images with results
            in metres (`used`) and those without by reason (`mismatches`). `backend` and
            `device` are those actually used.

        Raises:
            ValueError: if the node published nothing, or its counts do not add up.
        """
        counts, dropped, at_work = self.counts, self.dropped, at_work or self
        if counts['received'] != counts['published'] + sum(dropped.values()) + counts['in_flight']:
            raise ValueError(f"the node's counts do not add up: {counts}, dropped {dropped}")
        if not counts['published']:
            raise ValueError(f'the node published no image: {self.line()}')
        return {
            'received': counts['received'],
            'published': counts['published'],
            'dropped': dropped,
            'in_flight': counts['in_flight'],
            'rate_hz': at_work.rate_hz,
            'latency_ms': {name: at_work.latency_ms(name) for name in ('p50', 'p95')},
            **self._depth(),
            'backend': self._value('model', 'backend'),
            'device': self._value('model', 'device'),
        }

    def _depth(self) -> dict[str, Any]:
        """Return counts of images with and without depth; empty if there is no depth."""
        used, mismatches = 0, Counter[str]()
        for values in self._of('depth'):
            used += int(values['used'])
            for key, value in values.items():
                if key.startswith('mismatch ') and int(value):
                    mismatches[key.removeprefix('mismatch ')] += int(value)
        if not used and not mismatches:
            return {}
        return {'depth': {'used': used, 'mismatches': dict(mismatches)}}

    def _of(self, task: str) -> list[Mapping[str, str]]:
        """Return the values of a task's statuses, one for each camera."""
        return [
            status.values
            for name, status in self.statuses.items()
            if name.partition('/')[0] == task
        ]

    def _value(self, task: str, key: str) -> str:
        status = self.statuses.get(task)
        return status.values.get(key, 'n/a') if status else 'n/a'

    def _timing(self, key: str) -> list[float]:
        """Return a value of `timing` for each camera that has it, unlike the rate of one image."""
        texts = [values.get(key, 'n/a') for values in self._of('timing')]
        return [float(text) for text in texts if text != 'n/a']


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
