# SPDX-License-Identifier: Apache-2.0
"""Findings of `panoptic data check`, counted by hand on a few small files."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from panoptic_ros.core.labels import Label, LabelSet
from panoptic_training.data.check import check_recipe, check_split, compare_splits, count_sample
from panoptic_training.data.registry import make_reader
from panoptic_training.data.sample import Sample

CLASSES = """
classes:
  - {id: 1, name: road, kind: stuff}
  - {id: 2, name: car, kind: thing}
  - {id: 3, name: tram, kind: thing}
"""


def save(folder, split, stem, ids, size=None):
    for kind in ('images', 'labels'):
        (folder / kind / split).mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 256, (*(size or ids.shape), 3), np.uint8)
    Image.fromarray(noise).save(folder / 'images' / split / f'{stem}.png')
    Image.fromarray(ids.astype(np.uint16)).save(folder / 'labels' / split / f'{stem}.png')


def street():
    """(10, 20): void above, road, a car of 20 px, one of 2 px and a crowd."""
    ids = np.full((10, 20), 1000)
    ids[:2] = 0
    ids[4:6, :10] = 2001
    ids[8, :2] = 2002
    ids[9, 10:] = 2000
    return ids


@pytest.fixture
def folder(tmp_path):
    (tmp_path / 'classes.yaml').write_text(CLASSES)
    for split in ('train', 'val'):
        for stem in ('a', 'b', 'c', 'd'):
            save(tmp_path, split, stem, street())
    return tmp_path


def checked(folder, split='train', limit=None):
    report, steps = check_split(make_reader(f'folder:{folder}', split), split, limit)
    assert len(list(steps)) == report.samples
    return report


def test_counts_are_those_of_a_loop():
    class_map = np.array([[0, 0, 255, 1], [1, 1, 2, 1]], np.uint8)
    instance_map = np.array([[0, 0, 0, 1], [2, 2, 0, 1]], np.int32)
    found = count_sample(Sample(np.zeros((2, 4, 3), np.uint8), class_map, instance_map))
    assert found.pixels[[0, 1, 2, 255]].tolist() == [2, 4, 1, 1] and found.pixels.sum() == 8
    assert found.segments[[0, 1, 2, 255]].tolist() == [1, 2, 1, 0] and found.tiny == 4
    assert found.size == (2, 4)


def test_a_good_split(folder):
    report = checked(folder)
    assert report.errors == [] and report.samples == 4
    assert report.unlabelled_share == pytest.approx(40 / 200)
    assert report.images[:3].tolist() == [4, 4, 0]
    assert report.segments[:3].tolist() == [4, 12, 0]  # two cars and a crowd in each
    assert report.pixels[:3].tolist() == [4 * 128, 4 * 32, 0]
    assert report.sizes == {(10, 20): 4} and report.tiny_segments == 8
    assert report.warnings == [
        'no segment of 1 of 3 classes: tram',
        'less than 16 px in 8 segments: a.png, b.png, c.png, d.png',
    ]
    plain = json.loads(json.dumps(report.to_dict()))
    assert plain['classes'][1] == {
        'name': 'car',
        'is_thing': True,
        'images': 4,
        'segments': 12,
        'pixels': 128,
    }
    assert plain['sizes'] == {'10x20': 4}
    assert checked(folder, limit=3).samples == 3


def test_every_bad_file_is_named_and_the_others_counted(folder):
    (folder / 'labels/train/a.png').unlink()
    save(folder, 'train', 'b', street(), size=(10, 19))
    save(folder, 'train', 'c', street() + 7000)
    path = folder / 'images/train/d.png'
    path.write_bytes(path.read_bytes()[:-100])
    save(folder, 'train', 'e', street() * 0)
    report = checked(folder)
    assert report.samples == 5
    for error, words in zip(
        report.errors,
        (
            'labels/train/a.png does not exist',
            'b.png is 10 x 19, its labels',
            'c.png: id 7000 (class 7, instance 0) is of no class',
            'd.png cannot be decoded',
        ),
        strict=True,
    ):
        assert words in error
    assert report.unlabelled == ['e.png'] and report.pixels.sum() == 200
    assert any(
        'more than 90% are unlabelled in 1 image: e.png' in text for text in report.warnings
    )


def test_splits_are_compared(folder):
    save(folder, 'val', 'e', np.full((10, 20), 3001))
    reports = {split: checked(folder, split) for split in ('train', 'val')}
    assert compare_splits(reports) == ([], ['in val and not in train: classes tram'])
    reports['val'].labels = LabelSet(reports['val'].labels.labels[:2])
    assert compare_splits(reports) == (['train has 3 classes, val 2'], [])
    assert compare_splits({'train': reports['train']}) == ([], [])


def test_a_recipe_is_held_against_its_data(folder, tmp_path):
    reports = {'train': checked(folder)}
    assert check_recipe({'data': {'batch_size': 4}}, reports) == ([], [])
    assert check_recipe({'data': {'batch_size': 5}}, reports)[0] == [
        'data.batch_size 5 is more than the 4 good training samples'
    ]
    recipe = {'data': {'batch_size': 1}, 'model': {'init_weights': str(tmp_path / 'x.ckpt')}}
    assert 'init_weights: no file' in check_recipe(recipe, reports)[0][0]
    labels = LabelSet((Label('road', False, (1, 2, 3), 1), Label('bus', True, (1, 2, 3), 2)))
    torch.save(
        {'state_dict': {}, 'hyper_parameters': {'labels': labels.to_dicts()}}, tmp_path / 'x.ckpt'
    )
    errors, warnings = check_recipe(recipe, reports)
    assert errors == [] and "class 1 is 'bus' (thing) in" in warnings[0]


def test_the_synthetic_city_can_be_checked():
    report, steps = check_split(make_reader('synthetic', 'val', size=(64, 128)), 'val', 2)
    list(steps)
    assert report.errors == [] and report.sizes == {(64, 128): 2} and report.pixels[255] == 0
