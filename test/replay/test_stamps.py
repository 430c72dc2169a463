# SPDX-License-Identifier: Apache-2.0
"""Recordings with unusable stamps or times of recording."""

import json
from collections import Counter

import cv2
import numpy as np
import pytest
from replay_bags import (
    CAMERA,
    GT_TOPIC,
    IMAGE,
    START_NS,
    STEP_NS,
    STRING,
    classes,
    gt_ids,
    image,
    scene,
    string,
    write_bag,
)

from panoptic_ros.cli.main import main
from panoptic_ros.node.topics import INSTANCES, SEGMENTS
from panoptic_ros.recordings.bag import Bag
from panoptic_ros.recordings.overlay_video import OverlayVideo
from panoptic_ros.replay.frame_records import read_records
from panoptic_ros.replay.live_scores import DROPPED, score_live
from panoptic_ros.replay.session import Session
from panoptic_ros.tracking.clock import AHEAD, BACK, STILL, ZERO

COUNT = 9


def replay(tmp_path, model, stamps, times=None, gts=None, storage='mcap', name='out'):
    """Replay images with the given stamps and times of recording, ns.

    Returns:
        Summary, records, and images in the overlay video.
    """
    times = times or [START_NS + i * STEP_NS for i in range(len(stamps))]

    def messages():
        if gts:
            yield f'{GT_TOPIC}/label_info', STRING, times[0], string(classes())
        for i, (stamp, time_ns) in enumerate(zip(stamps, times, strict=True)):
            yield CAMERA, IMAGE, time_ns, image(scene(i), stamp)
            if gts and gts[i] is not None:
                yield (
                    GT_TOPIC,
                    IMAGE,
                    time_ns,
                    image(gt_ids(gts[i]).astype('<i4')[..., None], stamp, '32SC1'),
                )

    path = tmp_path / f'{name}_bag'
    write_bag(path, messages(), storage)
    output = tmp_path / name
    flags = ['--gt', GT_TOPIC] if gts else []
    assert main(['replay', str(path), '--model', str(model), '-o', str(output), *flags]) == 0
    capture = cv2.VideoCapture(str(output / 'overlay.mp4'))
    return (
        json.loads((output / 'summary.json').read_text()),
        read_records(output / 'frames.jsonl'),
        capture.get(cv2.CAP_PROP_FRAME_COUNT),
    )


def late(i):
    return START_NS + i * STEP_NS - (STEP_NS + 100_000 if i == 4 else 0)


