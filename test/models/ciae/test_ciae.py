# SPDX-License-Identifier: Apache-2.0
"""CIAE's network: connections, effect of each switch, and the graph with every switch."""

import math

import onnx
import pytest
import torch
import torch.nn.functional as F
from graphs import assert_same, assert_tensorrt_takes, random_image, run_eager, run_onnx

from panoptic_ros.benchmark.graph import network_alone
from panoptic_ros.core.labels import Label, LabelSet
from panoptic_ros.core.model_file import read_info
from panoptic_ros.models.ciae.config import CIAEConfig
from panoptic_ros.models.parts.fcos import STRIDES, FCOSHead, by_location, locations
from panoptic_ros.models.parts.fpn import SemanticFPN, with_coordinates
from panoptic_ros.models.registry import build
from panoptic_ros.runtime.select import open_backend
from panoptic_training.export import export_model

LABELS = LabelSet(
    tuple(
        Label(name, is_thing, (40 * i, 20, 200 - 30 * i), i + 7)
        for i, (name, is_thing) in enumerate(
            [('road', False), ('car', True), ('sky', False), ('person', True)]
        )
    )
)
SMALL = {
    'backbone': 'mobilenetv2_035',
    'channels': 16,
    'tower_depth': 1,
    'branch_channels': 16,
    'embedding_dim': 8,
    'stride': 4,
    'pre_nms_top_k': 40,
    'top_k': 12,
    'min_stuff_area': 0,
    'score_threshold': 0.0,
    'class_threshold': 0.0,
    'nms_threshold': 0.3,
}
SIZE = (96, 160)  # levels reach over the edge: P6 has 2 x 3 cells, P7 1 x 2


def image_batch(count=1):
    return torch.stack([torch.from_numpy(random_image(SIZE, i)) for i in range(count)]).permute(
        0, 3, 1, 2
    )


def model_with(**config):
    torch.manual_seed(3)
    model = build('ciae', LABELS, **{**SMALL, **config})
    with torch.no_grad():  # batch statistics as after training, so that outputs vary
        model.train().maps(image_batch(4))
    return model.eval()


def test_coordinates_run_from_corner_to_corner():
    x = with_coordinates(torch.zeros(2, 3, 4, 5))
    assert x.shape == (2, 5, 4, 5)
    assert x[1, 3:, 0, 0].tolist() == [-1, -1]
    assert x[1, 3:, 3, 4].tolist() == [1, 1]
    assert x[0, 3:, 0, 4].tolist() == [1, -1], 'x before y'


def test_only_p5_sees_coordinates():
    branch = SemanticFPN(8, 12, coordinates=True)
    channels = [[conv[0].in_channels for conv in stage] for stage in branch.stages]
    assert channels == [[8], [8], [8, 12], [10, 14, 14]]
    assert branch([torch.zeros(1, 8, 2**i, 2**i) for i in (3, 2, 1, 0)]).shape == (1, 12, 8, 8)


def test_locations_lie_in_the_middle_of_cells():
    assert locations(2, 3, 8, torch.device('cpu')).tolist() == [
        [4, 4],
        [12, 4],
        [20, 4],
        [4, 12],
        [12, 12],
        [20, 12],
    ]


def test_head_shares_towers_and_scales_boxes_by_level():
    head = FCOSHead(8, 2, 3, 5).eval()
    x = torch.randn(1, 8, 4, 6)
    outputs = head([x] * 5)
    with torch.no_grad():
        raw = head.box(head.box_tower(x))
        for level, box in enumerate(outputs.box):
            torch.testing.assert_close(box, torch.exp(head.scale[level] * raw))
    assert all(torch.equal(a, outputs.class_logits[0]) for a in outputs.class_logits)
    assert [t[0].shape[1] for t in outputs] == [3, 4, 1, 5]
    assert by_location(outputs.box).shape == (1, 5 * 24, 4)
    assert by_location(outputs.box)[0, 7].tolist() == outputs.box[0][0, :, 1, 1].tolist()


def test_an_untrained_head_finds_nothing_and_boxes_of_four_cells():
    head = FCOSHead(64, 2, 3, 0).eval()
    outputs = head([torch.randn(1, 64, 4, 6)] * 5)
    assert outputs.embedding == []
    for logits, box, stride in zip(outputs.class_logits, outputs.box, STRIDES, strict=True):
        assert logits.sigmoid().mean().item() == pytest.approx(0.01, abs=0.01)
        assert box.log().mean().item() == pytest.approx(math.log(2 * stride), rel=0.2)


