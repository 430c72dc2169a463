# SPDX-License-Identifier: Apache-2.0
"""`panoptic mine`, from a bag to a data set with a page."""

import json
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest
from browser import needs_browser, shown_page
from replay_bags import CAMERA, IMAGE, START_NS, STEP_NS, image, scene, write_bag
from tiny_model import LABELS

import panoptic_ros
from panoptic_ros.cli.main import main
from panoptic_ros.cli.mine import known_things
from panoptic_ros.core.coco_format import read_images, read_json
from panoptic_ros.mining.signals import SIGNALS
from panoptic_ros.runtime.predictor import Predictor

FLASH = 6
"""Number of the image with a box."""

EMPTY = np.full((64, 128, 3), 200, np.uint8)
"""A wall."""


def run(*words):
    return main(['mine', *map(str, words)])


@pytest.fixture(scope='module')
def bag(tmp_path_factory):
    """Twelve images: a ball moves, and stands still in the last four; a box appears in one."""

    def messages():
        for i in range(12):
            pixels = scene(0)
            pixels[16:48, 16:48] = pixels[0, 0]
            x = min(4 * i, 32)
            pixels[16:48, 8 + x : 24 + x] = 255, 0, 0
            pixels[16:48, 80:112] = (0, 0, 255) if i == FLASH else pixels[0, 0]
            stamp = START_NS + i * STEP_NS
            yield CAMERA, IMAGE, stamp, image(pixels, stamp)

    return write_bag(tmp_path_factory.mktemp('bags') / 'drive', messages())


@pytest.fixture(scope='module')
def picked(bag, tiny_model, tmp_path_factory):
    out = tmp_path_factory.mktemp('mined') / 'picked'
    assert run(bag, '--model', tiny_model, '--count', 20, '-o', out) == 0
    return out


def picks(folder):
    return json.loads((folder / 'picks.json').read_text())


def test_the_folder_is_a_data_set_of_predictions(picked, bag):
    found = picks(picked)
    assert found['examined'] == 12 and found['recordings'] == [str(bag)]
    # Of frames that show the same, one is chosen.
    assert 1 < len(found['frames']) < 12
    assert [one['rank'] for one in found['frames']] == list(range(1, len(found['frames']) + 1))
    for one in found['frames']:
        assert 0 <= one['worth'] <= 1 and set(one['signals']) <= set(SIGNALS)
        assert cv2.imread(str(picked / one['file'])).shape == (64, 128, 3)
        assert cv2.imread(str(picked / one['picture'])) is not None
    document = read_json(picked / 'train.json')
    assert len(read_images(document, picked)) == len(found['frames'])
    assert main(['data', 'check', f'coco:{picked}', '--split', 'train']) == 0


def test_the_frame_in_which_a_track_is_short_is_chosen_for_it(picked):
    (one,) = [pick for pick in picks(picked)['frames'] if pick['events']]
    assert one['stamp_ns'] == START_NS + FLASH * STEP_NS and one['events'] == {'short track': 1}
    assert one['ranks']['flicker'] == 1 and one['rank'] <= 3


def test_it_is_reproducible(picked, bag, tiny_model, tmp_path):
    assert run(bag, '--model', tiny_model, '--count', 20, '-o', tmp_path / 'b') == 0
    assert picks(tmp_path / 'b') == picks(picked)


def test_earlier_results_are_replaced_and_other_files_are_not(picked, bag, tiny_model, tmp_path):
    out = tmp_path / 'out'
    shutil.copytree(picked, out)
    assert run(bag, '--model', tiny_model, '--count', 2, '-o', out) == 0
    assert len(list((out / 'train').iterdir())) == 2 == len(picks(out)['frames'])
    (tmp_path / 'mine/train').mkdir(parents=True)
    assert run(bag, '--model', tiny_model, '-o', tmp_path / 'mine') == 2
    assert not any((tmp_path / 'mine/train').iterdir())


def test_the_space_is_limited(picked, bag, tiny_model, tmp_path, capsys):
    sizes = {
        one['rank']: sum(
            path.stat().st_size
            for path in (
                picked / one['file'],
                picked / one['picture'],
                (picked / one['file'].replace('train', 'panoptic_train', 1)).with_suffix('.png'),
            )
        )
        for one in picks(picked)['frames']
    }
    limit = sizes[1] + sizes[2] + 10
    words = (bag, '--model', tiny_model, '--max-mb', limit / 1e6, '-o', tmp_path / 'out')
    assert run(*words) == 0
    assert [one['rank'] for one in picks(tmp_path / 'out')['frames']] == [1, 2]
    kept = [
        path
        for name in ('train', 'panoptic_train', 'pictures')
        for path in (tmp_path / 'out' / name).iterdir()
    ]
    assert len(kept) == 6 and sum(path.stat().st_size for path in kept) <= limit
    capsys.readouterr()
    assert run(bag, '--model', tiny_model, '--max-mb', 0.001, '-o', tmp_path / 'none') == 2
    assert 'not a single frame fits into --max-mb' in capsys.readouterr().err


