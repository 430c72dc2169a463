# SPDX-License-Identifier: Apache-2.0
"""Half precision in exported graphs: layers with weights in float16, decoding in float32.

Typed engines (TensorRT 11, TensorRT-RTX) compute each operation in the type that the graph gives
it. `onnxruntime.transformers.float16` converts all nodes but listed ones, and rounds each value
between two of these, so that coordinates in the decoding would lose their precision.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from panoptic_ros.core.onnx_graph import TRANSPOSED
from panoptic_ros.runtime.onnxruntime_backend import open_session

LAYERS = {'Conv', 'ConvTranspose', 'Gemm', 'MatMul'}
"""Operators that are computed in float16 if one operand is a weight."""

BETWEEN = set(
    'Add Sub Mul Relu LeakyRelu PRelu Clip Sigmoid HardSigmoid HardSwish Tanh Gelu Erf MatMul '
    'MaxPool Resize Concat Split Slice Gather Pad Reshape Flatten Transpose Squeeze Unsqueeze '
    'Expand Tile DepthToSpace SpaceToDepth Identity Dropout'.split()
)
"""Operators that are computed in float16 between two layers if all their operands are."""

BRIDGES = set(
    'Softmax LayerNormalization InstanceNormalization GroupNormalization BatchNormalization '
    'AveragePool GlobalAveragePool ReduceMean Div GridSample RoiAlign'.split()
)
"""Operators between two layers that are computed in float32: they sum, divide or take coordinates.

What follows may round their results to float16.
"""

VIEWS = set('Transpose Reshape Unsqueeze Squeeze Flatten Identity Slice Gather Split'.split())
"""Operators that only move or select values; of a weight, they give a weight."""

DATA_INPUTS = {'Resize': 1, 'GridSample': 1, 'RoiAlign': 1}
"""Number of leading inputs that are data, for operators whose others are sizes or coordinates."""

MOST_TERMS = 4096
"""Most products in an element of a MatMul of two activations in float16."""

LARGEST = 4096.0
"""Largest absolute value on the test images that may be float16, a 16th of the type's largest."""


