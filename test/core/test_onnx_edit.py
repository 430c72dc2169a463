# SPDX-License-Identifier: Apache-2.0
"""Edits of ONNX graphs with graphs inside their nodes."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from panoptic_ros.core.onnx_edit import inputs_of, remove_unused


def branch(name, *values):
    """A graph without inputs, which reads values around it."""
    node = helper.make_node('Add', values, [f'{name}_sum'])
    out = helper.make_tensor_value_info(f'{name}_sum', TensorProto.FLOAT, [2])
    return helper.make_graph([node], name, [], [out])


def test_values_that_only_a_branch_reads_are_kept():
    inner = helper.make_node(
        'If',
        ['yes'],
        ['chosen'],
        then_branch=branch('then', 'double', 'weight'),
        else_branch=branch('else', 'x', 'x'),
    )
    outer = helper.make_node('Identity', ['chosen'], ['y'])
    nodes = [
        helper.make_node('Add', ['x', 'x'], ['double']),
        helper.make_node('Neg', ['x'], ['unused']),
        inner,
        outer,
    ]
    weights = [numpy_helper.from_array(np.ones(2, np.float32), name) for name in ('weight', 'w')]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in 'xy')
    yes = helper.make_tensor_value_info('yes', TensorProto.BOOL, [])
    graph = helper.make_graph(nodes, 'graph', [x, yes], [y], weights)
    assert {'yes', 'double', 'weight', 'x'} <= set(inputs_of(inner))
    remove_unused(graph)
    assert [node.op_type for node in graph.node] == ['Add', 'If', 'Identity']
    assert [tensor.name for tensor in graph.initializer] == ['weight']
