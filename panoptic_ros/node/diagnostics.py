# SPDX-License-Identifier: Apache-2.0
"""What /diagnostics says: one status per task, from numbers that the node and cameras keep."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from panoptic_ros.node.counts import Counts, Drop
from panoptic_ros.node.memory import device_memory_bytes, host_rss_bytes
from panoptic_ros.node.messages import MessageTypes
from panoptic_ros.node.meters import NOT_YET, Timings, show
from panoptic_ros.node.stages import Stage

DIAGNOSTICS_TYPE = 'diagnostic_msgs/msg/DiagnosticArray'

STALE_WARN_S, STALE_ERROR_S = 1.0, 5.0
"""Without an image for so long, an active camera's status changes."""

PAST_S, FUTURE_S = 10.0, 1.0
"""Stamps that are further from now are taken to be of another clock."""

LARGE_BYTES = 500_000
"""Raw images from this size on need more shared memory than Fast DDS has by default."""


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


def model_status(
    state: str,
    problem: str,
    values: Mapping[str, str],
    fallback_reason: str,
    loading_s: float | None = None,
) -> Status:
    """What runs, on what.

    Args:
        state: of the lifecycle.
        problem: why the last configure or reload failed; empty if it did not.
        values: name, hash and so on; empty while no model is loaded.
        fallback_reason: why slower hardware than asked for is in use; empty if it is not.
        loading_s: since when a model is being loaded; None while none is.
    """
    names = ('name', 'hash', 'family', 'backend', 'device', 'precision', 'engine')
    status = Status(
        'model', values={'state': state, **{name: values.get(name, NOT_YET) for name in names}}
    )
    if loading_s is not None:
        status.report(
            Level.OK if values else Level.WARN, f'a model has been loading for {loading_s:.0f} s'
        )
    elif problem:
        status.report(Level.WARN if values else Level.ERROR, problem)
    elif not values:
        status.report(Level.WARN, 'no model is loaded')
    if fallback_reason:
        status.report(Level.WARN, fallback_reason)
    return status


def input_status(
    camera: str,
    counts: Counts,
    rate_hz: float | None,
    age_s: float | None,
    silent_s: float | None,
    topics: str,
    last_bad: str,
    *,
    enabled: bool = True,
    all_lost: str = '',
    time_problem: str = '',
    clock_problem: str = '',
    warnings: Iterable[str] = (),
) -> Status:
    """What came in, and what became of it.

    Args:
        camera: its name.
        counts: of its frames.
        rate_hz: at which images come.
        age_s: of the newest image, by its stamp; None before the first.
        silent_s: since the last image, or since there is none; None while not subscribed.
        topics: that are subscribed; empty while none is.
        last_bad: why the last image was bad; empty if it was not.
        enabled: False if a user has switched the input off.
        all_lost: why none of the last images was published; see `all_lost`.
        time_problem: what is wrong with the stamps; empty if nothing is.
        clock_problem: what is wrong with the node's clock; empty if nothing is. It is told first,
            as it may be the cause.
        warnings: other texts for people.
    """
    listens = silent_s is not None
    status = Status(
        f'input/{camera}',
        values={
            'rate hz': show(rate_hz if listens else None, 1),
            'age s': show(age_s if listens else None, 3),
            'received': str(counts.received),
            'published': str(counts.published),
            **{f'dropped {reason.value}': str(n) for reason, n in counts.dropped.items()},
            'in flight': str(counts.in_flight),
            'topics': topics or NOT_YET,
        },
    )
    if silent_s is None:
        status.message = 'not subscribed' if enabled else 'disabled'
        return status
    if last_bad and not all_lost:
        status.report(Level.WARN, f'bad image: {last_bad}')
    if silent_s > STALE_WARN_S:
        text = f'no image for {silent_s:.0f} s' if counts.received else f'no image yet on {topics}'
        status.report(Level.ERROR if silent_s > STALE_ERROR_S else Level.WARN, text)
    errors = [text for text in (all_lost, time_problem) if text]
    if clock_problem:
        status.report(Level.ERROR if errors else Level.WARN, clock_problem)
    for text in errors:
        status.report(Level.ERROR, text)
    for text in filter(None, warnings):
        status.report(Level.WARN, text)
    return status


def all_lost(
    before: Counts, now: Counts, max_age_ms: float, last_bad: str, last_failure: str
) -> str:
    """Why not one of the images of a time was published, and what to do; empty if one was.

    Args:
        before: counts at the beginning of that time.
        now: counts at its end.
        max_age_ms: the limit of an image's age.
        last_bad: why the last image was bad.
        last_failure: what the engine said of the last image that it failed on.
    """
    lost = {reason: now.dropped[reason] - before.dropped[reason] for reason in Drop}
    if now.published > before.published or not any(lost.values()):
        return ''
    texts = {
        Drop.TOO_OLD: f'all images are older than max_age_ms {max_age_ms:.0f}; use_sim_time? Set '
        'it for a bag or a simulation, else synchronise the clocks of camera and '
        'node, or raise max_age_ms',
        Drop.BAD_IMAGE: f'all images are bad: {last_bad}'
        + ('; remap `image` to the colour topic' if _is_foreign(last_bad) else ''),
        Drop.INFERENCE_FAILED: f'inference fails for all images: {last_failure}',
        Drop.SUPERSEDED: 'no image is finished; the one in work takes longer than the others '
        'take to arrive',
    }
    reasons = [
        text for reason, text in texts.items() if lost[reason] and reason != Drop.SUPERSEDED
    ]
    return '; '.join(reasons or [texts[Drop.SUPERSEDED]])