def test_recordings_of_validation_are_left_out(bag, tiny_model, tmp_path, capsys):
    copy = tmp_path / 'renamed'
    shutil.copytree(bag, copy)
    flags = ('--model', tiny_model, '-o', tmp_path / 'out')
    assert run(bag, *flags, '--val', copy) == 2
    assert f'no recording remains; left out {bag}: the validation set {copy} uses it' in (
        capsys.readouterr().err
    )
    other = write_bag(tmp_path / 'other', [(CAMERA, IMAGE, START_NS, image(scene(1), START_NS))])
    assert run(bag, other, *flags, '--val', copy) == 0
    assert picks(tmp_path / 'out')['recordings'] == [str(other)]


def test_a_data_set_tells_which_recordings_its_validation_uses(bag, tiny_model, tmp_path, capsys):
    data, flags = tmp_path / 'data', ('--model', tiny_model, '-o', tmp_path / 'out')
    words = ['data', 'from-recording', str(bag), '--model', str(tiny_model), '-o', str(data)]
    other = write_bag(tmp_path / 'other', [(CAMERA, IMAGE, START_NS, image(scene(1), START_NS))])
    assert main(words) == 0
    words[2] = str(other)
    assert main([*words, '--split', 'val']) == 0
    assert run(other, *flags, '--val', f'coco:{data}') == 2
    assert run(bag, *flags, '--val', data) == 0  # it is in the split train alone
    capsys.readouterr()
    (data / 'sources.json').unlink()
    assert run(bag, *flags, '--val', f'coco:{data}') == 2
    assert 'its recordings are not known; name them' in capsys.readouterr().err


def test_things_are_compared_with_those_of_the_training_set(bag, tiny_model, tmp_path):
    """The training set has the ball and the box that the recording shows."""
    data, out = tmp_path / 'data', tmp_path / 'out'
    words = ['data', 'from-recording', str(bag), '--model', str(tiny_model), '-o', str(data)]
    assert main([*words, '--stride', '6']) == 0
    assert run(bag, '--model', tiny_model, '--train', f'coco:{data}', '-o', out) == 0
    assert all(one['signals']['novelty'] < 0.01 for one in picks(out)['frames'])


def test_a_training_set_without_things_is_refused(bag, tiny_model, tmp_path, capsys):
    empty = write_bag(tmp_path / 'empty', [(CAMERA, IMAGE, START_NS, image(EMPTY, START_NS))])
    data = tmp_path / 'data'
    words = ['data', 'from-recording', str(empty), '--model', str(tiny_model), '-o', str(data)]
    assert main(words) == 0
    out = tmp_path / 'out'
    assert run(bag, '--model', tiny_model, '--train', f'coco:{data}', '-o', out) == 2
    assert 'the model finds no thing' in capsys.readouterr().err and not out.exists()


def test_a_model_without_embeddings_refuses_a_training_set(tiny_model):
    predictor = panoptic_ros.load(tiny_model, device='cpu')
    info = replace(predictor.info, embedding_dim=0)
    with pytest.raises(ValueError, match='this model gives none'):
        known_things('synthetic', Predictor(predictor.backend, info))


@needs_browser
def test_a_browser_shows_the_reasons(picked, tmp_path):
    text = shown_page(picked / 'index.html', tmp_path / 'profile')
    frames = picks(picked)['frames']
    assert text.count('<figure>') == len(frames)
    assert f'{len(frames)} of {len(frames)} frames' in text
    assert text.count('more than in') + text.count('differs from the frames') >= len(frames)
    used = [name for name in SIGNALS if name in frames[0]['signals']].index('flicker')
    few = shown_page(picked / 'index.html', tmp_path / 'profile', f'filter={used},-1&sort=rank')
    assert 0 < few.count('<figure>') < len(frames)
    assert '(1 short track)</div>' in few


def test_classes_of_the_labels(picked):
    document = read_json(picked / 'instances_train.json')
    names = {label.name for label in LABELS.labels if label.is_thing}
    assert {one['name'] for one in document['categories']} == names
