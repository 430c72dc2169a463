# SPDX-License-Identifier: Apache-2.0
"""Export of a trained module to a model file: an ONNX graph with decoding and metadata."""

import logging
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxscript.optimizer
import torch
from torch.utils._pytree import tree_leaves

from panoptic_ros.core.model_file import MAX_FILE_BYTES, require_model_name
from panoptic_ros.core.model_info import OUTPUTS, ModelInfo
from panoptic_ros.models.base import PanopticModel
from panoptic_ros.models.registry import build
from panoptic_ros.runtime.batch import graph_feed
from panoptic_ros.runtime.roi_align import replace_roi_align
from panoptic_ros.runtime.self_check import write_with_reference
from panoptic_ros.runtime.torch_backend import merge_norms
from panoptic_ros.runtime.trial import color_chart

from .checkpoint import NonFiniteError, find_non_finite
from .half_precision import half_tensor, use_half
from .module_backend import model_info
from .onnx_passes import simplify

SMALL = 2**15
"""Weights with fewer elements stay float32: each that is converted takes an operation of its own,
and the larger ones are most of the file."""

MOST_FOLDED = 2**16
"""Most elements of a constant that is computed at export and stored."""


def build_graph(
    model: PanopticModel, input_size: tuple[int, int], batch: int = 1
) -> onnx.ModelProto:
    """Trace the module's forward into an ONNX graph.

    Parameters and buffers keep their names as initializers, so that the torch backend can load
    the module from the file; batch norms are merged into convolutions. Outputs of the family's
    heads are named `maps_<head>`, or `maps_<head>_<i>` for a head on several levels.

    Args:
        model: in eval mode.
        input_size: (height, width), px.
        batch: number of images at once; see `ModelInfo.batch`.

    Raises:
        ValueError: for a size that the network cannot run at.
    """
    model.check_input_size(input_size)
    info = replace(model_info(model, input_size), batch=batch)
    image = torch.zeros(info.image_shape, dtype=torch.uint8)
    thresholds = {
        name: value.expand(info.threshold_shape).clone()
        for name, value in model.default_thresholds().items()
    }
    names = set(model.state_dict())
    graph = trace(model, {'image': image}, thresholds, OUTPUTS, names)
    for head in model.heads:
        _rename_head_outputs(graph.graph, head)
    simplify(graph, names)
    return graph


def trace(
    module: torch.nn.Module,
    inputs: Mapping[str, torch.Tensor],
    scalars: Mapping[str, torch.Tensor],
    outputs: Sequence[str],
    weights: Collection[str] = (),
    opset: int | None = None,
) -> onnx.ModelProto:
    """Trace a module's forward into an ONNX graph.

    Args:
        module: in eval mode.
        inputs: positional arguments by the name that they get in the graph.
        scalars: keyword arguments, which are inputs too.
        outputs: names for the outputs.
        weights: names of weights, which stay as they are.
        opset: version of ONNX's operators; None is the exporter's own choice.
    """
    logging.getLogger('torch.onnx').setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        program = torch.onnx.export(
            module,
            tuple(inputs.values()),
            kwargs=dict(scalars),
            input_names=[*inputs, *scalars],
            output_names=list(outputs),
            opset_version=opset,
            dynamo=True,
            optimize=False,
            verbose=False,
        )
    assert program is not None

    def should_fold(node: Any) -> bool | None:
        return False if any(v is not None and v.name in weights for v in node.inputs) else None

    # Known shapes and types let group norm's CastLike nodes go, which TensorRT does not support.
    onnxscript.optimizer.fold_constants(
        program.model,
        onnx_shape_inference=True,
        should_fold=should_fold,
        input_size_limit=MOST_FOLDED,
        output_size_limit=MOST_FOLDED,
    )
    onnxscript.optimizer.remove_unused_nodes(program.model)
    graph = program.model_proto
    for part in (
        *graph.graph.node,
        *graph.graph.value_info,
        *graph.graph.input,
        *graph.graph.output,
        *graph.graph.initializer,
    ):
        del part.metadata_props[:]  # source lines of the exporter: large and machine-dependent
    return graph


def _rename_head_outputs(graph: onnx.GraphProto, head: str) -> None:
    """Rename the outputs of the layer with weights `<head>.weight` to `maps_<head>`.

    A layer that runs on several levels gets `maps_<head>_0`, `maps_<head>_1`, ...
    """
    outputs = [node.output[0] for node in graph.node if f'{head}.weight' in node.input]
    renamed = {
        old: f'maps_{head}_{i}' if len(outputs) > 1 else f'maps_{head}'
        for i, old in enumerate(outputs)
    }
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [renamed.get(name, name) for name in names]
    for value in graph.value_info:
        value.name = renamed.get(value.name, value.name)


