# SPDX-License-Identifier: Apache-2.0
"""Calibration inside a model file's graph, so that every engine applies it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from panoptic_ros.core.calibration import SCORE_THRESHOLD, confidence_table, inverse, scale
from panoptic_ros.core.model_info import ModelInfo, Scaling
from panoptic_ros.core.onnx_edit import set_nodes

PREFIX = 'calibration_'
"""Start of the names of new values."""

INT32 = 6
"""Of onnx.TensorProto."""


def add_calibration(model: Any, info: ModelInfo, calibration: Mapping[str, Scaling]) -> ModelInfo:
    """Put a calibration into a graph, in place.

    The outputs `score` and `confidence` become calibrated. The input `score_threshold` is given in
    calibrated scores and turned back before it is used, so that the graph decides as before.

    Args:
        model: an onnx.ModelProto that is not calibrated.
        info: its description.
        calibration: scaling by output, `score` and `confidence`; others stay as they are.

    Returns:
        The description of the new graph; its default of `score_threshold` and its least scores
        of classes are calibrated.

    Raises:
        ValueError: for a graph whose confidence map is not the result of a Cast.
    """
    graph, thresholds = model.graph, dict(info.thresholds)
    nodes = list(graph.node)
    if 'confidence' in calibration:
        place = next(i for i, node in enumerate(nodes) if 'confidence' in node.output)
        cast = nodes[place]
        if cast.op_type != 'Cast':
            raise ValueError(
                f'the confidence map of {info.name} is the result of {cast.op_type}, expected Cast'
            )
        table = confidence_table(calibration['confidence'])
        nodes[place:place] = _look_up(graph, cast.input[0], f'{PREFIX}confidence', table)
        cast.input[0] = f'{PREFIX}confidence'
    if 'score' in calibration:
        scaling = calibration['score']
        raw_threshold, raw_score = f'{PREFIX}{SCORE_THRESHOLD}', f'{PREFIX}score'
        for node in nodes:
            renamed = {SCORE_THRESHOLD: raw_threshold, 'score': raw_score}
            node.input[:] = [renamed.get(name, name) for name in node.input]
            node.output[:] = [renamed.get(name, name) for name in node.output]
        nodes = [
            *_scale(graph, SCORE_THRESHOLD, raw_threshold, inverse(scaling)),
            *nodes,
            *_scale(graph, raw_score, 'score', scaling),
        ]
        own = thresholds[SCORE_THRESHOLD]
        thresholds[SCORE_THRESHOLD] = replace(own, default=float(scale(own.default, scaling)))
        unknown = {name: float(scale(least, scaling)) for name, least in info.unknown.items()}
        info = replace(info, unknown=unknown)
    set_nodes(graph, nodes)
    return replace(info, thresholds=thresholds, calibration=dict(calibration))


def _scale(graph: Any, value: str, output: str, scaling: Scaling) -> list[Any]:
    """Return the nodes of `core.calibration.scale`."""
    numbers = 0, 1, 1 / scaling.temperature, np.exp(-scaling.shift)
    zero, one, exponent, factor = (_constant(graph, np.float32(number)) for number in numbers)
    prob, right, rest, power, wrong, total = (f'{PREFIX}{output}_{i}' for i in range(6))
    return [
        _node('Clip', [value, zero, one], prob),
        _node('Pow', [prob, exponent], right),
        _node('Sub', [one, prob], rest),
        _node('Pow', [rest, exponent], power),
        _node('Mul', [power, factor], wrong),
        _node('Add', [right, wrong], total),
        _node('Div', [right, total], output),
    ]


def _look_up(graph: Any, value: str, output: str, table: npt.NDArray[np.uint8]) -> list[Any]:
    """Return nodes that look up floats, rounded down, in a table (256,).

    TensorRT has 8 bits in casts of outputs only, so the table holds floats.
    """
    first, last = (_constant(graph, np.int32(number)) for number in (0, 255))
    whole, least, index = (f'{output}_{i}' for i in range(3))
    return [
        _node('Cast', [value], whole, to=INT32),
        _node('Max', [whole, first], least),
        _node('Min', [least, last], index),
        _node('Gather', [_constant(graph, table.astype(np.float32)), index], output),
    ]


def _constant(graph: Any, value: npt.ArrayLike) -> str:
    """Add an initializer to an onnx.GraphProto and return its name."""
    from onnx import numpy_helper

    name = f'{PREFIX}constant_{len(graph.initializer)}'
    graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return name


def _node(operator: str, inputs: list[str], output: str, **attributes: Any) -> Any:
    from onnx import helper

    return helper.make_node(operator, inputs, [output], name=f'{output}_node', **attributes)
