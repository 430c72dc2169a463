# SPDX-License-Identifier: Apache-2.0
"""The tiny model with matrix products, and with a name for the end of its network."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from tiny_model import paint_scene, tiny_graph, tiny_info

from panoptic_ros.core.model_file import write_model_file

INFO = tiny_info()
IMAGES = [paint_scene(*INFO.input_size)]
THRESHOLDS = {'score_threshold': 0.5, 'min_area': 0.0}


def with_matrix_products(path, before, after):
    """Write the tiny model with matrix products in its network or in its decoding.

    Its network is the conversion of the image to numbers.
    """
    model = tiny_graph(INFO)
    graph = model.graph
    rng = np.random.default_rng(0)
    graph.initializer.append(
        numpy_helper.from_array(rng.normal(size=(768, 768)).astype(np.float32) / 99, 'matrix')
    )
    shape, back = np.array([-1, 768], np.int64), np.array([*INFO.input_size, 3], np.int64)
    for name, value in (('shape', shape), ('back', back), ('nothing', np.float32(0))):
        graph.initializer.append(numpy_helper.from_array(value, name))
    cast = graph.node[0]
    (pixels,) = cast.output

    def products(start, count, end, where):
        nodes = [helper.make_node('Reshape', [start, 'shape'], [f'{where}0'])]
        nodes += [
            helper.make_node('MatMul', [f'{where}{i}', 'matrix'], [f'{where}{i + 1}'])
            for i in range(count)
        ]
        return [
            *nodes,
            helper.make_node('Reshape', [f'{where}{count}', 'back'], [f'{where}end']),
            helper.make_node('Mul', [f'{where}end', 'nothing'], [f'{where}zero']),
            helper.make_node('Add', [start, f'{where}zero'], [end]),
        ]

    cast.output[0] = 'numbers'
    nodes = [
        cast,
        *products('numbers', before, 'maps_head', 'network'),
        *products('maps_head', after, pixels, 'decoding'),
        *graph.node[1:],
    ]
    for i, node in enumerate(nodes):
        node.name = f'node_{i}'
    shown = helper.make_tensor_value_info('maps_head', TensorProto.FLOAT, [*INFO.input_size, 3])
    graph.value_info.append(shown)
    del graph.node[:]
    graph.node.extend(nodes)
    write_model_file(model, INFO, path)
    return path
