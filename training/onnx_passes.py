# SPDX-License-Identifier: Apache-2.0
"""Rewriting of exported graphs into fewer operations with the same results.

A GPU waits for the start of each small operation. TensorRT's parser also turns some operators
into many layers although all sizes are known: a Slice becomes 15, a scalar constant needs a
reshape of its own.
"""

from collections.abc import Collection, Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from panoptic_ros.core.onnx_edit import (
    LARGE,
    constant_values,
    infer_shapes,
    readers_of,
    remove_unused,
    set_nodes,
)
from panoptic_ros.core.onnx_graph import TRANSPOSED

RANKED = set('Add Sub Mul Div Max Min Greater Less Equal Where MatMul LayerNormalization'.split())
"""Operators whose inputs are broadcast to the rank of the result."""

RESHAPES = {'Reshape', 'Squeeze', 'Unsqueeze', 'Flatten'}
"""Operators that change the shape only."""


def simplify(model: onnx.ModelProto, weights: Collection[str] = ()) -> None:
    """Apply all passes to a graph with known sizes, in place.

    Args:
        model: the graph.
        weights: names of the module's weights, which keep them.
    """
    values = infer_shapes(model)
    shapes = {
        value.name: [d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*values.value_info, *values.input, *values.output)
    }
    types = {
        value.name: value.type.tensor_type.elem_type
        for value in (*values.value_info, *values.input, *values.output)
    }
    stack_before_casts(model.graph, shapes, types)
    fold_batch_norms(model.graph)
    lay_out_weights(model.graph)
    split_slices(model.graph, shapes)
    squeeze_selections(model.graph, shapes)
    multiply_squares(model.graph)
    negate_comparisons(model.graph, shapes)
    narrow_indices(model.graph, types)
    match_ranks(model.graph, shapes, weights)
    merge_transposes(model.graph, shapes)
    merge_reshapes(model.graph, shapes)
    skip_no_ops(model.graph, shapes)
    remove_unused(model.graph)
    # Shapes of weights that the passes have changed would contradict them.
    stored = {tensor.name for tensor in model.graph.initializer}
    known = [value for value in model.graph.value_info if value.name not in stored]
    del model.graph.value_info[:]
    model.graph.value_info.extend(known)


def stack_before_casts(
    graph: onnx.GraphProto, shapes: dict[str, list[int]], types: dict[str, int]
) -> None:
    """Stack the outputs of a batch's images before their casts, which become one.

    TensorRT has numbers of 8 bits in casts of outputs only.
    """
    makers = {name: node for node in graph.node for name in node.output}
    outputs = {value.name for value in graph.output}
    nodes, changed = [], set[str]()
    for node in graph.node:
        nodes.append(node)
        if node.op_type != 'Concat' or node.output[0] not in outputs:
            continue
        stacked = [one for name in node.input if (one := makers.get(name)) is not None]
        casts = [
            cast
            for one in stacked
            if one.op_type == 'Unsqueeze'
            and (cast := makers.get(one.input[0])) is not None
            and cast.op_type == 'Cast'
        ]
        if len(casts) < len(node.input) or len({types.get(c.input[0]) for c in casts}) > 1:
            continue
        for one, cast in zip(stacked, casts, strict=True):
            one.input[0] = cast.input[0]
        changed.update(node.input)
        result, uncast = node.output[0], f'{node.output[0]}_uncast'
        node.output[0], shapes[uncast] = uncast, shapes[result]
        to = helper.get_node_attr_value(casts[0], 'to')
        nodes.append(helper.make_node('Cast', [uncast], [result], name=result, to=to))
    known = [value for value in graph.value_info if value.name not in changed]
    del graph.value_info[:]
    graph.value_info.extend(known)
    set_nodes(graph, nodes)


