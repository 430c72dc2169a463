# SPDX-License-Identifier: Apache-2.0
"""Quantisation of model files to int8, calibrated on images.

The inputs and the weights of layers pass through QuantizeLinear and DequantizeLinear (explicit
quantisation), in the form that TensorRT takes: symmetric, weights per channel, biases in float32.
Results of layers are not quantised: engines fuse the activation after a layer into it, and
quantise once, before the next layer. Decoding stays in float32.
"""

import itertools
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, numpy_helper

from panoptic_ros.core.image import CameraImage
from panoptic_ros.core.model_file import info_from_onnx, load_onnx
from panoptic_ros.core.model_info import ModelInfo
from panoptic_ros.runtime.batch import graph_feed
from panoptic_ros.runtime.letterbox import Letterbox
from panoptic_ros.runtime.self_check import write_with_reference

LAYERS = ('Conv', 'Gemm', 'MatMul')
"""Operators that are quantised if their second operand is a weight."""


def quantize(
    path: Path, images: Iterable[npt.NDArray[np.uint8]], output: Path
) -> tuple[ModelInfo, int]:
    """Write a model file with its layers in int8.

    Args:
        path: a model file in fp32.
        images: (H, W, 3) RGB, as the model will see them.
        output: the file to write.

    Returns:
        the metadata of the new file, and the number of its layers in int8.

    Raises:
        ValueError: if the file is not in fp32 or has no layers, or there are no images.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType
    from onnxruntime.quantization.quantize import quantize_static

    model = load_onnx(path)
    info = info_from_onnx(model, path)
    require_fp32(info, path)
    layers = name_layers(model.graph)
    if not layers:
        raise ValueError(f'{path} has no layers that can be quantised')
    first = next(rest := iter(images), None)
    if first is None:
        raise ValueError('a quantisation needs images to calibrate on, got none')
    del model.graph.value_info[:]  # types of weights that were stored in half since
    # The export has done what onnxruntime's preparation would do, and recommends otherwise.
    model.metadata_props.add(key='onnx.quant.pre_process', value='onnxruntime.quant')
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / 'model.onnx'
        quantize_static(
            model,
            written,
            _Inputs(info, itertools.chain([first], rest)),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            weight_type=QuantType.QInt8,
            activation_type=QuantType.QInt8,
            op_types_to_quantize=list(LAYERS),
            nodes_to_quantize=layers,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={
                'ActivationSymmetric': True,
                'WeightSymmetric': True,
                'QuantizeBias': False,  # TensorRT's DequantizeLinear takes no int32
                'OpTypesToExcludeOutputQuantization': list(LAYERS),
                'CalibMovingAverage': True,
            },
        )
        quantized = load_onnx(written)
    info = replace(info, precision='int8', scores={})
    quantized.ClearField('metadata_props')
    write_with_reference(quantized.SerializeToString(), info, output)
    return info, len(layers)


def require_fp32(info: ModelInfo, path: Path) -> None:
    """Refuse a model file that is not in fp32."""
    if info.precision != 'fp32':
        raise ValueError(
            f'{path} is in {info.precision} already; quantise a file that '
            '`panoptic export --precision fp32` wrote'
        )


def name_layers(graph: onnx.GraphProto) -> list[str]:
    """Give each node a name, and return the names of the layers that can be quantised.

    These have a weight of the module as their second operand; such weights have a dot in their
    name, unlike constants of the decoding. Weights that the graph converts or transposes are
    stored as the layers read them.
    """
    stored = {tensor.name: tensor for tensor in graph.initializer}
    weights = {
        name
        for name, tensor in stored.items()
        if '.' in name and tensor.data_type in (TensorProto.FLOAT, TensorProto.FLOAT16)
    }
    for node in list(graph.node):
        if node.op_type not in ('Cast', 'Transpose') or node.input[0] not in weights:
            continue
        values = numpy_helper.to_array(stored[node.input[0]])
        if node.op_type == 'Transpose':
            values = values.transpose(
                next((tuple(a.ints) for a in node.attribute if a.name == 'perm'), None)
            )
        name = node.output[0]
        graph.initializer.append(
            numpy_helper.from_array(np.ascontiguousarray(values, np.float32), name)
        )
        stored[name] = graph.initializer[-1]
        weights.add(name)
        graph.node.remove(node)
        if not any(node.input[0] in other.input for other in graph.node):
            graph.initializer.remove(stored[node.input[0]])
    layers = []
    for i, node in enumerate(graph.node):
        node.name = f'{node.op_type}_{i}'
        if node.op_type in LAYERS and node.input[1] in weights and node.input[0] not in stored:
            layers.append(node.name)
    return layers


class _Inputs:
    """Inputs of a graph for images, as onnxruntime's calibration takes them."""

    def __init__(self, info: ModelInfo, images: Iterable[npt.NDArray[np.uint8]]) -> None:
        self._info, self._letterbox, self._images = info, Letterbox(info), iter(images)

    def get_next(self) -> dict[str, Any] | None:
        """Return the graph's inputs for the next image; None after the last."""
        image = next(self._images, None)
        if image is None:
            return None
        pixels, _ = self._letterbox(CameraImage(image))
        return graph_feed(self._info, pixels.copy())