@pytest.mark.parametrize(
    ('stamps', 'problems', 'rate_hz', 'confirmed'),
    [
        ([0] * COUNT, {ZERO: COUNT - 1}, 10, 2),
        ([START_NS] * COUNT, {STILL: COUNT - 5}, 10, 2),
        ([START_NS + i // 2 * STEP_NS for i in range(COUNT)], {}, 10, 2),
        ([late(i) for i in range(COUNT)], {}, 10, 2),
        ([max(0, i - 4) and START_NS + i * STEP_NS for i in range(COUNT)], {ZERO: 4}, 10, 2),
        ([START_NS * (i > 4) + (i + 1) * STEP_NS for i in range(COUNT)], {AHEAD: 1}, 10, 2),
        ([START_NS * (i < 4) + (i + 1) * STEP_NS for i in range(COUNT)], {BACK: 1}, 10, 4),
        ([0], {}, None, 0),
        ([START_NS, START_NS - STEP_NS], {}, None, 0),
    ],
)
def test_images_keep_their_tracks_whatever_their_stamps_are(
    tmp_path, tiny_model, stamps, problems, rate_hz, confirmed
):
    summary, records, shown = replay(tmp_path, tiny_model, stamps)
    camera = summary['cameras']['camera']
    assert summary['frames']['good'] == len(stamps)
    assert (
        camera['stamps']
        == problems
        == Counter(record.stamp_problem for record in records if record.stamp_problem)
    )
    assert (rate_hz is None) == (camera['rate_hz'] is None) or rate_hz is None
    if rate_hz:
        assert camera['rate_hz'] == pytest.approx(rate_hz, rel=0.01)
        # Two things throughout, and new ids only where the stamps start again.
        assert shown >= len(stamps) - 4
    assert summary['tracks']['confirmed'] == confirmed


@pytest.mark.parametrize(
    ('stamps', 'level', 'message'),
    [
        ([START_NS + i * STEP_NS for i in range(11)], 0, 'ok'),
        ([0] * 11, 2, ZERO),
        ([START_NS + i % 10 * STEP_NS for i in range(11)], 1, BACK),
    ],
)
def test_the_results_bag_tells_what_is_wrong_with_stamps(
    tmp_path, tiny_model, stamps, level, message
):
    replay(tmp_path, tiny_model, stamps)
    with Bag(tmp_path / 'out' / 'bag') as results:
        messages = [record.message for record in results.records(['/diagnostics'])]
    (status,) = (status for status in messages[-1].status if status.name.endswith('input/camera'))
    assert (status.level, status.message) == (level, message)


def test_without_stamps_a_second_run_is_the_same(tmp_path, tiny_model):
    runs = [replay(tmp_path, tiny_model, [0] * COUNT, name=name) for name in 'ab']
    a, b = (
        [(record.seen, record.confidence, record.stamp_problem) for record in records]
        for _, records, _ in runs
    )
    assert a == b
    assert runs[0][2] == runs[1][2] == COUNT


@pytest.mark.parametrize(
    ('times', 'storage'),
    [
        ([2**31 * 10**9 + i * STEP_NS for i in range(COUNT)], 'mcap'),  # after 2038
        ([2**63 - 10**12 + i * STEP_NS for i in range(COUNT)], 'mcap'),  # the last that are told
        ([(i - COUNT) * STEP_NS for i in range(COUNT)], 'sqlite3'),  # before 1970
        ([-(2**40) * 10**6 + i * STEP_NS for i in range(COUNT)], 'sqlite3'),
        ([0] * COUNT, 'mcap'),  # all at once
        ([i * STEP_NS + START_NS * (i > 4) for i in range(COUNT)], 'mcap'),  # a clock that was set
    ],
)
def test_a_recordings_own_times_may_be_anything(tmp_path, tiny_model, times, storage):
    stamped = storage == 'mcap'
    stamps = [(START_NS + i * STEP_NS) * stamped for i in range(COUNT)]
    summary, _, _ = replay(tmp_path, tiny_model, stamps, times, list(range(COUNT)), storage)
    assert summary['frames'] == {'replayed': COUNT, 'good': COUNT, 'bad': 0, 'lost': 0}
    assert summary['cameras']['camera']['scored'] == COUNT
    assert summary['scores']['panoptic']['all']['pq'] == 100 or not stamped
    assert (summary['cameras']['camera']['stamps'] == {}) == stamped


@pytest.mark.parametrize(
    ('stamps', 'gts', 'pq'),
    [
        (
            [i // 2 * STEP_NS + START_NS for i in range(8)],
            [0, None, 2, None, 4, None, 6, None],
            None,
        ),
        ([i // 2 * STEP_NS + START_NS for i in range(8)], list(range(8)), 100),
        ([0] * 8, list(range(8)), 100),
        (
            [START_NS + i % 4 * 10**9 for i in range(8)],
            [0, 1, 2, 3, 4, 5, 6, 7],
            100,
        ),  # starts again
    ],
)
def test_equal_stamps_take_the_truth_recorded_nearest(
    tmp_path, tiny_model, stamps, gts, pq, capsys
):
    summary, records, _ = replay(tmp_path, tiny_model, stamps, None, gts)
    camera = summary['cameras']['camera']
    assert (camera['scored'], camera['without_ground_truth']) == (8, 0)
    assert camera['sharing_a_stamp'] == 8
    for text in capsys.readouterr().out, (tmp_path / 'out' / 'report.html').read_text():
        assert '8 images share their stamp with another' in text
    if pq:
        assert [record.pq for record in records] == [pq] * 8
    else:  # every fourth scene differs from the one before, whose ground truth it is given
        assert [np.isclose(record.pq, 100) for record in records] == [True] * 3 + [False] + (
            [True] * 3 + [False]
        )


RESTART = [START_NS + i % 5 * STEP_NS for i in range(10)]  # the recording starts again


@pytest.mark.parametrize(
    ('stamps', 'dropped', 'without'),
    [
        ([0] * 6, (1, 3), (4, 5)),  # nothing tells which they were
        ([START_NS + i // 2 * STEP_NS for i in range(8)], (2, 3, 7), (2, 3, 7)),
        ([late(i) for i in range(COUNT)], (3, 5), (3, 5)),
        (RESTART, (4, 6), (4, 6)),
    ],
)
def test_results_of_the_node_belong_to_the_images_with_their_stamps(
    tmp_path, tiny_model, stamps, dropped, without
):
    count = len(stamps)
    replay(tmp_path, tiny_model, stamps, gts=[0] * count)
    with Bag(tmp_path / 'out' / 'bag') as results:
        published = [list(results.records([f'/{topic}'])) for topic in (SEGMENTS, INSTANCES)]
    # Both topics of all images, the tables all after the maps.
    write_bag(
        tmp_path / 'node',
        [
            (record.topic, results.topics[record.topic].kind, 10**9 + place, record.message)
            for place, record in enumerate(
                [messages[i] for messages in published for i in range(count) if i not in dropped]
            )
        ],
    )
    session = Session(tmp_path / 'out_bag', tiny_model, None, [], [GT_TOPIC], (0, None, 1))
    with OverlayVideo(tmp_path / 'live.mp4', 10) as video, Bag(tmp_path / 'node') as node:
        result = score_live(
            session.config,
            session.loaded,
            node,
            [(stamp, i) for i, stamp in enumerate(stamps)],
            1.0,
            video,
        )
    records = result.records
    assert [i for i, record in enumerate(records) if record.problem == DROPPED] == list(without)
    assert all(record.times_ms['total'] >= 1000 for record in records if not record.problem)
    summary = session.summarize(result, 'live')
    assert summary['frames']['good'] == count - len(dropped)
    assert summary['cameras']['camera']['scored'] == count
