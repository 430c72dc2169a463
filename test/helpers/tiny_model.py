# SPDX-License-Identifier: Apache-2.0
"""A model file with predictable outputs: the class of a pixel is its colour.

Red is a ball, blue a box, green the floor, black void, anything else the wall (padding too).
Balls and boxes left and right of the input's middle are two instances each: 6 rows.
"""

from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto, helper, numpy_helper

from panoptic_ros import Label, LabelSet
from panoptic_ros.core.model_file import write_model_file
from panoptic_ros.core.model_info import ModelInfo, Threshold

LABELS = LabelSet(
    (
        Label('floor', False, (0, 255, 0), 7),
        Label('wall', False, (200, 200, 200), 11),
        Label('ball', True, (255, 0, 0), 24),
        Label('box', True, (0, 0, 255), 26),
    )
)

ANIMALS = LabelSet(
    (
        Label('grass', False, (0, 255, 0), 1),
        Label('sky', False, (200, 200, 200), 2),
        Label('cow', True, (255, 0, 0), 3),
        Label('dog', True, (0, 0, 255), 4),
    )
)
"""Other names for the same colours."""

ROW_CLASS = np.array([0, 1, 2, 2, 3, 3], np.int32)
"""Class of each row: floor, wall, left ball, right ball, left box, right box."""

ROW_SCORE = np.array([0.9, 0.8, 0.95, 0.85, 0.75, 0.65], np.float32)


