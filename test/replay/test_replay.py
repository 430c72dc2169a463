# SPDX-License-Identifier: Apache-2.0
"""`panoptic replay` from end to end, on scenes with known results."""

import json
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from onnx import helper, numpy_helper
from replay_bags import (
    BALL,
    CAMERA,
    COMPRESSED,
    GT_TOPIC,
    IMAGE,
    SIZE,
    START_NS,
    STEP_NS,
    STRING,
    classes,
    compressed,
    drive,
    gt_ids,
    image,
    pausing_bag,
    scene,
    string,
    write_bag,
    write_gt_folder,
)
from replay_runs import run, same_results, summary
from tiny_model import LABELS, make_tiny_model, tiny_graph, tiny_info

from panoptic_ros.core.frame import read_instances
from panoptic_ros.core.labels import Label, LabelSet
from panoptic_ros.core.model_file import write_model_file
from panoptic_ros.node.node_health import read_health
from panoptic_ros.node.topics import frame_topics
from panoptic_ros.recordings.bag import Bag
from panoptic_ros.replay.frame_records import read_records
from panoptic_ros.replay.run import take_turns

pytest.importorskip('matplotlib', reason='reports are drawn by it')


def test_a_second_run_is_the_same_to_the_bit(tmp_path, bag, tiny_model):
    for name in 'ab':
        assert run(bag, '--model', tiny_model, '--gt', GT_TOPIC, '-o', tmp_path / name) == 0
    assert same_results(tmp_path / 'a', tmp_path / 'b')
    found = summary(tmp_path / 'a')
    assert found['frames'] == {'replayed': 8, 'good': 8, 'bad': 0, 'lost': 0}
    assert found['scores']['panoptic']['all']['pq'] == 100
    assert found['scores']['video']['all']['stq'] == 100
    assert found['scores']['video']['all']['id_switches'] == 0
    assert found['cameras']['camera']['scored'] == 8
    assert found['tracks']['confirmed'] == 2
    assert (tmp_path / 'a' / 'report.html').stat().st_size > 10_000
    assert not (tmp_path / 'a' / '.unfinished').exists()


