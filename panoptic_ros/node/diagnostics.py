# SPDX-License-Identifier: Apache-2.0
"""Content of /diagnostics: one status per task, from the numbers of node and cameras."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from panoptic_ros.core.transport import NEW_VARIABLE, OLD_VARIABLE, PROFILE, profile_variables
from panoptic_ros.node.counts import Counts, Drop
from panoptic_ros.node.memory import device_memory_bytes, host_rss_bytes
from panoptic_ros.node.messages import MessageTypes
from panoptic_ros.node.meters import NOT_YET, Timings, show
from panoptic_ros.node.stages import Stage

DIAGNOSTICS_TYPE = 'diagnostic_msgs/msg/DiagnosticArray'

STALE_WARN_S, STALE_ERROR_S = 1.0, 5.0
"""Time without an image after which the status of an active camera is WARN or ERROR."""

PAST_S, FUTURE_S = 10.0, 1.0
"""Stamps further than this in the past or future are considered to be of another clock."""

LARGE_BYTES = 500_000
"""Size from which raw images need more shared memory than Fast DDS has by default."""


class Level(IntEnum):
    """DiagnosticStatus.level, whose own constants are bytes."""

    OK = 0
    WARN = 1
    ERROR = 2
    STALE = 3


@dataclass
class Status:
    """One DiagnosticStatus, to publish or received."""

    name: str
    level: Level = Level.OK
    message: str = 'ok'
    values: dict[str, str] = field(default_factory=dict)

    def report(self, level: Level, message: str) -> None:
        """Raise the level; all messages of the highest level are kept."""
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
    building: float | None = None,
    changed: Iterable[str] = (),
) -> Status:
    """Return the status of the model: which one runs, and on which hardware.

    Args:
        state: state of the lifecycle.
        problem: why the last configure or reload failed; empty if it succeeded.
        values: `LoadedModel.describe`; empty while no model is loaded.
        fallback_reason: why slower hardware than requested is used; empty if it is not.
        loading_s: for how long a model has been loading; None if none is.
        building: part of its engine that is built, 0 to 1; None while no engine is being built.
        changed: parameters that have changed since the model was loaded.
    """
    names = ('name', 'hash', 'family', 'backend', 'device', 'precision', 'engine')
    status = Status(
        'model', values={'state': state, **{name: values.get(name, NOT_YET) for name in names}}
    )
    status.values['changed, not loaded'] = ', '.join(changed) or 'none'
    if loading_s is not None:
        text = f'a model has been loading for {loading_s:.0f} s'
        if building is not None:
            status.values['engine'] = f'building {100 * building:.0f} %'
            text += f', its engine is being built ({100 * building:.0f} %)'
        status.report(Level.OK if values else Level.WARN, text)
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
    idle: bool = False,
    all_lost: str = '',
    time_problem: str = '',
    clock_problem: str = '',
    warnings: Iterable[str] = (),
) -> Status:
    """Return the status of a camera: images by result, rate and problems.

    Args:
        camera: name of the camera.
        counts: counts of its images.
        rate_hz: rate at which images arrive.
        age_s: age of the newest image by its stamp; None before the first.
        silent_s: time since the last image, or since subscribing; None while not subscribed.
        topics: subscribed topics; empty if there are none.
        last_bad: why the last image was bad; empty if it was not.
        enabled: False if a user has disabled the input.
        idle: whether images are not processed because nobody subscribes to the results.
        all_lost: why none of the last images was published; see `all_lost`.
        time_problem: what is wrong with the stamps; empty if nothing is.
        clock_problem: what is wrong with the node's clock; empty if nothing is. It is reported
            first, as it may be the cause of the others.
        warnings: further warnings; empty ones are ignored.
    """
    subscribed = silent_s is not None
    status = Status(
        f'input/{camera}',
        values={
            'rate hz': show(rate_hz if subscribed else None, 1),
            'age s': show(age_s if subscribed else None, 3),
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
    if idle:
        status.message = 'idle: nobody subscribes to an output'
        last_bad = all_lost = ''  # of earlier images
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
    before: Counts,
    now: Counts,
    arriving: bool,
    max_age_ms: float,
    last_bad: str,
    last_failure: str,
) -> str:
    """Return why no image of a period was published, and a remedy; empty if one was.

    Args:
        before: counts at the beginning of the period.
        now: counts at its end.
        arriving: whether images already arrived at its beginning; else the first of them may
            still be in work, while others arrive and are superseded.
        max_age_ms: maximum age of an image.
        last_bad: why the last image was bad.
        last_failure: error of the last image whose inference failed.
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
        Drop.SUPERSEDED: 'no image is finished; processing one takes longer than the next ones '
        'take to arrive',
    }
    reasons = [
        text for reason, text in texts.items() if lost[reason] and reason != Drop.SUPERSEDED
    ]
    if not reasons and arriving and not lost[Drop.IDLE]:
        reasons = [texts[Drop.SUPERSEDED]]
    return '; '.join(reasons)