def fold_batch_norms(graph: onnx.GraphProto) -> None:
    """Merge each batch norm into the convolution before it, where nothing else reads that.

    A layer that runs on several levels is merged if the same norm follows it on each. The
    convolution's weight keeps its name; its bias is named after it, `<layer>.bias`.
    """
    weights = {tensor.name: tensor for tensor in graph.initializer}
    readers = readers_of(graph)
    layers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        if node.op_type == 'Conv':
            layers.setdefault(node.input[1], []).append(node)
    outputs = {value.name for value in graph.output}
    for name, convs in layers.items():
        norms = [
            reader
            for conv in convs
            for reader in readers.get(conv.output[0], [])
            if reader.op_type == 'BatchNormalization' and conv.output[0] not in outputs
        ]
        if (
            len(norms) != len(convs)
            or any(len(readers[conv.output[0]]) > 1 for conv in convs)
            or len({tuple(norm.input[1:]) for norm in norms}) > 1
            or len(readers[name]) != len(convs)
            or any(part not in weights for part in (*convs[0].input[1:], *norms[0].input[1:]))
        ):
            continue
        gamma, beta, mean, variance = (_array(weights[part]) for part in norms[0].input[1:])
        epsilon = next((a.f for a in norms[0].attribute if a.name == 'epsilon'), 1e-5)
        factor = gamma / np.sqrt(variance + epsilon)
        kernel = _array(weights[name]) * factor.reshape(-1, *[1] * (len(weights[name].dims) - 1))
        weights[name].CopyFrom(_tensor(kernel, name))
        old = _array(weights[convs[0].input[2]]) if len(convs[0].input) > 2 else np.float64(0)
        bias = name.removesuffix('weight') + 'bias'
        tensor = _tensor((old - mean) * factor + beta, bias)
        if bias in weights:
            weights[bias].CopyFrom(tensor)
        else:
            graph.initializer.append(tensor)
        for conv, norm in zip(convs, norms, strict=True):
            conv.input[:] = [*conv.input[:2], bias]
            conv.output[0] = norm.output[0]
            graph.node.remove(norm)


def lay_out_weights(graph: onnx.GraphProto) -> None:
    """Transpose and unsqueeze weights in advance, where a node does it at run time.

    A transposed weight has the suffix `TRANSPOSED`; `torch_backend.load_weights` reverses both.
    """
    weights = {tensor.name: tensor for tensor in graph.initializer}
    readers = readers_of(graph)
    constants = constant_values(graph, LARGE)
    for node in graph.node:
        tensor = weights.get(node.input[0]) if node.input else None
        if tensor is None or len(readers[tensor.name]) > 1:
            continue
        array = numpy_helper.to_array(tensor)
        if node.op_type == 'Transpose' and _perm(node) == [1, 0]:
            name, array = tensor.name + TRANSPOSED, array.T.copy()
        elif node.op_type == 'Unsqueeze' and node.input[1] in constants:
            name, array = tensor.name, np.expand_dims(array, tuple(constants[node.input[1]]))
        else:
            continue
        tensor.CopyFrom(numpy_helper.from_array(array, name))
        _replace(graph, node.output[0], name)
        weights[name], readers[name] = tensor, readers.get(node.output[0], [])


def negate_comparisons(graph: onnx.GraphProto, shapes: dict[str, list[int]]) -> None:
    """Replace `a >= b` by `not a < b`, which is one layer less, and likewise `a <= b`."""
    nodes = []
    for node in graph.node:
        strict = {'GreaterOrEqual': 'Less', 'LessOrEqual': 'Greater'}.get(node.op_type)
        if strict is None:
            nodes.append(node)
            continue
        result, opposite = node.output[0], f'{node.output[0]}_opposite'
        shapes[opposite] = shapes.get(result, [])
        nodes.append(helper.make_node(strict, list(node.input), [opposite], name=opposite))
        nodes.append(helper.make_node('Not', [opposite], [result], name=node.name))
    set_nodes(graph, nodes)


def narrow_indices(graph: onnx.GraphProto, types: dict[str, int]) -> None:
    """Read indices of 32 bits where they are; engines would convert them there and back."""
    makers = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        if node.op_type not in ('Gather', 'GatherElements'):
            continue
        maker = makers.get(node.input[1])
        if (
            maker is not None
            and maker.op_type == 'Cast'
            and types.get(maker.input[0]) == onnx.TensorProto.INT32
        ):
            node.input[1] = maker.input[0]