def use_half(
    model: onnx.ModelProto, weights: Collection[str], feeds: Sequence[Mapping[str, Any]]
) -> None:
    """Compute the network in float16, in place, and store its weights so.

    The network consists of the layers with weights, and of the operators between two of them that
    neither sum nor divide. What no layer follows is decoding, and stays float32. So do operators
    whose values on test images are above `LARGEST`.

    Args:
        model: a float32 graph with known sizes.
        weights: names of the module's weights; a transposed one has the suffix `TRANSPOSED`.
        feeds: inputs of the graph for each test image.

    Raises:
        ValueError: if a weight is larger than float16 holds.
    """
    graph = model.graph
    _store_constants(graph)
    inferred = onnx.shape_inference.infer_shapes(model).graph
    types = {
        value.name: value.type.tensor_type
        for value in (*inferred.value_info, *graph.input, *graph.output)
    }
    floats = {name for name, kind in types.items() if kind.elem_type == TensorProto.FLOAT}
    stored = {t.name for t in graph.initializer if t.data_type == TensorProto.FLOAT}
    kept = {name for name in stored if name.removesuffix(TRANSPOSED) in set(weights)}
    shapes = {name: [d.dim_value for d in kind.shape.dim] for name, kind in types.items()}
    shapes |= {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    floats |= stored
    is_half = _choose(graph.node, floats, stored, kept, shapes, set())
    touched = {
        name
        for node, half in zip(graph.node, is_half, strict=True)
        if half
        for name in (*_data(node, floats), *node.output)
    }
    large = {
        name
        for name, value in largest_values(model, sorted(touched - stored), feeds).items()
        if not value <= LARGEST  # NaN is large too
    }
    if large:
        is_half = _choose(graph.node, floats, stored, kept, shapes, large)
    _convert(graph, is_half, floats, kept)
    held = {tensor.name for tensor in graph.initializer}
    known = [value for value in inferred.value_info if value.name not in held]
    del graph.value_info[:]
    graph.value_info.extend(known)


def largest_values(
    model: onnx.ModelProto, names: Sequence[str], feeds: Sequence[Mapping[str, Any]]
) -> dict[str, float]:
    """Return the largest absolute value of some tensors of a graph over several inputs.

    Args:
        model: a graph; unchanged.
        names: of float tensors.
        feeds: inputs of the graph by name.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    for name in names:
        copy.graph.node.append(helper.make_node('Abs', [name], [f'{name}/abs']))
        copy.graph.node.append(
            helper.make_node('ReduceMax', [f'{name}/abs'], [f'{name}/max'], keepdims=0)
        )
        copy.graph.output.append(helper.make_tensor_value_info(f'{name}/max', 1, []))
    session = open_session(copy.SerializeToString(), 'cpu', None)
    values = [session.run(None, dict(feed)) for feed in feeds]
    return dict(zip(names, np.max(values, axis=0).tolist(), strict=True))


def _store_constants(graph: onnx.GraphProto) -> None:
    """Turn the graph's float constants into initializers."""
    for node in [node for node in graph.node if node.op_type == 'Constant']:
        value = node.attribute[0].t
        if value.data_type == TensorProto.FLOAT:
            value.name = node.output[0]
            graph.initializer.append(value)
            graph.node.remove(node)


def _data(node: NodeProto, floats: Collection[str]) -> list[str]:
    """Return the float inputs of a node that carry data."""
    return [name for name in node.input[: DATA_INPUTS.get(node.op_type)] if name in floats]


def _choose(
    nodes: Sequence[NodeProto],
    floats: set[str],
    stored: set[str],
    weights: set[str],
    shapes: Mapping[str, list[int]],
    large: set[str],
) -> list[bool]:
    """Return for each node whether it is computed in float16.

    Args:
        nodes: in the order of computation.
        floats: names of float32 values.
        stored: names of those that are constant.
        weights: names of those that are weights.
        shapes: of all values by name.
        large: names of values that need float32.
    """
    views = weights & stored
    for node in nodes:
        if node.op_type in VIEWS and node.input[0] in views:
            views.update(node.output)
    is_layer = [
        node.op_type in LAYERS and bool(views.intersection(node.input[:2])) for node in nodes
    ]
    leads: set[str] = set()
    for node, layer in zip(reversed(nodes), reversed(is_layer), strict=True):
        if layer or (node.op_type in BETWEEN | BRIDGES and leads.intersection(node.output)):
            leads.update(_data(node, floats))
    halves: set[str] = set()
    is_half = []
    for node, layer in zip(nodes, is_layer, strict=True):
        data = _data(node, floats)
        fits = not large.intersection([*data, *node.output])
        between = (
            node.op_type in BETWEEN
            and not leads.isdisjoint(node.output)
            and not halves.isdisjoint(data)
            and halves | stored >= set(data)
            and (node.op_type != 'MatMul' or shapes[node.input[0]][-1] <= MOST_TERMS)
        )
        is_half.append(fits and (layer or between))
        if is_half[-1] or (node.op_type in BRIDGES and not leads.isdisjoint(node.output)):
            halves.update(node.output)
    # The parts of a weight are float16 if only such nodes read them.
    wanted: dict[str, bool] = {}
    for i, node in reversed(list(enumerate(nodes))):
        if node.op_type in VIEWS and views.issuperset(node.output):
            is_half[i] = all(wanted.get(name, True) for name in node.output)
        for name in _data(node, floats):
            wanted[name] = wanted.get(name, True) and is_half[i]
    return is_half


def _convert(
    graph: onnx.GraphProto, is_half: Sequence[bool], floats: set[str], weights: set[str]
) -> None:
    """Give nodes their type, with a Cast between two types, and store what float16 nodes read.

    Names stay those of float32 values; a value in float16 is named `half_<name>`.
    """
    to_half: set[str] = set()
    to_float = {value.name for value in graph.output}
    for node, half in zip(graph.node, is_half, strict=True):
        data = _data(node, floats) if half else []
        to_half.update(data)
        to_float.update(name for name in node.input if name not in data)
    names = {name: f'half_{name}' for name in to_half}
    nodes = [
        _cast(value.name, names[value.name]) for value in graph.input if value.name in to_half
    ]
    for tensor in list(graph.initializer):
        name = tensor.name
        if name not in to_half:
            continue
        if name in to_float and name in weights:  # which only one tensor may hold
            nodes.append(_cast(name, names[name]))
        elif name in to_float:
            graph.initializer.append(half_tensor(tensor, names[name]))
        else:
            tensor.CopyFrom(half_tensor(tensor, name))
            names[name] = name
    for node, half in zip(graph.node, is_half, strict=True):
        if half:
            data = _data(node, floats)
            node.input[:] = [names[name] if name in data else name for name in node.input]
        nodes.append(node)
        for i, name in enumerate(node.output):
            if half:
                node.output[i] = f'half_{name}'
                if name in to_float:
                    nodes.append(_cast(node.output[i], name, TensorProto.FLOAT))
            elif name in to_half:
                nodes.append(_cast(name, names[name]))
    del graph.node[:]
    graph.node.extend(nodes)


def _cast(name: str, output: str, to: int = TensorProto.FLOAT16) -> NodeProto:
    """Return the node that converts a value."""
    return helper.make_node('Cast', [name], [output], to=to)


def half_tensor(tensor: TensorProto, name: str) -> TensorProto:
    """Return a float32 tensor as float16, under a name.

    Raises:
        ValueError: if a finite value is larger than float16 holds.
    """
    values = numpy_helper.to_array(tensor)
    largest = np.abs(values[np.isfinite(values)]).max(initial=0)
    if largest > np.finfo(np.float16).max:
        raise ValueError(
            f'the weight {tensor.name.removesuffix(TRANSPOSED)} is larger than float16 holds '
            f'({np.finfo(np.float16).max:g}); export it without fp16'
        )
    return numpy_helper.from_array(values.astype(np.float16), name)
