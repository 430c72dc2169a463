# SPDX-License-Identifier: Apache-2.0
"""`panoptic data from-recording` and `to-gt`, and a replay with the ground truth."""

import json

import cv2
import numpy as np
import pytest
from replay_bags import CAMERA, IMAGE, START_NS, STEP_NS, drive, image, scene, write_bag
from tiny_model import LABELS

from panoptic_ros.cli.main import main
from panoptic_ros.core.coco_format import read_json
from panoptic_ros.mining.ground_truth import place_of, read_labelled_frames
from panoptic_ros.mining.prelabels import outline
from panoptic_ros.mining.sources import Sources
from panoptic_training.data.outlines import fill

BALL = 2


def run(*words):
    return main([*map(str, words)])


@pytest.fixture(scope='module')
def bag(tmp_path_factory):
    return write_bag(tmp_path_factory.mktemp('bags') / 'drive', drive(4, with_gt=False))


@pytest.fixture(scope='module')
def data(bag, tiny_model, tmp_path_factory):
    out = tmp_path_factory.mktemp('data') / 'data'
    assert run('data', 'from-recording', bag, '--model', tiny_model, '-o', out) == 0
    return out


def replayed(tmp_path, bag, model, gt):
    words = ('replay', bag, '--model', model, '--gt', gt, '-o', tmp_path / 'replayed')
    assert run(*words) == 0
    return json.loads((tmp_path / 'replayed/summary.json').read_text())['scores']


def test_predictions_are_their_own_ground_truth(bag, data, tiny_model, tmp_path, capsys):
    """Frames, classes, stamps and tracks survive the way into a data set and back."""
    assert run('data', 'check', f'coco:{data}', '--split', 'train') == 0
    assert run('data', 'to-gt', data, '-o', tmp_path / 'gt') == 0
    assert 'no track ids' not in capsys.readouterr().out
    scores = replayed(tmp_path, bag, tiny_model, tmp_path / 'gt')
    assert scores['frames'] == 4
    assert scores['panoptic']['all']['pq'] == 100
    assert scores['video']['all']['idf1'] == 100 and scores['video']['all']['id_switches'] == 0


def test_ground_truth_is_that_of_corrected_labels(bag, data, tiny_model, tmp_path, capsys):
    """A ball that people turned into a crowd, in one frame; without track ids."""
    document = read_json(data / 'train.json')
    ball = LABELS.labels[BALL].category_id
    for annotation in document['annotations']:
        for segment in annotation['segments_info']:
            segment.pop('track_id', None)
    first = document['annotations'][0]['segments_info']
    next(s for s in first if s['category_id'] == ball)['iscrowd'] = 1
    folder = tmp_path / 'corrected'
    folder.mkdir()
    (folder / 'train.json').write_text(json.dumps(document))
    (folder / 'panoptic_train').symlink_to(data / 'panoptic_train')
    assert run('data', 'to-gt', folder, '-o', tmp_path / 'gt') == 0
    assert 'no track ids' in capsys.readouterr().out
    ids = cv2.imread(str(tmp_path / f'gt/{START_NS}.png'))[..., ::-1].astype(int)
    ids = ids[..., 0] + 256 * ids[..., 1] + 65536 * ids[..., 2]
    assert set(np.unique(ids)) == {0, 1000, 2000, 3001}  # floor, wall, crowd, box 1
    scores = replayed(tmp_path, bag, tiny_model, tmp_path / 'gt')
    counts = {row['name']: row['tp'] for row in scores['panoptic']['per_class']}
    assert counts == {'floor': 4, 'wall': 4, 'ball': 3, 'box': 4}


def test_several_cameras_have_folders_of_their_own(tiny_model, tmp_path):
    both = [
        (f'/{camera}/image_raw', IMAGE, START_NS, image(scene(0), START_NS))
        for camera in ('left', 'right')
    ]
    one = [(CAMERA, IMAGE, START_NS, image(scene(3), START_NS + STEP_NS))]
    bags = write_bag(tmp_path / 'drive', both), write_bag(tmp_path / 'b2', one)
    data = tmp_path / 'data'
    assert run('data', 'from-recording', *bags, '--model', tiny_model, '-o', data) == 0
    assert run('data', 'to-gt', data, '-o', tmp_path / 'gt') == 0
    found = sorted(str(p.relative_to(tmp_path / 'gt')) for p in (tmp_path / 'gt').glob('*/*.png'))
    assert found == [
        f'b2_camera/{START_NS + STEP_NS}.png',
        f'drive_left/{START_NS}.png',
        f'drive_right/{START_NS}.png',
    ]
    assert (tmp_path / 'gt/drive_left/classes.yaml').is_file()


