# SPDX-License-Identifier: Apache-2.0
"""Checkpoints and model files that an earlier version of the package wrote, one of each family.

They are packed with xz; their weights repeat a few values, so that they pack well.
"""

import lzma
from pathlib import Path

import numpy as np
import pytest
from graphs import random_image

from panoptic_ros.core.image import CameraImage
from panoptic_ros.core.model_file import read_info
from panoptic_ros.models.registry import FAMILIES
from panoptic_ros.runtime import Predictor, open_backend
from panoptic_training.evaluation.predictor import open_predictor

FOLDER = Path(__file__).parents[1] / 'data/earlier'
NAMES = sorted(path.name.removesuffix('.onnx.xz') for path in FOLDER.glob('*.onnx.xz'))


def unpacked(name, folder):
    path = folder / name
    path.write_bytes(lzma.decompress((FOLDER / f'{name}.xz').read_bytes()))
    return path


def test_each_family_has_files():
    assert sorted(set(FAMILIES) - {'transformers'}) == NAMES
    assert sorted(path.name.removesuffix('.ckpt.xz') for path in FOLDER.glob('*.ckpt.xz')) == NAMES


@pytest.mark.parametrize('family', NAMES)
def test_earlier_files_are_read_and_agree(family, tmp_path):
    model = unpacked(f'{family}.onnx', tmp_path)
    info = read_info(model)
    assert info.family == family
    image = CameraImage(random_image(info.input_size, 0), 'rgb')
    predictors = (
        Predictor(open_backend(model, 'onnxruntime', 'cpu'), info),
        open_predictor(unpacked(f'{family}.ckpt', tmp_path), device='cpu'),
    )
    maps = [predictor.predict(image, 0.0).semantic_map for predictor in predictors]
    assert (maps[0] == maps[1]).mean() > 0.95  # of an untrained network, some cells are ties
    assert np.isin(maps[0], [*range(len(info.labels)), 255]).all()
