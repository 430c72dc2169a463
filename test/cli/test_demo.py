# SPDX-License-Identifier: Apache-2.0
"""The demo as a user runs it: with real node, camera and recorder."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from panoptic_ros.core.files import lock_folder
from panoptic_ros.core.frame import read_instances
from panoptic_ros.core.resources import SCOPE, default_model
from panoptic_ros.ros.processes import free_domain_id

pytest.importorskip('rclpy', reason='needs ROS 2: pip install "panoptic_ros[ros]"')
from replay_bags import BOX_M, ball_m, drive_in_metres, write_bag
from rosbags.highlevel import AnyReader
from shared_memory import left_by
from tiny_model import LABELS, paint_scene

from panoptic_ros.demo.run import NO_LIMITS, describe_model
from panoptic_ros.node.diagnostics import Level, timing_status
from panoptic_ros.node.meters import Timings
from panoptic_ros.node.stages import Stage
from panoptic_ros.node.topics import CLOUDS, OVERLAY, topic_types
from panoptic_ros.ros.message_types import RosTypes

pytestmark = pytest.mark.ros

TIMEOUT_S = 240
RESULTS = {'overlay.mp4', 'contact_sheet.png', 'bag', 'summary.json'}


def start(*flags, **more: str) -> subprocess.Popen:
    """Start the command with `more` environment variables, without those of other tests."""
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith(('ROS_', 'FAST'))
    }
    return subprocess.Popen(
        [sys.executable, '-m', 'panoptic_ros.cli.main', 'demo', *map(str, flags)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environ | {'OMP_NUM_THREADS': '1', 'PYTHONUNBUFFERED': '1'} | more,
    )


def run(*flags, **more: str) -> tuple[int, str, str]:
    process = start(*flags, **more)
    try:
        out, err = process.communicate(timeout=TIMEOUT_S)
    finally:
        process.terminate()
    return process.returncode, out, err


def children_of(pid: int) -> list[int]:
    return [int(number) for number in Path(f'/proc/{pid}/task/{pid}/children').read_text().split()]


def wait_for_the_end(pids: list[int]) -> None:
    end_s = time.monotonic() + 30
    while running := [
        pid
        for pid in pids
        if Path(f'/proc/{pid}').exists() and ') Z ' not in Path(f'/proc/{pid}/stat').read_text()
    ]:
        assert time.monotonic() < end_s, f'still running: {running}'
        time.sleep(0.05)


def check_results(folder: Path) -> dict:
    assert {path.name for path in folder.iterdir()} == RESULTS | {'.lock'}
    summary = json.loads((folder / 'summary.json').read_text())
    assert set(summary) - {'depth'} == {
        'received',
        'published',
        'dropped',
        'in_flight',
        'rate_hz',
        'latency_ms',
        'backend',
        'device',
    }
    assert summary['received'] == (
        summary['published'] + sum(summary['dropped'].values()) + summary['in_flight']
    )
    assert summary['published'] > 0
    assert summary['dropped']['idle'] == 0  # the recorder has subscribed before the first image
    assert 0 < summary['latency_ms']['p50'] <= summary['latency_ms']['p95']
    assert (summary['backend'].split('/')[0], summary['device']) == ('onnxruntime', 'cpu')
    sheet = cv2.imread(str(folder / 'contact_sheet.png'))
    assert sheet is not None and sheet.std() > 5
    capture = cv2.VideoCapture(str(folder / 'overlay.mp4'))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) > 0 and capture.read()[0]
    return summary


@pytest.fixture(scope='module')
def scene_video(tmp_path_factory) -> Path:
    """4 s of a still scene that the tiny model reads."""
    path = tmp_path_factory.mktemp('video') / 'scene.avi'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'MJPG'), 10, (256, 128))
    for _ in range(40):
        writer.write(cv2.cvtColor(paint_scene(128, 256), cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def test_a_video_gives_all_results(tiny_model, scene_video, tmp_path):
    domain = free_domain_id()
    output = tmp_path / 'made' / 'results'
    code, out, err = run(
        '--video',
        scene_video,
        '--model',
        tiny_model,
        '--output',
        output,
        ROS_DOMAIN_ID=str(domain),
    )
    assert code == 0, out + err
    summary = check_results(output)
    assert summary['rate_hz'] > 0 and f'"received": {summary["received"]}' in out
    assert 'panoptic_node' in out  # from the node's log
    with AnyReader([output / 'bag']) as bag:
        kinds = {topic: info.msgtype for topic, info in bag.topics.items()}
        messages = {
            topic: [
                bag.deserialize(data, kinds[topic])
                for _, _, data in bag.messages(info.connections)
            ]
            for topic, info in bag.topics.items()
        }
    assert messages.keys() == {
        '/image/compressed',
        *(f'/{name}' for name in topic_types(RosTypes.vision).keys() - {OVERLAY, *CLOUDS}),
    }
    images, results = (
        {(m.header.stamp.sec, m.header.stamp.nanosec) for m in messages[topic]}
        for topic in ('/image/compressed', '/panoptic/segments')
    )
    assert results <= images, 'the image of each result'
    assert len(images) - len(results) <= 5, 'the recorder hears the node from the first image on'
    assert len(messages['/panoptic/label_info']) == 1
    rows = read_instances(messages['/panoptic/instances'][-1])
    assert {LABELS.names[i] for i in rows['class_id']} == {'floor', 'wall', 'ball', 'box'}
    segments = messages['/panoptic/segments'][-1]
    ids = np.frombuffer(segments.data, np.uint16).reshape(segments.height, segments.width)
    assert ids.shape == (128, 256)
    assert ids[64, 64] == rows['segment_id'][rows['class_id'] == LABELS.names.index('ball')]
    frame = cv2.VideoCapture(str(output / 'overlay.mp4')).read()[1]
    assert frame[64, 64, 2] > 200 > 80 > frame[64, 64, 0]  # the ball is red, as BGR
    assert not left_by(domain)
    check_log(out + err)
    assert out.startswith('tiny.onnx finds floor, wall, ball, box.\n')
    check_replay(output / 'bag', tiny_model, tmp_path / 'replay', len(images))


def check_log(text: str) -> None:
    """A healthy run has no line that looks like trouble."""
    assert not re.findall(r'.*(?:WARN|ERROR|Traceback).*', text)


def check_replay(bag: Path, model: Path, output: Path, images: int) -> None:
    """The bag can be replayed, and gives a result for each of its images."""
    from panoptic_ros.cli.main import main

    assert main(['replay', str(bag), '--model', str(model), '-o', str(output)]) == 0
    frames = json.loads((output / 'summary.json').read_text())['frames']
    assert frames == {'replayed': images, 'good': images, 'bad': 0, 'lost': 0}


def test_the_synthetic_street_is_the_default(tiny_model, tmp_path):
    pytest.importorskip('panoptic_training', reason='the street is drawn by it')
    code, out, err = run('--model', tiny_model, '--duration', 0.5, '--output', tmp_path / 'out')
    assert code == 0, out + err
    summary = check_results(tmp_path / 'out')
    assert summary['depth'] == {'used': summary['published'], 'mismatches': {}}
    assert 'depth/camera' in out
    check_log(out + err)
    with AnyReader([tmp_path / 'out/bag']) as bag:
        info = bag.topics['/panoptic/segments']
        _, _, data = next(bag.messages(info.connections))
        segments = bag.deserialize(data, info.msgtype)
        info = bag.topics['/panoptic/instances']
        tables = [
            read_instances(bag.deserialize(data, info.msgtype))
            for _, _, data in bag.messages(info.connections)
        ]
    assert (segments.height, segments.width) == (720, 1280)
    assert all(np.isfinite(rows['z']).any() for rows in tables if len(rows))


def test_a_recording_for_rerun_shows_the_boxes_of_a_bag_with_depth(
    tiny_model, scene_video, tmp_path
):
    pytest.importorskip('rerun', reason='needs rerun-sdk: pip install "panoptic_ros[rerun]"')
    from rerun.chunk import RrdReader

    bag = write_bag(tmp_path / 'drive', drive_in_metres(20))
    flags = '--model', tiny_model, '--output', tmp_path / 'out'
    code, out, err = run('--bag', bag, *flags, '--rerun')
    assert code == 0, out + err
    assert 'recording.rrd)' in out
    found = {}
    for chunk in RrdReader(tmp_path / 'out' / 'recording.rrd').stream():
        batch = chunk.to_record_batch()
        for name in batch.schema.names:
            if ':' not in name:  # times
                continue
            entity = found.setdefault(chunk.entity_path, {})
            entity.setdefault(name, []).extend(batch.column(name).to_pylist())
    assert {'/camera/image', '/camera/image/classes', '/diagnostics/rate_hz'} <= found.keys()
    centres = [box for boxes in found['/world/boxes']['Boxes3D:centers'] for box in boxes or ()]
    distances = {round(z, 1) for _, _, z in centres}
    assert distances <= {BOX_M, *(round(ball_m(i), 1) for i in range(20))}
    assert BOX_M in distances
    points = found['/world/points']['Points3D:positions'][0]
    assert {round(z, 1) for _, _, z in points} <= {*distances, 4.0}
    (tmp_path / 'out' / '.lock').unlink()
    code, out, err = run('--video', scene_video, *flags, '--duration', 0.5)
    assert code == 0, out + err
    check_results(tmp_path / 'out')  # without the recording of the other run


def test_rerun_is_named_where_it_is_missing(scene_video, tmp_path, monkeypatch, capsys):
    from panoptic_ros.cli.main import main

    monkeypatch.setitem(sys.modules, 'rerun', None)
    assert main(['demo', '--rerun', '--video', str(scene_video), '--output', str(tmp_path)]) == 2
    assert '--rerun needs rerun-sdk' in capsys.readouterr().err


def test_ctrl_c_ends_the_run_and_keeps_its_results(tiny_model, scene_video, tmp_path):
    process = start('--video', scene_video, '--model', tiny_model, '--output', tmp_path)
    heard = ''
    while 'images/s, latency' not in heard:
        line = process.stdout.readline()
        assert line, heard + process.communicate()[1]
        heard += line
    children = children_of(process.pid)
    assert len(children) == 2  # node and camera
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, heard + out + err
    assert 'stopped early' in out
    check_results(tmp_path)
    wait_for_the_end(children)


def test_sigterm_leaves_no_process_and_no_partial_results(tiny_model, scene_video, tmp_path):
    process = start('--video', scene_video, '--model', tiny_model, '--output', tmp_path)
    end_s = time.monotonic() + TIMEOUT_S
    while not (children := children_of(process.pid)):
        assert time.monotonic() < end_s and process.poll() is None
        time.sleep(0.01)
    process.terminate()
    process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 143
    assert [path.name for path in tmp_path.iterdir()] in ([], ['.lock'])
    wait_for_the_end(children)


def test_no_process_outlives_a_killed_demo(tiny_model, scene_video, tmp_path):
    process = start('--video', scene_video, '--model', tiny_model, '--output', tmp_path)
    while 'model is loaded' not in (line := process.stdout.readline()):
        assert line, process.communicate()[1]
    children = children_of(process.pid)
    assert children
    process.kill()
    process.communicate(timeout=TIMEOUT_S)
    wait_for_the_end(children)


@pytest.mark.parametrize(
    ('model', 'own_street', 'lines'),
    [
        (None, True, []),
        (None, False, [f'The packaged model: {SCOPE}']),
        (default_model(), False, [f'The packaged model: {SCOPE}']),
        ('tiny', False, ['tiny.onnx finds floor, wall, ball, box.']),
        ('tiny', True, ['tiny.onnx finds floor, wall, ball, box.']),
    ],
)
def test_the_first_line_says_what_the_model_can_see(tiny_model, model, own_street, lines):
    path = tiny_model if model == 'tiny' else model
    assert list(describe_model(path, own_street)) == lines


def test_a_slow_machine_is_no_trouble():
    timings = Timings([Stage.TOTAL.label])
    timings.add(Stage.TOTAL.label, 60.0)
    assert timing_status(timings, 0.01, NO_LIMITS, active=True).level == Level.OK


def test_a_folder_takes_one_demo_at_a_time(scene_video, tmp_path):
    with lock_folder(tmp_path, 'demo'):
        code, out, err = run('--video', scene_video, '--output', tmp_path)
    assert (code, out) == (2, '')
    assert f'{tmp_path} is in use by another demo' in err


def test_a_damaged_model_ends_the_demo_in_one_line(scene_video, tmp_path):
    (tmp_path / 'bad.onnx').write_bytes(b'no model')
    output = tmp_path / 'results'
    code, _, err = run(
        '--video', scene_video, '--model', tmp_path / 'bad.onnx', '--output', output
    )
    assert code == 2
    assert err.startswith('panoptic: error: ') and err.count('\n') == 1
    assert 'bad.onnx' in err
    assert not output.exists()


@pytest.mark.parametrize(
    ('flags', 'words'),
    [
        (('--video', 'none.mp4'), 'no video file at none.mp4'),
        (('--camera', '87'), 'camera 87 (/dev/video87) does not exist'),
        (('--bag', 'none'), 'no bag at none'),
        (('--model', 'none.onnx'), 'no model file at none.onnx'),
        (('--duration', '0'), "--duration must be a number over 0, got '0'"),
    ],
)
def test_wrong_flags_are_refused_before_anything_starts(flags, words, tmp_path, capsys):
    from panoptic_ros.cli.main import main

    assert main(['demo', *flags, '--output', str(tmp_path / 'out')]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()
