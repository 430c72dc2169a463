# SPDX-License-Identifier: Apache-2.0
"""The module of Panoptic-DeepLab: its maps, its switches and its graph."""

import numpy as np
import pytest
import torch
from center_models import SIZE, lively
from graphs import assert_same, random_image, run_eager, run_onnx
from small_models import SMALL_CENTERS
from tiny_model import LABELS

from panoptic_ros.models.panoptic_deeplab.config import PanopticDeepLabConfig
from panoptic_ros.models.panoptic_deeplab.dual_decoder import DualDecoder
from panoptic_ros.models.parts.backbone import make_backbone
from panoptic_ros.models.parts.segments import standardized
from panoptic_ros.models.registry import build
from panoptic_training.export import export_model


def instances(out):
    return int((out['valid'] & LABELS.is_thing[out['class_id']]).sum())


@pytest.fixture(scope='module')
def model():
    return lively('panoptic_deeplab')


@pytest.mark.parametrize('stride', [4, 2, 1])
def test_maps_have_the_stride_asked_for_and_offsets_in_px(model, stride):
    image = torch.from_numpy(random_image(SIZE)).permute(2, 0, 1)[None]
    with torch.no_grad():
        maps, coarse = model.maps(image, stride), model.maps(image)
        raw = model.predict(*model.network(model.normalize(image))[:2])
    size = (SIZE[0] // stride, SIZE[1] // stride)
    assert maps.semantic_logits.shape == (1, len(LABELS), *size)
    assert maps.center_heatmap.shape == (1, 1, *size)
    assert maps.center_offset.shape == (1, 2, *size)
    assert maps.feature.shape == (1, model.embedding_dim, SIZE[0] // 4, SIZE[1] // 4)
    assert torch.allclose(coarse.center_offset, raw[2] * 4)
    # Upsampling does not scale offsets: their mean is the same px value at any stride.
    assert torch.allclose(maps.center_offset.mean(), coarse.center_offset.mean(), rtol=0.1)


def test_graph_equals_module(tmp_path):
    # test_families.py covers the default switches and the faster decoding.
    model = lively('panoptic_deeplab', stride=1, output_stride=32, instance_score='objectness')
    image = random_image(SIZE, seed=5)
    path = tmp_path / 'model.onnx'
    export_model(model, path, SIZE, name='test')
    counts = []
    for limits in ({}, {'center_threshold': 0.3}, {'score_threshold': 1.0}):
        expected = run_eager(model, image, limits)
        assert_same(run_onnx(path, image, limits), expected)
        counts.append(instances(expected))
    assert counts[0] > counts[1] > 0
    assert counts[2] == 0


def test_embeddings_point_in_all_directions(model):
    out = run_eager(model, random_image(SIZE, seed=5), {})
    units = out['embedding'][out['valid']]
    units = units / np.linalg.norm(units, axis=1, keepdims=True)
    assert (units @ units.T).min() < 0


@pytest.mark.parametrize(('stride', 'levels'), [(16, 2), (32, 3)])
def test_the_decoder_joins_the_finer_maps(stride, levels):
    network = DualDecoder('mobilenetv2_035', stride, (), 8, (16, 8), 8, True)
    assert len(network.semantic.project) == len(network.instance.project) == levels
    low = [conv[0].out_channels for conv in network.semantic.project]
    assert low == [32, 16, 8][-levels:]
    assert [conv[0].out_channels for conv in network.instance.project] == [n // 2 for n in low]


def test_multigrid_spreads_the_last_stage():
    network = DualDecoder('resnet18', 16, (1, 4), 8, (8, 8), 8, True)
    dilations = [
        conv.dilation[0]
        for conv in network.backbone.layer4.modules()
        if isinstance(conv, torch.nn.Conv2d) and conv.kernel_size == (3, 3)
    ]
    assert dilations == [2, 2, 8, 8]
    plain = make_backbone('resnet18', 16)
    image = torch.zeros(1, 3, 64, 64)
    assert [x.shape for x in network.backbone(image)] == [x.shape for x in plain(image)]


@pytest.mark.parametrize('backbone', ['resnet18', 'mobilenetv2_035'])
def test_multigrid_needs_a_resnet_of_as_many_blocks(backbone):
    with pytest.raises(ValueError, match=r'multigrid \(1, 2, 4\) needs a ResNet'):
        build(
            'panoptic_deeplab',
            LABELS,
            **{**SMALL_CENTERS, 'multigrid': (1, 2, 4), 'backbone': backbone},
        )


@pytest.mark.parametrize(
    ('values', 'match'),
    [
        ({'output_stride': 8}, r'panoptic_deeplab.output_stride must be one of \(16, 32\), got 8'),
        ({'stride': 3}, r'panoptic_deeplab.stride must be one of \(1, 2, 4\), got 3'),
        (
            {'instance_score': 'best'},
            r"panoptic_deeplab.instance_score must be one of .*, got 'best'",
        ),
        ({'top_k': 0}, 'panoptic_deeplab.top_k must be at least 1, got 0'),
    ],
)
def test_config_refuses_what_makes_no_sense(values, match):
    with pytest.raises(ValueError, match=match):
        PanopticDeepLabConfig(**values)


def test_standardized_has_mean_0_and_deviation_1_by_channel():
    feature = torch.rand(3, 8, 9) * torch.tensor([1.0, 50.0, 0.0])[:, None, None]
    result = standardized(feature).flatten(1)
    assert torch.allclose(result.mean(dim=1), torch.zeros(3), atol=1e-5)
    assert torch.allclose(result[:2].square().mean(dim=1), torch.ones(2), rtol=1e-3)
    assert not result[2].any(), 'a constant channel becomes 0'
