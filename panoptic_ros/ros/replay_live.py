# SPDX-License-Identifier: Apache-2.0
"""`panoptic replay --live`: the bag is played to the real node, and the loss is reported."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from panoptic_ros.core.documents import read_json
from panoptic_ros.core.files import replace_results, run_folder
from panoptic_ros.node.camera_settings import settings_for
from panoptic_ros.node.parameters import BY_NAME
from panoptic_ros.node.topic_recorder import TopicRecorder
from panoptic_ros.node.topics import (
    DIAGNOSTICS,
    INSTANCES,
    LABEL_INFO,
    LATCHED,
    SEGMENTS,
    topic_types,
)
from panoptic_ros.recordings.bag import Bag
from panoptic_ros.recordings.overlay_video import OverlayVideo
from panoptic_ros.replay.compare import compare_replays
from panoptic_ros.replay.config import Progress
from panoptic_ros.replay.finished_run import ReplayRun, read_run
from panoptic_ros.replay.live_scores import DROPPED, score_live
from panoptic_ros.replay.resume import RESULTS
from panoptic_ros.replay.run import ReplayResult
from panoptic_ros.replay.session import Log, Session
from panoptic_ros.replay.summary import format_summary
from panoptic_ros.ros.message_types import RosTypes
from panoptic_ros.ros.monitor import Monitor
from panoptic_ros.ros.processes import Child, isolated_ros
from panoptic_ros.ros.replay_player import WAIT_S

NODE_MODULE = 'panoptic_ros.ros.main'
PLAYER_MODULE = 'panoptic_ros.ros.replay_player'

LOCK_STEP = 'lock_step'
"""Folder in the output with the lock-step run to compare with."""

RECORDED = (SEGMENTS, INSTANCES, DIAGNOSTICS, LABEL_INFO)
"""Topics that a robot would subscribe to. The overlay, which is for people, costs the node time.

Subscriptions reach the node in this order. The last one is latched, so that once its message has
arrived, the node has all subscriptions and no result is lost.
"""

SETTLE_S = 15.0
"""Longest wait for the node's last results, seconds."""

QUIET_S = 2.0
"""Time without a new result after which the node has finished, seconds."""


def run_live(
    session: Session, config: Path | None, output: Path, rate: float, progress: Progress, log: Log
) -> tuple[dict[str, Any], ReplayResult]:
    """Replay in lock-step, play the same bag to the node, and report the difference.

    Args:
        session: replay to perform.
        config: the node's parameter file.
        output: locked folder of the results; those of lock-step are written to `LOCK_STEP` in it.
        rate: playing speed relative to that of recording.
        progress: see `Session.replay`.
        log: called with lines for the user.

    Returns:
        The summary and the result of the live run.

    Raises:
        ValueError: if there are several cameras, or the node cannot start or publishes nothing.
        ChildProcessError: if the node or the player ends with an error.
    """
    if len(session.config.cameras) != 1:
        raise ValueError(
            '--live plays one camera; choose with --image: '
            f'{", ".join(session.config.cameras.values())}'
        )
    session.require_same(output, 'live')
    session.replay(output / LOCK_STEP, progress, log)
    with isolated_ros(), run_folder(output) as folder:
        return _run_in(folder, session, config, output, rate, progress, log)


def _run_in(
    folder: Path,
    session: Session,
    config: Path | None,
    output: Path,
    rate: float,
    progress: Progress,
    log: Log,
) -> tuple[dict[str, Any], ReplayResult]:
    sent_file = folder / 'sent.json'
    counts, wall_s = _record(folder, sent_file, session, config, rate, log)
    sent = [(stamp, time_ns) for stamp, time_ns in read_json(sent_file)]
    (camera,) = session.config.cameras
    with (
        OverlayVideo(folder / 'overlay.mp4', session.config.rate_hz(camera)) as video,
        Bag(folder / 'bag') as bag,
    ):
        result = score_live(session.config, session.loaded, bag, sent, wall_s, video, progress)
    summary = session.summarize(result, 'live')
    good = summary['frames']['good']
    summary['live'] = {
        'rate': rate,
        'played': len(sent),
        'received': counts['received'],
        'lost_on_the_way': max(0, len(sent) - counts['received']),
        'dropped_by_the_node': counts['dropped'],
        'node_latency_ms': counts['latency_ms'],
    }
    summary['timing']['rate_hz'] = round(good / wall_s, 2) if wall_s else None
    camera_summary = summary['cameras'][camera]
    camera_summary['bad'] = _reasons(camera_summary['bad'], summary['live'])
    lock_step = read_run(output / LOCK_STEP)
    comparison = compare_replays(lock_step, ReplayRun(f'{output} (live)', summary, result.records))
    session.write(folder, result, summary, comparison)
    sent_file.unlink()
    replace_results(folder, output, RESULTS.mark)
    for line in format_summary(summary):
        log(line)
    for row in comparison.rows:
        if row.name in ('PQ', 'STQ', 'images without a result') and row.difference is not None:
            first, second, *_ = row.cells()
            log(f'{row.name}: lock-step {first}, live {second}')
    return summary, result


