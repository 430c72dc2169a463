# SPDX-License-Identifier: Apache-2.0
"""Checkpoints and model files that an earlier version of the package wrote.

The folder holds a model file of each family of that version, and a checkpoint of those that it
trained. They are packed with xz; their weights repeat a few values, so that they pack well.
"""

import lzma
from pathlib import Path

import numpy as np
import pytest
from graphs import random_image

from panoptic_ros.core.image import CameraImage
from panoptic_ros.core.model_file import read_info
from panoptic_ros.models.registry import FAMILIES, build_model, resolve_family
from panoptic_ros.runtime import Predictor, open_backend
from panoptic_training.evaluation.predictor import open_predictor

FOLDER = Path(__file__).parents[1] / 'data/earlier'
NAMES = sorted(path.name.removesuffix('.onnx.xz') for path in FOLDER.glob('*.onnx.xz'))
CHECKPOINTS = sorted(path.name.removesuffix('.ckpt.xz') for path in FOLDER.glob('*.ckpt.xz'))


def unpacked(name, folder):
    path = folder / name
    path.write_bytes(lzma.decompress((FOLDER / f'{name}.xz').read_bytes()))
    return path


def test_trained_families_have_a_checkpoint_too():
    assert [n for n in NAMES if FAMILIES[resolve_family(n)].loss is not None] == CHECKPOINTS


@pytest.mark.parametrize('name', NAMES)
def test_earlier_files_are_read_and_agree(name, tmp_path):
    if resolve_family(name) == 'huggingface':
        pytest.importorskip('transformers')
    model = unpacked(f'{name}.onnx', tmp_path)
    info = read_info(model)
    assert info.family == name
    image = CameraImage(random_image(info.input_size, 0), 'rgb')
    predictors = [Predictor(open_backend(model, 'onnxruntime', 'cpu'), info)]
    if name in CHECKPOINTS:
        predictors.append(open_predictor(unpacked(f'{name}.ckpt', tmp_path), device='cpu'))
    else:
        assert build_model(info).family == resolve_family(name)
    maps = [predictor.predict(image, 0.0).semantic_map for predictor in predictors]
    assert (maps[0] == maps[-1]).mean() > 0.95  # of an untrained network, some cells are ties
    assert np.isin(maps[0], [*range(len(info.labels)), 255]).all()