def _is_foreign(bad: str) -> bool:
    """Whether an image was bad because it is none of a colour camera."""
    return any(word in bad for word in ('encoding', 'expected a', 'depth', 'Depth'))


def age_problem(age_s: float | None, sim_time: bool) -> str:
    """What a newest image's age says of the clocks; empty if nothing is wrong.

    Args:
        age_s: by its stamp; None if it is not known.
        sim_time: whether the node's time is that of /clock.
    """
    if age_s is None or -FUTURE_S <= age_s <= PAST_S:
        return ''
    where = 'in the future' if age_s < 0 else 'in the past'
    seconds = f'{abs(age_s):.1f}' if abs(age_s) < 1e4 else f'{abs(age_s):.0f}'
    cure = (
        'use_sim_time is true, so /clock and the images must come from the same bag or simulation'
        if sim_time
        else 'use_sim_time? Set it for a bag or a simulation with /clock, else synchronise the '
        "camera's clock"
    )
    return f'stamps are of another clock: {seconds} s {where}; {cure}'


def stamp_problem(problem: str) -> str:
    """What to do about stamps that cannot be used.

    Args:
        problem: `StampClock.problem`.
    """
    return problem and (
        f'{problem}; the driver must stamp its images, with use_sim_time by /clock'
    )


def clock_problem(sim_time: bool, now_s: float, still_s: float) -> str:
    """What is wrong with the node's clock; empty if nothing is.

    Args:
        sim_time: whether the node's time is that of /clock.
        now_s: its time.
        still_s: since when it has not changed.
    """
    if not sim_time:
        return ''
    if now_s <= 0:
        return (
            'use_sim_time is true, but nothing arrives on /clock; play the bag with --clock, '
            'or set use_sim_time to false'
        )
    if still_s > STALE_ERROR_S:
        return f'/clock has not advanced for {still_s:.0f} s'
    return ''


def transport_problem(environ: Mapping[str, str], middleware: str, raw_bytes: int) -> str:
    """Whether images are larger than the middleware's settings allow for; empty if not.

    Args:
        environ: the process's environment.
        middleware: name of the ROS middleware's implementation.
        raw_bytes: size of the last image; 0 if it was compressed.
    """
    old, new = 'FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE'
    read = {
        'humble': [old],
        'iron': [old],
        'jazzy': [old],
        'kilted': [new, old],
        '': [new, old],
    }.get(environ.get('ROS_DISTRO', ''), [new])
    if (
        raw_bytes < LARGE_BYTES
        or 'fastrtps' not in middleware
        or any(environ.get(name) for name in (*read, 'FASTDDS_BUILTIN_TRANSPORTS'))
    ):
        return ''
    names = {old: f'{old} (Humble, Jazzy)', new: f'{new} (Kilted and later)'}
    return (
        f'raw images of {raw_bytes / 1e6:.1f} MB get lost or late without the Fast DDS '
        f'profile; set {" or ".join(names[name] for name in read)} to config/fastdds.xml of '
        'this package, here and for the camera'
    )


def timing_status(
    timings: Timings,
    rate_hz: float | None,
    limits: Mapping[str, Any],
    active: bool,
    current: bool = True,
) -> Status:
    """How long frames take.

    Args:
        timings: by label of the stages.
        rate_hz: of published frames.
        limits: `diagnostics.*` of the parameters.
        active: whether images are taken; an idle node is not too slow.
        current: False if the last frame was published too long ago for its times to be shown.
    """
    values = timings.values()
    if not (active and current):
        values = dict.fromkeys(values, NOT_YET)
    status = Status('timing', values={'rate hz': show(rate_hz if active else None, 1), **values})
    latency_ms = timings.p95_ms(Stage.TOTAL.label)
    if not active or latency_ms is None:
        return status
    if not current:
        latency_ms = 0.0
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
    status = Status(
        'memory',
        values={
            'host rss MB': show(host_rss_bytes() / 1e6, 1),
            'device used MB': show(used and used[0] / 1e6, 1),
            'device total MB': show(used and used[1] / 1e6, 1),
            'out of memory': str(out_of_memory),
        },
    )
    if out_of_memory:
        status.report(Level.WARN, f'{out_of_memory} frames failed for lack of memory')
    return status


def tracking_status(stats: Any | None) -> Status:
    """Tracks by state; `stats` is a TrackerStats, None before the first frame or without."""
    names = ('active', 'new', 'coasting', 'lost')
    return Status(
        'tracking',
        values={name: NOT_YET if stats is None else str(getattr(stats, name)) for name in names},
    )


def diagnostic_array(
    types: MessageTypes, statuses: Iterable[Status], node: str, device: str, stamp: Any
) -> Any:
    """The message.

    Args:
        types: makes messages.
        statuses: what it says.
        node: full name of the node; a status is called `<node>: <its name>`, so that nodes in
            different namespaces can share the topic.
        device: what runs the model, the hardware id.
        stamp: time of the message.
    """
    message = types.make(
        DIAGNOSTICS_TYPE,
        status=[
            types.make(
                'diagnostic_msgs/msg/DiagnosticStatus',
                level=types.byte(status.level),
                name=f'{node}: {status.name}',
                message=status.message,
                hardware_id=device,
                values=[
                    types.make('diagnostic_msgs/msg/KeyValue', key=key, value=value)
                    for key, value in status.values.items()
                ],
            )
            for status in statuses
        ],
    )
    message.header.stamp = stamp
    return message
