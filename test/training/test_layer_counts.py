# SPDX-License-Identifier: Apache-2.0
"""Number of TensorRT layers: small operations cost a GPU their start, not their arithmetic."""

import pytest
import torch

from panoptic_ros.benchmark.graph import count_layers
from panoptic_ros.cli.export import build_untrained
from panoptic_ros.core.resources import default_model
from panoptic_training.export import export_model

pytest.importorskip('tensorrt_rtx', reason='needs tensorrt-rtx, see the extra tensorrt_rtx')

MOST = {
    'hle': 500,
    'panoptic_deeplab': 600,
    'einet': 600,
    'pisr': 600,
    'pisr_maskformer': 600,
    'ciae': 1200,
    # Half of those that the graphs of version 0.1.0 have with GridSample.
    'panoptic_fpn': 3008,
    'sognet': 3404,
    'pisr_panoptic_fpn': 4910,
    'pisr_upernet': 4889,
}
"""Most layers without constants of the city recipes at 256x512 and stride 2."""


def test_the_packaged_model_has_few_layers():
    assert count_layers(default_model()) <= MOST['hle']


@pytest.mark.slow
@pytest.mark.parametrize('family', MOST)
def test_each_family_has_few_layers(tmp_path, family):
    torch.manual_seed(0)
    model, _ = build_untrained(f'{family}_mobilenetv2_city')
    path = tmp_path / 'model.onnx'
    stride = 2 if 'stride' in model.config_dict() else None
    export_model(model, path, (256, 512), name=family, stride=stride)
    assert 0 < (count_layers(path) or 0) <= MOST[family]
