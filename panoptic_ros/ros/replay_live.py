# SPDX-License-Identifier: Apache-2.0
"""`panoptic replay --live`: the bag played to the real node, and what that costs."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from panoptic_ros.core.documents import read_json
from panoptic_ros.core.files import replace_results, run_folder
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
from panoptic_ros.recordings.overlay_video import OverlayVideo
from panoptic_ros.replay.compare import compare_replays
from panoptic_ros.replay.config import Progress
from panoptic_ros.replay.finished_run import ReplayRun, read_run
from panoptic_ros.replay.live_scores import DROPPED, score_live
from panoptic_ros.replay.session import Log, Session
from panoptic_ros.replay.summary import format_summary
from panoptic_ros.ros.message_types import RosTypes
from panoptic_ros.ros.monitor import Monitor
from panoptic_ros.ros.processes import (
    Child,
    remove_shared_memory,
    ros_environment,
    shared_memory_files,
)
from panoptic_ros.ros.replay_player import WAIT_S

NODE_MODULE = 'panoptic_ros.ros.main'
PLAYER_MODULE = 'panoptic_ros.ros.replay_player'

LOCK_STEP = 'lock_step'
"""Folder in the output that holds the run to compare with."""

RECORDED = (SEGMENTS, INSTANCES, DIAGNOSTICS, LABEL_INFO)

SETTLE_S = 15.0
"""The longest wait for the node's last results."""

QUIET_S = 2.0
"""Without a new result the node is done."""


def run_live(
    session: Session, config: Path | None, output: Path, rate: float, progress: Progress, log: Log
) -> None:
    """Replays in lock-step, plays the same to the node, and reports the difference.

    Args:
        session: what to replay.
        config: the node's parameter file.
        output: folder of the results, locked; those of lock-step go into a folder of it.
        rate: how many times as fast as it was recorded.
        progress: see `Session.replay`.
        log: takes lines for people.

    Raises:
        ValueError, ChildProcessError: if the node does not start or published nothing.
    """
    if len(session.config.cameras) != 1:
        raise ValueError(
            'the node takes one camera for now; choose with --image: '
            f'{", ".join(session.config.cameras.values())}'
        )
    session.replay(output / LOCK_STEP, progress, log)
    os.environ.update(ros_environment(os.environ))
    memory = shared_memory_files()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that nothing is left running
    try:
        with run_folder(output) as folder:
            _run_in(folder, session, config, output, rate, progress, log)
    finally:
        remove_shared_memory(memory)


def _run_in(
    folder: Path,
    session: Session,
    config: Path | None,
    output: Path,
    rate: float,
    progress: Progress,
    log: Log,
) -> None:
    sent_file = folder / 'sent.json'
    counts, wall_s = _record(folder, sent_file, session, config, rate, log)
    sent = [(stamp, time_ns) for stamp, time_ns in read_json(sent_file)]
    (camera,) = session.config.cameras
    with OverlayVideo(folder / 'overlay.mp4', session.config.rate_hz(camera)) as video:
        result = score_live(
            session.config, session.loaded, folder / 'bag', sent, wall_s, video, progress
        )
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
    replace_results(folder, output)
    for line in format_summary(summary):
        log(line)
    for row in comparison.rows:
        if row.name in ('PQ', 'STQ', 'images without a result') and row.difference is not None:
            log(f'{row.name}: lock-step {row.a:.1f}, live {row.b:.1f}')


def _reasons(bad: dict[str, int], live: dict[str, Any]) -> dict[str, int]:
    """In place of images without a result: why there is none, as far as the node said."""
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
    """Starts node and player, records the node's topics, and ends both.

    Returns:
        What the node said of itself, and how long the playing took.
    """
    replay_config = session.config
    played: list[float] = []
    troubles: list[str] = []

    def hear(line: str) -> None:
        done = re.fullmatch(r'played \d+ images in ([\d.]+) s', line)
        if done:
            played.append(float(done[1]))
        if re.search('cannot (configure|activate)', line):
            troubles.append(line)
        log(line)

    (topic,) = replay_config.cameras.values()
    order = {
        'bag': str(session.bag.resolve()),
        'topic': topic,
        'rate': rate,
        'sent': str(sent_file),
        'start_s': replay_config.start_s,
        'duration_s': replay_config.duration_s,
        'stride': replay_config.stride,
    }
    log(f'playing {topic} to the node at {rate:g} times its speed')
    # Nothing that a robot would not subscribe to: pictures for people cost the node time.
    types = topic_types(RosTypes.vision)
    topics = {name: types[name] for name in RECORDED}
    with (
        TopicRecorder(folder, topics, LATCHED) as recorder,
        Monitor(recorder.take, topics) as monitor,
        Child('node', NODE_MODULE, _node_flags(session, config), hear) as node,
    ):

        def wait(until: Callable[[], bool], *children: Child) -> None:
            while not until():
                monitor.spin(0.05)
                if troubles:
                    raise ValueError(f'the node says: {troubles[0]}')
                for child in children:
                    child.check()
                    if child.exit_code is not None:
                        raise ChildProcessError(
                            f'the {child.name} ended early; what it said stands above'
                        )

        # Subscriptions are made known in order, and that to the latched label_info is the last:
        # once it has come, the node knows of all, and no result is lost for want of a subscriber.
        give_up_s = time.monotonic() + WAIT_S
        wait(lambda: recorder.taken > 0 or time.monotonic() > give_up_s, node)
        if not recorder.taken:
            raise ChildProcessError(
                f'the node has not been ready for {WAIT_S:.0f} s; what it said stands above'
            )
        with Child('player', PLAYER_MODULE, [json.dumps(order)], hear) as player:
            wait(lambda: bool(played), node, player)
            _settle(monitor.spin, recorder, node, rate)
    return recorder.summary(), played[0]


def _node_flags(session: Session, config: Path | None) -> list[str]:
    flags = ['--ros-args', *(['--params-file', str(config.resolve())] if config else [])]
    # The file may be for a node in another namespace, which ROS would ignore.
    values = {
        name: value for name, value in session.settings.items() if value != BY_NAME[name].default
    }
    # Segments at the camera's resolution are what is scored; the bag's clock makes ages right.
    values |= {'use_sim_time': True, 'output_scale': 'camera', 'autostart': True}
    if session.settings['model']:  # in quotes, for ROS reads the value as YAML
        values['model'] = str(Path(session.settings['model']).expanduser().resolve())
    for name, value in values.items():
        flags += ['-p', f'{name}:={json.dumps(value)}']
    return flags


def _settle(
    spin: Callable[[float], None], recorder: TopicRecorder, node: Child, rate: float
) -> None:
    """Waits until nothing new comes and the node has nothing in work."""
    give_up_s = time.monotonic() + SETTLE_S + 3 / rate  # diagnostics come by the bag's clock
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