def merge_transposes(graph: onnx.GraphProto, shapes: dict[str, list[int]]) -> None:
    """Replace reshape, transpose, reshape that swap the last two axes by one transpose.

    The exporter writes this for the keys of an attention. It is then merged with a transpose
    before it.
    """
    makers = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        if node.op_type == 'Reshape':
            middle = makers.get(node.input[0])
            first = makers.get(middle.input[0]) if middle is not None else None
            if (
                middle is None
                or first is None
                or (middle.op_type, first.op_type) != ('Transpose', 'Reshape')
            ):
                continue
            source = shapes.get(first.input[0], [])
            if (
                len(source) > 2
                and _perm(middle) == [0, 2, 1]
                and shapes.get(first.output[0], [])[1:] == source[-2:]
                and shapes.get(node.output[0]) == [*source[:-2], source[-1], source[-2]]
            ):
                order = [*range(len(source) - 2), len(source) - 1, len(source) - 2]
                node.CopyFrom(_transpose(first.input[0], node.output[0], order))
        if node.op_type == 'Transpose':
            before = makers.get(node.input[0])
            if before is not None and before.op_type == 'Transpose':
                order = [_perm(before)[i] for i in _perm(node)]
                node.CopyFrom(_transpose(before.input[0], node.output[0], order))


def merge_reshapes(graph: onnx.GraphProto, shapes: dict[str, list[int]]) -> None:
    """Replace reshapes that follow each other by the last one."""
    makers = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        before = makers.get(node.input[0]) if node.op_type in RESHAPES else None
        shape = shapes.get(node.output[0], [0])
        if before is None or before.op_type not in RESHAPES or 0 in shape:
            continue
        name = f'{node.output[0]}_shape'
        graph.initializer.append(numpy_helper.from_array(np.array(shape, np.int64), name))
        node.CopyFrom(
            helper.make_node('Reshape', [before.input[0], name], list(node.output), name=node.name)
        )


def skip_no_ops(graph: onnx.GraphProto, shapes: dict[str, list[int]]) -> None:
    """Let the readers of an operation that changes nothing read its input."""
    outputs = {value.name for value in graph.output}
    for node in graph.node:
        if not node.output or node.output[0] in outputs:
            continue
        source, result = (shapes.get(names[0]) for names in (node.input or [''], node.output))
        if (
            node.op_type == 'Identity'
            or (node.op_type in ('Reshape', 'Expand') and source is not None and source == result)
            or (node.op_type == 'Split' and len(node.output) == 1)
            or (node.op_type == 'Transpose' and _perm(node) == sorted(_perm(node)))
        ):
            _replace(graph, node.output[0], node.input[0])


def split_slices(graph: onnx.GraphProto, shapes: dict[str, list[int]]) -> None:
    """Replace slices of known extent along one axis by splits, one for all slices of a value."""
    constants = constant_values(graph, LARGE)
    slices: dict[tuple[str, int], list[_Slice]] = {}
    for node in graph.node:
        if found := _read_slice(node, constants, shapes):
            slices.setdefault((node.input[0], found.axis), []).append(found)
    made: dict[str, onnx.NodeProto | None] = {}
    for (source, axis), group in slices.items():
        made |= {part.name: None for part in group}
        for parts in _disjoint(group):
            place = next(part.name for part in group if part in parts)  # the first in the graph
            made[place] = _split(graph, source, axis, shapes[source][axis], parts)
    nodes = [made.get(node.output[0], node) for node in graph.node]
    set_nodes(graph, [node for node in nodes if node is not None])


class _Slice(NamedTuple):
    """Slice from `first` to `last`, exclusive, along an axis; `name` is that of its output."""

    name: str
    axis: int
    first: int
    last: int


def _read_slice(
    node: onnx.NodeProto,
    constants: dict[str, npt.NDArray[np.generic]],
    shapes: dict[str, list[int]],
) -> _Slice | None:
    """Return the extent of a slice along one axis without steps; None for other nodes."""
    if node.op_type != 'Slice' or len(node.input) < 4 or 0 in shapes.get(node.input[0], [0]):
        return None
    if any(name and name not in constants for name in node.input[1:]):
        return None
    start, end, axis, *step = (constants[name].reshape(-1) for name in node.input[1:] if name)
    if len(axis) != 1 or (step and step[0][0] != 1):
        return None
    first, last, _ = slice(int(start[0]), int(end[0])).indices(shapes[node.input[0]][axis[0]])
    return _Slice(node.output[0], int(axis[0]), first, last) if first < last else None