def test_box_embeddings_land_on_the_cells_they_describe():
    model = model_with()
    with torch.no_grad():
        model.embed.weight.zero_()
        model.embed.bias.zero_()
        for i in range(8):  # passes P'' through unchanged
            model.embed.weight[i, 16 + i] = 1
        maps = model.maps(image_batch())
        wanted = torch.zeros(1, 8, *(n // 4 for n in SIZE))
        for x, stride in zip(maps.detections.embedding, STRIDES, strict=True):
            y, z = torch.meshgrid(*(torch.arange(n // 4) * 4 + 2.0 for n in SIZE), indexing='ij')
            # Bilinear between the levels' locations, constant beyond the outermost.
            height, width = x.shape[2:]
            grid = torch.stack([2 * z / (width * stride) - 1, 2 * y / (height * stride) - 1], -1)
            wanted += F.grid_sample(x, grid[None], padding_mode='border', align_corners=False)
    torch.testing.assert_close(maps.embedding, wanted, rtol=1e-4, atol=1e-5)


def test_maps_upsample_to_the_stride_asked_for():
    model = model_with(stuff_branch=True)
    for stride in (1, 2, 4):
        maps = model.maps(image_batch(2), stride)
        size = tuple(n // stride for n in SIZE)
        assert maps.embedding.shape == (2, 8, *size)
        assert maps.semantic_logits.shape == (2, 3, *size)  # two stuff classes and things


@pytest.mark.parametrize(
    ('config', 'memories', 'channels'),
    [
        ({}, 3, 2),
        ({'thing_memory': 'classes'}, 4, 2),
        ({'thing_memory': 'classes', 'class_from': 'embedding', 'detector_classes': 'one'}, 4, 1),
    ],
)
def test_switches_of_table_iv(config, memories, channels):
    model = build('ciae', LABELS, **{**SMALL, **config})
    assert model.memory.shape == (memories, 8)
    assert torch.allclose(model.memory.norm(dim=1), torch.ones(memories))
    assert model.detector.class_logits.out_channels == channels
    assert model.memory_of_class.tolist() == [0, 2, 1, 3 if memories == 4 else 2]
    assert model.channel_of_class.tolist() == [-1, 0, -1, channels - 1]


def test_switches_of_table_vi():
    plain = build('ciae', LABELS, **SMALL, coord_conv=False, box_embedding=False)
    assert plain.detector.embedding is None
    assert plain.embed.in_channels == 16
    assert plain.branch.stages[3][0][0].in_channels == 16


def test_class_from_embedding_is_that_of_the_nearest_thing_memory():
    model = model_with(thing_memory='classes', class_from='embedding', detector_classes='one')
    embedding = F.normalize(torch.randn(8, 24, 40), dim=0)
    maps = model.maps(image_batch(), 4)._replace(embedding=embedding[None] * 7)
    with torch.no_grad():
        out = model.decode(maps, **model.default_thresholds())
    rows = torch.nonzero(out.valid[:12])[:, 0].tolist()
    assert len(rows) > 3
    for row in rows:
        query = out.embedding[row]
        assert out.class_id[row] == (1, 3)[int((model.memory[2:] @ query).argmax())]


def test_an_averaged_memory_is_brought_back_to_unit_length():
    model = model_with()
    before = model.memory.clone()
    model.memory.mul_(0.3)
    image = torch.from_numpy(random_image(SIZE))
    with torch.no_grad():
        shrunken = model(image, **model.default_thresholds())
    model.renormalize()
    torch.testing.assert_close(model.memory, before)
    with torch.no_grad():
        assert torch.equal(
            model(image, **model.default_thresholds()).segment_map, shrunken.segment_map
        )


def test_things_and_stuff_are_both_needed():
    with pytest.raises(ValueError, match='ciae needs stuff and thing classes, got 0 stuff and 2'):
        build('ciae', LabelSet(tuple(LABELS.labels[i] for i in (1, 3))), **SMALL)


@pytest.mark.parametrize(
    ('values', 'match'),
    [
        ({'thing_memory': 'one'}, "ciae.thing_memory must be one of .*got 'one'"),
        ({'stride': 8}, 'ciae.stride must be one of'),
        ({'class_from': 'embedding'}, 'embedding needs thing_memory: classes'),
        ({'detector_classes': 'one'}, 'detector needs detector_classes: all'),
        ({'embedding_kernel': 2}, 'ciae.embedding_kernel must be odd, got 2'),
        ({'top_k': 0}, 'ciae.top_k must be at least 1, got 0'),
    ],
)
def test_config_refuses_what_makes_no_sense(values, match):
    with pytest.raises(ValueError, match=match):
        CIAEConfig(**values)


@pytest.fixture(
    scope='module',
    params=[
        {
            'stuff_branch': True,
            'thing_memory': 'classes',
            'class_from': 'embedding',
            'detector_classes': 'one',
            'nms_across_classes': True,
            'embedding_kernel': 3,
        },
        {'box_embedding': False, 'coord_conv': False, 'box_filter': False, 'stride': 1},
    ],
    ids=['most switches', 'the others'],
)
def exported(request, tmp_path_factory):
    """Return a module and its file."""
    model, path = model_with(**request.param), tmp_path_factory.mktemp('ciae') / 'ciae.onnx'
    export_model(model, path, SIZE, name='ciae')
    return model, path


def test_graph_with_every_switch_equals_module(exported):
    model, path = exported
    instances = []
    for thresholds in ({}, {'score_threshold': 0.5, 'nms_threshold': 0.9}):
        image = random_image(SIZE, 1)
        expected = run_eager(model, image, thresholds)
        assert_same(run_onnx(path, image, thresholds), expected)
        instances.append(expected['valid'][:12].sum())
    assert instances[0] > 3
    assert_tensorrt_takes(path)
    # The file has each weight under its name, also weights that a switch leaves unused.
    backend = open_backend(path, backend='torch', device='cpu')
    thresholds = {name: t.default for name, t in read_info(path).thresholds.items()}
    assert_same(backend.run(image, thresholds)._asdict(), run_onnx(path, image, {}))


def test_heads_on_several_levels_have_numbered_names_and_the_network_splits_there(exported):
    model, path = exported
    names = {name for node in onnx.load(path).graph.node for name in node.output}
    semantic = ['maps_semantic'] * model.config.stuff_branch
    assert {n for n in names if n.startswith('maps_')} == {
        'maps_embed',
        *semantic,
        *(
            f'maps_detector.{head}_{level}'
            for head in ('class_logits', 'box', 'centerness')
            for level in range(5)
        ),
    }
    network = network_alone(path, open_backend(path, backend='onnxruntime', device='cpu'), 1)
    outputs = network(random_image(SIZE))
    assert len(outputs) == 16 + len(semantic)
