# SPDX-License-Identifier: Apache-2.0
"""RoiAlign as GridSample, for engines that know RoiAlign as a plugin only."""

from typing import Any

import numpy as np

FAR = -3.0
"""Normalised coordinate that lies outside a map of any size."""


def replace_roi_align(model: Any) -> int:
    """Replace every RoiAlign of a graph by GridSample and averaging, in place.

    The results are those of torchvision's `roi_align` with `aligned=False`, also for boxes that
    lie outside the map in part or as a whole, and for boxes without area. Positions are computed
    in cells with torchvision's own steps and rounded again as GridSample's coordinates from -1 to
    1: values of unit variance differ by at most 1e-4 on maps of up to 512 cells a side, where
    the rounding of torchvision itself makes a difference of 1e-4 from exact positions.

    Args:
        model: an onnx.ModelProto whose maps and boxes have known sizes.

    Returns:
        The number of nodes that were replaced.

    Raises:
        ValueError: for a RoiAlign of another kind than this package exports; names the node.
    """
    import onnx

    if all(node.op_type != 'RoiAlign' for node in model.graph.node):
        return 0
    del model.graph.value_info[:]  # earlier rewriting may have left wrong ones
    graph = onnx.shape_inference.infer_shapes(model).graph
    shapes = {
        value.name: [size.dim_value for size in value.type.tensor_type.shape.dim]
        for value in (*graph.value_info, *graph.input, *graph.output)
    }
    opset = next(entry.version for entry in model.opset_import if entry.domain in ('', 'ai.onnx'))
    nodes, count = [], 0
    for node in model.graph.node:
        if node.op_type == 'RoiAlign':
            constants, replacement = _sample(node, shapes, opset)
            model.graph.initializer.extend(constants)
            nodes += replacement
            count += 1
        else:
            nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return count


def _sample(node: Any, shapes: dict[str, list[int]], opset: int) -> tuple[list[Any], list[Any]]:
    """Return the constants and the nodes that replace a RoiAlign."""
    from onnx import helper, numpy_helper

    values = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    features, rois, _ = node.input
    bins, samples = values.get('output_width', 1), values.get('sampling_ratio', 0)
    batch, channels, height, width = shapes.get(features) or (0, 0, 0, 0)
    boxes = (shapes.get(rois) or [0])[0]
    if (
        batch != 1  # of one image, so that the third input is 0 for every box
        or boxes < 1
        or samples < 1
        or values.get('output_height', 1) != bins
        or values.get('mode', b'avg') != b'avg'
        or values.get('coordinate_transformation_mode') != b'output_half_pixel'
    ):
        raise ValueError(
            f'RoiAlign {node.name!r} must average a fixed number of samples in square bins of one '
            'image, with output_half_pixel; export the model again with this version'
        )
    points = bins * samples
    name = node.output[0]
    constants: list[Any] = []
    nodes: list[Any] = []

    def constant(key: str, value: Any, dtype: type = np.float32) -> str:
        constants.append(numpy_helper.from_array(np.asarray(value, dtype), f'{name}_{key}'))
        return constants[-1].name

    def add(kind: str, key: str, *inputs: str, **attributes: Any) -> str:
        output = f'{name}_{key}' if key else name
        nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    size = np.array([width, height], np.float64)  # x, y as in the boxes
    # Positions of the samples along both axes, (boxes, points, xy) in cells, with each step of
    # torchvision's, so that they are rounded alike. Boxes have a cell at least.
    cells = add('Mul', 'cells', rois, constant('scale', [[values.get('spatial_scale', 1.0)]]))
    row = add('Unsqueeze', 'row', cells, constant('axis', [1], np.int64))
    first, last = f'{name}_first', f'{name}_last'
    nodes.append(
        helper.make_node(
            'Split',
            [row, constant('halves', [2, 2], np.int64)],
            [first, last],
            name=f'{name}_corners',
            axis=2,
        )
    )
    one = constant('one', [[[1.0]]])
    extent = add('Max', 'extent', add('Sub', 'difference', last, first), one)
    width_of_bin = add('Div', 'bin', extent, constant('bins', [[[bins]]]))
    number, part = np.divmod(np.arange(points), samples)
    before = constant('number', number[None, :, None])
    within = constant('part', (part[None, :, None] + 0.5) / samples)
    start = add('Add', 'start', first, add('Mul', 'before', width_of_bin, before))
    place = add('Add', 'place', start, add('Mul', 'within', width_of_bin, within))
    # Samples up to one cell outside take the value of the border, and those further out are 0.
    inside = add('Max', 'right', place, constant('zero', [[[0.0]]]))
    inside = add('Min', 'inside', inside, constant('end', (size - 1)[None, None]))
    excess = add('Abs', 'excess', add('Sub', 'beyond', place, inside))
    is_far = add('Greater', 'is_far', excess, one)
    half = add('Add', 'half', inside, constant('middle', [[[0.5]]]))
    share = add('Div', 'share', half, constant('radius', (size / 2)[None, None]))
    normal = add('Sub', 'normal', share, one)
    normal = add('Where', 'position', is_far, constant('far', [[[FAR]]]), normal)
    # The grid has x of its column and y of its row.
    across = add('Reshape', 'x', normal, constant('columns', [boxes, 1, points, 2], np.int64))
    down = add('Reshape', 'y', normal, constant('rows', [boxes, points, 1, 2], np.int64))
    grid = add('Where', 'grid', constant('is_x', [[[[True, False]]]], np.bool_), across, down)
    tall = add('Reshape', 'tall', grid, constant('all', [1, boxes * points, points, 2], np.int64))
    sampled = add(
        'GridSample',
        'samples',
        features,
        tall,
        mode='linear' if opset >= 20 else 'bilinear',
        padding_mode='zeros',
        align_corners=0,
    )
    means = add('AveragePool', 'means', sampled, kernel_shape=[samples] * 2, strides=[samples] * 2)
    split = constant('split', [channels, boxes, bins, bins], np.int64)
    add('Transpose', '', add('Reshape', 'by_channel', means, split), perm=[1, 0, 2, 3])
    return constants, nodes
