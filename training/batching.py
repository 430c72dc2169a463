# SPDX-License-Identifier: Apache-2.0
"""Graphs of a batch from graphs of one image, for networks that are no modules."""

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from panoptic_ros.core.model_info import ModelInfo
from panoptic_ros.core.onnx_edit import infer_shapes, remove_unused

from .onnx_passes import stack_before_casts


def repeat_graph(model: onnx.ModelProto, info: ModelInfo) -> onnx.ModelProto:
    """Return a graph that runs another one on each image of a batch; the weights exist once.

    Args:
        model: graph of one image whose first operation on it is a Cast.
        info: description of the graph to make; its `batch` is 2 or more.
    """
    source, places = model.graph, range(info.batch)
    outer = [value.name for value in source.input]
    own = [*outer, *(name for node in source.node for name in node.output if name)]
    tag = '/image'
    while any(tag in name for name in own):
        tag += '_'
    # TensorRT takes bytes only where they are converted at once.
    nodes = [helper.make_node('Cast', ['image'], [f'image{tag}s'], to=TensorProto.FLOAT)]
    for i in places:
        for name in outer:
            values = f'image{tag}s' if name == 'image' else name
            nodes.append(
                helper.make_node('Gather', [values, f'place{tag}{i}'], [f'{name}{tag}{i}'])
            )
        names = {name: f'{name}{tag}{i}' for name in own}
        nodes += [_renamed(node, names) for node in source.node]
    outputs = []
    for value in source.output:
        rows = [f'{value.name}{tag}{i}/row' for i in places]
        for i in places:
            inputs = [f'{value.name}{tag}{i}', f'axis{tag}']
            nodes.append(helper.make_node('Unsqueeze', inputs, [rows[i]]))
        nodes.append(helper.make_node('Concat', rows, [value.name], axis=0))
        kind = value.type.tensor_type
        shape = [info.batch, *(d.dim_value for d in kind.shape.dim)]
        outputs.append(helper.make_tensor_value_info(value.name, kind.elem_type, shape))
    graph = helper.make_graph(
        nodes,
        source.name,
        [
            helper.make_tensor_value_info('image', TensorProto.UINT8, info.image_shape),
            *(
                helper.make_tensor_value_info(name, TensorProto.FLOAT, info.threshold_shape)
                for name in info.thresholds
            ),
        ],
        outputs,
        [
            *source.initializer,
            *(numpy_helper.from_array(np.array(i), f'place{tag}{i}') for i in places),
            numpy_helper.from_array(np.array([0]), f'axis{tag}'),
        ],
    )
    repeated = helper.make_model(
        graph,
        producer_name=model.producer_name,
        ir_version=model.ir_version,
        opset_imports=model.opset_import,
    )
    known = infer_shapes(repeated)
    values = [*known.value_info, *known.input, *known.output]
    stack_before_casts(
        repeated.graph,
        {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in values},
        {v.name: v.type.tensor_type.elem_type for v in values},
    )
    remove_unused(repeated.graph)
    return repeated


def _renamed(node: onnx.NodeProto, names: Mapping[str, str]) -> onnx.NodeProto:
    """Return a copy of a node with other names of values, also in graphs inside it."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.ClearField('name')
    for values in (copy.input, copy.output):
        values[:] = [names.get(name, name) for name in values]
    for part in copy.attribute:
        for graph in [part.g] if part.HasField('g') else part.graphs:
            inner = [_renamed(one, names) for one in graph.node]
            del graph.node[:]
            graph.node.extend(inner)
            for value in graph.output:
                value.name = names.get(value.name, value.name)
    return copy