def _is_foreign(bad: str) -> bool:
    """Return whether an image was bad because it is not from a colour camera."""
    return any(word in bad for word in ('encoding', 'expected a', 'depth', 'Depth'))


def age_problem(age_s: float | None, sim_time: bool) -> str:
    """Return the problem with the clocks that the newest image's age shows; empty if none.

    Args:
        age_s: age by the image's stamp; None if it is not known.
        sim_time: whether the node's time is that of /clock.
    """
    if age_s is None or -FUTURE_S <= age_s <= PAST_S:
        return ''
    where = 'in the future' if age_s < 0 else 'in the past'
    seconds = f'{abs(age_s):.1f}' if abs(age_s) < 1e4 else f'{abs(age_s):.0f}'
    remedy = (
        'use_sim_time is true, so /clock and the images must come from the same bag or simulation'
        if sim_time
        else 'use_sim_time? Set it for a bag or a simulation with /clock, else synchronise the '
        "camera's clock"
    )
    return f'stamps are of another clock: {seconds} s {where}; {remedy}'


def stamp_problem(problem: str) -> str:
    """Return a problem with stamps together with a remedy; empty if there is none.

    Args:
        problem: `StampClock.problem`.
    """
    return problem and (
        f'{problem}; the driver must stamp its images, with use_sim_time by /clock'
    )


def clock_problem(sim_time: bool, now_s: float, still_s: float) -> str:
    """Return the problem with the node's clock; empty if there is none.

    Args:
        sim_time: whether the node's time is that of /clock.
        now_s: the node's time.
        still_s: for how long that time has not changed.
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
    """Return a warning if images are too large for the middleware's settings, else empty.

    Args:
        environ: environment of the process.
        middleware: name of the implementation of the ROS middleware.
        raw_bytes: size of the last image; 0 if it was compressed.
    """
    read = profile_variables(environ.get('ROS_DISTRO', ''))
    if (
        raw_bytes < LARGE_BYTES
        or 'fastrtps' not in middleware
        or any(environ.get(name) for name in (*read, 'FASTDDS_BUILTIN_TRANSPORTS'))
    ):
        return ''
    names = {
        OLD_VARIABLE: f'{OLD_VARIABLE} (Humble, Jazzy)',
        NEW_VARIABLE: f'{NEW_VARIABLE} (Kilted and later)',
    }
    return (
        f'raw images of {raw_bytes / 1e6:.1f} MB get lost or late without the Fast DDS '
        f'profile; set {" or ".join(names[name] for name in read)} to {PROFILE} of '
        'this package, here and for the camera'
    )


def timing_status(
    timings: Timings,
    rate_hz: float | None,
    limits: Mapping[str, Any],
    active: bool,
    current: bool = True,
) -> Status:
    """Return the status of the durations of the last images.

    Args:
        timings: durations by label of the stages.
        rate_hz: rate of published frames.
        limits: `diagnostics.*` of the parameters.
        active: whether images are processed; a node that does not is not reported as too slow.
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
    """Return the status of the memory of process and device.

    Args:
        device: `cpu`, `cuda:<index>`, or empty.
        out_of_memory: number of images that failed for lack of memory.
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
    """Return the number of tracks by state; `stats` is None without a tracker or a frame."""
    names = ('tentative', 'confirmed', 'coasting', 'lost')
    return Status(
        'tracking',
        values={name: NOT_YET if stats is None else str(getattr(stats, name)) for name in names},
    )


def diagnostic_array(
    types: MessageTypes, statuses: Iterable[Status], node: str, device: str, stamp: Any
) -> Any:
    """Return the message of /diagnostics.

    Args:
        types: makes messages.
        statuses: the statuses.
        node: full name of the node. A status is called `<node>: <its name>`, so that nodes in
            different namespaces can share the topic.
        device: device that runs the model, used as the hardware id.
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
