# SPDX-License-Identifier: Apache-2.0
"""From a trained module to the one-file model: an ONNX graph with decoding and metadata."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxscript.optimizer
import torch
from torch.utils._pytree import tree_leaves

from panoptic_ros.core.model_file import MAX_FILE_BYTES, write_model_file
from panoptic_ros.core.model_info import OUTPUTS, ModelInfo
from panoptic_ros.core.version import __version__
from panoptic_ros.models.base import PanopticModel
from panoptic_ros.models.registry import build

from .checkpoint import NonFiniteError, find_non_finite, load_checkpoint

SMALL = 256
"""Weights with fewer elements stay float32; the file would not get smaller by them."""

LARGEST_HALF = torch.finfo(torch.float16).max


def build_graph(model: PanopticModel, input_size: tuple[int, int]) -> onnx.ModelProto:
    """Traces the module's forward into ONNX.

    Parameters and buffers keep their names as initializers, so that the torch backend can load
    the module from the file; engines fold batch norms themselves. Outputs of the family's heads
    are named `maps_<head>`, or `maps_<head>_<i>` for a head on several levels.

    Args:
        model: in eval mode.
        input_size: (height, width), px.

    Raises:
        ValueError: if the network cannot run at this size.
    """
    model.check_input_size(input_size)
    image = torch.zeros(*input_size, 3, dtype=torch.uint8)
    thresholds = model.default_thresholds()
    logging.getLogger('torch.onnx').setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        program = torch.onnx.export(
            model,
            (image,),
            kwargs=thresholds,
            input_names=['image', *thresholds],
            output_names=list(OUTPUTS),
            dynamo=True,
            optimize=False,
            verbose=False,
        )
    assert program is not None
    names = set(model.state_dict())

    def should_fold(node: Any) -> bool | None:
        return False if any(v is not None and v.name in names for v in node.inputs) else None

    # With shapes and types at hand, group norm's CastLike nodes go, which TensorRT does not have.
    onnxscript.optimizer.fold_constants(
        program.model, onnx_shape_inference=True, should_fold=should_fold
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
        del part.metadata_props[:]  # the exporter's source lines: large, and of this machine
    for head in model.heads:
        _rename_head_outputs(graph.graph, head)
    return graph


def _rename_head_outputs(graph: onnx.GraphProto, head: str) -> None:
    """Names what the layer with weights `<head>.weight` gives, wherever it is used.

    `maps_<head>`; with a number from 0 behind it where the layer runs on several levels.
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
    """Halves the file: large float32 weights become float16 with a Cast behind each.

    Engines fold the casts when they load the file, so it runs in float32 as before. The graph
    itself is changed: a copy of one above 2 GiB cannot be made.
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
        values = onnx.numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, name))
        casts.append(
            onnx.helper.make_node('Cast', [name], [f'{name}.float32'], to=onnx.TensorProto.FLOAT)
        )
        for node in readers.get(name, ()):
            node.input[:] = [f'{name}.float32' if i == name else i for i in node.input]
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def check_weights(model: PanopticModel, half: bool) -> None:
    """Refuses weights that no model file can hold, before the work of an export.

    Args:
        model: any family.
        half: they are stored as float16.

    Raises:
        ValueError: if they need more than ONNX's 2 GiB, or one of them is not finite, or too
            large for float16.
    """
    weights = [*model.parameters(), *model.buffers()]
    full = sum(w.numel() * w.element_size() for w in weights)
    halved = full - sum(
        2 * w.numel() for w in weights if w.dtype == torch.float32 and w.numel() >= SMALL
    )
    if (halved if half else full) >= MAX_FILE_BYTES:
        raise ValueError(
            f'the weights take {(halved if half else full) / 2**30:.1f} GiB, and an ONNX file '
            f'holds less than {MAX_FILE_BYTES / 2**30:g}; '
            + (
                f'--precision fp16 stores them in {halved / 2**30:.1f} GiB'
                if halved < MAX_FILE_BYTES
                else 'this model is too large for one file'
            )
        )
    if name := find_non_finite(model.state_dict()):
        raise NonFiniteError(
            f'weights are not finite, e.g. {name}; the training of this model has failed'
        )
    for name, tensor in model.state_dict().items():
        if (
            half
            and tensor.dtype == torch.float32
            and tensor.numel() >= SMALL
            and tensor.abs().max() > LARGEST_HALF
        ):
            raise ValueError(
                f'the weight {name} is larger than float16 holds '
                f'({LARGEST_HALF:g}); leave out --precision fp16'
            )


def export_model(
    model: PanopticModel,
    path: Path,
    input_size: tuple[int, int],
    *,
    name: str,
    half_weights: bool = False,
    recipe_hash: str = '',
    scores: Mapping[str, float] | None = None,
    **decoding: Any,
) -> ModelInfo:
    """Writes a module as a model file.

    Args:
        model: any family; left as it was.
        path: the file to write, ending in .onnx.
        input_size: (height, width), px.
        name: what people call the model.
        half_weights: store weights as float16.
        recipe_hash: of the training recipe; empty for untrained weights.
        scores: validation scores for the metadata.
        decoding: fields of the family's configuration that may differ from training, such as
            stride and top_k; None keeps a field as it is.

    Returns:
        What the file says of itself.

    Raises:
        ValueError: if the path or a decoding field does not fit, if the network gives NaN or
            infinity for an image, or see `check_weights`.
    """
    if path.suffix != '.onnx':
        raise ValueError(f'a model file ends in .onnx, got {path.name}')
    check_weights(model, half_weights)
    config = {**model.config_dict(), **{k: v for k, v in decoding.items() if v is not None}}
    copy = build(model.family, model.labels, **config)
    copy.load_state_dict({key: value.cpu() for key, value in model.state_dict().items()})
    copy.eval()
    require_finite_maps(copy, input_size)
    info = ModelInfo(
        name=name,
        family=model.family,
        labels=model.labels,
        input_size=input_size,
        stride=copy.config.stride,
        mean=copy.config.mean,
        std=copy.config.std,
        embedding_dim=copy.embedding_dim,
        embedding_kind=copy.embedding_kind,
        thresholds=copy.thresholds,
        config=copy.config_dict(),
        recipe_hash=recipe_hash,
        scores=dict(scores or {}),
        package_version=__version__,
    )
    graph = build_graph(copy, input_size)
    if half_weights:
        store_as_half(graph)
    write_model_file(graph, info, path)
    return info


def require_finite_maps(model: PanopticModel, input_size: tuple[int, int]) -> None:
    """Refuses a module that has diverged: whose maps of a grey image are not finite.

    Its weights may be finite, but so large that the network overflows.

    Raises:
        NonFiniteError: in one line.
    """
    model.check_input_size(input_size)
    with torch.no_grad():
        maps = model.maps(torch.full((1, 3, *input_size), 128, dtype=torch.uint8))
    if find_non_finite({str(i): value for i, value in enumerate(tree_leaves(maps))}):
        raise NonFiniteError(
            'the network gives NaN or infinity for an image, so its training has '
            'diverged; take an earlier checkpoint'
        )


def export_checkpoint(
    path: Path,
    output: Path,
    *,
    name: str = '',
    input_size: tuple[int, int] | None = None,
    half_weights: bool = False,
    scores: Mapping[str, float] | None = None,
    **decoding: Any,
) -> ModelInfo:
    """Writes a training checkpoint as a model file; see `export_model`."""
    model, checkpoint = load_checkpoint(path)
    settings = checkpoint['hyper_parameters']
    return export_model(
        model,
        output,
        input_size or tuple(settings['input_size']),
        name=name or output.stem,
        half_weights=half_weights,
        recipe_hash=settings.get('recipe_hash', ''),
        scores=scores,
        **decoding,
    )