def test_the_bag_holds_what_the_node_publishes(tmp_path, bag, tiny_model):
    assert run(bag, '--model', tiny_model, '-o', tmp_path / 'out') == 0
    names = [topic.name for topic in frame_topics(vision=False) if not topic.in_metres]
    with Bag(tmp_path / 'out' / 'bag') as results:
        others = {'/panoptic/label_info': 1, '/diagnostics': 1}
        assert {f'/{name}': 8 for name in names} | others == {
            name: topic.messages
            for name, topic in results.topics.items()
            if 'vision_msgs' not in topic.kind
        }
        said = next(results.records(['/panoptic/label_info'])).message
        assert json.loads(said.data)['labels'] == LABELS.as_drawn().to_dicts()
        for name in names:
            records = list(results.records([f'/{name}']))
            assert [r.message.header.stamp.nanosec for r in records] == [
                i * STEP_NS for i in range(8)
            ]
            assert {r.message.header.frame_id for r in records} == {'front'}
            assert [r.time_ns for r in records] == [START_NS + i * STEP_NS + 2 for i in range(8)]
        table = read_instances(next(results.records(['/panoptic/instances'])).message)
        semantic = next(results.records(['/panoptic/semantic'])).message
    assert table['class_id'].tolist() == [0, 1, 2, 3]
    assert np.bincount(semantic.data)[BALL] == (gt_ids(0) // 1000 == BALL).sum()


def test_a_folder_of_pngs_scores_as_the_topic_does(tmp_path, bag, tiny_model):
    folder = write_gt_folder(tmp_path / 'gt', 8)
    for name, given in (('topic', GT_TOPIC), ('folder', folder)):
        assert run(bag, '--model', tiny_model, '--gt', given, '-o', tmp_path / name) == 0
    a, b = (summary(tmp_path / name) for name in ('topic', 'folder'))
    assert a['scores'] == b['scores']


def test_id_switches_stand_at_their_image(tmp_path, tiny_model):
    path = pausing_bag(tmp_path / 'bag')
    assert run(path, '--model', tiny_model, '--gt', GT_TOPIC, '-o', tmp_path / 'out') == 0
    records = read_records(tmp_path / 'out' / 'frames.jsonl')
    assert [len(record.switches) for record in records] == [0] * 4 + [2] + [0] * 3
    assert summary(tmp_path / 'out')['cameras']['camera']['switches'] == 2
    assert 'id switch' in (tmp_path / 'out' / 'report.html').read_text()


def test_bad_images_are_counted_and_left_out(tmp_path, tiny_model, capsys):
    def messages():
        for place, (topic, kind, time_ns, message) in enumerate(drive(6, with_gt=False)):
            if place == 2:
                message.encoding = 'strange'
            if place == 4:
                message.step = 7
            yield topic, kind, time_ns, message

    path = write_bag(tmp_path / 'bag', messages())
    assert run(path, '--model', tiny_model, '-o', tmp_path / 'out') == 0
    found = summary(tmp_path / 'out')
    assert found['frames'] == {'replayed': 6, 'good': 4, 'bad': 2, 'lost': 0}
    reasons = list(found['cameras']['camera']['bad'])
    assert "encoding 'strange' cannot be read" in reasons[0]
    assert 'step must be' in reasons[1]
    assert "1 bad: bad image: encoding 'strange' cannot be read" in capsys.readouterr().out
    with Bag(tmp_path / 'out' / 'bag') as results:
        assert results.topics['/panoptic/segments'].messages == 4


def test_diagnostics_count_as_the_nodes_do(tmp_path, tiny_model):
    def messages():
        for place, (topic, kind, time_ns, message) in enumerate(drive(26, with_gt=False)):
            if place in (3, 20):
                message.encoding = 'strange'
            yield topic, kind, time_ns, message

    path = write_bag(tmp_path / 'bag', messages())
    assert run(path, '--model', tiny_model, '-o', tmp_path / 'out') == 0
    with Bag(tmp_path / 'out' / 'bag') as results:
        records = list(results.records(['/diagnostics']))
    assert [(record.time_ns - START_NS) // STEP_NS for record in records] == [0, 10, 20]
    assert records[0].message.status[0].name == '/panoptic_node: model'  # as the node's own
    said = [read_health(record.message) for record in records]
    assert [health.counts for health in said] == [
        {'received': 1, 'published': 1, 'in_flight': 0},
        {'received': 11, 'published': 10, 'in_flight': 0},
        {'received': 21, 'published': 19, 'in_flight': 0},
    ]
    assert said[2].dropped['bad image'] == 2
    assert said[0].active
    statuses = said[2].statuses
    assert statuses['tracking'].values['confirmed'] == '2'
    assert statuses['input/camera'].values['rate hz'] == '10.0'
    assert "bad image: encoding 'strange' cannot be read" in statuses['input/camera'].message


def two_cameras():
    """Yield images of two cameras, of which the rear one has half the rate."""
    for i in range(4):
        stamp = START_NS + i * STEP_NS
        yield '/front/image_raw', IMAGE, stamp, image(scene(i), stamp)
        if i % 2 == 0:
            yield (
                '/rear/image/compressed',
                COMPRESSED,
                stamp + 1,
                compressed(scene(i)[:, ::-1], stamp + 1),
            )


def test_cameras_are_told_apart(tmp_path, tiny_model):
    path = write_bag(tmp_path / 'bag', two_cameras())
    assert run(path, '--model', tiny_model, '-o', tmp_path / 'out') == 0
    with Bag(tmp_path / 'out' / 'bag') as results:
        counts = {name: topic.messages for name, topic in results.topics.items()}
    assert counts['/front/panoptic/segments'] == 4
    assert counts['/rear/panoptic/segments'] == 2
    assert counts['/panoptic/label_info'] == 1
    records = read_records(tmp_path / 'out' / 'frames.jsonl')
    assert [r.camera for r in records] == ['front', 'rear', 'front', 'front', 'rear', 'front']
    assert {s.track_id for r in records for s in r.seen} == {1, 2}  # each counts for itself
    assert (tmp_path / 'out' / 'overlay_rear.mp4').is_file()


def test_a_model_for_two_images_gives_the_same_results(tmp_path, tiny_model):
    """Images of both cameras run together where both have one; a bad one does not run."""
    stamp = START_NS + STEP_NS + 5
    broken = '/front/image_raw', IMAGE, stamp, image(scene(0), stamp, 'strange')
    path = write_bag(
        tmp_path / 'bag', sorted([*two_cameras(), broken], key=lambda message: message[2])
    )
    double = make_tiny_model(tmp_path / 'double.onnx', batch=2)
    for name, model in (('one', tiny_model), ('two', double)):
        assert run(path, '--model', model, '-o', tmp_path / name) == 0
    results = [read_records(tmp_path / name / 'frames.jsonl') for name in ('one', 'two')]
    assert [r.camera for r in results[1]] == [r.camera for r in results[0]]
    assert [bool(r.problem) for r in results[0]].count(True) == 1
    for alone, together in zip(*results, strict=True):
        assert replace(together, times_ms={}) == replace(alone, times_ms={})
    contents = []
    for name in ('one', 'two'):
        with Bag(tmp_path / name / 'bag') as bag:
            topics = [topic for topic in bag.topics if topic.endswith('/panoptic/segments')]
            contents.append(
                [(r.topic, r.time_ns, r.message.data.tobytes()) for r in bag.records(topics)]
            )
    assert contents[0] == contents[1]
    assert len(contents[0]) == 6


@pytest.mark.parametrize(
    ('cameras', 'most', 'groups'),
    [
        ('abab', 1, ['a', 'b', 'a', 'b']),
        ('abab', 2, ['ab', 'ab']),
        ('aabaab', 2, ['a', 'ab', 'a', 'ab']),  # a second image of a camera begins a new group
        ('abcab', 2, ['ab', 'ca', 'b']),
        ('abcab', 8, ['abc', 'ab']),
        ('aaa', 2, ['a', 'a', 'a']),
        ('', 2, []),
    ],
)
def test_images_go_together_in_their_order(cameras, most, groups):
    images = [(name, number) for number, name in enumerate(cameras)]
    found = list(take_turns(images, 'abc' if 'c' in cameras else 'ab', most))
    assert [''.join(name for name, _ in group) for group in found] == groups
    assert [image for group in found for image in group] == images


@pytest.mark.parametrize(
    ('flags', 'indices'),
    [
        (['--stride', '3'], [0, 3, 6]),
        (['--start', '0.25'], [3, 4, 5, 6, 7]),
        (['--start', '0.15', '--duration', '0.2'], [2, 3]),
        (['--start', '0.1', '--stride', '4'], [1, 5]),
        (['--start', '0.55', '--duration', '1e300'], [6, 7]),
    ],
)
def test_a_part_can_be_chosen(tmp_path, bag, tiny_model, flags, indices):
    assert run(bag, '--model', tiny_model, *flags, '-o', tmp_path / 'out') == 0
    records = read_records(tmp_path / 'out' / 'frames.jsonl')
    assert [(r.stamp_ns - START_NS) // STEP_NS for r in records] == indices


def test_the_nodes_parameters_count(tmp_path, bag, tiny_model):
    config = tmp_path / 'node.yaml'
    config.write_text(
        '/**:\n  ros__parameters:\n    classes: {exclude: [box]}\n'
        '    output_scale: network\n    tracker.min_hits: 1\n'
    )
    assert run(bag, '--model', tiny_model, '--config', config, '-o', tmp_path / 'out') == 0
    records = read_records(tmp_path / 'out' / 'frames.jsonl')
    assert {s.class_id for r in records for s in r.seen} == {BALL}
    assert all(s.confirmed for r in records for s in r.seen)
    with Bag(tmp_path / 'out' / 'bag') as results:
        message = next(results.records(['/panoptic/segments'])).message
    assert (message.height, message.width) == (SIZE[0] // 4, SIZE[1] // 4)
    assert summary(tmp_path / 'out')['settings']['classes.exclude'] == ['box']


def test_each_camera_has_its_own_ground_truth(tmp_path, tiny_model, capsys):
    def messages():
        yield f'{GT_TOPIC}/label_info', STRING, START_NS, string(classes())
        for i in range(3):
            stamp = START_NS + i * STEP_NS
            ids = gt_ids(i).astype('<i4')[..., None]
            yield '/front/image', IMAGE, stamp, image(scene(i), stamp)
            yield '/rear/image', IMAGE, stamp, image(np.zeros_like(scene(i)), stamp)
            yield GT_TOPIC, IMAGE, stamp, image(ids, stamp, '32SC1')

    path = write_bag(tmp_path / 'bag', messages())
    folder = write_gt_folder(tmp_path / 'gt', 3)
    assert (
        run(
            path,
            '--model',
            tiny_model,
            '--gt',
            f'front={GT_TOPIC}',
            '--gt',
            f'rear={folder}',
            '-o',
            tmp_path / 'out',
        )
        == 0
    )
    records = read_records(tmp_path / 'out' / 'frames.jsonl')
    assert {record.camera: record.pq for record in records} == {'front': 100.0, 'rear': 0.0}
    assert summary(tmp_path / 'out')['scores']['video']['clips'] == 2
    assert run(path, '--model', tiny_model, '--gt', GT_TOPIC, '-o', tmp_path / 'two') == 2
    assert '--gt CAMERA=...; the cameras are front, rear' in capsys.readouterr().err


def test_a_model_without_embeddings_is_told_of_and_works(tmp_path, bag, capsys):
    info = replace(tiny_info(), embedding_dim=0, embedding_kind='')
    graph = tiny_graph(info)
    node = next(node for node in graph.graph.node if 'embedding' in node.output)
    node.output[:] = ['colour']
    graph.graph.initializer.append(numpy_helper.from_array(np.zeros((6, 0), np.float32), 'none'))
    graph.graph.node.append(helper.make_node('Identity', ['none'], ['embedding']))
    output = next(value for value in graph.graph.output if value.name == 'embedding')
    output.type.tensor_type.shape.dim[1].dim_value = 0
    write_model_file(graph, info, tmp_path / 'plain.onnx')
    assert (
        run(bag, '--model', tmp_path / 'plain.onnx', '--gt', GT_TOPIC, '-o', tmp_path / 'out') == 0
    )
    assert 'this model gives no embeddings' in capsys.readouterr().out
    assert summary(tmp_path / 'out')['tracks']['confirmed'] == 2
    with Bag(tmp_path / 'out' / 'bag') as results:
        table = read_instances(next(results.records(['/panoptic/instances'])).message)
    assert table['embedding'].shape == (4, 0)


def test_stamps_that_jump_do_no_harm(tmp_path, tiny_model):
    """The clock of the camera is set while it runs: stamps start at 0, then jump to today."""

    def messages():
        for i in range(12):
            stamp = i * STEP_NS + (0 if i < 6 else START_NS)
            yield CAMERA, IMAGE, START_NS + i * STEP_NS, image(scene(i), stamp)

    path = write_bag(tmp_path / 'bag', messages())
    assert run(path, '--model', tiny_model, '-o', tmp_path / 'out') == 0
    capture = cv2.VideoCapture(str(tmp_path / 'out' / 'overlay.mp4'))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 12
    assert summary(tmp_path / 'out')['frames']['good'] == 12


def test_a_damaged_bag_is_read_up_to_the_damage(tmp_path, tiny_model, capsys):
    path = write_bag(tmp_path / 'bag', drive(40), 'sqlite3')
    (file,) = path.glob('*.db3')
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    assert run(path, '--model', tiny_model, '-o', tmp_path / 'out') == 0
    found = summary(tmp_path / 'out')
    assert 10 < found['frames']['good'] < 30
    assert found['frames']['good'] + found['frames']['lost'] == 40
    assert found['damage']
    assert f'{found["frames"]["lost"]} images are lost' in capsys.readouterr().out
    assert 'The bag is damaged' in (tmp_path / 'out' / 'report.html').read_text()


def test_two_runs_are_compared(tmp_path, bag, tiny_model, capsys):
    config = tmp_path / 'node.yaml'
    config.write_text('/**: {ros__parameters: {classes: {exclude: [box]}}}')
    for name, more in (('a', []), ('b', ['--config', config])):
        assert run(bag, '--model', tiny_model, '--gt', GT_TOPIC, *more, '-o', tmp_path / name) == 0
    capsys.readouterr()
    assert run('--compare', tmp_path / 'a', tmp_path / 'b', '-o', tmp_path / 'both') == 0
    said = capsys.readouterr().out
    assert 'PQ box' in said
    assert 'not the same: classes.exclude: - vs box' in said
    found = json.loads((tmp_path / 'both' / 'compare.json').read_text())
    rows = {row['name']: row for row in found['rows']}
    assert found['paired'] == 8
    assert rows['PQ box'] == {
        'name': 'PQ box',
        'a': 100,
        'b': 0,
        'difference': -100,
        'interval': [-100, -100],
        'whole_runs': False,
    }
    for side in 'ab':  # what the comparison sums up itself is what the runs said
        scores = summary(tmp_path / side)['scores']
        assert rows['PQ'][side] == pytest.approx(scores['panoptic']['all']['pq'])
        assert rows['mIoU'][side] == pytest.approx(scores['semantic']['miou'])
        assert rows['STQ'][side] == scores['video']['all']['stq']
    page = (tmp_path / 'both' / 'compare.html').read_text()
    assert 'PQ box' in page and page.count('tiny.onnx') == 2
    # Each image shows both overlays, which differ by the box; they follow each other within half
    # a second, so that only the first of four is shown.
    assert page.count('<img src="data:image/jpeg;base64,') == 2 * len(found['changed']) == 4
    box = 100 * (32 * 32) / (64 * 128)
    assert [one['changed'] for one in found['changed']] == [pytest.approx(box)] * 2
    assert run('--compare', tmp_path / 'a', tmp_path / 'b') == 0  # a table, and no files


OTHER = LabelSet((*LABELS.labels[:3], Label('cone', True, (9, 9, 9), 99)))
TURNED = LabelSet((*LABELS.labels[:3], Label('box', False, (9, 9, 9), 99)))


@pytest.mark.parametrize(
    ('labels', 'reason'),
    [
        (OTHER, 'only the ground truth has cone; only the model has box'),
        (TURNED, 'box are things in one and stuff in the other'),
    ],
)
def test_other_classes_are_named(tmp_path, tiny_model, capsys, labels, reason):
    path = write_bag(tmp_path / 'bag', drive(2, labels=labels))
    assert run(path, '--model', tiny_model, '--gt', GT_TOPIC, '-o', tmp_path / 'out') == 2
    assert reason in capsys.readouterr().err


def test_classes_in_another_order_are_the_same_classes(tmp_path, tiny_model):
    """The class ids of the ground truth are translated to the model's by name."""
    turned = LabelSet(LABELS.labels[::-1])
    folder = tmp_path / 'gt'
    folder.mkdir()
    (folder / 'classes.yaml').write_text(classes(turned))
    ids = gt_ids(0)
    class_id, track = np.divmod(ids, 1000)
    value = np.where(ids < 0, 255 * 1000, (3 - class_id) * 1000 + track)
    rgb = np.stack([value % 256, value // 256 % 256, value // 65536], axis=-1)
    cv2.imwrite(str(folder / f'{START_NS}.png'), rgb[..., ::-1].astype(np.uint8))
    path = write_bag(tmp_path / 'bag', drive(3, with_gt=False))
    assert run(path, '--model', tiny_model, '--gt', folder, '-o', tmp_path / 'out') == 0
    found = summary(tmp_path / 'out')
    assert found['scores']['panoptic']['all']['pq'] == 100
    assert found['cameras']['camera']['without_ground_truth'] == 2


@pytest.mark.parametrize(
    ('flags', 'reason'),
    [
        ([], 'name a bag to replay, or --compare A B'),
        (['BAG', '--gt', '/nowhere'], 'neither a folder nor a topic of the bag; the topics are'),
        (['BAG', '--gt', CAMERA], 'no topic /camera/image_raw/label_info'),
        (
            ['BAG', '--gt', 'LATE'],
            'no stamp of the ground truth .* is that of an image: it has 1 '
            f'from 5 to 5 ns, the images 8 from {START_NS} to',
        ),
        (['BAG', '--gt', 'EMPTY'], 'has no classes.yaml'),
        (['BAG', '--image', '/side'], 'no topic /side; the topics are: /camera/image_raw'),
        (['BAG', '--rate', '2'], '--rate is for --live'),
        (['BAG', '--stride', '0'], '--stride must be a whole number of at least 1'),
        (['BAG', '--duration', '0'], '--duration must be a number over 0'),
        (['BAG', '--duration', 'inf'], "--duration must be a number over 0, got 'inf'"),
        (['BAG', '--start', 'nan'], "--start must be a number of at least 0, got 'nan'"),
        (['BAG', '--start', 'inf'], "--start must be a number of at least 0, got 'inf'"),
        (['BAG', '--start', '1e300'], 'but the last image is 0.[67] s after the start of the'),
        (['BAG', '--start', '1e6'], '--start is 1e.06 s, but the last image is 0.[67] s after'),
        (['BAG', '--start', '0.01', '--duration', '0.01'], 'holds no image; choose a longer'),
        (['BAG', '--config', 'TYPO'], r'tracker.max_agee \(did you mean tracker.max_age\?\)'),
        (['BAG', '--config', 'SMALL'], r'image is too large: \d+ x \d+ pixels, the limit is 99'),
        (
            ['BAG', '--config', 'SMALL', '--image', '/camera/image_raw'],
            r'image is too large: \d+ x \d+ pixels, the limit is 99',
        ),
        (['BAG', '--config', 'BAD'], 'tracker.min_hits must be an integer from 1'),
        (['BAG', '--config', 'NONE'], 'is not a parameter file of the node'),
        (['ALLBAD'], "/camera/image_raw: encoding 'strange' cannot be read"),
        (['--compare', 'EMPTY', 'EMPTY'], 'no frames.jsonl in'),
    ],
)
def test_bad_input_is_told_in_one_line(tmp_path, bag, tiny_model, capsys, flags, reason):
    empty, late = tmp_path / 'empty', tmp_path / 'late'
    empty.mkdir()
    write_gt_folder(late, 1)
    next(late.glob('*.png')).rename(late / '5.png')
    files = {
        'TYPO': '/**: {ros__parameters: {tracker: {max_agee: 1.0}}}',
        'BAD': 'panoptic_node: {ros__parameters: {tracker.min_hits: 0}}',
        'SMALL': '/**: {ros__parameters: {max_image_pixels: 99}}',
        'NONE': 'a: 1',
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)

    def strange():
        for topic, kind, time_ns, message in drive(3, with_gt=False):
            message.encoding = 'strange'
            yield topic, kind, time_ns, message

    places = {
        'BAG': bag,
        'LATE': late,
        'EMPTY': empty,
        **{name: tmp_path / name for name in files},
    }
    if 'ALLBAD' in flags:
        places['ALLBAD'] = write_bag(tmp_path / 'strange', strange())
    flags = [places.get(flag, flag) for flag in flags]
    if '--compare' not in flags:
        flags += ['--model', tiny_model]
    assert run(*flags, '-o', tmp_path / 'out') == 2
    error = capsys.readouterr().err.strip()  # a bar leaves an empty line
    assert '\n' not in error
    assert re.search(reason, error)


KITTI = Path(__file__).parents[3] / 'shared/data/bag/kitti_city'


@pytest.mark.skipif(not KITTI.is_dir(), reason=f'no real bag at {KITTI}')
def test_a_real_bag_with_the_packages_own_model(tmp_path):
    assert run(KITTI, '--stride', '20', '-o', tmp_path / 'out') == 0
    found = summary(tmp_path / 'out')
    assert found['frames'] == {'replayed': 4, 'good': 4, 'bad': 0, 'lost': 0}
    assert found['model']['name'] == 'city'
    with Bag(tmp_path / 'out' / 'bag') as results:
        overlay = next(results.records(['/panoptic/overlay'])).message
        assert (overlay.height, overlay.width) == (375, 1242)
        assert overlay.header.stamp.sec == 1317000000


def test_a_topic_that_nobody_named_does_not_fail_a_replay(tmp_path, tiny_model, capsys):
    def messages():
        for i in range(4):
            yield CAMERA, IMAGE, START_NS + i, image(scene(i), START_NS + i)
            yield '/oak/odd', IMAGE, START_NS + i, image(scene(i), START_NS + i, 'strange')

    path = write_bag(tmp_path / 'bag', messages())
    assert run(path, '--model', tiny_model, '-o', tmp_path / 'out') == 0
    assert 'left out /oak/odd: encoding ' in capsys.readouterr().out
    assert list(summary(tmp_path / 'out')['cameras']) == ['camera']


@pytest.mark.parametrize('is_named', [False, True])
def test_a_topic_that_fails_later_fails_a_replay_only_if_it_was_named(
    tmp_path, tiny_model, is_named, capsys
):
    def messages():
        for i in range(6):
            encoding = 'rgb8' if i == 1 else 'strange'  # one that the stride leaves out
            yield CAMERA, IMAGE, START_NS + i, image(scene(i), START_NS + i)
            yield '/odd', IMAGE, START_NS + i, image(scene(i), START_NS + i, encoding)

    path = write_bag(tmp_path / 'bag', messages())
    named = ['--image', CAMERA, '--image', '/odd'] if is_named else []
    status = run(path, '--model', tiny_model, '--stride', 2, *named, '-o', tmp_path / 'out')
    if is_named:
        assert status == 2
        assert 'no image of /odd could be used' in capsys.readouterr().err
    else:
        assert status == 0
        cameras = summary(tmp_path / 'out')['cameras']
        assert list(cameras['odd']['bad'].values()) == [3]
        assert (tmp_path / 'out' / 'report.html').is_file()


def test_times_of_recording_that_no_stamp_can_hold(tmp_path, tiny_model):
    late_ns = 2**33 * 10**9
    path = write_bag(
        tmp_path / 'bag',
        [
            (CAMERA, IMAGE, late_ns + i * STEP_NS, image(scene(i), START_NS + i * STEP_NS))
            for i in range(3)
        ],
    )
    assert run(path, '--model', tiny_model, '-o', tmp_path / 'out') == 0
    with Bag(tmp_path / 'out' / 'bag') as results:
        found = [record.time_ns for record in results.records(['/panoptic/segments'])]
        assert found == [late_ns + i * STEP_NS for i in range(3)]
        said = next(results.records(['/diagnostics'])).message
        assert said.header.stamp.sec == 2**31 - 1


def test_a_folder_of_images_is_replayed(tmp_path, tiny_model):
    (tmp_path / 'photos').mkdir()
    for i in range(3):
        cv2.imwrite(str(tmp_path / 'photos' / f'{i}.png'), scene(i)[..., ::-1])
    assert run(tmp_path / 'photos', '--model', tiny_model, '-o', tmp_path / 'out') == 0
    assert summary(tmp_path / 'out')['frames']['good'] == 3
