"""The node's own diagnostics, read back: for the live line, the table and summary.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NODE = 'panoptic_node'

LEVELS = ('OK', 'WARN', 'ERROR', 'STALE')


@dataclass(frozen=True)
class Status:
    """One DiagnosticStatus."""

    level: int
    message: str
    values: Mapping[str, str]


@dataclass(frozen=True)
class Health:
    """What the node said of itself at one moment."""

    stamp_s: float

    statuses: Mapping[str, Status]
    """By task: model, input/<camera>, timing, memory, tracking."""

    @property
    def active(self) -> bool:
        """True once images are taken."""
        return self._value('model', 'state') == 'active'

    @property
    def problem(self) -> str:
        """Why no model could be loaded; empty if nothing is wrong."""
        model = self.statuses.get('model')
        return model.message if model and LEVELS[model.level] == 'ERROR' else ''

    @property
    def received(self) -> int:
        """Images so far."""
        return int(self._input().get('received', 0))

    @property
    def in_flight(self) -> int:
        """Images that wait or are worked on."""
        return int(self._input().get('in flight', 0))

    def line(self) -> str:
        """Rate, latency, drops and the worst status, for people."""
        values = self._input()
        dropped = {key.removeprefix('dropped '): value for key, value in values.items()
                   if key.startswith('dropped ') and value != '0'}
        drops = ', '.join(f'{value} {reason}' for reason, value in dropped.items()) or 'none'
        worst = max(self.statuses.items(), key=lambda item: item[1].level, default=None)
        state = 'ok'
        if worst and worst[1].level:
            state = f'{LEVELS[worst[1].level]} {worst[0]}: {worst[1].message}'
        return (f'{self._value("timing", "rate hz")} images/s, latency '
                f'p50 {self._value("timing", "end to end p50 ms")} ms, '
                f'p95 {self._value("timing", "end to end p95 ms")} ms, '
                f'{values.get("published", 0)} of {values.get("received", 0)} published, '
                f'dropped: {drops}; {state}')

    def summary(self) -> dict[str, Any]:
        """What summary.json holds, all of it in the node's own words.

        Returns:
            `received`, `published`, `dropped` (by reason) and `in_flight` count images since the
            node's start: received = published + all dropped + in_flight. `rate_hz` is of
            published images over the node's last 5 s. `latency_ms` is end to end in the node,
            from an image's arrival to its last message handed to the middleware, `p50` and `p95`
            of its last 100 images. `backend` and `device` are those really used.

        Raises:
            ValueError: if the node published nothing, or its counts do not add up.
        """
        values = self._input()
        counts = {name: int(values.get(name.replace('_', ' '), 0))
                  for name in ('received', 'published', 'in_flight')}
        dropped = {key.removeprefix('dropped '): int(value) for key, value in values.items()
                   if key.startswith('dropped ')}
        if counts['received'] != counts['published'] + sum(dropped.values()) + counts['in_flight']:
            raise ValueError(f'the node\'s counts do not add up: {counts}, dropped {dropped}')
        if not counts['published']:
            raise ValueError(f'the node published none of {counts["received"]} images; '
                             f'dropped {dropped}')
        return {
            'received': counts['received'], 'published': counts['published'], 'dropped': dropped,
            'in_flight': counts['in_flight'], 'rate_hz': self._number('rate hz'),
            'latency_ms': {name: self._number(f'end to end {name} ms') for name in ('p50', 'p95')},
            'backend': self._value('model', 'backend'), 'device': self._value('model', 'device')}

    def _input(self) -> Mapping[str, str]:
        return next((status.values for task, status in self.statuses.items()
                     if task.startswith('input/')), {})

    def _value(self, task: str, key: str) -> str:
        status = self.statuses.get(task)
        return status.values.get(key, 'n/a') if status else 'n/a'

    def _number(self, key: str) -> float:
        """A value of `timing`; 0 where the node has none, e.g. a rate from one image."""
        text = self._value('timing', key)
        return 0.0 if text == 'n/a' else float(text)


def read_health(message: Any) -> Health | None:
    """Reads a diagnostic_msgs/DiagnosticArray (from rclpy, or from a bag).

    Returns:
        None if the message is not the node's.
    """
    prefix = f'{NODE}: '
    statuses = {}
    for status in message.status:
        if status.name.startswith(prefix):
            level = status.level[0] if isinstance(status.level, bytes) else int(status.level)
            statuses[status.name.removeprefix(prefix)] = Status(
                level, status.message, {pair.key: pair.value for pair in status.values})
    stamp = message.header.stamp
    return Health(stamp.sec + stamp.nanosec * 1e-9, statuses) if statuses else None
