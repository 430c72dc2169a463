"""What /diagnostics says: one status per task, from numbers that the node and cameras keep."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from panoptic_ros.interface.memory import device_memory_bytes, host_rss_bytes
from panoptic_ros.interface.messages import MessageTypes
from panoptic_ros.interface.meters import NOT_YET, Timings, show
from panoptic_ros.interface.worker import Counts

DIAGNOSTICS_TYPE = 'diagnostic_msgs/msg/DiagnosticArray'

STALE_WARN_S, STALE_ERROR_S = 1.0, 5.0
"""Without an image for so long, an active camera's status changes."""


class Level(IntEnum):
    """DiagnosticStatus.level, whose own constants are bytes."""

    OK = 0
    WARN = 1
    ERROR = 2


@dataclass
class Status:
    """One DiagnosticStatus."""

    name: str
    level: Level = Level.OK
    message: str = 'ok'
    values: dict[str, str] = field(default_factory=dict)

    def report(self, level: Level, message: str) -> None:
        """Raises the level; all messages of the highest level are kept."""
        if level > self.level:
            self.level, self.message = level, message
        elif level == self.level:
            self.message += f'; {message}'


def model_status(state: str, problem: str, values: Mapping[str, str], degraded: str) -> Status:
    """What runs, on what.

    Args:
        state: of the lifecycle.
        problem: why the last configure or reload failed; empty if it did not.
        values: name, hash and so on; empty while no model is loaded.
        degraded: why slower hardware than asked for is in use; empty if it is not.
    """
    names = ('name', 'hash', 'family', 'backend', 'device', 'precision', 'engine')
    status = Status('model', values={'state': state,
                                     **{name: values.get(name, NOT_YET) for name in names}})
    if problem:
        status.report(Level.WARN if values else Level.ERROR, problem)
    elif not values:
        status.report(Level.WARN, 'no model is loaded')
    if degraded:
        status.report(Level.WARN, degraded)
    return status


def input_status(camera: str, counts: Counts, rate_hz: float | None, age_s: float | None,
                 silent_s: float | None, topics: str, last_bad: str) -> Status:
    """What came in, and what became of it.

    Args:
        camera: its name.
        counts: of its frames.
        rate_hz: at which images come.
        age_s: of the newest image, by its stamp; None before the first.
        silent_s: since the last image, or since there is none; None while not subscribed.
        topics: that are subscribed; empty while none is.
        last_bad: why the last image was bad; empty if it was not.
    """
    status = Status(f'input/{camera}', values={
        'rate hz': show(rate_hz, 1), 'age s': show(age_s, 3),
        'received': str(counts.received), 'published': str(counts.published),
        **{f'dropped {reason.value}': str(n) for reason, n in counts.dropped.items()},
        'in flight': str(counts.in_flight), 'topics': topics or NOT_YET})
    if last_bad:
        status.report(Level.WARN, f'bad image: {last_bad}')
    if silent_s is None and status.level == Level.OK:
        status.message = 'not subscribed'
    elif silent_s is not None and silent_s > STALE_WARN_S:
        text = f'no image for {silent_s:.0f} s' if counts.received else f'no image yet on {topics}'
        status.report(Level.ERROR if silent_s > STALE_ERROR_S else Level.WARN, text)
    return status


def timing_status(timings: Timings, rate_hz: float | None,
                  limits: Mapping[str, Any], active: bool) -> Status:
    """How long frames take.

    Args:
        timings: with a stage `end to end`.
        rate_hz: of published frames.
        limits: `diagnostics.*` of the parameters.
        active: whether images are taken; an idle node is not too slow.
    """
    status = Status('timing', values={'rate hz': show(rate_hz, 1), **timings.values()})
    latency_ms = timings.p95_ms('end to end')
    if not active or latency_ms is None:
        return status
    text = f'p95 of the latency is {latency_ms:.0f} ms'
    if latency_ms >= limits['diagnostics.error_latency_ms']:
        status.report(Level.ERROR, text)
    elif latency_ms >= limits['diagnostics.warn_latency_ms']:
        status.report(Level.WARN, text)
    if rate_hz is not None and rate_hz < limits['diagnostics.warn_rate_hz']:
        status.report(Level.WARN, f'{rate_hz:.1f} images/s are published')
    return status


def memory_status(device: str, out_of_memory: int) -> Status:
    """Memory of process and device.

    Args:
        device: `cpu`, `cuda:<index>`, or empty.
        out_of_memory: frames that failed for lack of memory.
    """
    used = device_memory_bytes(device)
    status = Status('memory', values={
        'host rss MB': show(host_rss_bytes() / 1e6, 1),
        'device used MB': show(used and used[0] / 1e6, 1),
        'device total MB': show(used and used[1] / 1e6, 1), 'out of memory': str(out_of_memory)})
    if out_of_memory:
        status.report(Level.WARN, f'{out_of_memory} frames failed for lack of memory')
    return status


def tracking_status(stats: Any | None) -> Status:
    """Tracks by state; `stats` is a TrackerStats, None before the first frame or without."""
    names = ('active', 'new', 'coasting', 'lost')
    return Status('tracking', values={
        name: NOT_YET if stats is None else str(getattr(stats, name)) for name in names})


def diagnostic_array(types: MessageTypes, statuses: Iterable[Status], node: str, device: str,
                     stamp: Any) -> Any:
    """The message; a status is called `<node>: <its name>`, so that two nodes can share it."""
    message = types.make(DIAGNOSTICS_TYPE, status=[
        types.make('diagnostic_msgs/msg/DiagnosticStatus', level=types.byte(status.level),
                   name=f'{node}: {status.name}', message=status.message, hardware_id=device,
                   values=[types.make('diagnostic_msgs/msg/KeyValue', key=key, value=value)
                           for key, value in status.values.items()])
        for status in statuses])
    message.header.stamp = stamp
    return message
