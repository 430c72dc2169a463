"""What holds for each family: one graph, the same in eager mode and in ONNX Runtime."""

import numpy as np
import onnx
import pytest
import torch
from center_models import SMALL_CENTERS
from graphs import TENSORRT_OPERATORS, assert_same, random_image, run_eager, run_onnx
from tiny_model import LABELS

from panoptic_ros.bundle import read_info
from panoptic_ros.models.registry import FAMILIES, build, build_model
from panoptic_training.export import export_model
from panoptic_training.families import LOSSES

SIZE = (64, 128)

SMALL = {
    'ciae': {'backbone': 'mobilenetv2_035', 'channels': 16, 'tower_depth': 1,
             'branch_channels': 16, 'embedding_dim': 8, 'stride': 2, 'pre_nms_top_k': 20,
             'top_k': 12, 'score_threshold': 0.0, 'class_threshold': 0.0, 'nms_threshold': 0.3,
             'min_stuff_area': 100},
    'einet': {'top_k': 12, 'stride': 4, 'center_threshold': 0.0, **SMALL_CENTERS},
    'hle': {'backbone': 'mobilenetv2_035', 'separable': True, 'aspp_channels': 16,
            'low_level_channels': 8, 'decoder_channels': 16, 'top_k': 12, 'stride': 4,
            'refine': 1},
    'panoptic_deeplab': {'top_k': 12, 'stride': 2, 'center_threshold': 0.0, **SMALL_CENTERS},
    'panoptic_fpn': {
        'backbone': 'mobilenetv2_035', 'fpn_channels': 16, 'semantic_channels': 16,
        'box_width': 24, 'embedding_dim': 8, 'mask_widths': (16,), 'mask_size': 14,
        'proposals_per_level': 20, 'proposals': 40, 'top_k': 12, 'stride': 4,
        'score_threshold': 0.2, 'min_stuff_area': 64.0},
    'pisr': {'top_k': 12, 'stride': 4, 'center_threshold': 0.0, 'block_channels': 16,
             'num_encodings': 6, **SMALL_CENTERS},
    'pisr_maskformer': {
        'backbone': 'mobilenetv2_035', 'fpn_channels': 32, 'mask_channels': 16,
        'num_queries': 12, 'query_channels': 16, 'decoder_layers': 2, 'attention_heads': 2,
        'feedforward': 32, 'block_channels': 16, 'stride': 4, 'score_threshold': 0.2,
        'overlap_threshold': 0.1},
    'pisr_panoptic_fpn': {
        'backbone': 'mobilenetv2_035', 'fpn_channels': 16, 'semantic_channels': 16,
        'box_width': 24, 'embedding_dim': 8, 'mask_widths': (16,), 'mask_size': 14,
        'proposals_per_level': 20, 'proposals': 40, 'top_k': 12, 'stride': 4,
        'score_threshold': 0.2, 'min_stuff_area': 64.0, 'block_channels': 16,
        'num_encodings': 6},
    'pisr_upernet': {
        'backbone': 'mobilenetv2_035', 'fpn_channels': 16, 'semantic_channels': 16,
        'pool_scales': (1, 3), 'box_width': 24, 'embedding_dim': 8, 'mask_widths': (16,),
        'mask_size': 14, 'proposals_per_level': 20, 'proposals': 40, 'top_k': 12, 'stride': 4,
        'score_threshold': 0.2, 'min_stuff_area': 64.0, 'block_channels': 16,
        'num_encodings': 6, 'panoptic_levels': 'alone'},
    'sognet': {
        'backbone': 'mobilenetv2_035', 'fpn_channels': 16, 'semantic_widths': (8,),
        'box_width': 24, 'embedding_dim': 8, 'mask_widths': (16,), 'mask_size': 14,
        'box_dim': 8, 'category_dim': 8, 'mask_dim': 8,
        'proposals_per_level': 20, 'proposals': 40, 'top_k': 12, 'stride': 4,
        'score_threshold': 0.2, 'min_stuff_area': 64.0},
}
"""A configuration of each family that is quick to build and run."""


@pytest.fixture(scope='module', params=sorted(SMALL))
def exported(request, tmp_path_factory):
    """An untrained module with live batch statistics, and its file."""
    torch.manual_seed(1)
    model = build(request.param, LABELS, **SMALL[request.param])
    with torch.no_grad():  # statistics as after training: random weights answer with more life
        model.train()
        model.maps(torch.from_numpy(np.stack([random_image(SIZE, i) for i in range(4)]))
                   .permute(0, 3, 1, 2))
    model.eval()
    path = tmp_path_factory.mktemp('families') / f'{request.param}.onnx'
    export_model(model, path, SIZE, name=request.param)
    return model, path


def test_every_family_has_a_loss_and_a_small_configuration():
    # Checkpoints of transformers are trained elsewhere; test_adapters.py has them.
    assert set(FAMILIES) - {'transformers'} == set(LOSSES) == set(SMALL)


@pytest.mark.parametrize('seed', range(3))
def test_graph_equals_module(exported, seed):
    model, path = exported
    image = random_image(SIZE, seed)
    assert_same(run_onnx(path, image, {}), run_eager(model, image, {}))


def test_operators_are_tensorrts(exported):
    graph = onnx.load(exported[1]).graph
    assert {node.op_type for node in graph.node} - TENSORRT_OPERATORS == set()
    assert {node.domain for node in graph.node} <= {''}


def test_graph_names_where_decoding_starts(exported):
    names = [name for node in onnx.load(exported[1]).graph.node for name in node.output]
    for head in exported[0].heads:
        assert any(name.startswith(f'maps_{head}') for name in names), head


def test_metadata_builds_the_module_again(exported):
    model, path = exported
    info = read_info(path)
    again = build_model(info)
    assert again.state_dict().keys() == model.state_dict().keys()
    assert info.embedding_kind == model.embedding_kind
    assert info.embedding_dim == model.embedding_dim