def _reasons(bad: dict[str, int], live: dict[str, Any]) -> dict[str, int]:
    """Replace the count of images without a result by counts of the reasons that are known."""
    reasons = {name: count for name, count in bad.items() if name != DROPPED}
    known = {
        f'dropped by the node: {name}': count
        for name, count in live['dropped_by_the_node'].items()
        if count
    }
    if live['lost_on_the_way']:
        known['lost between player and node'] = live['lost_on_the_way']
    rest = bad.get(DROPPED, 0) - sum(known.values())
    if rest > 0:
        known['published, but not recorded'] = rest
    return reasons | known


def _record(
    folder: Path, sent_file: Path, session: Session, config: Path | None, rate: float, log: Log
) -> tuple[dict[str, Any], float]:
    """Start node and player, record the node's topics, and end both.

    Returns:
        `NodeHealth.summary`, and the duration of playing in seconds.
    """
    replay_config = session.config
    played: list[float] = []
    troubles: list[str] = []

    def read_output(line: str) -> None:
        done = re.fullmatch(r'played \d+ images in ([\d.]+) s', line)
        if done:
            played.append(float(done[1]))
        if re.search('cannot (configure|activate)', line):
            troubles.append(line)
        log(line)

    ((camera, topic),) = replay_config.cameras.items()
    beside = replay_config.beside.get(camera)
    order = {
        'bag': str(session.bag.resolve()),
        'topic': topic,
        'beside': dict(beside.topics) if beside else {},
        'rate': rate,
        'sent': str(sent_file),
        'start_s': replay_config.start_s,
        'duration_s': replay_config.duration_s,
        'stride': replay_config.stride,
    }
    log(f'playing {topic} to the node at {rate:g} times its speed')
    types = topic_types(RosTypes.vision)
    topics = {name: types[name] for name in RECORDED}
    with (
        TopicRecorder(folder, topics, LATCHED) as recorder,
        Monitor(recorder.take, topics) as monitor,
        Child('node', NODE_MODULE, _node_flags(session, config), read_output) as node,
    ):

        def wait(until: Callable[[], bool], *children: Child) -> None:
            while not until():
                monitor.spin(0.05)
                if troubles:
                    raise ValueError(f'the node reports: {troubles[0]}')
                for child in children:
                    child.check()
                    if child.exit_code is not None:
                        raise ChildProcessError(
                            f'the {child.name} ended early; see its output above'
                        )

        give_up_s = time.monotonic() + WAIT_S
        wait(lambda: recorder.taken > 0 or time.monotonic() > give_up_s, node)
        if not recorder.taken:
            raise ChildProcessError(
                f'the node has not been ready for {WAIT_S:.0f} s; see its output above'
            )
        with Child('player', PLAYER_MODULE, [json.dumps(order)], read_output) as player:
            wait(lambda: bool(played), node, player)
            _settle(monitor.spin, recorder, node, rate)
    return recorder.summary(), played[0]


def _node_flags(session: Session, config: Path | None) -> list[str]:
    flags = ['--ros-args', *(['--params-file', str(config.resolve())] if config else [])]
    # As flags, since ROS would ignore a file that is for a node in another namespace.
    (camera,) = session.config.cameras
    values = {
        name: value
        for name, value in settings_for(camera, session.settings).items()
        if not value == session.settings[name] == BY_NAME[name].default
    }
    # The node has the camera that is played, whichever the file names. Segments are scored at the
    # camera's resolution and with the model's class ids; ages refer to the bag's clock.
    values |= {
        'use_sim_time': True,
        'output_scale': 'camera',
        'labels.remap': '',
        'autostart': True,
        'cameras': BY_NAME['cameras'].default,
    }
    if session.settings['model']:  # in quotes, as ROS reads the value as YAML
        values['model'] = str(Path(session.settings['model']).expanduser().resolve())
    for name, value in values.items():
        flags += ['-p', f'{name}:={json.dumps(value)}']
    return flags


def _settle(
    spin: Callable[[float], None], recorder: TopicRecorder, node: Child, rate: float
) -> None:
    """Wait until no new result arrives and the node processes no image."""
    # Diagnostics are published by the bag's clock.
    give_up_s = time.monotonic() + SETTLE_S + 3 / rate
    quiet_s, taken = time.monotonic(), recorder.taken
    heard = recorder.health
    while time.monotonic() < give_up_s:
        spin(0.1)
        node.check()
        if recorder.taken != taken:
            quiet_s, taken, heard = time.monotonic(), recorder.taken, recorder.health
        health = recorder.health
        fresh = health is not None and health is not heard
        idle = health is not None and not health.counts['in_flight']
        if fresh and idle and time.monotonic() - quiet_s > QUIET_S:
            return