def paint_scene(height: int, width: int) -> np.ndarray:
    """Return (H, W, 3) RGB: wall above floor, a ball in the left half, a box in the right half.

    Their edges lie on eighths of the picture: ball x 1/8 to 3/8, box x 5/8 to 7/8, both y 1/4 to
    3/4; wall and floor meet at y 1/2.
    """
    scene = np.empty((height, width, 3), np.uint8)
    scene[: height // 2] = 200, 200, 200
    scene[height // 2 :] = 0, 255, 0
    rows = slice(height // 4, height * 3 // 4)
    scene[rows, width // 8 : width * 3 // 8] = 255, 0, 0
    scene[rows, width * 5 // 8 : width * 7 // 8] = 0, 0, 255
    return scene


def tiny_info(
    input_size: tuple[int, int] = (64, 128),
    stride: int = 4,
    labels: LabelSet = LABELS,
    embedding_dim: int = 4,
) -> ModelInfo:
    return ModelInfo(
        name='tiny',
        family='tiny',
        labels=labels,
        input_size=input_size,
        stride=stride,
        mean=(0.4, 0.4, 0.4),
        std=(0.2, 0.2, 0.2),
        embedding_dim=embedding_dim,
        embedding_kind='mean colour',
        package_version='0',
        thresholds={
            'score_threshold': Threshold(0.5, 0, 1, 'segments below it are dropped'),
            'min_area': Threshold(0, 0, 1e6, 'smaller segments are dropped, input px'),
        },
    )


class _Graph:
    """Collector of nodes and constants; each call returns the name of its result."""

    def __init__(self) -> None:
        self.nodes, self.constants, self.numbers = [], [], count()

    def __call__(self, operator: str, *inputs, out: str = '', **attributes) -> str:
        names = []
        for value in inputs:
            if not isinstance(value, str):
                name = f'constant_{next(self.numbers)}'
                self.constants.append(numpy_helper.from_array(np.asarray(value), name))
                value = name
            names.append(value)
        out = out or f'value_{next(self.numbers)}'
        self.nodes.append(helper.make_node(operator, names, [out], **attributes))
        return out


def tiny_graph(info: ModelInfo, work: int = 0, endless: int | None = None) -> ModelProto:
    """Return the graph.

    Args:
        info: its metadata.
        work: number of 1024^3 matrix products that only take time.
        endless: the graph never ends if no value of the first 20 pixels is below this.
    """
    (height, width), stride = info.input_size, info.stride
    h, w = height // stride, width // stride
    f32, i64 = np.float32, np.int64
    op = _Graph()
    pixels = op('Cast', 'image', to=TensorProto.FLOAT)
    if work:
        line = op('Slice', op('Reshape', pixels, i64([1, -1])), i64([0]), i64([1024]), i64([1]))
        square = op('Tanh', op('Add', line, np.linspace(-1, 1, 1024, dtype=f32)[:, None]))
        for _ in range(work):
            square = op('Tanh', op('MatMul', square, square))
        nothing = op('Mul', op('ReduceMean', square, keepdims=0), f32(0))
        pixels = op('Add', pixels, nothing)
    if endless is not None:
        first = op('Slice', op('Reshape', pixels, i64([-1])), i64([0]), i64([60]))
        starts = op('GreaterOrEqual', op('ReduceMin', first, keepdims=0), f32(endless))
        pixels = op('Loop', '', starts, pixels, body=_same_again(height, width))
    cells = op(
        'Slice',
        pixels,
        i64([stride // 2] * 2),
        i64([height, width]),
        i64([0, 1]),
        i64([stride] * 2),
    )  # (h, w, 3)
    high = op('GreaterOrEqual', cells, f32(128))
    black = op(
        'Equal',
        op(
            'ReduceMax',
            op('Cast', op('GreaterOrEqual', cells, f32(64)), to=TensorProto.FLOAT),
            i64([2]),
            keepdims=0,
        ),
        f32(0),
    )
    red, green, blue = (op('Gather', high, i64(channel), axis=2) for channel in range(3))

    def only(a: str, b: str, c: str) -> str:
        return op('And', a, op('Not', op('Or', b, c)))

    floor, ball, box = only(green, red, blue), only(red, green, blue), only(blue, red, green)
    wall = op('Not', op('Or', op('Or', floor, black), op('Or', ball, box)))
    left = np.arange(w)[None] < w // 2
    masks = [
        floor,
        wall,
        *(op('And', thing, side) for thing in (ball, box) for side in (left, ~left)),
    ]
    mask = op('Concat', *(op('Unsqueeze', m, i64([0])) for m in masks), axis=0)  # (S, h, w)
    mask_f = op('Cast', mask, to=TensorProto.FLOAT)
    cells_of = op('ReduceSum', mask_f, i64([1, 2]), keepdims=0)  # (S,)
    at_least_1 = op('Max', cells_of, f32(1))
    op('Cast', cells_of, to=TensorProto.INT32, out='area')
    op(
        'And',
        op('GreaterOrEqual', op('Mul', cells_of, f32(stride**2)), op('Max', 'min_area', f32(1))),
        op('GreaterOrEqual', ROW_SCORE, 'score_threshold'),
        out='valid',
    )

    kept = op('And', mask, op('Reshape', 'valid', i64([-1, 1, 1])))
    row = np.arange(1, 7, dtype=np.int32)[:, None, None]
    segment = op('ReduceMax', op('Where', kept, row, np.int32(0)), i64([0]), keepdims=0)
    op('Identity', segment, out='segment_map')
    # TensorRT has 8 bits in casts of outputs only.
    for name, values in (
        ('semantic_map', [255, *ROW_CLASS]),
        ('confidence', [0, *255 * ROW_SCORE]),
    ):
        value = op('Gather', np.array(values).astype(np.int32), segment)
        op('Cast', value, to=TensorProto.UINT8, out=name)

    x, y = np.arange(w, dtype=f32)[None, None], np.arange(h, dtype=f32)[None, :, None]
    sides = [
        op('ReduceMin', op('Where', mask, v, f32(1e4)), i64([1, 2]), keepdims=0) for v in (x, y)
    ]
    sides += [
        op('ReduceMax', op('Where', mask, v + 1, f32(0)), i64([1, 2]), keepdims=0) for v in (x, y)
    ]
    middles = [
        op(
            'Div',
            op('ReduceSum', op('Mul', mask_f, v + f32(0.5)), i64([1, 2]), keepdims=0),
            at_least_1,
        )
        for v in (x, y)
    ]
    for name, columns in (('box', sides), ('centroid', middles)):
        op('Concat', *(op('Unsqueeze', c, i64([1])) for c in columns), axis=1, out=name)
    colour = op('MatMul', op('Reshape', mask_f, i64([6, -1])), op('Reshape', cells, i64([-1, 3])))
    colour = op('Div', colour, op('Unsqueeze', op('Mul', at_least_1, f32(255)), i64([1])))
    op(
        'LpNormalization',
        op('Concat', colour, np.ones((6, max(info.embedding_dim - 3, 1)), f32), axis=1),
        axis=1,
        out='embedding',
    )
    op('Identity', ROW_CLASS, out='class_id')
    op('Identity', ROW_SCORE, out='score')

    value = helper.make_tensor_value_info
    inputs = [
        value('image', TensorProto.UINT8, [height, width, 3]),
        *(value(name, TensorProto.FLOAT, []) for name in info.thresholds),
    ]
    outputs = [
        value('segment_map', TensorProto.INT32, [h, w]),
        value('semantic_map', TensorProto.UINT8, [h, w]),
        value('class_id', TensorProto.INT32, [6]),
        value('score', TensorProto.FLOAT, [6]),
        value('box', TensorProto.FLOAT, [6, 4]),
        value('centroid', TensorProto.FLOAT, [6, 2]),
        value('area', TensorProto.INT32, [6]),
        value('embedding', TensorProto.FLOAT, [6, info.embedding_dim]),
        value('valid', TensorProto.BOOL, [6]),
        value('confidence', TensorProto.UINT8, [h, w]),
    ]
    graph = helper.make_graph(op.nodes, 'tiny', inputs, outputs, op.constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=9)


def _same_again(height: int, width: int) -> GraphProto:
    """Return the body of a loop that changes nothing."""

    def ports(end: str, *names: str) -> list[ValueInfoProto]:
        kinds = {'more': (TensorProto.BOOL, []), 'pixels': (TensorProto.FLOAT, [height, width, 3])}
        return [helper.make_tensor_value_info(name + end, *kinds[name]) for name in names]

    number = helper.make_tensor_value_info('number', TensorProto.INT64, [])
    return helper.make_graph(
        [
            helper.make_node('Identity', [f'{name}_in'], [f'{name}_out'])
            for name in ('more', 'pixels')
        ],
        'same_again',
        [number, *ports('_in', 'more', 'pixels')],
        ports('_out', 'more', 'pixels'),
    )


def make_tiny_model(
    path: Path,
    input_size: tuple[int, int] = (64, 128),
    stride: int = 4,
    work: int = 0,
    endless: int | None = None,
    labels: LabelSet = LABELS,
    embedding_dim: int = 4,
    confidence: bool = True,
    batch: int = 1,
) -> Path:
    """Write the model file; one without `confidence` is like those of version 0.1.0."""
    info = tiny_info(input_size, stride, labels, embedding_dim)
    graph = tiny_graph(info, work, endless)
    if batch > 1:
        from panoptic_training.batching import repeat_graph

        info = replace(info, batch=batch)
        graph = repeat_graph(graph, info)
    if not confidence:
        del graph.graph.output[-1]
    write_model_file(graph, info, path)
    return path
