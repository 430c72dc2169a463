# SPDX-License-Identifier: Apache-2.0
"""Look-up and clean-up for code that rewrites ONNX graphs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


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