def store_as_half(model: onnx.ModelProto) -> None:
    """Halve the file: store large float32 weights as float16, each followed by a Cast.

    Engines fold the casts when they load the file, so the types of the computation do not change.
    The graph is changed in place, since a graph above 2 GiB cannot be copied.

    Raises:
        ValueError: for a weight above the range of float16; names it.
    """
    casts = []
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    for tensor in model.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or np.prod(tensor.dims) < SMALL:
            continue
        name = tensor.name
        tensor.CopyFrom(half_tensor(tensor, name))
        casts.append(
            onnx.helper.make_node('Cast', [name], [f'{name}.float32'], to=onnx.TensorProto.FLOAT)
        )
        for node in readers.get(name, ()):
            node.input[:] = [f'{name}.float32' if i == name else i for i in node.input]
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def check_weights(
    model: PanopticModel, half_weights: bool = False, precision: str = 'fp32'
) -> None:
    """Refuse weights that no model file can hold, before the work of an export.

    Args:
        model: of any family.
        half_weights: whether they are stored as float16.
        precision: number format of the network.

    Raises:
        ValueError: for weights above ONNX's 2 GiB.
        NonFiniteError: for weights that are not finite.
    """
    weights = [*model.parameters(), *model.buffers()]
    full = sum(w.numel() * w.element_size() for w in weights)
    halved = full - sum(
        2 * w.numel() for w in weights if w.dtype == torch.float32 and w.numel() >= SMALL
    )
    stored = halved if half_weights and precision == 'fp32' else full
    if stored >= MAX_FILE_BYTES:
        raise ValueError(
            f'the weights take {stored / 2**30:.1f} GiB, and an ONNX file '
            f'holds less than {MAX_FILE_BYTES / 2**30:g}; '
            + (
                f'--weights fp16 stores them in {halved / 2**30:.1f} GiB'
                if halved < MAX_FILE_BYTES
                else 'this model is too large for one file'
            )
        )
    if name := find_non_finite(model.state_dict()):
        raise NonFiniteError(
            f'weights are not finite, e.g. {name}; the training of this model has failed'
        )


def export_model(
    model: PanopticModel,
    path: Path,
    input_size: tuple[int, int],
    *,
    name: str,
    half_weights: bool = False,
    precision: str = 'fp32',
    grid_sample: bool = False,
    batch: int = 1,
    recipe_hash: str = '',
    scores: Mapping[str, float] | None = None,
    card: Mapping[str, str] | None = None,
    unknown: Mapping[str, float] | None = None,
    **decoding: Any,
) -> ModelInfo:
    """Write a module as a model file.

    Args:
        model: of any family; unchanged.
        path: the file to write, ending in .onnx.
        input_size: (height, width), px.
        name: name of the model in the metadata.
        half_weights: store weights as float16.
        precision: number format of the network, `fp32` or `fp16`; see `half_precision`.
        grid_sample: write RoiAlign as GridSample.
        batch: number of images that the graph takes at once.
        recipe_hash: of the training recipe; empty for untrained weights.
        scores: validation scores for the metadata.
        card: the model card.
        unknown: least scores by class, see `ModelInfo.with_unknown`.
        decoding: fields of the family's configuration that may differ from the training, such as
            stride and top_k; None keeps the training's value.

    Returns:
        the metadata of the file.

    Raises:
        ValueError: for a path that does not end in .onnx, an invalid decoding field or class,
            weights that `check_weights` refuses or float16 does not hold, or outputs that do not
            agree with the metadata.
        NonFiniteError: if the network's output for an image is not finite.
    """
    require_model_name(path)
    check_weights(model, half_weights, precision)
    config = {**model.config_dict(), **{k: v for k, v in decoding.items() if v is not None}}
    copy = build(model.family, model.labels, **config)
    merge_norms(copy, set(model.state_dict()))
    weights = {key: value.cpu() for key, value in model.state_dict().items()}
    copy.load_state_dict(weights, assign=True)
    copy.eval()
    require_finite_maps(copy, input_size)
    info = model_info(copy, input_size, name, recipe_hash, scores, card)
    info = replace(info, precision=precision, batch=batch).with_unknown(unknown or {})
    graph = build_graph(copy, input_size, batch)
    if precision == 'fp16':
        use_half(graph, set(copy.state_dict()), sample_inputs(info))
    if half_weights:
        store_as_half(graph)
    if grid_sample:
        replace_roi_align(graph)
    data = graph.SerializeToString()
    del graph  # beside ONNX Runtime's copy of the weights
    write_with_reference(data, info, path)
    return info


def sample_inputs(info: ModelInfo) -> list[dict[str, Any]]:
    """Return the graph's inputs for a grey image and for one of many colours."""
    images = np.full((*info.input_size, 3), 128, np.uint8), color_chart(*info.input_size)
    return [graph_feed(info, image) for image in images]


def require_finite_maps(model: PanopticModel, input_size: tuple[int, int]) -> None:
    """Refuse a module that has diverged, so that its maps of a grey image are not finite.

    Its weights may be finite, but so large that the network overflows.

    Raises:
        NonFiniteError: if a map holds NaN or infinity.
    """
    model.check_input_size(input_size)
    with torch.no_grad():
        maps = model.maps(torch.full((1, 3, *input_size), 128, dtype=torch.uint8))
    if find_non_finite({str(i): value for i, value in enumerate(tree_leaves(maps))}):
        raise NonFiniteError(
            'the network gives NaN or infinity for an image, so its training has '
            'diverged; take an earlier checkpoint'
        )