def _disjoint(group: list[_Slice]) -> Iterator[list[_Slice]]:
    """Yield slices of one value together if none overlaps another, else one by one."""
    ordered = sorted(group, key=lambda one: one.first)
    if all(a.last <= b.first for a, b in pairwise(ordered)):
        yield ordered
    else:
        yield from ([one] for one in group)


def _split(
    graph: onnx.GraphProto, source: str, axis: int, size: int, slices: list[_Slice]
) -> onnx.NodeProto:
    """Return one split for slices that do not overlap, in their order, and the rest between."""
    lengths, names, end = [], [], 0
    for part in slices:
        if part.first > end:
            lengths.append(part.first - end)
            names.append(f'{part.name}_before')
        lengths.append(part.last - part.first)
        names.append(part.name)
        end = part.last
    if end < size:
        lengths.append(size - end)
        names.append(f'{names[-1]}_after')
    if len(names) == 1:
        return helper.make_node('Identity', [source], names)
    constant = f'{names[0]}_lengths'
    graph.initializer.append(numpy_helper.from_array(np.array(lengths, np.int64), constant))
    return helper.make_node('Split', [source, constant], names, axis=axis)


def squeeze_selections(graph: onnx.GraphProto, shapes: dict[str, list[int]]) -> None:
    """Replace the selection of the only element of an axis by a squeeze."""
    constants = constant_values(graph, LARGE)
    for node in graph.node:
        if node.op_type != 'Gather' or node.input[1] not in constants:
            continue
        axis = next((a.i for a in node.attribute if a.name == 'axis'), 0)
        if constants[node.input[1]].ndim or shapes.get(node.input[0], [0])[axis] != 1:
            continue
        name = f'{node.output[0]}_axis'
        graph.initializer.append(numpy_helper.from_array(np.array([axis], np.int64), name))
        node.CopyFrom(
            helper.make_node('Squeeze', [node.input[0], name], list(node.output), name=node.name)
        )


def multiply_squares(graph: onnx.GraphProto) -> None:
    """Replace powers of 2 by products."""
    constants = constant_values(graph, LARGE)
    for node in graph.node:
        if node.op_type == 'Pow' and np.all(constants.get(node.input[1], np.zeros(1)) == 2):
            base = node.input[0]
            node.CopyFrom(helper.make_node('Mul', [base, base], list(node.output), name=node.name))


def match_ranks(
    graph: onnx.GraphProto, shapes: dict[str, list[int]], kept: Collection[str] = ()
) -> None:
    """Give constants and weights of elementwise operators and products the rank of the result."""
    constants = constant_values(graph, LARGE)
    weights = {tensor.name: tensor for tensor in graph.initializer}
    sizes = {name: list(value.shape) for name, value in constants.items()}
    sizes |= {name: list(tensor.dims) for name, tensor in weights.items()}
    readers = readers_of(graph)
    added = set()
    for node in graph.node:
        if node.op_type not in RANKED or node.output[0] not in shapes:
            continue
        rank = len(shapes[node.output[0]])
        for i, name in enumerate(node.input):
            size = sizes.get(name)
            if size is None or len(size) >= rank or (node.op_type == 'MatMul' and len(size) < 2):
                continue
            size = [1] * (rank - len(size)) + size
            ranked = f'{name}_rank{rank}'
            if '.' in name or name in kept:  # the module finds a weight by its name
                if len(readers[name]) == 1:
                    weights[name].dims[:] = size
                continue
            if ranked not in added:
                added.add(ranked)
                value = (
                    numpy_helper.to_array(weights[name]) if name in weights else constants[name]
                )
                graph.initializer.append(numpy_helper.from_array(value.reshape(size), ranked))
            node.input[i] = ranked


def _replace(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Let all readers of a value read another one."""
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]


def _perm(node: onnx.NodeProto) -> list[int]:
    return list(helper.get_node_attr_value(node, 'perm'))


def _transpose(source: str, result: str, order: list[int]) -> onnx.NodeProto:
    return helper.make_node(
        'Transpose', [source], [result], name=f'{result}_transpose', perm=order
    )


def _array(tensor: onnx.TensorProto) -> npt.NDArray[np.float64]:
    return numpy_helper.to_array(tensor).astype(np.float64)


def _tensor(values: npt.NDArray[np.float64], name: str) -> onnx.TensorProto:
    return numpy_helper.from_array(values.astype(np.float32), name)
