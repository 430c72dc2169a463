# SPDX-License-Identifier: Apache-2.0
"""Properties of every family: one graph, equal in eager mode and in ONNX Runtime."""

import re

import numpy as np
import onnx
import onnxruntime
import pytest
from graphs import (
    assert_as_good_as_autocast,
    assert_same,
    assert_tensorrt_rtx_builds,
    assert_tensorrt_takes,
    query_values,
    random_image,
    run_autocast,
    run_eager,
    run_onnx,
    write_half,
)
from small_models import untrained
from tiny_model import LABELS

from panoptic_ros.core.model_file import read_info
from panoptic_ros.core.model_info import OUTPUTS
from panoptic_ros.models.registry import FAMILIES, build, build_model, resolve_family
from panoptic_ros.runtime.cpu_graph import rewrite_for_cpu
from panoptic_ros.runtime.roi_align import replace_roi_align
from panoptic_ros.runtime.torch_backend import load_weights
from panoptic_training.export import export_model, sample_inputs
from panoptic_training.half_precision import use_half

SIZES = (64, 128), (96, 160)

TOP_K = 3
"""Instance rows of all models in this file; random images contain more instances."""

LAX = {
    'score_threshold': 0.0,
    'min_area': 0.0,
    'min_stuff_area': 0.0,
    'overlap_threshold': 1.0,
    'nms_threshold': 0.9,
    'merge_threshold': 0.999,
}
"""Thresholds that let everything pass; each family uses those that it has."""

SMALL = {name: row.small for name, row in FAMILIES.items() if row.loss is not None}

QUERIES = {'pisr_maskformer'}
"""Families with a row for each query, which therefore never find too many instances."""

TWO_STAGE = {'panoptic_fpn', 'sognet', 'pisr_panoptic_fpn', 'pisr_upernet'}
"""Families whose export takes long; at the second size their tests are slow."""

POINTS = {'hle', 'einet', 'panoptic_deeplab', 'pisr'}
"""Families that assign each cell to one of several points."""


def with_top_k(family, top_k):
    """Return the small configuration with `top_k` instance rows."""
    return SMALL[family] if family in QUERIES else {**SMALL[family], 'top_k': top_k}


@pytest.fixture(
    scope='module',
    params=[
        pytest.param(
            (family, size),
            id=f'{family}-{size[0]}x{size[1]}',
            marks=[pytest.mark.slow] * (family in TWO_STAGE and size != SIZES[0]),
        )
        for family in sorted(SMALL)
        for size in SIZES
    ],
)
def exported(request, tmp_path_factory):
    """Export an untrained module that finds instances in random images; with file and size."""
    family, size = request.param
    model = untrained(family, size, **with_top_k(family, TOP_K))
    path = tmp_path_factory.mktemp('families') / f'{family}.onnx'
    export_model(model, path, size, name=family)
    return model, path, size


def test_every_family_that_is_trained_has_a_small_configuration():
    # Checkpoints of transformers are trained elsewhere; test_adapters.py has them.
    assert all(SMALL.values())


def test_names_and_aliases_are_unique():
    names = [name for key, row in FAMILIES.items() for name in (key, *row.aliases)]
    assert len(set(names)) == len(names)
    assert [resolve_family(name) for name in FAMILIES] == list(FAMILIES)


@pytest.mark.parametrize('seed', range(2))
def test_graph_equals_module(exported, seed):
    model, path, size = exported
    image = random_image(size, seed)
    found = run_onnx(path, image, {})
    assert_same(found, run_eager(model, image, {}))
    assert not found['confidence'][found['segment_map'] == 0].any()
    sure = found['confidence'][found['segment_map'] > 0]
    assert not sure.size or sure.any()


def instance_scores(model, image, thresholds):
    """Return the scores of the valid instance rows, best first."""
    found = run_eager(model, image, thresholds)
    things = found['valid'] & LABELS.is_thing[found['class_id']]
    return np.sort(found['score'][things])[::-1]


def test_graph_equals_module_with_no_one_and_too_many_instances(exported):
    model, path, size = exported
    lax = {k: v for k, v in LAX.items() if k in model.thresholds}
    if model.family in QUERIES:
        # Of queries, it is the part that must be won, not the part that may be covered.
        lax['overlap_threshold'] = 0.0
    roomy = build(model.family, LABELS, **with_top_k(model.family, 20))
    roomy.load_state_dict(model.state_dict())
    image = max(
        (random_image(size, seed) for seed in range(6)),
        key=lambda image: (
            len(instance_scores(model, image, lax)) > 1,
            len(instance_scores(roomy.eval(), image, lax)),
        ),
    )
    assert len(instance_scores(roomy, image, lax)) > TOP_K or model.family in QUERIES
    best, second, *_ = instance_scores(model, image, lax)
    assert_same(run_onnx(path, image, lax), run_eager(model, image, lax))
    for count, score_threshold in ((1, float(best + second) / 2), (0, 1.0)):
        thresholds = {**lax, 'score_threshold': score_threshold}
        assert len(instance_scores(model, image, thresholds)) == count
        assert_same(run_onnx(path, image, thresholds), run_eager(model, image, thresholds))


