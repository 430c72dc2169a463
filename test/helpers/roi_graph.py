# SPDX-License-Identifier: Apache-2.0
"""A graph of one RoiAlign."""

from onnx import TensorProto, helper

CHANNELS, BOXES = 3, 240


def make_graph(size, bins, scale, batch=1, opset=20, channels=CHANNELS, **attributes):
    """A graph of one RoiAlign, as torch.onnx.export writes torchvision's."""
    values = {
        'mode': 'avg',
        'output_height': bins,
        'output_width': bins,
        'sampling_ratio': 2,
        'spatial_scale': scale,
        'coordinate_transformation_mode': 'output_half_pixel',
    }
    node = helper.make_node(
        'RoiAlign', ['map', 'box', 'batch'], ['pooled'], name='pool', **values | attributes
    )
    tensor = helper.make_tensor_value_info
    graph = helper.make_graph(
        [node],
        'pool',
        [
            tensor('map', TensorProto.FLOAT, [batch, channels, *size]),
            tensor('box', TensorProto.FLOAT, [BOXES, 4]),
            tensor('batch', TensorProto.INT64, [BOXES]),
        ],
        [tensor('pooled', TensorProto.FLOAT, [BOXES, channels, bins, bins])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid('', opset)], ir_version=9)