def test_recordings_of_one_name_stay_apart(tiny_model, tmp_path):
    bags = []
    for i, place in enumerate('ab'):
        (tmp_path / place).mkdir()
        messages = [(CAMERA, IMAGE, START_NS, image(scene(3 * i), START_NS))]
        bags.append(write_bag(tmp_path / place / 'drive', messages))
    data = tmp_path / 'data'
    assert run('data', 'from-recording', *bags, '--model', tiny_model, '-o', data) == 0
    assert len(list((data / 'train').iterdir())) == 2
    assert len(read_labelled_frames(data, 'train').cameras) == 2


def test_splits_are_added_and_never_replaced(data, bag, tiny_model, tmp_path, capsys):
    words = ('data', 'from-recording', bag, '--model', tiny_model, '-o', data)
    assert run(*words) == 2
    assert 'train.json exists already' in capsys.readouterr().err
    # The same frames in another split would be validated on what was trained on.
    assert run(*words, '--split', 'val') == 2
    assert 'holds this one in another split' in capsys.readouterr().err
    assert not (data / 'val.json').exists() and not (data / 'val').exists()
    other = write_bag(tmp_path / 'other', [(CAMERA, IMAGE, START_NS, image(scene(0), START_NS))])
    more = tmp_path / 'more'
    for split, recording in (('train', bag), ('val', other)):
        words = ('data', 'from-recording', recording, '--model', tiny_model, '-o', more)
        assert run(*words, '--split', split) == 0
    sources = json.loads((more / 'sources.json').read_text())
    assert len(sources['recordings']) == 2 and len(sources['images']) == 5
    assert run('data', 'check', f'coco:{more}') == 0


def test_things_become_instances_that_convert_reads(data, tmp_path, capsys):
    words = ('--polygons', data / 'instances_train.json', '--images', data / 'train')
    assert run('data', 'convert', *words, '--val-share', 0, '-o', tmp_path / 'out') == 0
    assert run('data', 'check', f'coco:{tmp_path / "out"}', '--split', 'train') == 0
    assert run('data', 'to-gt', tmp_path / 'out', '-o', tmp_path / 'gt') == 0
    things = {label.name for label in LABELS.labels if label.is_thing}
    frames = read_labelled_frames(tmp_path / 'out', 'train')
    assert set(frames.labels.names) == things
    assert (tmp_path / 'out/sources.json').is_file()


def test_an_outline_encloses_its_mask():
    rng = np.random.default_rng(0)
    for _ in range(20):
        mask = np.zeros((40, 60), bool)
        for _ in range(3):
            y, x, h, w = rng.integers([0, 0, 4, 4], [30, 50, 20, 20])
            mask[y : y + h, x : x + w] = True
        filled = fill(outline(mask), mask.shape)
        background = np.pad(~mask, 1, constant_values=True).astype(np.uint8)
        outside = cv2.connectedComponents(background, connectivity=4)[1][1:-1, 1:-1] == 1
        assert (filled == ~outside).mean() > 0.995  # holes are filled


@pytest.mark.parametrize(
    ('stem', 'camera', 'stamp'),
    [
        ('drive_front_1317000000000000000', 'drive_front', 1317000000000000000),
        ('1317000000000000000', '', 1317000000000000000),
        ('listed', 'monday_front', 5),
    ],
)
def test_places_of_images(stem, camera, stamp):
    sources = Sources([('/data/monday', 'x')], {'listed': (0, 'front', 5)})
    assert place_of(stem, sources) == (camera, stamp)


def test_an_image_without_a_stamp_is_named(tmp_path, data, capsys):
    document = read_json(data / 'train.json')
    document['images'][0]['file_name'] = 'photo.jpg'
    folder = tmp_path / 'data'
    folder.mkdir()
    (folder / 'train.json').write_text(json.dumps(document))
    (folder / 'panoptic_train').symlink_to(data / 'panoptic_train')
    assert run('data', 'to-gt', folder, '-o', tmp_path / 'gt') == 2
    assert 'image photo has no stamp' in capsys.readouterr().err


def test_an_unreadable_recording_is_one_line(tiny_model, tmp_path, capsys):
    (tmp_path / 'drive.mcap').write_bytes(b'nothing')
    words = ('--model', tiny_model, '-o', tmp_path / 'out')
    assert run('data', 'from-recording', tmp_path / 'drive.mcap', *words) == 2
    error = capsys.readouterr().err
    assert error.count('\n') == 1 and 'drive.mcap' in error
    assert not (tmp_path / 'out').exists()
