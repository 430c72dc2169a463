# SPDX-License-Identifier: Apache-2.0
"""EINet's interaction against its equations, its switches and its graph."""

import math

import numpy as np
import pytest
import torch
from center_models import SIZE, lively
from graphs import assert_same, random_image, run_eager, run_onnx
from small_models import SMALL_CENTERS
from tiny_model import LABELS

from panoptic_ros.core.labels import Label, LabelSet
from panoptic_ros.models.einet.config import EINetConfig
from panoptic_ros.models.einet.network import InstanceToSemantic, SemanticToInstance
from panoptic_ros.models.parts.segments import standardized
from panoptic_ros.models.registry import build
from panoptic_ros.runtime.select import open_backend
from panoptic_training.export import export_model


def image():
    return torch.from_numpy(random_image(SIZE)).permute(2, 0, 1)[None]


@pytest.mark.parametrize('unseen', [(), (1,), (0, 1, 2)])
def test_semantic_to_instance_equals_the_equation(unseen):
    torch.manual_seed(0)
    module = SemanticToInstance(6, 4, 3).double()
    embedding = torch.randn(2, 4, 3, 5, dtype=torch.float64)
    dictionary = torch.randn(3, 6, dtype=torch.float64)
    dictionary[list(unseen)] = 0
    with torch.no_grad():
        enhanced = module(embedding, dictionary)
        known = [j for j in range(3) if j not in unseen]
        w_q, b_q, w_o, b_o = (
            p.reshape(len(p), -1) if p.ndim > 1 else p
            for p in (module.query.weight, module.query.bias, module.out.weight, module.out.bias)
        )
        for b, y, x in ((0, 0, 0), (1, 2, 4), (0, 1, 3)):
            e = embedding[b, :, y, x]
            query = w_q @ e + b_q
            scores = [
                math.exp(query @ (module.key.weight @ dictionary[j]) / math.sqrt(3)) for j in known
            ]
            context = sum(
                (
                    s / sum(scores) * (module.value.weight @ dictionary[j])
                    for s, j in zip(scores, known, strict=True)
                ),
                torch.zeros(3).double(),
            )
            assert torch.allclose(enhanced[b, :, y, x], e + w_o @ context + b_o)


def test_instance_to_semantic_equals_the_equation():
    torch.manual_seed(0)
    module = InstanceToSemantic(4, 6)
    semantic, instance = torch.randn(2, 6, 3, 5), torch.randn(2, 4, 3, 5)
    with torch.no_grad():
        enhanced = module(semantic, instance)
        e = instance[1, :, 2, 3]
        gate = module.gate.weight[:, :, 0, 0] @ e + module.gate.bias
        update = module.update.weight[:, :, 0, 0] @ e + module.update.bias
        expected = semantic[1, :, 2, 3] + update / (1 + torch.exp(-gate))
    assert torch.allclose(enhanced[1, :, 2, 3], expected, atol=1e-6)


@pytest.mark.parametrize('interaction', ['none', 's2i', 'i2s', 'both'])
def test_each_interaction_reads_what_the_decoders_give(interaction):
    model = lively('einet', interaction=interaction)
    names = {name for name, _ in model.named_children()}
    assert ('to_instance' in names) == (interaction in ('s2i', 'both'))
    assert ('to_semantic' in names) == (interaction in ('i2s', 'both'))
    assert ('dictionary' in dict(model.named_buffers())) == ('to_instance' in names)
    with torch.no_grad():
        if 'to_instance' in names:
            model.dictionary.normal_()
        semantic, instance = model.embeddings(image())
        new_semantic, new_instance = semantic, instance
        if 'to_semantic' in names:
            new_semantic = model.to_semantic(semantic, instance)
        if 'to_instance' in names:
            new_instance = model.to_instance(instance, model.dictionary)
        expected = model.predict(new_semantic, new_instance)
        maps = model.maps(image())
    for ours, raw in zip(maps[:3], (expected[0], expected[1], 4 * expected[2]), strict=True):
        assert torch.allclose(ours, raw)
    assert torch.equal(maps.feature, new_instance)


def test_there_is_a_heatmap_for_each_thing_class():
    assert lively('einet').maps(image()).center_heatmap.shape[1] == LABELS.is_thing.sum() == 2
    stuff = LabelSet((Label('road', False, (1, 2, 3), 0),))
    with pytest.raises(ValueError, match='einet needs at least one thing class'):
        build('einet', stuff, **SMALL_CENTERS)


def test_the_dictionary_stays_as_it_is_outside_the_loss():
    model = lively('einet')
    model.dictionary.normal_()
    before = model.dictionary.clone()
    model.train().maps(image())
    assert torch.equal(model.dictionary, before)


def test_focal_heatmaps_pass_a_sigmoid_on_the_way_to_decoding():
    model = lively('einet', heatmap_loss='focal')
    maps = model.maps(image())
    assert torch.equal(model.center_heights(maps), maps.center_heatmap.sigmoid())


def test_graph_equals_module_and_holds_the_dictionary(tmp_path):
    # test_families.py covers the default switches.
    model = lively(
        'einet',
        stride=2,
        lowlevel_fusion='sum',
        instance_aspp=True,
        interaction='s2i',
        heatmap_loss='focal',
        instance_score='semantic',
    )
    model.dictionary.normal_()
    path, picture = tmp_path / 'model.onnx', random_image(SIZE, seed=5)
    export_model(model, path, SIZE, name='test')
    expected = run_eager(model, picture, {})
    assert (expected['valid'] & LABELS.is_thing[expected['class_id']]).sum() >= 3
    ours = run_onnx(path, picture, {})
    assert_same(ours, expected)
    limits = {name: t.default for name, t in model.thresholds.items()}
    backend = open_backend(path, backend='torch', device='cpu')
    assert_same(backend.run(picture, limits)._asdict(), ours)
    # E_i' at the centre, the peak of the class's map.
    with torch.no_grad():
        feature = model.maps(torch.from_numpy(picture).permute(2, 0, 1)[None]).feature[0]
    feature = standardized(feature).flatten(1).T.numpy()
    for row in np.flatnonzero(expected['valid'][:12]):
        distance = np.abs(feature - expected['embedding'][row]).max(axis=1)
        assert distance.min() < 1e-5


@pytest.mark.parametrize(
    ('values', 'match'),
    [
        ({'lowlevel_fusion': 'mean'}, r"einet.lowlevel_fusion must be one of .*, got 'mean'"),
        ({'interaction': 'all'}, r"einet.interaction must be one of .*, got 'all'"),
        ({'heatmap_loss': 'l1'}, r"einet.heatmap_loss must be one of .*, got 'l1'"),
        ({'stride': 3}, r'einet.stride must be one of \(1, 2, 4\), got 3'),
    ],
)
def test_config_refuses_what_makes_no_sense(values, match):
    with pytest.raises(ValueError, match=match):
        EINetConfig(**values)
