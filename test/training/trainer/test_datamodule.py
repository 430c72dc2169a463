# SPDX-License-Identifier: Apache-2.0
"""The data module: workers skip bad files, and splits of different classes are refused."""

import logging

import numpy as np
import pytest
from PIL import Image

from panoptic_training.trainer.datamodule import PanopticData

CLASSES = 'classes: [{id: 1, name: road, kind: stuff}, {id: 2, name: car, kind: thing}]'


@pytest.fixture
def folder(tmp_path):
    """Six training images of 32 x 32, whose brightness is their number."""
    (tmp_path / 'classes.yaml').write_text(CLASSES)
    for split, count in (('train', 6), ('val', 2)):
        for kind in ('images', 'labels'):
            (tmp_path / kind / split).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(np.full((32, 32, 3), 10 * i, np.uint8)).save(
                tmp_path / f'images/{split}/{i}.png'
            )
            Image.fromarray(np.full((32, 32), 1000, np.uint16)).save(
                tmp_path / f'labels/{split}/{i}.png'
            )
    return tmp_path


def data(folder, **more):
    from panoptic_training.data.augment import AugmentConfig

    return PanopticData(
        f'folder:{folder}',
        (32, 32),
        batch_size=2,
        augment=AugmentConfig(flip=0, scale=(1, 1), color=0),
        **more,
    )


def numbers(loader):
    return sorted(n for batch in loader for n in (batch.image[:, 0, 0, 0] // 10).tolist())


@pytest.mark.parametrize('workers', [0, 1])
def test_files_that_cannot_be_decoded_are_skipped_counted_and_named(folder, caplog, workers):
    path = folder / 'labels/train/3.png'
    path.write_bytes(path.read_bytes()[:-30])
    (folder / 'images/train/0.png').unlink()
    with caplog.at_level(logging.WARNING):
        module = data(folder, on_error='skip', num_workers=workers)
        assert 'train: 1 of 6 samples are bad and left out: 0.jpg' in caplog.text
        loader = module.train_dataloader()
        found = {tuple(numbers(loader)) for _ in range(2)}
        module.teardown('fit')
    # Five are left, of which two batches take four; the cut one is replaced by the fourth.
    assert all(3 not in epoch and 0 not in epoch and len(epoch) == 4 for epoch in found)
    assert 'train: 1 of 5 samples were left out: 3.png' in caplog.text


@pytest.mark.parametrize('workers', [0, 1])
@pytest.mark.parametrize('split', ['train', 'val'])
def test_a_training_that_does_not_skip_names_the_file_in_one_line(folder, workers, split):
    path = folder / f'labels/{split}/1.png'
    path.write_bytes(path.read_bytes()[:-30])
    module = data(folder, num_workers=workers)
    with pytest.raises(ValueError, match=rf'{split}/1\.png cannot be decoded') as error:
        list(module.train_dataloader() if split == 'train' else module.val_dataloader())
    assert str(error.value).startswith(str(path)), "nothing of the worker's traceback"


@pytest.mark.parametrize(('setting', 'least'), [('batch_size', 1), ('num_workers', 0)])
def test_counts_below_their_least_are_refused(folder, setting, least):
    with pytest.raises(ValueError, match=rf'data\.{setting} must be at least {least}, got '):
        PanopticData(f'folder:{folder}', (32, 32), **{setting: least - 1})


def test_splits_of_different_classes_are_refused(folder, monkeypatch):
    from panoptic_training.trainer import datamodule

    own = datamodule.open_reader

    def other(name, split, *args, **options):
        (folder / 'classes.yaml').write_text(
            CLASSES if split == 'train' else CLASSES.replace('car', 'tram')
        )
        return own(name, split, *args, **options)

    monkeypatch.setattr(datamodule, 'open_reader', other)
    with pytest.raises(
        ValueError,
        match=r"class 1 is 'car' \(thing\) in folder:.* train and "
        r"'tram' \(thing\) in val, which have 2 and 2 classes",
    ):
        data(folder)
