# SPDX-License-Identifier: Apache-2.0
"""Look-up and clean-up for code that rewrites ONNX graphs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

LARGE = 2**10
"""Most elements of a constant whose values may be a shape."""


def infer_shapes(model: Any) -> Any:
    """Return an onnx.GraphProto with the types and shapes of all values, without large weights.

    ONNX infers shapes of a serialised graph. One above 2 GiB cannot be serialised, and with
    large weights it takes seconds, in which no other Python code of the process runs.

    Args:
        model: an onnx.ModelProto.
    """
    import onnx
    from onnx import helper

    bare = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    graph = bare.graph
    graph.name = model.graph.name
    for field in ('node', 'input', 'output', 'value_info'):
        getattr(graph, field).extend(getattr(model.graph, field))
    for tensor in model.graph.initializer:
        if np.prod(tensor.dims) <= LARGE:
            graph.initializer.append(tensor)
        else:
            graph.input.append(
                helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            )
    found = onnx.shape_inference.infer_shapes(bare, data_prop=True).graph
    del found.input[len(model.graph.input) :]
    return found


def constant_values(graph: Any, most: float = np.inf) -> dict[str, npt.NDArray[Any]]:
    """Return the values of Constant nodes and of initializers, by name.

    Args:
        graph: an onnx.GraphProto.
        most: largest number of elements of an initializer; those of larger ones are left out.
    """
    import onnx
    from onnx import helper, numpy_helper

    values = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in graph.initializer
        if np.prod(tensor.dims) <= most
    }
    for node in graph.node:
        if node.op_type == 'Constant':
            value = helper.get_attribute_value(node.attribute[0])
            values[node.output[0]] = (
                numpy_helper.to_array(value)
                if isinstance(value, onnx.TensorProto)
                else np.array(value)
            )
    return values


def inputs_of(node: Any) -> list[str]:
    """Return the names that a node reads, also in graphs inside it (bodies of If and Loop).

    Args:
        node: an onnx.NodeProto.
    """
    inner = [
        graph
        for part in node.attribute
        for graph in ([part.g] if part.HasField('g') else part.graphs)
    ]
    names = [name for graph in inner for n in graph.node for name in inputs_of(n)]
    return [*node.input, *names, *(value.name for graph in inner for value in graph.output)]


def readers_of(graph: Any) -> dict[str, list[Any]]:
    """Return the nodes of an onnx.GraphProto that read each value, by its name."""
    readers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    return readers


def set_nodes(graph: Any, nodes: Sequence[Any]) -> None:
    """Replace the nodes of an onnx.GraphProto; the new ones may be among the old ones."""
    copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)


def remove_unused(graph: Any) -> None:
    """Remove nodes and initializers of an onnx.GraphProto that no output needs."""
    needed = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(inputs_of(node))
    set_nodes(graph, kept[::-1])
    for i in reversed(range(len(graph.initializer))):
        if graph.initializer[i].name not in needed:
            del graph.initializer[i]  # a new list would hold copies of the weights