def test_graph_with_grid_sample_is_the_same(exported, tmp_path):
    _, path, size = exported
    model = onnx.load(path)
    if replace_roi_align(model) == 0:
        return  # a family without RoiAlign
    onnx.save(model, tmp_path / 'grid_sample.onnx')
    image = random_image(size)
    assert_same(run_onnx(tmp_path / 'grid_sample.onnx', image, {}), run_onnx(path, image, {}))


def test_graph_rewritten_for_the_cpu_is_the_same(exported, tmp_path):
    model, path, size = exported
    graph = onnx.load(path)
    assert rewrite_for_cpu(graph)
    onnx.checker.check_model(graph, full_check=True)
    kinds = {node.op_type for node in graph.graph.node}
    assert 'ScatterElements' in kinds
    assert ('Compress' in kinds) == (model.family in POINTS)
    rewritten = tmp_path / 'cpu.onnx'
    onnx.save(graph, rewritten)
    lax = {k: v for k, v in LAX.items() if k in model.thresholds}
    for seed, thresholds in enumerate(({}, lax, {**lax, 'score_threshold': 1.0})):
        image = random_image(size, seed)
        assert_same(run_onnx(rewritten, image, thresholds), run_onnx(path, image, thresholds))


def test_tensorrts_parser_takes_the_graph(exported):
    assert_tensorrt_takes(exported[1])


@pytest.mark.parametrize('precision', ['fp32', 'fp16'])
def test_tensorrt_rtx_builds_the_graph(exported, precision, tmp_path):
    model, path, size = exported
    if size == SIZES[0]:  # a build takes as long as an export
        assert_tensorrt_rtx_builds(
            write_half(model, path, tmp_path) if precision == 'fp16' else path
        )


def test_graph_names_where_decoding_starts(exported):
    names = [name for node in onnx.load(exported[1]).graph.node for name in node.output]
    for head in exported[0].heads:
        assert any(name.startswith(f'maps_{head}') for name in names), head


def head_outputs(model, image, run):
    """Return the outputs of the module's heads as one vector; `run` is of helpers/graphs.py."""
    found = []
    hooks = [
        model.get_submodule(head).register_forward_hook(
            lambda layer, inputs, output, head=head: found.append((head, output.float().numpy()))
        )
        for head in model.heads
    ]
    run(model, image, {})
    for hook in hooks:
        hook.remove()
    return np.concatenate([v.ravel() for head in model.heads for h, v in found if h == head])


def test_half_precision_is_as_good_as_autocast(exported):
    model, path, size = exported
    graph = onnx.load(path)
    feed = {**sample_inputs(read_info(path))[0], 'image': random_image(size)}
    use_half(graph, set(model.state_dict()), [feed])
    kinds = {tensor.name: tensor.data_type for tensor in graph.graph.initializer}
    layers = [n for n in graph.graph.node if n.op_type == 'Conv' and n.input[1] in kinds]
    assert layers and {kinds[node.input[1]] for node in layers} == {onnx.TensorProto.FLOAT16}

    names = sorted(name for node in graph.graph.node for name in node.output)
    heads = [n for h in model.heads for n in names if re.fullmatch(rf'maps_{h}(_\d)?', n)]
    for name in heads:
        graph.graph.output.append(onnx.helper.make_tensor_value_info(name, 1, None))
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    found = dict(zip([*OUTPUTS, *heads], session.run(None, feed), strict=True))
    cells = np.bincount(found['segment_map'].ravel(), minlength=len(found['valid']) + 1)[1:]
    np.testing.assert_array_equal(found['area'][found['valid']], cells[found['valid']])
    if heads:
        ours = np.concatenate([found[name].ravel() for name in heads])
        theirs, exact = (
            head_outputs(model, feed['image'], run) for run in (run_autocast, run_eager)
        )
    else:
        assert model.family in QUERIES
        ours, theirs, exact = map(
            query_values,
            (found, *(run(model, feed['image'], {}) for run in (run_autocast, run_eager))),
        )
    assert_as_good_as_autocast(ours, theirs, exact)


def test_metadata_builds_the_module_again(exported):
    model, path, size = exported
    info = read_info(path)
    again = build_model(info)
    load_weights(again, path)
    image = random_image(size)
    assert_same(run_eager(again.eval(), image, {}), run_eager(model, image, {}))
    assert info.embedding_kind == model.embedding_kind
    assert info.embedding_dim == model.embedding_dim
